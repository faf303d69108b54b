//! Readers: pages, NDJSON and SSE streams, and the tokens that let a killed one resume.

mod codings;
mod ends;
mod examples;
mod filters;
mod many;

use std::time::Duration;

use serde_json::Value;
use skidway_tests::http::Event;
use skidway_tests::{Client, Collector, Site, wait};

const PATIENCE: Duration = Duration::from_secs(30);

/// A collector with topic `t` of three partitions.
fn serving() -> (Site, Collector, Client) {
    let site = Site::new();
    let collector = site.collector().with("heartbeat_interval = \"1s\"").started();
    let client = collector.client();
    assert_eq!(client.put("/v1/topics/t", &serde_json::json!({"partitions": 3})).status, 201);
    (site, collector, client)
}

/// Produces the numbers as values, `at % 3` being the partition.
fn produce(client: &Client, numbers: std::ops::Range<u64>) {
    let line = |at: u64| format!("{{\"value\":\"{at}\",\"partition\":{}}}\n", at % 3);
    let answer = client.post("/v1/topics/t/records", "application/x-ndjson", numbers.map(line).collect::<String>());
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn number(record: &Value) -> u64 {
    record["value"].as_str().and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("a record: {record}"))
}

fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers
}

/// Reads record events until `count` are there; gives their numbers and the last token.
fn read_events(client: &Client, path: &str, last_id: Option<&str>, count: usize) -> (Vec<u64>, Option<String>) {
    let headers: Vec<(&str, &str)> = last_id.map(|id| ("Last-Event-ID", id)).into_iter().collect();
    let stream = client.stream(path, "text/event-stream", &headers);
    let (mut numbers, mut id) = (Vec::new(), None);
    while numbers.len() < count {
        let event = stream.next_event(PATIENCE).expect("the stream goes on");
        id = event.id.clone().or(id);
        if event.name.is_none() {
            numbers.push(number(&event.json()));
        }
    }
    (numbers, id)
}

#[test]
fn a_killed_subscriber_resumes_after_its_last_event_and_misses_nothing() {
    let (_site, mut collector, client) = serving();
    produce(&client, 0..1000);
    let (mut numbers, mut id) = read_events(&client, "/v1/topics/t/stream?from=earliest", None, 10);
    for round in 1..10 {
        produce(&client, round * 1000..(round + 1) * 1000);
        if round == 5 {
            collector.program().kill9();
            collector.start();
        }
        let (more, next) = read_events(&client, "/v1/topics/t/stream", id.as_deref(), 777);
        numbers.extend(more);
        id = next;
    }
    let rest = 10_000 - numbers.len();
    numbers.extend(read_events(&client, "/v1/topics/t/stream", id.as_deref(), rest).0);
    for partition in 0..3 {
        let of_partition: Vec<u64> = numbers.iter().copied().filter(|number| number % 3 == partition).collect();
        assert!(of_partition.is_sorted(), "partition {partition} in order");
    }
    assert!(sorted(numbers) == (0..10_000).collect::<Vec<u64>>(), "each record once");
}

#[test]
fn every_record_event_carries_a_token() {
    let (_site, _collector, client) = serving();
    produce(&client, 0..30);
    let stream = client.stream("/v1/topics/t/stream?from=earliest", "text/event-stream", &[]);
    let events: Vec<Event> = (0..30).map(|_| stream.next_record(PATIENCE).unwrap()).collect();
    assert!(events.iter().all(|event| event.id.is_some()));
}

#[test]
fn a_following_stream_starts_at_the_latest_record() {
    let (_site, _collector, client) = serving();
    produce(&client, 0..30);
    let stream = client.stream("/v1/topics/t/stream", "text/event-stream", &[]);
    produce(&client, 30..33);
    let numbers: Vec<u64> = (0..3).map(|_| number(&stream.next_record(PATIENCE).unwrap().json())).collect();
    assert_eq!(sorted(numbers), [30, 31, 32]);
}

#[test]
fn a_quiet_stream_beats_with_marks_and_a_token() {
    let (_site, _collector, client) = serving();
    produce(&client, 0..3);
    let stream = client.stream("/v1/topics/t/stream", "text/event-stream", &[]);
    let beat = stream.next_event(PATIENCE).expect("a heartbeat comes");
    assert_eq!(beat.name.as_deref(), Some("heartbeat"));
    assert_eq!(beat.json()["high_watermarks"], serde_json::json!({"0": 1, "1": 1, "2": 1}));
    assert!(beat.json()["next"].is_string());
}

#[test]
fn pages_follow_their_tokens_to_the_head() {
    let (_site, _collector, client) = serving();
    produce(&client, 0..500);
    let (mut numbers, mut path) = (Vec::new(), "/v1/topics/t/records?max_records=7".to_owned());
    loop {
        let page = client.get(&path);
        assert_eq!((page.status, page.content_type.as_str()), (200, "application/json"));
        let page = page.json();
        let records = page["records"].as_array().unwrap();
        assert!(records.len() <= 7);
        if records.is_empty() {
            break;
        }
        numbers.extend(records.iter().map(number));
        path = format!("/v1/topics/t/records?max_records=7&from={}", page["next"].as_str().unwrap());
    }
    assert_eq!(sorted(numbers), (0..500).collect::<Vec<u64>>());
}

#[test]
fn a_waiting_page_answers_when_a_record_comes() {
    let (_site, _collector, client) = serving();
    let next = client.get("/v1/topics/t/records").json()["next"].as_str().unwrap().to_owned();
    let waiting = std::thread::spawn({
        let client = client.clone();
        move || client.get(&format!("/v1/topics/t/records?wait=30s&from={next}")).json()
    });
    wait::pause(Duration::from_millis(200));
    produce(&client, 5..6);
    let page = waiting.join().unwrap();
    assert_eq!(page["records"].as_array().unwrap().iter().map(number).collect::<Vec<_>>(), [5]);
}

#[test]
fn places_to_start_from() {
    let (_site, _collector, client) = serving();
    produce(&client, 0..30);
    let read = |query: &str| {
        let page = client.get(&format!("/v1/topics/t/records?{query}"));
        assert_eq!(page.status, 200, "{query}: {}", page.text());
        sorted(page.json()["records"].as_array().unwrap().iter().map(number).collect())
    };
    assert_eq!(read("from=earliest").len(), 30);
    assert_eq!(read("from=latest"), [0; 0]);
    assert_eq!(read("from=-2"), [24, 25, 26, 27, 28, 29]);
    assert_eq!(read("partition=1&from=-1"), [28]);
    assert_eq!(read("partition=1&offset=8"), [25, 28]);
    assert_eq!(read("partition=1&offset=10"), [0; 0]);
    assert_eq!(read("from=2020-01-01T00:00:00Z").len(), 30);
    assert_eq!(read("from=2100-01-01T00:00:00Z"), [0; 0]);
    assert_eq!(read("partition=2&max_records=2"), [2, 5]);
}

#[test]
fn ndjson_with_tokens_resumes() {
    let (_site, _collector, client) = serving();
    produce(&client, 0..300);
    let read = |query: &str, count: usize| {
        let path = format!("/v1/topics/t/records?tokens=true&{query}");
        let stream = client.stream(&path, "application/x-ndjson", &[]);
        let record = |_| serde_json::from_str::<Value>(&stream.next_within(PATIENCE).unwrap()).unwrap();
        (0..count).map(record).collect::<Vec<_>>()
    };
    let first = read("from=earliest", 100);
    let token = first[99]["next"].as_str().expect("each record has a token").to_owned();
    let second = read(&format!("from={token}"), 200);
    let numbers = first.iter().chain(&second).map(number).collect();
    assert_eq!(sorted(numbers), (0..300).collect::<Vec<u64>>());
}

#[test]
fn a_token_of_a_topic_deleted_and_recreated_is_gone() {
    let (_site, _collector, client) = serving();
    produce(&client, 0..3);
    let next = client.get("/v1/topics/t/records").json()["next"].as_str().unwrap().to_owned();
    assert_eq!(client.delete("/v1/topics/t").status, 204);
    client.put("/v1/topics/t", &serde_json::json!({"partitions": 3}));
    let answer = client.get(&format!("/v1/topics/t/records?from={next}"));
    assert_eq!((answer.status, answer.content_type.as_str()), (410, "application/problem+json"));
    assert!(answer.json()["earliest"].is_string(), "{}", answer.text());
}

#[test]
fn a_record_shows_all_its_parts() {
    let (_site, _collector, client) = serving();
    let record = r#"{"key":"k","value_base64":"/w==","headers":{"a":"1","b":["x","y"],"c":{"base64":"/w=="}},"timestamp":"2026-01-02T03:04:05.678Z","partition":2}"#;
    assert_eq!(client.post("/v1/topics/t/records", "application/x-ndjson", record).status, 200);
    assert_eq!(
        client
            .post(
                "/v1/topics/t/records",
                "application/json",
                r#"{"records":[{"key":"k2","value":null,"partition":2,"timestamp":7}]}"#
            )
            .status,
        200
    );
    let page = client.get("/v1/topics/t/records?partition=2").json();
    let expected = serde_json::json!([
        {"topic":"t","partition":2,"offset":0,"timestamp":"2026-01-02T03:04:05.678Z","key":"k",
         "headers":{"a":"1","b":["x","y"],"c":{"base64":"/w=="}},"value_base64":"/w=="},
        {"topic":"t","partition":2,"offset":1,"timestamp":"1970-01-01T00:00:00.007Z","key":"k2","headers":{},"value":null},
    ]);
    assert_eq!(page["records"], expected);
}

#[test]
fn values_can_be_decoded_in_place() {
    let (_site, _collector, client) = serving();
    client.post("/v1/topics/t/records", "application/x-ndjson", r#"{"value":"{\"level\":\"warn\"}","partition":0}"#);
    let page = client.get("/v1/topics/t/records?decode=json").json();
    assert_eq!(page["records"][0]["value"], serde_json::json!({"level": "warn"}));
}

#[test]
fn reading_an_unknown_topic_does_not_create_it() {
    let (_site, _collector, client) = serving();
    for accept in ["application/json", "application/x-ndjson", "text/event-stream"] {
        let answer = client.get_with("/v1/topics/nowhere/records", &[("Accept", accept)]);
        assert_eq!((answer.status, answer.content_type.as_str()), (404, "application/problem+json"), "{accept}");
    }
    assert_eq!(client.get("/v1/topics/nowhere").status, 404);
}
