//! Queues (docs/queues.md): every job is done, none is lost, none is with two workers at once unless a lease was over.

mod delivery;
mod documentation;
mod requests;
mod workers;

use serde_json::{Value, json};
use skidway_tests::{Answer, Client, Collector, Site};

/// Starts a collector with one queue of one partition.
fn queue(settings: &Value) -> (Site, Collector, Client) {
    let site = Site::new();
    let collector = site.collector().started();
    let client = collector.client();
    assert_eq!(client.put("/v1/topics/jobs", &json!({"partitions": 1})).status, 201);
    let answer = client.put("/v1/queues/jobs", settings);
    assert_eq!(answer.status, 201, "{}", answer.text());
    (site, collector, client)
}

/// Sends record objects to the queue's topic.
fn send(client: &Client, records: &[Value]) {
    let body = json!({"records": records}).to_string();
    let answer = client.post("/v1/topics/jobs/records", "application/json", body);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Sends values `from..to`.
fn send_numbers(client: &Client, numbers: std::ops::Range<u64>) {
    let records: Vec<Value> = numbers.map(|number| json!({"value": number.to_string()})).collect();
    send(client, &records);
}

fn ask(client: &Client, action: &str, body: &Value) -> Answer {
    client.post(&format!("/v1/queues/jobs/{action}"), "application/json", body.to_string())
}

/// Receives; gives the messages.
#[track_caller]
fn receive(client: &Client, body: &Value) -> Vec<Value> {
    let answer = ask(client, "receive", body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["messages"].as_array().unwrap().clone()
}

/// Settles messages; gives what became of each.
#[track_caller]
fn settle(client: &Client, action: &str, messages: &[Value], more: &Value) -> Vec<String> {
    let mut body = more.clone();
    body["receipts"] = receipts(messages);
    let answer = ask(client, action, &body);
    assert!(matches!(answer.status, 200 | 409), "{}", answer.text());
    let results = answer.json()["results"].as_array().unwrap().clone();
    results.iter().map(|result| result["result"].as_str().unwrap().to_owned()).collect()
}

fn receipts(messages: &[Value]) -> Value {
    messages.iter().map(|message| message["receipt"].clone()).collect()
}

fn values(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["value"].as_str().unwrap()).collect()
}

fn shown(client: &Client) -> Value {
    client.get("/v1/queues/jobs").json()
}
