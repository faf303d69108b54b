//! The agents' own protocol: sessions, commits, sources, the fleet.

use bytes::Bytes;
use serde_json::{Value, json};
use skidway_record::source::{Fingerprint, NewSource, Partitioning, PhysicalId};
use skidway_record::{AgentId, BatchBuilder, Compressor, EncodedHeaders, SourceId, TopicName};
use skidway_wire::{
    CommitAnswer, CommitRequest, Item, ItemResult, OpenSession, SessionOpened, SourcePage, SpanKind, commit,
};

use crate::Collector;
use crate::client::Answer;

const SOURCE: SourceId = SourceId([7; 16]);

/// Opens the session after `follows`.
async fn open_after(collector: &Collector, machine: &str, follows: u64) -> Answer {
    let open =
        OpenSession { machine_id: machine.into(), host: "h".into(), version: "1".into(), follows: Some(follows) };
    collector.post("/v1/agents/web-1/session").body(commit::MEDIA_TYPE, open.encode()).send().await
}

/// Opens the session after the newest.
async fn open(collector: &Collector, machine: &str) -> Answer {
    let refused = open_after(collector, machine, 1000).await.expect(409);
    match refused.json()["current_epoch"].as_u64() {
        Some(newest) => open_after(collector, machine, newest).await,
        None => refused,
    }
}

async fn session(collector: &Collector) -> SessionOpened {
    SessionOpened::decode(open(collector, "m").await.expect(200).body.into()).unwrap()
}

fn request(session: &SessionOpened, items: Vec<Item>) -> CommitRequest {
    CommitRequest {
        agent: AgentId::new("web-1").unwrap(),
        epoch: session.epoch,
        log_id: session.log_id,
        log_epoch: session.log_epoch,
        bytes_behind: 42,
        oldest_unacknowledged_ms: 7,
        items,
    }
}

async fn send(collector: &Collector, request: &CommitRequest) -> Answer {
    collector.post("/v1/commits").body(commit::MEDIA_TYPE, request.encode()).send().await
}

async fn commit(collector: &Collector, session: &SessionOpened, items: Vec<Item>) -> Vec<ItemResult> {
    let answer = send(collector, &request(session, items)).await.expect(200);
    CommitAnswer::decode(answer.body.into()).unwrap().results
}

fn create() -> Item {
    Item::Create(NewSource {
        id: SOURCE,
        input: "nginx".into(),
        topic: TopicName::new("nginx").unwrap(),
        partitioning: Partitioning::File,
        physical: PhysicalId { device: 1, inode: 2, generation: 0, birth_ns: 3 },
        supersedes: None,
        head: Fingerprint::default(),
        path: Bytes::from_static(b"/var/log/a.log"),
    })
}

fn span(span: std::ops::Range<u64>, kind: SpanKind, batches: Vec<Bytes>) -> Item {
    Item::Span {
        source: SOURCE,
        span,
        kind,
        expected_carry: None,
        carry: Bytes::from_static(b"carry"),
        head: Fingerprint::default(),
        anchor: Fingerprint::default(),
        path: None,
        batches,
        dead: Vec::new(),
    }
}

fn batch(lines: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for line in lines {
        builder.push(0, None, Some(line.as_bytes()), &EncodedHeaders::none());
    }
    builder.finish(&mut Compressor::new(1).unwrap()).unwrap().bytes().clone()
}

#[tokio::test]
async fn a_span_is_stored_once_and_its_repetition_tells_the_position() {
    let collector = Collector::start().await;
    let session = session(&collector).await;
    let read = || span(0..10, SpanKind::Read, vec![batch(&["a", "b"]), batch(&["c"])]);
    let results = commit(&collector, &session, vec![create(), read(), span(10..15, SpanKind::Read, vec![])]).await;
    assert_eq!(results, [ItemResult::Accepted, ItemResult::Accepted, ItemResult::Accepted]);
    let carry = Bytes::from_static(b"carry");
    let conflict = ItemResult::Conflict { position: 15, carry: carry.clone() };
    assert_eq!(commit(&collector, &session, vec![read()]).await, [conflict]);
    assert_eq!(collector.page("nginx", "").await.0, ["a", "b", "c"]);

    let page = collector.get("/v1/agents/web-1/sources?limit=1").send().await.expect(200);
    let page = SourcePage::decode(page.body.into()).unwrap();
    assert_eq!((page.sources[0].position, &page.sources[0].carry, page.next), (15, &carry, Some(SOURCE)));
    let url = format!("/v1/agents/web-1/sources?after={SOURCE}");
    let rest = collector.get(&url).send().await.expect(200);
    assert_eq!(SourcePage::decode(rest.body.into()).unwrap(), SourcePage { sources: vec![], next: None });
}

#[tokio::test]
async fn a_bad_batch_is_rejected_alone() {
    let collector = Collector::start().await;
    let session = session(&collector).await;
    let mut flipped = batch(&["x"]).to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let bad = span(0..5, SpanKind::Read, vec![batch(&["a"]), flipped.into()]);
    let good = span(0..5, SpanKind::Read, vec![batch(&["good"])]);
    let results = commit(&collector, &session, vec![create(), bad, good]).await;
    let ItemResult::Rejected { batch, status, reason } = &results[1] else { panic!("{results:?}") };
    assert!(*batch == Some(1) && *status == 400 && reason.contains("CRC"), "{results:?}");
    assert_eq!((&results[0], &results[2]), (&ItemResult::Accepted, &ItemResult::Accepted));
    assert_eq!(collector.page("nginx", "").await.0, ["good"]);
}

#[tokio::test]
async fn a_file_whose_topic_may_not_be_created_holds_up_no_other() {
    let collector = Collector::start_with(|config| config.topics.auto_create = false).await;
    let session = session(&collector).await;
    let results = commit(&collector, &session, vec![create(), Item::Opened { input: "nginx".into() }]).await;
    let ItemResult::Rejected { batch: None, status: 404, reason } = &results[0] else { panic!("{results:?}") };
    assert!(reason.contains("nginx"), "{reason}");
    assert_eq!(results[1], ItemResult::Accepted);
}

#[tokio::test]
async fn a_lost_span_is_told_in_the_events_topic_in_the_same_commit() {
    let collector = Collector::start().await;
    let session = session(&collector).await;
    let lost = span(0..99, SpanKind::Lost { reason: "truncated".into(), exact: true }, vec![]);
    assert_eq!(commit(&collector, &session, vec![create(), lost]).await, [ItemResult::Accepted, ItemResult::Accepted]);
    let (events, _) = collector.page("__skidway.events", "").await;
    let event: Value = serde_json::from_str(&events[0]).unwrap();
    for (member, expected) in [
        ("kind", json!("lost")),
        ("agent", json!("web-1")),
        ("path", json!("/var/log/a.log")),
        ("source", json!(SOURCE.to_string())),
        ("start", json!(0)),
        ("end", json!(99)),
        ("bytes", json!(99)),
        ("exact", json!(true)),
        ("reason", json!("truncated")),
    ] {
        assert_eq!(event[member], expected, "{member}");
    }
    let wrong = span(99..100, SpanKind::Skipped, vec![batch(&["a"])]);
    send(&collector, &request(&session, vec![wrong])).await.expect(400);
}

#[tokio::test]
async fn an_older_session_another_log_and_another_version_are_refused() {
    let collector = Collector::start().await;
    let old = session(&collector).await;
    let new = session(&collector).await;
    assert_eq!(new.epoch, old.epoch + 1);
    assert_eq!(send(&collector, &request(&old, vec![create()])).await.expect(409).problem(), "fenced");
    assert_eq!(send(&collector, &request(&old, vec![])).await.expect(409).problem(), "fenced");
    assert_eq!(commit(&collector, &new, vec![]).await, []);
    let other = CommitRequest { log_epoch: 9, ..request(&new, vec![]) };
    assert_eq!(send(&collector, &other).await.expect(409).problem(), "log-changed");

    let mut frame = request(&new, vec![]).encode().to_vec();
    frame[4] = 99;
    let post = |frame: Vec<u8>| collector.post("/v1/commits").body(commit::MEDIA_TYPE, frame).send();
    assert_eq!(post(frame).await.expect(426).problem(), "unsupported-version");
    assert_eq!(post(b"nonsense".to_vec()).await.expect(400).problem(), "malformed-frame");
}

#[tokio::test]
async fn opened_inputs_are_remembered_and_the_fleet_is_listed() {
    let collector = Collector::start().await;
    let first = session(&collector).await;
    commit(&collector, &first, vec![Item::Opened { input: "nginx".into() }]).await;
    assert_eq!(session(&collector).await.opened_inputs, ["nginx"]);
    let second = session(&collector).await;
    commit(&collector, &second, vec![create()]).await;
    let agents = collector.get("/v1/agents").send().await.expect(200).json();
    let agent = &agents["agents"][0];
    assert_eq!((&agent["id"], &agent["host"], &agent["session_epoch"]), (&json!("web-1"), &json!("h"), &json!(3)));
    assert_eq!((&agent["bytes_behind"], &agent["oldest_unacknowledged_ms"]), (&json!(42), &json!(7)));
    assert!(agent["last_seen"].is_string());
}

#[tokio::test]
async fn another_machine_with_the_same_id_is_refused_with_both_addresses() {
    let collector = Collector::start().await;
    open(&collector, "m").await.expect(200);
    let refused = open(&collector, "other").await.expect(409);
    assert_eq!(refused.problem(), "agent-id-in-use");
    assert!(refused.header("retry-after").is_some());
    let json = refused.json();
    assert!(json["holder"].as_str().unwrap().starts_with("127.0.0.1:") && json["asker"] != json["holder"], "{json}");
    open(&collector, "m").await.expect(200);
}

/// A copy of the request may be delivered late: it must not fence the session it once opened.
#[tokio::test]
async fn an_opening_that_does_not_follow_the_newest_session_does_nothing() {
    let collector = Collector::start().await;
    let refused = open_after(&collector, "m", 7).await.expect(409);
    assert_eq!((refused.problem().as_str(), &refused.json()["current_epoch"]), ("session-superseded", &json!(0)));
    let opened = SessionOpened::decode(open_after(&collector, "m", 0).await.expect(200).body.into()).unwrap();
    let late = open_after(&collector, "m", 0).await.expect(409);
    assert_eq!((late.problem().as_str(), &late.json()["current_epoch"]), ("session-superseded", &json!(1)));
    assert_eq!(commit(&collector, &opened, vec![]).await, []);
}
