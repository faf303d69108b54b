//! Small state in a topic of our own: the last value of each key counts, a record without value forgets its key.
//!
//! A change is written with whatever else must be true with it, in one commit: an acknowledgement with its dead letter, an offset with the
//! output that was made of what came before it. The topic has one partition, is made by the first change, and begins anew when it has grown
//! long. Who changes one key from two tasks says himself in which order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use skidway_record::{Batch, BatchBuilder, Compressor, EncodedHeaders, Offset, Record, TopicName, TopicPartition};
use tokio::sync::{OnceCell, RwLock};

use crate::clock::now_ms;
use crate::log::{Commit, Committed, Log, LogError, LogReader, Target, TopicChange, TopicSettings};

/// Past so many records for each key that there is, and [`RECORDS_MIN`], the topic begins anew.
const RECORDS_PER_KEY: u64 = 10;

const RECORDS_MIN: u64 = 5_000;

/// Keys and values of one batch, in bytes.
const BATCH_BYTES_MAX: usize = 256 << 10;

/// Bytes asked of the log at once.
const FETCH_BYTES: usize = 1 << 20;

/// Tells why a topic of our own cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The log did not do what it was asked.
    #[error("a topic of our own: {0}")]
    Log(#[from] LogError),
    /// A record is not one of ours, or another version's.
    #[error("offset {offset} of the topic {topic} cannot be understood: {reason}")]
    Record {
        /// Which topic.
        topic: TopicName,
        /// Where.
        offset: Offset,
        /// What is wrong with it.
        reason: String,
    },
    /// What is kept for a key is not one of ours, or another version's.
    #[error("an entry of {topic} cannot be understood: {key}: {reason}")]
    Entry {
        /// Which topic.
        topic: TopicName,
        /// The entry's key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Holds one such topic, and what it says.
pub struct StateTopic {
    log: Arc<dyn Log>,
    of: TopicPartition,
    compressor: Mutex<Compressor>,
    entries: Mutex<BTreeMap<Bytes, Bytes>>,
    /// The topic is there, and keeps what it has.
    made: OnceCell<()>,
    /// Whoever writes is a reader; who begins the topic anew writes: nothing may change in between.
    writing: RwLock<()>,
}

impl StateTopic {
    /// Opens the topic, if there is one, and reads what it says.
    ///
    /// # Errors
    /// [`StateError`] (halt).
    pub async fn open(log: Arc<dyn Log>, name: &str) -> Result<Self, StateError> {
        let name = TopicName::new(name).expect("our own topics' names are valid");
        let (of, mut entries) = (TopicPartition::new(name, 0), BTreeMap::new());
        let made = OnceCell::new();
        let take = |_, record: &Record<'_>| {
            let key = record.key.ok_or("it has no key")?;
            match record.value {
                Some(value) => _ = entries.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)),
                None => _ = entries.remove(key),
            }
            Ok(())
        };
        if log.topic(&of.topic).is_some() {
            made.get_or_try_init(|| make(&*log, &of.topic)).await?;
            each_record(&*log, &of, take).await?;
        }
        let compressor = Compressor::new(1).map_err(|error| LogError::Failed(error.to_string()))?;
        let (compressor, entries) = (Mutex::new(compressor), Mutex::new(entries));
        Ok(Self { log, of, compressor, entries, made, writing: RwLock::new(()) })
    }

    /// Says that what is kept for a key makes no sense.
    pub fn not_understood(&self, key: &[u8], reason: String) -> StateError {
        StateError::Entry { topic: self.of.topic.clone(), key: String::from_utf8_lossy(key).into_owned(), reason }
    }

    /// Gives all keys there are with their values, in the order of the keys.
    pub fn entries(&self) -> Vec<(Bytes, Bytes)> {
        self.locked().iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Gives keys new values, or none, together with all that is in `commit`; durable and visible when it returns. The batches of `commit`
    /// come first in the answer.
    ///
    /// # Errors
    /// [`LogError`], with its own fate; nothing is changed then.
    pub async fn write(&self, changes: Vec<(Bytes, Option<Bytes>)>, mut commit: Commit) -> Result<Committed, LogError> {
        self.made.get_or_try_init(|| make(&*self.log, &self.of.topic)).await?;
        let committed = {
            let _not_anew = self.writing.read().await;
            commit.batches.extend(self.batches(changes.iter().map(|(key, value)| (key, value.as_ref()))));
            let committed = self.log.submit(commit).await.await?;
            let mut entries = self.locked();
            for (key, value) in changes {
                match value {
                    Some(value) => _ = entries.insert(key, value),
                    None => _ = entries.remove(&key),
                }
            }
            committed
        };
        if let Err(error) = self.keep_short().await {
            // It is as long as it was, or says the same twice, which does no harm.
            tracing::warn!(topic = %self.of.topic, %error, "a topic of our own is not shortened now");
        }
        Ok(committed)
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<Bytes, Bytes>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_long(&self) -> Result<bool, LogError> {
        let (offsets, keys) = (self.log.offsets(&self.of)?, self.locked().len() as u64);
        Ok(offsets.high_watermark.0 - offsets.log_start.0 > RECORDS_MIN.max(keys * RECORDS_PER_KEY))
    }

    /// Writes what there is, all at once, and deletes what comes before it.
    async fn keep_short(&self) -> Result<(), LogError> {
        if !self.is_long()? {
            return Ok(());
        }
        let _nobody_writes = self.writing.write().await;
        // Someone else may just have done it.
        if !self.is_long()? {
            return Ok(());
        }
        let entries = self.entries();
        let batches = self.batches(entries.iter().map(|(key, value)| (key, Some(value))));
        let before = if batches.is_empty() {
            self.log.offsets(&self.of)?.high_watermark
        } else {
            let committed = self.log.submit(Commit { batches, ..Commit::default() }).await.await?;
            committed.appended.first().map_or(Offset(0), |first| first.base_offset)
        };
        self.log.alter_topic(TopicChange::DeleteRecords { partition: self.of.clone(), before }).await?;
        Ok(())
    }

    fn batches<'a>(&self, changes: impl Iterator<Item = (&'a Bytes, Option<&'a Bytes>)>) -> Vec<(Target, Batch)> {
        let (mut builder, mut bytes, mut batches) = (BatchBuilder::new(), 0, Vec::new());
        let mut compressor = self.compressor.lock().unwrap_or_else(PoisonError::into_inner);
        let (now_ms, none) = (now_ms(), EncodedHeaders::none());
        for (key, value) in changes {
            if bytes >= BATCH_BYTES_MAX {
                batches.extend(std::mem::replace(&mut builder, BatchBuilder::new()).finish(&mut compressor));
                bytes = 0;
            }
            builder.push(now_ms, Some(key), value.map(|value| &value[..]), &none);
            bytes += key.len() + value.map_or(0, Bytes::len);
        }
        batches.extend(builder.finish(&mut compressor));
        batches.into_iter().map(|batch| (Target::Partition(self.of.clone()), batch)).collect()
    }
}

/// Lets there be such a topic, which keeps everything.
async fn make(log: &dyn Log, name: &TopicName) -> Result<(), LogError> {
    let for_ever = TopicSettings {
        partitions: Some(1),
        retention_age_ms: Some(None),
        retention_bytes: Some(None),
        ..TopicSettings::default()
    };
    log.alter_topic(TopicChange::Put(name.clone(), for_ever)).await.map(drop)
}

/// Hands over all records of a partition, and tells how many offsets it has.
///
/// # Errors
/// [`StateError`] (halt); what `take` finds wrong with a record is told with its place.
pub async fn each_record(
    log: &dyn LogReader,
    of: &TopicPartition,
    mut take: impl FnMut(Offset, &Record<'_>) -> Result<(), String>,
) -> Result<u64, StateError> {
    let offsets = log.offsets(of)?;
    let mut at = offsets.log_start;
    while at < offsets.high_watermark {
        for batch in log.fetch(of.clone(), at, FETCH_BYTES).await? {
            let broken = |offset, reason| StateError::Record { topic: of.topic.clone(), offset, reason };
            let decoded = batch.decode().map_err(|error| broken(batch.base_offset(), error.to_string()))?;
            for record in decoded.records() {
                let record = record.map_err(|error| broken(batch.base_offset(), error.to_string()))?;
                let offset = decoded.offset_of(&record);
                if offset >= at {
                    take(offset, &record).map_err(|reason| broken(offset, reason))?;
                }
            }
            at = batch.next_offset();
        }
    }
    Ok(offsets.high_watermark.0 - offsets.log_start.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::embedded::EmbeddedLog;
    use skidway_disk::RealDisk;

    fn log(folder: &std::path::Path) -> Arc<dyn Log> {
        Arc::new(EmbeddedLog::open(skidway_commitlog::Config::new(folder), Arc::new(RealDisk)).unwrap())
    }

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    #[tokio::test]
    async fn the_last_value_of_each_key_is_there_after_a_start_and_what_is_forgotten_is_not() {
        let temp = tempfile::tempdir().unwrap();
        let expected = vec![(bytes("a"), bytes("2")), (bytes("b"), bytes("1"))];
        {
            let topic = StateTopic::open(log(temp.path()), "__skidway.test").await.unwrap();
            for (key, value) in [("a", Some("1")), ("b", Some("1")), ("c", Some("1")), ("a", Some("2")), ("c", None)] {
                topic.write(vec![(bytes(key), value.map(bytes))], Commit::default()).await.unwrap();
            }
            assert_eq!(topic.entries(), expected);
        }
        assert_eq!(StateTopic::open(log(temp.path()), "__skidway.test").await.unwrap().entries(), expected);
    }

    #[tokio::test]
    async fn a_long_topic_begins_anew_and_says_the_same() {
        let temp = tempfile::tempdir().unwrap();
        let log = log(temp.path());
        let topic = StateTopic::open(log.clone(), "__skidway.test").await.unwrap();
        let round =
            |round: u64| (0..500).map(move |key| (bytes(&format!("key {key}")), Some(bytes(&round.to_string()))));
        for at in 0..=RECORDS_MIN / 500 {
            topic.write(round(at).collect(), Commit::default()).await.unwrap();
        }
        let offsets = log.offsets(&topic.of).unwrap();
        assert!(offsets.log_start.0 > 0 && offsets.high_watermark.0 - offsets.log_start.0 == 500, "{offsets:?}");
        let again = StateTopic::open(log, "__skidway.test").await.unwrap();
        assert_eq!((again.entries(), again.entries().len()), (topic.entries(), 500));
    }

    #[tokio::test]
    async fn what_comes_with_a_change_comes_with_it_or_not_at_all() {
        let temp = tempfile::tempdir().unwrap();
        let topic = StateTopic::open(log(temp.path()), "__skidway.test").await.unwrap();
        let unlike = Commit { expected_offset: Some((topic.of.clone(), Offset(9))), ..Commit::default() };
        topic.write(vec![(bytes("a"), Some(bytes("1")))], unlike).await.unwrap_err();
        assert_eq!(topic.entries(), vec![]);
    }
}
