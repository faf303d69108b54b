//! Reads a segment's batches one after the other, in chunks, from a place where one begins.

use bytes::{Buf, Bytes, BytesMut};
use skidway_record::header::HEADER_BYTES;
use skidway_record::{Batch, BatchError, BatchHeader, Offset};

use crate::error::Error;
use crate::files::Files;
use crate::index::INDEX_INTERVAL_BYTES;
use crate::segment::Segment;

/// Reads a segment's batches one after the other, in chunks.
pub(crate) struct Scan<'a> {
    files: &'a Files,
    segment: &'a Segment,
    /// Where the next batch begins.
    position: u64,
    /// Where reading ends: what is written later is not seen.
    end: u64,
    chunk_bytes: usize,
    buffer: Bytes,
}

impl<'a> Scan<'a> {
    /// Begins at `position`, where a batch begins.
    pub(crate) fn new(files: &'a Files, segment: &'a Segment, position: u64, chunk_bytes: usize) -> Self {
        Self { files, segment, position, end: segment.bytes(), chunk_bytes, buffer: Bytes::new() }
    }

    /// Gives the next batch; `None` at the end.
    pub(crate) fn next_batch(&mut self) -> Result<Option<Batch>, Error> {
        let mut need = self.chunk_bytes;
        while self.position < self.end {
            match Batch::take(&mut self.buffer) {
                Ok(batch) => {
                    self.position += batch.bytes().len() as u64;
                    return Ok(Some(batch));
                }
                Err(BatchError::CutShort { need: more, .. })
                    if (self.buffer.len() as u64) < self.end - self.position =>
                {
                    self.fill(need.max(more))?;
                    need = more;
                }
                Err(error) => return Err(Error::corrupt(self.segment.path(), self.position, error.to_string())),
            }
        }
        Ok(None)
    }

    /// Steps over the batches that end at or before `offset`; their records are not read.
    pub(crate) fn seek(&mut self, offset: Offset) -> Result<(), Error> {
        while let Some(header) = self.header()? {
            if header.next_offset() as u64 > offset.0 {
                break;
            }
            self.position += header.total_bytes as u64;
            self.buffer.advance(header.total_bytes.min(self.buffer.len()));
        }
        Ok(())
    }

    /// Gives the next batch's header; `None` at the end.
    pub(crate) fn header(&mut self) -> Result<Option<BatchHeader>, Error> {
        if self.position >= self.end {
            return Ok(None);
        }
        if self.buffer.len() < HEADER_BYTES {
            self.fill(INDEX_INTERVAL_BYTES as usize)?;
        }
        let damaged = |error: BatchError| Error::corrupt(self.segment.path(), self.position, error.to_string());
        BatchHeader::parse(&self.buffer).map(Some).map_err(damaged)
    }

    /// Reads `need` bytes from the next batch's place on, or what there is.
    fn fill(&mut self, need: usize) -> Result<(), Error> {
        let path = self.segment.path();
        let want = (need as u64).min(self.end - self.position) as usize;
        let mut bytes = BytesMut::zeroed(want);
        let file = self.files.get(self.segment.id(), path)?;
        let have = file.read_at(&mut bytes, self.position).map_err(Error::io("read", path))?;
        if have < want {
            return Err(Error::corrupt(path, self.position + have as u64, "the file is shorter than what was written"));
        }
        self.buffer = bytes.freeze();
        Ok(())
    }
}
