//! The engine through its public door, on the disk that lies and on the real one.
//!
//! `basics`: what is committed can be read, and how. `protocol`: sources, sessions, producers across restarts. `crash`: a power cut at
//! every operation. `merging`: small batches made large. `compaction`: by key. `versions`: what
//! earlier builds left. `faults`: a full disk, a failing one, damaged files. `damage`: records that
//! cannot be read. `repair`: what `verify` finds and `repair` mends. A new test goes where its first failing sentence would be said.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its set-up as well")]

mod basics;
mod compaction;
mod crash;
mod damage;
mod faults;
mod merging;
mod protocol;
mod repair;
mod versions;

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use skidway_commitlog::commit::{
    Advance, AgentState, Commit, Committed, OpenSession, Session, SessionRef, SourceChange, Target, Topic, TopicChange,
};
use skidway_commitlog::{CommitLog, Config, Error, Observer, TopicAltered};
use skidway_disk::{Disk, FaultyDisk};
use skidway_record::source::{Fingerprint, NewSource, Partitioning, PhysicalId, StoredSource};
use skidway_record::{
    AgentId, Batch, BatchBuilder, Compressor, EncodedHeaders, Offset, SourceId, TopicName, TopicPartition,
};

/// Notes what the engine tells.
#[derive(Default)]
struct Heard {
    halted: Mutex<Vec<String>>,
    published: Mutex<Vec<(TopicPartition, Offset)>>,
    damaged: Mutex<Vec<String>>,
    failed_compactions: Mutex<u64>,
}

impl Observer for Heard {
    fn published(&self, advanced: &[(TopicPartition, Offset)]) {
        self.published.lock().unwrap().extend_from_slice(advanced);
    }

    fn topics_changed(&self, _topics: &[Topic]) {}

    fn halted(&self, error: &Error) {
        self.halted.lock().unwrap().push(error.to_string());
    }

    fn synced(&self, _took: Duration, _commits: usize) {}

    fn damaged(&self, damage: &Error) {
        self.damaged.lock().unwrap().push(damage.to_string());
    }

    fn compaction_failed(&self) {
        *self.failed_compactions.lock().unwrap() += 1;
    }
}

/// An open log whose calls wait for their answers.
struct Opened {
    log: CommitLog,
    heard: Arc<Heard>,
}

fn config() -> Config {
    Config {
        segment_bytes: 8 << 10,
        inline_batch_bytes_max: 512,
        checkpoint_bytes: 64 << 10,
        journal_step_bytes: 16 << 10,
        reserve_bytes: 64 << 10,
        open_files_max: 4,
        recent_bytes_max: 16 << 10,
        ..Config::new("/data")
    }
}

fn open(disk: &FaultyDisk) -> Result<Opened, Error> {
    open_with(disk, config())
}

fn open_with(disk: &FaultyDisk, config: Config) -> Result<Opened, Error> {
    let heard = Arc::new(Heard::default());
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let log = CommitLog::open(config, disk, heard.clone())?;
    Ok(Opened { log, heard })
}

fn answered<T: Send + 'static>(ask: impl FnOnce(Box<dyn FnOnce(T) + Send>)) -> T {
    let (send, receive) = sync_channel(1);
    ask(Box::new(move |answer| send.send(answer).expect("the test waits")));
    receive.recv_timeout(Duration::from_secs(60)).expect("the engine answers")
}

impl Opened {
    fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        answered(|done| self.log.commit(commit, done))
    }

    fn session(&self, agent: &str) -> Result<Session, Error> {
        let known = self.agents()?.into_iter().find(|known| known.session.agent == agent_id(agent));
        answered(|done| self.log.open_session(session_of(agent), known.map_or(0, |known| known.epoch), done))
    }

    fn alter(&self, change: TopicChange) -> Result<TopicAltered, Error> {
        answered(|done| self.log.alter_topic(change, done))
    }

    fn sources(&self, agent: &str) -> Result<Vec<StoredSource>, Error> {
        answered(|done| self.log.sources(agent_id(agent), None, 1000, done))
    }

    fn agents(&self) -> Result<Vec<AgentState>, Error> {
        answered(|done| self.log.agents(done))
    }

    /// Appends lines to a partition.
    fn append(&self, partition: &TopicPartition, lines: &[&str]) -> Result<Committed, Error> {
        self.commit(Commit { batches: vec![(Target::Partition(partition.clone()), batch(lines))], ..Commit::default() })
    }

    /// Reads all lines of a partition, checking that offsets have no gaps and batches are sound.
    fn lines(&self, partition: &TopicPartition) -> Vec<String> {
        let mut lines = Vec::new();
        let Ok(offsets) = self.log.offsets(partition) else { return lines };
        let mut at = offsets.log_start;
        while at < offsets.high_watermark {
            let fetched = self.log.fetch(partition, at, 1000).expect("what is published can be read");
            assert!(!fetched.batches.is_empty(), "below the high watermark there is something");
            for batch in fetched.batches {
                // A batch may begin before: one that was merged while this reads, or that records were deleted of.
                assert!(batch.base_offset() <= at, "no gaps in {partition}");
                batch.verify().expect("batches are stored whole");
                let skipped = (at.0 - batch.base_offset().0) as usize;
                lines.extend(values(&batch).into_iter().skip(skipped));
                at = batch.next_offset();
            }
        }
        lines
    }
}

fn values(batch: &Batch) -> Vec<String> {
    let decoded = batch.decode().unwrap();
    decoded.records().map(|record| String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap()).collect()
}

fn batch(lines: &[&str]) -> Batch {
    batch_at(1_000, lines)
}

fn batch_at(timestamp_ms: i64, lines: &[&str]) -> Batch {
    let mut builder = BatchBuilder::new();
    for line in lines {
        builder.push(timestamp_ms, None, Some(line.as_bytes()), &EncodedHeaders::none());
    }
    builder.finish(&mut Compressor::new(1).unwrap()).expect("a batch has lines")
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn partition(name: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(topic(name), partition)
}

fn agent_id(agent: &str) -> AgentId {
    AgentId::new(agent).unwrap()
}

fn session_of(agent: &str) -> OpenSession {
    OpenSession { agent: agent_id(agent), machine_id: "m".into(), host: "h".into(), version: "v".into() }
}

fn session_ref(agent: &str, epoch: u64) -> Option<SessionRef> {
    Some(SessionRef { agent: agent_id(agent), epoch })
}

/// A source numbered `n`, of a file of its own.
fn source(n: u8, topic_name: &str) -> NewSource {
    NewSource {
        id: SourceId([n; 16]),
        input: "in".into(),
        topic: topic(topic_name),
        partitioning: Partitioning::File,
        physical: PhysicalId { device: 1, inode: u64::from(n), generation: 0, birth_ns: 0 },
        supersedes: None,
        head: Fingerprint::default(),
        path: Bytes::from(format!("/var/log/{n}.log")),
    }
}

fn create(agent: &str, epoch: u64, source: NewSource) -> Commit {
    Commit { session: session_ref(agent, epoch), source: Some(SourceChange::Create(source)), ..Commit::default() }
}

/// Commits a span of source `n` with lines; its carry names its end.
fn span(agent: &str, epoch: u64, n: u8, range: std::ops::Range<u64>, lines: &[&str]) -> Commit {
    let advance = Advance {
        source: SourceId([n; 16]),
        carry: Bytes::from(range.end.to_string()),
        span: range,
        head: Fingerprint::default(),
        anchor: Fingerprint::default(),
        path: None,
    };
    let batches = if lines.is_empty() { Vec::new() } else { vec![(Target::Source, batch(lines))] };
    let source = Some(SourceChange::Advance(advance));
    Commit { session: session_ref(agent, epoch), source, batches, ..Commit::default() }
}

fn data(name: &str) -> std::path::PathBuf {
    Path::new("/data").join(name)
}

/// Text that does not compress well.
fn noise(seed: u64, len: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state % 90) as u8)
    };
    (0..len).map(|_| letter()).collect()
}
