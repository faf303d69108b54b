//! The one thread that decides: it drains the queue, checks against staged state, makes the group durable, shows it, answers all.
//!
//! Rejections are answered with the group too, so that no answer tells of anything a power cut could take. Any failed write or sync ends
//! the thread: what is true then, the next start decides. A full disk is found before anything is staged, and merely refuses.

mod compacting;
mod merging;
mod rewriting;
mod room;
mod upkeep;

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use skidway_disk::Disk;
use skidway_record::{Batch, Offset};

use crate::ballast::Ballast;
use crate::commit::{Commit, Committed, Target, TopicChange};
use crate::config::{Config, Durability};
use crate::decide::{Circumstances, check_pins, decide_commit, decide_defaults, decide_session, decide_topic};
use crate::effects::{Change, Effects};
use crate::error::Error;
use crate::frame;
use crate::journal::Journal;
use crate::log::{Observer, TopicAltered};
use crate::partition::SegmentLimits;
use crate::queue::{End, Queue};
use crate::recovery::Recovered;
use crate::request::{Answer, Request};
use crate::sequencer::rewriting::Rewrites;
use crate::sequencer::room::Room;
use crate::sequencer::upkeep::Checkpointing;
use crate::state::State;
use crate::unsynced::Unsynced;
use crate::writer::{Batches, Writer};

/// Batch bytes that share one sync; what comes later waits for the next.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// Bounds what one topic adds to a frame.
const TOPIC_BYTES_MAX: usize = 512;

/// Owns the state, the journal and the segments' ends.
pub(crate) struct Sequencer {
    config: Config,
    disk: Arc<dyn Disk>,
    ballast: Arc<Ballast>,
    observer: Arc<dyn Observer>,
    queue: Arc<Queue>,
    state: State,
    writer: Writer,
    journal: Journal,
    /// The last commit known durable.
    durable_lsn: u64,
    /// What was written straight to segments and is not synced.
    unsynced: Unsynced,
    /// Bytes written so since the last checkpoint.
    direct_bytes: u64,
    checkpoint: Option<Checkpointing>,
    /// The checkpoint that runs puts new segments into the places of others.
    is_swapping: bool,
    rewrites: Rewrites,
    next_upkeep: Instant,
    next_compaction: Instant,
    requests: Vec<Request>,
    /// Frames of this group.
    group: Vec<u8>,
    staged: Vec<Staged>,
    answers: Vec<Answer>,
}

/// Holds a commit whose frame is in the group; its batches begin at a place of it.
struct Staged {
    effects: Effects,
    batches_start: usize,
    batches_end: usize,
    /// Its batches that are not in the frame.
    direct: Vec<Batch>,
}

impl Sequencer {
    /// Takes over a recovered log.
    pub(crate) fn new(
        config: Config,
        (disk, ballast): (Arc<dyn Disk>, Arc<Ballast>),
        observer: Arc<dyn Observer>,
        queue: Arc<Queue>,
        recovered: Recovered,
    ) -> Self {
        let Recovered { state, writer, journal, .. } = recovered;
        Self {
            durable_lsn: state.lsn,
            next_upkeep: Instant::now() + config.retention_interval,
            next_compaction: Instant::now() + config.compaction_interval,
            config,
            disk,
            ballast,
            observer,
            queue,
            state,
            writer,
            journal,
            unsynced: Unsynced::default(),
            direct_bytes: 0,
            checkpoint: None,
            is_swapping: false,
            rewrites: Rewrites::default(),
            requests: Vec::new(),
            group: Vec::new(),
            staged: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Works until the log is closed.
    ///
    /// # Errors
    /// What made it stop before; every request was answered then, and later ones are.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        let ended = self.serve();
        if let Err(error) = &ended {
            tracing::error!(%error, "the log stops");
            self.observer.halted(error);
            let halted = error.halted();
            self.queue.refuse(&halted);
            self.answers.drain(..).for_each(|answer| answer.fail(&halted));
            self.requests.drain(..).for_each(|request| request.fail(&halted));
        }
        ended
    }

    fn serve(&mut self) -> Result<(), Error> {
        self.ballast.take()?;
        self.stage_defaults()?;
        self.finish_group()?;
        loop {
            let next = self.next_upkeep.min(self.next_compaction);
            let timeout = next.saturating_duration_since(Instant::now());
            let end = self.queue.take(&mut self.requests, GROUP_BYTES_MAX, timeout)?;
            if end == End::Abandoned {
                self.queue.refuse(&Error::Closed);
                self.requests.drain(..).for_each(|request| request.fail(&Error::Closed));
                return self.wait_for_checkpoint();
            }
            self.stage_requests()?;
            self.stage_upkeep_if_due()?;
            self.finish_group()?;
            if end == End::Closing {
                return self.save_at_the_end();
            }
            self.compact_if_due()?;
            self.checkpoint_if_due()?;
        }
    }

    fn stage_requests(&mut self) -> Result<(), Error> {
        if self.requests.is_empty() {
            return Ok(());
        }
        let room = self.room()?;
        let mut requests = std::mem::take(&mut self.requests);
        self.group.reserve(requests.iter().map(Request::usual_bytes).sum());
        for request in requests.drain(..) {
            let answer = match &room {
                Room::Reserve(full) if request.grows() => {
                    request.fail(full);
                    continue;
                }
                Room::Nothing(full) if request.bytes() > 0 => {
                    request.fail(full);
                    continue;
                }
                _ => self.stage(request)?,
            };
            self.answers.push(answer);
        }
        self.requests = requests;
        Ok(())
    }

    fn stage(&mut self, request: Request) -> Result<Answer, Error> {
        Ok(match request {
            Request::Commit(commit, done) => Answer::Commit(self.stage_commit(&commit), done),
            Request::Session { open, follows, done } => {
                let decided = decide_session(&self.state, &open, follows);
                let opened = decided.map(|(changes, session)| {
                    self.stage_changes(now_ms(), changes, &[]);
                    session
                });
                Answer::Session(opened.map_err(Error::Refused), done)
            }
            Request::Topic(change, done) => Answer::Topic(self.stage_topic(&change), done),
            Request::Defaults(defaults, done) => {
                self.config.topics = defaults;
                self.stage_defaults()?;
                Answer::Defaults(done)
            }
            Request::Sources { agent, after, limit, done } => {
                Answer::Sources(self.state.sources_of(&agent, after, limit), done)
            }
            Request::Agents(done) => Answer::Agents(self.state.agents().cloned().collect(), done),
        })
    }

    /// Lets topics follow what they inherit. On a full disk they do so at the next start.
    fn stage_defaults(&mut self) -> Result<(), Error> {
        let changes = decide_defaults(&self.state, &self.config.topics);
        let bytes = frame::FRAME_HEADER_BYTES + changes.len() * TOPIC_BYTES_MAX;
        if self.journal.reserve((self.group.len() + bytes) as u64)? {
            self.stage_changes(now_ms(), changes, &[]);
        }
        Ok(())
    }

    fn stage_commit(&mut self, commit: &Commit) -> Result<Committed, Error> {
        let now_ms = now_ms();
        let (changes, committed) = self.decide(now_ms, |state, given| decide_commit(state, commit, given))?;
        self.stage_changes(now_ms, changes, &commit.batches);
        Ok(committed)
    }

    fn stage_topic(&mut self, change: &TopicChange) -> Result<TopicAltered, Error> {
        let now_ms = now_ms();
        check_pins(&self.state, &self.config.pins, change)?;
        let (changes, altered) = self.decide(now_ms, |state, given| decide_topic(state, change, given))?;
        self.stage_changes(now_ms, changes, &[]);
        Ok(altered)
    }

    fn decide<T>(&self, now_ms: i64, decide: impl FnOnce(&State, &mut Circumstances<'_>) -> T) -> T {
        let segments = SegmentLimits { bytes: self.config.segment_bytes, age_ms: self.config.segment_age_ms };
        let mut mint = rand::random;
        decide(&self.state, &mut Circumstances { topics: &self.config.topics, segments, now_ms, mint: &mut mint })
    }

    /// Puts a decided commit's frame into the group, and its effects into the staged state.
    fn stage_changes(&mut self, at_ms: i64, changes: Vec<Change>, batches: &[(Target, Batch)]) {
        if changes.is_empty() {
            return;
        }
        let mut effects = Effects { at_ms, changes };
        let direct = self.take_direct(&mut effects, batches);
        let place = (self.state.lsn + 1, self.durable_lsn, self.journal.file_id());
        let batches_start = frame::write(&mut self.group, place, &effects, |out| {
            for (append, (_, batch)) in effects.appends().zip(batches) {
                if append.direct.is_none() {
                    batch.append_to(Offset(append.base_offset), out);
                }
            }
        });
        self.state.apply(&effects);
        self.staged.push(Staged { effects, batches_start, batches_end: self.group.len(), direct });
    }

    /// Chooses the batches that are written once, straight to their segments, and stamps them.
    fn take_direct(&self, effects: &mut Effects, batches: &[(Target, Batch)]) -> Vec<Batch> {
        let mut direct = Vec::new();
        for (append, (_, batch)) in effects.appends_mut().zip(batches) {
            if batch.bytes().len() >= self.config.inline_batch_bytes_max && self.writer.takes_direct(append) {
                let stamped = batch.clone().with_base_offset(Offset(append.base_offset));
                append.direct = Some(crc32c::crc32c(stamped.bytes()));
                direct.push(stamped);
            }
        }
        direct
    }

    /// Makes the group durable, shows it, and answers.
    fn finish_group(&mut self) -> Result<(), Error> {
        if !self.staged.is_empty() {
            self.make_durable()?;
            self.carry_out()?;
        }
        self.answers.drain(..).for_each(Answer::give);
        Ok(())
    }

    fn make_durable(&mut self) -> Result<(), Error> {
        let started = Instant::now();
        for Staged { effects, direct, .. } in &self.staged {
            self.writer.write_direct(effects, direct, &mut self.unsynced)?;
            self.direct_bytes += direct.iter().map(|batch| batch.bytes().len() as u64).sum::<u64>();
        }
        self.journal.append(&self.group)?;
        if self.config.durability == Durability::Fsync {
            self.sync()?;
        }
        self.observer.synced(started.elapsed(), self.staged.len());
        Ok(())
    }

    /// Makes all that was appended durable: the journal, and what was written straight to segments.
    fn sync(&mut self) -> Result<(), Error> {
        let journal = &self.journal;
        self.unsynced.sync(self.disk.as_ref(), || journal.sync())?;
        self.durable_lsn = self.state.lsn;
        Ok(())
    }

    fn carry_out(&mut self) -> Result<(), Error> {
        let staged = std::mem::take(&mut self.staged);
        let group = Bytes::from(std::mem::take(&mut self.group));
        for Staged { effects, batches_start, batches_end, direct } in staged {
            self.make_way(&effects)?;
            let inline = group.slice(batches_start..batches_end);
            let batches = Batches { inline, direct: direct.into_iter(), direct_is_written: true };
            self.writer.apply(&effects, batches)?;
        }
        self.writer.flush()?;
        let published = self.writer.publish();
        if let Some(topics) = &published.topics {
            self.observer.topics_changed(topics);
        }
        if !published.advanced.is_empty() {
            self.observer.published(&published.advanced);
        }
        Ok(())
    }
}

impl Sequencer {
    /// Lets end what a commit is in the way of.
    fn make_way(&mut self, effects: &Effects) -> Result<(), Error> {
        for change in &effects.changes {
            match change {
                // A running checkpoint syncs files by their names, which are about to change; so would a later sync.
                Change::TopicDeleted(topic) => {
                    self.wait_for_checkpoint()?;
                    self.rewrites.cancel(Some(topic));
                    self.sync()?;
                }
                // Segments that go must not be those that others are about to be in the places of.
                Change::LogStartMoved { .. } if self.is_swapping => self.wait_for_checkpoint()?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Sequencer {
    /// However the sequencer ends, nothing writes to the data folder once its lock is free.
    fn drop(&mut self) {
        self.rewrites.cancel(None);
        if let Some(running) = self.checkpoint.take()
            && running.thread.join().is_err()
        {
            tracing::error!("the checkpoint's thread panicked");
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
