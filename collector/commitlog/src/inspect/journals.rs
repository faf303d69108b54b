//! Finds every valid frame of a journal file, whatever lies between.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use skidway_disk::{Disk, DiskFile, Open};

use crate::effects::TopicId;
use crate::error::Error;
use crate::frame::{FRAME_HEADER_BYTES, Frame, FrameHeader, JournalFileId};
use crate::journal::{self, JOURNAL_HEADER_BYTES};

const SCAN_BYTES: usize = 4 << 20;

/// Holds what is known of commits that a cut of the journal loses.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    /// The last of them whose frame is still valid.
    pub(crate) last_lsn: u64,
    /// How far partitions reached with them, and the file that says so.
    pub(crate) ends: BTreeMap<(TopicId, u32), (u64, PathBuf)>,
}

/// Collects what the valid frames after a cut say of the commits that are lost.
pub(crate) fn lost_after(disk: &dyn Disk, dir: &Path, first: u64, end_lsn: u64) -> Result<Lost, Error> {
    let mut lost = Lost { last_lsn: end_lsn, ends: BTreeMap::new() };
    for number in journal::numbers(disk, dir)?.into_iter().filter(|&number| number >= first) {
        let path = journal::path_of(dir, number);
        each_frame(disk, &path, |_, frame| {
            if frame.header.lsn > end_lsn {
                lost.last_lsn = lost.last_lsn.max(frame.header.lsn);
                for append in frame.effects.appends() {
                    let end = lost.ends.entry((append.topic, append.partition)).or_insert((0, path.clone()));
                    end.0 = end.0.max(append.next_offset);
                }
            }
        })?;
    }
    Ok(lost)
}

/// Calls `each` with the valid frames of a journal file and where they begin. Returns the file's id; `None` if nothing tells it.
pub(crate) fn each_frame(
    disk: &dyn Disk,
    path: &Path,
    mut each: impl FnMut(u64, Frame),
) -> Result<Option<JournalFileId>, Error> {
    let file = disk.open(path, Open::Existing).map_err(Error::io("open", path))?;
    let len = file.len().map_err(Error::io("measure", path))?;
    let Some(file_id) = file_id(file.as_ref(), path) else { return Ok(None) };
    let finder = memchr::memmem::Finder::new(&file_id);
    let mut chunk = vec![0; SCAN_BYTES];
    let mut at = JOURNAL_HEADER_BYTES;
    while at + (FRAME_HEADER_BYTES as u64) <= len {
        if let Some(frame) = frame_at(file.as_ref(), &file_id, at, len) {
            let bytes = frame.header.total_bytes as u64;
            each(at, frame);
            at += bytes;
            continue;
        }
        // A frame names its file: the next one is where that name stands again.
        let id_at = (FRAME_HEADER_BYTES - file_id.len()) as u64;
        let from = at + 1 + id_at;
        let have = file.read_at(&mut chunk, from).unwrap_or(0);
        at += match finder.find(&chunk[..have]) {
            Some(found) => 1 + found as u64,
            None => have.saturating_sub(file_id.len()).max(1) as u64,
        };
    }
    Ok(Some(file_id))
}

/// Gives the header that a journal file should have, if it has another and a valid first frame tells which.
pub(crate) fn restored_header(
    disk: &dyn Disk,
    path: &Path,
    number: u64,
) -> Result<Option<[u8; JOURNAL_HEADER_BYTES as usize]>, Error> {
    let file = disk.open(path, Open::Existing).map_err(Error::io("open", path))?;
    let len = file.len().map_err(Error::io("measure", path))?;
    let mut raw = [0; JOURNAL_HEADER_BYTES as usize];
    let have = file.read_at(&mut raw, 0).unwrap_or(0);
    if journal::parse_header(&raw[..have], number).is_some() {
        return Ok(None);
    }
    let told = file_id(file.as_ref(), path);
    let told = told.filter(|file_id| frame_at(file.as_ref(), file_id, JOURNAL_HEADER_BYTES, len).is_some());
    Ok(told.map(|file_id| journal::header(number, file_id)))
}

/// Reads the file's id from its header, or from the first frame if that one is damaged.
fn file_id(file: &dyn DiskFile, path: &Path) -> Option<JournalFileId> {
    let mut raw = [0; JOURNAL_HEADER_BYTES as usize + FRAME_HEADER_BYTES];
    let have = file.read_at(&mut raw, 0).ok()?;
    let (header, frame) = raw[..have].split_at_checked(JOURNAL_HEADER_BYTES as usize)?;
    let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()).unwrap_or_default();
    let from_frame = || frame.get(FRAME_HEADER_BYTES - size_of::<JournalFileId>()..)?.first_chunk().copied();
    journal::parse_header(header, number).or_else(from_frame)
}

fn frame_at(file: &dyn DiskFile, file_id: &JournalFileId, at: u64, len: u64) -> Option<Frame> {
    let mut raw = [0; FRAME_HEADER_BYTES];
    let have = file.read_at(&mut raw, at).ok()?;
    let header = FrameHeader::parse(&raw[..have], file_id)?;
    if at + header.total_bytes as u64 > len {
        return None;
    }
    let mut frame = vec![0; header.total_bytes];
    let have = file.read_at(&mut frame, at).ok()?;
    frame.truncate(have);
    Frame::read(header, Bytes::from(frame))
}
