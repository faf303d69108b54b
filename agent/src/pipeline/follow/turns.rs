//! Whose turn it is: files are read a batch at a time, in fair turns.

use std::time::Instant;

use super::{Follow, TURNS_AT_ONCE, now_ms};
use crate::flow::FileSlot;
use crate::frame::strands::Kept;
use crate::pipeline::reading::{Ask, TurnEnd, Unfinished};
use crate::pipeline::source::Source;

impl Follow {
    /// Gives files their turns, a few at a time. True if others wait for theirs and may have it.
    pub(super) fn take_turns(&mut self) -> bool {
        for _ in 0..TURNS_AT_ONCE {
            if self.is_stopping || self.bytes_held >= self.parts.config.agent.memory_bytes_max {
                return false;
            }
            if !self.turns.is_empty() && !self.read_rate.may_read(self.now) {
                return false;
            }
            let Some(slot) = self.turns.take() else { return false };
            let flushes = self.parts.once && !self.is_followed(slot);
            self.take_turn(slot, if flushes { Unfinished::Flush } else { Unfinished::Wait });
        }
        !self.turns.is_empty()
    }

    /// Tells when those who wait for their turns may have them; `None` unless it is the rate that they wait for.
    pub(super) fn turn_deadline(&self) -> Option<Instant> {
        let has_room = self.bytes_held < self.parts.config.agent.memory_bytes_max;
        (has_room && !self.is_stopping && !self.turns.is_empty()).then(|| self.read_rate.ready_at())
    }

    pub(super) fn take_turn(&mut self, slot: FileSlot, unfinished: Unfinished) {
        if !self.sources.get(&slot).is_some_and(|source| source.wants_turn()) {
            return;
        }
        let opened = self.hold_open(slot);
        let Some(source) = self.sources.get_mut(&slot) else { return };
        let input = &self.parts.config.inputs[source.input];
        let held_before = source.bytes_held();
        let Some(encoding) = source.settled_encoding(input.encoding) else {
            source.is_dirty = false;
            return;
        };
        let ask = Ask::of(input, encoding, unfinished, now_ms()).at_most(self.read_rate.bytes_per_turn());
        let position_before = source.file.position();
        let end = opened.and_then(|()| self.parts.reading.turn(source, ask));
        self.bytes_held += source.bytes_held() - held_before;
        self.read_rate.spend(source.file.position().saturating_sub(position_before));
        source.is_dirty = !matches!(end, Ok(TurnEnd::Quiet { .. }));
        (source.is_behind, source.is_read_out) = (matches!(end, Ok(TurnEnd::More)), false);
        source.is_troubled &= end.is_err();
        match end {
            Ok(TurnEnd::More) => {}
            Ok(TurnEnd::Quiet { kept }) => {
                source.kept = kept;
                if source.file.has_shrunk() {
                    source.lose_what_it_held();
                }
                source.flush_after = match kept {
                    Kept::Nothing => None,
                    Kept::Line => Some(input.partial_flush),
                    Kept::Record => {
                        Some(input.multiline.as_ref().map_or(input.partial_flush, |multiline| multiline.flush))
                    }
                };
                if let Some(after) = source.flush_after {
                    source.has_timer = true;
                    self.timers.set(self.now + after, slot);
                }
                source.is_read_out = kept == Kept::Nothing || unfinished == Unfinished::Flush;
                source.look_who_waits();
            }
            Ok(TurnEnd::Truncated) => {
                source.stop_reading();
                self.truncated.push(slot);
            }
            Err(error) => self.rest(slot, &error),
        }
        if self.sources.get(&slot).is_some_and(|source| !source.is_behind) {
            self.leave_archive(slot);
        }
        self.settle_damage(slot);
        self.has_changed(slot);
    }

    /// Queues a source for whatever it can do next.
    pub(super) fn has_changed(&mut self, slot: FileSlot) {
        let Some(source) = self.sources.get_mut(&slot) else { return };
        if source.is_sendable() && !std::mem::replace(&mut source.is_queued, true) {
            self.sendable.push_back(slot);
            self.sendable_since.get_or_insert(self.now);
        }
        self.queue_turn(slot);
    }

    /// Puts a file that wants a turn in line; of the archives, which keep a decompressor each, one at a time.
    pub(super) fn queue_turn(&mut self, slot: FileSlot) {
        let Some(source) = self.sources.get(&slot).filter(|source| source.wants_turn()) else { return };
        if !source.file.is_archive() || *self.archive.get_or_insert(slot) == slot {
            self.turns.add(slot);
        }
    }

    /// Lets the next archive have its turns.
    pub(super) fn leave_archive(&mut self, slot: FileSlot) {
        if self.archive.take_if(|archive| *archive == slot).is_some() {
            let waits = |other, source: &Source| other != slot && source.file.is_archive() && source.wants_turn();
            let next = self.sources.iter().find(|(other, source)| waits(**other, source)).map(|(slot, _)| *slot);
            next.into_iter().for_each(|next| self.queue_turn(next));
        }
    }

    /// Ships what is carried of a file that is not read any more.
    pub(super) fn flush_carry(&mut self, slot: FileSlot) {
        let Some(source) = self.sources.get_mut(&slot).filter(|source| source.carry.pending.is_some()) else { return };
        let (input, held_before) = (&self.parts.config.inputs[source.input], source.bytes_held());
        self.parts.reading.flush_carry(source, Ask::of(input, input.encoding, Unfinished::Flush, now_ms()));
        self.bytes_held += source.bytes_held() - held_before;
    }

    pub(super) fn end_incarnation(&mut self, slot: FileSlot) {
        self.flush_carry(slot);
        let Some(source) = self.sources.get_mut(&slot) else { return };
        let lost = source.end_incarnation();
        let (path, position) = (source.path.display(), source.file.position());
        tracing::warn!(%path, source = %source.id, position, lost, "the file was truncated; its new content is another source");
        if source.is_settled() {
            source.create(Some(source.id));
        }
        self.count_lost(lost);
    }
}
