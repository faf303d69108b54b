//! What a subscription hands on, and what it is told to read.

use std::sync::Arc;

use skidway_record::{Decoded, Offset, PartitionId, Record, TopicName, TopicPartition};

use crate::read::fetch::next_offset;
use crate::read::{ReadError, TopicId};

/// Names a partition of one incarnation of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shard {
    /// Id of the topic; a recreated one has another.
    pub topic: TopicId,
    /// Its partition.
    pub partition: PartitionId,
}

/// Is a partition that a reader was told to read, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// Id of the topic that is meant: another one of the same name is not read.
    pub topic: TopicId,
    /// The partition.
    pub of: TopicPartition,
    /// Its next offset to read.
    pub next: Offset,
}

/// Tells of a topic that is not read any more while others are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departed {
    /// Its name; `None` if only a token knew it.
    pub topic: Option<TopicName>,
    /// Why.
    pub reason: String,
}

/// Gives one partition its turn: the records of `batch` from `from` on.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Whose turn.
    pub of: TopicPartition,
    /// The same, for [`Subscription::advance`].
    pub shard: Shard,
    /// Its next batch, all of it below the high watermark.
    pub batch: Arc<Decoded>,
    /// First offset that was not read before; may lie inside the batch.
    pub from: Offset,
}

impl Turn {
    /// Gives the records that were not read before.
    pub fn records(&self) -> impl Iterator<Item = Result<(Offset, Record<'_>), ReadError>> {
        let placed = self.batch.records().map(|record| match record {
            Ok(record) => Ok((self.batch.offset_of(&record), record)),
            Err(reason) => Err(ReadError::undecodable(&self.of, self.from..self.end(), &reason)),
        });
        placed.skip_while(|record| record.as_ref().is_ok_and(|(offset, _)| *offset < self.from))
    }

    /// Gives the offset after the batch.
    pub fn end(&self) -> Offset {
        next_offset(&self.batch)
    }
}

impl Departed {
    /// Says that a topic is gone whose name nobody knows any more.
    pub(super) fn known_to_token() -> Self {
        Self { topic: None, reason: "a topic that the token knows was deleted".into() }
    }

    /// Says that a topic was deleted.
    pub(super) fn deleted(topic: TopicName) -> Self {
        Self { reason: format!("topic {topic} was deleted"), topic: Some(topic) }
    }
}
