//! A producer's request as one commit: stored whole or not at all.

use std::sync::atomic::Ordering;

use skidway_record::{Batch, Offset, PartitionId, TopicName, TopicPartition};

use crate::ingest::encoder::{Encoder, Route};
use crate::ingest::{Ingest, IngestError};
use crate::log::{Appended, Commit, LogError, ProducerSequence, Refusal, Target, Topic, TopicChange};
use crate::metrics;

/// Says whose request it is and what it expects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditions {
    /// Its producer and place in the producer's sequence.
    pub producer: Option<Producer>,
    /// Partition and the next offset it must have.
    pub expected_offset: Option<(u32, Offset)>,
}

/// Names an idempotent producer and the number of the request's first record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// `Producer-Id`, 1 to 128 bytes.
    pub id: String,
    /// `Producer-Epoch`.
    pub epoch: u64,
    /// `Producer-Seq`.
    pub first: u64,
}

/// Tells where a run of records went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Partition.
    pub partition: PartitionId,
    /// Offset of the first.
    pub base_offset: Offset,
    /// How many.
    pub count: u64,
}

impl Ingest {
    /// Finds the topic to produce to; `None` if it is still to be created by [`Ingest::create`].
    ///
    /// # Errors
    /// [`IngestError::InternalTopic`], [`IngestError::UnknownTopic`] (reject).
    pub fn topic(&self, name: &TopicName) -> Result<Option<Topic>, IngestError> {
        if name.is_internal() {
            return Err(IngestError::InternalTopic(name.clone()));
        }
        match self.log.topic(name) {
            None if !self.auto_create.load(Ordering::Relaxed) => Err(IngestError::UnknownTopic(name.clone())),
            found => Ok(found),
        }
    }

    /// Creates the topic unless somebody else just did. Asked only once the request is known to be well-formed.
    ///
    /// # Errors
    /// [`IngestError::Log`].
    pub async fn create(&self, name: &TopicName) -> Result<Topic, IngestError> {
        let altered = self.log.alter_topic(TopicChange::Ensure(name.clone())).await?;
        altered.topic.ok_or_else(|| IngestError::UnknownTopic(name.clone()))
    }

    /// Starts to encode a request for the topic.
    pub fn encoder(&self, topic: &Topic, requested: Option<u32>, now_ms: i64) -> Encoder {
        let partitions = topic.config.partitions;
        let needs_key = topic.config.cleanup.compacts();
        let route = Route { partitions, requested, keyless: self.keyless.next(partitions), needs_key, now_ms };
        Encoder::new(route, self.compressors.clone())
    }

    /// Stores what was encoded, and tells where it went: one run a partition.
    ///
    /// # Errors
    /// [`IngestError::Log`]: a condition does not hold (reject), or the log cannot store it now (retry).
    pub async fn store(
        &self,
        topic: &TopicName,
        encoded: (Vec<(u32, Batch)>, u64),
        conditions: Conditions,
        now_ms: i64,
    ) -> Result<Vec<Run>, IngestError> {
        let commit = commit(topic, encoded, conditions, now_ms);
        let measure = Measure::of(&commit);
        let committed = self.log.submit(commit).await.await.map_err(|error| match error {
            LogError::Refused(Refusal::UnknownTopic(topic)) => IngestError::UnknownTopic(topic),
            other => other.into(),
        })?;
        if !committed.duplicate {
            measure.stored();
        }
        Ok(runs(&committed.appended))
    }
}

/// Makes a commit of what was encoded.
pub fn commit(
    topic: &TopicName,
    (batches, count): (Vec<(u32, Batch)>, u64),
    conditions: Conditions,
    now_ms: i64,
) -> Commit {
    let of = |partition: u32| TopicPartition::new(topic.clone(), partition);
    let producer = conditions.producer.map(|Producer { id, epoch, first }| ProducerSequence {
        topic: topic.clone(),
        producer: id,
        epoch,
        first,
        count,
        at_ms: now_ms,
    });
    Commit {
        producer,
        expected_offset: conditions.expected_offset.map(|(partition, offset)| (of(partition), offset)),
        batches: batches.into_iter().map(|(partition, batch)| (Target::Partition(of(partition)), batch)).collect(),
        ..Commit::default()
    }
}

/// Remembers how much a commit stores.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    records: u64,
    bytes: usize,
}

impl Measure {
    /// Measures a commit.
    pub fn of(commit: &Commit) -> Self {
        let batches = commit.batches.iter().map(|(_, batch)| batch);
        let (records, bytes) = batches.fold((0, 0), |(records, bytes), batch| {
            (records + (batch.next_offset().0 - batch.base_offset().0), bytes + batch.bytes().len())
        });
        Self { records, bytes }
    }

    /// Counts it: it is stored.
    pub fn stored(self) {
        metrics::stored("produce", self.records, self.bytes);
    }
}

/// Joins the batches that one commit put one after the other into runs.
pub fn runs(appended: &[Appended]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for batch in appended {
        let (partition, count) = (batch.partition.partition, u64::from(batch.count));
        match runs.last_mut() {
            Some(run) if run.partition == partition && run.base_offset.0 + run.count == batch.base_offset.0 => {
                run.count += count;
            }
            _ => runs.push(Run { partition, base_offset: batch.base_offset, count }),
        }
    }
    runs
}
