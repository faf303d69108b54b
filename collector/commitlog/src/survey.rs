//! Walks a segment's bytes that something may be wrong with: which batches are sound, and where damage begins and ends. Never writes.
//!
//! The CRC covers a batch from its attributes on; base offset and length stand before it, and are checked against the neighbours: a batch
//! must not begin below the end of the one before, nor end past the base of the one after, or past the segment's. Offsets may have gaps.
//! After damage the walk goes on where the next whole batch of a fitting offset stands. What cannot be read counts as damaged.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use skidway_disk::DiskFile;
use skidway_record::header::{HEADER_BYTES, LENGTH_PREFIX_BYTES};
use skidway_record::limits::BATCH_BYTES_MAX;
use skidway_record::{Batch, BatchHeader, Offset};

use crate::error::Error;

/// Bytes read at once, unless a batch is larger.
const WINDOW_BYTES: usize = 2 << 20;

/// Where reading fails it is tried in blocks of this size, larger ones after each failure: a dying device takes long to fail.
const BLOCK_BYTES: usize = 4 << 10;
const BLOCK_BYTES_MAX: usize = 256 << 10;

/// Where a header's magic stands.
const MAGIC_AT: usize = 16;
const MAGIC: u8 = 2;

/// Bounds a walk through one segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Where it begins; a batch begins there.
    pub(crate) position: u64,
    /// Where the segment's bytes end.
    pub(crate) end: u64,
    /// No batch begins below this offset: the end of the one before, or the segment's base.
    pub(crate) expected: u64,
    /// No batch ends past this offset: the next segment's base, or the high watermark.
    pub(crate) limit: u64,
}

/// Is the next thing met on the walk.
#[derive(Debug)]
pub(crate) enum Piece {
    /// A batch as it was written. Its leader epoch, which nothing else would tell of, is 0 again whatever was found.
    Sound {
        /// Where it begins.
        position: u64,
        /// The batch.
        batch: Batch,
        /// Its leader epoch was not 0.
        stray_epoch: bool,
    },
    /// Bytes that are no batch any more.
    Damaged(Damaged),
}

/// Describes bytes that are no batch any more, and the offsets that are lost with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damaged {
    /// Where they begin.
    pub(crate) position: u64,
    /// Where they end.
    pub(crate) end: u64,
    /// First offset that cannot be read.
    pub(crate) from: u64,
    /// Next offset that can.
    pub(crate) next: u64,
    /// What was found.
    pub(crate) reason: String,
}

impl Damaged {
    /// Reports it.
    pub(crate) fn error(self, path: &Path) -> Error {
        let (path, position, reason) = (path.to_owned(), self.position, self.reason);
        Error::Damaged { path, position, from: Offset(self.from), next: Offset(self.next), reason }
    }
}

/// Walks one segment file.
#[derive(Debug)]
pub(crate) struct Survey {
    file: Arc<dyn DiskFile>,
    stretch: Stretch,
    /// Bytes read ahead, and where they begin.
    window: (u64, Bytes),
    /// The first bytes of the window that could not be read, and why.
    unreadable: Option<(Range<u64>, String)>,
}

impl Survey {
    /// Begins a walk.
    pub(crate) fn new(file: Arc<dyn DiskFile>, stretch: Stretch) -> Self {
        Self { file, stretch, window: (0, Bytes::new()), unreadable: None }
    }

    /// Gives the next piece; `None` once all below the limit is through.
    pub(crate) fn next_piece(&mut self) -> Option<Piece> {
        let Stretch { position, end, expected, limit } = self.stretch;
        if position >= end || expected >= limit {
            return None;
        }
        match self.sound_at(position) {
            Ok(batch) => {
                self.stretch.position += batch.bytes().len() as u64;
                self.stretch.expected = batch.next_offset().0;
                let stray_epoch = batch.header().leader_epoch != 0;
                let base_offset = batch.base_offset();
                let batch = if stray_epoch { batch.with_base_offset(base_offset) } else { batch };
                Some(Piece::Sound { position, batch, stray_epoch })
            }
            Err(reason) => Some(Piece::Damaged(self.damaged_at(position, reason))),
        }
    }

    /// Gives the place where the walk goes on, or ended.
    pub(crate) fn position(&self) -> u64 {
        self.stretch.position
    }

    /// Gives the offset that the walk has come to.
    pub(crate) fn expected(&self) -> u64 {
        self.stretch.expected
    }

    /// Gives the batch that damaged bytes were, if only its base offset, length, epoch or magic is wrong: these the CRC does not cover,
    /// but the neighbours tell them.
    pub(crate) fn restored(&mut self, damaged: &Damaged) -> Option<Batch> {
        let len = usize::try_from(damaged.end - damaged.position).ok()?;
        if !(HEADER_BYTES..=BATCH_BYTES_MAX).contains(&len) {
            return None;
        }
        let mut bytes = BytesMut::from(self.read(damaged.position, len));
        bytes[..8].copy_from_slice(&damaged.from.to_be_bytes());
        bytes[8..12].copy_from_slice(&((len - LENGTH_PREFIX_BYTES) as u32).to_be_bytes());
        bytes[12..MAGIC_AT].fill(0);
        bytes[MAGIC_AT] = MAGIC;
        let batch = Batch::take(&mut bytes.freeze()).ok()?;
        (batch.next_offset().0 == damaged.next && batch.verify().is_ok()).then_some(batch)
    }

    fn damaged_at(&mut self, position: u64, reason: String) -> Damaged {
        let Stretch { end, expected, limit, .. } = self.stretch;
        let unreadable = self.unreadable.clone();
        let after = self.next_sound(position);
        let next = after.as_ref().map_or(limit, |(_, batch)| batch.base_offset().0);
        let end = after.map_or(end, |(position, _)| position);
        (self.stretch.position, self.stretch.expected) = (end, next);
        let of_it = unreadable.filter(|(bytes, _)| bytes.start < end && bytes.end > position);
        let reason = of_it.map_or(reason, |(bytes, error)| format!("byte {} cannot be read: {error}", bytes.start));
        Damaged { position, end, from: expected, next, reason }
    }

    /// Reads the batch at a position; says what is wrong with it.
    fn sound_at(&mut self, position: u64) -> Result<Batch, String> {
        let Stretch { end, expected, limit, .. } = self.stretch;
        let header = self.header_at(position)?;
        let (base_offset, next_offset) = (header.base_offset as u64, header.next_offset() as u64);
        let after = position + header.total_bytes as u64;
        if after > end {
            return Err(format!("it has {} bytes, which reach past the segment's end", header.total_bytes));
        }
        if base_offset < expected {
            return Err(format!("its base offset {base_offset} is below {expected}, where the batch before it ends"));
        }
        if next_offset > limit {
            return Err(format!("its offsets {base_offset}..{next_offset} reach past {limit}, where the segment ends"));
        }
        let mut bytes = self.read(position, header.total_bytes);
        let batch = Batch::take(&mut bytes).map_err(|error| error.to_string())?;
        batch.verify_crc().map_err(|error| error.to_string())?;
        // A gap before it is suspect: it is this batch that stands wrong if the one after begins where this one should end.
        if base_offset > expected
            && let Ok(following) = self.header_at(after)
        {
            let following = following.base_offset as u64;
            if following < next_offset && following >= expected + (next_offset - base_offset) {
                return Err(format!("its base offset {base_offset} does not fit the next batch's {following}"));
            }
        }
        Ok(batch)
    }

    fn header_at(&mut self, position: u64) -> Result<BatchHeader, String> {
        if position + HEADER_BYTES as u64 > self.stretch.end {
            return Err("its header is cut short by the segment's end".to_owned());
        }
        let raw = self.read(position, HEADER_BYTES);
        BatchHeader::parse(&raw).map_err(|error| error.to_string())
    }

    /// Finds the next sound batch after damage at `position`.
    fn next_sound(&mut self, position: u64) -> Option<(u64, Batch)> {
        let Stretch { end, limit, .. } = self.stretch;
        if let Ok(header) = self.header_at(position) {
            // A header is to be trusted if its length and offsets lead to one that agrees.
            let (after, next_offset) = (position + header.total_bytes as u64, header.next_offset() as u64);
            if after == end && next_offset == limit {
                return None;
            }
            let found = self.sound_at(after).ok().filter(|batch| batch.base_offset().0 == next_offset);
            if let Some(batch) = found {
                return Some((after, batch));
            }
        }
        let mut at = position + 1;
        while at + HEADER_BYTES as u64 <= end {
            let window = self.read_ahead(at);
            let searched = window.len() - (HEADER_BYTES - 1);
            let magics = memchr::memchr_iter(MAGIC, &window[MAGIC_AT..MAGIC_AT + searched]);
            for candidate in magics.map(|found| found as u64 + at) {
                if let Ok(batch) = self.sound_at(candidate) {
                    return Some((candidate, batch));
                }
            }
            at += searched as u64;
        }
        None
    }

    /// Gives at least a header's bytes from `position` on, as many as are read at once.
    fn read_ahead(&mut self, position: u64) -> Bytes {
        let want = (self.stretch.end - position).min(WINDOW_BYTES as u64) as usize;
        self.read(position, want)
    }

    /// Reads bytes within the stretch. What cannot be read is zeros, and noted.
    fn read(&mut self, position: u64, len: usize) -> Bytes {
        let (start, window) = &self.window;
        let inside = position >= *start && position + len as u64 <= *start + window.len() as u64;
        if !inside {
            let ahead = (self.stretch.end.saturating_sub(position)).min(WINDOW_BYTES as u64) as usize;
            self.window = (position, self.read_file(position, len.max(ahead)));
        }
        let at = (position - self.window.0) as usize;
        self.window.1.slice(at..at + len)
    }

    fn read_file(&mut self, position: u64, len: usize) -> Bytes {
        let mut bytes = BytesMut::zeroed(len);
        self.unreadable = None;
        match self.file.read_at(&mut bytes, position) {
            Ok(have) if have == len => {}
            Ok(have) => {
                bytes[have..].fill(0);
                let missing = position + have as u64..position + len as u64;
                self.unreadable = Some((missing, "the file is shorter than what was written".to_owned()));
            }
            // The system does not say which of the bytes it could not read.
            Err(_) => self.read_blocks(&mut bytes, position),
        }
        bytes.freeze()
    }

    fn read_blocks(&mut self, bytes: &mut [u8], position: u64) {
        let (mut done, mut block_bytes) = (0, BLOCK_BYTES);
        while done < bytes.len() {
            let at = position + done as u64;
            // Blocks end where the device's do.
            let len = (block_bytes - (at % BLOCK_BYTES as u64) as usize).min(bytes.len() - done);
            let block = &mut bytes[done..done + len];
            match self.file.read_at(block, at) {
                Ok(have) => {
                    block[have..].fill(0);
                    block_bytes = BLOCK_BYTES;
                }
                Err(error) => {
                    block.fill(0);
                    self.unreadable.get_or_insert_with(|| (at..at + len as u64, error.to_string()));
                    block_bytes = (2 * block_bytes).min(BLOCK_BYTES_MAX);
                }
            }
            done += len;
        }
    }
}
