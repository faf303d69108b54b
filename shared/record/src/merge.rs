//! Joins neighbouring batches of one partition into one that compresses better. Offsets, times, keys, values and headers stay as they
//! are, and the joined batch covers all offsets that the others covered.

use crate::batch::{Batch, Decoded};
use crate::builder::{BatchBuilder, EncodedHeaders};
use crate::compression::Compressor;
use crate::error::BatchError;

/// Collects batches, each beginning where the one before ends or later.
#[derive(Debug, Default)]
pub struct Merger {
    builder: BatchBuilder,
    /// Base offset of the first batch and next offset of the last.
    covered: Option<(i64, i64)>,
}

impl Merger {
    /// Tells whether a batch can be joined with others: it has records, no transaction, no producer, and times of its own.
    pub fn takes(batch: &Batch) -> bool {
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

    /// Tells whether a batch still fits: its offsets must be reached from the first one's.
    pub fn reaches(&self, batch: &Batch) -> bool {
        let next_offset = batch.header().next_offset();
        self.covered.is_none_or(|(base_offset, _)| next_offset - base_offset <= i64::from(i32::MAX))
    }

    /// Adds the records of a batch that [`Merger::takes`] and that it reaches.
    ///
    /// # Errors
    /// [`BatchError`] if the batch cannot be read (reject); the merger is then of no more use.
    pub fn push(&mut self, batch: &Decoded) -> Result<(), BatchError> {
        let header = batch.header();
        let (base_offset, _) = *self.covered.get_or_insert((header.base_offset, header.base_offset));
        for record in batch.records() {
            let record = record?;
            let offset_delta = header.base_offset - base_offset + i64::from(record.offset_delta);
            let headers = EncodedHeaders::of(&record);
            self.builder.push_at(offset_delta as u32, record.timestamp_ms, record.key, record.value, &headers);
        }
        self.covered = Some((base_offset, header.next_offset()));
        Ok(())
    }

    /// Encodes what was collected as one batch, and begins anew. `None` if there was nothing.
    pub fn finish(&mut self, compressor: &mut Compressor) -> Option<Batch> {
        let (base_offset, next_offset) = self.covered.take()?;
        self.builder.finish_at(base_offset, (next_offset - base_offset - 1) as u32, compressor)
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
}
