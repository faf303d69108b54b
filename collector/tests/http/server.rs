//! The server itself: refusals that belong to no room, limits, starting and stopping.

use serde_json::json;
use skidway_collector::config::Config;
use skidway_collector::error::StartError;
use skidway_collector::server::Server;

use crate::client::Request;
use crate::{Collector, soon};

#[tokio::test]
async fn whatever_is_not_there_is_answered_with_a_problem() {
    let collector = Collector::start().await;
    collector.put("/v1/topics/t", "{}").send().await.expect(201);
    for (method, url, accept, status, kind) in [
        ("GET", "/v2", "*/*", 404, "not-found"),
        ("GET", "/v1/topics/t/other", "*/*", 404, "not-found"),
        ("PATCH", "/v1/topics/t", "*/*", 405, "method-not-allowed"),
        ("GET", "/v1/topics/t/records", "text/html", 406, "not-acceptable"),
        ("GET", "/v1/topics/t/records?frm=latest", "*/*", 400, "invalid-parameter"),
        ("GET", "/v1/topics/..%2F", "*/*", 400, "invalid-topic"),
        ("GET", "/v1/topics/%ff", "*/*", 400, "invalid-url"),
        ("PUT", "/v1/topics/__mine", "*/*", 403, "internal-topic"),
        ("PUT", "/v1/topics/many?x=1", "*/*", 400, "invalid-parameter"),
    ] {
        let answer = Request::new(collector.address, method, url).header("accept", accept).send().await.expect(status);
        assert_eq!(answer.problem(), kind, "{method} {url}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{method} {url}");
    }
}

#[tokio::test]
async fn topics_are_described_as_they_were_put() {
    let collector = Collector::start().await;
    let settings = r#"{"partitions":2,"retention":{"age":"36h","bytes":null},"cleanup":"delete"}"#;
    collector.put("/v1/topics/t", settings).send().await.expect(201);
    collector.produce("t", 1, "a\nb\n").await.expect(200);
    let topic = collector.get("/v1/topics/t").send().await.expect(200).json();
    let config = json!({
        "partitions": 2,
        "retention": {"age": "36h", "bytes": null},
        "cleanup": "delete",
        "tombstone_retention": "1d",
        "min_compaction_lag": "0ms",
        "key_index": false,
    });
    assert_eq!((&topic["name"], &topic["config"]), (&json!("t"), &config));
    let second = &topic["partitions"][1];
    assert_eq!(
        (&second["partition"], &second["log_start_offset"], &second["high_watermark"]),
        (&json!(1), &json!(0), &json!(2))
    );
    let list = collector.get("/v1/topics").send().await.expect(200).json();
    assert_eq!(list, json!({"topics": [{"name": "t", "partitions": 2}]}));
    collector.put("/v1/topics/t", r#"{"partitions":1001}"#).send().await.expect(400);
}

#[tokio::test]
async fn stopping_ends_streams_with_their_place_and_keeps_what_was_stored() {
    let collector = Collector::start().await;
    collector.produce("t", 0, "a").await.expect(200);
    let log_id = collector.get("/v1").send().await.expect(200).json()["log_id"].clone();
    let mut stream = collector.get("/v1/topics/t/stream").open().await;
    assert!(stream.line().await.unwrap().starts_with("id: "));
    let folder = soon(collector.stop()).await;
    let last = stream.event().await.unwrap();
    assert!(last[0].starts_with("retry: ") && last[1] == "event: reconnect", "{last:?}");
    let id = last[2].strip_prefix("id: ").unwrap();
    assert_eq!(stream.line().await, None);

    let again = Collector::start_in(folder, |_| {}).await;
    assert_eq!(again.get("/v1").send().await.expect(200).json()["log_id"], log_id);
    assert_eq!(again.page("t", "").await.0, ["a"]);
    again.produce("t", 0, "b").await.expect(200);
    assert_eq!(again.page("t", &format!("from={id}")).await.0, ["b"]);
}

#[tokio::test]
async fn a_port_in_use_and_a_folder_in_use_are_clear_errors() {
    let collector = Collector::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config { data_dir: folder.path().into(), ..Config::default() };
    config.http.listen = collector.address;
    let error = Server::start(config.clone()).await.err().unwrap();
    assert!(matches!(error, StartError::Listen { .. }), "{error}");
    config.http.listen.set_port(0);
    config.data_dir = collector.folder.path().join("data");
    let error = Server::start(config).await.err().unwrap();
    assert!(matches!(error, StartError::Log { .. }), "{error}");
}

#[tokio::test]
async fn connections_past_the_limit_are_told_to_come_back() {
    let collector = Collector::start_with(|config| config.http.connections_max = 1).await;
    let held = Request::new(collector.address, "GET", "/v1/topics/t/stream");
    collector_topic(&collector).await;
    let stream = held.open().await;
    let refused = collector.get("/healthz").send().await.expect(503);
    assert_eq!(refused.problem(), "too-many-connections");
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(stream);
}

/// Makes the topic and waits until its connection is gone, so that the only one is free again.
async fn collector_topic(collector: &Collector) {
    collector.put("/v1/topics/t", "{}").send().await.expect(201);
    soon(async { while collector.get("/healthz").send().await.status != 200 {} }).await;
}

#[tokio::test]
async fn health_and_identity_are_told() {
    let collector = Collector::start().await;
    assert_eq!(collector.get("/healthz").send().await.expect(200).json()["status"], "ok");
    assert_eq!(collector.get("/readyz").send().await.expect(200).json()["status"], "ready");
    let about = collector.get("/v1").send().await.expect(200).json();
    assert_eq!((&about["engine"], &about["log_epoch"]), (&json!("embedded"), &json!(1)));
    collector.get("/metrics").send().await.expect(200);
}
