//! Batches of one partition, read and decoded where that holds nobody up.

use std::sync::Arc;

use skidway_record::{Batch, BatchError, Decoded, Offset, TopicPartition};

use crate::blocking::blocking;
use crate::keys::{KeysError, TopicId};
use crate::log::{Damage, Log, LogError};

/// Decompresses up to this many bytes without leaving the runtime: about 0.1 ms of work.
const INLINE_BYTES: usize = 32 << 10;

/// Reads a partition of one incarnation of a topic.
#[derive(Clone)]
pub struct Fetching {
    log: Arc<dyn Log>,
    of: TopicPartition,
    id: TopicId,
    skip_damaged: bool,
}

/// Is what was found at an offset.
pub enum Found {
    /// Batches, the first of which has the offset, or what comes next after it.
    Batches(Vec<Batch>),
    /// What was there is not any more, or cannot be read: the next offset to ask for.
    Passed(Offset),
    /// Nothing: it is the end.
    End,
}

impl Fetching {
    /// Reads this partition, as long as its topic has this id. Damage is an error.
    pub fn new(log: Arc<dyn Log>, of: TopicPartition, id: TopicId) -> Self {
        Self { log, of, id, skip_damaged: false }
    }

    /// Passes over what cannot be read, or not.
    #[must_use]
    pub fn skipping_damaged(self, skip_damaged: bool) -> Self {
        Self { skip_damaged, ..self }
    }

    /// Names the partition.
    pub fn of(&self) -> &TopicPartition {
        &self.of
    }

    /// Reads what is at an offset.
    ///
    /// # Errors
    /// [`KeysError::UnknownTopic`] if the topic is another one by now; [`KeysError::Log`], damage too if it is not passed over.
    pub async fn at(&self, at: Offset, bytes_max: usize) -> Result<Found, KeysError> {
        let fetched = self.log.fetch(self.of.clone(), at, bytes_max).await;
        // Ids never come back: if the topic is still this one, those were its batches.
        if self.log.topic(&self.of.topic).is_none_or(|now| now.id != self.id) {
            return Err(KeysError::UnknownTopic(self.of.topic.clone()));
        }
        match fetched {
            Ok(batches) if batches.is_empty() => Ok(Found::End),
            Ok(batches) => Ok(Found::Batches(batches)),
            Err(LogError::OutOfRange { offsets, .. }) if at < offsets.log_start => Ok(Found::Passed(offsets.log_start)),
            Err(LogError::OutOfRange { .. }) => Ok(Found::End),
            Err(LogError::Damaged(damage)) if self.skip_damaged => Ok(Found::Passed(damage.next)),
            Err(error) => Err(error.into()),
        }
    }

    /// Says that a stored batch does not decode, unless such are passed over.
    ///
    /// # Errors
    /// [`KeysError::Log`].
    pub fn undecodable(&self, batch: &Batch, reason: &BatchError) -> Result<(), KeysError> {
        if self.skip_damaged {
            return Ok(());
        }
        let damage = Damage {
            topic: self.of.topic.clone(),
            partition: self.of.partition,
            from: batch.base_offset(),
            next: batch.next_offset(),
            file: None,
            position: None,
            reason: format!("the stored batch does not decode: {reason}"),
        };
        Err(LogError::Damaged(Box::new(damage)).into())
    }
}

/// Decodes batches and does `work` with them, on a thread that may block if it is much.
pub async fn decoded<T: Send + 'static>(
    batches: Vec<Batch>,
    work: impl FnOnce(Vec<(Batch, Result<Decoded, BatchError>)>) -> T + Send + 'static,
) -> T {
    let inline = batches.iter().map(|batch| batch.bytes().len()).sum::<usize>() <= INLINE_BYTES;
    let decode = move || {
        let decode = |batch: Batch| {
            let decoded = batch.verify_crc().and_then(|()| batch.decode());
            (batch, decoded)
        };
        work(batches.into_iter().map(decode).collect())
    };
    if inline { decode() } else { blocking(decode).await }
}
