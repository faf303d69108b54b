//! Files rotated by copying and truncating (logrotate's `copytruncate`): the copy is held, and when its original is truncated the source
//! goes on in the copy, from its position. So nothing is lost, and nothing of the copy shipped twice.
//!
//! A copy that is nobody's when `copy_wait` has passed after its last growth is a source of its own.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::time::{Duration, Instant};

use skidway_record::SourceId;
use skidway_record::source::Fingerprint;

use super::admission::key;
use super::{FileSlot, Follow};
use crate::config::template::file_stem;
use crate::discover::copies::may_be_copy;
use crate::flow::fingerprint::{self, Evidence};
use crate::flow::physical::Stat;
use crate::pipeline::source::{Name, Source};

/// Says what a file is to another that was truncated.
enum Kinship {
    /// It holds all that was read of it, and perhaps more.
    Copy,
    /// It holds a part of what was read of it, and nothing else.
    Part,
    /// Nothing is known.
    None,
}

/// Finds files by the stems of their names, so that a new one is compared with those it may come from, not with all.
#[derive(Debug, Default)]
pub(super) struct Stems(BTreeSet<(u64, u64, FileSlot)>);

impl Stems {
    /// Takes in a file under its present name.
    pub(super) fn add(&mut self, slot: FileSlot, source: &Source) {
        self.0.insert(Self::place_of(slot, source));
    }

    /// Forgets a file; before its name changes.
    pub(super) fn remove(&mut self, slot: FileSlot, source: &Source) {
        self.0.remove(&Self::place_of(slot, source));
    }

    fn place_of(slot: FileSlot, source: &Source) -> (u64, u64, FileSlot) {
        let name = name_of(source);
        (hash(source.input, file_stem(&name)), hash(source.input, &name), slot)
    }

    /// Gives those that are named otherwise and whose stem the file's name begins with.
    pub(super) fn of(&self, file: &Source) -> Vec<FileSlot> {
        let name = name_of(file);
        let own = hash(file.input, &name);
        let starts = name.char_indices().map(|(at, char)| hash(file.input, &name[..at + char.len_utf8()]));
        let (first, last) = (FileSlot(0), FileSlot(u64::MAX));
        let named_otherwise = |stem| {
            let before = self.0.range((stem, 0, first)..(stem, own, first));
            before.chain(self.0.range((Bound::Excluded((stem, own, last)), Bound::Included((stem, u64::MAX, last)))))
        };
        starts.flat_map(named_otherwise).map(|(_, _, slot)| *slot).collect()
    }
}

pub(super) fn hash(input: usize, text: &str) -> u64 {
    twox_hash::XxHash3_64::oneshot_with_seed(input as u64, text.as_bytes())
}

fn name_of(source: &Source) -> String {
    source.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Follow {
    /// Tells whether a file without a source is to be left alone for now: as far as it goes it is a copy of a live source's file.
    pub(super) fn is_held(&mut self, slot: FileSlot) -> bool {
        let Some(file) = self.sources.get(&slot) else { return false };
        if file.file.is_archive() {
            let original = self.original_of_archive(slot);
            self.sources.get_mut(&slot).into_iter().for_each(|file| file.copy_of = original.map(|it| (it, 0)));
            return original.is_some();
        }
        let Ok(stat) = file.file.stat_now() else { return false };
        let (size, until) = (stat.size, self.held_until(file, &stat));
        // What a file is that a source is leaving is not known before that source has left it, nor what the copy of a truncated one is before
        // that is settled.
        let is_truncated = |original: FileSlot| self.sources.get(&original).is_some_and(|source| source.is_truncated());
        let may_wait = |original: &FileSlot| self.now < until || self.is_left(*original) || is_truncated(*original);
        let original = self.original_of(slot, size).filter(may_wait);
        // Of a truncated one it is told by what was read, not by what is there now.
        let is_alike = |it: &Source| !it.is_truncated() && file.file.begins_like(&it.file, size);
        let is_alike = original.and_then(|it| self.sources.get(&it)).is_some_and(|it| is_alike(it));
        let is_held = original.is_some();
        let Some(file) = self.sources.get_mut(&slot) else { return false };
        if is_alike || original.is_none() {
            file.copy_of = original.map(|original| (original, size));
        }
        if is_held && self.now < until && !std::mem::replace(&mut file.has_timer, true) {
            self.timers.set(until, slot);
        }
        is_held
    }

    /// Finds out which files are not what was read of them any more, of those that new files may come from: one that waits for the collector's
    /// answer has no turn to show it. True if there are any.
    pub(super) fn find_truncated(&mut self, slots: &[FileSlot]) -> bool {
        let files = slots.iter().filter_map(|slot| self.sources.get(slot));
        let originals: BTreeSet<FileSlot> = files.flat_map(|file| self.stems.of(file)).collect();
        for slot in originals {
            self.is_found_truncated(slot);
        }
        !self.truncated.is_empty()
    }

    /// Finds out whether a file is not what was read of it any more, though it had no turn.
    pub(super) fn is_found_truncated(&mut self, slot: FileSlot) -> bool {
        let may_be = |source: &&mut Box<Source>| {
            source.is_associated && !source.is_truncated() && !source.is_finishing() && !source.file.is_archive()
        };
        let Some(source) = self.sources.get_mut(&slot).filter(may_be) else { return false };
        let is_truncated = source.file.is_intact().is_ok_and(|is_intact| !is_intact);
        if is_truncated {
            source.stop_reading();
            self.truncated.push(slot);
        }
        is_truncated
    }

    /// Counts from when the file was written to last: by its own time unless the clock was set back, but of one that appeared while others were
    /// followed not from before that. Its time may be its original's, or from before the clock was set.
    fn held_until(&self, file: &Source, stat: &Stat) -> Instant {
        let is_first_scan = self.starting.as_ref().is_some_and(Vec::is_empty);
        let written = self.written_at(file, stat);
        let written = if is_first_scan { written } else { written.max(Some(file.last_growth)) };
        written.map_or(self.now, |written| written + self.parts.config.agent.copy_wait)
    }

    /// Tells when the file was written to last, by its own time unless the clock was set back; `None` if that is longer ago than can be told.
    pub(super) fn written_at(&self, file: &Source, stat: &Stat) -> Option<Instant> {
        let quiet = i128::from(super::now_ms()) - stat.modified_ns / 1_000_000;
        let quiet = u64::try_from(quiet).ok().map(Duration::from_millis);
        quiet.map_or(Some(file.last_growth), |quiet| self.now.checked_sub(quiet))
    }

    /// Finds the live source that this file may be a copy of. An empty one may become anything that its name allows, and what a truncated
    /// one has become is decided when that is dealt with.
    fn original_of(&self, slot: FileSlot, size: u64) -> Option<FileSlot> {
        let file = self.sources.get(&slot)?;
        let is_original = |original: &FileSlot, source: &Source| {
            (source.is_associated || self.is_left(*original))
                && may_be_copy(&file.path, &source.path)
                && (size == 0
                    || source.is_truncated()
                    || file.file.begins_like(&source.file, size)
                    || !matches!(kinship(*original, source, file), Kinship::None))
        };
        self.stems.of(file).into_iter().find(|it| self.sources.get(it).is_some_and(|source| is_original(it, source)))
    }

    /// Tells whether a file waits for its source to have left it for a copy.
    fn is_left(&self, slot: FileSlot) -> bool {
        self.sources.get(&slot).is_some_and(|source| self.leaving.contains_key(&key(&source.physical())))
    }

    /// Looks for what became of truncated files' bytes: sources go on in copies, or begin again.
    pub(super) fn settle_truncations(&mut self) {
        self.settle_parts();
        let truncated = std::mem::take(&mut self.truncated);
        if truncated.is_empty() {
            return;
        }
        // A copy may be newer than the last look at its folder.
        self.is_settling = true;
        self.scan();
        self.is_settling = false;
        for slot in truncated {
            if !self.adopt_copy(slot) {
                self.end_incarnation(slot);
            }
            self.has_changed(slot);
        }
        self.associate();
    }

    fn adopt_copy(&mut self, slot: FileSlot) -> bool {
        let Some(source) = self.sources.get(&slot) else { return false };
        // Of several that begin alike, the oldest: truncated more than once, that is where the bytes went first. It may be packed already.
        let mut found: Option<(bool, u64, FileSlot)> = None;
        let mut parts = Vec::new();
        for (candidate, file) in &self.sources {
            // An archive may be another file's, that begins alike.
            let is_anothers = || file.file.is_archive() && self.held_for(file).is_some_and(|original| original != slot);
            let may_be = !file.is_associated && file.input == source.input && may_be_copy(&file.path, &source.path);
            let may_be = may_be && !is_anothers();
            match if may_be { kinship(slot, source, file) } else { Kinship::None } {
                Kinship::Copy => {
                    let this = (file.file.is_archive(), file.physical().birth_ns, *candidate);
                    found = Some(found.map_or(this, |other| other.min(this)));
                }
                Kinship::Part => parts.push(*candidate),
                Kinship::None => {}
            }
        }
        let id = source.id;
        for part in parts.into_iter().filter(|_| found.is_none()) {
            let Some(file) = self.sources.get_mut(&part) else { continue };
            file.part_of = Some(id);
            self.leaving.insert(key(&file.physical()), id);
            self.parts_of.push((part, slot));
        }
        let Some((.., copy)) = found else { return false };
        self.sources.get_mut(&slot).into_iter().for_each(|source| source.lose_what_was_not_copied());
        self.go_on_in(slot, copy)
    }

    /// Lets the source go on in the copy. The truncated file waits until the collector knows that it is no longer the source's.
    pub(super) fn go_on_in(&mut self, slot: FileSlot, copy: FileSlot) -> bool {
        let (Some(mut copied), Some(source)) = (self.sources.remove(&copy), self.sources.get_mut(&slot)) else {
            return false;
        };
        tracing::info!(
            path = %source.path.display(), copy = %copied.path.display(), source = %source.id, position = source.file.position(),
            "reading on in a copy of the file"
        );
        [(slot, &**source), (copy, &*copied)].into_iter().for_each(|(slot, file)| self.stems.remove(slot, file));
        copied.swap_files(source, self.now);
        [(slot, &**source), (copy, &*copied)].into_iter().for_each(|(slot, file)| self.stems.add(slot, file));
        // The names go with the files: each slot keeps its source.
        let (key_of_copy, key_of_original) = (key(&source.physical()), key(&copied.physical()));
        self.leaving.insert(key_of_original, source.id);
        self.by_file.insert(key_of_copy, slot);
        // Of one that was set aside and deleted, the inode may be another file's by now.
        if let Some(found) = self.by_file.get_mut(&key_of_original).filter(|found| **found == slot) {
            *found = copy;
        }
        self.parts.watcher.bind(source.file.real_path(), slot);
        self.parts.watcher.bind(copied.file.real_path(), copy);
        // Which of the two is open may have changed.
        for (slot, file) in [(slot, &source.file), (copy, &copied.file)] {
            self.open_files.recount(slot, file.is_open());
        }
        self.sources.insert(copy, copied);
        self.follows(copy, slot);
        true
    }

    /// Passes over copies that hold only what was read of their originals, once all of that is acknowledged: until then a crash would need them.
    fn settle_parts(&mut self) {
        let is_pending = |original: &FileSlot| self.sources.get(original).is_some_and(|source| source.is_truncated());
        let (pending, settled) = self.parts_of.iter().partition(|(_, original)| is_pending(original));
        self.parts_of = pending;
        let settled: Vec<(FileSlot, FileSlot)> = settled;
        for (part, _) in settled {
            if let Some(file) = self.sources.get(&part) {
                self.leaving.remove(&key(&file.physical()));
                self.pass_over_copy(part);
            }
        }
    }

    /// Passes over a file that held, before this session, only what was read of a source, if the collector has all of it.
    pub(super) fn is_passed_over(&mut self, slot: FileSlot) -> bool {
        let Some(file) = self.sources.get(&slot) else { return false };
        let original = self.unattached.iter().find(|stored| file.part_of == Some(stored.source.id));
        let Some(position) = original.map(|stored| stored.position) else { return false };
        let is_known = file.file.stat_now().is_ok_and(|stat| stat.size <= position);
        if is_known {
            self.pass_over_copy(slot);
        }
        is_known
    }

    /// Takes in a copy that holds only what was read of its original.
    fn pass_over_copy(&mut self, slot: FileSlot) {
        let Some(source) = self.sources.get_mut(&slot) else { return };
        let end = source.file.stat().map_or(0, |stat| stat.size);
        // What it is a part of stays known: a session may end before the collector has heard of this.
        source.create(None);
        if end > 0 && source.file.seek(end).unwrap_or(false) {
            tracing::info!(path = %source.path.display(), end, "a copy of what was read before; passed over");
            source.skip_to_position();
        }
        self.has_changed(slot);
    }

    /// Tells whether a source that had this file goes on in a copy of it; then the file waits until the collector knows.
    pub(super) fn goes_on_elsewhere(&mut self, slot: FileSlot, id: SourceId) -> bool {
        let goes_on = self.sources.values().any(|source| source.is_associated && source.id == id);
        if let Some(file) = self.sources.get(&slot).filter(|_| goes_on) {
            self.leaving.insert(key(&file.physical()), id);
        }
        goes_on
    }

    /// Lets files in that a source has left for a copy, once the collector knows.
    pub(super) fn has_left(&mut self, id: SourceId) {
        let before = self.leaving.len();
        self.leaving.retain(|_, source| *source != id);
        if self.leaving.len() < before {
            self.associate();
        }
    }
}

/// Compares a file with a source that was truncated.
fn kinship(slot: FileSlot, source: &Source, file: &Source) -> Kinship {
    let Ok(stat) = file.file.stat_now() else { return Kinship::None };
    let position = source.file.position();
    if file.file.is_archive() {
        return if position > 0 && is_like(file, source, position) { Kinship::Copy } else { Kinship::None };
    }
    if stat.size == 0 {
        return Kinship::None;
    }
    // Of a truncated source of which nothing was read any file may be the copy, and of one that stood after a hole any that has the same hole.
    let has_all = position == 0 || has(file, &source.file.head(), &source.file.anchor(), position);
    if (source.is_truncated() && has_all) || (position > 0 && is_like(file, source, position)) {
        return Kinship::Copy;
    }
    let was_alike = stat.size <= position && file.copy_of == Some((slot, stat.size));
    let acknowledged = source.acknowledged;
    let holds_acknowledged =
        acknowledged > 0 && stat.size < position && stat.size >= acknowledged && is_like(file, source, acknowledged);
    if was_alike || holds_acknowledged { Kinship::Part } else { Kinship::None }
}

/// Tells whether a file holds what was read of a source, up to a position; of one that stood after a hole nobody can tell, for in a hole all
/// files are alike.
pub(super) fn is_like(file: &Source, source: &Source, position: u64) -> bool {
    let anchor = if position == source.file.position() { source.file.anchor() } else { source.acknowledged_anchor() };
    !fingerprint::is_blank(&anchor) && has(file, &source.file.head(), &anchor, position)
}

fn has(file: &Source, head: &Fingerprint, anchor: &Fingerprint, position: u64) -> bool {
    let compared = file.file.peek().and_then(|read| fingerprint::compare_with(read, head, anchor, position));
    compared.is_ok_and(|evidence| evidence == Evidence::Same)
}

/// Names a file by where it lies, as long as nobody else may use it.
pub(super) type Leaving = HashMap<(u64, u64), SourceId>;

impl Source {
    /// Gives this file, a copy, to `source`, and takes its truncated one to begin again with.
    fn swap_files(&mut self, source: &mut Self, now: Instant) {
        let (position, anchor, head) = (source.file.position(), source.file.anchor(), source.file.head());
        std::mem::swap(&mut self.file, &mut source.file);
        let path_of_copy = std::mem::replace(&mut self.path, source.path.clone());
        // What begins again under the original's name is to be described as that was.
        (self.topic, self.partitioning, self.headers) =
            (source.topic.clone(), source.partitioning.clone(), source.headers.clone());
        source.file.resume(position, anchor, head);
        source.go_on_in_copy(path_of_copy, now);
        self.file.begin_again();
        (self.name, self.copy_of, self.is_dirty) = (Name::Found, None, true);
    }
}
