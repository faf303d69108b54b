//! Which followed file is which source: files without one are matched with what the collector knows, or become new ones.

use bytes::Bytes;
use skidway_record::SourceId;
use skidway_record::source::StoredSource;
use skidway_wire::{Item, SpanKind};

use super::admission::key;
use super::{Follow, now_ms};
use crate::checkpoint::Acknowledged;
use crate::config::StartAt;
use crate::discover::matching::{self, Candidate, Reason, Verdict};
use crate::discover::path_bytes;
use crate::flow::FileSlot;
use crate::pipeline::looks::Looks;

const TRUNCATED_UNSEEN: &str = "the file was truncated or rewritten while the agent did not run; what was written after this position is not known";

impl Follow {
    /// Matches every file that has no source yet with what the collector knows, and creates sources for the rest.
    pub(super) fn associate(&mut self) {
        if self.session.is_none() {
            return;
        }
        self.unmatched.retain(|slot| self.sources.get(slot).is_some_and(|source| !source.is_associated));
        self.give_up_missing();
        let may_be_matched = |slot: &FileSlot| !self.leaving.contains_key(&key(&self.sources[slot].physical()));
        let mut slots: Vec<FileSlot> = self.unmatched.iter().copied().filter(may_be_matched).collect();
        // An archive of a file that is still held is that file's, whatever else it looks like.
        slots.retain(|slot| !(self.sources[slot].file.is_archive() && self.is_held(*slot)));
        if slots.is_empty() {
            return;
        }
        // First it is settled what became of truncated files' bytes.
        if self.find_truncated(&slots) && !self.is_settling {
            return;
        }
        let inputs = &self.parts.config.inputs;
        let sources = &self.sources;
        let candidate = |slot: &FileSlot| {
            let source = &sources[slot];
            let (physical, input) = (source.physical(), &inputs[source.input].name);
            Candidate { physical, input, path: &source.path, before: Some(source.id) }
        };
        let candidates: Vec<Candidate<'_>> = slots.iter().map(candidate).collect();
        let mut looks = Looks::new(|file: usize| &sources[&slots[file]].file);
        let verdicts = matching::associate(&self.unattached, &candidates, &mut looks);
        let unreadable = looks.unreadable;
        let is_truncated = |verdict: &Verdict| matches!(verdict, Verdict::Create { supersedes: Some(_), .. });
        if verdicts.iter().any(is_truncated) && !self.is_settling {
            // A copy may be newer than the last look at its folder.
            self.is_settling = true;
            self.scan();
            self.is_settling = false;
            return;
        }
        let decided = slots.into_iter().zip(verdicts).enumerate();
        let readable = decided.filter(|(file, _)| !unreadable.contains_key(file)).map(|(_, decided)| decided);
        let (resumed, mut new): (Vec<_>, Vec<_>) =
            readable.partition(|(_, verdict)| matches!(verdict, Verdict::Resume(..)));
        // What was set aside and renamed just now is found under its new name first: nobody can tell whose it is.
        new.retain(|(slot, _)| self.sources[slot].file.stat_now().is_ok());
        let mut taken = Vec::new();
        // What is new may be a copy of what is resumed, or of what is new and has a shorter name; an archive may be one of any file.
        new.sort_by_key(|(slot, _)| {
            let file = &self.sources[slot];
            (file.file.is_archive(), path_bytes(&file.path).len())
        });
        for (slot, verdict) in resumed.into_iter().chain(new) {
            match verdict {
                Verdict::Resume(index, reason) => {
                    self.resume(slot, index, reason);
                    taken.push(index);
                }
                Verdict::Create { supersedes: Some(id), .. } if self.goes_on_elsewhere(slot, id) => {}
                Verdict::Create { supersedes: None, .. } if self.is_passed_over(slot) || self.is_held(slot) => {}
                Verdict::Create { supersedes, reason } => self.create(slot, supersedes, reason),
            }
            self.find_predecessor(slot);
            self.has_changed(slot);
        }
        taken.sort_unstable_by(|a, b| b.cmp(a));
        for index in taken {
            self.unattached.swap_remove(index);
        }
    }

    fn resume(&mut self, slot: FileSlot, index: usize, reason: Reason) {
        let stored = &self.unattached[index];
        if self.reported_gone.contains(&stored.source.id) {
            tracing::info!(source = %stored.source.id, "a file reported gone is back; opening a new session, which no late copy of the report survives");
            return self.open_session();
        }
        let known = matching::path_of(stored).to_owned();
        self.keep_name(slot, &known);
        let stored = &self.unattached[index];
        let file = self.by_file.get(&key(&stored.source.physical)).and_then(|slot| self.sources.get(slot));
        let is_there = file.is_some_and(|file| file.physical() == stored.source.physical);
        let Some(source) = self.sources.get_mut(&slot) else { return };
        source.resume(stored);
        self.parts.checkpoint.sources.remove(&source.id);
        let known_as = known;
        // The bytes between copying and truncation are in no file, and nobody knows whether there were any.
        if is_there && matches!(reason, Reason::Copy | Reason::Known) {
            source.lose_what_was_not_copied();
        }
        tracing::info!(path = %source.path.display(), source = %source.id, position = stored.position, because = reason.words(), "resumed");
        self.has_lineage(slot, &known_as);
        self.start_at_end_if_asked(slot);
    }

    fn create(&mut self, slot: FileSlot, supersedes: Option<SourceId>, reason: Reason) {
        let Some(source) = self.sources.get_mut(&slot) else { return };
        source.create(supersedes);
        if let Some(id) = supersedes {
            let before = self.unattached.iter_mut().find(|stored| stored.source.id == id);
            if let Some(stored) = before {
                // The collector notes the same when it takes the new source in.
                let stored_before = stored.clone();
                stored.gone_at_ms.get_or_insert(now_ms());
                let rest = self.rest_of(&stored_before);
                self.notices.extend(rest);
                self.notices.push_back(unseen_loss(&stored_before, TRUNCATED_UNSEEN));
            }
        }
        let Some(source) = self.sources.get_mut(&slot) else { return };
        tracing::info!(path = %source.path.display(), source = %source.id, because = reason.words(), "new source");
        if self.continues_old_log {
            self.pass_over_acknowledged(slot);
        }
        self.start_at_end_if_asked(slot);
    }

    /// At an input's first start, `start_at = "end"` passes over all whole lines that are there.
    fn start_at_end_if_asked(&mut self, slot: FileSlot) {
        let Some(source) = self.sources.get_mut(&slot) else { return };
        let input = &self.parts.config.inputs[source.input];
        let is_first_scan =
            self.starting.as_ref().is_some_and(Vec::is_empty) && !self.opened_inputs.contains(&input.name);
        let asked = input.start_at == StartAt::End && is_first_scan && !self.replays;
        if !asked || source.file.position() > 0 || source.acknowledged > 0 {
            return;
        }
        let position = source.file.stat().and_then(|_| source.file.after_last_line(self.parts.reading.buffer()));
        match position {
            Ok(0) => {}
            Ok(position) if source.file.seek(position).unwrap_or(false) => source.skip_to_position(),
            Ok(_) | Err(_) => tracing::warn!(path = %source.path.display(), "cannot find its end; reading all of it"),
        }
    }

    /// On a new log that is to continue the old one, goes on where the old one had acknowledged.
    fn pass_over_acknowledged(&mut self, slot: FileSlot) {
        let Some(source) = self.sources.get_mut(&slot) else { return };
        let physical = source.physical();
        let known =
            self.parts.checkpoint.sources.values().filter(|known| known.physical == physical && known.position > 0);
        let Some(Acknowledged { position, anchor, .. }) = known.max_by_key(|known| known.position).copied() else {
            return;
        };
        let is_there = source.file.seek(position).unwrap_or(false);
        if is_there && (anchor.len == 0 || source.file.anchor() == anchor) {
            source.skip_to_position();
        } else {
            let _start = source.file.seek(0);
        }
    }
}

/// Tells of a loss of which only the start is known.
pub(super) fn unseen_loss(stored: &StoredSource, reason: &str) -> Item {
    Item::Span {
        source: stored.source.id,
        span: stored.position..stored.position,
        kind: SpanKind::Lost { reason: reason.to_owned(), exact: false },
        expected_carry: None,
        carry: Bytes::new(),
        head: stored.source.head,
        anchor: stored.anchor,
        path: None,
        batches: Vec::new(),
        dead: Vec::new(),
    }
}
