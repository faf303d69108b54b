//! Merging cold batches beside the commits: one segment at a time, on a thread of its own, swapped in by the next checkpoint.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::checkpoint::Extents;
use crate::error::Error;
use crate::merge::{self, Merged};
use crate::partition::Partition;
use crate::segment::Segment;
use crate::sequencer::{Sequencer, now_ms};
use crate::store::Store;

/// Segments remembered as not to be merged; beyond that all are tried again.
const GIVEN_UP_MAX: usize = 10_000;

/// Holds the one merge that runs, and those that wait for a checkpoint.
#[derive(Debug, Default)]
pub(super) struct Merges {
    running: Option<Running>,
    merged: Vec<Merged>,
    /// Segments whose merge failed, by their number in this process.
    given_up: HashSet<u64>,
}

#[derive(Debug)]
struct Running {
    segment: u64,
    cancelled: Arc<AtomicBool>,
    thread: JoinHandle<Result<Option<Merged>, Error>>,
}

impl Merges {
    /// Tells whether a merged segment waits for the next checkpoint.
    pub(super) fn has_merged(&self) -> bool {
        !self.merged.is_empty()
    }

    /// Ends the merge that runs; nothing of it is kept.
    pub(super) fn cancel(&mut self) {
        if let Some(running) = self.running.take() {
            running.cancelled.store(true, Ordering::Relaxed);
            if running.thread.join().is_err() {
                tracing::error!("the merging thread panicked");
            }
        }
    }

    fn start(&mut self, store: &Arc<Store>, partition: Arc<Partition>, segment: Arc<Segment>) -> std::io::Result<()> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let (id, flag, store) = (segment.id(), cancelled.clone(), store.clone());
        let work = move || Merged::write(&store.files, &partition, &segment, &flag);
        let thread = std::thread::Builder::new().name("skidway-merge".to_owned()).spawn(work)?;
        self.running = Some(Running { segment: id, cancelled, thread });
        Ok(())
    }

    /// Takes over a merge that has ended.
    fn collect(&mut self) {
        let Some(ended) = self.running.take_if(|running| running.thread.is_finished()) else { return };
        match ended.thread.join() {
            Ok(Ok(merged)) => self.merged.extend(merged),
            failed => {
                let reason = failed.map_or("its thread panicked".to_owned(), |failed| format!("{failed:?}"));
                tracing::warn!(reason, "a segment's small batches are not merged");
                if self.given_up.len() >= GIVEN_UP_MAX {
                    self.given_up.clear();
                }
                self.given_up.insert(ended.segment);
            }
        }
    }
}

impl Sequencer {
    /// Begins to merge a segment if none is being merged and there is one worth it, with room for both.
    pub(super) fn merge_if_due(&mut self) -> Result<(), Error> {
        self.merges.collect();
        let Some(cold_ms) = self.config.merge_after_ms else { return Ok(()) };
        // A checkpoint that runs may be about to put a merged segment into its place: it would be merged once more.
        if self.merges.running.is_some() || self.merges.has_merged() || self.is_checkpointing() {
            return Ok(());
        }
        let Some((partition, segment)) = self.merge_candidate(cold_ms) else { return Ok(()) };
        if self.missing_room(segment.bytes() + self.config.reserve_bytes)?.is_some() {
            return Ok(());
        }
        let started = self.merges.start(self.writer.store(), partition, segment);
        started.map_err(Error::io("start the merging thread of", &self.config.data_dir))
    }

    fn merge_candidate(&self, cold_ms: u64) -> Option<(Arc<Partition>, Arc<Segment>)> {
        let now_ms = now_ms();
        let mut partitions = self.writer.topics().flat_map(|live| &live.partitions);
        partitions.find_map(|partition| {
            let extents = partition.extents();
            let candidates = merge::candidates(&extents, now_ms, cold_ms);
            let mut segments = candidates.filter_map(|extent| partition.segment_of(extent.base_offset));
            let segment = segments.find(|segment| !self.merges.given_up.contains(&segment.id()))?;
            Some((partition.clone(), segment))
        })
    }

    /// Puts what was merged into the description of a checkpoint. What belongs to a segment or topic that is gone is let go.
    pub(super) fn take_merged(&mut self, extents: &mut Extents) -> Vec<Merged> {
        let mut merged = std::mem::take(&mut self.merges.merged);
        merged.retain(|merged| {
            let swap = merged.swap();
            let held = extents.iter_mut().find(|(id, number, _)| (*id, *number) == (swap.topic, swap.partition));
            let described = held.and_then(|(.., held)| held.iter_mut().find(|it| it.base_offset == swap.base_offset));
            if let Some(described) = described {
                *described = merged.extent().clone();
                return true;
            }
            if self.state.topic_by_id(&swap.topic).is_some() {
                self.writer.garbage.extend(merged.paths());
            }
            false
        });
        merged
    }
}
