//! `tls [--mib 1024] [--rounds 5] [--readers 2]`: with TLS against without, in turn. See bench/tls.
//!
//! One case is an agent that ships a file of real log lines, `run --once`, from its start to its end; the next, clients that read what it shipped as
//! lines of NDJSON, all at once; the last, clients that read the stored batches as they are. Clients and collector share the machine.

#![expect(clippy::print_stdout, reason = "its output is its result")]

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use skidway_tests::arguments::number;
use skidway_tests::program::used;
use skidway_tests::tls::Authority;
use skidway_tests::{Client, Collector, Site, samples, topic};

/// The least share of the plain rate that TLS is to leave.
const GOAL: f64 = 0.85;
const LINES: &str = "application/x-ndjson";
const BATCHES: &str = "application/vnd.kafka.recordbatch";

/// Holds what one round took.
#[derive(Clone, Copy)]
struct Round {
    /// MB/s of lines shipped.
    shipped: f64,
    /// MB/s of NDJSON read, all readers together.
    lines: f64,
    /// MB/s of batches read, all readers together.
    batches: f64,
    /// Of the collector.
    cpu_seconds: f64,
}

fn main() {
    let (mib, rounds, readers): (usize, usize, usize) =
        (number("--mib", 1024), number("--rounds", 5), number("--readers", 2));
    let lines = samples::repeated(&samples::lines(), mib << 20);
    println!(
        "# TLS against plain HTTP\n\n{} bytes of real log lines, {readers} readers, {rounds} rounds in turn.\n",
        lines.len()
    );
    println!("| round | transport | agent MB/s | NDJSON MB/s | batches MB/s | collector CPU s |");
    println!("|---|---|---|---|---|---|");
    let (mut plain, mut tls) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // Each is first in every other round: who comes second finds the machine warmer.
        let order = if round % 2 == 0 { [false, true] } else { [true, false] };
        for with_tls in order {
            let measured = measure(&lines, with_tls, readers);
            let name = if with_tls { "TLS" } else { "plain" };
            let Round { shipped, lines, batches, cpu_seconds } = measured;
            println!("| {} | {name} | {shipped:.0} | {lines:.0} | {batches:.0} | {cpu_seconds:.2} |", round + 1);
            if with_tls { &mut tls } else { &mut plain }.push(measured);
        }
    }
    let ratio = |of: fn(&Round) -> f64| median(&tls, of) / median(&plain, of);
    let (shipped, lines, batches) = (ratio(|it| it.shipped), ratio(|it| it.lines), ratio(|it| it.batches));
    println!(
        "\nOf the medians, TLS is {shipped:.3} of plain for the agent and {lines:.3} for readers of lines (goal: {GOAL}), and {batches:.3} for readers of stored batches."
    );
}

fn median(rounds: &[Round], of: fn(&Round) -> f64) -> f64 {
    let mut figures: Vec<f64> = rounds.iter().map(of).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn measure(lines: &[u8], with_tls: bool, readers: usize) -> Round {
    let (site, authority) = (Site::new(), Authority::new());
    let mut file = std::fs::File::create(site.path("logs/a.log")).expect("a file");
    file.write_all(lines).and_then(|()| file.sync_all()).expect("the lines are written");
    let mut collector = site.collector().with("[topics]\npartitions = 1\n[engine]\ndurability = \"fsync\"");
    let mut agent_tls = String::new();
    if with_tls {
        collector = collector.with_tls(&site, &authority, "", None);
        agent_tls = format!("[collector.tls]\nca_file = {:?}", site.text("ca.pem"));
    }
    let mut collector = collector.started();
    let agent = site.agent("bench", &collector.url()).with(&agent_tls).follows(&site.text("logs/*.log"), "app");

    let started = Instant::now();
    let (code, said) = agent.once();
    let took = started.elapsed();
    assert_eq!(code, Some(0), "{said}");
    let records = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
    assert_eq!(topic::count(&collector.client(), "app"), records, "every line is stored");

    let (lines_read, batches) = (read_all(&collector, readers, LINES), read_all(&collector, readers, BATCHES));
    let (cpu_seconds, _) = used(collector.program().pid());
    Round { shipped: rate(lines.len() as u64, took), lines: lines_read, batches, cpu_seconds }
}

/// Reads the topic in a form with so many clients at once; gives the rate of all together, in MB/s.
fn read_all(collector: &Collector, readers: usize, form: &str) -> f64 {
    let read = |client: Client| {
        let url = "/v1/topics/app/records?partition=0&offset=0&follow=false";
        let mut body = client.body(url, form).expect("the topic is read");
        let (mut piece, mut bytes) = (vec![0; 256 << 10], 0);
        loop {
            match body.read(&mut piece).expect("the stream goes on") {
                0 => return bytes,
                len => bytes += len as u64,
            }
        }
    };
    let started = Instant::now();
    let bytes = std::thread::scope(|scope| {
        let clients = (0..readers).map(|_| collector.client());
        let running: Vec<_> = clients.map(|client| scope.spawn(move || read(client))).collect();
        running.into_iter().map(|reader| reader.join().expect("a reader reads")).sum()
    });
    rate(bytes, started.elapsed())
}

fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64()
}
