//! The rules as tables: a state, a request, and what comes of it.

use bytes::Bytes;
use skidway_record::source::{Fingerprint, NewSource, Partitioning, PhysicalId};
use skidway_record::{
    AgentId, Batch, BatchBuilder, Compressor, EncodedHeaders, LogId, Offset, SourceId, TopicName, TopicPartition,
};

use super::*;
use crate::commit::{
    Advance, HandOver, LogIdentity, ProducerSequence, SourceChange, Target, TopicChange, TopicSettings,
};
use crate::config::TopicDefaults;
use crate::effects::Effects;

const NOW_MS: i64 = 1_000_000;

/// A state with session 3 of agent `web`, and the source 1 of inode 1 at position 10.
fn state() -> State {
    let mut state = State::new(LogIdentity { id: LogId([0; 16]), epoch: 1 });
    for follows in 0..3 {
        let open = OpenSession { agent: agent("web"), machine_id: "m".into(), host: "h".into(), version: "v".into() };
        let (changes, _) = decide_session(&state, &open, follows).unwrap();
        state.apply(&Effects { at_ms: 0, changes });
    }
    run(&mut state, create(source(1, 1, None))).unwrap();
    run(&mut state, by_web(SourceChange::Advance(advance(1, 0..10)))).unwrap();
    state
}

/// Decides and, if accepted, applies.
fn run(state: &mut State, commit: Commit) -> Result<Committed, Refusal> {
    let (changes, committed) = decide(state, &commit)?;
    state.apply(&Effects { at_ms: NOW_MS, changes });
    Ok(committed)
}

fn decide(state: &State, commit: &Commit) -> Result<(Vec<Change>, Committed), Refusal> {
    let topics = TopicDefaults::default();
    let mut last = 0;
    let mut mint = || {
        last += 1;
        [last; 16]
    };
    decide_commit(state, commit, &mut circumstances(&topics, &mut mint))
}

fn circumstances<'a>(topics: &'a TopicDefaults, mint: &'a mut dyn FnMut() -> TopicId) -> Circumstances<'a> {
    let segments = SegmentLimits { bytes: 1 << 20, age_ms: 1000 };
    Circumstances { topics, segments, now_ms: NOW_MS, mint }
}

fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn id(n: u8) -> SourceId {
    SourceId([n; 16])
}

fn source(n: u8, inode: u64, supersedes: Option<u8>) -> NewSource {
    NewSource {
        id: id(n),
        input: "in".into(),
        topic: topic("nginx"),
        partitioning: Partitioning::File,
        physical: PhysicalId { device: 1, inode, generation: 0, birth_ns: 0 },
        supersedes: supersedes.map(id),
        head: Fingerprint::default(),
        path: Bytes::from_static(b"/x.log"),
    }
}

fn advance(n: u8, span: std::ops::Range<u64>) -> Advance {
    let (head, anchor) = (Fingerprint::default(), Fingerprint::default());
    Advance { source: id(n), span, carry: Bytes::from_static(b"carry"), head, anchor, path: None }
}

fn by_web(change: SourceChange) -> Commit {
    let session = Some(SessionRef { agent: agent("web"), epoch: 3 });
    Commit { session, source: Some(change), ..Commit::default() }
}

fn create(source: NewSource) -> Commit {
    by_web(SourceChange::Create(source))
}

fn batch(records: usize) -> Batch {
    let mut builder = BatchBuilder::new();
    for _ in 0..records {
        builder.push(0, None, Some(b"line"), &EncodedHeaders::none());
    }
    builder.finish(&mut Compressor::new(1).unwrap()).unwrap()
}

#[test]
fn only_the_current_session_commits() {
    for (name, epoch, current) in [("web", 2, Some(3)), ("web", 4, Some(3)), ("db", 1, None)] {
        let session = Some(SessionRef { agent: agent(name), epoch });
        let refused = decide(&state(), &Commit { session, ..Commit::default() });
        assert_eq!(refused, Err(Refusal::Fenced { epoch, current }), "{name} {epoch}");
    }
}

#[test]
fn a_source_moves_only_from_where_it_stands() {
    let stands = Err(Refusal::PositionMismatch { position: 10, carry: Bytes::from_static(b"carry") });
    for (change, expected) in [
        (SourceChange::Advance(advance(1, 10..20)), Ok(())),
        (SourceChange::Advance(advance(1, 10..10)), Ok(())),
        (SourceChange::Advance(advance(1, 0..10)), stands.clone()),
        (SourceChange::Advance(advance(1, 9..20)), stands.clone()),
        (SourceChange::Advance(advance(1, 11..20)), stands.clone()),
        #[expect(clippy::reversed_empty_ranges, reason = "such a span must be refused")]
        (SourceChange::Advance(advance(1, 10..5)), stands),
        (SourceChange::Advance(advance(2, 0..5)), Err(Refusal::UnknownSource)),
        (SourceChange::Gone { source: id(2), at_ms: 0 }, Err(Refusal::UnknownSource)),
    ] {
        assert_eq!(run(&mut state(), by_web(change.clone())).map(|_| ()), expected, "{change:?}");
    }
    let without_session = Commit { source: Some(SourceChange::Advance(advance(1, 10..20))), ..Commit::default() };
    assert_eq!(run(&mut state(), without_session), Err(Refusal::UnknownSource));
}

#[test]
fn creation_is_compare_and_set_on_the_file() {
    let exists = Err(Refusal::SourceExists { source_id: id(1) });
    let other_topic = NewSource { topic: topic("other"), ..source(1, 1, None) };
    let other_input = NewSource { input: "other".into(), ..source(2, 1, None) };
    for (case, new, expected) in [
        ("another file", source(2, 2, None), Ok(())),
        ("the same file", source(2, 1, None), exists.clone()),
        ("the same file, superseding its source", source(2, 1, Some(1)), Ok(())),
        ("the same file, superseding another", source(2, 1, Some(9)), exists.clone()),
        ("another file, superseding one that is forgotten", source(2, 2, Some(9)), Ok(())),
        ("the same file in another input", other_input, Ok(())),
        ("the same creation again", source(1, 1, None), Ok(())),
        ("the same id for another topic", other_topic, exists.clone()),
        ("the same id for another file", source(1, 2, None), exists),
    ] {
        assert_eq!(run(&mut state(), create(new)).map(|_| ()), expected, "{case}");
    }
}

#[test]
fn a_repeated_creation_changes_nothing() {
    let (changes, _) = decide(&state(), &create(source(1, 1, None))).unwrap();
    assert_eq!(changes, []);
}

#[test]
fn a_superseded_source_is_gone_and_its_successor_may_be_superseded_again() {
    let mut state = state();
    run(&mut state, create(source(2, 1, Some(1)))).unwrap();
    assert_eq!(state.source(&id(1)).unwrap().gone_at_ms, Some(NOW_MS));
    run(&mut state, create(source(3, 1, Some(2)))).unwrap();
    let refused = run(&mut state, create(source(4, 1, Some(1))));
    assert_eq!(refused, Err(Refusal::SourceExists { source_id: id(3) }));
}

#[test]
fn a_rebound_source_leaves_its_old_file_to_others() {
    let mut state = state();
    let copy = PhysicalId { inode: 7, ..source(1, 1, None).physical };
    let rebind = |n: u8| SourceChange::Rebind { source: id(n), physical: copy, path: Bytes::from_static(b"/x.log.1") };
    run(&mut state, by_web(rebind(1))).unwrap();
    run(&mut state, by_web(rebind(1))).unwrap();
    run(&mut state, create(source(2, 1, None))).unwrap();
    assert_eq!(run(&mut state, by_web(rebind(2))), Err(Refusal::SourceExists { source_id: id(1) }));
    assert_eq!(state.source(&id(1)).unwrap().position, 10);
}

/// A span without bytes can be told from one committed before by the framer's state alone.
#[test]
fn an_empty_span_is_committed_once_if_it_says_what_the_framer_had() {
    let mut state = state();
    let flush = |before: &'static [u8]| {
        let after = Advance { carry: Bytes::new(), ..advance(1, 10..10) };
        let commit = by_web(SourceChange::Advance(after));
        Commit { expected_carry: Some(Bytes::from_static(before)), batches: vec![(Target::Source, batch(1))], ..commit }
    };
    let stands = |carry: &'static [u8]| Refusal::PositionMismatch { position: 10, carry: Bytes::from_static(carry) };
    assert_eq!(run(&mut state, flush(b"other")), Err(stands(b"carry")));
    run(&mut state, flush(b"carry")).unwrap();
    assert_eq!(run(&mut state, flush(b"carry")), Err(stands(b"")));
}

#[test]
fn a_framers_state_goes_on_in_a_source_that_has_not_begun() {
    let refused =
        |position, carry: &'static [u8]| Err(Refusal::PositionMismatch { position, carry: Bytes::from_static(carry) });
    let hand_over = |from, position, carry: &'static [u8], to| {
        let carry = Bytes::from_static(carry);
        by_web(SourceChange::HandOver(HandOver { from: id(from), position, carry, to: id(to) }))
    };
    let mut before = state();
    for n in [2, 3] {
        run(&mut before, create(source(n, n.into(), None))).unwrap();
    }
    run(&mut before, by_web(SourceChange::Advance(Advance { carry: Bytes::new(), ..advance(3, 0..1) }))).unwrap();
    for (case, asked, expected) in [
        ("it fits", hand_over(1, 10, b"carry", 2), Ok(())),
        ("the first stands elsewhere", hand_over(1, 9, b"carry", 2), refused(10, b"carry")),
        ("the first has another state", hand_over(1, 10, b"other", 2), refused(10, b"carry")),
        ("the first has none", hand_over(2, 0, b"", 2), refused(0, b"")),
        ("the second has begun", hand_over(1, 10, b"carry", 3), refused(1, b"")),
        ("to itself", hand_over(1, 10, b"carry", 1), refused(10, b"carry")),
        ("from nobody", hand_over(9, 10, b"carry", 2), Err(Refusal::UnknownSource)),
        ("to nobody", hand_over(1, 10, b"carry", 9), Err(Refusal::UnknownSource)),
    ] {
        let mut state = before.clone();
        assert_eq!(run(&mut state, asked).map(|_| ()), expected, "{case}");
    }
    run(&mut before, hand_over(1, 10, b"carry", 2)).unwrap();
    assert_eq!(before.source(&id(1)).unwrap().carry, Bytes::new());
    assert_eq!(before.source(&id(2)).unwrap().carry, Bytes::from_static(b"carry"));
    let (changes, _) = decide(&before, &hand_over(1, 10, b"carry", 2)).unwrap();
    assert_eq!(changes, [], "the answer was lost");
    run(&mut before, by_web(SourceChange::Advance(Advance { carry: Bytes::new(), ..advance(2, 0..5) }))).unwrap();
    assert_eq!(run(&mut before, hand_over(1, 10, b"carry", 2)).map(|_| ()), refused(10, b""), "a late copy");
}

#[test]
fn gone_sources_and_silent_producers_are_forgotten() {
    let mut state = state();
    run(&mut state, by_web(SourceChange::Gone { source: id(1), at_ms: 50 })).unwrap();
    run(&mut state, produce(0, 0)).unwrap();
    for (before_ms, forgets) in [(50, false), (51, true)] {
        assert_eq!(state.would_forget(i64::MIN, before_ms), forgets);
    }
    let forgotten = Change::Forgotten { producers_before_ms: NOW_MS + 1, sources_before_ms: 51 };
    state.apply(&Effects { at_ms: 0, changes: vec![forgotten] });
    assert!(state.source(&id(1)).is_none() && state.sources_of(&agent("web"), None, 9).is_empty());
    assert_eq!(run(&mut state, produce(0, 2)), Err(Refusal::SequenceMismatch { expected: 0 }));
    assert!(!state.would_forget(i64::MAX, i64::MAX));
}

/// A request of two records of producer `p` to topic `orders`.
fn produce(epoch: u64, first: u64) -> Commit {
    let producer =
        ProducerSequence { topic: topic("orders"), producer: "p".into(), epoch, first, count: 2, at_ms: NOW_MS };
    let batches = vec![(Target::Partition(TopicPartition::new(topic("orders"), 0)), batch(2))];
    Commit { producer: Some(producer), batches, ..Commit::default() }
}

#[test]
fn producers_are_held_to_their_sequence() {
    let mut state = state();
    for first in [0, 2, 4] {
        assert!(!run(&mut state, produce(5, first)).unwrap().duplicate);
    }
    for (epoch, first, expected) in [
        (5, 6, Ok(false)),
        (5, 4, Ok(true)),
        (5, 0, Ok(true)),
        (5, 3, Err(Refusal::SequenceMismatch { expected: 6 })),
        (5, 8, Err(Refusal::SequenceMismatch { expected: 6 })),
        (4, 6, Err(Refusal::ProducerFenced { epoch: 4, current: 5 })),
        (6, 6, Err(Refusal::SequenceMismatch { expected: 0 })),
        (6, 0, Ok(false)),
    ] {
        let decided = decide(&state, &produce(epoch, first)).map(|(_, committed)| committed.duplicate);
        assert_eq!(decided, expected, "epoch {epoch}, first {first}");
    }
}

#[test]
fn a_duplicate_is_known_before_the_expected_offset_is_looked_at() {
    let mut state = state();
    let expecting = |first| {
        let expected_offset = Some((TopicPartition::new(topic("orders"), 0), Offset(0)));
        Commit { expected_offset, ..produce(0, first) }
    };
    assert!(!run(&mut state, expecting(0)).unwrap().duplicate);
    assert!(run(&mut state, expecting(0)).unwrap().duplicate);
    assert_eq!(run(&mut state, expecting(2)), Err(Refusal::OffsetMismatch { current: Offset(2) }));
}

#[test]
fn offsets_follow_each_other_within_a_commit() {
    let mut state = state();
    let place = |n| Target::Partition(TopicPartition::new(topic("fresh"), n));
    let batches = vec![(place(1), batch(3)), (place(0), batch(1)), (place(1), batch(2)), (Target::Source, batch(1))];
    let commit = Commit { batches, ..by_web(SourceChange::Advance(advance(1, 10..20))) };
    let committed = run(&mut state, commit).unwrap();
    let placed: Vec<_> = committed.appended.iter().map(|one| (one.base_offset.0, one.count)).collect();
    assert_eq!(placed, [(0, 3), (0, 1), (3, 2), (0, 1)]);
    assert_eq!(committed.appended[3].partition.topic, topic("nginx"));
    assert_eq!(state.topic(&topic("fresh")).unwrap().partitions[1].next_offset, 5);
}

#[test]
fn batches_of_a_source_without_partition_take_turns() {
    let mut state = state();
    let new = NewSource { partitioning: Partitioning::RoundRobin, ..source(2, 2, None) };
    run(&mut state, create(new)).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for n in 0..4 {
        let batches = vec![(Target::Source, batch(1))];
        let commit = Commit { batches, ..by_web(SourceChange::Advance(advance(2, n..n + 1))) };
        seen.insert(run(&mut state, commit).unwrap().appended[0].partition.clone());
    }
    assert_eq!(seen.len(), 4);
}

#[test]
fn topics_are_created_changed_and_deleted() {
    let topics = TopicDefaults::default();
    let mut mint = || [9; 16];
    let mut circumstances = circumstances(&topics, &mut mint);
    let settings = |partitions| TopicSettings { partitions: Some(partitions), ..TopicSettings::default() };
    let nginx = || topic("nginx");
    for (change, expected) in [
        (TopicChange::Ensure(nginx()), Ok((false, false, 0))),
        (TopicChange::Ensure(topic("new")), Ok((true, false, 1))),
        (TopicChange::Put(nginx(), settings(4)), Ok((false, false, 0))),
        (TopicChange::Put(nginx(), settings(8)), Ok((false, true, 1))),
        (TopicChange::Put(topic("new"), settings(1)), Ok((true, false, 1))),
        (TopicChange::Put(topic("new"), settings(0)), Err(Refusal::PartitionCount(0))),
        (TopicChange::Put(nginx(), settings(3)), Err(Refusal::FewerPartitions { topic: nginx(), have: 4, asked: 3 })),
        (TopicChange::Delete(nginx()), Ok((false, true, 1))),
        (TopicChange::Delete(topic("new")), Ok((false, false, 0))),
    ] {
        let decided = decide_topic(&state(), &change, &mut circumstances);
        let decided = decided.map(|(changes, altered)| (altered.created, altered.changed, changes.len()));
        assert_eq!(decided, expected, "{change:?}");
    }
}
