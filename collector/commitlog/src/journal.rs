//! The one file that makes commits durable: frames appended in groups, room reserved ahead, one sync a group.
//!
//! A checkpoint starts a new file. Its first 64 bytes, integers little-endian; frames (`frame.rs`) follow:
//!
//! ```text
//!  at  width  field
//!   0    8    magic "SKIDJRNL"
//!   8    4    version = 1
//!  12    4    CRC-32C of bytes 16..64
//!  16    8    number, as in the file's name
//!  24   16    journal file id, random
//!  40   24    zeros
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skidway_disk::{Disk, DiskFile, Open};

use crate::error::Error;
use crate::frame::JournalFileId;

/// Bytes before the first frame.
pub(crate) const JOURNAL_HEADER_BYTES: u64 = 64;

const MAGIC: &[u8; 8] = b"SKIDJRNL";
const VERSION: u32 = 1;
const EXTENSION: &str = ".journal";

/// Appends to the newest journal file.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    number: u64,
    file_id: JournalFileId,
    /// Where the next frame goes.
    position: u64,
    /// Bytes reserved for frames, from the file's start.
    reserved: u64,
    step: u64,
}

impl Journal {
    /// Starts the journal file of this number, durably: its name and header are synced, nothing is in it.
    pub(crate) fn create(
        disk: &dyn Disk,
        dir: &Path,
        number: u64,
        file_id: JournalFileId,
        step: u64,
    ) -> Result<Self, Error> {
        let path = path_of(dir, number);
        let file = disk.open(&path, Open::Empty).map_err(Error::io("create", &path))?;
        file.write_at(&header(number, file_id), 0).map_err(Error::io("write", &path))?;
        file.sync().map_err(Error::io("sync", &path))?;
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        let position = JOURNAL_HEADER_BYTES;
        Ok(Self { path, file, number, file_id, position, reserved: position, step })
    }

    /// Gives the file's number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Gives the file's id, which its frames carry.
    pub(crate) fn file_id(&self) -> JournalFileId {
        self.file_id
    }

    /// Gives the bytes written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.position
    }

    /// Makes sure that `bytes` more find room; `false` if the disk is full.
    pub(crate) fn reserve(&mut self, bytes: u64) -> Result<bool, Error> {
        let need = self.position + bytes;
        if need <= self.reserved {
            return Ok(true);
        }
        let reserved = need.next_multiple_of(self.step);
        match self.file.allocate(reserved) {
            Ok(()) => {
                self.reserved = reserved;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(false),
            Err(error) => Err(Error::io("reserve room in", &self.path)(error)),
        }
    }

    /// Appends frames; they are durable after the next [`Journal::sync`].
    pub(crate) fn append(&mut self, frames: &[u8]) -> Result<(), Error> {
        self.file.write_at(frames, self.position).map_err(Error::io("write", &self.path))?;
        self.position += frames.len() as u64;
        Ok(())
    }

    /// Makes everything appended durable.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.file.sync().map_err(Error::io("sync", &self.path))
    }
}

/// Lists the numbers of the journal files in a folder, in order.
pub(crate) fn numbers(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>, Error> {
    let entries = disk.list(dir).map_err(Error::io("list", dir))?;
    let mut numbers: Vec<u64> = entries.iter().filter_map(|entry| number_of(&entry.name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads a journal file's id from its first bytes; `None` if they are not what was written.
pub(crate) fn parse_header(raw: &[u8], number: u64) -> Option<JournalFileId> {
    let raw = raw.first_chunk::<{ JOURNAL_HEADER_BYTES as usize }>()?;
    let file_id: JournalFileId = *raw[24..].first_chunk()?;
    (*raw == header(number, file_id)).then_some(file_id)
}

/// Names the journal file of a number; [`number_of`] reads the name back.
pub(crate) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}{EXTENSION}"))
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(EXTENSION)?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

pub(crate) fn header(number: u64, file_id: JournalFileId) -> [u8; JOURNAL_HEADER_BYTES as usize] {
    let mut raw = [0; JOURNAL_HEADER_BYTES as usize];
    raw[0..8].copy_from_slice(MAGIC);
    raw[8..12].copy_from_slice(&VERSION.to_le_bytes());
    raw[16..24].copy_from_slice(&number.to_le_bytes());
    raw[24..40].copy_from_slice(&file_id);
    let crc = crc32c::crc32c(&raw[16..]);
    raw[12..16].copy_from_slice(&crc.to_le_bytes());
    raw
}
