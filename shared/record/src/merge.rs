//! Joins neighbouring batches of one partition into one that compresses better. Offsets, times, keys, values and headers stay as they
//! are, and the joined batch covers all offsets that the others covered, also of records that were left out.

use std::ops::Range;

use crate::batch::{Batch, Decoded};
use crate::builder::{BatchBuilder, EncodedHeaders, empty_batch};
use crate::compression::Compressor;
use crate::error::BatchError;
use crate::ids::Offset;
use crate::record::Record;

/// Collects batches, each beginning where the one before ends or later.
#[derive(Debug, Default)]
pub struct Merger {
    builder: BatchBuilder,
    /// Base offset of the first batch and next offset of the last.
    covered: Option<(u64, u64)>,
}

impl Merger {
    /// Tells whether a batch can be joined with others: it has records, no transaction, no producer, no delete horizon, and times of its
    /// own.
    pub fn takes(batch: &Batch) -> bool {
        batch.header().delete_horizon_ms().is_none() && Self::takes_records_of(batch)
    }

    /// Tells whether a batch's records can be taken one by one, whatever its delete horizon.
    pub fn takes_records_of(batch: &Batch) -> bool {
        let header = batch.header();
        header.record_count > 0
            && header.producer_id < 0
            && !header.is_control()
            && !header.is_transactional()
            && !header.is_log_append_time()
    }

    /// Tells how many bytes the records so far take before compression.
    pub fn body_bytes(&self) -> usize {
        self.builder.body_bytes()
    }

    /// Tells whether there is no record so far.
    pub fn is_empty(&self) -> bool {
        self.builder.is_empty()
    }

    /// Tells whether a batch still fits: its offsets must be reached from the first one's.
    pub fn reaches(&self, batch: &Batch) -> bool {
        let next_offset = batch.next_offset().0;
        self.covered.is_none_or(|(base_offset, _)| next_offset - base_offset <= i32::MAX as u64)
    }

    /// Gives the time from which compaction may remove the tombstones collected (KIP-534).
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        self.builder.delete_horizon_ms()
    }

    /// Sets that time, in ms since 1970, for the batch that is begun; there must be no record yet.
    pub fn set_delete_horizon(&mut self, horizon_ms: i64) {
        self.builder.set_delete_horizon(horizon_ms);
    }

    /// Adds the records of a batch that [`Merger::takes`] and that it reaches.
    ///
    /// # Errors
    /// [`BatchError`] if the batch cannot be read (reject); the merger is then of no more use.
    pub fn push(&mut self, batch: &Decoded) -> Result<(), BatchError> {
        let header = batch.header();
        let (base_offset, next_offset) = (header.base_offset.max(0) as u64, header.next_offset().max(0) as u64);
        self.cover(base_offset..base_offset);
        for record in batch.records() {
            let record = record?;
            self.push_record(batch.offset_of(&record), &record);
        }
        self.cover(base_offset..next_offset);
        Ok(())
    }

    /// Adds one record, above those before it.
    pub fn push_record(&mut self, offset: Offset, record: &Record<'_>) {
        self.cover(offset.0..offset.0 + 1);
        let (base_offset, _) = self.covered.expect("it was just covered");
        let headers = EncodedHeaders::of(record);
        let offset_delta = (offset.0 - base_offset) as u32;
        self.builder.push_at(offset_delta, record.timestamp_ms, record.key, record.value, &headers);
    }

    /// Lets the batch cover offsets, above those before them, whether or not a record is there.
    pub fn cover(&mut self, offsets: Range<u64>) {
        let (base_offset, _) = *self.covered.get_or_insert((offsets.start, offsets.end));
        self.covered = Some((base_offset, offsets.end));
    }

    /// Encodes what was collected as one batch, and begins anew; without records if only offsets are covered. `None` if there was nothing.
    pub fn finish(&mut self, compressor: &mut Compressor) -> Option<Batch> {
        let (base_offset, next_offset) = self.covered.take().filter(|(base_offset, next)| base_offset < next)?;
        let last_offset_delta = (next_offset - base_offset - 1) as u32;
        let base_offset = base_offset as i64;
        let batch = self.builder.finish_at(base_offset, last_offset_delta, compressor);
        Some(batch.unwrap_or_else(|| empty_batch(base_offset, last_offset_delta)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Offset, Record};

    type Owned = (u64, i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

    fn owned(batch: &Batch) -> Vec<Owned> {
        let decoded = batch.decode().unwrap();
        let one = |record: Record<'_>| {
            let headers = record.headers().map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec)));
            let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
            (decoded.offset_of(&record).0, record.timestamp_ms, key, value, headers.collect())
        };
        decoded.records().map(|record| one(record.unwrap())).collect()
    }

    fn batch(base_offset: u64, times: &[i64]) -> Batch {
        let mut builder = BatchBuilder::new();
        let headers = EncodedHeaders::new([(&b"host"[..], Some(&b"web"[..])), (&b"empty"[..], None)]);
        for time in times {
            let value = format!("line at {time} {}", "x".repeat(200));
            builder.push(*time, Some(b"k"), (*time != 0).then_some(value.as_bytes()), &headers);
        }
        builder.finish(&mut Compressor::new(1).unwrap()).unwrap().with_base_offset(Offset(base_offset))
    }

    #[test]
    fn a_merged_batch_has_the_same_records_at_the_same_offsets() {
        let apart = [batch(5, &[100, 90]), batch(7, &[0, -3, 400]), batch(20, &[7])];
        let mut merger = Merger::default();
        for batch in &apart {
            assert!(Merger::takes(batch) && merger.reaches(batch));
            merger.push(&batch.decode().unwrap()).unwrap();
        }
        let mut compressor = Compressor::new(1).unwrap();
        let merged = merger.finish(&mut compressor).unwrap();
        merged.verify().unwrap();
        assert_eq!(owned(&merged), apart.iter().flat_map(owned).collect::<Vec<_>>());
        assert_eq!((merged.base_offset(), merged.next_offset()), (Offset(5), Offset(21)));
        assert_eq!(merged.header().max_timestamp_ms, 400);
        assert!(merged.bytes().len() < apart.iter().map(|batch| batch.bytes().len()).sum());
        assert!(merger.finish(&mut compressor).is_none());

        let mut again = Merger::default();
        again.push(&merged.decode().unwrap()).unwrap();
        assert!(!again.reaches(&batch(1 << 40, &[1])));
        assert_eq!(owned(&again.finish(&mut compressor).unwrap()), owned(&merged));
    }

    #[test]
    fn records_left_out_leave_their_offsets_covered() {
        let (source, mut merger, mut compressor) =
            (batch(5, &[100, 0, 300]), Merger::default(), Compressor::new(1).unwrap());
        let decoded = source.decode().unwrap();
        merger.cover(5..5);
        for record in decoded.records().map(Result::unwrap).filter(|record| record.timestamp_ms != 100) {
            merger.push_record(decoded.offset_of(&record), &record);
        }
        merger.cover(8..20);
        let sifted = merger.finish(&mut compressor).unwrap();
        sifted.verify().unwrap();
        assert_eq!(owned(&sifted), owned(&source)[1..]);
        assert_eq!((sifted.base_offset(), sifted.next_offset()), (Offset(5), Offset(20)));

        merger.cover(20..90);
        let empty = merger.finish(&mut compressor).unwrap();
        empty.verify().unwrap();
        assert_eq!(Batch::take(&mut empty.bytes().clone()).unwrap(), empty);
        assert_eq!((empty.base_offset(), empty.next_offset(), owned(&empty)), (Offset(20), Offset(90), Vec::new()));
    }

    #[test]
    fn a_delete_horizon_changes_no_time() {
        let (source, mut merger, mut compressor) =
            (batch(5, &[100, 0, 300]), Merger::default(), Compressor::new(1).unwrap());
        merger.set_delete_horizon(1_000_000);
        merger.push(&source.decode().unwrap()).unwrap();
        let marked = merger.finish(&mut compressor).unwrap();
        marked.verify().unwrap();
        assert_eq!((marked.header().delete_horizon_ms(), owned(&marked)), (Some(1_000_000), owned(&source)));
        assert!(!Merger::takes(&marked) && Merger::takes_records_of(&marked));
        merger.push(&source.decode().unwrap()).unwrap();
        assert_eq!(merger.finish(&mut compressor).unwrap().header().delete_horizon_ms(), None);
    }
}
