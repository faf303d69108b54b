//! Files that are packed while they are followed: an archive is held for the file it was made of, which is read to its end first; then, or when
//! that file cannot be kept, its source goes on in the archive.

use std::io;
use std::path::Path;

use skidway_record::source::FINGERPRINT_BYTES_MAX;

use super::admission::key;
use super::copies::is_like;
use super::{FileSlot, Follow};
use crate::discover::copies::{may_be_archive, may_be_copy, unpacked};
use crate::discover::matching::path_of;
use crate::flow::fingerprint::{self, ANCHOR_BYTES_MAX, Evidence};
use crate::pipeline::source::Source;

impl Follow {
    /// Finds the live source that an archive was made of. That source reads its own file to the end first; then it goes on in the archive.
    pub(super) fn original_of_archive(&self, slot: FileSlot) -> Option<FileSlot> {
        let file = self.sources.get(&slot)?;
        let held_for = file.copy_of.map(|(original, _)| original);
        // A file may be renamed, or copied and truncated, then packed and deleted before anyone looks.
        let by_name = |_: FileSlot, source: &Source| unpacked(&file.path).is_some_and(|path| *path == *source.path);
        let as_before = |slot: FileSlot, _: &Source| held_for == Some(slot);
        let by_stem = |_: FileSlot, source: &Source| {
            (source.is_truncated() || source.file.is_deleted())
                && may_be_archive(&file.path, &source.path)
                && !holds_other(file, source)
        };
        let candidates: Vec<FileSlot> = self.stems.of(file).into_iter().chain(held_for).collect();
        let find = |is_original: &dyn Fn(FileSlot, &Source) -> bool| {
            // In a new session the file it was held for may have no source yet.
            let is_it = |slot: FileSlot, source: &Source| {
                let is_live = source.is_associated || held_for == Some(slot);
                is_live && is_original(slot, source) && begins_as(file, source)
            };
            candidates.iter().copied().find(|it| self.sources.get(it).is_some_and(|source| is_it(*it, source)))
        };
        find(&by_name).or_else(|| find(&as_before)).or_else(|| find(&by_stem))
    }

    /// Gives the files that are named as copies or archives of this one.
    pub(super) fn named_after(&self, path: &Path) -> impl Iterator<Item = &Source> {
        let is_named_after = |file: &&Source| may_be_copy(&file.path, path) || may_be_archive(&file.path, path);
        self.sources.values().map(Box::as_ref).filter(is_named_after)
    }

    /// Tells whether a file is named as a copy or an archive of one that is followed, or that the collector knows.
    pub(super) fn is_named_after_any(&self, path: &Path) -> bool {
        let is_after = |original: &Path| may_be_copy(path, original) || may_be_archive(path, original);
        self.sources.values().any(|file| is_after(&file.path)) || self.unattached.iter().any(|it| is_after(path_of(it)))
    }

    /// Tells which file is there that this one was held for.
    pub(super) fn held_for(&self, file: &Source) -> Option<FileSlot> {
        file.copy_of.map(|(original, _)| original).filter(|original| self.sources.contains_key(original))
    }

    /// Lets a source whose file is done with, or cannot be kept, go on in the archive that was made of it.
    pub(super) fn go_on_in_archive(&mut self, slot: FileSlot) -> bool {
        let Some(source) = self.sources.get(&slot) else { return false };
        let position = source.file.position();
        let is_archive = |file: &Source| {
            let is_named_after = || position > 0 && may_be_archive(&file.path, &source.path);
            !file.is_associated
                && file.file.is_archive()
                && self.held_for(file).map_or_else(is_named_after, |original| original == slot)
                && is_like(file, source, position)
        };
        let found = self.sources.iter().find(|(_, file)| is_archive(file)).map(|(archive, _)| *archive);
        let Some(archive) = found else { return false };
        let Some(key_of_original) = self.sources.get(&slot).map(|source| key(&source.physical())) else { return false };
        self.go_on_in(slot, archive);
        // The deleted file is of no more use.
        self.leaving.remove(&key_of_original);
        self.forget_file(archive);
        self.has_changed(slot);
        true
    }
}

/// Tells whether an archive goes on otherwise than a source does, from the file's first byte to where that stands, or if it was not read to the
/// file's end: many begin alike. It is unpacked so far, so this is asked once.
fn holds_other(archive: &Source, source: &Source) -> bool {
    let (head, anchor, position) = (source.file.head(), source.file.anchor(), source.file.position());
    if position > 0 {
        let compared = archive.file.peek().and_then(|read| fingerprint::compare_with(read, &head, &anchor, position));
        return matches!(compared, Ok(Evidence::OtherHead | Evidence::OtherAnchor));
    }
    let size = source.file.stat_now().map_or(0, |stat| stat.size);
    let len = size.min(ANCHOR_BYTES_MAX as u64) as usize;
    let (mut unpacked, mut plain) = ([0; ANCHOR_BYTES_MAX], [0; ANCHOR_BYTES_MAX]);
    let end = size - len as u64;
    let is_there = |read: io::Result<usize>| read.is_ok_and(|read| read == len);
    let is_alike =
        is_there(bytes_at(archive, end, &mut unpacked[..len])) && is_there(bytes_at(source, end, &mut plain[..len]));
    size == 0 || !is_alike || unpacked[..len] != plain[..len]
}

/// Tells whether an archive, which may still be written, begins as a source does. One that was truncated begins again as what its file holds now,
/// which may be packed before the source has come to that.
fn begins_as(archive: &Source, source: &Source) -> bool {
    begins_as_read(archive, source) || (source.is_truncated() && holds_the_start_of(archive, source))
}

fn holds_the_start_of(archive: &Source, source: &Source) -> bool {
    let (mut unpacked, mut plain) = ([0; FINGERPRINT_BYTES_MAX as usize], [0; FINGERPRINT_BYTES_MAX as usize]);
    let (Ok(unpacked_len), Ok(len)) = (bytes_at(archive, 0, &mut unpacked), bytes_at(source, 0, &mut plain)) else {
        return false;
    };
    let len = len.min(unpacked_len);
    len > 0 && unpacked[..len] == plain[..len]
}

fn begins_as_read(archive: &Source, source: &Source) -> bool {
    let head = source.file.head();
    let (mut unpacked, mut plain) = ([0; FINGERPRINT_BYTES_MAX as usize], [0; FINGERPRINT_BYTES_MAX as usize]);
    // Of a file that was not read nothing is known but what it holds.
    let holds = || source.file.stat_now().map_or(0, |stat| stat.size.min(plain.len() as u64) as usize);
    let want = if head.len > 0 { head.len as usize } else { holds() };
    let Ok(len) = bytes_at(archive, 0, &mut unpacked[..want]) else { return false };
    if len > 0 && len == head.len as usize {
        return fingerprint::of(&unpacked[..len]) == head;
    }
    want > 0 && bytes_at(source, 0, &mut plain[..len]).is_ok_and(|read| read == len) && unpacked[..len] == plain[..len]
}

/// Reads a file's bytes at a position, decompressed if it is an archive, without moving in it.
fn bytes_at(file: &Source, position: u64, bytes: &mut [u8]) -> io::Result<usize> {
    file.file.peek().and_then(|mut read| read(bytes, position))
}
