//! Merging the small batches of cold segments beside the commits, one segment at a time.

use std::sync::Arc;

use crate::error::Error;
use crate::merge;
use crate::partition::Partition;
use crate::segment::Segment;
use crate::sequencer::rewriting::{Done, Work};
use crate::sequencer::{Sequencer, now_ms};

impl Sequencer {
    /// Begins to merge a segment if none is written anew and there is one worth it, with room for both.
    pub(super) fn merge_if_due(&mut self) -> Result<(), Error> {
        self.collect_rewritten();
        let Some(cold_ms) = self.config.merge_after_ms else { return Ok(()) };
        // A checkpoint that runs may be about to put a merged segment into its place: it would be merged once more.
        if self.rewrites.is_busy() || self.is_checkpointing() {
            return Ok(());
        }
        let Some((partition, segment)) = self.merge_candidate(cold_ms) else { return Ok(()) };
        if self.missing_room(segment.bytes() + self.config.reserve_bytes)?.is_some() {
            return Ok(());
        }
        let (store, number) = (self.writer.store().clone(), self.swap_number());
        let work = Work::Merge { segment: segment.id() };
        self.start_rewriting(&partition.clone(), work, u64::MAX, move |brake| {
            let replacement = merge::merge(&store.files, &partition, &segment, (brake, number))?;
            Ok(Done { replacement, compaction: None })
        })
    }

    fn merge_candidate(&self, cold_ms: u64) -> Option<(Arc<Partition>, Arc<Segment>)> {
        let now_ms = now_ms();
        let topics = self.writer.topics().filter(|live| !live.topic.config.cleanup.compacts());
        let mut partitions = topics.flat_map(|live| &live.partitions);
        partitions.find_map(|partition| {
            let extents = partition.extents();
            let candidates = merge::candidates(&extents, now_ms, cold_ms);
            let mut segments = candidates.filter_map(|extent| partition.segment_of(extent.base_offset));
            let segment = segments.find(|segment| !self.rewrites.is_given_up(segment.id()))?;
            Some((partition.clone(), segment))
        })
    }
}
