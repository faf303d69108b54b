//! Refusals that take more than a request to meet: damage under a table, memory that others hold, workers without number.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::{Value, json};
use skidway_tests::raw::Raw;
use skidway_tests::wait::{self, PATIENCE};
use skidway_tests::{Answer, Client, Site};

/// Writes `count` keys of a topic of one partition, each with a value of so many bytes.
fn write_keys(client: &Client, topic: &str, count: usize, value_bytes: usize) {
    client.put(&format!("/v1/topics/{topic}"), &json!({"partitions": 1}));
    let value = "v".repeat(value_bytes);
    for first in (0..count).step_by(1000) {
        let body = (first..count.min(first + 1000)).fold(String::new(), |mut body, n| {
            writeln!(body, "{{\"key\":\"k{n}\",\"value\":\"{n} {value}\"}}").unwrap();
            body
        });
        let answer = client.post(&format!("/v1/topics/{topic}/records"), "application/x-ndjson", body);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

fn problem(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["type"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_table_over_damage_is_refused_or_told_without_it() {
    let site = Site::new();
    let mut collector = site.collector().started();
    let client = collector.client();
    client.put("/v1/topics/t", &json!({"partitions": 1}));
    for n in 0..10 {
        let body = format!("{{\"key\":\"k{n}\",\"value\":\"{n}\"}}");
        assert_eq!(client.post("/v1/topics/t/records", "application/x-ndjson", body).status, 200);
    }
    assert_eq!(collector.program().stop(), Some(0));
    collector.start();
    let segment: PathBuf = site.path("data/topics/t-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    let batch_bytes = bytes.len() / 10;
    bytes[3 * batch_bytes + 65] ^= 4;
    std::fs::write(&segment, bytes).unwrap();
    for path in ["/v1/topics/t/table", "/v1/topics/t/table/k3", "/v1/topics/t/table/k1"] {
        assert_eq!(problem(&client.get(path)), (422, "damaged".to_owned()), "{path}");
    }
    let table = client.get("/v1/topics/t/table?skip_damaged=true").json();
    let keys: Vec<&str> = table["records"].as_array().unwrap().iter().map(|it| it["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["k0", "k1", "k2", "k4", "k5", "k6", "k7", "k8", "k9"], "{table}");
}

#[test]
fn a_table_waits_for_the_memory_that_others_hold() {
    let site = Site::new();
    let collector = site.collector().with("[keys]\ntable_bytes = \"1MiB\"").started();
    let client = collector.client();
    // 15 steps of 64 KiB of the 16 that there are, while it is read; 117 KiB for as long as it goes on.
    write_keys(&client, "held", 15_000, 2000);
    write_keys(&client, "wanted", 15_000, 10);
    let mut holder = Raw::connect(collector.port());
    holder.send("GET /v1/topics/held/table HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n");
    assert!(holder.take(1000, PATIENCE).is_some(), "a table that nobody reads on holds its memory");
    let busy = client.get("/v1/topics/wanted/table");
    assert_eq!(problem(&busy), (429, "tables-busy".to_owned()), "{}", busy.text());
    assert!(busy.retry_after.is_some());
    drop(holder);
    let page = wait::until("the memory is free again", || {
        Some(client.get("/v1/topics/wanted/table")).filter(|answer| answer.status == 200)
    });
    assert_eq!(page.json()["records"].as_array().map(Vec::len), Some(500));
}

#[test]
fn workers_without_number_are_told_to_come_back() {
    let site = Site::new();
    let collector = site.collector().with("connections_max = 12000").started();
    let client = collector.client();
    client.put("/v1/topics/t", &json!({"partitions": 1}));
    assert_eq!(client.put("/v1/queues/jobs", &json!({"topic": "t"})).status, 201);
    let ask = "POST /v1/queues/jobs/receive HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"wait\":\"300s\"}";
    let waiting: Vec<Raw> = (0..10_000)
        .filter_map(|_| {
            let mut raw = Raw::try_connect(collector.port())?;
            raw.send(ask).then_some(raw)
        })
        .collect();
    assert_eq!(waiting.len(), 10_000);
    let refused = wait::until("there are as many as there may be", || {
        Some(client.post("/v1/queues/jobs/receive", "application/json", "{}")).filter(|answer| answer.status == 429)
    });
    assert_eq!(refused.json()["type"], json!("too-many-waiting"));
    drop(waiting);
    client.post("/v1/topics/t/records", "text/plain", "a job\n");
    let received: Value = wait::until("who is left gets the record", || {
        let answer = client.post("/v1/queues/jobs/receive", "application/json", "{\"wait\":\"1s\"}");
        (answer.status == 200)
            .then(|| answer.json())
            .filter(|it| it["messages"].as_array().is_some_and(|it| !it.is_empty()))
    });
    assert_eq!(received["messages"][0]["value"], "a job");
}
