//! What a decided commit does: the part of a journal frame that says how the state changes.
//!
//! Everything is decided already (offsets given, ids minted): applying effects never fails and never chooses. Stored with postcard; new
//! kinds of change go at the end, the fields of a kind never change (see `frame.rs` for the version).

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skidway_record::source::{NewSource, PhysicalId};
use skidway_record::{AgentId, SourceId};

use crate::commit::{Advance, OpenSession, Topic, TopicSettings};
use crate::state::v2::{TopicSettingsV2, TopicV2};

/// Names a topic for good: another topic of the same name has another id.
pub(crate) type TopicId = [u8; 16];

/// Holds all that one commit does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Effects {
    /// When it was decided, in ms since 1970: the append time of its batches.
    pub(crate) at_ms: i64,
    /// The changes, in the order they are applied.
    pub(crate) changes: Vec<Change>,
}

/// Changes one thing of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// As builds before compaction wrote [`Change::TopicPut`], which it becomes when it is read.
    TopicPutV2 { topic: TopicV2, own: TopicSettingsV2 },
    /// A topic and all its records are gone.
    TopicDeleted(TopicId),
    /// A partition's records below an offset are gone.
    LogStartMoved { topic: TopicId, partition: u32, log_start: u64 },
    /// An agent has a new session.
    SessionOpened { session: OpenSession, epoch: u64 },
    /// An input carries the `opened` mark.
    InputOpened { agent: AgentId, input: String },
    /// A source is known; the one it supersedes is gone.
    SourceCreated { agent: AgentId, source: NewSource, partition: Option<u32> },
    /// A source's position moved.
    SourceAdvanced(Advance),
    /// A source continues in a copy of its file.
    SourceRebound { source: SourceId, physical: PhysicalId, path: Bytes },
    /// A source's partition is another one, its topic having been created again with fewer.
    SourceMoved { source: SourceId, partition: u32 },
    /// A source's file is gone.
    SourceGone { source: SourceId, at_ms: i64 },
    /// An idempotent producer's request was stored.
    Produced { topic: TopicId, producer: String, epoch: u64, request: ProducedRequest },
    /// A batch was appended.
    Appended(Append),
    /// Producers not heard of, and sources gone, since before these times are forgotten.
    Forgotten { producers_before_ms: i64, sources_before_ms: i64 },
    /// A source's framer's state is another's now.
    CarryMoved { from: SourceId, to: SourceId },
    /// A topic is created, or its settings are changed; `own` are those that are not inherited.
    TopicPut { topic: Topic, own: TopicSettings },
    /// The segment that grew is closed: the next batch begins another one.
    SegmentClosed { topic: TopicId, partition: u32 },
}

/// Places one batch. Segments are what these places make them: a replay writes the same bytes to the same places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Append {
    pub(crate) topic: TopicId,
    pub(crate) partition: u32,
    /// Offset of its first record; the partition's next offset before it.
    pub(crate) base_offset: u64,
    /// The partition's next offset after it.
    pub(crate) next_offset: u64,
    /// Length of the batch.
    pub(crate) bytes: u32,
    /// Base offset of the segment that holds it; its own if it is the first there.
    pub(crate) segment: u64,
    /// Where it begins in that segment.
    pub(crate) position: u64,
    /// CRC-32C of the whole stamped batch if it was written straight to the segment; `None` if its bytes follow the effects in the frame.
    pub(crate) direct: Option<u32>,
}

/// Remembers one request of an idempotent producer, to answer its duplicate with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProducedRequest {
    /// Number of its first record.
    pub(crate) first: u64,
    /// Number of its records.
    pub(crate) count: u64,
    /// When it was stored, in ms since 1970.
    pub(crate) at_ms: i64,
    /// Where its batches went: partition, base offset, number of records.
    pub(crate) placed: Vec<(u32, u64, u32)>,
}

impl Effects {
    /// Brings kinds of change that only earlier builds wrote to what they are now.
    pub(crate) fn upgraded(mut self) -> Self {
        for change in &mut self.changes {
            if let Change::TopicPutV2 { topic, own } = change {
                *change = Change::TopicPut { topic: topic.clone().into(), own: own.clone().into() };
            }
        }
        self
    }

    /// Iterates over the appended batches, in the order of the commit.
    pub(crate) fn appends(&self) -> impl Iterator<Item = &Append> {
        self.changes.iter().filter_map(|change| match change {
            Change::Appended(append) => Some(append),
            _ => None,
        })
    }

    /// Iterates over them to change them.
    pub(crate) fn appends_mut(&mut self) -> impl Iterator<Item = &mut Append> {
        self.changes.iter_mut().filter_map(|change| match change {
            Change::Appended(append) => Some(append),
            _ => None,
        })
    }
}
