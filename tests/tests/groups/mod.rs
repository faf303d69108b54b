//! Consumer groups: members share the work, what is committed is where a group goes on, and nothing is lost or hidden when members or the
//! collector come and go.

mod documented;
mod keeping;
mod killed;
mod output;
mod reading;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skidway_tests::http::Stream;
use skidway_tests::{Answer, Client, Collector, Site, wait};

const PATIENCE: Duration = Duration::from_secs(30);

/// A collector with topic `t` of four partitions, which waits for what is not committed as long as `rebalance_timeout` says.
fn serving(groups: &str) -> (Site, Collector, Client) {
    let site = Site::new();
    let config = format!("heartbeat_interval = \"1s\"\n[groups]\n{groups}");
    let collector = site.collector().with(&config).started();
    let client = collector.client();
    assert_eq!(client.put("/v1/topics/t", &json!({"partitions": 4})).status, 201);
    (site, collector, client)
}

/// Produces the numbers as values, `at % 4` being the partition.
fn produce(client: &Client, numbers: std::ops::Range<u64>) {
    let line = |at: u64| format!("{{\"value\":\"{at}\",\"partition\":{}}}\n", at % 4);
    let answer = client.post("/v1/topics/t/records", "application/x-ndjson", numbers.map(line).collect::<String>());
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn post(client: &Client, path: &str, body: &Value) -> Answer {
    client.post(path, "application/json", body.to_string())
}

fn commit(client: &Client, group: &str, token: &str) -> Answer {
    post(client, &format!("/v1/groups/{group}/commit"), &json!({ "token": token }))
}

fn show(client: &Client, group: &str) -> Value {
    client.get(&format!("/v1/groups/{group}")).json()
}

/// Reads a stream of lines.
struct Member(Stream);

impl Member {
    fn join(client: &Client, group: &str, query: &str) -> Self {
        let path = format!("/v1/groups/{group}/records?topics=t&tokens=true&{query}");
        Self(client.stream(&path, "application/x-ndjson", &[]))
    }

    fn next(&self) -> Value {
        let line = self.0.next_within(PATIENCE).expect("the stream goes on");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Gives the next line that has this member; those before it are passed over.
    fn next_with(&self, name: &str) -> Value {
        self.next_like(&format!("a line with {name:?}"), |line| !line[name].is_null())
    }

    /// Gives the next line that is so; those before it are passed over. Heartbeats alone do not make it wait for ever.
    fn next_like(&self, what: &str, is_like: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + wait::PATIENCE;
        while Instant::now() < deadline {
            let line = self.next();
            if is_like(&line) {
                return line;
            }
        }
        panic!("waited in vain for {what}")
    }

    /// Waits until the member is told that it reads these partitions.
    fn reads(&self, partitions: &[u64]) -> Value {
        let reads = |line: &Value| {
            line["assignment"]["partitions"].is_array() && numbers_of(&line["assignment"]["partitions"]) == partitions
        };
        self.next_like(&format!("an assignment of {partitions:?}"), reads)
    }

    /// Reads so many records; gives their values, and the last one's token.
    fn records(&self, count: usize) -> (Vec<u64>, String) {
        let lines: Vec<Value> = (0..count).map(|_| self.next_with("value")).collect();
        let token = lines.last().and_then(|line| line["next"].as_str()).unwrap_or_default().to_owned();
        (lines.iter().map(number).collect(), token)
    }
}

fn numbers_of(partitions: &Value) -> Vec<u64> {
    partitions.as_array().unwrap().iter().map(|it| it["partition"].as_u64().unwrap()).collect()
}

fn number(record: &Value) -> u64 {
    record["value"].as_str().and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("a record: {record}"))
}

fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers
}
