//! Reading: pages, streams, and where they start.

use std::time::Duration;

use serde_json::Value;

use crate::Collector;
use crate::client::Stream;

/// Gives the record's value and the event's id.
async fn next_record(stream: &mut Stream) -> (String, String) {
    let fields = stream.event().await.unwrap();
    let field = |name: &str| fields.iter().rev().find_map(|field| field.strip_prefix(name)).unwrap_or_default();
    let record: Value = serde_json::from_str(field("data: ")).unwrap();
    (record["value"].as_str().unwrap_or_default().to_owned(), field("id: ").to_owned())
}

#[tokio::test]
async fn pages_walk_the_topic_and_are_empty_only_at_the_head() {
    let collector = Collector::start().await;
    collector.produce("t", 0, "a\nb\nc\n").await.expect(200);
    collector.produce("t", 1, "d\ne\n").await.expect(200);
    let (mut seen, mut next) = collector.page("t", "max_records=2").await;
    loop {
        let (values, after) = collector.page("t", &format!("max_records=2&from={next}")).await;
        next = after;
        if values.is_empty() {
            break;
        }
        assert!(values.len() <= 2);
        seen.extend(values);
    }
    seen.sort();
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    let (one, _) = collector.page("t", "partition=0&max_bytes=10").await;
    assert_eq!(one, ["a"], "the first record comes whatever its size");
    collector.produce("t", 1, "f").await.expect(200);
    assert_eq!(collector.page("t", &format!("from={next}")).await.0, ["f"]);
}

#[tokio::test]
async fn reading_starts_where_it_was_told_to() {
    let collector = Collector::start().await;
    let lines = r#"{"value":"a","timestamp":1000,"partition":0}
        {"value":"b","timestamp":2000,"partition":0}
        {"value":"c","timestamp":3000,"partition":0}"#;
    collector.post("/v1/topics/t/records").body("application/x-ndjson", lines).send().await.expect(200);
    for (query, expected) in [
        ("", &["a", "b", "c"][..]),
        ("from=earliest", &["a", "b", "c"]),
        ("from=latest", &[]),
        ("from=-2", &["b", "c"]),
        ("from=-9", &["a", "b", "c"]),
        ("from=1970-01-01T00:00:01.5Z", &["b", "c"]),
        ("from=1970-01-01T00:01:00Z", &[]),
        ("partition=0&offset=2", &["c"]),
        ("partition=0&offset=3", &[]),
        ("partition=1", &[]),
    ] {
        assert_eq!(collector.page("t", query).await.0, expected, "{query}");
    }
    for (query, status, parameter) in [
        ("partition=0&offset=4", 400, "offset"),
        ("partition=4", 404, "partition"),
        ("from=nonsense", 400, "from"),
        ("max_records=10001", 400, "max_records"),
    ] {
        let answer = collector.get(&format!("/v1/topics/t/records?{query}")).send().await.expect(status);
        assert_eq!(answer.json()["parameter"], parameter, "{query}");
    }
    collector.get("/v1/topics/unknown/records").send().await.expect(404);
    collector.get("/v1/topics/unknown").send().await.expect(404);
}

#[tokio::test]
async fn a_long_poll_answers_when_a_record_arrives() {
    let collector = Collector::start().await;
    collector.put("/v1/topics/t", "{}").send().await.expect(201);
    let (_, head) = collector.page("t", "").await;
    let query = format!("from={head}&wait=20s");
    let (page, _) = tokio::join!(collector.page("t", &query), collector.produce("t", 3, "late"));
    assert_eq!(page.0, ["late"]);
    assert_eq!(collector.page("t", "from=latest&wait=10ms").await.0, [""; 0]);
}

#[tokio::test]
async fn a_subscriber_resumes_after_its_last_event_id() {
    let collector = Collector::start().await;
    collector.produce("t", 0, "a\nb\nc\n").await.expect(200);
    let mut stream = collector.get("/v1/topics/t/stream?from=earliest").open().await;
    assert_eq!(stream.status, 200);
    assert!(stream.line().await.unwrap().starts_with("id: t1"), "the stream says where it starts");
    assert_eq!(next_record(&mut stream).await.0, "a");
    let (value, id) = next_record(&mut stream).await;
    assert_eq!(value, "b");
    drop(stream);

    collector.produce("t", 1, "d").await.expect(200);
    let request = collector.get("/v1/topics/t/records?from=latest").header("accept", "text/event-stream");
    let mut stream = request.header("last-event-id", &id).open().await;
    let mut values = [next_record(&mut stream).await.0, next_record(&mut stream).await.0];
    values.sort();
    assert_eq!(values, ["c", "d"]);
    collector.produce("t", 2, "e").await.expect(200);
    assert_eq!(next_record(&mut stream).await.0, "e");
}

#[tokio::test]
async fn lines_end_at_the_head_without_follow_and_carry_tokens_when_asked_for() {
    let collector = Collector::start().await;
    collector.produce("t", 0, "a\n{\"n\": 1.50}\n").await.expect(200);
    let url = "/v1/topics/t/records?follow=false&tokens=true&decode=json";
    let answer = collector.get(url).header("accept", "application/x-ndjson").send().await.expect(200);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let body = String::from_utf8(answer.body).unwrap();
    let lines: Vec<&str> = body.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[1].contains(r#""value":{"n": 1.50}"#), "{}", lines[1]);
    let first: Value = serde_json::from_str(lines[0]).unwrap();
    let (rest, _) = collector.page("t", &format!("from={}&partition=0", first["next"].as_str().unwrap())).await;
    assert_eq!(rest, [r#"{"n": 1.50}"#]);
}

#[tokio::test]
async fn heartbeats_tell_where_a_quiet_stream_stands() {
    let beat = |config: &mut skidway_collector::config::Config| {
        config.http.heartbeat_interval = Duration::from_millis(100);
    };
    let collector = Collector::start_with(beat).await;
    collector.produce("t", 1, "a\nb\n").await.expect(200);
    let request = collector.get("/v1/topics/t/records").header("accept", "application/x-ndjson");
    let mut lines = request.open().await;
    let line: Value = serde_json::from_str(&lines.line().await.unwrap()).unwrap();
    assert_eq!(line["heartbeat"]["high_watermarks"]["1"], 2);
    let next = line["next"].as_str().unwrap().to_owned();

    let mut events = collector.get("/v1/topics/t/stream").open().await;
    let fields = events.event().await.unwrap();
    assert_eq!(fields[1..3], ["event: heartbeat".to_owned(), format!("id: {next}")]);
    collector.produce("t", 0, "c").await.expect(200);
    assert_eq!(collector.page("t", &format!("from={next}")).await.0, ["c"]);
}

#[tokio::test]
async fn partitions_added_later_are_read_from_their_beginning() {
    let collector = Collector::start().await;
    collector.put("/v1/topics/t", r#"{"partitions":1}"#).send().await.expect(201);
    let (_, token) = collector.page("t", "").await;
    let mut stream = collector.get("/v1/topics/t/stream").open().await;
    assert!(stream.line().await.unwrap().starts_with("id: "));
    collector.put("/v1/topics/t", r#"{"partitions":2}"#).send().await.expect(200);
    collector.put("/v1/topics/t", r#"{"partitions":1}"#).send().await.expect(409);
    collector.produce("t", 1, "new").await.expect(200);
    assert_eq!(next_record(&mut stream).await.0, "new");
    assert_eq!(collector.page("t", &format!("from={token}")).await.0, ["new"]);
}

#[tokio::test]
async fn a_recreated_topic_ends_streams_and_tokens_and_names_the_earliest() {
    let collector = Collector::start().await;
    collector.produce("t", 0, "old").await.expect(200);
    let (_, token) = collector.page("t", "").await;
    let mut stream = collector.get("/v1/topics/t/stream").open().await;
    assert!(stream.line().await.unwrap().starts_with("id: "));
    let delete = || crate::Request::new(collector.address, "DELETE", "/v1/topics/t").send();
    delete().await.expect(204);
    delete().await.expect(404);
    let fields = stream.event().await.unwrap();
    assert!(fields[0] == "event: error" && fields[1].contains("\"status\":410"), "{fields:?}");
    assert_eq!(stream.line().await, None);

    collector.produce("t", 0, "new").await.expect(200);
    let gone = collector.get(&format!("/v1/topics/t/records?from={token}")).send().await.expect(410);
    let earliest = gone.json()["earliest"].as_str().unwrap().to_owned();
    assert_eq!(collector.page("t", &format!("from={earliest}")).await.0, ["new"]);
}

#[tokio::test]
async fn every_subscriber_gets_every_record_in_order() {
    let collector = Collector::start().await;
    collector.put("/v1/topics/t", r#"{"partitions":1}"#).send().await.expect(201);
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(collector.get("/v1/topics/t/stream?from=earliest").open().await);
    }
    for batch in 0..50 {
        let lines: String = (0..20).map(|line| format!("{}\n", batch * 20 + line)).collect();
        collector.produce("t", 0, &lines).await.expect(200);
    }
    for stream in &mut streams {
        for expected in 0..1000 {
            assert_eq!(next_record(stream).await.0, expected.to_string());
        }
    }
}
