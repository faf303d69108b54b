//! Decoded batches, shared: a batch is read and decompressed once, however many subscribers want it.
//!
//! Recent ones stay in bounded memory, oldest out first. Readers that want the same place at the same time wait for one
//! read. Whoever is too slow for the memory reads from disk again; nobody else notices.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use skidway_record::{Batch, BatchError, Decoded, Offset, PartitionId, TopicPartition};
use tokio::sync::OnceCell;
use tokio::task::yield_now;

use crate::blocking::blocking;
use crate::log::{LogReader, Topic};
use crate::metrics;
use crate::read::ReadError;

/// Bounds the compressed bytes one read of the log asks for: enough for a sequential disk.
const FETCH_BYTES: usize = 1 << 20;

/// Bounds what one read may decompress to; batches past it are read again when their turn comes.
const DECODE_BYTES: usize = 8 << 20;

/// Counts what a cached batch takes beside its records.
const ENTRY_BYTES: usize = 256;

/// Names a place of one incarnation of a topic.
type Place = ([u8; 16], PartitionId, Offset);

/// Decompresses up to this many bytes without leaving the runtime: about 0.1 ms of work.
const INLINE_BYTES: usize = 32 << 10;

type Read = Result<Option<Arc<Decoded>>, ReadError>;
type Flight = BoxFuture<'static, Read>;

/// Hands out decoded batches.
pub struct Batches {
    log: Arc<dyn LogReader>,
    recent: Arc<Mutex<Recent>>,
    flights: Mutex<HashMap<Place, WeakShared<Flight>>>,
}

impl Batches {
    /// Keeps at most `bytes_max` of decoded records in memory.
    pub fn new(log: Arc<dyn LogReader>, bytes_max: usize) -> Self {
        let recent = Recent { bytes_max, ..Recent::default() };
        Self { log, recent: Arc::new(Mutex::new(recent)), flights: Mutex::default() }
    }

    /// Gives the batch that contains `at`, or else the next one after it; `None` if there is nothing to read there.
    ///
    /// # Errors
    /// [`ReadError`]: the topic is another one by now, `at` is out of range, the read failed, the store is damaged.
    pub async fn at(&self, topic: &Topic, partition: PartitionId, at: Offset) -> Read {
        let place = (topic.id, partition, at);
        let recent = lock(&self.recent).find(place, self.log.rewrites(&topic.name, partition));
        match recent {
            Some(batch) => Ok(Some(batch)),
            None => self.flight(topic, place).await,
        }
    }

    /// Joins the read of that place that is under way, or starts one.
    fn flight(&self, topic: &Topic, place: Place) -> Shared<Flight> {
        let mut flights = lock(&self.flights);
        if let Some(under_way) = flights.get(&place).and_then(WeakShared::upgrade) {
            return under_way;
        }
        flights.retain(|_, flight| flight.upgrade().is_some());
        let flight = read(self.log.clone(), self.recent.clone(), topic.clone(), place).boxed().shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(place, weak);
        }
        flight
    }
}

/// Reads from one place on, decodes what nobody did yet, and gives the first batch of it.
async fn read(log: Arc<dyn LogReader>, recent: Arc<Mutex<Recent>>, topic: Topic, (id, partition, at): Place) -> Read {
    metrics::fetched();
    let of = TopicPartition { topic: topic.name.clone(), partition };
    let rewrites = log.rewrites(&topic.name, partition);
    let batches = log.fetch(of.clone(), at, FETCH_BYTES).await?;
    // Ids never come back: if the topic is still this one, those were its batches.
    if log.topic(&topic.name).is_none_or(|now| now.id != id) {
        return Err(ReadError::UnknownTopic(topic.name));
    }
    let (mut first, mut bytes, mut inline_bytes) = (None, 0, 0);
    for batch in batches {
        inline_bytes += batch.bytes().len();
        if inline_bytes > INLINE_BYTES {
            inline_bytes = 0;
            yield_now().await;
        }
        let offsets = batch.base_offset()..batch.next_offset();
        match decode_once(&recent, (id, partition), batch, rewrites).await {
            Ok(decoded) => {
                bytes += decoded.body_bytes();
                first.get_or_insert(decoded);
            }
            // Told to whoever asks for it first.
            Err(_) if first.is_some() => break,
            Err(reason) => return Err(ReadError::undecodable(&of, offsets, &reason)),
        }
        if bytes >= DECODE_BYTES {
            break;
        }
    }
    Ok(first)
}

/// Gives the batch decoded: by whoever comes first, for all who come while it is kept. Reads that overlap share it too.
async fn decode_once(
    recent: &Mutex<Recent>,
    of: Shard,
    batch: Batch,
    rewrites: u64,
) -> Result<Arc<Decoded>, BatchError> {
    let (slot, base) = (lock(recent).slot(of, &batch, rewrites), batch.base_offset());
    let decode = async {
        let inline = batch.bytes().len() <= INLINE_BYTES;
        let decode = move || batch.verify_crc().and_then(|()| batch.decode());
        let decoded = Arc::new(if inline { decode()? } else { blocking(decode).await? });
        metrics::decoded();
        lock(recent).charge((of, base), &slot, decoded.body_bytes());
        Ok(decoded)
    };
    slot.get_or_try_init(|| decode).await.cloned()
}

/// Names one incarnation of a partition.
type Shard = ([u8; 16], PartitionId);

/// Holds a batch once it is decoded.
type Slot = Arc<OnceCell<Arc<Decoded>>>;

/// Keeps decoded batches by place, oldest out first.
#[derive(Default)]
struct Recent {
    bytes_max: usize,
    bytes: usize,
    partitions: HashMap<Shard, BTreeMap<Offset, Entry>>,
    /// How often what is stored had been written anew when a partition's batches were read.
    rewrites: HashMap<Shard, u64>,
    order: VecDeque<(Shard, Offset)>,
}

/// Is a batch that was decoded, or is being decoded.
struct Entry {
    slot: Slot,
    next: Offset,
    bytes: usize,
}

impl Recent {
    fn find(&mut self, (topic, partition, at): Place, rewrites: u64) -> Option<Arc<Decoded>> {
        if self.rewrites.get(&(topic, partition)).is_some_and(|known| *known < rewrites) {
            self.forget((topic, partition));
        }
        let batches = self.partitions.get(&(topic, partition))?;
        let (_, entry) = batches.range(..=at).next_back()?;
        if entry.next > at { entry.slot.get().cloned() } else { None }
    }

    /// Gives the batch's slot, whether it is decoded or not. One that was merged from others takes their place. What was read before the
    /// partition was written anew is not kept.
    fn slot(&mut self, of: Shard, batch: &Batch, rewrites: u64) -> Slot {
        match *self.rewrites.entry(of).or_insert(rewrites) {
            known if known > rewrites => return Slot::default(),
            known if known < rewrites => self.forget(of),
            _ => {}
        }
        let (base, next) = (batch.base_offset(), batch.next_offset());
        if let Some(entry) = self.partitions.get(&of).and_then(|batches| batches.get(&base))
            && entry.next == next
        {
            return entry.slot.clone();
        }
        let is_known = self.remove(of, base);
        self.rewrites.insert(of, rewrites);
        let entry = Entry { slot: Slot::default(), next, bytes: ENTRY_BYTES };
        let slot = entry.slot.clone();
        self.bytes += entry.bytes;
        self.partitions.entry(of).or_default().insert(base, entry);
        if !is_known {
            self.order.push_back((of, base));
        }
        self.keep_below_max();
        slot
    }

    /// Counts what a batch takes now that it is decoded, if it is still kept.
    fn charge(&mut self, (of, base): (Shard, Offset), slot: &Slot, bytes: usize) {
        if let Some(entry) = self.partitions.get_mut(&of).and_then(|batches| batches.get_mut(&base))
            && Arc::ptr_eq(&entry.slot, slot)
        {
            entry.bytes += bytes;
            self.bytes += bytes;
        }
        self.keep_below_max();
    }

    /// Drops the oldest.
    fn keep_below_max(&mut self) {
        while self.bytes > self.bytes_max {
            let Some((of, base)) = self.order.pop_front() else { break };
            self.remove(of, base);
        }
    }

    /// Forgets a partition.
    fn forget(&mut self, of: Shard) {
        let batches = self.partitions.remove(&of).unwrap_or_default();
        self.bytes -= batches.values().map(|entry| entry.bytes).sum::<usize>();
        self.rewrites.remove(&of);
        self.order.retain(|(other, _)| *other != of);
    }

    /// Forgets a batch; tells whether it was there.
    fn remove(&mut self, of: Shard, base: Offset) -> bool {
        let Some(batches) = self.partitions.get_mut(&of) else { return false };
        let removed = batches.remove(&base);
        if let Some(entry) = &removed {
            self.bytes -= entry.bytes;
        }
        if batches.is_empty() {
            self.partitions.remove(&of);
            self.rewrites.remove(&of);
        }
        removed.is_some()
    }
}

/// Gives the offset after a decoded batch's last one.
pub fn next_offset(batch: &Decoded) -> Offset {
    Offset(batch.header().next_offset().max(0) as u64)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skidway_record::{BatchBuilder, Compressor, EncodedHeaders};

    fn batch(base: u64, records: u32) -> Batch {
        let mut builder = BatchBuilder::new();
        for _ in 0..records {
            builder.push(0, None, Some(b"x"), &EncodedHeaders::none());
        }
        builder.finish(&mut Compressor::new(1).unwrap()).unwrap().with_base_offset(Offset(base))
    }

    #[tokio::test]
    async fn recent_batches_are_found_by_any_offset_and_the_oldest_leave_first() {
        let of = ([1; 16], PartitionId(0));
        let recent = Mutex::new(Recent { bytes_max: 700, ..Recent::default() });
        decode_once(&recent, of, batch(0, 10), 0).await.unwrap();
        decode_once(&recent, of, batch(10, 5), 0).await.unwrap();
        let base = |at| lock(&recent).find((of.0, of.1, Offset(at)), 0).map(|found| found.header().base_offset);
        assert_eq!((base(9), base(10), base(15)), (Some(0), Some(10), None));

        decode_once(&recent, of, batch(15, 1), 0).await.unwrap();
        assert_eq!((base(9), base(15)), (None, Some(15)));
        assert!(lock(&recent).bytes <= 700);
    }

    #[tokio::test]
    async fn reads_that_overlap_decode_a_batch_once() {
        let of = ([1; 16], PartitionId(0));
        let recent = Mutex::new(Recent { bytes_max: 1 << 20, ..Recent::default() });
        let (one, other) =
            tokio::join!(decode_once(&recent, of, batch(0, 10), 0), decode_once(&recent, of, batch(0, 10), 0));
        assert!(Arc::ptr_eq(&one.unwrap(), &other.unwrap()));
        let merged = decode_once(&recent, of, batch(0, 20), 0).await.unwrap();
        assert_eq!(merged.header().next_offset(), 20, "a merged batch is another one");
        let kept = lock(&recent);
        assert_eq!((kept.order.len(), kept.bytes), (1, ENTRY_BYTES + merged.body_bytes()));
    }

    #[tokio::test]
    async fn a_batch_that_does_not_decode_is_tried_again() {
        let of = ([1; 16], PartitionId(0));
        let recent = Mutex::new(Recent { bytes_max: 1 << 20, ..Recent::default() });
        let mut bytes = batch(0, 10).bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        let damaged = Batch::take(&mut bytes.into()).unwrap();
        assert!(decode_once(&recent, of, damaged, 0).await.is_err());
        decode_once(&recent, of, batch(0, 10), 0).await.unwrap();
    }

    #[tokio::test]
    async fn what_was_read_before_a_partition_was_written_anew_is_not_given_again() {
        let of = ([1; 16], PartitionId(0));
        let recent = Mutex::new(Recent { bytes_max: 1 << 20, ..Recent::default() });
        let before = decode_once(&recent, of, batch(0, 10), 0).await.unwrap();
        let find = |rewrites| lock(&recent).find((of.0, of.1, Offset(3)), rewrites);
        assert!(find(0).is_some_and(|found| Arc::ptr_eq(&found, &before)));
        assert!(find(1).is_none());
        let after = decode_once(&recent, of, batch(0, 10), 1).await.unwrap();
        decode_once(&recent, of, batch(0, 10), 0).await.unwrap();
        assert!(find(1).is_some_and(|found| Arc::ptr_eq(&found, &after)), "a late read of the old one is not kept");
        let kept = lock(&recent);
        assert_eq!((kept.order.len(), kept.bytes), (1, ENTRY_BYTES + after.body_bytes()));
    }
}
