//! What a subscription hands on, and what it is told to read.

use std::sync::Arc;

use skidway_record::{BatchError, Decoded, Offset, PartitionId, Record, TopicName, TopicPartition};

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
    only: Option<Only>,
}

/// Holds the records of a batch that a filter left.
#[derive(Debug, Clone)]
struct Only {
    /// Their places in the batch's body.
    places: Vec<usize>,
    bytes: usize,
    until: Offset,
}

/// Iterates over all records of a turn, or over those that a filter left.
enum Records<A, B> {
    All(A),
    Some(B),
}

impl<T, A: Iterator<Item = T>, B: Iterator<Item = T>> Iterator for Records<A, B> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match self {
            Self::All(all) => all.next(),
            Self::Some(some) => some.next(),
        }
    }
}

impl Turn {
    /// Gives the records of a batch from an offset on.
    pub fn new((of, shard): (TopicPartition, Shard), batch: Arc<Decoded>, from: Offset) -> Self {
        Self { of, shard, batch, from, only: None }
    }

    /// Leaves only the records at these places of the batch, `bytes` of them, and ends before `until`.
    pub(super) fn only(mut self, places: Vec<usize>, bytes: usize, until: Offset) -> Self {
        self.only = Some(Only { places, bytes, until });
        self
    }

    /// Gives the records that were not read before.
    pub fn records(&self) -> impl Iterator<Item = Result<(Offset, Record<'_>), ReadError>> {
        match &self.only {
            Some(only) => Records::Some(only.places.iter().map(|place| self.record_at(*place))),
            None => Records::All(self.all_records()),
        }
    }

    fn all_records(&self) -> impl Iterator<Item = Result<(Offset, Record<'_>), ReadError>> {
        let placed = self.batch.records().map(|record| match record {
            Ok(record) => Ok((self.batch.offset_of(&record), record)),
            Err(reason) => Err(self.undecodable(&reason)),
        });
        placed.skip_while(|record| record.as_ref().is_ok_and(|(offset, _)| *offset < self.from))
    }

    /// Gives the record at a place of the batch's body.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] if it does not decode.
    pub(super) fn record_at(&self, place: usize) -> Result<(Offset, Record<'_>), ReadError> {
        let record = self.batch.record_at(place).map_err(|reason| self.undecodable(&reason))?;
        Ok((self.batch.offset_of(&record), record))
    }

    fn undecodable(&self, reason: &BatchError) -> ReadError {
        ReadError::undecodable(&self.of, self.from..next_offset(&self.batch), reason)
    }

    /// Tells whether a filter left nothing of it.
    pub fn is_empty(&self) -> bool {
        self.only.as_ref().is_some_and(|only| only.places.is_empty())
    }

    /// Tells about how many bytes its records have.
    pub fn bytes(&self) -> usize {
        self.only.as_ref().map_or_else(|| self.batch.body_bytes(), |only| only.bytes)
    }

    /// Gives the offset to go on from once the records are read.
    pub fn end(&self) -> Offset {
        self.only.as_ref().map_or_else(|| next_offset(&self.batch), |only| only.until)
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
