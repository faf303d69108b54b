//! `latency [--files 100] [--active FILES] [--rate 10000] [--seconds 60] [--hot 0] [--idle 0] [--descriptors 0]`: line written → SSE
//! subscriber, and what the agent costs. See bench/latency.
//!
//! Of the files, the active ones are written to; `--hot` pours so many MB/s into another one, of another topic, meanwhile. Before the clock
//! starts nothing is written for `--idle` seconds. The agent may open `--descriptors`.
//!
//! One process writes and subscribes, so both ends read one monotonic clock. A line is one `write`.

#![expect(clippy::print_stdout, reason = "its output is its result")]

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use skidway_tests::arguments::number;
use skidway_tests::program::used;
use skidway_tests::wait::pause;
use skidway_tests::{Site, topic};

const TOPIC: &str = "bench";
const TICK: Duration = Duration::from_millis(1);

fn main() {
    let (files, rate, seconds) = (number("--files", 100), number("--rate", 10_000), number("--seconds", 60));
    let (hot, idle) = (number("--hot", 0.0), Duration::from_secs(number("--idle", 0)));
    let site = Site::new();
    let mut collector = site.collector().with("[engine]\ndurability = \"fsync\"").started();
    let mut logs = open(&site, files, number("--active", files));
    let descriptors = number("--descriptors", 0);
    let limit = ["prlimit".to_owned(), format!("--nofile={descriptors}")];
    let agent = site.agent("bench", &collector.url()).under(if descriptors > 0 { &limit[..] } else { &[] });
    let agent = agent.follows(&site.text("logs/*/*.log"), TOPIC).follows(&site.text("logs/hot.log"), "hot");
    let mut agent = agent.started();
    topic::wait_for(&collector.client(), TOPIC, files);
    let before = used(agent.program().pid());
    pause(idle);
    if !idle.is_zero() {
        let (cpu, rss) = used(agent.program().pid());
        let share = (cpu - before.0) / idle.as_secs_f64() * 100.0;
        println!("{files} idle files for {idle:?}: {share:.3} % of a core, peak RSS {:.0} MiB.\n", mib(rss));
    }
    let _pouring = (hot > 0.0).then(|| pour(&site, hot * 1e6));

    let clock = Instant::now();
    let body = collector.client().body(&format!("/v1/topics/{TOPIC}/stream"), "text/event-stream").expect("a stream");
    let lines = rate * seconds;
    let latencies = subscribe(body, clock, lines);
    let before = (used(agent.program().pid()), used(collector.program().pid()));
    let late = write(&mut logs, clock, rate, lines);
    let wall = clock.elapsed().as_secs_f64();
    let after = (used(agent.program().pid()), used(collector.program().pid()));
    let mut latencies = latencies.recv_timeout(Duration::from_secs(30)).expect("every line arrives within 30 s");

    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    let percent = |before: (f64, u64), after: (f64, u64)| (after.0 - before.0) / wall * 100.0;
    println!("# Line written to SSE subscriber\n");
    println!(
        "{files} files, {} of them active, {rate} lines/s, {seconds} s, {} lines arrived, fsync before each acknowledgement; beside them \
         one file of {hot} MB/s.\n",
        logs.len(),
        latencies.len()
    );
    println!(
        "| p50 ms | p99 ms | max ms | agent CPU % of a core | agent peak RSS MiB | collector CPU % | collector peak RSS MiB |"
    );
    println!("|---|---|---|---|---|---|---|");
    println!(
        "| {:.2} | {:.2} | {:.1} | {:.1} | {:.0} | {:.1} | {:.0} |\n",
        at(0.5),
        at(0.99),
        at(1.0),
        percent(before.0, after.0),
        mib(after.0.1),
        percent(before.1, after.1),
        mib(after.1.1),
    );
    println!("The writer was at most {late:?} behind its pace.");
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Creates the log files, each with one line, so that all are known before the clock starts; gives the active ones.
fn open(site: &Site, files: u64, active: u64) -> Vec<File> {
    let paths: Vec<_> = (0..files).map(|at| site.write(&format!("logs/{}/{at:03}.log", at % 50), "first\n")).collect();
    let every = (files / active.clamp(1, files)) as usize;
    let one = |path| OpenOptions::new().append(true).open(path).expect("a log file opens");
    paths.into_iter().step_by(every).take(active as usize).map(one).collect()
}

/// Pours lines into a file, so many bytes a second, in a thread of its own that ends with the process. Starts it anew every GB.
fn pour(site: &Site, pace: f64) -> std::thread::JoinHandle<()> {
    let line =
        "hot GET /api/v1/orders/4711 200 12ms Mozilla/5.0 (X11; Linux x86_64) session=abcdef0123456789 level=info\n";
    let (block, path, old) = (line.repeat(10_000), site.path("logs/hot.log"), site.path("logs/hot.old"));
    std::thread::spawn(move || {
        let (started, mut bytes) = (Instant::now(), 0);
        loop {
            let mut file = File::create(&path).expect("the hot file is created");
            while file.metadata().is_ok_and(|it| it.len() < 1 << 30) {
                file.write_all(block.as_bytes()).expect("the hot file is written");
                bytes += block.len();
                pause(Duration::from_secs_f64(bytes as f64 / pace).saturating_sub(started.elapsed()));
            }
            rustix::fs::rename(&path, &old).expect("the hot file is renamed");
        }
    })
}

/// Reads the stream in a thread of its own; gives the latencies in microseconds once `count` lines are there.
fn subscribe(body: impl Read + Send + 'static, clock: Instant, count: u64) -> Receiver<Vec<u64>> {
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        let mut latencies = Vec::with_capacity(count as usize);
        let mut lines = BufReader::with_capacity(64 << 10, body).split(b'\n');
        while latencies.len() < count as usize {
            let Some(Ok(line)) = lines.next() else { break };
            if let Some(written) = written_at(&line) {
                latencies.push((clock.elapsed().as_micros() as u64).saturating_sub(written));
            }
        }
        sender.send(latencies)
    });
    receiver
}

/// Finds the moment a line was written, in microseconds: it opens the value.
fn written_at(line: &[u8]) -> Option<u64> {
    let mark = b"\"value\":\"t=";
    let at = line.windows(mark.len()).position(|window| window == mark)? + mark.len();
    line[at..]
        .iter()
        .map_while(|byte| char::from(*byte).to_digit(10))
        .map(u64::from)
        .reduce(|number, digit| number * 10 + digit)
}

/// Writes lines at a steady pace, file after file; gives how far it ever fell behind.
fn write(logs: &mut [File], clock: Instant, rate: u64, lines: u64) -> Duration {
    let (started, mut written, mut late) = (Instant::now(), 0, Duration::ZERO);
    let filler = "GET /api/v1/orders/4711 200 12ms Mozilla/5.0 (X11; Linux x86_64) session=abcdef0123456789 level=info user=someone";
    while written < lines {
        let due = (started.elapsed().as_micros() as u64 * rate / 1_000_000).min(lines);
        late = late.max(Duration::from_micros(due.saturating_sub(written) * 1_000_000 / rate).saturating_sub(TICK));
        for at in written..due {
            let line = format!("t={} {at} {filler}\n", clock.elapsed().as_micros());
            logs[(at % logs.len() as u64) as usize].write_all(line.as_bytes()).expect("a line is written");
        }
        written = due;
        pause(TICK);
    }
    late
}
