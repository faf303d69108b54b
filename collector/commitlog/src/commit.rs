//! What callers ask of the log, and what they are told: the vocabulary of the sequencer.
//!
//! Every request is decided on *staged* state in journal order, and answered only when all that it saw is durable.

mod topic;

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skidway_record::source::{Fingerprint, NewSource, PhysicalId};
use skidway_record::{AgentId, Batch, LogId, Offset, PartitionId, SourceId, TopicName, TopicPartition};

pub use topic::{Cleanup, Topic, TopicConfig, TopicSettings};

/// Asks for one atomic change: all of it becomes durable and visible together, or none of it.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Refused as [`Refusal::Fenced`] unless this is the agent's current session.
    pub session: Option<SessionRef>,
    /// Change to one source.
    pub source: Option<SourceChange>,
    /// Refused as [`Refusal::PositionMismatch`] unless the framer's state of the advancing source is this one.
    pub expected_carry: Option<Bytes>,
    /// Marks an input of the session's agent as opened.
    pub opened_input: Option<String>,
    /// Idempotent producer's place; must fit or be a duplicate.
    pub producer: Option<ProducerSequence>,
    /// Refused as [`Refusal::OffsetMismatch`] unless the partition's next offset is this one.
    pub expected_offset: Option<(TopicPartition, Offset)>,
    /// Batches to append, in order. They must have been validated; only offsets are stamped.
    pub batches: Vec<(Target, Batch)>,
}

/// Names an agent's session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRef {
    /// The agent.
    pub agent: AgentId,
    /// Its session's epoch.
    pub epoch: u64,
}

/// Says where a batch goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To this partition. The topic is created if it may be (`auto_create`, or ours: `__…`).
    Partition(TopicPartition),
    /// To the topic and partition of the commit's source.
    Source,
    /// To partition 0 of `<topic>.dead`, the topic being the commit's source's. It is created whatever `auto_create` says.
    DeadLetter,
}

/// Changes one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceChange {
    /// Creates it, and its topic if need be. Compare-and-set on agent, input and physical identity.
    Create(NewSource),
    /// Moves its position over a span.
    Advance(Advance),
    /// Lets it continue in a copy of its file.
    Rebind {
        /// Which source.
        source: SourceId,
        /// The copy.
        physical: PhysicalId,
        /// Its path.
        path: Bytes,
    },
    /// Moves the framer's state of a source that was read to its end to the one that goes on after it and has nothing committed yet.
    HandOver(HandOver),
    /// Reports its file gone and acknowledged.
    Gone {
        /// Which source.
        source: SourceId,
        /// Now, in ms since 1970.
        at_ms: i64,
    },
}

/// Moves a source's position from `span.start`, where it must stand, to `span.end`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advance {
    /// Which source.
    pub source: SourceId,
    /// Bytes of the file; may be empty.
    pub span: Range<u64>,
    /// The framer's state at `span.end`, ≤ 64 KiB.
    pub carry: Bytes,
    /// Head as now known.
    pub head: Fingerprint,
    /// Of the bytes before `span.end`.
    pub anchor: Fingerprint,
    /// The path now, if it changed.
    pub path: Option<Bytes>,
}

/// Says which framer's state goes on in which source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandOver {
    /// The source that was read to its end.
    pub from: SourceId,
    /// Where it must stand.
    pub position: u64,
    /// The framer's state it must have there; not empty.
    pub carry: Bytes,
    /// The source that goes on: it must stand at 0, without a framer's state of its own.
    pub to: SourceId,
}

/// Places a produce request in its producer's sequence (DESIGN §7, `Producer-Id` and friends). Per topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProducerSequence {
    /// The topic produced to.
    pub topic: TopicName,
    /// `Producer-Id`, ≤ 128 bytes.
    pub producer: String,
    /// `Producer-Epoch`.
    pub epoch: u64,
    /// `Producer-Seq`: number of the request's first record.
    pub first: u64,
    /// Records of the request.
    pub count: u64,
    /// Now, in ms since 1970; forgotten 7 days after the last.
    pub at_ms: i64,
}

/// Asks for a new session; it fences the agent's older one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSession {
    /// The agent.
    pub agent: AgentId,
    /// Its machine.
    pub machine_id: String,
    /// Its host name.
    pub host: String,
    /// Its build.
    pub version: String,
}

/// Answers [`OpenSession`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The new epoch, 1 more than the last one.
    pub epoch: u64,
    /// Inputs of this agent that were opened before.
    pub opened_inputs: Vec<String>,
}

/// Says what is kept of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentState {
    /// As the session was opened.
    pub session: OpenSession,
    /// Its epoch.
    pub epoch: u64,
    /// Inputs with the `opened` mark, sorted.
    pub opened_inputs: Vec<String>,
}

/// Changes topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicChange {
    /// Creates a topic unless it is there (then nothing changes), with the settings its rule gives.
    Ensure(TopicName),
    /// Creates it with these settings, or changes it to them; fewer partitions are refused.
    Put(TopicName, TopicSettings),
    /// Deletes it with all its records.
    Delete(TopicName),
    /// Deletes a partition's records below an offset (Kafka's DeleteRecords, KIP-107); below the log start it changes nothing.
    DeleteRecords {
        /// Which.
        partition: TopicPartition,
        /// First offset to keep; the next offset at most.
        before: Offset,
    },
}

/// Answers a [`Commit`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// Where each batch went, in the order asked. For a duplicate: where it went the first time.
    pub appended: Vec<Appended>,
    /// The producer sequence was seen before; nothing was stored again.
    pub duplicate: bool,
}

/// Tells where one batch went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appended {
    /// Partition.
    pub partition: TopicPartition,
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Records.
    pub count: u32,
}

/// Says why a request was refused. Nothing of it is stored; what it reveals is durable. The fate is reject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A newer session of the agent is open, or this one is unknown.
    #[error("session {epoch} is not the current one ({current:?})")]
    Fenced {
        /// Asked with.
        epoch: u64,
        /// In force; `None` if the agent has none.
        current: Option<u64>,
    },
    /// Another session was opened since the one that this opening follows.
    #[error("session {follows} is not the newest, which is {current}")]
    SessionSuperseded {
        /// The session it was to follow; 0 for none.
        follows: u64,
        /// The newest; 0 if there is none.
        current: u64,
    },
    /// The span does not start at the source's position, or not with the framer's state it has there.
    #[error("the source stands at {position}")]
    PositionMismatch {
        /// Where it stands.
        position: u64,
        /// The framer's state there.
        carry: Bytes,
    },
    /// No such source, or another agent's.
    #[error("unknown source")]
    UnknownSource,
    /// Another source has the id or the physical identity.
    #[error("source {source_id} has that identity")]
    SourceExists {
        /// Which.
        source_id: SourceId,
    },
    /// No such topic, and it may not be created by producing.
    #[error("unknown topic {0}")]
    UnknownTopic(TopicName),
    /// The topic has no such partition.
    #[error("topic {topic} has {partitions} partitions, not {partition}")]
    UnknownPartition {
        /// Topic.
        topic: TopicName,
        /// How many it has.
        partitions: u32,
        /// The one asked for.
        partition: PartitionId,
    },
    /// Partitions can only grow.
    #[error("topic {topic} has {have} partitions; {asked} would be fewer, and partitions can only grow")]
    FewerPartitions {
        /// Topic.
        topic: TopicName,
        /// Has.
        have: u32,
        /// Asked for.
        asked: u32,
    },
    /// Outside 1–1000.
    #[error("a topic has 1 to 1000 partitions, not {0}")]
    PartitionCount(u32),
    /// The producer skipped records, or its request is too old to know.
    #[error("the producer's next sequence number is {expected}")]
    SequenceMismatch {
        /// What would fit.
        expected: u64,
    },
    /// A newer epoch of the producer has produced.
    #[error("producer epoch {epoch} is fenced by {current}")]
    ProducerFenced {
        /// Asked with.
        epoch: u64,
        /// In force.
        current: u64,
    },
    /// Records were to be deleted that there are not.
    #[error("the partition's next offset is {current}; there is nothing to delete after it")]
    BeyondEnd {
        /// The next offset.
        current: Offset,
    },
    /// The topic has as many idempotent producers as one may have; each is forgotten 7 days after its last request.
    #[error("topic {topic} has {max} producers, and no more are remembered")]
    TooManyProducers {
        /// Topic.
        topic: TopicName,
        /// The bound.
        max: usize,
    },
    /// Records were to be deleted that a sink has not got yet.
    #[error("{owner} has not got the records of {of} from offset {from} on; pause or remove it first, or wait")]
    Pinned {
        /// Who.
        owner: String,
        /// Which partition.
        of: TopicPartition,
        /// First record that it still needs.
        from: Offset,
    },
    /// Another wrote first.
    #[error("the partition's next offset is {current}")]
    OffsetMismatch {
        /// The next offset.
        current: Offset,
    },
}

/// Says which log this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogIdentity {
    /// Minted when the log was created.
    pub id: LogId,
    /// Counts restores and promotions, from 1.
    pub epoch: u64,
}

/// Gives a partition's extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOffsets {
    /// First offset kept.
    pub log_start: Offset,
    /// First offset not yet readable.
    pub high_watermark: Offset,
    /// Bytes of its segments.
    pub bytes: u64,
}
