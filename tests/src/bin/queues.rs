//! `queues [--jobs 100000] [--workers 20]`: how many jobs a second workers get done that receive and acknowledge one at a time, or a hundred.
//! See bench/queues.

#![expect(clippy::print_stdout, reason = "its output is its result")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skidway_tests::arguments::number;
use skidway_tests::program::used;
use skidway_tests::{Client, Site};

const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

/// Bytes of each job.
const VALUE_BYTES: usize = 200;

fn main() {
    let (jobs, workers) = (number("--jobs", 100_000_u64), number("--workers", 20_usize));
    for at_once in [1, 100] {
        let site = Site::new();
        let mut collector = site.collector().started();
        let client = collector.client();
        let made = client.put("/v1/queues/jobs", &json!({"max_in_flight": 10_000}));
        assert_eq!(made.status, 201, "{}", made.text());
        produce(&client, jobs);
        let pid = collector.program().pid();
        let (cpu_before, started) = (used(pid).0, Instant::now());
        let mut latencies = work(&collector.url(), jobs, workers, at_once);
        let (took, cpu) = (started.elapsed(), used(pid).0 - cpu_before);
        latencies.sort_unstable();
        let part = |of: usize| latencies[(latencies.len() - 1) * of / 100];
        println!(
            "{workers} workers, {at_once} at a time, 4 partitions, fsync: {:.0} jobs/s; receive and ack p50 {:?}, p99 {:?}; \
             collector {:.2} cores, {:.0} us CPU a job",
            jobs as f64 / took.as_secs_f64(),
            part(50),
            part(99),
            cpu / took.as_secs_f64(),
            cpu / jobs as f64 * 1e6,
        );
    }
}

fn produce(client: &Client, jobs: u64) {
    let value = "x".repeat(VALUE_BYTES);
    let numbers: Vec<u64> = (0..jobs).collect();
    for chunk in numbers.chunks(100) {
        let lines: String = chunk.iter().map(|number| format!("{number} {value}\n")).collect();
        assert_eq!(client.post("/v1/topics/jobs/records", "text/plain", lines).status, 200);
    }
}

/// Gets all jobs done; gives how long each receive with its acknowledgement took.
fn work(url: &str, jobs: u64, workers: usize, at_once: usize) -> Vec<Duration> {
    let done = AtomicU64::new(0);
    let receive = json!({"max": at_once, "wait": "100ms"}).to_string();
    std::thread::scope(|scope| {
        let work = || {
            let (client, mut latencies) = (Client::new(url), Vec::new());
            while done.load(Ordering::Relaxed) < jobs {
                let asked = Instant::now();
                let answer = client.post_with("/v1/queues/jobs/receive", &JSON, &receive).json();
                let receipts: Vec<&Value> = answer["messages"]
                    .as_array()
                    .expect("messages")
                    .iter()
                    .map(|message| &message["receipt"])
                    .collect();
                if receipts.is_empty() {
                    continue;
                }
                let ack = json!({"receipts": receipts}).to_string();
                let answer = client.post_with("/v1/queues/jobs/ack", &JSON, ack);
                assert_eq!(answer.status, 200, "{}", answer.text());
                done.fetch_add(receipts.len() as u64, Ordering::Relaxed);
                latencies.push(asked.elapsed());
            }
            latencies
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker works")).collect()
    })
}
