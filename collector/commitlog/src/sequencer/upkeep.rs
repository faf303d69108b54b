//! What the sequencer does beside commits: retention, forgetting, checkpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::checkpoint::{Plan, SYNC_THREADS_ALONE, SYNC_THREADS_BESIDE, Snapshot};
use crate::effects::Change;
use crate::error::Error;
use crate::frame;
use crate::journal::Journal;
use crate::replacement::Replacement;
use crate::sequencer::{Sequencer, now_ms};

/// Idempotent producers are forgotten so long after their last request.
const PRODUCER_KEPT_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// Sources are forgotten so long after they were gone.
const SOURCE_KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// Bounds what one log-start move adds to a frame.
const LOG_START_BYTES: u64 = 64;

/// Is a checkpoint that runs beside commits.
pub(super) struct Checkpointing {
    /// Set before the sequencer is nudged: the thread itself may end a little later.
    is_done: Arc<AtomicBool>,
    pub(super) thread: JoinHandle<()>,
}

impl Checkpointing {
    fn has_ended(&self) -> bool {
        self.is_done.load(Ordering::Acquire) || self.thread.is_finished()
    }
}

impl Sequencer {
    /// Moves log starts by retention and forgets what has not been heard of, now and then.
    pub(super) fn stage_upkeep_if_due(&mut self) -> Result<(), Error> {
        if Instant::now() < self.next_upkeep {
            return Ok(());
        }
        self.next_upkeep = Instant::now() + self.config.retention_interval;
        let mut changes = self.log_start_moves();
        let (producers_before_ms, sources_before_ms) = (now_ms() - PRODUCER_KEPT_MS, now_ms() - SOURCE_KEPT_MS);
        if self.state.would_forget(producers_before_ms, sources_before_ms) {
            changes.push(Change::Forgotten { producers_before_ms, sources_before_ms });
        }
        let bytes = frame::FRAME_HEADER_BYTES as u64 + LOG_START_BYTES * (1 + changes.len() as u64);
        let staged_bytes = self.group.len() as u64;
        if self.journal.reserve(staged_bytes + bytes)? {
            self.stage_changes(now_ms(), changes, &[]);
        }
        self.merge_if_due()
    }

    fn log_start_moves(&self) -> Vec<Change> {
        let now_ms = now_ms();
        let mut overdue = Vec::new();
        for live in self.writer.topics() {
            let (topic, config) = (live.topic.id, &live.topic.config);
            // A topic deleted in this very group is no longer in the state.
            let Some(held) = self.state.topic_by_id(&topic) else { continue };
            for (partition, offsets) in live.partitions.iter().zip(&held.partitions) {
                // What this group appends is not in the segments yet; next time.
                if partition.shown().1 != offsets.next_offset {
                    continue;
                }
                let extents = partition.extents();
                let (of, number) = ((topic, &live.topic.name), partition.name().partition.0);
                let reaches = (&extents[..], offsets.next_offset);
                overdue.extend(self.config.pins.overdue(of, number, reaches, config, now_ms));
            }
        }
        let starts = self.config.pins.settle(overdue).into_iter();
        let moved = starts.filter(|(topic, partition, start)| {
            let held = self.state.topic_by_id(topic);
            held.is_some_and(|held| held.partitions[*partition as usize].log_start < *start)
        });
        moved.map(|(topic, partition, log_start)| Change::LogStartMoved { topic, partition, log_start }).collect()
    }

    pub(super) fn checkpoint_if_due(&mut self) -> Result<(), Error> {
        let bytes = self.journal.bytes() + self.direct_bytes;
        let frees = !self.writer.garbage.is_empty() || self.rewrites.has_written();
        let is_due = bytes >= self.config.checkpoint_bytes || frees;
        let is_overdue = bytes >= 2 * self.config.checkpoint_bytes;
        if !is_due || (self.is_checkpointing() && !is_overdue) {
            return Ok(());
        }
        self.wait_for_checkpoint()?;
        let plan = self.begin_checkpoint()?;
        let (store, queue) = (self.writer.store().clone(), self.queue.clone());
        self.is_swapping = !plan.replacements.is_empty();
        let is_done = Arc::new(AtomicBool::new(false));
        let flag = is_done.clone();
        let work = move || match plan.run(&store.files) {
            Ok(()) => {
                flag.store(true, Ordering::Release);
                queue.nudge();
            }
            Err(error) => queue.fail(error),
        };
        let thread = std::thread::Builder::new().name("skidway-checkpoint".to_owned()).spawn(work);
        let thread = thread.map_err(Error::io("start the checkpoint of", &self.config.data_dir))?;
        self.checkpoint = Some(Checkpointing { is_done, thread });
        Ok(())
    }

    pub(super) fn is_checkpointing(&self) -> bool {
        self.checkpoint.as_ref().is_some_and(|running| !running.has_ended())
    }

    /// Begins the next journal file and takes the state as it is before its first frame.
    fn begin_checkpoint(&mut self) -> Result<Plan, Error> {
        // No frame of the new file may follow one that is not durable.
        self.sync()?;
        self.direct_bytes = 0;
        let number = self.journal.number() + 1;
        let (dir, step) = (self.config.data_dir.clone(), self.config.journal_step_bytes);
        self.journal = Journal::create(self.disk.as_ref(), &dir, number, rand::random(), step)?;
        let mut extents = self.writer.extents()?;
        let replacements = self.take_rewritten(&mut extents);
        let swaps = replacements.iter().flat_map(Replacement::swaps).collect();
        Ok(Plan {
            dir,
            snapshot: Snapshot { state: &self.state, journal: number, extents, swaps }.encode(),
            journal: number,
            dirty: std::mem::take(&mut self.writer.dirty),
            sync_threads: SYNC_THREADS_BESIDE,
            replacements,
            garbage: std::mem::take(&mut self.writer.garbage),
        })
    }

    pub(super) fn wait_for_checkpoint(&mut self) -> Result<(), Error> {
        self.is_swapping = false;
        if let Some(running) = self.checkpoint.take() {
            running
                .thread
                .join()
                .map_err(|_| Error::Halted { reason: "the checkpoint's thread panicked".to_owned() })?;
        }
        self.queue.check()
    }

    pub(super) fn save_at_the_end(&mut self) -> Result<(), Error> {
        self.wait_for_checkpoint()?;
        let plan = Plan { sync_threads: SYNC_THREADS_ALONE, ..self.begin_checkpoint()? };
        plan.run(&self.writer.store().files)
    }
}
