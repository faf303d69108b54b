//! How streams end and how slow they may be: a collector that stops says when to come back, and slow readers lose nothing unsaid.

use std::io::{BufRead, BufReader, Read};

use serde_json::{Value, json};
use skidway_tests::{Client, scale, wait};

use super::{PATIENCE, number, produce, serving, sorted};

#[test]
fn a_collector_that_stops_says_when_to_come_back_and_nothing_is_missed() {
    let (_site, mut collector, client) = serving();
    produce(&client, 0..30);
    let stream = client.stream("/v1/topics/t/stream?from=earliest", "text/event-stream", &[]);
    let lines = client.stream("/v1/topics/t/records?from=earliest", "application/x-ndjson", &[]);
    let mut numbers: Vec<u64> = (0..30).map(|_| number(&stream.next_record(PATIENCE).unwrap().json())).collect();
    (0..30).for_each(|_| assert!(lines.next_within(PATIENCE).is_some()));
    assert_eq!(collector.program().stop(), Some(0));

    let (mut retry, mut last_id, mut said) = (None, None, None);
    while let Some(line) = stream.next_within(PATIENCE) {
        match line.split_once(": ") {
            Some(("retry", ms)) => retry = ms.parse::<u64>().ok(),
            Some(("id", id)) => last_id = Some(id.to_owned()),
            Some(("data", data)) => said = serde_json::from_str::<Value>(data).ok(),
            _ => {}
        }
    }
    let (retry, said) = (retry.expect("a retry field"), said.expect("an event"));
    assert!((500..=3000).contains(&retry), "{retry}");
    assert_eq!((&said["reconnect"]["after_ms"], said["next"].as_str()), (&json!(retry), last_id.as_deref()));
    let mut last = None;
    while let Some(line) = lines.next_within(PATIENCE) {
        last = serde_json::from_str::<Value>(&line).ok();
    }
    let last = last.expect("a last line");
    assert!(last["reconnect"]["after_ms"].is_u64() && last["next"].is_string(), "{last}");

    collector.start();
    produce(&client, 30..60);
    let id = last_id.unwrap();
    let stream = client.stream("/v1/topics/t/stream?from=earliest", "text/event-stream", &[("Last-Event-ID", &id)]);
    numbers.extend((0..30).map(|_| number(&stream.next_record(PATIENCE).unwrap().json())));
    assert_eq!(sorted(numbers), (0..60).collect::<Vec<u64>>());
}

#[test]
fn a_page_waits_for_as_many_bytes_as_it_should_have() {
    let (_site, _collector, client) = serving();
    produce(&client, 0..3);
    let waiting = std::thread::spawn({
        let client = client.clone();
        move || client.get("/v1/topics/t/records?min_bytes=20KiB&wait=60s").json()
    });
    // Each of these alone is too little.
    for round in 1..=100 {
        if waiting.is_finished() {
            break;
        }
        produce(&client, round * 30..round * 30 + 30);
        wait::pause(std::time::Duration::from_millis(20));
    }
    let page = waiting.join().unwrap();
    let bytes = page["records"].to_string().len();
    assert!(bytes > 15 << 10, "{bytes}");
    let short = client.get("/v1/topics/t/records?partition=0&max_records=1&min_bytes=1MiB&wait=60s").json();
    assert_eq!(short["records"].as_array().map(Vec::len), Some(1), "a full page waits for nothing");
    assert_eq!(client.get("/v1/topics/t/records?min_bytes=17MiB").status, 400);
}

/// Produces records of 1 KiB to partition 0, so many MiB of them.
fn produce_mib(client: &Client, mib: u64) {
    let line = format!("{{\"partition\":0,\"value\":\"{}\"}}\n", "x".repeat(1000));
    for _ in 0..mib {
        assert_eq!(client.post("/v1/topics/t/records", "application/x-ndjson", line.repeat(1024)).status, 200);
    }
}

fn is_heartbeat(line: &[u8]) -> bool {
    line.starts_with(b"{\"heartbeat\"")
}

#[test]
fn one_that_hardly_reads_harms_nobody_and_loses_nothing() {
    let (_site, _collector, client) = serving();
    let path = "/v1/topics/t/records?from=earliest&partition=0";
    let slow = client.body(path, "application/x-ndjson").unwrap();
    let mut slow = BufReader::with_capacity(64, slow);
    // More than the sockets and the shared memory hold together.
    let mib = scale::amount(200, 48);
    let reader = std::thread::spawn({
        let client = client.clone();
        move || {
            let body = client.body(&format!("{path}&max_records={}", mib * 1024), "application/x-ndjson").unwrap();
            BufReader::with_capacity(1 << 20, body)
                .split(b'\n')
                .map_while(Result::ok)
                .filter(|line| !is_heartbeat(line))
                .count() as u64
        }
    });
    let mut byte = [0];
    for _ in 0..mib {
        produce_mib(&client, 1);
        slow.read_exact(&mut byte).unwrap();
    }
    assert_eq!(reader.join().unwrap(), mib * 1024, "another reads on");
    let lines = slow.split(b'\n').map(Result::unwrap).filter(|line| !is_heartbeat(line)).skip(1);
    let offset = |line: Vec<u8>| serde_json::from_slice::<Value>(&line).unwrap()["offset"].as_u64().unwrap();
    let read: Vec<u64> = lines.take(mib as usize * 1024 - 1).map(offset).collect();
    assert!(read == (1..mib * 1024).collect::<Vec<u64>>(), "it has each record once");
}

#[test]
fn one_so_slow_that_its_records_were_deleted_is_told() {
    let (_site, _collector, client) = serving();
    let path = "/v1/topics/t/records?from=earliest&partition=0";
    produce_mib(&client, 32);
    let slow = BufReader::new(client.body(path, "application/x-ndjson").unwrap());
    let deleted = client.delete(&format!("/v1/topics/t/records?partition=0&before_offset={}", 32 * 1024));
    assert_eq!(deleted.status, 200);
    let lines = slow.split(b'\n').map(|line| serde_json::from_slice::<Value>(&line.unwrap()).unwrap());
    let (mut read, mut told) = (0, None);
    for line in lines {
        match line.get("error") {
            Some(error) => told = Some(error.clone()),
            None => read += u64::from(line.get("offset").is_some()),
        }
    }
    let told = told.unwrap_or_else(|| panic!("{read} records, and no word"));
    assert_eq!(told["status"], 410);
    let earliest = told["earliest"].as_str().unwrap();
    let page = client.get(&format!("/v1/topics/t/records?partition=0&from={earliest}"));
    assert_eq!((page.status, page.json()["records"].as_array().map(Vec::len)), (200, Some(0)));
}
