//! Reads a segment's batches one after the other, from the one that holds a given offset: in chunks, and checked.
//!
//! While all is well, headers alone lead to the place, and each batch given is checked by its CRC and against its neighbours. At the first
//! doubt the bytes are surveyed (`survey.rs`) from the last place that is beyond it: then every batch passed over is checked as well.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use skidway_disk::DiskFile;
use skidway_record::header::HEADER_BYTES;
use skidway_record::{Batch, BatchHeader, Offset};

use crate::buffers::Buffers;
use crate::error::Error;
use crate::files::Files;
use crate::index::{INDEX_INTERVAL_BYTES, OffsetEntry};
use crate::segment::Segment;
use crate::survey::{Piece, Stretch, Survey};

/// Batches of this size or larger are read one by one: another's beginning would be read in vain.
const LARGE_BATCH_BYTES: usize = 64 << 10;

/// Bytes read at once by who reads whole segments.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;

/// Index entries that are tried before the segment is read from its start.
const HINTS_MAX: usize = 3;

/// Reads a segment's batches one after the other.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    segment: &'a Segment,
    file: Arc<dyn DiskFile>,
    buffers: Buffers,
    /// What ends at or before this offset is passed over.
    target: u64,
    /// What is left: where the next batch begins, and at which offset.
    stretch: Stretch,
    /// The stretch from the last place beyond doubt.
    trusted: Stretch,
    /// Where the batch given last begins.
    given_at: u64,
    chunk_bytes: usize,
    /// Bytes from the next batch's place on.
    buffer: Bytes,
    survey: Option<Survey>,
}

/// Says that something is wrong, or merely unusual.
struct Doubt;

impl<'a> Scan<'a> {
    /// Begins to read at the batch that contains `offset`, or the first after it. No batch of the segment ends past `limit`.
    ///
    /// # Errors
    /// [`Error::Io`]: the file cannot be opened.
    pub(crate) fn new(
        files: &Files,
        segment: &'a Segment,
        offset: Offset,
        limit: Offset,
        chunk_bytes: usize,
    ) -> Result<Self, Error> {
        let file = files.get(segment.id(), segment.path())?;
        let stretch = Stretch { position: 0, end: segment.bytes(), expected: segment.base_offset(), limit: limit.0 };
        let mut scan = Self {
            segment,
            file,
            buffers: files.buffers().clone(),
            target: offset.0,
            stretch,
            trusted: stretch,
            given_at: 0,
            chunk_bytes,
            buffer: Bytes::new(),
            survey: None,
        };
        scan.jump(files);
        Ok(scan)
    }

    /// Gives the next batch; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Damaged`] (reject). The next call goes on after the damage.
    pub(crate) fn next_batch(&mut self) -> Result<Option<Batch>, Error> {
        if self.survey.is_none() {
            match self.next_in_order() {
                Ok(batch) => return Ok(batch),
                Err(Doubt) => self.survey = Some(Survey::new(self.file.clone(), self.trusted)),
            }
        }
        let target = self.target;
        while let Some(piece) = self.survey.as_mut().and_then(Survey::next_piece) {
            match piece {
                Piece::Sound { position, batch, .. } if batch.next_offset().0 > target => {
                    self.given_at = position;
                    return Ok(Some(batch));
                }
                Piece::Damaged(damaged) if damaged.next > target => return Err(damaged.error(self.segment.path())),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Tells where the batch given last begins.
    pub(crate) fn position(&self) -> u64 {
        self.given_at
    }

    /// Goes where the index says, which is at or before the target. The index is a hint: a batch that ends elsewhere than the entry says
    /// shows one of them wrong, and an earlier entry is tried.
    fn jump(&mut self, files: &Files) {
        let mut before = self.target;
        for _ in 0..HINTS_MAX {
            let Some(entry) = self.segment.entry_before(files.disk().as_ref(), before) else { return };
            if self.is_at(entry) {
                return;
            }
            let last_offset = self.segment.base_offset() + u64::from(entry.offset);
            let Some(earlier) = last_offset.checked_sub(1) else { return };
            before = earlier;
        }
    }

    /// Moves to an entry's place, if the batch there ends as it says.
    fn is_at(&mut self, entry: OffsetEntry) -> bool {
        let start = self.stretch;
        self.stretch.position = u64::from(entry.position);
        self.buffer = Bytes::new();
        let ends_at = self.segment.base_offset() + u64::from(entry.offset) + 1;
        match self.read_header() {
            Ok(header)
                if header.next_offset() as u64 == ends_at && header.base_offset as u64 >= self.stretch.expected =>
            {
                self.stretch.expected = header.base_offset as u64;
                self.trusted = self.stretch;
                true
            }
            _ => {
                self.stretch = start;
                self.buffer = Bytes::new();
                false
            }
        }
    }

    /// Gives the next batch while each begins where the one before ends, as they do unless something was taken out.
    fn next_in_order(&mut self) -> Result<Option<Batch>, Doubt> {
        while self.stretch.position < self.stretch.end && self.stretch.expected < self.stretch.limit {
            let header = self.read_header()?;
            let next_offset = header.next_offset() as u64;
            let total_bytes = header.total_bytes as u64;
            let fits = self.stretch.position + total_bytes <= self.stretch.end && next_offset <= self.stretch.limit;
            if header.base_offset as u64 != self.stretch.expected || !fits || header.leader_epoch != 0 {
                return Err(Doubt);
            }
            if next_offset <= self.target {
                self.buffer.advance(header.total_bytes.min(self.buffer.len()));
                (self.stretch.position, self.stretch.expected) = (self.stretch.position + total_bytes, next_offset);
                continue;
            }
            if self.buffer.len() < header.total_bytes {
                let large = header.total_bytes >= LARGE_BATCH_BYTES;
                self.fill(if large { header.total_bytes } else { self.chunk_bytes.max(header.total_bytes) })?;
            }
            let batch = Batch::take(&mut self.buffer).map_err(|_| Doubt)?;
            batch.verify_crc().map_err(|_| Doubt)?;
            self.given_at = self.stretch.position;
            (self.stretch.position, self.stretch.expected) = (self.stretch.position + total_bytes, next_offset);
            (self.trusted, self.target) = (self.stretch, next_offset);
            return Ok(Some(batch));
        }
        Ok(None)
    }

    /// Reads the next batch's header.
    fn read_header(&mut self) -> Result<BatchHeader, Doubt> {
        if self.buffer.len() < HEADER_BYTES {
            self.fill(INDEX_INTERVAL_BYTES as usize)?;
        }
        BatchHeader::parse(&self.buffer).map_err(|_| Doubt)
    }

    /// Reads `need` bytes from the next batch's place on, or what there is.
    fn fill(&mut self, need: usize) -> Result<(), Doubt> {
        let want = (need as u64).min(self.stretch.end.saturating_sub(self.stretch.position)) as usize;
        // What is no longer needed can be read into.
        self.buffer = Bytes::new();
        self.buffer = self.buffers.filled(want, |bytes| match self.file.read_at(bytes, self.stretch.position) {
            Ok(have) if have == want => Ok(()),
            _ => Err(Doubt),
        })?;
        Ok(())
    }
}
