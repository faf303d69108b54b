//! `subscribers live [--subscribers 1000] [--rate 1000] [--seconds 20]`: what many SSE subscribers of one topic cost, and how long a line takes
//! to them. `subscribers filter [--mib 512]`: how fast old data is read through filters, and unfiltered as NDJSON. See bench/subscribers.

#![expect(clippy::print_stdout, reason = "its output is its result")]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skidway_tests::arguments::number;
use skidway_tests::program::used;
use skidway_tests::{Client, Collector, Site, samples, wait};

/// Subscribers whose lines are timed; the others' bytes are only taken.
const TIMED: usize = 20;

/// Threads that take the others' bytes.
const TAKERS: usize = 2;

/// Lines produced at once.
const LINES_AT_ONCE: u64 = 10;

/// One line in so many has what the filters look for.
const ONE_IN: usize = 10_000;

/// Filters, and what they show.
const FILTERS: [(&str, &str); 5] = [
    ("literal", "value.contains(\"needle-5f2c\")"),
    ("literal in a regex", "value.matches(\"needle-[0-9a-f]+\")"),
    ("no literal", "value.matches(\"(?i)NEEDLE-5F2C\")"),
    ("a header", "headers.nothing == \"x\""),
    ("JSON of values that are none", "json.level == \"needle-5f2c\""),
];

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("live") => live(number("--subscribers", 1000), number("--rate", 1000), number("--seconds", 20)),
        Some("filter") => filter(number("--mib", 512)),
        _ => panic!("subscribers live | subscribers filter"),
    }
}

fn live(subscribers: usize, rate: u64, seconds: u64) {
    let site = Site::new();
    let mut collector = started(&site);
    let (client, pid) = (collector.client(), collector.program().pid());
    let (begun, over, taken) = (Instant::now(), AtomicBool::new(false), AtomicU64::new(0));
    let mut latencies = Vec::new();
    std::thread::scope(|scope| {
        let timed: Vec<_> = (0..TIMED.min(subscribers))
            .map(|_| connect(collector.port()))
            .map(|stream| scope.spawn(|| time_lines(stream, begun)))
            .collect();
        for _ in 0..TAKERS {
            let streams = (0..subscribers.saturating_sub(TIMED) / TAKERS).map(|_| connect(collector.port())).collect();
            scope.spawn(|| take(streams, &over, &taken));
        }
        wait::pause(Duration::from_secs(2));
        let before = used(pid).0;
        produce_live(&client, begun, rate, seconds);
        wait::pause(Duration::from_secs(1));
        let (cpu, rss) = (used(pid).0 - before, used(pid).1);
        over.store(true, Ordering::Relaxed);
        collector.program().stop();
        latencies.extend(timed.into_iter().flat_map(|timed| timed.join().expect("a subscriber reads")));
        latencies.sort_unstable();
        println!(
            "live: {subscribers} SSE subscribers, {rate} lines/s for {seconds} s, fsync: {:.2} cores, {} MiB peak RSS, line to subscriber \
             p50 {:.1} ms, p99 {:.1} ms, worst {:.1} ms of {} lines timed",
            cpu / (seconds + 1) as f64,
            rss >> 20,
            share(&latencies, 0.50),
            share(&latencies, 0.99),
            share(&latencies, 1.0),
            latencies.len()
        );
    });
    assert!(latencies.len() as u64 >= TIMED.min(subscribers) as u64 * rate * seconds, "every line arrived");
}

/// Produces lines that say when they were.
fn produce_live(client: &Client, begun: Instant, rate: u64, seconds: u64) {
    let started = Instant::now();
    for round in 0..rate * seconds / LINES_AT_ONCE {
        let due = started + Duration::from_secs_f64((round * LINES_AT_ONCE) as f64 / rate as f64);
        wait::pause(due.saturating_duration_since(Instant::now()));
        let now = begun.elapsed().as_micros();
        let line = format!(
            "{now} 192.0.2.7 - - \"GET /index.html HTTP/1.1\" 200 5120 \"-\" \"Mozilla/5.0 (X11; Linux x86_64)\"\n"
        );
        let answer = client.post("/v1/topics/t/records", "text/plain", line.repeat(LINES_AT_ONCE as usize));
        assert_eq!(answer.status, 200);
    }
}

fn connect(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the collector listens");
    stream.write_all(b"GET /v1/topics/t/stream HTTP/1.1\r\nhost: bench\r\n\r\n").expect("it takes a request");
    stream
}

/// Reads events to the end; gives how long each record took, in microseconds.
fn time_lines(stream: TcpStream, begun: Instant) -> Vec<u64> {
    let mut latencies = Vec::new();
    for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
        let Some(record) = line.strip_prefix(b"data: ") else { continue };
        let now = begun.elapsed().as_micros() as u64;
        let record: Value = serde_json::from_slice(record).expect("a record is JSON");
        let Some(at) = record["value"].as_str().and_then(|value| value.split(' ').next()?.parse::<u64>().ok()) else {
            continue;
        };
        latencies.push(now - at);
    }
    latencies
}

/// Takes what comes to many subscribers.
fn take(mut streams: Vec<TcpStream>, over: &AtomicBool, taken: &AtomicU64) {
    let mut chunk = vec![0; 64 << 10];
    streams.iter().for_each(|stream| stream.set_nonblocking(true).expect("a socket may be asked not to block"));
    while !over.load(Ordering::Relaxed) {
        for stream in &mut streams {
            match stream.read(&mut chunk) {
                Ok(bytes) => taken.fetch_add(bytes as u64, Ordering::Relaxed),
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => panic!("a subscriber cannot read: {error}"),
            };
        }
        wait::pause(Duration::from_millis(20));
    }
}

fn share(sorted: &[u64], share: f64) -> f64 {
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |micros| *micros as f64 / 1e3)
}

fn filter(mib: u64) {
    let site = Site::new();
    let mut collector = started(&site);
    let (client, pid) = (collector.client(), collector.program().pid());
    let (bytes, needles) = produce_real(&client, mib);
    let all = [("unfiltered", None)].into_iter().chain(FILTERS.map(|(name, filter)| (name, Some(filter))));
    for (name, filter) in all {
        let mut path = "/v1/topics/t/records?from=earliest&follow=false".to_owned();
        if let Some(filter) = filter {
            path.push_str("&filter=");
            path.extend(filter.bytes().map(|byte| format!("%{byte:02X}")));
        }
        let (before, started) = (used(pid).0, Instant::now());
        let (sent, lines) = drain(client.body(&path, "application/x-ndjson").expect("a stream opens"));
        let (took, cpu) = (started.elapsed().as_secs_f64(), used(pid).0 - before);
        println!(
            "filter: {name}: {:.0} MB raw at {:.0} MB/s, {:.2} CPU s/GB, so {:.0} MB/s a core; {lines} lines ({needles} have the needle), {} KB sent",
            bytes as f64 / 1e6,
            bytes as f64 / 1e6 / took,
            cpu / (bytes as f64 / 1e9),
            bytes as f64 / 1e6 / cpu.max(0.01),
            sent / 1000
        );
    }
}

/// Produces real log lines, a MiB a request; gives their bytes, and how many have the needle.
fn produce_real(client: &Client, mib: u64) -> (u64, u64) {
    let lines = samples::lines();
    let (mut bytes, mut needles, mut at) = (0, 0, 0_usize);
    while bytes < mib << 20 {
        let mut body = Vec::with_capacity(2 << 20);
        while body.len() < 1 << 20 {
            body.extend_from_slice(&lines[at % lines.len()]);
            if at.is_multiple_of(ONE_IN) {
                body.extend_from_slice(b" needle-5f2c");
                needles += 1;
            }
            body.push(b'\n');
            at += 1;
        }
        bytes += body.len() as u64;
        assert_eq!(client.post("/v1/topics/t/records", "text/plain", body).status, 200);
    }
    (bytes, needles)
}

fn drain(mut from: impl Read) -> (u64, u64) {
    let (mut chunk, mut bytes, mut lines) = (vec![0; 1 << 20], 0, 0);
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        bytes += count as u64;
        lines += chunk[..count].iter().filter(|byte| **byte == b'\n').count() as u64;
    }
    (bytes, lines)
}

fn started(site: &Site) -> Collector {
    let collector = site.collector().started();
    assert_eq!(collector.client().put("/v1/topics/t", &json!({"partitions": 1})).status, 201);
    collector
}
