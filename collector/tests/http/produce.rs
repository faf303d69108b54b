//! Producing.

use serde_json::json;

use crate::Collector;

#[tokio::test]
async fn records_come_back_as_they_were_produced_in_all_content_types() {
    let collector = Collector::start().await;
    collector.put("/v1/topics/t", r#"{"partitions":1}"#).send().await.expect(201);
    let url = "/v1/topics/t/records";
    collector.post(url).body("text/plain; charset=utf-8", "a\r\n\n").send().await.expect(200);
    let line = r#"{"key":"k","value":"b","timestamp":1000,"headers":{"h":["1",{"base64":"/w=="}]}}"#;
    collector.post(url).body("application/x-ndjson", line).send().await.expect(200);
    let document =
        r#"{"records":[{"value_base64":"/w==","key_base64":"/g==","timestamp":0},{"value":null,"timestamp":0}]}"#;
    let answer = collector.post(url).body("application/json", document).send().await.expect(200);
    assert_eq!(answer.json(), json!({"offsets": [{"partition": 0, "base_offset": 3, "count": 2}]}));

    let page = collector.get(url).send().await.expect(200).json();
    let records = page["records"].as_array().unwrap();
    assert_eq!((&records[0]["value"], &records[1]["value"]), (&json!("a"), &json!("")));
    let record = |offset, timestamp| json!({"topic": "t", "partition": 0, "offset": offset, "timestamp": timestamp});
    let mut expected = [
        record(2, "1970-01-01T00:00:01.000Z"),
        record(3, "1970-01-01T00:00:00.000Z"),
        record(4, "1970-01-01T00:00:00.000Z"),
    ];
    let members = [
        json!({"key": "k", "value": "b", "headers": {"h": ["1", {"base64": "/w=="}]}}),
        json!({"key_base64": "/g==", "value_base64": "/w==", "headers": {}}),
        json!({"key": null, "value": null, "headers": {}}),
    ];
    for (record, members) in expected.iter_mut().zip(members) {
        record.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    }
    assert_eq!(records[2..], expected);
}

#[tokio::test]
async fn a_malformed_request_stores_nothing_and_creates_no_topic() {
    let collector = Collector::start().await;
    let ndjson = "{\"value\":\"good\"}\n{\"value\":\"a\",\"colour\":\"red\"}";
    for (media_type, body, status, kind) in [
        ("application/x-ndjson", ndjson, 400, "invalid-record"),
        ("application/json", "{\"records\":[]}", 400, "empty-request"),
        ("application/json", "{\"records\":", 400, "malformed-json"),
        ("text/plain", "", 400, "empty-request"),
        ("text/html", "a", 415, "unsupported-media-type"),
    ] {
        let answer = collector.post("/v1/topics/t/records").body(media_type, body).send().await.expect(status);
        assert_eq!(answer.problem(), kind, "{body}");
    }
    collector.get("/v1/topics/t").send().await.expect(404);

    collector.put("/v1/topics/t", r#"{"partitions":2}"#).send().await.expect(201);
    let answer = collector.produce("t", 2, "a").await.expect(400);
    assert_eq!((answer.problem().as_str(), &answer.json()["record"]), ("invalid-record", &json!(0)));
    assert_eq!(collector.page("t", "").await.0, [""; 0]);
}

#[tokio::test]
async fn a_repeated_request_gets_its_first_offsets_and_a_gap_what_was_expected() {
    let collector = Collector::start().await;
    let produce = |epoch: &'static str, seq: &'static str| {
        let request = collector.post("/v1/topics/t/records").body("text/plain", "a\nb\n");
        request.header("producer-id", "p").header("producer-epoch", epoch).header("producer-seq", seq).send()
    };
    let first = produce("1", "0").await.expect(200).json();
    assert_eq!(produce("1", "0").await.expect(200).json(), first);
    let gap = produce("1", "3").await.expect(409);
    assert_eq!((gap.problem().as_str(), &gap.json()["expected_seq"]), ("sequence-mismatch", &json!(2)));
    produce("1", "2").await.expect(200);
    assert_eq!(produce("0", "0").await.expect(403).problem(), "producer-fenced");
    produce("2", "0").await.expect(200);
    assert_eq!(collector.page("t", "").await.0.len(), 6);

    let alone = collector.post("/v1/topics/t/records").body("text/plain", "a").header("producer-id", "p");
    assert_eq!(alone.send().await.expect(400).json()["header"], "Producer-Id");
}

#[tokio::test]
async fn an_expected_offset_lets_only_the_first_writer_in() {
    let collector = Collector::start().await;
    let produce = |offset: &'static str| {
        let request = collector.post("/v1/topics/t/records?partition=0").body("text/plain", "a");
        request.header("expected-offset", offset).send()
    };
    produce("0").await.expect(200);
    let late = produce("0").await.expect(412);
    assert_eq!((late.problem().as_str(), &late.json()["current_offset"]), ("offset-mismatch", &json!(1)));
    produce("1").await.expect(200);
    let anywhere = collector.post("/v1/topics/t/records").body("text/plain", "a").header("expected-offset", "2");
    anywhere.send().await.expect(400);
}

#[tokio::test]
async fn keyed_records_follow_their_key_and_keyless_ones_stay_together() {
    let collector = Collector::start().await;
    let url = "/v1/topics/t/records";
    let answer = collector.post(url).body("text/plain", "a\nb\nc\n").send().await.expect(200).json();
    assert_eq!(answer["offsets"][0]["count"], 3);
    let keyed = r#"{"records":[{"key":"k","value":"1"}]}"#;
    let mut partitions = Vec::new();
    for _ in 0..3 {
        let answer = collector.post(url).body("application/json", keyed).send().await.expect(200).json();
        partitions.push(answer["offsets"][0]["partition"].clone());
    }
    assert!(partitions.iter().all(|partition| *partition == partitions[0]), "{partitions:?}");
}

#[tokio::test]
async fn our_own_topics_and_those_nobody_may_create_are_refused() {
    let collector = Collector::start_with(|config| config.topics.auto_create = false).await;
    let produce = |topic: &str| collector.post(&format!("/v1/topics/{topic}/records")).body("text/plain", "a").send();
    assert_eq!(produce("__skidway.events").await.expect(403).problem(), "internal-topic");
    assert_eq!(produce("t").await.expect(404).problem(), "topic-not-found");
    assert_eq!(produce("a%20b").await.expect(400).problem(), "invalid-topic");
    collector.put("/v1/topics/t", "{}").send().await.expect(201);
    produce("t").await.expect(200);
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_said_to_be() {
    let collector = Collector::start_with(|config| config.http.body_bytes_max = 4 << 20).await;
    let produce = |body: Vec<u8>| collector.post("/v1/topics/t/records").body("text/plain", body).send();
    assert_eq!(produce(vec![b'a'; 5 << 20]).await.expect(413).problem(), "too-large");
    let mut noise = 1_u64;
    let mut incompressible = || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (noise >> 33) as u8 | 0x80
    };
    let record: Vec<u8> = std::iter::repeat_with(&mut incompressible).take(3 << 20).collect();
    assert_eq!(produce(record).await.expect(413).problem(), "record-too-large");
    produce(vec![b'a'; 3 << 20]).await.expect(200);
}
