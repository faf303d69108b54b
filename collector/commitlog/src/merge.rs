//! Merges the small batches of closed, cold segments: the same records at the same offsets, in fewer bytes.
//!
//! A line now and then makes a batch now and then, and small batches compress badly. The merged segment takes the place of the one it was
//! made of (`replacement.rs`). Optional work: whatever fails is put off, and stops nothing. Topics that are compacted are left to that.

use std::sync::Arc;

use skidway_record::{Batch, Merger, Offset};

use crate::brake::Brake;
use crate::error::Error;
use crate::extent::{Extent, Rewritten};
use crate::files::Files;
use crate::partition::Partition;
use crate::replacement::{MERGED_BODY_BYTES, Output, Replacement, SwapNumber};
use crate::scan::{CHUNK_BYTES, Scan};
use crate::segment::Segment;

/// Segments whose batches are smaller than this on average are merged.
const SMALL_BATCH_BYTES: u64 = 16 << 10;

/// Batches larger than this stay as they are.
const LARGE_BATCH_BYTES: usize = 64 << 10;

/// Finds the segments worth merging: closed, not written to since `cold_ms`, of small batches, not merged before.
pub(crate) fn candidates(extents: &[Extent], now_ms: i64, cold_ms: u64) -> impl Iterator<Item = &Extent> {
    let closed = extents.split_last().map_or(&[][..], |(_grows, closed)| closed);
    closed.iter().filter(move |extent| {
        let is_cold = u64::try_from(now_ms.saturating_sub(extent.last_append_ms)).is_ok_and(|age| age >= cold_ms);
        let has_small = extent.batches > 1 && extent.bytes / extent.batches < SMALL_BATCH_BYTES;
        is_cold && has_small && extent.rewritten == Rewritten::No
    })
}

/// Writes and syncs the merged segment. `None` if it is braked to a stop meanwhile.
///
/// # Errors
/// Whatever reading and writing meets: the merge is given up, nothing has changed.
pub(crate) fn merge(
    files: &Files,
    partition: &Arc<Partition>,
    segment: &Segment,
    (brake, number): (&Brake, SwapNumber),
) -> Result<Option<Replacement>, Error> {
    let before = segment.extent();
    let times = (before.first_append_ms, before.last_append_ms);
    let mut output = Output::begin(files, partition, (before.base_offset, number), times)?;
    let limit = partition.segment_after(segment).map_or(u64::MAX, |next| next.base_offset());
    let mut scan = Scan::new(files, segment, Offset(0), Offset(limit), CHUNK_BYTES)?;
    while let Some(batch) = scan.next_batch()? {
        if brake.is_stopped() {
            output.abandon();
            return Ok(None);
        }
        push(&mut output, batch)?;
    }
    let extent = output.finish(Rewritten::Merged)?;
    Ok(Some(Replacement::new(partition, number, vec![before.base_offset], vec![extent])))
}

fn push(output: &mut Output<'_>, batch: Batch) -> Result<(), Error> {
    if batch.bytes().len() > LARGE_BATCH_BYTES || !Merger::takes(&batch) {
        return output.place(batch);
    }
    let decoded = batch.decode().map_err(|error| output.damaged(&error))?;
    let is_full = output.merger.body_bytes() + decoded.body_bytes() > MERGED_BODY_BYTES;
    if is_full || !output.merger.reaches(&batch) {
        output.close_batch()?;
    }
    output.merger.push(&decoded).map_err(|error| output.damaged(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_cold_segments_of_small_batches_are_merged_once() {
        let extent = |base_offset, bytes, batches, last_append_ms| Extent {
            bytes,
            batches,
            last_append_ms,
            ..Extent::empty(base_offset, 0)
        };
        let large = extent(0, 100 << 20, 100, 0);
        let single = extent(1, 100, 1, 0);
        let small = extent(2, 100 << 10, 1000, 50);
        let merged = Extent { rewritten: Rewritten::Merged, ..small.clone() };
        let found = |extents: &[&Extent], now_ms| {
            let extents: Vec<Extent> = extents.iter().map(|&extent| extent.clone()).collect();
            candidates(&extents, now_ms, 10).next().map(|extent| extent.base_offset)
        };
        assert_eq!(found(&[&large, &single, &small, &large], 60), Some(2));
        assert_eq!(found(&[&large, &single, &small, &large], 59), None, "too warm");
        assert_eq!(found(&[&large, &small], 60), None, "the last one grows");
        assert_eq!(found(&[&merged, &large], 60), None);
        assert_eq!(found(&[], 60), None);
    }
}
