//! How records are given away, come back, die and are redriven.

use serde_json::{Value, json};
use skidway_tests::wait;

use super::{ask, queue, receipts, receive, send, send_numbers, settle, shown, values};

const QUICK: &str = "100ms";

#[test]
fn a_record_is_with_one_consumer_until_it_is_acknowledged() {
    let (_site, _collector, client) = queue(&json!({}));
    send_numbers(&client, 0..3);
    let first = receive(&client, &json!({"max": 2}));
    assert_eq!(values(&first), ["0", "1"]);
    assert_eq!(
        (&first[0]["deliveries"], &first[0]["topic"], &first[0]["offset"]),
        (&json!(1), &json!("jobs"), &json!(0))
    );
    let second = receive(&client, &json!({"max": 10}));
    assert_eq!(values(&second), ["2"]);
    assert_eq!(receive(&client, &json!({})), [] as [Value; 0]);
    let standing = shown(&client);
    assert_eq!((&standing["leased"], &standing["ready"]), (&json!(3), &json!(0)));
    assert_eq!(settle(&client, "ack", &first, &json!({})), ["done", "done"]);
    assert_eq!(settle(&client, "ack", &first, &json!({})), ["already-done", "already-done"]);
    assert_eq!(settle(&client, "ack", &second, &json!({})), ["done"]);
    let standing = shown(&client);
    assert_eq!((&standing["leased"], &standing["partitions"][0]["start_offset"]), (&json!(0), &json!(3)));
    assert_eq!(standing["oldest_age_ms"], json!(null));
}

#[test]
fn a_long_poll_is_answered_when_a_record_comes() {
    let (_site, _collector, client) = queue(&json!({}));
    let waiting = {
        let client = client.clone();
        std::thread::spawn(move || receive(&client, &json!({"wait": "50s"})))
    };
    wait::until("the consumer is seen", || (shown(&client)["consumers"] == 1).then_some(()));
    send_numbers(&client, 7..8);
    assert_eq!(values(&waiting.join().unwrap()), ["7"]);
}

#[test]
fn a_lease_that_is_over_lets_others_have_the_record_and_its_receipt_is_refused_then() {
    let (_site, _collector, client) = queue(&json!({}));
    send_numbers(&client, 0..2);
    let mut slow = receive(&client, &json!({"max": 2, "lease": QUICK}));
    let late = slow.pop().unwrap();
    let again = wait::until("the lease is over", || receive(&client, &json!({"wait": "1s"})).pop());
    assert_eq!((&again["value"], &again["deliveries"]), (&json!("0"), &json!(2)));
    let refused = ask(&client, "ack", &json!({"receipts": receipts(&slow)}));
    assert_eq!((refused.status, &refused.json()["results"][0]["result"]), (409, &json!("lease-expired")));
    assert!(refused.json()["type"].as_str().unwrap().ends_with("lease-expired"), "{}", refused.text());
    // Nobody else was given the second one: late is not lost.
    wait::until("the other lease is over as well", || (shown(&client)["leased"] == 1).then_some(()));
    assert_eq!(settle(&client, "ack", &[slow[0].clone(), late], &json!({})), ["lease-expired", "done"]);
    assert_eq!(settle(&client, "ack", &[again], &json!({})), ["done"]);
}

#[test]
fn an_extended_lease_keeps_the_record() {
    let (_site, _collector, client) = queue(&json!({}));
    send_numbers(&client, 0..1);
    let held = receive(&client, &json!({"lease": "1s"}));
    assert_eq!(settle(&client, "extend", &held, &json!({"lease": "10m"})), ["done"]);
    assert_eq!(receive(&client, &json!({"wait": "1500ms"})), [] as [Value; 0]);
    assert_eq!(settle(&client, "ack", &held, &json!({})), ["done"]);
}

#[test]
fn records_given_back_come_again_after_their_delay() {
    let (_site, _collector, client) = queue(&json!({"backoff": {"initial": "200ms", "max": "1s"}}));
    send_numbers(&client, 0..1);
    let first = receive(&client, &json!({}));
    assert_eq!(settle(&client, "nack", &first, &json!({"reason": "not now"})), ["done"]);
    assert_eq!(shown(&client)["delayed"], 1);
    let again = receive(&client, &json!({"wait": "50s"}));
    assert_eq!(again[0]["deliveries"], 2);
    assert_eq!(settle(&client, "nack", &again, &json!({"delay": "0s"})), ["done"]);
    assert_eq!(receive(&client, &json!({}))[0]["deliveries"], 3);
}

#[test]
fn acknowledgements_and_deliveries_survive_a_kill_and_leases_do_not() {
    let (_site, mut collector, client) = queue(&json!({}));
    send_numbers(&client, 0..4);
    let held = receive(&client, &json!({"max": 3, "lease": "10m"}));
    assert_eq!(settle(&client, "ack", &held[..1], &json!({})), ["done"]);
    assert_eq!(settle(&client, "nack", &held[1..2], &json!({"delay": "10m"})), ["done"]);
    collector.program().kill9();
    collector.start();
    let again = receive(&client, &json!({"max": 10}));
    assert_eq!(values(&again), ["2", "3"]);
    assert_eq!((&again[0]["deliveries"], &again[1]["deliveries"]), (&json!(2), &json!(1)));
    assert_eq!(settle(&client, "ack", &held, &json!({})), ["already-done", "done", "lease-expired"]);
}

#[test]
fn a_receipt_outlives_the_collector_while_nobody_else_has_the_record() {
    let (_site, mut collector, client) = queue(&json!({}));
    send_numbers(&client, 0..1);
    let held = receive(&client, &json!({}));
    collector.program().kill9();
    collector.start();
    assert_eq!(settle(&client, "ack", &held, &json!({})), ["done"]);
    assert_eq!(receive(&client, &json!({"max": 10})), [] as [Value; 0]);
}

#[test]
fn poison_ends_among_the_dead_letters_with_its_cause_and_comes_back_once() {
    let (_site, mut collector, client) = queue(&json!({"max_deliveries": 3, "backoff": {"initial": "0s"}}));
    send(&client, &[json!({"key": "k", "value": "poison", "headers": {"a": "1"}}), json!({"value": "good"})]);
    for delivery in 1..=3 {
        let mut got = receive(&client, &json!({"wait": "50s"}));
        while got[0]["value"] != "poison" {
            settle(&client, "ack", &got, &json!({}));
            got = receive(&client, &json!({"wait": "50s"}));
        }
        assert_eq!(got[0]["deliveries"], delivery);
        // A worker and the collector die of the second one.
        if delivery == 2 {
            collector.program().kill9();
            collector.start();
            continue;
        }
        let expected = if delivery == 3 { "dead-lettered" } else { "done" };
        assert_eq!(settle(&client, "nack", &got, &json!({"reason": "it hurts"})), [expected]);
    }
    let page = client.get("/v1/topics/jobs.dead/records").json();
    let letter = &page["records"][0];
    assert_eq!((&letter["key"], &letter["value"]), (&json!("k"), &json!("poison")));
    let headers = &letter["headers"];
    for (name, value) in [
        ("a", "1"),
        ("skidway-queue", "jobs"),
        ("skidway-topic", "jobs"),
        ("skidway-partition", "0"),
        ("skidway-offset", "0"),
        ("skidway-deliveries", "3"),
        ("skidway-reason", "it hurts"),
    ] {
        assert_eq!(headers[name], value, "{name} in {headers}");
    }
    assert_eq!(shown(&client)["dead_letters"], 1);
    assert_eq!(ask(&client, "redrive", &json!({})).json(), json!({"redriven": 1, "dead_letters": 0}));
    assert_eq!(ask(&client, "redrive", &json!({})).json(), json!({"redriven": 0, "dead_letters": 0}));
    let mut back = receive(&client, &json!({"max": 10, "wait": "50s"}));
    if back[0]["value"] == "good" {
        settle(&client, "ack", &back, &json!({}));
        back = receive(&client, &json!({"max": 10, "wait": "50s"}));
    }
    assert_eq!((&back[0]["value"], &back[0]["deliveries"]), (&json!("poison"), &json!(1)));
    assert_eq!(back[0]["headers"], json!({"a": "1", "skidway-redrives": "1"}));
}

#[test]
fn a_lease_that_is_over_for_the_last_time_makes_a_dead_letter() {
    let (_site, _collector, client) = queue(&json!({"max_deliveries": 1}));
    send_numbers(&client, 0..1);
    assert_eq!(receive(&client, &json!({"lease": QUICK})).len(), 1);
    wait::until("the dead letter is there", || (shown(&client)["dead_letters"] == 1).then_some(()));
    let page = client.get("/v1/topics/jobs.dead/records").json();
    assert_eq!(page["records"][0]["headers"]["skidway-reason"], "the lease was over");
    assert_eq!(receive(&client, &json!({})), [] as [Value; 0]);
}

#[test]
fn dead_letters_are_redriven_by_offset_each_once() {
    let (_site, mut collector, client) = queue(&json!({}));
    send_numbers(&client, 0..6);
    let all = receive(&client, &json!({"max": 10}));
    let died = settle(&client, "nack", &all, &json!({"dead": true}));
    assert_eq!(died, ["dead-lettered"; 6]);
    let redrive = |body: Value| ask(&client, "redrive", &body).json()["redriven"].as_u64().unwrap();
    assert_eq!(redrive(json!({"offsets": [4, 1]})), 2);
    assert_eq!(redrive(json!({"offsets": [1, 2]})), 1);
    collector.program().kill9();
    collector.start();
    assert_eq!((redrive(json!({"max": 2})), redrive(json!({}))), (2, 1));
    let mut back: Vec<String> = Vec::new();
    while let got = receive(&client, &json!({"max": 10}))
        && !got.is_empty()
    {
        back.extend(values(&got).into_iter().map(str::to_owned));
    }
    back.sort();
    assert_eq!(back, ["0", "1", "2", "3", "4", "5"]);
}

#[test]
fn records_of_one_key_are_given_away_one_after_the_other() {
    let (_site, mut collector, client) = queue(&json!({"ordered_by_key": true}));
    let records: Vec<Value> =
        (0..9).map(|n| json!({"key": (["a", "b", "c"][n % 3]), "value": n.to_string()})).collect();
    send(&client, &records);
    let first = receive(&client, &json!({"max": 10}));
    assert_eq!(values(&first), ["0", "1", "2"]);
    assert_eq!(receive(&client, &json!({"max": 10})), [] as [Value; 0]);
    assert_eq!(settle(&client, "ack", &first[..1], &json!({})), ["done"]);
    assert_eq!(settle(&client, "nack", &first[1..2], &json!({"delay": "10m"})), ["done"]);
    let second = receive(&client, &json!({"max": 10}));
    assert_eq!(values(&second), ["3"]);
    // The keys of what is in flight are learned again.
    collector.program().kill9();
    collector.start();
    let third = receive(&client, &json!({"max": 10, "wait": "50s"}));
    assert_eq!(values(&third), ["2", "3"]);
}

#[test]
fn delays_hold_records_back() {
    let (_site, _collector, client) = queue(&json!({}));
    send(&client, &[json!({"value": "later", "headers": {"skidway-delay": "2s"}}), json!({"value": "now"})]);
    let sent = client.post("/v1/queues/jobs/send?delay=10m", "text/plain", "much later\n");
    assert_eq!(sent.status, 200, "{}", sent.text());
    assert_eq!(values(&receive(&client, &json!({"max": 10}))), ["now"]);
    assert_eq!(shown(&client)["delayed"], 2);
    let late = receive(&client, &json!({"max": 10, "wait": "50s"}));
    assert_eq!((values(&late), &late[0]["deliveries"]), (vec!["later"], &json!(1)));
    assert_eq!(receive(&client, &json!({"max": 10})), [] as [Value; 0]);
}
