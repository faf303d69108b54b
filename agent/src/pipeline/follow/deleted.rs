//! Files that were deleted while they were followed. Held open, they take disk until they are read: so much and so long, with a warning
//! before, and a loss record after.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::admission::key;
use super::{FileSlot, Follow, now_ms};
use crate::metrics;
use crate::pipeline::source::{Loss, Name, Source};

/// Why what was in a file is lost that cannot be opened again.
pub(super) const MISSING: &str = "the file was deleted while it was set aside, descriptors being short";

/// A warning comes when this much of a limit is used, in hundredths.
const WARN_AT: u32 = 80;

/// Holds what is known of deleted files.
#[derive(Debug, Default)]
pub(super) struct DeletedFiles {
    since: HashMap<FileSlot, Since>,
    /// The bytes they take.
    pub(super) bytes: u64,
    /// How long the oldest with bytes unread has waited.
    pub(super) age: Duration,
}

#[derive(Debug)]
struct Since {
    at: Instant,
    is_warned: bool,
}

/// Describes one that is held open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    slot: FileSlot,
    bytes: u64,
    /// Not all of it is acknowledged.
    is_behind: bool,
    /// How long it is deleted; if it is read all the same, since the last progress.
    age: Duration,
}

/// Bounds them.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    bytes_max: u64,
    age_max: Duration,
}

/// Says what becomes of those past the limits, and those near them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Verdicts {
    /// Read to their end; closed before anything is lost.
    finish: Vec<FileSlot>,
    give_up: Vec<FileSlot>,
    warn: Vec<FileSlot>,
}

impl Bounds {
    /// Decides, oldest first.
    fn judge(self, mut held: Vec<Held>) -> Verdicts {
        held.sort_by_key(|it| (it.is_behind, std::cmp::Reverse(it.age), it.slot));
        let mut bytes: u64 = held.iter().map(|it| it.bytes).sum();
        let mut verdicts = Verdicts::default();
        let mut is_first = true;
        for it in held {
            let is_over = bytes > self.bytes_max || (it.is_behind && it.age > self.age_max);
            if is_over {
                bytes -= it.bytes;
                if it.is_behind { &mut verdicts.give_up } else { &mut verdicts.finish }.push(it.slot);
            } else if it.is_behind {
                // The oldest is the next to go.
                let is_next = std::mem::take(&mut is_first);
                let is_near = is_next && u128::from(bytes) * 100 > u128::from(self.bytes_max) * u128::from(WARN_AT);
                if is_near || it.age * 100 > self.age_max * WARN_AT {
                    verdicts.warn.push(it.slot);
                }
            }
        }
        verdicts
    }
}

impl Follow {
    /// Lets go of deleted files that take too much disk or time.
    pub(super) fn bound_deleted(&mut self) {
        let (now, agent) = (self.now, &self.parts.config.agent);
        let bounds = Bounds { bytes_max: agent.deleted_files_max, age_max: agent.deleted_age_max };
        let is_held = |source: &Source| source.name == Name::Deleted && source.file.is_open();
        self.deleted.since.retain(|slot, _| self.sources.get(slot).is_some_and(|source| is_held(source)));
        let mut held = Vec::new();
        for (slot, source) in self.sources.iter().filter(|(_, source)| is_held(source) && !source.is_finishing()) {
            let since = self.deleted.since.entry(*slot).or_insert(Since { at: now, is_warned: false }).at;
            let is_behind = source.bytes_behind() > 0 || !source.is_settled();
            let since = source.waiting_since().map_or(since, |waiting| since.max(waiting));
            let bytes = source.file.stat_now().map_or(source.file.size(), |stat| stat.size);
            held.push(Held { slot: *slot, bytes, is_behind, age: now.saturating_duration_since(since) });
        }
        let behind = held.iter().filter(|it| it.is_behind);
        self.deleted.age = behind.map(|it| it.age).max().unwrap_or_default();
        self.deleted.bytes = held.iter().map(|it| it.bytes).sum();
        metrics::deleted(self.deleted.bytes, self.deleted.age);
        let verdicts = bounds.judge(held);
        verdicts.warn.into_iter().for_each(|slot| self.warn_of_loss(slot));
        for slot in verdicts.finish.into_iter().chain(verdicts.give_up) {
            if !self.go_on_in_archive(slot) && !self.is_found_truncated(slot) {
                self.give_up(slot, true, "the file was deleted and could not be kept until it was read");
            }
        }
    }

    fn warn_of_loss(&mut self, slot: FileSlot) {
        let (Some(since), Some(source)) = (self.deleted.since.get_mut(&slot), self.sources.get(&slot)) else { return };
        if std::mem::replace(&mut since.is_warned, true) {
            return;
        }
        let agent = &self.parts.config.agent;
        tracing::warn!(
            path = %source.path.display(), source = %source.id, bytes_behind = source.bytes_behind(),
            deleted_bytes = self.deleted.bytes, deleted_files_max = agent.deleted_files_max, age = ?self.deleted.age,
            deleted_age_max = ?agent.deleted_age_max,
            "a deleted file is not read yet and will be given up soon: a limit of deleted files is nearly reached"
        );
    }

    /// Lets go of a file with bytes unread, and tells the collector. Its descriptor is closed now, so that the disk has its room back.
    pub(super) fn give_up(&mut self, slot: FileSlot, exact: bool, reason: &'static str) {
        let Some(source) = self.sources.get_mut(&slot).filter(|source| !source.is_finishing()) else { return };
        source.blocked = None;
        self.flush_carry(slot);
        let Some(source) = self.sources.get_mut(&slot) else { return };
        // What was written since the last look is lost too; of a file that cannot be looked at nothing more is known.
        let _nothing_more = source.file.stat();
        let loss = Loss { end: source.file.content_end(), exact, reason };
        let lost = source.give_up(loss);
        source.file.close();
        let path = source.path.display();
        if lost > 0 || !exact {
            tracing::error!(%path, source = %source.id, lost, reason, "giving up a file before it was read");
        } else {
            tracing::info!(%path, source = %source.id, "deleted, and read to its end; letting go of it");
        }
        self.open_files.recount(slot, false);
        self.count_lost(lost);
        self.has_changed(slot);
    }

    /// Gives up files without a source that were set aside and whose names are gone: nobody can read them any more.
    pub(super) fn give_up_missing(&mut self) {
        let is_missing = |source: &Source| source.is_missing() && !self.leaving.contains_key(&key(&source.physical()));
        let is_missing = |slot: &FileSlot| self.sources.get(slot).is_some_and(|source| is_missing(source));
        let missing: Vec<FileSlot> = self.unmatched.iter().copied().filter(is_missing).collect();
        for slot in missing {
            self.unmatched.remove(&slot);
            let Some(source) = self.sources.get(&slot) else { continue };
            let (physical, size) = (source.physical(), source.known_bytes());
            let had_bytes = size > 0 || source.waiting_since().is_some();
            let stored = self.unattached.iter().find(|stored| stored.source.physical == physical).cloned();
            // What it is a copy of, or what was made of it since it grew last, is read elsewhere.
            let is_copy = source.copy_of.is_some() || source.part_of.is_some();
            let quiet = self.now.saturating_duration_since(source.last_growth).as_nanos() as u64;
            let grew_ns = (now_ms() as u64 * 1_000_000).saturating_sub(quiet);
            let is_younger = |file: &Source| file.physical().birth_ns > grew_ns;
            let is_elsewhere =
                is_copy || self.is_named_after_any(&source.path) || self.named_after(&source.path).any(is_younger);
            match stored {
                Some(stored) if stored.gone_at_ms.is_none() => {
                    self.forget_file(slot);
                    self.report_gone(&stored, Some(size));
                }
                None if had_bytes && !is_elsewhere => {
                    self.sources.get_mut(&slot).into_iter().for_each(|source| source.create(None));
                    self.give_up(slot, false, MISSING);
                }
                _ => _ = self.forget_file(slot),
            }
        }
    }

    /// In a new session: what was given up is still lost, and so is what was read before and not acknowledged.
    pub(super) fn give_up_again(&mut self) {
        let given_up: Vec<FileSlot> =
            self.sources.iter().filter(|(_, source)| source.is_given_up()).map(|(slot, _)| *slot).collect();
        for slot in given_up {
            self.unmatched.remove(&slot);
            let Some(source) = self.sources.get_mut(&slot) else { continue };
            let at = self.unattached.iter().position(|stored| stored.source.id == source.id);
            let stored = at.map(|at| self.unattached.swap_remove(at));
            let more = source.stand_given_up(stored.as_ref());
            self.flush_carry(slot);
            self.sources.get_mut(&slot).into_iter().for_each(|source| source.give_up_again());
            self.count_lost(more);
            self.has_changed(slot);
        }
    }

    pub(super) fn count_lost(&mut self, bytes: u64) {
        self.totals.lost_bytes += bytes;
        metrics::lost(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(held: &[(u64, bool, u64)]) -> (Vec<u64>, Vec<u64>, Vec<u64>) {
        let held = held.iter().enumerate().map(|(slot, &(bytes, is_behind, age))| {
            let (slot, age) = (FileSlot(slot as u64), Duration::from_secs(age));
            Held { slot, bytes, is_behind, age }
        });
        let bounds = Bounds { bytes_max: 100, age_max: Duration::from_secs(60) };
        let Verdicts { finish, give_up, warn } = bounds.judge(held.collect());
        let numbers = |slots: Vec<FileSlot>| slots.into_iter().map(|slot| slot.0).collect();
        (numbers(finish), numbers(give_up), numbers(warn))
    }

    #[test]
    fn the_oldest_go_first_and_those_read_to_their_end_before_any_other() {
        let (none, cases) = (
            vec![],
            [
                (vec![(50, true, 1), (30, true, 2)], (vec![], vec![], vec![])),
                (vec![(50, true, 1), (31, true, 2)], (vec![], vec![], vec![1])),
                (vec![(50, true, 1), (51, true, 2)], (vec![], vec![1], vec![])),
                (vec![(50, true, 3), (51, false, 1)], (vec![1], vec![], vec![])),
                (vec![(50, true, 3), (51, false, 1), (60, false, 2)], (vec![2, 1], vec![], vec![])),
                (vec![(200, true, 3), (51, false, 1)], (vec![1], vec![0], vec![])),
                (vec![(1, true, 49), (1, true, 48), (1, true, 61), (1, false, 99)], (vec![], vec![2], vec![0])),
            ],
        );
        for (held, expected) in cases {
            assert_eq!(judge(&held), expected, "{held:?}");
        }
        assert_eq!(judge(&[]), (none.clone(), none.clone(), none));
    }
}
