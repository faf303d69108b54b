//! What an engine gives the suite, the list of its checks, and the words they are written in.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use skidway_collector::log::{
    Advance, Appended, Commit, Committed, Log, LogError, LogOffsets, OpenSession, Refusal, Session, SessionRef,
    SourceChange, Target, TopicAltered, TopicChange,
};
use skidway_record::source::{Fingerprint, NewSource, Partitioning, PhysicalId, StoredSource};
use skidway_record::{
    AgentId, Batch, BatchBuilder, Compressor, EncodedHeaders, Offset, SourceId, TopicName, TopicPartition,
};

/// Partitions of a topic that nobody said more about.
pub(crate) const PARTITIONS: u32 = 2;

/// Keeps one log for the suite: empty at first, topics of [`PARTITIONS`] partitions created by producing, nothing dropped by age or size.
pub(crate) trait Engine {
    /// Makes a place for a log.
    fn new() -> Self;

    /// Opens the log there, the same each time. All handles to the one before are gone by then.
    fn open(&self) -> Arc<dyn Log>;
}

/// Makes a test of each check for an engine.
macro_rules! conforms {
    ($engine:ty) => {
        conforms!($engine, commits:
            a_commit_over_partitions_is_all_there_or_not_at_all,
            offsets_follow_each_other_without_overlap,
            commits_are_decided_in_the_order_they_were_submitted,
            what_is_acknowledged_can_be_read,
            batches_are_stored_as_they_came,
            an_expected_offset_lets_one_writer_through,
        );
        conforms!($engine, producers:
            a_duplicate_is_answered_as_the_first_time_and_stored_once,
            a_gap_is_refused_and_says_what_would_fit,
            a_newer_epoch_fences_the_older_one_and_begins_anew,
            producers_and_topics_have_sequences_of_their_own,
        );
        conforms!($engine, sources:
            a_newer_session_fences_the_older_one,
            a_span_moves_the_position_and_adds_its_lines_at_once,
            a_span_that_does_not_start_at_the_position_changes_nothing,
            a_source_is_created_once,
            sources_belong_to_their_agent,
            a_superseded_source_gives_its_file_to_the_next,
            sources_are_paged_in_order,
            a_source_continues_in_a_copy_and_can_be_gone,
            refused_lines_go_to_the_dead_letter_topic,
            opened_inputs_are_remembered,
        );
        conforms!($engine, reading:
            a_fetch_begins_with_the_batch_that_contains_the_offset,
            a_fetch_gives_whole_batches_and_at_least_one,
            a_fetch_is_empty_only_at_the_high_watermark,
            outside_of_what_there_is_nothing_is_fetched,
            a_time_finds_the_first_record_as_new,
            watchers_see_the_high_watermarks_grow,
            watching_ends_with_the_topic,
        );
        conforms!($engine, topics:
            a_topic_is_ensured_once,
            producing_creates_a_topic,
            partitions_grow_and_never_shrink,
            the_number_of_partitions_has_bounds,
            settings_change_in_what_is_said_alone,
            a_recreated_topic_is_another_one,
            topics_are_listed_by_name,
            records_are_deleted_up_to_any_offset,
        );
        conforms!($engine, restart:
            a_restart_keeps_records_and_topics,
            a_restart_keeps_sources_and_sessions,
            a_restart_keeps_what_producers_did,
        );
    };
    ($engine:ty, $room:ident: $($check:ident,)*) => {
        mod $room {
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    crate::$room::$check(&<$engine as Engine>::new()).await;
                }
            )*
        }
    };
}

pub(crate) fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

pub(crate) fn partition(name: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(topic(name), partition)
}

pub(crate) fn batch(lines: &[&str]) -> Batch {
    let timed: Vec<_> = lines.iter().map(|line| (1_000, *line)).collect();
    batch_at(&timed)
}

/// Makes a batch of lines with their times.
pub(crate) fn batch_at(lines: &[(i64, &str)]) -> Batch {
    let mut builder = BatchBuilder::new();
    for (timestamp_ms, line) in lines {
        builder.push(*timestamp_ms, None, Some(line.as_bytes()), &EncodedHeaders::none());
    }
    builder.finish(&mut Compressor::new(1).unwrap()).expect("a batch has lines")
}

/// Makes a commit of batches to partitions.
pub(crate) fn appending(batches: &[(TopicPartition, &[&str])]) -> Commit {
    let batches = batches.iter().map(|(place, lines)| (Target::Partition(place.clone()), batch(lines)));
    Commit { batches: batches.collect(), ..Commit::default() }
}

pub(crate) async fn commit(log: &Arc<dyn Log>, commit: Commit) -> Result<Committed, LogError> {
    log.submit(commit).await.await
}

/// Commits, and gives what it was refused for.
pub(crate) async fn refusal(log: &Arc<dyn Log>, asked: Commit) -> Refusal {
    match commit(log, asked).await {
        Err(LogError::Refused(refusal)) => refusal,
        other => panic!("{other:?} is no refusal"),
    }
}

pub(crate) async fn append(log: &Arc<dyn Log>, to: &TopicPartition, lines: &[&str]) -> Appended {
    commit(log, appending(&[(to.clone(), lines)])).await.unwrap().appended.remove(0)
}

pub(crate) async fn alter(log: &Arc<dyn Log>, change: TopicChange) -> Result<TopicAltered, LogError> {
    log.alter_topic(change).await
}

pub(crate) fn offsets(log: &Arc<dyn Log>, of: &TopicPartition) -> LogOffsets {
    log.offsets(of).unwrap()
}

/// Reads all lines of a partition with their offsets.
pub(crate) async fn records(log: &Arc<dyn Log>, of: &TopicPartition) -> Vec<(u64, String)> {
    let LogOffsets { log_start, high_watermark, .. } = offsets(log, of);
    let (mut at, mut records) = (log_start, Vec::new());
    while at < high_watermark {
        let batches = log.fetch(of.clone(), at, 1000).await.unwrap();
        at = batches.last().expect("below the high watermark there is something").next_offset();
        records.extend(batches.iter().flat_map(records_of).filter(|(offset, _)| *offset >= log_start.0));
    }
    records
}

pub(crate) fn records_of(batch: &Batch) -> Vec<(u64, String)> {
    batch.verify().unwrap();
    let decoded = batch.decode().unwrap();
    let line = |record: skidway_record::Record<'_>| {
        (decoded.offset_of(&record).0, String::from_utf8(record.value.unwrap().to_vec()).unwrap())
    };
    decoded.records().map(|record| line(record.unwrap())).collect()
}

/// Reads all lines of a partition; nothing if it is not there.
pub(crate) async fn lines(log: &Arc<dyn Log>, of: &TopicPartition) -> Vec<String> {
    match log.offsets(of) {
        Ok(_) => records(log, of).await.into_iter().map(|(_, line)| line).collect(),
        Err(LogError::NotFound(_)) => Vec::new(),
        Err(other) => panic!("{other}"),
    }
}

pub(crate) fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

/// Opens a session of an agent; gives its epoch.
pub(crate) async fn session(log: &Arc<dyn Log>, name: &str) -> u64 {
    open_session(log, name).await.epoch
}

/// Opens the session of an agent that follows its newest.
pub(crate) async fn open_session(log: &Arc<dyn Log>, name: &str) -> Session {
    let known = log.agents().await.unwrap().into_iter().find(|known| known.session.agent == agent(name));
    log.open_session(session_of(name), known.map_or(0, |known| known.epoch)).await.unwrap()
}

pub(crate) fn session_of(name: &str) -> OpenSession {
    OpenSession { agent: agent(name), machine_id: "m".into(), host: "h".into(), version: "v".into() }
}

pub(crate) fn in_session(name: &str, epoch: u64, source: SourceChange) -> Commit {
    Commit { session: Some(SessionRef { agent: agent(name), epoch }), source: Some(source), ..Commit::default() }
}

/// Describes source `n`, of a file of its own, whose lines go to `topic_name`.
pub(crate) fn source(n: u8, topic_name: &str) -> NewSource {
    NewSource {
        id: SourceId([n; 16]),
        input: "in".into(),
        topic: topic(topic_name),
        partitioning: Partitioning::File,
        physical: physical(n),
        supersedes: None,
        head: Fingerprint::default(),
        path: Bytes::from(format!("/var/log/{n}.log")),
    }
}

pub(crate) fn physical(n: u8) -> PhysicalId {
    PhysicalId { device: 1, inode: u64::from(n), generation: 0, birth_ns: 0 }
}

/// Makes a commit of a span of source `n`; the carry names its end.
pub(crate) fn span(name: &str, epoch: u64, n: u8, span: Range<u64>, lines: &[&str]) -> Commit {
    let advance = Advance {
        source: SourceId([n; 16]),
        carry: Bytes::from(span.end.to_string()),
        span,
        head: Fingerprint::default(),
        anchor: Fingerprint::default(),
        path: None,
    };
    let mut asked = in_session(name, epoch, SourceChange::Advance(advance));
    if !lines.is_empty() {
        asked.batches.push((Target::Source, batch(lines)));
    }
    asked
}

/// Opens a session and creates source `n` in it; gives the epoch.
pub(crate) async fn with_source(log: &Arc<dyn Log>, name: &str, n: u8, topic_name: &str) -> u64 {
    let epoch = session(log, name).await;
    commit(log, in_session(name, epoch, SourceChange::Create(source(n, topic_name)))).await.unwrap();
    epoch
}

pub(crate) async fn stored(log: &Arc<dyn Log>, name: &str, n: u8) -> StoredSource {
    let all = log.sources(agent(name), None, 1000).await.unwrap();
    all.into_iter().find(|stored| stored.source.id == SourceId([n; 16])).expect("the source is there")
}

/// Gives the partition of source `n`.
pub(crate) async fn partition_of(log: &Arc<dyn Log>, name: &str, n: u8) -> TopicPartition {
    let stored = stored(log, name, n).await;
    TopicPartition::new(stored.source.topic, stored.partition.expect("a file's source has one"))
}

/// Gives the offset of a record.
pub(crate) fn at(offset: u64) -> Offset {
    Offset(offset)
}
