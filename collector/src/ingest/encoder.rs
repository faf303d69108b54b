//! Records in, batches by partition out.
//!
//! Pure but for a pool of compressors. A batch is closed at 1 MiB of records; a record of more gets a batch of its own.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use skidway_record::limits::{BATCH_BYTES_MAX, DECOMPRESSED_BYTES_MAX};
use skidway_record::murmur2::partition_of;
use skidway_record::{Batch, BatchBuilder, Compressor, EncodedHeaders};

use crate::ingest::IngestError;

/// Closes a batch at this many bytes of records, uncompressed.
const BODY_BYTES: usize = 1 << 20;

/// Bounds the compressors kept for reuse.
const COMPRESSORS_MAX: usize = 16;

/// Is a header's key and value; `None` is null.
pub type NewHeader<'a> = (Cow<'a, str>, Option<Cow<'a, [u8]>>);

/// Holds a record as a producer gave it, its bytes borrowed from the request where that is possible.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewRecord<'a> {
    /// Key; finds the partition unless one is named.
    pub key: Option<Cow<'a, [u8]>>,
    /// Value; `None` is a tombstone.
    pub value: Option<Cow<'a, [u8]>>,
    /// Headers in order; keys may repeat.
    pub headers: Vec<NewHeader<'a>>,
    /// Milliseconds since 1970; the time of the request if absent.
    pub timestamp_ms: Option<i64>,
    /// The partition it is to go to.
    pub partition: Option<u32>,
}

/// Says where the records of one request go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// How many partitions the topic has.
    pub partitions: u32,
    /// The partition the request names.
    pub requested: Option<u32>,
    /// Where records with neither key nor partition go.
    pub keyless: u32,
    /// The topic is compacted by key: every record must have one.
    pub needs_key: bool,
    /// The time of the request, in ms since 1970.
    pub now_ms: i64,
}

/// Collects the records of one request.
pub struct Encoder {
    route: Route,
    compressors: Arc<Compressors>,
    no_headers: EncodedHeaders,
    open: BTreeMap<u32, Lane>,
    count: u64,
}

/// Holds one partition's batches: those closed and the one being filled, with the number of its last record.
#[derive(Default)]
struct Lane {
    filling: BatchBuilder,
    last_index: u64,
    closed: Vec<Batch>,
}

impl Encoder {
    /// Starts a request.
    pub fn new(route: Route, compressors: Arc<Compressors>) -> Self {
        Self { route, compressors, no_headers: EncodedHeaders::none(), open: BTreeMap::new(), count: 0 }
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// [`IngestError`] (reject): the record has no key and needs one, names a partition it cannot have, or fits no batch.
    pub fn push(&mut self, record: &NewRecord<'_>) -> Result<(), IngestError> {
        let index = self.count;
        if self.route.needs_key && record.key.is_none() {
            return Err(IngestError::KeyRequired { index });
        }
        let partition = self.partition(record, index)?;
        let lane = self.open.entry(partition).or_default();
        let size = payload_bytes(record);
        if size > DECOMPRESSED_BYTES_MAX {
            return Err(IngestError::RecordTooLarge { index, bytes: size, max: DECOMPRESSED_BYTES_MAX });
        }
        if !lane.filling.is_empty() && lane.filling.body_bytes() + size > BODY_BYTES {
            lane.close(&self.compressors)?;
        }
        let headers = encode_headers(record);
        let timestamp_ms = record.timestamp_ms.unwrap_or(self.route.now_ms);
        let headers = headers.as_ref().unwrap_or(&self.no_headers);
        lane.filling.push(timestamp_ms, record.key.as_deref(), record.value.as_deref(), headers);
        lane.last_index = index;
        self.count += 1;
        Ok(())
    }

    /// Gives the batches, those of each partition together and in order, and the number of records.
    ///
    /// # Errors
    /// [`IngestError::Empty`], [`IngestError::RecordTooLarge`] (reject).
    pub fn finish(mut self) -> Result<(Vec<(u32, Batch)>, u64), IngestError> {
        if self.count == 0 {
            return Err(IngestError::Empty);
        }
        let mut batches = Vec::new();
        for (partition, lane) in &mut self.open {
            lane.close(&self.compressors)?;
            batches.extend(lane.closed.drain(..).map(|batch| (*partition, batch)));
        }
        Ok((batches, self.count))
    }

    fn partition(&self, record: &NewRecord<'_>, index: u64) -> Result<u32, IngestError> {
        let Route { partitions, requested, keyless, .. } = self.route;
        if let (Some(partition), Some(requested)) = (record.partition, requested)
            && partition != requested
        {
            return Err(IngestError::OtherPartition { index, partition, requested });
        }
        match (record.partition.or(requested), &record.key) {
            (Some(partition), _) if partition >= partitions => {
                Err(IngestError::UnknownPartition { index, partition, partitions })
            }
            (Some(partition), _) => Ok(partition),
            (None, Some(key)) => Ok(partition_of(key, partitions)),
            (None, None) => Ok(keyless),
        }
    }
}

impl Lane {
    fn close(&mut self, compressors: &Compressors) -> Result<(), IngestError> {
        let body_bytes = self.filling.body_bytes();
        let Some(batch) = compressors.with(|compressor| self.filling.finish(compressor)) else { return Ok(()) };
        let bytes = batch.bytes().len();
        if bytes > BATCH_BYTES_MAX {
            return Err(IngestError::RecordTooLarge { index: self.last_index, bytes, max: BATCH_BYTES_MAX });
        }
        if body_bytes > DECOMPRESSED_BYTES_MAX {
            let max = DECOMPRESSED_BYTES_MAX;
            return Err(IngestError::RecordTooLarge { index: self.last_index, bytes: body_bytes, max });
        }
        self.closed.push(batch);
        Ok(())
    }
}

fn payload_bytes(record: &NewRecord<'_>) -> usize {
    let len = |bytes: &Option<Cow<'_, [u8]>>| bytes.as_ref().map_or(0, |bytes| bytes.len());
    let headers: usize = record.headers.iter().map(|(key, value)| key.len() + len(value)).sum();
    len(&record.key) + len(&record.value) + headers
}

fn encode_headers(record: &NewRecord<'_>) -> Option<EncodedHeaders> {
    if record.headers.is_empty() {
        return None;
    }
    Some(EncodedHeaders::new(record.headers.iter().map(|(key, value)| (key.as_bytes(), value.as_deref()))))
}

/// Keeps compressors between requests: making one costs more than compressing a small batch.
#[derive(Debug, Default)]
pub struct Compressors(Mutex<Vec<Compressor>>);

impl Compressors {
    /// Lends a compressor of zstd level 1.
    pub fn with<T>(&self, work: impl FnOnce(&mut Compressor) -> T) -> T {
        let kept = self.lock().pop();
        let mut compressor =
            kept.unwrap_or_else(|| Compressor::new(1).expect("zstd has a level 1 and memory for its context"));
        let done = work(&mut compressor);
        let mut kept = self.lock();
        if kept.len() < COMPRESSORS_MAX {
            kept.push(compressor);
        }
        done
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Compressor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: Route = Route { partitions: 4, requested: None, keyless: 3, needs_key: false, now_ms: 9 };

    fn record(key: Option<&'static str>, value: &str, partition: Option<u32>) -> NewRecord<'static> {
        let bytes = |text: &str| Some(Cow::Owned(text.as_bytes().to_vec()));
        NewRecord { key: key.and_then(bytes), value: bytes(value), partition, ..NewRecord::default() }
    }

    fn encode(route: Route, records: &[NewRecord<'_>]) -> Result<Vec<(u32, u32)>, IngestError> {
        let mut encoder = Encoder::new(route, Arc::default());
        records.iter().try_for_each(|record| encoder.push(record))?;
        let (batches, _) = encoder.finish()?;
        Ok(batches.iter().map(|(partition, batch)| (*partition, batch.header().record_count)).collect())
    }

    #[test]
    fn records_find_their_partitions() {
        let keyed = partition_of(b"k", 4);
        let records = [record(None, "a", None), record(Some("k"), "b", None), record(Some("k"), "c", Some(1))];
        let mut expected = vec![(3, 1), (keyed, 1), (1, 1)];
        expected.sort_unstable();
        assert_eq!(encode(ROUTE, &records), Ok(expected));
        let all_in_one = Route { requested: Some(2), ..ROUTE };
        assert_eq!(encode(all_in_one, &records[..2]), Ok(vec![(2, 2)]));
        assert!(matches!(encode(all_in_one, &records), Err(IngestError::OtherPartition { index: 2, .. })));
        let unknown = [record(None, "a", Some(4))];
        assert!(matches!(encode(ROUTE, &unknown), Err(IngestError::UnknownPartition { index: 0, .. })));
        assert_eq!(encode(ROUTE, &[]), Err(IngestError::Empty));
        let compacted = Route { needs_key: true, ..ROUTE };
        assert_eq!(encode(compacted, &records[1..]), encode(ROUTE, &records[1..]));
        assert_eq!(encode(compacted, &[&records[1..], &records].concat()), Err(IngestError::KeyRequired { index: 2 }));
    }

    #[test]
    fn batches_close_at_a_mebibyte_and_hold_one_larger_record() {
        let half = "x".repeat(600 << 10);
        let large = "x".repeat(3 << 20);
        let records = [&half, &half, &large, &half].map(|value| record(None, value, None));
        assert_eq!(encode(ROUTE, &records), Ok(vec![(3, 1), (3, 1), (3, 1), (3, 1)]));
        let huge = [record(None, "a", None), record(None, &"x".repeat(17 << 20), None)];
        assert!(matches!(encode(ROUTE, &huge), Err(IngestError::RecordTooLarge { index: 1, .. })));
    }
}
