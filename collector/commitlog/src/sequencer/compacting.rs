//! Compaction beside the commits: which partition is worth it, and one step of it after the other.

use std::sync::Arc;
use std::time::Instant;

use crate::compact::{Bounds, Outlook, Pass, Rules, Worth};
use crate::effects::Change;
use crate::error::Error;
use crate::frame::FRAME_HEADER_BYTES;
use crate::log::Compacted;
use crate::partition::Partition;
use crate::sequencer::rewriting::{Done, Work};
use crate::sequencer::{Sequencer, now_ms};

/// Bounds what closing a segment adds to a frame.
const CLOSING_BYTES: usize = 64;

/// Is a partition worth a pass.
struct Candidate {
    partition: Arc<Partition>,
    outlook: Outlook,
    next_offset: u64,
    rules: Rules,
}

/// Is what a look at all partitions comes to.
#[derive(Default)]
struct Look {
    best: Option<Candidate>,
    /// Segments to be closed.
    closes: Vec<Change>,
    dirty_ratio_max: f64,
}

impl Sequencer {
    /// Goes on with the compaction that is under way, or begins the one most worth it, now and then. To be called between groups: what is
    /// staged is not in the segments yet.
    pub(super) fn compact_if_due(&mut self) -> Result<(), Error> {
        self.collect_rewritten();
        if self.is_checkpointing() {
            return Ok(());
        }
        if let Some((pass, since)) = self.rewrites.take_pass() {
            return self.start_step(pass, since, self.config.segment_bytes);
        }
        let now = Instant::now();
        if now < self.next_compaction || self.rewrites.is_busy() {
            return Ok(());
        }
        self.next_compaction = now + self.config.compaction_interval;
        let Look { best, closes, dirty_ratio_max } = self.look_for_compaction(now);
        self.observer.looked_for_compaction(dirty_ratio_max);
        let bytes = FRAME_HEADER_BYTES + CLOSING_BYTES * closes.len();
        if !closes.is_empty() && self.journal.reserve(bytes as u64)? {
            self.stage_changes(now_ms(), closes, &[]);
            self.finish_group()?;
            // What is closed can be compacted at once.
            self.next_compaction = now;
        }
        let Some(Candidate { partition, outlook, next_offset, rules }) = best else { return Ok(()) };
        let step_bytes = outlook.bytes().min(rules.segment_bytes);
        self.start_step(Pass::new(&partition, &outlook, next_offset, rules), now, step_bytes)
    }

    /// Begins a step that writes about so many bytes; without room for them the pass is given up, and begun again at a later look.
    fn start_step(&mut self, mut pass: Pass, since: Instant, bytes: u64) -> Result<(), Error> {
        if self.missing_room(bytes + self.config.reserve_bytes)?.is_some() {
            return Ok(());
        }
        let (store, partition) = (self.writer.store().clone(), pass.partition().clone());
        let (work, number) = (Work::Compaction { partition: partition.key() }, self.swap_number());
        self.start_rewriting(&partition, work, self.config.compaction_bytes_per_second, move |brake| {
            let step = pass.step(&store.files, brake, number)?;
            let mut told = Compacted {
                partition: pass.partition().name().clone(),
                bytes_before: 0,
                bytes_after: 0,
                records_removed: 0,
                ended_after: pass.is_through().then(|| since.elapsed()),
            };
            let replacement = step.map(|step| {
                (told.bytes_before, told.bytes_after) = (step.bytes_before, step.bytes_after);
                told.records_removed = step.removed;
                step.replacement
            });
            Ok(Done { replacement, compaction: Some((pass, since, told)) })
        })
    }

    fn look_for_compaction(&self, now: Instant) -> Look {
        let (now_ms, mut look, mut best_ratio) = (now_ms(), Look::default(), 0.0);
        let worth = Worth {
            dirty_percent: self.config.min_cleanable_dirty_percent,
            bytes_min: self.config.compaction_bytes_min,
            age_ms: self.config.segment_age_ms,
        };
        for live in self.writer.topics().filter(|live| live.topic.config.cleanup.compacts()) {
            let (topic, config) = (live.topic.id, &live.topic.config);
            let Some(held) = self.state.topic_by_id(&topic) else { continue };
            let rules = Rules {
                now_ms,
                tombstone_retention_ms: config.tombstone_retention_ms,
                segment_bytes: self.config.segment_bytes,
                map_bytes: self.config.compaction_map_bytes,
            };
            for (partition, offsets) in live.partitions.iter().zip(&held.partitions) {
                let (extents, number) = (partition.extents(), partition.name().partition.0);
                let Some(last) = extents.last() else { continue };
                let pin = self.config.pins.lowest((topic, &live.topic.name), number);
                let bounds = Bounds {
                    grows: offsets.segment.is_some_and(|segment| segment.base_offset == last.base_offset),
                    next_offset: offsets.next_offset,
                    floor: pin.map_or(u64::MAX, |(_, offset)| offset),
                    lag_ms: config.min_compaction_lag_ms,
                    now_ms,
                };
                let outlook = Outlook::of(&extents, bounds);
                look.dirty_ratio_max = look.dirty_ratio_max.max(outlook.dirty_ratio());
                if outlook.should_close(&worth, now_ms) {
                    look.closes.push(Change::SegmentClosed { topic, partition: number });
                }
                let is_free = !self.rewrites.is_put_off(partition.key(), now);
                if is_free && outlook.is_due(&worth, now_ms) && outlook.dirty_ratio() > best_ratio {
                    best_ratio = outlook.dirty_ratio();
                    let (partition, next_offset) = (partition.clone(), offsets.next_offset);
                    look.best = Some(Candidate { partition, outlook, next_offset, rules });
                }
            }
        }
        look
    }
}
