//! What agents and producers rely on, across restarts: positions, sessions, sequences.

use skidway_commitlog::commit::{Commit, HandOver, ProducerSequence, Refusal, SourceChange, Target, TopicChange};
use skidway_commitlog::{Config, Error};
use skidway_disk::FaultyDisk;
use skidway_record::Offset;

use crate::*;

fn reopened(opened: Opened, disk: &FaultyDisk) -> Opened {
    drop(opened);
    disk.crash(1);
    open(disk).unwrap()
}

#[test]
fn a_span_is_stored_once_and_only_at_its_place() {
    let disk = FaultyDisk::new();
    let opened = open(&disk).unwrap();
    assert_eq!(opened.session("web").unwrap().epoch, 1);
    opened.commit(create("web", 1, source(1, "nginx"))).unwrap();
    let committed = opened.commit(span("web", 1, 1, 0..10, &["a"])).unwrap();
    let place = committed.appended[0].partition.clone();
    let opened = reopened(opened, &disk);
    for wrong in [0..10, 5..15, 11..20] {
        let refused = opened.commit(span("web", 1, 1, wrong, &["x"]));
        let Err(Error::Refused(Refusal::PositionMismatch { position, carry })) = refused else { panic!("{refused:?}") };
        assert_eq!((position, &carry[..]), (10, &b"10"[..]));
    }
    opened.commit(span("web", 1, 1, 10..30, &[])).unwrap();
    opened.commit(span("web", 1, 1, 30..40, &["b"])).unwrap();
    assert_eq!(opened.lines(&place), ["a", "b"]);
    assert_eq!(opened.sources("web").unwrap()[0].position, 40);
}

#[test]
fn a_newer_session_fences_the_older_across_restarts() {
    let disk = FaultyDisk::new();
    let opened = open(&disk).unwrap();
    opened.session("web").unwrap();
    opened.commit(create("web", 1, source(1, "nginx"))).unwrap();
    let opened = reopened(opened, &disk);
    assert_eq!(opened.session("web").unwrap().epoch, 2);
    let refused = opened.commit(span("web", 1, 1, 0..10, &["x"]));
    assert!(matches!(refused, Err(Error::Refused(Refusal::Fenced { epoch: 1, current: Some(2) }))));
    opened.commit(span("web", 2, 1, 0..10, &["x"])).unwrap();
    let input = Commit { session: session_ref("web", 2), opened_input: Some("in".into()), ..Commit::default() };
    opened.commit(input).unwrap();
    let opened = reopened(opened, &disk);
    let session = opened.session("web").unwrap();
    assert_eq!((session.epoch, session.opened_inputs), (3, vec!["in".to_owned()]));
    assert_eq!(opened.agents().unwrap().len(), 1);
}

#[test]
fn sources_are_paged_by_id_for_their_agent_only() {
    let opened = open(&FaultyDisk::new()).unwrap();
    for agent in ["web", "db"] {
        opened.session(agent).unwrap();
    }
    for n in [3, 1, 2] {
        opened.commit(create("web", 1, source(n, "nginx"))).unwrap();
    }
    opened.commit(create("db", 1, source(9, "nginx"))).unwrap();
    let page = |after: Option<u8>, limit| {
        let after = after.map(|n| SourceId([n; 16]));
        let sources = answered(|done| opened.log.sources(agent_id("web"), after, limit, done)).unwrap();
        sources.into_iter().map(|stored| stored.source.id.0[0]).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 2), [1, 2]);
    assert_eq!(page(Some(2), 2), [3]);
    assert_eq!(page(Some(3), 2), [0; 0]);
    let foreign = opened.commit(span("db", 1, 1, 0..10, &["x"]));
    assert!(matches!(foreign, Err(Error::Refused(Refusal::UnknownSource))));
}

#[test]
fn a_topic_deleted_under_a_source_is_created_again_and_positions_stay() {
    let disk = FaultyDisk::new();
    let mut config = config();
    let opened = open_with(&disk, config.clone()).unwrap();
    opened.session("web").unwrap();
    opened.commit(create("web", 1, source(1, "nginx"))).unwrap();
    opened.commit(span("web", 1, 1, 0..10, &["a"])).unwrap();
    opened.alter(TopicChange::Delete(topic("nginx"))).unwrap();
    drop(opened);
    config.topics.auto_create = false;
    config.topics.default.partitions = 1;
    let opened = open_with(&disk, Config { ..config }).unwrap();
    let committed = opened.commit(span("web", 1, 1, 10..20, &["b"])).unwrap();
    assert_eq!(committed.appended[0].partition, partition("nginx", 0));
    let batches = vec![(Target::DeadLetter, batch(&["bad"]))];
    let dead = Commit { batches, ..span("web", 1, 1, 20..30, &[]) };
    assert_eq!(opened.commit(dead).unwrap().appended[0].partition, partition("nginx.dead", 0));
    let unknown = opened.append(&partition("other", 0), &["x"]);
    assert!(matches!(unknown, Err(Error::Refused(Refusal::UnknownTopic(_)))));
    opened.append(&partition("__skidway.events", 0), &["{}"]).unwrap();
}

#[test]
fn a_gone_source_makes_room_for_another_of_the_same_file() {
    let opened = open(&FaultyDisk::new()).unwrap();
    opened.session("web").unwrap();
    opened.commit(create("web", 1, source(1, "nginx"))).unwrap();
    let mut second = source(2, "nginx");
    second.physical = source(1, "nginx").physical;
    let refused = opened.commit(create("web", 1, second.clone()));
    assert!(matches!(refused, Err(Error::Refused(Refusal::SourceExists { source_id })) if source_id.0[0] == 1));
    let gone = Some(SourceChange::Gone { source: SourceId([1; 16]), at_ms: 5 });
    opened.commit(Commit { session: session_ref("web", 1), source: gone, ..Commit::default() }).unwrap();
    opened.commit(create("web", 1, second)).unwrap();
}

#[test]
fn a_framers_state_handed_over_is_the_other_sources_after_a_restart() {
    let disk = FaultyDisk::new();
    let opened = open(&disk).unwrap();
    opened.session("web").unwrap();
    for n in [1, 2] {
        opened.commit(create("web", 1, source(n, "nginx"))).unwrap();
    }
    opened.commit(span("web", 1, 1, 0..10, &["whole"])).unwrap();
    let carry = opened.sources("web").unwrap()[0].carry.clone();
    let (from, to) = (SourceId([1; 16]), SourceId([2; 16]));
    let hand_over = || {
        let asked = HandOver { from, position: 10, carry: carry.clone(), to };
        Commit { session: session_ref("web", 1), source: Some(SourceChange::HandOver(asked)), ..Commit::default() }
    };
    opened.commit(hand_over()).unwrap();
    let opened = reopened(opened, &disk);
    opened.commit(hand_over()).unwrap();
    let carries: Vec<_> = opened.sources("web").unwrap().into_iter().map(|stored| stored.carry).collect();
    assert!(!carry.is_empty() && carries == [Bytes::new(), carry]);
}

#[test]
fn a_producers_duplicate_gets_its_first_answer_after_a_restart() {
    let disk = FaultyDisk::new();
    let opened = open(&disk).unwrap();
    let produce = |opened: &Opened, epoch, first, expected_offset: Option<u64>| {
        let producer = Some(ProducerSequence {
            topic: topic("orders"),
            producer: "shop".into(),
            epoch,
            first,
            count: 2,
            at_ms: i64::MAX / 2,
        });
        let batches = vec![(Target::Partition(partition("orders", 1)), batch(&["x", "y"]))];
        let expected_offset = expected_offset.map(|offset| (partition("orders", 1), Offset(offset)));
        opened.commit(Commit { producer, batches, expected_offset, ..Commit::default() })
    };
    let first = produce(&opened, 0, 0, Some(0)).unwrap();
    let opened = reopened(opened, &disk);
    let again = produce(&opened, 0, 0, Some(0)).unwrap();
    assert!(again.duplicate && again.appended == first.appended);
    let gap = produce(&opened, 0, 4, None);
    assert!(matches!(gap, Err(Error::Refused(Refusal::SequenceMismatch { expected: 2 }))));
    let late = produce(&opened, 0, 2, Some(0));
    assert!(matches!(late, Err(Error::Refused(Refusal::OffsetMismatch { current: Offset(2) }))));
    for n in 1..7 {
        produce(&opened, 0, 2 * n, None).unwrap();
    }
    let forgotten = produce(&opened, 0, 0, None);
    assert!(matches!(forgotten, Err(Error::Refused(Refusal::SequenceMismatch { expected: 14 }))));
    produce(&opened, 1, 0, None).unwrap();
    let fenced = produce(&opened, 0, 14, None);
    assert!(matches!(fenced, Err(Error::Refused(Refusal::ProducerFenced { epoch: 0, current: 1 }))));
    assert_eq!(opened.lines(&partition("orders", 1)).len(), 16);
}
