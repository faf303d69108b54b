//! One key's records, in their order: only the batches that hold them are read.
//!
//! In a partition they come by offset; partitions come one after the other, the one the key goes to today last, for what lies elsewhere was
//! written before there were so many.

use std::sync::Arc;

use bytes::Bytes;
use skidway_record::murmur2::partition_of;
use skidway_record::{Offset, PartitionId, Record, TopicName, TopicPartition};
use tokio::sync::watch;

use crate::keys::fetching::Fetching;
use crate::keys::picker::{Picker, Run};
use crate::keys::{Keys, KeysError};
use crate::log::{Progress, Topic};

/// Offsets asked of the index at once.
const OFFSETS_MAX: usize = 512;

/// Reads one key.
pub struct KeyReader {
    keys: Arc<Keys>,
    topic: Topic,
    key: Bytes,
    progress: watch::Receiver<Progress>,
    /// Partitions in the order they are read, with the next offset of each.
    places: Vec<(PartitionId, Offset)>,
    reading: Option<Reading>,
    skip_damaged: bool,
}

/// Is a partition being read: offsets of the key, what comes after them.
struct Reading {
    index: usize,
    offsets: Vec<u64>,
    at: usize,
    end: Offset,
    picker: Picker,
}

/// Is some of the key's records.
pub struct Events {
    /// Their partition.
    pub partition: PartitionId,
    key: Bytes,
    run: Run,
}

impl Events {
    /// Gives them in order.
    pub fn records(&self) -> impl Iterator<Item = (Offset, Record<'_>)> {
        self.run.records().filter(|(_, record)| record.key == Some(&self.key[..]))
    }
}

impl Keys {
    /// Reads a key's records from these places on.
    ///
    /// # Errors
    /// As [`Keys::indexed`]. Another topic by now counts as none.
    pub fn read_key(
        self: &Arc<Self>,
        name: &TopicName,
        key: Bytes,
        places: Vec<(PartitionId, Offset)>,
        skip_damaged: bool,
    ) -> Result<KeyReader, KeysError> {
        let topic = self.indexed(name)?;
        let progress = self.log.watch(name).ok_or_else(|| KeysError::UnknownTopic(name.clone()))?;
        let mut reader = KeyReader { keys: self.clone(), topic, key, progress, places, reading: None, skip_damaged };
        reader.order();
        Ok(reader)
    }
}

impl KeyReader {
    /// Gives the key's next records; `None` at the head. The place stays until [`KeyReader::advance`] moves it.
    ///
    /// # Errors
    /// As [`Keys::shard`].
    pub async fn next(&mut self) -> Result<Option<Events>, KeysError> {
        self.progress.borrow_and_update();
        loop {
            let Some(reading) = &mut self.reading else {
                match self.look_up().await? {
                    Some(reading) => self.reading = Some(reading),
                    None => return Ok(None),
                }
                continue;
            };
            let partition = self.places[reading.index].0;
            if let Some(run) = reading.picker.next(&reading.offsets, &mut reading.at).await? {
                return Ok(Some(Events { partition, key: self.key.clone(), run }));
            }
            self.places[reading.index].1 = reading.end;
            self.reading = None;
        }
    }

    /// Moves the place past what was handed on.
    pub fn advance(&mut self, partition: PartitionId, to: Offset) {
        if let Some(place) = self.places.iter_mut().find(|place| place.0 == partition) {
            place.1 = to;
        }
    }

    /// Tells where the reader stands, by partition.
    pub fn places(&self) -> &[(PartitionId, Offset)] {
        &self.places
    }

    /// Gives the high watermarks of the partitions read.
    pub fn high_watermarks(&self) -> Vec<(PartitionId, Offset)> {
        let progress = self.progress.borrow();
        let of = |partition: PartitionId| progress.high_watermarks.get(partition.0 as usize).copied();
        let mut marks: Vec<_> =
            self.places.iter().filter_map(|(partition, _)| Some((*partition, of(*partition)?))).collect();
        marks.sort_unstable();
        marks
    }

    /// Waits until there may be more to read.
    ///
    /// # Errors
    /// [`KeysError::UnknownTopic`] if the topic was deleted.
    pub async fn changed(&mut self) -> Result<(), KeysError> {
        self.progress.changed().await.map_err(|_| KeysError::UnknownTopic(self.topic.name.clone()))
    }

    /// Finds the next partition that has more of the key.
    async fn look_up(&mut self) -> Result<Option<Reading>, KeysError> {
        for index in 0..self.places.len() {
            let (partition, from) = self.places[index];
            let end = self.progress.borrow().high_watermarks.get(partition.0 as usize).copied();
            if end.is_none_or(|end| end <= from) {
                continue;
            }
            let shard = self.keys.shard(&self.topic, partition).await?;
            let hash = shard.hasher().hash(&self.key);
            let indexed = shard.caught_up().await?;
            let offsets = indexed.offsets(hash, from.0, OFFSETS_MAX).await?;
            let end = match offsets.last() {
                Some(last) if offsets.len() >= OFFSETS_MAX => Offset(last + 1),
                _ => Offset(indexed.end()),
            };
            if offsets.is_empty() {
                self.places[index].1 = end;
                continue;
            }
            let of = TopicPartition { topic: self.topic.name.clone(), partition };
            let fetching = Fetching::new(self.keys.log.clone(), of, self.topic.id).skipping_damaged(self.skip_damaged);
            let picker = Picker::new(fetching, 1);
            return Ok(Some(Reading { index, offsets, at: 0, end, picker }));
        }
        Ok(None)
    }

    fn order(&mut self) {
        let home = PartitionId(partition_of(&self.key, self.topic.config.partitions.max(1)));
        self.places.sort_unstable_by_key(|(partition, _)| (*partition == home, *partition));
    }
}
