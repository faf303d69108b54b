//! Which records stay, and the batches they are written in.

use std::ops::Range;

use skidway_record::limits::BATCH_BYTES_MAX;
use skidway_record::{Batch, Decoded, Merger, Record};

use crate::compact::{Keys, Rules};
use crate::error::Error;
use crate::replacement::{MERGED_BODY_BYTES, Output};

/// Batches larger than this that lose nothing stay as they are.
const LARGE_BATCH_BYTES: usize = 64 << 10;

/// Decides which records stay, and writes them.
pub(super) struct Sieve<'a> {
    pub(super) rules: &'a Rules,
    pub(super) keys: &'a Keys,
    /// Records left out so far.
    pub(super) removed: u64,
}

impl Sieve<'_> {
    /// Takes the next batch.
    pub(super) fn push(&mut self, output: &mut Output<'_>, batch: Batch) -> Result<(), Error> {
        let covers = batch.base_offset().0..batch.next_offset().0;
        if batch.header().record_count == 0 && !batch.header().is_control() {
            return self.cover(output, &batch, covers);
        }
        if !Merger::takes_records_of(&batch) {
            return output.place(batch);
        }
        let decoded = batch.decode().map_err(|error| output.damaged(&error))?;
        let mut kept = 0_u32;
        let mut has_tombstone = false;
        for record in decoded.records() {
            let record = record.map_err(|error| output.damaged(&error))?;
            if self.keeps(&decoded, &record) {
                kept += 1;
                has_tombstone |= is_tombstone(&record);
            }
        }
        let horizon = has_tombstone.then(|| self.horizon_of(&decoded));
        let is_same = kept == batch.header().record_count && horizon == batch.header().delete_horizon_ms();
        self.removed += u64::from(batch.header().record_count - kept);
        let is_large = batch.bytes().len() > LARGE_BATCH_BYTES || decoded.body_bytes() > MERGED_BODY_BYTES;
        match (kept, is_same, is_large) {
            (0, ..) => self.cover(output, &batch, covers),
            (_, true, true) => output.place(batch),
            (_, false, true) => self.push_large(output, batch, &decoded, horizon),
            _ => self.push_small(output, &batch, &decoded, horizon),
        }
    }

    /// Tells whether a record stays.
    fn keeps(&self, batch: &Decoded, record: &Record<'_>) -> bool {
        let Some(key) = record.key else { return true };
        let is_superseded = self.keys.map.last(key).is_some_and(|last| last > batch.offset_of(record).0);
        let is_over = || batch.header().delete_horizon_ms().is_some_and(|horizon| self.rules.now_ms >= horizon);
        !(is_superseded || (is_tombstone(record) && is_over()))
    }

    /// Says when a batch's tombstones may go: what was said before counts.
    fn horizon_of(&self, batch: &Decoded) -> i64 {
        let retention_ms = i64::try_from(self.rules.tombstone_retention_ms).unwrap_or(i64::MAX);
        let from_now = self.rules.now_ms.saturating_add(retention_ms);
        batch.header().delete_horizon_ms().unwrap_or(from_now)
    }

    /// Lets the batch that is filled cover offsets without records.
    fn cover(&self, output: &mut Output<'_>, batch: &Batch, covers: Range<u64>) -> Result<(), Error> {
        if !output.merger.reaches(batch) {
            output.close_batch()?;
        }
        output.merger.cover(covers);
        Ok(())
    }

    /// Joins what is kept with its neighbours. Tombstones of different horizons stay apart.
    fn push_small(
        &self,
        output: &mut Output<'_>,
        batch: &Batch,
        decoded: &Decoded,
        horizon: Option<i64>,
    ) -> Result<(), Error> {
        let merger = &output.merger;
        let is_full = merger.body_bytes() + decoded.body_bytes() > MERGED_BODY_BYTES;
        let is_apart = horizon.is_some() && horizon != merger.delete_horizon_ms();
        if !merger.reaches(batch) || (!merger.is_empty() && (is_full || is_apart)) {
            output.close_batch()?;
        }
        if let Some(horizon) = horizon.filter(|_| output.merger.is_empty()) {
            output.merger.set_delete_horizon(horizon);
        }
        let (base_offset, next_offset) = (batch.base_offset().0, batch.next_offset().0);
        output.merger.cover(base_offset..base_offset);
        for record in decoded.records() {
            let record = record.map_err(|error| output.damaged(&error))?;
            if self.keeps(decoded, &record) {
                output.merger.push_record(decoded.offset_of(&record), &record);
            }
        }
        output.merger.cover(base_offset..next_offset);
        Ok(())
    }

    /// Writes what is kept of a large batch as batches of its own; if one would be larger than a batch may be, the batch stays as it is.
    fn push_large(
        &mut self,
        output: &mut Output<'_>,
        batch: Batch,
        decoded: &Decoded,
        horizon: Option<i64>,
    ) -> Result<(), Error> {
        output.close_batch()?;
        let mut parts = Vec::new();
        let mut kept = 0_u32;
        output.merger.cover(batch.base_offset().0..batch.base_offset().0);
        for record in decoded.records() {
            let record = record.map_err(|error| output.damaged(&error))?;
            if !self.keeps(decoded, &record) {
                continue;
            }
            kept += 1;
            let offset = decoded.offset_of(&record);
            if output.merger.body_bytes() > MERGED_BODY_BYTES {
                output.merger.cover(offset.0..offset.0);
                parts.extend(output.take_batch());
            }
            if let Some(horizon) = horizon.filter(|_| output.merger.is_empty()) {
                output.merger.set_delete_horizon(horizon);
            }
            output.merger.push_record(offset, &record);
        }
        output.merger.cover(batch.next_offset().0..batch.next_offset().0);
        parts.extend(output.take_batch());
        if parts.iter().any(|part| part.bytes().len() > BATCH_BYTES_MAX) {
            self.removed -= u64::from(batch.header().record_count - kept);
            return output.place(batch);
        }
        parts.into_iter().try_for_each(|part| output.place(part))
    }
}

fn is_tombstone(record: &Record<'_>) -> bool {
    record.key.is_some() && record.value.is_none()
}
