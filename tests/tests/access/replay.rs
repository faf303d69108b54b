//! What was sent before, sent again: the opening of a session, a frame of commits by its own agent or by another.

use bytes::Bytes;
use serde_json::json;
use skidway_tests::{Answer, Client, Site, topic};
use skidway_wire::commit::MEDIA_TYPE;
use skidway_wire::{CommitAnswer, ItemResult, OpenSession, SessionOpened};

use super::attacks::refused;
use super::guarded;
use crate::bad_input::frames::{create, opening, plain, record, request, span};

fn results(answer: Answer) -> Vec<ItemResult> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    CommitAnswer::decode(answer.body.into()).unwrap().results
}

#[test]
fn a_frame_that_is_sent_again_stores_nothing_whoever_sends_it() {
    let site = Site::new();
    let it = guarded(&site, "");
    let agent = |id: &str| it.token(&json!({"agent": id, "grants": [{"scope": "commit", "topics": ["*"]}]}));
    let ((_, own), (other_id, other)) = (agent("web-1"), agent("web-2"));
    let open = |frame: Bytes| own.post("/v1/agents/web-1/session", MEDIA_TYPE, frame);
    let commit = |client: &Client, frame: &Bytes| client.post("/v1/commits", MEDIA_TYPE, frame);
    let first = SessionOpened::decode(open(opening()).body.into()).expect("a session is opened");
    refused(&open(opening()), 409, "session-superseded");
    // A wrong checksum.
    let mut spoiled = plain(1, &record(b"one", &[])).to_vec();
    spoiled[17] ^= 1;
    let results_of_spoiled =
        results(commit(&own, &request(&first, vec![create(), span(vec![spoiled.into()])]).encode()));
    assert!(matches!(results_of_spoiled[..], [_, ItemResult::Rejected { status: 400, .. }]), "{results_of_spoiled:?}");
    let record_of_it = it.audited("the wrong checksum", |record| record["reason"] == "rejected-batch");
    assert_eq!((&record_of_it["object"], &record_of_it["status"]), (&json!("web-1"), &json!(400)));

    let frame = request(&first, vec![span(vec![plain(1, &record(b"one", &[]))])]).encode();
    assert_eq!(results(commit(&own, &frame)), [ItemResult::Accepted]);
    let again = results(commit(&own, &frame));
    assert!(matches!(again[..], [ItemResult::Conflict { position: 10, .. }]), "{again:?}");
    refused(&commit(&other, &frame), 403, "other-agent");
    refused(&commit(&it.collector.client(), &frame), 401, "token-required");
    let (machine_id, host, version) = ("m".into(), "h".into(), "1".into());
    let next = OpenSession { machine_id, host, version, follows: Some(first.epoch) };
    assert_eq!(open(next.encode()).status, 200);
    refused(&commit(&own, &frame), 409, "fenced");
    for reason in ["session-superseded", "fenced"] {
        it.audited(reason, |record| record["reason"] == reason && record["status"] == 409);
    }
    assert_eq!(topic::values(&it.admin, "t"), ["one"]);
    let record = it.audited("who sent another's frame", |record| record["reason"] == "other-agent");
    assert_eq!((&record["who"]["token"], &record["action"]), (&json!(other_id), &json!("agents.commit")));
}

#[test]
fn an_agent_that_asks_for_a_topic_that_is_not_its_own_is_written_down() {
    let site = Site::new();
    let it = guarded(&site, "");
    let (id, own) = it.token(&json!({"agent": "web-1", "grants": [{"scope": "commit", "topics": ["web-*"]}]}));
    let opened = own.post("/v1/agents/web-1/session", MEDIA_TYPE, opening());
    let session = SessionOpened::decode(opened.body.into()).expect("a session is opened");
    let answer = own.post("/v1/commits", MEDIA_TYPE, request(&session, vec![create()]).encode());
    let refusals = results(answer);
    assert!(matches!(refusals[..], [ItemResult::Rejected { status: 403, .. }]), "{refusals:?}");
    let record = it.audited("the topic", |record| record["object"] == "t" && record["action"] == "agents.commit");
    let told = (&record["who"]["token"], &record["status"], &record["reason"]);
    assert_eq!(told, (&json!(id), &json!(403), &json!("missing-scope")));
}
