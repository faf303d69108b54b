//! What time brings: lines without an end are flushed, renamed and deleted files let go, sums made, the checkpoint saved.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use skidway_wire::Item;

use super::admission::key;
use super::{FileSlot, Follow};
use crate::checkpoint::file::{Encoded, encode};
use crate::frame::strands::Kept;
use crate::health::Waiting;
use crate::metrics;
use crate::pipeline::reading::Unfinished;
use crate::pipeline::source::{GoesOn, Name, Source};
use crate::status::{FileStatus, Limits, Status, Totals};

/// How often sums are made while anything happens, and files without a name are looked at.
const TALLY_INTERVAL: Duration = Duration::from_secs(1);
/// A file whose time has come and that cannot have a turn now is asked again after this.
const TIMER_MIN: Duration = Duration::from_millis(50);
/// Sources are remembered so long after they were gone, as in the log.
const GONE_KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1000;
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);

/// Wakes files up. A file may be woken for nothing: whoever set the timer looks again.
#[derive(Debug, Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(Instant, FileSlot)>>);

impl Timers {
    pub(super) fn set(&mut self, at: Instant, slot: FileSlot) {
        self.0.push(Reverse((at, slot)));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    fn take_due(&mut self, now: Instant) -> Option<FileSlot> {
        self.next().filter(|at| *at <= now)?;
        self.0.pop().map(|Reverse((_, slot))| slot)
    }
}

impl Follow {
    /// Wakes the files whose time has come: blocked ones, and those quiet since a line without its end.
    pub(super) fn fire_timers(&mut self) {
        while let Some(slot) = self.timers.take_due(self.now) {
            let Some(source) = self.sources.get_mut(&slot) else { continue };
            source.has_timer = false;
            if source.blocked.take_if(|blocked| blocked.until <= self.now).is_some() {
                source.is_dirty = true;
                self.has_changed(slot);
                continue;
            }
            self.reassess |= !source.is_associated;
            let Some(after) = source.flush_after else {
                self.settle_damage(slot);
                self.has_changed(slot);
                continue;
            };
            let due = source.last_growth + after;
            source.is_dirty = true;
            if due <= self.now && source.wants_turn() && source.goes_on == GoesOn::Here {
                source.flush_after = None;
                self.take_turn(slot, Unfinished::Flush);
            } else {
                source.has_timer = true;
                self.timers.set(due.max(self.now + TIMER_MIN), slot);
            }
        }
    }

    /// Does what is to be done now and then.
    pub(super) fn keep_up(&mut self) {
        if self.now >= self.next_tally {
            self.tally();
            self.next_tally = self.now + TALLY_INTERVAL;
            self.let_go();
        }
        if self.now >= self.next_checkpoint && self.checkpoint_changed {
            self.save_checkpoint();
        }
        self.mark_inputs_opened();
        if self.session.is_none() && !self.is_stopping {
            self.open_session();
        }
    }

    /// Tells when there is upkeep to do; `None` while nothing changes.
    pub(super) fn upkeep_deadline(&self) -> Option<Instant> {
        let is_busy = self.has_nameless || self.totals.bytes_behind > 0 || self.oldest_waiting.is_some();
        let tally = is_busy.then_some(self.next_tally);
        let checkpoint = self.checkpoint_changed.then_some(self.next_checkpoint);
        tally.into_iter().chain(checkpoint).chain(self.succession_deadline()).min()
    }

    /// Hands over the last checkpoint, waiting for the writer.
    pub(super) fn save_last_checkpoint(&mut self) {
        if self.checkpoint_changed && self.parts.checkpoints.send(self.checkpoint()).is_err() {
            tracing::warn!("the last checkpoint is not saved; going on without");
        }
    }

    /// Marks the inputs as opened once all that their first scan found has begun.
    fn mark_inputs_opened(&mut self) {
        let Some(starting) = &mut self.starting else { return };
        if self.session.is_none() {
            return;
        }
        starting.retain(|slot| self.sources.get(slot).is_some_and(|source| source.is_starting()));
        if !starting.is_empty() {
            return;
        }
        self.starting = None;
        for input in &self.parts.config.inputs {
            if !self.opened_inputs.contains(&input.name) {
                self.notices.push_back(Item::Opened { input: input.name.clone() });
            }
        }
    }

    /// Lets go of files without a name that are read to their end and quiet.
    fn let_go(&mut self) {
        let nameless = self.sources.iter().filter(|(_, source)| source.name != Name::Found);
        let nameless: Vec<FileSlot> = nameless.map(|(slot, _)| *slot).collect();
        self.has_nameless = !nameless.is_empty();
        for slot in nameless {
            // Before it is let go of it is looked at once more: it may have grown since the last look.
            self.look_for_growth(slot);
            if self.is_over(slot) && !self.go_on_in_archive(slot) {
                self.finish(slot);
            }
        }
        if self.has_nameless || self.deleted.bytes > 0 {
            self.bound_deleted();
        }
    }

    /// Tells whether a file is read to its end and has been quiet for as long as files without a name are followed.
    fn is_over(&self, slot: FileSlot) -> bool {
        let renamed_follow = self.parts.config.agent.renamed_follow;
        self.sources.get(&slot).is_some_and(|source| {
            let quiet = self.now.saturating_duration_since(source.last_growth);
            source.is_settled() && !source.is_dirty && quiet >= renamed_follow
        })
    }

    /// A file without a name may have no watch either.
    fn look_for_growth(&mut self, slot: FileSlot) {
        let Some(source) = self.sources.get_mut(&slot) else { return };
        let before = source.file.stat_now().map(|stat| source.file.has_changed(&stat));
        match source.file.stat() {
            Ok(_) if before.unwrap_or(false) => self.mark_dirty(slot),
            Ok(stat) if stat.links == 0 => source.name = Name::Deleted,
            Ok(_) | Err(_) => {}
        }
    }

    /// Lets go of a file that is read to its end.
    pub(super) fn finish(&mut self, slot: FileSlot) {
        let Some(source) = self.sources.get_mut(&slot) else { return };
        if source.kept != Kept::Nothing {
            source.is_dirty = true;
            return self.take_turn(slot, Unfinished::Flush);
        }
        tracing::info!(path = %source.path.display(), source = %source.id, "read to its end and quiet; letting go of it");
        source.finish();
        self.has_changed(slot);
    }

    /// Forgets a followed file; should it come back, the collector's knowledge of it is at hand.
    pub(super) fn drop_source(&mut self, slot: FileSlot) {
        let Some(source) = self.forget_file(slot) else { return };
        // A copy or an archive may have waited for it.
        self.reassess = true;
        self.checkpoint_changed = true;
        if let Some(session) = &self.session {
            let (input, now_ms) = (&self.parts.config.inputs[source.input].name, super::now_ms());
            self.unattached.retain(|stored| stored.gone_at_ms.is_none_or(|at_ms| now_ms - at_ms < GONE_KEPT_MS));
            self.reported_gone.insert(source.id);
            self.unattached.push(source.into_stored(session.agent.clone(), input, now_ms));
        }
    }

    /// Lets go of a file, whatever source it has.
    pub(super) fn forget_file(&mut self, slot: FileSlot) -> Option<Box<Source>> {
        let source = self.sources.remove(&slot)?;
        self.bytes_held -= source.bytes_held();
        let key = key(&source.physical());
        if self.by_file.get(&key) == Some(&slot) {
            self.by_file.remove(&key);
        }
        self.parts.watcher.unbind(source.file.real_path(), slot);
        self.leave_archive(slot);
        self.open_files.recount(slot, false);
        self.stems.remove(slot, &source);
        self.successions.forget(slot, &source);
        Some(source)
    }

    /// Makes the sums.
    pub(super) fn tally(&mut self) {
        let mut behind = 0;
        let mut oldest: Option<(Instant, FileSlot)> = None;
        for (slot, source) in &self.sources {
            behind += source.bytes_behind();
            let waiting = source.waiting_since().map(|since| (since, *slot));
            oldest = [oldest, waiting].into_iter().flatten().min();
        }
        self.checkpoint_changed |= behind > 0;
        self.oldest_waiting = oldest.map(|(since, _)| since);
        let age = self.age_of(self.oldest_waiting);
        let oldest_unacknowledged_ms = age.as_millis() as u64;
        self.totals =
            Totals { bytes_behind: behind, files: self.sources.len(), oldest_unacknowledged_ms, ..self.totals };
        let oldest =
            oldest.and_then(|(since, slot)| Some(Waiting { path: self.sources.get(&slot)?.path.to_path_buf(), since }));
        self.parts.pulse.send_modify(|pulse| pulse.oldest = oldest);
        metrics::backlog(behind, age, self.sources.len());
        metrics::unanswered(self.age_of(self.unanswered_since));
        metrics::read_rate(self.read_rate.measure(self.now), self.read_rate.max());
        metrics::open_files(self.open_files.len(), self.open_files.max());
    }

    fn age_of(&self, since: Option<Instant>) -> Duration {
        since.map_or(Duration::ZERO, |since| self.now.saturating_duration_since(since))
    }

    /// Shows whoever watches that this thread turns over.
    pub(super) fn beat(&self) {
        self.parts.pulse.send_modify(|pulse| {
            pulse.beats += 1;
            pulse.unanswered_since = self.unanswered_since;
        });
    }

    /// Hands the checkpoint to the thread that writes it; if that is still at the last one, the next will do.
    pub(super) fn save_checkpoint(&mut self) {
        self.next_checkpoint = self.now + CHECKPOINT_INTERVAL;
        if self.checkpoint_changed {
            self.checkpoint_changed = self.parts.checkpoints.try_send(self.checkpoint()).is_err();
        }
    }

    fn checkpoint(&self) -> Encoded {
        encode(&self.parts.checkpoint, self.sources.values().map(|source| source.known_acknowledged()))
    }

    /// Puts what followed sources have got acknowledged beside what is known of others: all are matched anew.
    pub(super) fn remember(&mut self) {
        let followed = self.sources.values().filter_map(|source| source.known_acknowledged());
        self.parts.checkpoint.sources.extend(followed);
    }

    /// Tells how things stand.
    pub(super) fn status(&self) -> Status {
        let file = |source: &Source| FileStatus {
            path: source.path.display().to_string(),
            source: source.id.to_string(),
            topic: source.topic.as_str().to_owned(),
            partition: source.partition,
            size: source.known_bytes(),
            position: source.acknowledged,
            bytes_behind: source.bytes_behind(),
            oldest_unacknowledged_ms: self.age_of(source.waiting_since()).as_millis() as u64,
            state: source.state(),
            trouble: source.blocked.as_ref().map(|blocked| blocked.because.clone()),
        };
        let mut files: Vec<FileStatus> = self.sources.values().map(|source| file(source)).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let (skipped, skipped_unnamed) = self.skipped.list();
        let session = self.session.as_ref();
        Status {
            agent: self.parts.config.agent.id.as_str().to_owned(),
            log_id: session.map(|session| session.log_id.to_string()),
            log_epoch: session.map(|session| session.log_epoch),
            session_epoch: session.map(|session| session.epoch),
            refused: self.parts.doors.refused(),
            files,
            skipped,
            skipped_unnamed,
            troubles: self.troubles.list(),
            limits: Limits {
                open_files: self.open_files.len(),
                open_files_max: self.open_files.max(),
                memory_bytes: self.bytes_held,
                memory_bytes_max: self.parts.config.agent.memory_bytes_max,
                read_rate: self.read_rate.measured(),
                read_rate_max: self.read_rate.max(),
                deleted_bytes: self.deleted.bytes,
                deleted_bytes_max: self.parts.config.agent.deleted_files_max,
                deleted_oldest_ms: self.deleted.age.as_millis() as u64,
                deleted_age_max_ms: self.parts.config.agent.deleted_age_max.as_millis() as u64,
            },
            totals: self.totals,
        }
    }
}
