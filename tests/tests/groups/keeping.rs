//! What groups keep, and what is done to it: lag, resets, deletion, expiry, records deleted before they were read.

use serde_json::{Value, json};
use skidway_tests::{Client, wait};

use super::{Member, post, produce, serving, show, sorted};

fn offsets(at: u64) -> Value {
    (0..4).map(|partition| json!({"topic": "t", "partition": partition, "offset": at})).collect()
}

/// Commits an offset in all partitions, from outside.
fn commit(client: &Client, at: u64) -> skidway_tests::Answer {
    post(client, "/v1/groups/g/commit", &json!({ "offsets": offsets(at), "metadata": "by hand" }))
}

fn reset(client: &Client, body: &Value) -> skidway_tests::Answer {
    post(client, "/v1/groups/g/reset", body)
}

#[test]
fn lag_is_what_is_there_and_not_committed() {
    let (_site, _collector, client) = serving("");
    produce(&client, 0..40);
    assert_eq!(commit(&client, 7).status, 200);
    let group = show(&client, "g");
    assert_eq!(
        (&group["state"], &group["lag"], &group["partitions"][0]["lag"]),
        (&json!("empty"), &json!(12), &json!(3))
    );
    assert_eq!(group["partitions"][3]["metadata"], "by hand");
    let list = client.get("/v1/groups").json();
    assert_eq!((&list["groups"][0]["name"], &list["groups"][0]["topics"]), (&json!("g"), &json!(["t"])));
    assert_eq!(commit(&client, 11).json()["type"], "offset-beyond-end");
    let _member = Member::join(&client, "g", "");
    let answer = commit(&client, 8);
    assert_eq!((answer.status, answer.json()["type"].as_str()), (409, Some("group-has-members")), "{}", answer.text());
}

#[test]
fn a_reset_puts_a_group_elsewhere_and_needs_force_while_it_has_members() {
    let (_site, _collector, client) = serving("");
    produce(&client, 0..40);
    let plan = json!({"topics": ["t*"], "to": "latest", "dry_run": true});
    assert_eq!(reset(&client, &plan).status, 404, "there is no such group yet");
    let member = Member::join(&client, "g", "");
    let (_, token) = member.records(40);
    assert_eq!(super::commit(&client, "g", &token).status, 200);
    let back = json!({"topics": ["t"], "to": "-2"});
    assert_eq!(reset(&client, &back).status, 409);
    let forced = reset(&client, &json!({"topics": ["t"], "to": "-2", "force": true})).json();
    assert_eq!((&forced["partitions"][0]["from"], &forced["partitions"][0]["to"]), (&json!(10), &json!(8)));
    assert_eq!(sorted(member.records(8).0), (32..40).collect::<Vec<u64>>(), "the member begins anew");
    assert_eq!(client.delete("/v1/groups/g").status, 409);
    drop(member);
    wait::until("the member left", || (show(&client, "g")["state"] == "empty").then_some(()));
    assert_eq!(reset(&client, &json!({ "offsets": offsets(3) })).status, 200);
    assert_eq!(show(&client, "g")["lag"], 28);
    assert_eq!(client.delete("/v1/groups/g").status, 204);
    assert_eq!(client.get("/v1/groups/g").status, 404);
}

#[test]
fn a_group_that_stays_away_is_forgotten() {
    let (_site, _collector, client) = serving("offsets_retention = \"1s\"");
    produce(&client, 0..4);
    let member = Member::join(&client, "g", "");
    member.reads(&[0, 1, 2, 3]);
    drop(member);
    wait::until("the group is forgotten", || (client.get("/v1/groups/g").status == 404).then_some(()));
}

#[test]
fn records_deleted_before_they_were_read_are_told_and_what_is_kept_is_read() {
    let (_site, _collector, client) = serving("");
    produce(&client, 0..40);
    commit(&client, 2);
    assert_eq!(client.delete("/v1/topics/t/records?partition=1&before_offset=5").status, 200);
    assert_eq!(show(&client, "g")["partitions"][1]["lost"], 3);
    let member = Member::join(&client, "g", "");
    let gap = member.next_with("gap")["gap"].clone();
    assert_eq!((&gap["partition"], &gap["offset"], &gap["next_offset"]), (&json!(1), &json!(2), &json!(5)), "{gap}");
    assert_eq!(member.records(29).0.len(), 29, "eight each, and five of the one");
    drop(member);
    wait::until("the member left", || (show(&client, "g")["state"] == "empty").then_some(()));
    let page = client.get("/v1/groups/g/records?topics=t&max_records=1").json();
    assert_eq!(page["gaps"][0]["next_offset"], 5, "{page}");
    let lost = client.get("/metrics").text();
    assert!(lost.contains("skidway_group_lost_records_total 6"), "counted each time it is told");
}

#[test]
fn new_topics_and_partitions_that_match_join_from_their_first_record_on() {
    let (_site, _collector, client) = serving("");
    let path = "/v1/groups/g/records?topics=t,u-*&from=latest";
    produce(&client, 0..4);
    let member = Member(client.stream(path, "application/x-ndjson", &[]));
    member.reads(&[0, 1, 2, 3]);
    client.put("/v1/topics/u-1", &json!({"partitions": 1}));
    client.post("/v1/topics/u-1/records", "application/x-ndjson", "{\"value\":\"7\"}");
    assert_eq!(member.records(1).0, [7]);
    client.put("/v1/topics/t", &json!({"partitions": 5}));
    client.post("/v1/topics/t/records", "application/x-ndjson", "{\"value\":\"8\",\"partition\":4}");
    assert_eq!(member.records(1).0, [8]);
}

#[test]
fn what_is_asked_wrongly_is_refused_in_words() {
    let (_site, _collector, client) = serving("members_max = 1\ngroups_max = 1");
    let cases = [
        ("/v1/groups/a%20b/records?topics=t", 400, "invalid-group"),
        ("/v1/groups/g/records", 400, "invalid-parameter"),
        ("/v1/groups/g/records?topics=", 400, "invalid-parameter"),
        ("/v1/groups/g/records?topics=t&from=t1abc", 400, "invalid-parameter"),
        ("/v1/groups/g/records?topics=t&partition=1", 400, "invalid-parameter"),
        ("/v1/groups/g/records?topics=t&commit=sent", 400, "invalid-parameter"),
        ("/v1/groups/g/records?topics=t&session_timeout=1h", 400, "invalid-parameter"),
        ("/v1/groups/g/records?topics=t&member=x", 400, "invalid-parameter"),
        ("/v1/groups/g/records?topics=t&member=x.1", 404, "group-not-found"),
        ("/v1/groups/g", 404, "group-not-found"),
    ];
    for (path, status, kind) in cases {
        let answer = client.get(path);
        assert_eq!((answer.status, answer.json()["type"].as_str()), (status, Some(kind)), "{path}: {}", answer.text());
    }
    let _member = Member::join(&client, "g", "");
    assert_eq!(client.get("/v1/groups/g/records?topics=t").status, 429, "as many members as may be");
    assert_eq!(client.get("/v1/groups/h/records?topics=t").status, 429, "as many groups as may be");
    assert_eq!(super::commit(&client, "g", "t1AAAA").json()["type"], "invalid-token");
    for body in
        [json!({}), json!({"offsets": []}), json!({"token": "x", "offsets": []}), json!({"tokens": "x"}), json!([])]
    {
        assert_eq!(post(&client, "/v1/groups/g/commit", &body).status, 400, "{body}");
    }
}
