//! The latest record of each key, as of a watermark.
//!
//! Partition after partition, by offset. What was found out about a partition is kept for a while, so that a table read page by page does not
//! find it out for each page. Memory is bounded over all tables together.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use skidway_record::murmur2::partition_of;
use skidway_record::{Decoded, Offset, PartitionId, Record, TopicName, TopicPartition};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::keys::fetching::{Fetching, Found, decoded};
use crate::keys::index::lock;
use crate::keys::live::{self, Live, Room};
use crate::keys::picker::{Picker, Run};
use crate::keys::{Keys, KeysError, TopicId};
use crate::log::Topic;

/// Bytes asked of the log at once.
const FETCH_BYTES: usize = 1 << 20;

/// Partitions that are looked through at once, all tables together.
const BUILDS_MAX: usize = 2;

/// Tables that are being read at once: each holds what it reads at once, some MiB. More are told to come back.
const READERS_MAX: usize = 128;

/// What was found out about so many partitions is kept.
const KEPT_MAX: usize = 256;

/// It is kept for so long after it was used last.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// Reads tables.
pub struct Tables {
    keys: Arc<Keys>,
    room: Room,
    builds: Semaphore,
    readers: Arc<Semaphore>,
    kept: Mutex<Vec<Kept>>,
}

/// Says what live records were found of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Of {
    topic: TopicId,
    partition: PartitionId,
    before: Offset,
    prefix: Bytes,
    skip_damaged: bool,
}

struct Kept {
    of: Of,
    live: Arc<Live>,
    used: Instant,
}

/// Says what part of a topic's table is wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The topic.
    pub topic: TopicName,
    /// Partitions in order, each with the first offset that does not count any more.
    pub watermark: Vec<(PartitionId, Offset)>,
    /// Keys begin with this.
    pub prefix: Bytes,
    /// Whether records that cannot be read are passed over; a key may then show what it was before.
    pub skip_damaged: bool,
}

/// Reads one table.
pub struct TableReader {
    tables: Arc<Tables>,
    topic: Topic,
    wanted: Wanted,
    /// Index into the watermark, and the next offset there.
    place: (usize, Offset),
    /// Live records of the partition, how many of them were handed on, and who reads them.
    reading: Option<(Arc<Live>, usize, Picker)>,
    _room: OwnedSemaphorePermit,
}

/// Is some of a table's records.
pub struct Rows {
    /// Their partition.
    pub partition: PartitionId,
    prefix: Bytes,
    run: Run,
}

impl Rows {
    /// Gives them in order.
    pub fn records(&self) -> impl Iterator<Item = (Offset, Record<'_>)> {
        let wanted =
            |record: &Record<'_>| record.key.is_some_and(|key| key.starts_with(&self.prefix)) && record.value.is_some();
        self.run.records().filter(move |(_, record)| wanted(record))
    }
}

/// Is a record that was found.
pub struct FoundRecord {
    /// Its partition.
    pub partition: PartitionId,
    run: Run,
}

impl FoundRecord {
    /// Gives it.
    pub fn record(&self) -> Option<(Offset, Record<'_>)> {
        self.run.records().next()
    }
}

impl Tables {
    /// Reads tables with at most so many bytes of memory, all together.
    pub fn new(keys: Arc<Keys>, bytes_max: u64) -> Self {
        let kib = (bytes_max / 1024).min(Semaphore::MAX_PERMITS as u64) as usize;
        let room = Room { bytes: bytes_max, left: Arc::new(Semaphore::new(kib)) };
        Self {
            keys,
            room,
            builds: Semaphore::new(BUILDS_MAX),
            readers: Arc::new(Semaphore::new(READERS_MAX)),
            kept: Mutex::default(),
        }
    }

    /// Begins to read a table, or goes on at a place in it.
    ///
    /// # Errors
    /// [`KeysError::UnknownTopic`]; [`KeysError::BadPlace`] if the place is in no partition that is read; [`KeysError::Busy`].
    pub fn read(
        self: &Arc<Self>,
        wanted: Wanted,
        place: Option<(PartitionId, Offset)>,
    ) -> Result<TableReader, KeysError> {
        let unknown = || KeysError::UnknownTopic(wanted.topic.clone());
        let topic = self.keys.log.topic(&wanted.topic).ok_or_else(unknown)?;
        let place = match place {
            None => (0, Offset(0)),
            Some((partition, next)) => {
                let index = wanted.watermark.iter().position(|(read, _)| *read == partition);
                let bad = || KeysError::BadPlace(format!("the place is in partition {partition}, which is not read"));
                (index.ok_or_else(bad)?, next)
            }
        };
        let room = self.readers.clone().try_acquire_owned().map_err(|_| KeysError::Busy)?;
        Ok(TableReader { tables: self.clone(), topic, wanted, place, reading: None, _room: room })
    }

    /// Finds the last record of a key; one without value if that is the last. In the partition the key goes to if it has any there, else in
    /// whichever has the newest. `only` looks into one partition.
    ///
    /// # Errors
    /// As [`Keys::shard`] where there is an index; [`KeysError::UnknownTopic`], [`KeysError::Log`].
    pub async fn find(
        &self,
        name: &TopicName,
        key: &Bytes,
        only: Option<PartitionId>,
    ) -> Result<Option<FoundRecord>, KeysError> {
        let topic = self.keys.log.topic(name).ok_or_else(|| KeysError::UnknownTopic(name.clone()))?;
        let home = PartitionId(partition_of(key, topic.config.partitions.max(1)));
        if let Some(found) = self.find_in(&topic, only.unwrap_or(home), key).await? {
            return Ok(Some(found));
        }
        let mut newest: Option<(i64, FoundRecord)> = None;
        let others = (0..topic.config.partitions).map(PartitionId).filter(|it| only.is_none() && *it != home);
        for partition in others {
            let Some(found) = self.find_in(&topic, partition, key).await? else { continue };
            let at_ms = found.record().map_or(i64::MIN, |(_, record)| record.timestamp_ms);
            if newest.as_ref().is_none_or(|(known, _)| *known < at_ms) {
                newest = Some((at_ms, found));
            }
        }
        Ok(newest.map(|(_, found)| found))
    }

    async fn find_in(
        &self,
        topic: &Topic,
        partition: PartitionId,
        key: &Bytes,
    ) -> Result<Option<FoundRecord>, KeysError> {
        let of = TopicPartition { topic: topic.name.clone(), partition };
        if partition.0 >= topic.config.partitions {
            return Err(KeysError::UnknownPartition(of));
        }
        let fetching = Fetching::new(self.keys.log.clone(), of, topic.id);
        let offset = if self.keys.has_index(topic) {
            let shard = self.keys.shard(topic, partition).await?;
            let hash = shard.hasher().hash(key);
            shard.caught_up().await?.last(hash).await?
        } else {
            let _turn = self.builds.acquire().await.expect("the semaphore is never closed");
            last_by_reading(&fetching, key).await?
        };
        let offsets: Vec<u64> = offset.into_iter().collect();
        let run = Picker::new(fetching, 1).next(&offsets, &mut 0).await?;
        let found = run.map(|run| FoundRecord { partition, run });
        Ok(found.filter(|found| found.record().is_some_and(|(_, record)| record.key == Some(&key[..]))))
    }

    /// Gives the live records of a partition.
    async fn live(&self, topic: &Topic, of: Of) -> Result<Arc<Live>, KeysError> {
        if let Some(live) = self.kept(&of) {
            return Ok(live);
        }
        let _turn = self.builds.acquire().await.expect("the semaphore is never closed");
        if let Some(live) = self.kept(&of) {
            return Ok(live);
        }
        let live = match self.find_out(topic, &of).await {
            Err(KeysError::Busy | KeysError::TooManyKeys { .. }) => {
                // Perhaps it is only what is kept that takes the memory.
                lock(&self.kept).clear();
                self.find_out(topic, &of).await?
            }
            found => found?,
        };
        let live = Arc::new(live);
        let mut kept = lock(&self.kept);
        if kept.len() >= KEPT_MAX {
            kept.remove(0);
        }
        kept.push(Kept { of, live: live.clone(), used: Instant::now() });
        Ok(live)
    }

    async fn find_out(&self, topic: &Topic, of: &Of) -> Result<Live, KeysError> {
        if self.keys.has_index(topic) {
            let shard = self.keys.shard(topic, of.partition).await?;
            if let Some(live) = live::by_index(&shard, of.before, &self.room).await? {
                return Ok(live);
            }
        }
        let partition = TopicPartition { topic: topic.name.clone(), partition: of.partition };
        let fetching = Fetching::new(self.keys.log.clone(), partition, topic.id).skipping_damaged(of.skip_damaged);
        live::by_reading(&fetching, of.before, &of.prefix, &self.room).await
    }

    /// Gives what is kept, and forgets what was not used for long.
    fn kept(&self, of: &Of) -> Option<Arc<Live>> {
        let (mut kept, now) = (lock(&self.kept), Instant::now());
        kept.retain(|kept| now.duration_since(kept.used) < KEPT_FOR);
        let found = kept.iter_mut().find(|kept| kept.of == *of)?;
        found.used = now;
        Some(found.live.clone())
    }
}

impl TableReader {
    /// Gives the table's next records; `None` at its end. The place stays until [`TableReader::advance`] moves it.
    ///
    /// # Errors
    /// [`KeysError`]: what finding the live records may meet; the topic is another one by now.
    pub async fn next(&mut self) -> Result<Option<Rows>, KeysError> {
        while let Some(&(partition, before)) = self.wanted.watermark.get(self.place.0) {
            if self.reading.is_none() {
                let (prefix, skip_damaged) = (self.wanted.prefix.clone(), self.wanted.skip_damaged);
                let of = Of { topic: self.topic.id, partition, before, prefix, skip_damaged };
                let live = self.tables.live(&self.topic, of).await?;
                let from = live.offsets.partition_point(|offset| *offset < self.place.1.0);
                let partition = TopicPartition { topic: self.topic.name.clone(), partition };
                let fetching = Fetching::new(self.tables.keys.log.clone(), partition, self.topic.id);
                let picker = Picker::new(fetching.skipping_damaged(skip_damaged), FETCH_BYTES);
                self.reading = Some((live, from, picker));
            }
            let Some((live, at, picker)) = &mut self.reading else { continue };
            if let Some(run) = picker.next(&live.offsets, at).await? {
                return Ok(Some(Rows { partition, prefix: self.wanted.prefix.clone(), run }));
            }
            self.reading = None;
            self.place = (self.place.0 + 1, Offset(0));
        }
        Ok(None)
    }

    /// Moves the place past a record that was handed on.
    pub fn advance(&mut self, to: Offset) {
        self.place.1 = to;
    }

    /// Tells where the reader stands; `None` at the end.
    pub fn place(&self) -> Option<(PartitionId, Offset)> {
        self.wanted.watermark.get(self.place.0).map(|(partition, _)| (*partition, self.place.1))
    }

    /// Gives the watermark.
    pub fn watermark(&self) -> &[(PartitionId, Offset)] {
        &self.wanted.watermark
    }
}

/// Finds a key's last offset by looking at all records.
async fn last_by_reading(fetching: &Fetching, key: &Bytes) -> Result<Option<u64>, KeysError> {
    let (mut at, mut last) = (Offset(0), None);
    loop {
        match fetching.at(at, FETCH_BYTES).await? {
            Found::Passed(next) => at = next.max(Offset(at.0 + 1)),
            Found::End => return Ok(last),
            Found::Batches(batches) => {
                at = batches.last().map_or(at, |batch| batch.next_offset());
                let key = key.clone();
                let fetching = fetching.clone();
                let newer = decoded(batches, move |batches| {
                    let mut last = None;
                    for (batch, decoded) in batches {
                        match decoded {
                            Ok(decoded) => last = last_in(&decoded, &key).or(last),
                            Err(reason) => fetching.undecodable(&batch, &reason)?,
                        }
                    }
                    Ok::<_, KeysError>(last)
                })
                .await?;
                last = newer.or(last);
            }
        }
    }
}

fn last_in(batch: &Decoded, key: &[u8]) -> Option<u64> {
    let its = batch.records().map_while(Result::ok).filter(|record| record.key == Some(key));
    its.last().map(|record| batch.offset_of(&record).0)
}
