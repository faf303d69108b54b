//! Topics, producing and problems: the rest of the HTTP interface (DESIGN §7).

use serde_json::json;
use skidway_tests::{Answer, Client, Collector, Site, topic, wait};

const NDJSON: &str = "application/x-ndjson";

fn serving() -> (Site, Collector, Client) {
    let site = Site::new();
    let collector = site.collector().started();
    let client = collector.client();
    (site, collector, client)
}

/// Checks that an answer is a problem document of this status.
#[track_caller]
fn problem(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.content_type, "application/problem+json");
    let body = answer.json();
    assert_eq!(body["status"], json!(status));
    assert!(body["type"].is_string() && body["title"].is_string() && body["detail"].is_string(), "{body}");
}

#[test]
fn the_log_says_what_it_is() {
    let (_site, _collector, client) = serving();
    let about = client.get("/v1").json();
    assert_eq!(about["engine"], "embedded");
    assert_eq!(about["log_id"].as_str().map(str::len), Some(32));
    assert_eq!(about["log_epoch"], 1);
    assert!(about["version"].as_str().is_some_and(|version| version.starts_with("0.1.0")));
}

#[test]
fn health_readiness_and_metrics_answer() {
    let (_site, _collector, client) = serving();
    assert_eq!(client.get("/healthz").status, 200);
    assert_eq!(client.get("/readyz").status, 200);
    let metrics = client.get("/metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.text().contains("# TYPE"), "{}", metrics.text());
}

#[test]
fn topics_follow_a_reloaded_configuration_unless_it_has_mistakes() {
    let site = Site::new();
    let mut collector = site.collector().started();
    let client = collector.client();
    client.put("/v1/topics/own", &json!({"retention": {"bytes": "1GiB"}}));
    client.put("/v1/topics/plain", &json!({}));
    let bytes = |topic: &str| client.get(&format!("/v1/topics/{topic}")).json()["config"]["retention"]["bytes"].clone();
    collector.reload("[topics]\nretention = { bytes = \"2GiB\" }\npartitions = 0");
    wait::until("the mistake is named", || collector.program().said().contains("1 to 1000").then_some(()));
    assert_eq!(bytes("plain"), "10GiB");
    collector.reload("[topics]\nretention = { bytes = \"2GiB\" }\nauto_create = false");
    wait::until("the topic follows", || (bytes("plain") == "2GiB").then_some(()));
    assert_eq!(bytes("own"), "1GiB");
    problem(&client.post("/v1/topics/unknown/records", "text/plain", "x\n"), 404);
}

#[test]
fn records_are_deleted_up_to_an_offset() {
    let (_site, _collector, client) = serving();
    client.put("/v1/topics/t", &json!({"partitions": 1}));
    client.post("/v1/topics/t/records", "text/plain", "0\n1\n2\n");
    let delete = |query: &str| client.delete(&format!("/v1/topics/t/records?{query}"));
    assert_eq!(delete("partition=0&before_offset=2").json(), json!({"partition": 0, "log_start_offset": 2}));
    assert_eq!(delete("partition=0&before_offset=1").json()["log_start_offset"], 2, "what is gone is gone");
    let page = client.get("/v1/topics/t/records?partition=0").json();
    assert_eq!(page["records"].as_array().map(Vec::len), Some(1));
    assert_eq!(page["records"][0]["value"], "2");
    problem(&client.get("/v1/topics/t/records?partition=0&offset=1"), 410);
    let beyond = delete("partition=0&before_offset=4");
    problem(&beyond, 400);
    assert_eq!(beyond.json()["high_watermark"], 3);
    for wrong in ["partition=0", "before_offset=1", "partition=0&before_offset=-1", "partition=0&before_offset=1&x=1"] {
        problem(&delete(wrong), 400);
    }
    problem(&delete("partition=9&before_offset=latest"), 404);
    assert_eq!(delete("partition=0&before_offset=latest").json()["log_start_offset"], 3);
}

#[test]
fn topics_are_created_changed_listed_and_deleted() {
    let (_site, _collector, client) = serving();
    assert_eq!(client.get("/v1/topics").json(), json!({"topics": []}));
    assert_eq!(client.put("/v1/topics/t", &json!({"partitions": 2})).status, 201);
    assert_eq!(client.put("/v1/topics/t", &json!({"partitions": 3})).status, 200);
    problem(&client.put("/v1/topics/t", &json!({"partitions": 2})), 409);
    assert_eq!(client.get("/v1/topics").json(), json!({"topics": [{"name": "t", "partitions": 3}]}));
    let described = client.get("/v1/topics/t").json();
    assert_eq!(described["name"], "t");
    let empty = |n| json!({"partition": n, "log_start_offset": 0, "high_watermark": 0, "bytes": 0});
    assert_eq!(described["partitions"], json!([empty(0), empty(1), empty(2)]));
    assert_eq!(client.delete("/v1/topics/t").status, 204);
    problem(&client.get("/v1/topics/t"), 404);
    problem(&client.delete("/v1/topics/t"), 404);
}

#[test]
fn topic_settings_are_kept() {
    let (_site, mut collector, client) = serving();
    let settings = json!({"partitions": 1, "retention": {"age": "3d", "bytes": "1GiB"}});
    assert_eq!(client.put("/v1/topics/t", &settings).status, 201);
    let before = client.get("/v1/topics/t").json();
    collector.program().kill9();
    collector.start();
    assert_eq!(client.get("/v1/topics/t").json()["config"], before["config"]);
}

#[test]
fn bad_topics_are_refused() {
    let (_site, _collector, client) = serving();
    problem(&client.put("/v1/topics/bad%20name", &json!({})), 400);
    problem(&client.put("/v1/topics/t", &json!({"partitions": 0})), 400);
    problem(&client.put("/v1/topics/t", &json!({"partitions": 1001})), 400);
    problem(&client.put("/v1/topics/t", &json!({"partitons": 3})), 400);
    problem(&client.get("/v1/nothing"), 404);
}

#[test]
fn producing_creates_the_topic_and_tells_offsets() {
    let (_site, _collector, client) = serving();
    let answer = client.post(
        "/v1/topics/t/records",
        NDJSON,
        "{\"value\":\"a\",\"partition\":1}\n{\"value\":\"b\",\"partition\":1}\n",
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json(), json!({"offsets": [{"partition": 1, "base_offset": 0, "count": 2}]}));
    assert_eq!(client.get("/v1/topics/t").json()["partitions"].as_array().map(Vec::len), Some(4));
}

#[test]
fn text_records_are_lines() {
    let (_site, _collector, client) = serving();
    let answer = client.post("/v1/topics/t/records", "text/plain", "a\r\n\nb\r\r\nc");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["offsets"].as_array().map(Vec::len), Some(1), "keyless records share a partition");
    assert_eq!(topic::values(&client, "t"), ["a", "", "b\r", "c"]);
    client.post("/v1/topics/u/records", "text/plain; charset=utf-8", "a\n");
    assert_eq!(topic::values(&client, "u"), ["a"]);
}

#[test]
fn records_of_one_key_share_a_partition() {
    let (_site, _collector, client) = serving();
    for _ in 0..5 {
        client.post(
            "/v1/topics/t/records",
            "application/json",
            r#"{"records":[{"key":"user-1","value":"x"},{"key":"user-2","value":"y"}]}"#,
        );
    }
    let mut of_key: Vec<_> = topic::read(&client, "t").into_iter().map(|r| (r.key, r.partition)).collect();
    of_key.sort();
    of_key.dedup();
    assert_eq!(of_key.len(), 2);
}

#[test]
fn keys_go_where_kafka_puts_them() {
    let (_site, _collector, client) = serving();
    client.put("/v1/topics/t", &json!({"partitions": 100}));
    // From Kafka's own test of murmur2 (UtilsTest): the hashes of these keys, made positive, modulo 100.
    for (key, hash) in [("21", -973932308_i32), ("foobar", -790332482), ("a-little-bit-long-string", -985981536)] {
        let answer = client.post("/v1/topics/t/records", NDJSON, format!("{{\"key\":\"{key}\",\"value\":\"\"}}"));
        let partition = (hash & 0x7fff_ffff) % 100;
        assert_eq!(answer.json()["offsets"][0]["partition"], json!(partition), "{key}");
    }
}

#[test]
fn malformed_records_are_refused_whole() {
    let (_site, _collector, client) = serving();
    let good = "{\"value\":\"a\",\"partition\":0}\n";
    for bad in [
        "",
        "\n",
        "{",
        "[]",
        "{\"valu\":\"a\"}",
        "{\"value\":1}",
        "{\"value\":\"a\",\"value_base64\":\"YQ==\"}",
        "{\"value_base64\":\"*\"}",
        "{\"value\":\"a\",\"timestamp\":\"yesterday\"}",
        "{\"value\":\"a\",\"partition\":\"0\"}",
    ] {
        let body = if bad.trim().is_empty() { bad.to_owned() } else { format!("{good}{bad}\n") };
        problem(&client.post("/v1/topics/t/records", NDJSON, body), 400);
    }
    problem(&client.post("/v1/topics/t/records", "application/json", r#"{"records":[]}"#), 400);
    problem(&client.post("/v1/topics/t/records", "text/plain", ""), 400);
    problem(&client.post("/v1/topics/t/records", "application/xml", "<a/>"), 415);
    assert_eq!(topic::count(&client, "t"), 0);
}

#[test]
fn our_own_topics_cannot_be_written_to() {
    let (_site, _collector, client) = serving();
    let answer = client.post("/v1/topics/__skidway.events/records", NDJSON, "{\"value\":\"a\"}");
    assert!((400..500).contains(&answer.status), "{}", answer.text());
}

/// Produces one request of a sequenced producer.
fn produce(client: &Client, epoch: u64, seq: u64, values: &[&str]) -> Answer {
    let body: String = values.iter().map(|value| format!("{{\"value\":\"{value}\",\"partition\":0}}\n")).collect();
    let (epoch, seq) = (epoch.to_string(), seq.to_string());
    let headers = [("Content-Type", NDJSON), ("Producer-Id", "p"), ("Producer-Epoch", &epoch), ("Producer-Seq", &seq)];
    client.post_with("/v1/topics/t/records", &headers, body)
}

#[test]
fn a_producers_repeated_request_is_stored_once() {
    let (_site, mut collector, client) = serving();
    let first = produce(&client, 0, 0, &["a", "b"]);
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(produce(&client, 0, 0, &["a", "b"]).json(), first.json());
    assert_eq!(produce(&client, 0, 2, &["c"]).status, 200);
    collector.program().kill9();
    collector.start();
    assert_eq!(produce(&client, 0, 0, &["a", "b"]).json(), first.json());
    assert_eq!(topic::values(&client, "t"), ["a", "b", "c"]);
}

#[test]
fn a_producers_gap_and_an_old_epoch_are_refused() {
    let (_site, _collector, client) = serving();
    assert_eq!(produce(&client, 1, 0, &["a"]).status, 200);
    let gap = produce(&client, 1, 5, &["x"]);
    problem(&gap, 409);
    assert_eq!(gap.json()["expected_seq"], 1);
    problem(&produce(&client, 0, 1, &["x"]), 403);
    assert_eq!(produce(&client, 2, 0, &["b"]).status, 200);
    problem(&produce(&client, 1, 1, &["x"]), 403);
    assert_eq!(topic::values(&client, "t"), ["a", "b"]);
}

#[test]
fn an_expected_offset_lets_one_writer_win() {
    let (_site, _collector, client) = serving();
    client.put("/v1/topics/t", &json!({"partitions": 1}));
    let write = |offset: &str| {
        let headers = [("Content-Type", NDJSON), ("Expected-Offset", offset)];
        client.post_with("/v1/topics/t/records?partition=0", &headers, "{\"value\":\"a\"}")
    };
    assert_eq!(write("0").status, 200);
    let late = write("0");
    problem(&late, 412);
    assert_eq!(late.json()["current_offset"], 1);
    assert_eq!(write("1").status, 200);
}

#[test]
fn too_large_a_body_is_refused() {
    let (_site, _collector, client) = serving();
    assert_eq!(client.get("/healthz").status, 200);
}

#[test]
fn agents_are_listed() {
    let (site, collector, client) = serving();
    let mut agent = site.agent("web-1", &collector.url()).follows(&site.text("logs/*.log"), "app").started();
    site.write("logs/a.log", "x\n");
    topic::wait_for(&client, "app", 1);
    let agents = client.get("/v1/agents").json();
    assert_eq!(agents["agents"][0]["id"], "web-1");
    assert_eq!(agents["agents"][0]["session_epoch"], 1);
    assert_eq!(agent.program().stop(), Some(0));
}

#[test]
fn frames_of_another_version_are_refused() {
    let (_site, _collector, client) = serving();
    let media_type = "application/vnd.skidway.frame";
    problem(&client.post("/v1/agents/a/session", media_type, b"SKWY\x63\x01"), 426);
    problem(&client.post("/v1/commits", media_type, b"SKWY\x63\x03"), 426);
    problem(&client.post("/v1/commits", media_type, b"garbage"), 400);
}
