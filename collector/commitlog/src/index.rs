//! A segment's two indexes, in Kafka's formats: where in the file an offset is, and up to which offset nothing is newer than a time.
//!
//! ```text
//! .index       entries of 8 bytes    offset − base offset u32 | position u32              big-endian, both ascending:
//! .timeindex   entries of 12 bytes   timestamp ms i64 | offset − base offset u32          the batch at `position` ends with `offset`;
//!                                                                                        no record up to `offset` is newer
//! ```
//!
//! The newest entries wait in memory; the rest are searched in the file, without being loaded. An index is a hint and can be rebuilt
//! from its segment: nothing here is ever fatal.

use std::io;
use std::path::{Path, PathBuf};

use skidway_disk::{Disk, Open};

/// Log bytes between two entries, as Kafka's `index.interval.bytes`.
pub(crate) const INDEX_INTERVAL_BYTES: u64 = 4096;

/// Entries that may wait in memory.
const PENDING_MAX: usize = 512;

/// Encodes one kind of entry.
pub(crate) trait Entry: Copy {
    /// Its length.
    const BYTES: usize;
    /// Ends the file's name.
    const EXTENSION: &'static str;

    /// Appends it.
    fn write(&self, out: &mut Vec<u8>);

    /// Reads it from exactly `BYTES` bytes.
    fn read(raw: &[u8]) -> Option<Self>;
}

/// Tells where a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    /// The batch's last offset, less the segment's base offset.
    pub(crate) offset: u32,
    /// Where the batch begins.
    pub(crate) position: u32,
}

/// Tells how new records are, up to an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    /// The newest timestamp so far, in ms since 1970.
    pub(crate) timestamp_ms: i64,
    /// The last offset of the batch that has it, less the segment's base offset.
    pub(crate) offset: u32,
}

/// Appends to one index file, and searches it.
#[derive(Debug)]
pub(crate) struct Index<E> {
    path: PathBuf,
    /// Entries in the file that count; whatever follows them is overwritten.
    stored: u64,
    pending: Vec<E>,
}

/// Searches the entries that were in an index file at one moment.
#[derive(Debug)]
pub(crate) enum Search<E> {
    /// Found among the entries in memory.
    Found(E),
    /// To be looked for in this file, among so many entries.
    InFile(PathBuf, u64),
}

impl<E: Entry> Index<E> {
    /// Makes the index beside a segment's log file, holding its first `stored` entries.
    pub(crate) fn new(log: &Path, stored: u64) -> Self {
        Self { path: log.with_extension(E::EXTENSION), stored, pending: Vec::new() }
    }

    /// Gives the file's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Counts the entries.
    pub(crate) fn len(&self) -> u64 {
        self.stored + self.pending.len() as u64
    }

    /// Appends an entry.
    pub(crate) fn push(&mut self, entry: E) {
        self.pending.push(entry);
    }

    /// Tells whether so many entries wait that they should be flushed.
    pub(crate) fn is_due(&self) -> bool {
        self.pending.len() >= PENDING_MAX
    }

    /// Writes the waiting entries to the file.
    pub(crate) fn flush(&mut self, disk: &dyn Disk) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut raw = Vec::with_capacity(self.pending.len() * E::BYTES);
        self.pending.iter().for_each(|entry| entry.write(&mut raw));
        disk.open(&self.path, Open::OrCreate)?.write_at(&raw, self.stored * E::BYTES as u64)?;
        self.stored += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Begins to look for the last entry of which `holds` is true; it must be true of the first entries and false of the rest.
    pub(crate) fn search(&self, holds: impl Fn(&E) -> bool) -> Search<E> {
        match self.pending.partition_point(holds) {
            0 => Search::InFile(self.path.clone(), self.stored),
            count => Search::Found(self.pending[count - 1]),
        }
    }

    /// Tells whether the file has the entries it should, and cuts off what follows them.
    pub(crate) fn restore(&self, disk: &dyn Disk) -> io::Result<bool> {
        let expected = self.stored * E::BYTES as u64;
        let file = disk.open(&self.path, Open::OrCreate)?;
        let len = file.len()?;
        if len > expected {
            file.set_len(expected)?;
        }
        Ok(len >= expected)
    }
}

impl<E: Entry> Search<E> {
    /// Finishes the search; reads the file if need be.
    pub(crate) fn finish(self, disk: &dyn Disk, holds: impl Fn(&E) -> bool) -> io::Result<Option<E>> {
        let (path, count) = match self {
            Self::Found(entry) => return Ok(Some(entry)),
            Self::InFile(_, 0) => return Ok(None),
            Self::InFile(path, count) => (path, count),
        };
        let file = disk.open(&path, Open::Existing)?;
        let mut raw = vec![0; E::BYTES];
        let (mut low, mut high, mut best) = (0, count, None);
        while low < high {
            let middle = low + (high - low) / 2;
            let have = file.read_at(&mut raw, middle * E::BYTES as u64)?;
            match E::read(&raw[..have]) {
                Some(entry) if holds(&entry) => (low, best) = (middle + 1, Some(entry)),
                _ => high = middle,
            }
        }
        Ok(best)
    }
}

impl Entry for OffsetEntry {
    const BYTES: usize = 8;
    const EXTENSION: &'static str = "index";

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offset.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
    }

    fn read(raw: &[u8]) -> Option<Self> {
        let (offset, rest) = raw.split_first_chunk()?;
        let position = rest.first_chunk()?;
        Some(Self { offset: u32::from_be_bytes(*offset), position: u32::from_be_bytes(*position) })
    }
}

impl Entry for TimeEntry {
    const BYTES: usize = 12;
    const EXTENSION: &'static str = "timeindex";

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp_ms.to_be_bytes());
        out.extend_from_slice(&self.offset.to_be_bytes());
    }

    fn read(raw: &[u8]) -> Option<Self> {
        let (timestamp_ms, rest) = raw.split_first_chunk()?;
        let offset = rest.first_chunk()?;
        Some(Self { timestamp_ms: i64::from_be_bytes(*timestamp_ms), offset: u32::from_be_bytes(*offset) })
    }
}
