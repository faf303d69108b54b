//! A record that is not whole at the end of a renamed file goes on in the file that takes its name: that one is read only after the renamed
//! one was read to its end, and the framer's state is handed over in one commit before its first byte is.
//!
//! A renamed file is taken to be at its end once it was read that far, has been quiet for a moment, and its successor has its first bytes:
//! whoever writes them goes from one to the other. Of inputs whose records may have more than one line only.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use skidway_record::source::StoredSource;
use skidway_wire::{Item, SpanKind};

use super::copies::hash;
use super::{FileSlot, Follow, now_ms};
use crate::config::template::without_generation;
use crate::discover::Found;
use crate::frame::carry::Carry;
use crate::frame::strands::Kept;
use crate::pipeline::reading::{Ask, Unfinished};
use crate::pipeline::source::{GoesOn, Name, Source};

/// A renamed file is at its end after so long without growth, its successor having its first bytes.
const QUIET: Duration = Duration::from_millis(200);
/// A successor with bytes to read waits no longer for a file that goes on growing.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// A file with more unread than this is not at its end, and is waited for.
const NEAR_END_BYTES: u64 = 1 << 20;
/// How often waiting files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Knows which files had the same name one after the other, and which of them wait for the one before.
#[derive(Debug, Default)]
pub(super) struct Successions {
    lineages: BTreeSet<(u64, FileSlot)>,
    waiting: Vec<FileSlot>,
}

/// Says what a file may do that waits for another.
enum Turn {
    Waits,
    /// Nothing is unfinished before it, or it has waited long enough.
    Reads,
    /// Whole lines before it are to be taken out of their file.
    TakesLines,
    Receives,
}

impl Successions {
    /// Forgets who waits for whom; it is found out again.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// Forgets a file.
    pub(super) fn forget(&mut self, slot: FileSlot, source: &Source) {
        self.lineages.remove(&(source.lineage, slot));
    }
}

impl Follow {
    /// Notes the name by which a file's predecessors and successors are known.
    pub(super) fn has_lineage(&mut self, slot: FileSlot, path: &Path) {
        let Some(source) = self.sources.get_mut(&slot) else { return };
        if self.parts.config.inputs[source.input].joins() && !source.file.is_archive() {
            self.successions.lineages.remove(&(source.lineage, slot));
            source.lineage = lineage(source.input, path);
            self.successions.lineages.insert((source.lineage, slot));
        }
    }

    /// Finds the file that had the name before a file of which nothing was read, and lets it wait for that.
    pub(super) fn find_predecessor(&mut self, slot: FileSlot) {
        let Some(file) = self.sources.get(&slot) else { return };
        if file.lineage == 0 || file.follows.is_some() || !file.is_associated || !file.has_not_begun() {
            return;
        }
        // By age: names say nothing once several rotations have passed.
        let age = |slot: FileSlot, source: &Source| (source.physical().birth_ns, slot);
        let mut before: Option<(FileSlot, &Source)> = None;
        for (_, other) in
            self.successions.lineages.range((file.lineage, FileSlot(0))..=(file.lineage, FileSlot(u64::MAX)))
        {
            let Some(source) = self.sources.get(other) else { continue };
            let is_known = file.physical().birth_ns > 0 || (source.is_associated && source.name != Name::Found);
            let is_latest = before.is_none_or(|(slot, latest)| age(slot, latest) < age(*other, source));
            if is_known && age(*other, source) < age(slot, file) && is_latest {
                before = Some((*other, source));
            }
        }
        let Some((before, _)) = before.filter(|(_, source)| !is_current(source)) else { return };
        self.follows(slot, before);
    }

    /// Lets a file wait for the end of another, if its input asks for that.
    pub(super) fn follows(&mut self, slot: FileSlot, before: FileSlot) {
        let Some(file) = self.sources.get_mut(&slot) else { return };
        if file.lineage != 0 && file.follows.replace(before).is_none() {
            tracing::debug!(path = %file.path.display(), "waiting for the end of the file that had its name");
            self.successions.waiting.push(slot);
        }
    }

    /// Tells whether another file waits for the end of this one.
    pub(super) fn is_followed(&self, slot: FileSlot) -> bool {
        let follows = |waiting: &FileSlot| self.sources.get(waiting).is_some_and(|file| file.follows == Some(slot));
        self.successions.waiting.iter().any(follows)
    }

    /// Tells when waiting files are to be looked at again.
    pub(super) fn succession_deadline(&self) -> Option<Instant> {
        (!self.successions.waiting.is_empty() && self.session.is_some()).then(|| self.now + LOOK_INTERVAL)
    }

    /// Lets files be read whose predecessors were read to their ends, once they have what is unfinished there.
    pub(super) fn settle_successions(&mut self) {
        if self.successions.waiting.is_empty() || self.session.is_none() || self.is_stopping {
            return;
        }
        let waiting = std::mem::take(&mut self.successions.waiting);
        for slot in waiting {
            if self.waits_on(slot) {
                self.successions.waiting.push(slot);
            } else {
                self.has_changed(slot);
            }
        }
    }

    /// Does what can be done for a waiting file; false once it waits no more.
    fn waits_on(&mut self, slot: FileSlot) -> bool {
        let Some(before) = self.sources.get(&slot).and_then(|file| file.follows) else { return false };
        match self.turn_of(slot, before) {
            Turn::Waits => return true,
            Turn::Reads => self.reads_by_itself(slot, before),
            Turn::TakesLines => {
                self.sources.get_mut(&before).into_iter().for_each(|source| source.is_dirty = true);
                self.take_turn(before, Unfinished::HandOver);
                return true;
            }
            Turn::Receives => self.hand_over(slot, before),
        }
        false
    }

    fn turn_of(&mut self, slot: FileSlot, before: FileSlot) -> Turn {
        let now = self.now;
        let (Some(file), Some(source)) = (self.sources.get(&slot), self.sources.get(&before)) else {
            return Turn::Reads;
        };
        if !file.has_not_begun() || source.blocked.as_ref().is_some_and(|blocked| blocked.is_unreadable) {
            return Turn::Reads;
        }
        let waited = file.waiting_since().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let is_at_end = source.is_associated && !source.is_dirty && source.is_settled() && source.blocked.is_none();
        if waited > WAIT_MAX && source.bytes_behind() < NEAR_END_BYTES {
            return Turn::Reads;
        }
        if !is_at_end || !file.is_associated {
            return Turn::Waits;
        }
        let has_lines = source.kept == Kept::Record && source.bytes_behind() > 0;
        if !has_lines && !source.carry.may_go_on() {
            return Turn::Reads;
        }
        if file.file.stat_now().map_or(0, |stat| stat.size) == 0 {
            return if self.parts.once { Turn::Reads } else { Turn::Waits };
        }
        let is_quiet = now.saturating_duration_since(source.last_growth) >= QUIET;
        let has_grown = source.file.stat_now().is_ok_and(|stat| source.file.has_changed(&stat));
        self.goes_on(before, GoesOn::Elsewhere);
        if has_grown && !self.parts.once {
            self.mark_dirty(before);
            return Turn::Waits;
        }
        match has_lines {
            _ if !is_quiet && !self.parts.once => Turn::Waits,
            true => Turn::TakesLines,
            false => Turn::Receives,
        }
    }

    fn goes_on(&mut self, slot: FileSlot, goes_on: GoesOn) {
        if let Some(source) = self.sources.get_mut(&slot) {
            source.goes_on = goes_on;
        }
    }

    fn reads_by_itself(&mut self, slot: FileSlot, before: FileSlot) {
        if let Some(file) = self.sources.get_mut(&slot) {
            file.follows = None;
        }
        self.goes_on(before, GoesOn::Here);
        let Some(source) = self.sources.get_mut(&before) else { return };
        if source.kept != Kept::Nothing {
            // Now it is flushed when its time has come.
            source.is_dirty = true;
            self.has_changed(before);
        }
    }

    fn hand_over(&mut self, slot: FileSlot, before: FileSlot) {
        let Some(source) = self.sources.get_mut(&before) else { return };
        source.goes_on = GoesOn::HandedOver;
        let (id, position, carry) = (source.id, source.acknowledged, source.carry.clone());
        let from = source.path.display().to_string();
        let Some(file) = self.sources.get_mut(&slot) else { return };
        tracing::info!(%from, to = %file.path.display(), position, "a record that is not whole goes on in the next file");
        file.receive(id, position, carry);
    }

    /// Reads a file on from what was unfinished at the end of its predecessor.
    pub(super) fn has_received(&mut self, slot: FileSlot) {
        let Some(file) = self.sources.get_mut(&slot) else { return };
        file.is_dirty = true;
        if let Some(source) = file.follows.take().and_then(|before| self.sources.get_mut(&before)) {
            (source.carry, source.kept, source.goes_on) = (Carry::default(), Kept::Nothing, GoesOn::Here);
            source.flush_after = None;
        }
    }

    /// Finds a place for what is unfinished at the end of a source whose file is gone: the file that took its name, or else a record of its own.
    pub(super) fn place_orphan(&mut self, stored: &StoredSource) {
        let path = PathBuf::from(OsStr::from_bytes(&stored.source.path));
        let input = self.parts.config.inputs.iter().position(|input| input.name == stored.source.input);
        let (Some(input), Some(carry)) = (input, Carry::decode(&stored.carry)) else { return };
        let lineage = lineage(input, &path);
        let members = self.successions.lineages.range((lineage, FileSlot(0))..=(lineage, FileSlot(u64::MAX)));
        let mut fresh = members.filter(|(_, slot)| {
            let begins = |file: &Source| file.is_associated && file.has_not_begun() && file.follows.is_none();
            self.sources.get(slot).is_some_and(|file| begins(file))
        });
        let successor = fresh.next().map(|(_, slot)| *slot);
        match successor.and_then(|slot| self.sources.get_mut(&slot)).filter(|_| carry.may_go_on()) {
            Some(file) => file.receive(stored.source.id, stored.position, carry),
            None => {
                let rest = self.rest_of(stored);
                self.notices.extend(rest);
            }
        }
    }

    /// Makes the item that ships what is carried of a source which goes on nowhere.
    pub(super) fn rest_of(&mut self, stored: &StoredSource) -> Option<Item> {
        let carry = Carry::decode(&stored.carry)?;
        let number = self.parts.config.inputs.iter().position(|input| input.name == stored.source.input)?;
        let path = PathBuf::from(OsStr::from_bytes(&stored.source.path));
        let mut headers = self.place(&Found { path, input: number }).headers;
        let input = &self.parts.config.inputs[number];
        let ask = Ask::of(input, input.encoding, Unfinished::Flush, now_ms());
        let batch = self.parts.reading.batch_of(&carry, ask, &mut headers)?;
        Some(Item::Span {
            source: stored.source.id,
            span: stored.position..stored.position,
            kind: SpanKind::Read,
            expected_carry: Some(stored.carry.clone()),
            carry: Bytes::new(),
            head: stored.source.head,
            anchor: stored.anchor,
            path: None,
            batches: vec![batch],
            dead: Vec::new(),
        })
    }
}

/// Tells whether a file has the name that its successor would have.
fn is_current(source: &Source) -> bool {
    source.name == Name::Found && hash(source.input, &source.path.to_string_lossy()) == source.lineage
}

fn lineage(input: usize, path: &Path) -> u64 {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    hash(input, &path.with_file_name(without_generation(&name)).to_string_lossy())
}
