//! Readers of many topics: names and patterns, topics that come and go, tokens of all of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use skidway_tests::{Client, Collector, Site, wait};

use super::PATIENCE;

/// A collector with topics `a`, `app-1` and `app-2`, of two partitions each.
fn serving() -> (Site, Collector, Client) {
    let site = Site::new();
    let collector = site.collector().with("heartbeat_interval = \"1s\"").started();
    let client = collector.client();
    ["a", "app-1", "app-2"].iter().for_each(|topic| create(&client, topic));
    (site, collector, client)
}

fn create(client: &Client, topic: &str) {
    assert_eq!(client.put(&format!("/v1/topics/{topic}"), &json!({"partitions": 2})).status, 201);
}

/// Produces so many records to a topic: `<topic>:<number>`, in turn to both partitions.
fn produce(client: &Client, topic: &str, numbers: std::ops::Range<u64>) {
    let line = |at: u64| format!("{{\"value\":\"{topic}:{at}\",\"partition\":{}}}\n", at % 2);
    let path = format!("/v1/topics/{topic}/records");
    let answer = client.post(&path, "application/x-ndjson", numbers.map(line).collect::<String>());
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn values(records: &[Value]) -> Vec<String> {
    let mut values: Vec<String> = records
        .iter()
        .map(|record| record["value"].as_str().unwrap_or_else(|| panic!("{record}")).to_owned())
        .collect();
    values.sort();
    values
}

fn expected(topics: &[&str], numbers: std::ops::Range<u64>) -> Vec<String> {
    let mut values: Vec<String> =
        topics.iter().flat_map(|topic| numbers.clone().map(move |at| format!("{topic}:{at}"))).collect();
    values.sort();
    values
}

/// Reads pages to the head; gives the records and the last token.
fn read_pages(client: &Client, query: &str, from: Option<&str>) -> (Vec<Value>, String) {
    let (mut records, mut from) = (Vec::new(), from.unwrap_or("earliest").to_owned());
    loop {
        let page = client.get(&format!("/v1/records?{query}&from={from}"));
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.json();
        from = page["next"].as_str().unwrap().to_owned();
        let more = page["records"].as_array().unwrap();
        if more.is_empty() {
            return (records, from);
        }
        records.extend(more.iter().cloned());
    }
}

#[test]
fn names_and_patterns_are_read_together_and_each_record_once() {
    let (_site, _collector, client) = serving();
    ["a", "app-1", "app-2"].iter().for_each(|topic| produce(&client, topic, 0..50));
    for (topics, read) in [
        ("a,app-2", &["a", "app-2"][..]),
        ("app-*", &["app-1", "app-2"]),
        ("*", &["a", "app-1", "app-2"]),
        ("app-%3F,a", &["a", "app-1", "app-2"]),
    ] {
        let (records, _) = read_pages(&client, &format!("topics={topics}&max_records=7"), None);
        assert_eq!(values(&records), expected(read, 0..50), "{topics}");
        let answer = client.get_with(
            &format!("/v1/records?topics={topics}&follow=false&from=earliest"),
            &[("Accept", "application/x-ndjson")],
        );
        let lines: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(values(&lines), expected(read, 0..50), "{topics}");
    }
}

#[test]
fn pages_of_few_records_serve_every_topic() {
    let (_site, _collector, client) = serving();
    ["a", "app-1", "app-2"].iter().for_each(|topic| produce(&client, topic, 0..20));
    let (mut from, mut read) = ("earliest".to_owned(), BTreeMap::<String, u64>::new());
    for _ in 0..12 {
        let page = client.get(&format!("/v1/records?topics=*&max_records=1&from={from}")).json();
        from = page["next"].as_str().unwrap().to_owned();
        *read.entry(page["records"][0]["topic"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(read.into_values().collect::<Vec<_>>(), [4, 4, 4]);
}

#[test]
fn a_stream_of_many_resumes_after_its_last_event_over_a_kill() {
    let (_site, mut collector, client) = serving();
    ["a", "app-1"].iter().for_each(|topic| produce(&client, topic, 0..100));
    let read = |from: Option<&str>, count: usize| {
        let headers: Vec<(&str, &str)> = from.map(|id| ("Last-Event-ID", id)).into_iter().collect();
        let stream = client.stream("/v1/stream?topics=a,app-*&from=earliest", "text/event-stream", &headers);
        let events: Vec<_> = (0..count).map(|_| stream.next_record(PATIENCE).expect("a record")).collect();
        let id = events.last().and_then(|event| event.id.clone()).expect("an id");
        (events.iter().map(|event| event.json()).collect::<Vec<_>>(), id)
    };
    let (mut records, id) = read(None, 77);
    collector.program().kill9();
    collector.start();
    produce(&client, "app-2", 0..100);
    records.extend(read(Some(&id), 300 - 77).0);
    assert_eq!(values(&records), expected(&["a", "app-1", "app-2"], 0..100));
}

#[test]
fn a_topic_that_comes_to_match_is_read_from_its_beginning() {
    let (_site, _collector, client) = serving();
    produce(&client, "app-1", 0..10);
    let stream = client.stream("/v1/stream?topics=app-*,later*", "text/event-stream", &[]);
    create(&client, "later-1");
    produce(&client, "later-1", 0..10);
    produce(&client, "app-1", 10..12);
    create(&client, "other");
    let records: Vec<Value> = (0..12).map(|_| stream.next_record(PATIENCE).expect("a record").json()).collect();
    let mut all = expected(&["later-1"], 0..10);
    all.extend(expected(&["app-1"], 10..12));
    all.sort();
    assert_eq!(values(&records), all);
    assert_eq!(client.put("/v1/topics/later-1", &json!({"partitions": 3})).status, 200);
    let record = "{\"value\":\"in a new partition\",\"partition\":2}";
    assert_eq!(client.post("/v1/topics/later-1/records", "application/x-ndjson", record).status, 200);
    assert_eq!(stream.next_record(PATIENCE).expect("a record").json()["partition"], 2);
}

#[test]
fn a_pattern_that_matches_nothing_yet_waits() {
    let (_site, _collector, client) = serving();
    let waiting = std::thread::spawn({
        let client = client.clone();
        move || client.get("/v1/records?topics=nothing-yet-*&wait=60s").json()
    });
    wait::pause(std::time::Duration::from_millis(200));
    create(&client, "nothing-yet-1");
    produce(&client, "nothing-yet-1", 0..1);
    assert_eq!(values(waiting.join().unwrap()["records"].as_array().unwrap()), ["nothing-yet-1:0"]);
}

#[test]
fn a_topic_deleted_among_many_leaves_with_a_word_and_the_others_go_on() {
    let (_site, _collector, client) = serving();
    ["a", "app-1"].iter().for_each(|topic| produce(&client, topic, 0..2));
    let (_, token) = read_pages(&client, "topics=*", None);
    let stream = client.stream("/v1/stream?topics=*", "text/event-stream", &[]);
    let lines = client.stream("/v1/records?topics=*", "application/x-ndjson", &[]);
    assert_eq!(client.delete("/v1/topics/app-1").status, 204);
    produce(&client, "a", 2..3);
    let (mut gone, mut record) = (None, None);
    while gone.is_none() || record.is_none() {
        let event = stream.next_event(PATIENCE).expect("the stream goes on");
        match event.name.as_deref() {
            Some("gone") => gone = Some(event.json()),
            None => record = Some(event.json()),
            Some(_) => {}
        }
    }
    assert_eq!(gone.unwrap()["topic"], "app-1");
    assert_eq!(record.unwrap()["value"], "a:2");
    let line = wait::until("the line comes", || {
        let line: Value = serde_json::from_str(&lines.next_within(PATIENCE)?).unwrap();
        line.get("gone").is_some().then_some(line)
    });
    assert_eq!(line["gone"]["topic"], "app-1");
    let page = client.get(&format!("/v1/records?topics=*&from={token}")).json();
    assert_eq!(
        (values(page["records"].as_array().unwrap()), page["gone"].as_array().unwrap().len()),
        (vec!["a:2".into()], 1)
    );
}

#[test]
fn heartbeats_and_starting_places_are_by_topic() {
    let (_site, _collector, client) = serving();
    ["a", "app-1"].iter().for_each(|topic| produce(&client, topic, 0..10));
    let stream = client.stream("/v1/stream?topics=a,app-1", "text/event-stream", &[]);
    let beat = stream.next_event(PATIENCE).expect("a heartbeat comes");
    assert_eq!(beat.json()["high_watermarks"], json!({"a": {"0": 5, "1": 5}, "app-1": {"0": 5, "1": 5}}));
    let count = |from: &str| {
        client.get(&format!("/v1/records?topics=*&from={from}")).json()["records"].as_array().unwrap().len()
    };
    assert_eq!(
        (count("latest"), count("-1"), count("2020-01-01T00:00:00Z"), count("2100-01-01T00:00:00Z")),
        (0, 4, 20, 0)
    );
}

#[test]
fn what_many_topics_cannot_be_asked_is_refused_by_name() {
    let (_site, _collector, client) = serving();
    let one = client.get("/v1/topics/a/records").json()["next"].as_str().unwrap().to_owned();
    let many = client.get("/v1/records?topics=*").json()["next"].as_str().unwrap().to_owned();
    for (path, status, words) in [
        ("/v1/records".into(), 400, "topics:"),
        ("/v1/records?topics=".into(), 400, "topics:"),
        ("/v1/records?topics=a,%5Bb".into(), 400, "topics:"),
        ("/v1/records?topics=a,nowhere".into(), 404, "nowhere"),
        ("/v1/records?topics=a&partition=0".into(), 400, "partition:"),
        (format!("/v1/records?topics=a&from={one}"), 400, "one topic"),
        (format!("/v1/topics/a/records?from={many}"), 400, "many topics"),
        ("/v1/stream?topics=a&nonsense=1".into(), 400, "nonsense"),
    ] {
        let answer = client.get(&path);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert!(answer.text().contains(words), "{path}: {}", answer.text());
    }
    let raw = client.get_with("/v1/records?topics=a", &[("Accept", "application/vnd.kafka.recordbatch")]);
    assert_eq!(raw.status, 406);
}

#[test]
fn records_deleted_among_many_are_gone_with_the_earliest_place_of_all() {
    let (_site, _collector, client) = serving();
    let (_, token) = read_pages(&client, "topics=*", None);
    ["a", "app-1"].iter().for_each(|topic| produce(&client, topic, 0..10));
    assert_eq!(client.delete("/v1/topics/a/records?partition=0&before_offset=3").status, 200);
    let answer = client.get(&format!("/v1/records?topics=*&from={token}"));
    assert_eq!(answer.status, 410, "{}", answer.text());
    let earliest = answer.json()["earliest"].as_str().unwrap().to_owned();
    let (records, _) = read_pages(&client, "topics=*", Some(&earliest));
    assert_eq!(records.len(), 17);
}
