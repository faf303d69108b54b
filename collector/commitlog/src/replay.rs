//! Reads back what the journal holds after a checkpoint. Never writes but what it read, to make it durable.
//!
//! The first invalid frame is where a crash cut the journal (a torn tail), unless a later frame says that its place was durable: then
//! what was acknowledged has been damaged, and the log must not start.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use skidway_disk::{Disk, DiskFile, Open};

use crate::error::Error;
use crate::frame::{FRAME_HEADER_BYTES, Frame, FrameHeader, JournalFileId};
use crate::journal::{self, JOURNAL_HEADER_BYTES};

const READ_BYTES: usize = 1 << 20;
const SCAN_BYTES: usize = 4 << 20;

/// Holds the journal files that a checkpoint has not made superfluous.
#[derive(Debug)]
pub(crate) struct Tail {
    files: Vec<TailFile>,
    /// Damage ends the journal, where it should keep the log from starting: a repair.
    is_cut: bool,
}

#[derive(Debug)]
struct TailFile {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    file_id: JournalFileId,
    len: u64,
}

impl Tail {
    /// Opens the journal files from number `first` on, which must be there.
    pub(crate) fn open(disk: &dyn Disk, dir: &Path, first: u64) -> Result<Self, Error> {
        let mut opened = Self { files: Vec::new(), is_cut: false };
        opened.open_files(disk, dir, first)?;
        Ok(opened)
    }

    /// Opens what is sound of them; the journal ends where damage begins.
    pub(crate) fn open_cut(disk: &dyn Disk, dir: &Path, first: u64) -> Self {
        let mut opened = Self { files: Vec::new(), is_cut: true };
        if let Err(error) = opened.open_files(disk, dir, first) {
            tracing::warn!(%error, "the journal is read up to here");
        }
        opened
    }

    fn open_files(&mut self, disk: &dyn Disk, dir: &Path, first: u64) -> Result<(), Error> {
        for number in journal::numbers(disk, dir)?.into_iter().filter(|&number| number >= first) {
            let path = journal::path_of(dir, number);
            let file = disk.open(&path, Open::Existing).map_err(Error::io("open", &path))?;
            let len = file.len().map_err(Error::io("measure", &path))?;
            let mut raw = [0; JOURNAL_HEADER_BYTES as usize];
            let have = file.read_at(&mut raw, 0).map_err(Error::io("read", &path))?;
            match journal::parse_header(&raw[..have], number) {
                Some(file_id) => self.files.push(TailFile { path, file, file_id, len }),
                None if number == first => return Err(Error::corrupt(&path, 0, "the journal's header is not valid")),
                None => check_never_used(&path, file.as_ref(), len)?,
            }
        }
        if self.files.is_empty() {
            return Err(Error::corrupt(&journal::path_of(dir, first), 0, "the checkpoint's journal is missing"));
        }
        Ok(())
    }

    /// Reports a commit that is whole and cannot be.
    pub(crate) fn corrupt(&self, lsn: u64, reason: String) -> Error {
        let path = self.files.last().map_or(Path::new(""), |file| &file.path);
        Error::corrupt(path, 0, format!("commit {lsn} is whole, but does not fit what is before it: {reason}"))
    }

    /// Calls `each` with every commit after `lsn` up to `end`, in order, until it says that one is not valid. Returns the LSN of the last
    /// valid one.
    pub(crate) fn replay(
        &self,
        mut lsn: u64,
        end: u64,
        mut each: impl FnMut(Frame) -> Result<bool, Error>,
    ) -> Result<u64, Error> {
        for file in &self.files {
            let mut reader = Reader { file, position: JOURNAL_HEADER_BYTES, buffer: Bytes::new() };
            loop {
                let position = reader.position;
                if lsn == end {
                    return Ok(lsn);
                }
                let frame = match reader.next(lsn + 1) {
                    Err(_) if self.is_cut => None,
                    read => read?,
                };
                let valid = frame.map_or(Ok(false), &mut each)?;
                if !valid {
                    match file.check_torn(position, lsn + 1) {
                        Err(_) if self.is_cut => return Ok(lsn),
                        torn => torn?,
                    }
                    break;
                }
                lsn += 1;
            }
        }
        Ok(lsn)
    }

    /// Writes the frames after commit `durable_lsn` up to `end` once more as they are, and syncs them: they may be in the page cache only.
    pub(crate) fn write_again(&self, mut lsn: u64, durable_lsn: u64, end: u64) -> Result<(), Error> {
        for file in &self.files {
            let mut reader = Reader { file, position: JOURNAL_HEADER_BYTES, buffer: Bytes::new() };
            let mut from = reader.position;
            while lsn < end && reader.next(lsn + 1)?.is_some() {
                lsn += 1;
                if lsn <= durable_lsn {
                    from = reader.position;
                }
            }
            if from < reader.position {
                file.write_again(from..reader.position)?;
            }
        }
        Ok(())
    }
}

impl TailFile {
    fn write_again(&self, range: Range<u64>) -> Result<(), Error> {
        let mut chunk = vec![0; SCAN_BYTES.min((range.end - range.start) as usize)];
        let mut position = range.start;
        while position < range.end {
            let want = chunk.len().min((range.end - position) as usize);
            let have = self.read(&mut chunk[..want], position)?;
            if have == 0 {
                return Err(Error::corrupt(&self.path, position, "the file became shorter while it was read"));
            }
            self.file.write_at(&chunk[..have], position).map_err(Error::io("write", &self.path))?;
            position += have as u64;
        }
        self.file.sync().map_err(Error::io("sync", &self.path))
    }

    /// Fails if, after an invalid frame at `position`, another claims that `lost_lsn`, which should be there, was durable.
    fn check_torn(&self, position: u64, lost_lsn: u64) -> Result<(), Error> {
        let finder = memchr::memmem::Finder::new(&self.file_id);
        let id_at = FRAME_HEADER_BYTES - self.file_id.len();
        let mut chunk = vec![0; SCAN_BYTES];
        let mut from = position;
        while from < self.len {
            let have = self.read(&mut chunk, from)?;
            for found in finder.find_iter(&chunk[..have]) {
                let start = (from + found as u64).saturating_sub(id_at as u64);
                if start >= position && self.claims(start, lost_lsn)? {
                    let reason = format!("commit {lost_lsn} was durable and is not valid; a later one is");
                    return Err(Error::corrupt(&self.path, position, reason));
                }
            }
            // An id cut by the chunk's end is found in the next one.
            from += have.saturating_sub(self.file_id.len() - 1).max(1) as u64;
        }
        Ok(())
    }

    /// Tells whether a valid frame stands at `start` and says that `lsn` was durable.
    fn claims(&self, start: u64, lsn: u64) -> Result<bool, Error> {
        let mut raw = [0; FRAME_HEADER_BYTES];
        let have = self.read(&mut raw, start)?;
        let Some(header) = FrameHeader::parse(&raw[..have], &self.file_id) else { return Ok(false) };
        if header.durable_lsn < lsn || start + header.total_bytes as u64 > self.len {
            return Ok(false);
        }
        let mut frame = vec![0; header.total_bytes];
        let have = self.read(&mut frame, start)?;
        Ok(header.verify(&frame[..have]))
    }

    fn read(&self, into: &mut [u8], position: u64) -> Result<usize, Error> {
        self.file.read_at(into, position).map_err(Error::io("read", &self.path))
    }
}

/// Reads frames one after the other.
struct Reader<'a> {
    file: &'a TailFile,
    /// Where the next frame begins.
    position: u64,
    /// Bytes from there on.
    buffer: Bytes,
}

impl Reader<'_> {
    /// Gives the next frame if it is valid and of this LSN.
    fn next(&mut self, lsn: u64) -> Result<Option<Frame>, Error> {
        self.fill(FRAME_HEADER_BYTES)?;
        let Some(header) = FrameHeader::parse(&self.buffer, &self.file.file_id) else { return Ok(None) };
        if header.lsn != lsn || self.position + header.total_bytes as u64 > self.file.len {
            return Ok(None);
        }
        self.fill(header.total_bytes)?;
        if self.buffer.len() < header.total_bytes {
            return Ok(None);
        }
        let Some(frame) = Frame::read(header, self.buffer.slice(..header.total_bytes)) else { return Ok(None) };
        self.buffer = self.buffer.split_off(header.total_bytes);
        self.position += header.total_bytes as u64;
        Ok(Some(frame))
    }

    /// Reads ahead until `need` bytes are there, or the file ends.
    fn fill(&mut self, need: usize) -> Result<(), Error> {
        if self.buffer.len() >= need {
            return Ok(());
        }
        let mut bytes = BytesMut::zeroed(need.max(READ_BYTES));
        let have = self.file.read(&mut bytes, self.position)?;
        bytes.truncate(have);
        self.buffer = bytes.freeze();
        Ok(())
    }
}

/// Fails if a journal file without a valid header has content: it cannot just have been created.
fn check_never_used(path: &Path, file: &dyn DiskFile, len: u64) -> Result<(), Error> {
    let mut chunk = vec![0; SCAN_BYTES];
    let mut position = JOURNAL_HEADER_BYTES;
    while position < len {
        let have = file.read_at(&mut chunk, position).map_err(Error::io("read", path))?;
        if chunk[..have].iter().any(|&byte| byte != 0) {
            return Err(Error::corrupt(path, 0, "the journal's header is not valid, though frames follow it"));
        }
        position += have.max(1) as u64;
    }
    Ok(())
}
