//! Segments written anew beside the commits: one work at a time, on a thread of its own, swapped in by the next checkpoint.
//!
//! Optional work: whatever fails is put off, and stops nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::brake::Brake;
use crate::checkpoint::Extents;
use crate::compact::Pass;
use crate::effects::TopicId;
use crate::error::Error;
use crate::extent::Extent;
use crate::log::Compacted;
use crate::partition::Partition;
use crate::replacement::{Replacement, SwapNumber};
use crate::sequencer::Sequencer;
use skidway_record::Offset;

/// Segments remembered as not to be merged; beyond that all are tried again.
const GIVEN_UP_MAX: usize = 10_000;

/// A partition whose compaction failed is left alone so long.
const RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// Holds the one work that runs, and what waits for a checkpoint.
#[derive(Debug, Default)]
pub(super) struct Rewrites {
    running: Option<Running>,
    written: Vec<Replacement>,
    /// The compaction that goes on once its last step has taken its place.
    pass: Option<(Pass, Instant)>,
    /// Segments whose merge failed, by their number in this process.
    given_up: HashSet<u64>,
    /// Partitions whose compaction failed, by their number in this process.
    retry_at: HashMap<u64, Instant>,
}

#[derive(Debug)]
struct Running {
    work: Work,
    topic: TopicId,
    brake: Arc<Brake>,
    /// Set before the sequencer is nudged: the thread itself may end a little later.
    is_done: Arc<AtomicBool>,
    thread: JoinHandle<Result<Done, Error>>,
}

impl Running {
    fn has_ended(&self) -> bool {
        self.is_done.load(Ordering::Acquire) || self.thread.is_finished()
    }
}

/// Names a work.
#[derive(Debug)]
pub(super) enum Work {
    /// A segment is merged, by its number in this process.
    Merge { segment: u64 },
    /// A partition is compacted, by its number in this process.
    Compaction { partition: u64 },
}

/// Is what a work comes to.
#[derive(Debug)]
pub(super) struct Done {
    /// What was written; `None` if there was nothing to gain.
    pub(super) replacement: Option<Replacement>,
    /// Of a compaction: where it stands, since when it goes on, and what to tell.
    pub(super) compaction: Option<(Pass, Instant, Compacted)>,
}

impl Rewrites {
    /// Tells whether new segments wait for the next checkpoint.
    pub(super) fn has_written(&self) -> bool {
        !self.written.is_empty()
    }

    /// Tells whether no other work may begin.
    pub(super) fn is_busy(&self) -> bool {
        self.running.is_some() || self.has_written() || self.pass.is_some()
    }

    /// Takes the compaction that goes on, if it may now.
    pub(super) fn take_pass(&mut self) -> Option<(Pass, Instant)> {
        if self.running.is_some() || self.has_written() { None } else { self.pass.take() }
    }

    /// Tells whether a segment is not to be merged.
    pub(super) fn is_given_up(&self, segment: u64) -> bool {
        self.given_up.contains(&segment)
    }

    /// Tells whether a partition is left alone for now.
    pub(super) fn is_put_off(&self, partition: u64, now: Instant) -> bool {
        self.retry_at.get(&partition).is_some_and(|at| now < *at)
    }

    /// Stops the work that runs, if it is on this topic or `None` is given; nothing of it is kept. Gives what it had written.
    pub(super) fn cancel(&mut self, topic: Option<&TopicId>) -> Option<Replacement> {
        let is_meant = |of: &TopicId| topic.is_none_or(|topic| topic == of);
        self.pass.take_if(|(pass, _)| is_meant(&pass.partition().topic()));
        let running = self.running.take_if(|running| is_meant(&running.topic))?;
        running.brake.stop();
        match running.thread.join() {
            Ok(done) => done.ok()?.replacement,
            Err(_) => {
                tracing::error!("the thread that writes segments anew panicked");
                None
            }
        }
    }

    fn put_off(&mut self, work: &Work) {
        match work {
            Work::Merge { segment } => {
                if self.given_up.len() >= GIVEN_UP_MAX {
                    self.given_up.clear();
                }
                self.given_up.insert(*segment);
            }
            Work::Compaction { partition } => {
                let now = Instant::now();
                self.retry_at.retain(|_, at| now < *at);
                self.retry_at.insert(*partition, now + RETRY_AFTER);
            }
        }
    }
}

impl Sequencer {
    /// Tells the files of a work that begins now from those that the checkpoint in force names.
    pub(super) fn swap_number(&self) -> SwapNumber {
        self.journal.number() + 1
    }

    /// Begins a work.
    pub(super) fn start_rewriting(
        &mut self,
        partition: &Arc<Partition>,
        work: Work,
        bytes_per_second: u64,
        run: impl FnOnce(&Brake) -> Result<Done, Error> + Send + 'static,
    ) -> Result<(), Error> {
        let brake = Arc::new(Brake::new(bytes_per_second));
        let is_done = Arc::new(AtomicBool::new(false));
        let (held, queue, flag) = (brake.clone(), self.queue.clone(), is_done.clone());
        let work_and_tell = move || {
            let done = run(&held);
            flag.store(true, Ordering::Release);
            queue.nudge();
            done
        };
        let thread = std::thread::Builder::new().name("skidway-rewrite".to_owned()).spawn(work_and_tell);
        let thread =
            thread.map_err(Error::io("start the thread that writes segments anew of", &self.config.data_dir))?;
        self.rewrites.running = Some(Running { work, topic: partition.topic(), brake, is_done, thread });
        Ok(())
    }

    /// Takes over a work that has ended.
    pub(super) fn collect_rewritten(&mut self) {
        let ended = self.rewrites.running.take_if(|running| running.has_ended());
        let Some(ended) = ended else { return };
        match ended.thread.join() {
            Ok(Ok(Done { replacement, compaction })) => {
                if let Some(new) = replacement {
                    let store = self.writer.store();
                    store.recent.forget(new.partition().key(), Offset(new.end()));
                    self.rewrites.written.push(new);
                }
                if let Some((pass, since, told)) = compaction {
                    self.observer.compacted(&told);
                    self.rewrites.pass = (!pass.is_through()).then_some((pass, since));
                }
            }
            failed => {
                let reason = failed.map_or("its thread panicked".to_owned(), |failed| format!("{failed:?}"));
                tracing::warn!(reason, work = ?ended.work, "segments are not written anew");
                if matches!(ended.work, Work::Compaction { .. }) {
                    self.observer.compaction_failed();
                }
                self.rewrites.put_off(&ended.work);
            }
        }
    }

    /// Puts new segments into the description of a checkpoint. What belongs to segments or a topic that are gone, or is compacted and
    /// should not be any more, is let go.
    pub(super) fn take_rewritten(&mut self, extents: &mut Extents) -> Vec<Replacement> {
        let mut written = std::mem::take(&mut self.rewrites.written);
        written.retain(|new| {
            let (topic, number) = (new.partition().topic(), new.partition().name().partition.0);
            let Some(held) = self.state.topic_by_id(&topic) else { return false };
            let is_wanted = held.topic.config.cleanup.compacts() || !new.is_compacted();
            let described = extents.iter_mut().find(|(id, partition, _)| (*id, *partition) == (topic, number));
            if is_wanted && described.is_some_and(|(.., described)| describe(described, new)) {
                return true;
            }
            self.writer.garbage.extend(new.paths());
            false
        });
        written
    }
}

/// Puts new segments into the description of a partition; false if those they were made of are not all there.
fn describe(described: &mut Vec<Extent>, new: &Replacement) -> bool {
    let bases: Vec<u64> = described.iter().map(|extent| extent.base_offset).collect();
    let Some(place) = new.place_in(&bases) else { return false };
    described.splice(place, new.extents().iter().cloned());
    true
}
