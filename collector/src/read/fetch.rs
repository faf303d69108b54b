//! Decoded batches, shared: a batch is read and decompressed once, however many subscribers want it.
//!
//! Recent ones stay in bounded memory, oldest out first. Readers that want the same place at the same time wait for one
//! read. Whoever is too slow for the memory reads from disk again; nobody else notices.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use skidway_record::{Batch, Decoded, Offset, PartitionId, TopicPartition};

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
        let recent = lock(&self.recent).find(place);
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

/// Reads and decodes from one place on, keeps what it got, and gives the first batch of it.
async fn read(log: Arc<dyn LogReader>, recent: Arc<Mutex<Recent>>, topic: Topic, (id, partition, at): Place) -> Read {
    metrics::fetched();
    let of = TopicPartition { topic: topic.name.clone(), partition };
    let batches = log.fetch(of.clone(), at, FETCH_BYTES).await?;
    // Ids never come back: if the topic is still this one, those were its batches.
    if log.topic(&topic.name).is_none_or(|now| now.id != id) {
        return Err(ReadError::UnknownTopic(topic.name));
    }
    let bytes: usize = batches.iter().map(|batch| batch.bytes().len()).sum();
    let decode = move || decode(&of, batches);
    let decoded = if bytes <= INLINE_BYTES { decode()? } else { blocking(decode).await? };
    metrics::decoded(decoded.len());
    let mut recent = lock(&recent);
    for batch in &decoded {
        recent.insert((id, partition), batch.clone());
    }
    Ok(decoded.into_iter().next())
}

fn decode(of: &TopicPartition, batches: Vec<Batch>) -> Result<Vec<Arc<Decoded>>, ReadError> {
    let mut decoded = Vec::with_capacity(batches.len());
    let mut bytes = 0;
    for batch in batches {
        let records = match batch.verify_crc().and_then(|()| batch.decode()) {
            Ok(records) => records,
            // Told to whoever asks for it first.
            Err(_) if !decoded.is_empty() => break,
            Err(reason) => {
                return Err(ReadError::undecodable(of, batch.base_offset()..batch.next_offset(), &reason));
            }
        };
        bytes += records.body_bytes();
        decoded.push(Arc::new(records));
        if bytes >= DECODE_BYTES {
            break;
        }
    }
    Ok(decoded)
}

/// Keeps decoded batches by place, oldest out first.
#[derive(Default)]
struct Recent {
    bytes_max: usize,
    bytes: usize,
    partitions: HashMap<([u8; 16], PartitionId), BTreeMap<Offset, Arc<Decoded>>>,
    order: VecDeque<(([u8; 16], PartitionId), Offset)>,
}

impl Recent {
    fn find(&self, (topic, partition, at): Place) -> Option<Arc<Decoded>> {
        let batches = self.partitions.get(&(topic, partition))?;
        let (_, batch) = batches.range(..=at).next_back()?;
        (next_offset(batch) > at).then(|| batch.clone())
    }

    fn insert(&mut self, of: ([u8; 16], PartitionId), batch: Arc<Decoded>) {
        let (base, bytes) = (base_offset(&batch), batch.body_bytes() + ENTRY_BYTES);
        if self.partitions.entry(of).or_default().insert(base, batch).is_some() {
            return;
        }
        self.order.push_back((of, base));
        self.bytes += bytes;
        while self.bytes > self.bytes_max {
            let Some((of, base)) = self.order.pop_front() else { break };
            self.remove(of, base);
        }
    }

    fn remove(&mut self, of: ([u8; 16], PartitionId), base: Offset) {
        let Some(batches) = self.partitions.get_mut(&of) else { return };
        if let Some(batch) = batches.remove(&base) {
            self.bytes -= batch.body_bytes() + ENTRY_BYTES;
        }
        if batches.is_empty() {
            self.partitions.remove(&of);
        }
    }
}

fn base_offset(batch: &Decoded) -> Offset {
    Offset(batch.header().base_offset.max(0) as u64)
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

    fn batch(base: u64, records: u32) -> Arc<Decoded> {
        let mut builder = BatchBuilder::new();
        for _ in 0..records {
            builder.push(0, None, Some(b"x"), &EncodedHeaders::none());
        }
        let batch = builder.finish(&mut Compressor::new(1).unwrap()).unwrap();
        Arc::new(batch.with_base_offset(Offset(base)).decode().unwrap())
    }

    #[test]
    fn recent_batches_are_found_by_any_offset_and_the_oldest_leave_first() {
        let of = ([1; 16], PartitionId(0));
        let mut recent = Recent { bytes_max: 700, ..Recent::default() };
        recent.insert(of, batch(0, 10));
        recent.insert(of, batch(10, 5));
        let base = |recent: &Recent, at| recent.find((of.0, of.1, Offset(at))).map(|found| base_offset(&found).0);
        assert_eq!((base(&recent, 9), base(&recent, 10), base(&recent, 15)), (Some(0), Some(10), None));

        recent.insert(of, batch(15, 1));
        assert_eq!((base(&recent, 9), base(&recent, 15)), (None, Some(15)));
        assert!(recent.bytes <= 700);
    }
}
