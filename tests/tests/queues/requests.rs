//! What a queue refuses, and what it says of its topic.

use serde_json::{Value, json};
use skidway_tests::{Site, wait};

use super::{ask, queue, receive, send_numbers, settle, shown, values};

#[test]
fn queues_are_put_listed_changed_and_deleted() {
    let site = Site::new();
    let collector = site.collector().started();
    let client = collector.client();
    assert_eq!(client.get("/v1/queues").json(), json!({"queues": []}));
    let made = client.put("/v1/queues/mail", &json!({"topic": "letters", "lease": "1m"}));
    assert_eq!(made.status, 201, "{}", made.text());
    let settings = json!({
        "topic": "letters", "lease": "1m", "max_deliveries": 5, "backoff": {"initial": "1s", "max": "5m"}, "delay": "0ms",
        "dead_letter_topic": "mail.dead", "ordered_by_key": false, "from": "earliest", "max_in_flight": 2000,
    });
    assert_eq!(made.json()["settings"], settings);
    let changed = client.put("/v1/queues/mail", &json!({"lease": "2m"}));
    assert_eq!((changed.status, &changed.json()["settings"]["lease"]), (200, &json!("2m")));
    assert_eq!(client.put("/v1/queues/mail", &json!({"topic": "other"})).status, 409);
    assert_eq!(client.get("/v1/queues").json()["queues"][0]["name"], "mail");
    assert_eq!(client.get("/v1/topics/letters").status, 200);
    assert_eq!((client.delete("/v1/queues/mail").status, client.delete("/v1/queues/mail").status), (204, 404));
}

#[test]
fn what_is_wrong_is_refused_and_changes_nothing() {
    let (_site, _collector, client) = queue(&json!({}));
    send_numbers(&client, 0..1);
    let held = receive(&client, &json!({}));
    let good = &held[0]["receipt"];
    let cases: [(&str, Value, u16, &str); 11] = [
        ("receive", json!({"max": 0}), 400, "invalid-queue-request"),
        ("receive", json!({"wait": "1h"}), 400, "invalid-queue-request"),
        ("receive", json!({"maximum": 1}), 400, "invalid-queue-request"),
        ("receive", json!([1]), 400, "invalid-queue-request"),
        ("ack", json!({"receipts": []}), 400, "invalid-queue-request"),
        ("ack", json!({}), 400, "invalid-queue-request"),
        ("ack", json!({"receipts": [good, "nonsense"]}), 400, "invalid-receipt"),
        ("ack", json!({"receipts": ["AQAAAAAAAAAAAAIC"]}), 400, "invalid-receipt"),
        ("nack", json!({"receipts": [good], "delay": "13h"}), 400, "invalid-queue-request"),
        ("extend", json!({"receipts": [good], "lease": "0s"}), 400, "invalid-queue-request"),
        ("redrive", json!({"max": 0}), 400, "invalid-queue-request"),
    ];
    for (action, body, status, kind) in cases {
        let answer = ask(&client, action, &body);
        assert_eq!(answer.status, status, "{action} {body}: {}", answer.text());
        assert!(answer.json()["type"].as_str().unwrap().ends_with(kind), "{action} {body}: {}", answer.text());
    }
    assert_eq!(client.post("/v1/queues/none/receive", "application/json", "{}").status, 404);
    assert_eq!(client.post("/v1/queues/jobs/receive", "text/csv", "{}").status, 415);
    assert_eq!(client.put("/v1/queues/x", &json!({"topic": "__skidway.events"})).status, 403);
    assert_eq!(settle(&client, "ack", &held, &json!({})), ["done"]);
}

#[test]
fn records_that_are_deleted_before_anyone_received_them_are_told() {
    let (_site, _collector, client) = queue(&json!({}));
    send_numbers(&client, 0..10);
    let held = receive(&client, &json!({"max": 2}));
    assert_eq!(client.delete("/v1/topics/jobs/records?partition=0&before_offset=7").status, 200);
    let event = wait::until("the loss is told", || {
        let page = client.get("/v1/topics/__skidway.events/records").json();
        let value = page["records"].as_array()?.last()?["value"].as_str()?.to_owned();
        serde_json::from_str::<Value>(&value).ok()
    });
    assert_eq!(
        (&event["kind"], &event["queue"], &event["records"]),
        (&json!("queue-skipped"), &json!("jobs"), &json!(5))
    );
    assert_eq!(shown(&client)["skipped"], 5);
    assert_eq!(values(&receive(&client, &json!({"max": 10}))), ["7", "8", "9"]);
    assert_eq!(settle(&client, "ack", &held, &json!({})), ["done", "done"]);
}

#[test]
fn a_queue_says_that_its_topic_is_gone_and_goes_on_with_the_next_one() {
    let (_site, _collector, client) = queue(&json!({}));
    send_numbers(&client, 0..2);
    assert_eq!(receive(&client, &json!({})).len(), 1);
    assert_eq!(client.delete("/v1/topics/jobs").status, 204);
    wait::until("the queue knows", || (shown(&client)["state"] == "topic-deleted").then_some(()));
    let refused = ask(&client, "receive", &json!({}));
    assert!(refused.status == 409 && refused.text().contains("queue-topic-deleted"), "{}", refused.text());
    send_numbers(&client, 5..6);
    wait::until("the queue goes on", || (shown(&client)["state"] == "open").then_some(()));
    assert_eq!(values(&receive(&client, &json!({"max": 10, "wait": "50s"}))), ["5"]);
}

#[test]
fn a_queue_from_latest_begins_with_what_comes_and_takes_new_partitions_in() {
    let site = Site::new();
    let collector = site.collector().started();
    let client = collector.client();
    client.put("/v1/topics/jobs", &json!({"partitions": 1}));
    send_numbers(&client, 0..5);
    assert_eq!(client.put("/v1/queues/jobs", &json!({"from": "latest"})).status, 201);
    client.put("/v1/topics/jobs", &json!({"partitions": 3}));
    let body = json!({"records": [{"value": "a", "partition": 0}, {"value": "b", "partition": 2}]}).to_string();
    assert_eq!(client.post("/v1/topics/jobs/records", "application/json", body).status, 200);
    let mut got: Vec<Value> = Vec::new();
    while got.len() < 2 {
        got.extend(receive(&client, &json!({"max": 10, "wait": "50s"})));
    }
    let mut got = values(&got);
    got.sort();
    assert_eq!(got, ["a", "b"]);
}

#[test]
fn waiters_are_answered_when_the_collector_stops() {
    let (_site, mut collector, client) = queue(&json!({}));
    let waiting = {
        let client = client.clone();
        std::thread::spawn(move || receive(&client, &json!({"wait": "50s"})))
    };
    wait::until("the consumer is seen", || (shown(&client)["consumers"] == 1).then_some(()));
    assert_eq!(collector.program().stop(), Some(0));
    assert_eq!(waiting.join().unwrap(), [] as [Value; 0]);
}
