//! Reads records back: from memory at the head, else from the segments. Never past the high watermark, never writes.

use std::io;
use std::sync::Arc;

use skidway_record::{Batch, BatchError, Offset, TopicPartition};

use crate::commit::LogOffsets;
use crate::error::Error;
use crate::log::Fetched;
use crate::partition::Partition;
use crate::scan::Scan;
use crate::segment::Segment;
use crate::store::Store;

/// Bytes read from a file at once, unless a batch is larger.
const CHUNK_BYTES_MIN: usize = 64 << 10;
const CHUNK_BYTES_MAX: usize = 4 << 20;

impl Store {
    /// Reads whole batches from the one that contains `at`, or the first after it.
    pub(crate) fn fetch(&self, from: &TopicPartition, at: Offset, bytes_max: usize) -> Result<Fetched, Error> {
        let (partition, offsets) = self.partition(from)?;
        if let Some(batches) = self.recent_batches(&partition, offsets, at, bytes_max)? {
            return Ok(Fetched { batches, offsets });
        }
        let high_watermark = offsets.high_watermark;
        match reread(&partition, || self.fetch_from_segments(&partition, at, high_watermark, bytes_max)) {
            Ok(batches) => Ok(Fetched { batches, offsets }),
            Err(error) => Err(self.explain(error, from, &partition, at)),
        }
    }

    /// Does the same from memory alone; `None` if it takes a file.
    pub(crate) fn fetch_recent(
        &self,
        from: &TopicPartition,
        at: Offset,
        bytes_max: usize,
    ) -> Result<Option<Fetched>, Error> {
        let (partition, offsets) = self.partition(from)?;
        let batches = self.recent_batches(&partition, offsets, at, bytes_max)?;
        Ok(batches.map(|batches| Fetched { batches, offsets }))
    }

    fn recent_batches(
        &self,
        partition: &Partition,
        offsets: LogOffsets,
        at: Offset,
        bytes_max: usize,
    ) -> Result<Option<Vec<Batch>>, Error> {
        check_range(at, offsets)?;
        if at == offsets.high_watermark {
            return Ok(Some(Vec::new()));
        }
        Ok(self.recent.read(partition.key(), at, offsets.high_watermark, bytes_max))
    }

    /// Finds the first record whose timestamp is `timestamp_ms` or later. Records that cannot be read may be as new: the first of them is
    /// the answer then, so that whoever reads from there is told.
    pub(crate) fn offset_at(&self, of: &TopicPartition, timestamp_ms: i64) -> Result<Option<Offset>, Error> {
        let (partition, offsets) = self.partition(of)?;
        let found = reread(&partition, || self.offset_in_segments(&partition, offsets, timestamp_ms));
        match found.map_err(|error| self.explain(error, of, &partition, offsets.log_start)) {
            Err(Error::Damaged { from, .. }) => Ok(Some(from.max(offsets.log_start))),
            found => found,
        }
    }

    fn offset_in_segments(
        &self,
        partition: &Partition,
        offsets: LogOffsets,
        timestamp_ms: i64,
    ) -> Result<Option<Offset>, Error> {
        let segments = partition.segments();
        let mut new_enough = segments.iter().filter(|segment| segment.max_timestamp_ms() >= timestamp_ms);
        let found = new_enough.find_map(|segment| {
            let limit = limit_of(partition, segment, offsets.high_watermark);
            self.offset_in_segment(segment, offsets.log_start, limit, timestamp_ms).transpose()
        });
        found.transpose()
    }

    fn fetch_from_segments(
        &self,
        partition: &Partition,
        at: Offset,
        high_watermark: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Batch>, Error> {
        // Records may be missing from the very start on.
        let mut segment = partition.segment_of(at.0).or_else(|| partition.segments().into_iter().next());
        while let Some(current) = segment {
            let limit = limit_of(partition, &current, high_watermark);
            let batches = self.fetch_from(&current, at, limit, bytes_max)?;
            if !batches.is_empty() {
                return Ok(batches);
            }
            // Offsets may have gaps: the next record may be in the next segment.
            segment = partition.segment_after(&current);
        }
        Ok(Vec::new())
    }

    /// Reads what precedes damage; the damage itself is told to whoever asks for it first.
    fn fetch_from(
        &self,
        segment: &Arc<Segment>,
        at: Offset,
        limit: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Batch>, Error> {
        let chunk_bytes = bytes_max.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        let mut scan = Scan::new(&self.files, segment, at, limit, chunk_bytes)?;
        let (mut batches, mut bytes) = (Vec::new(), 0);
        loop {
            let batch = match scan.next_batch() {
                Ok(Some(batch)) => batch,
                Ok(None) => break,
                Err(_) if !batches.is_empty() => break,
                Err(error) => return Err(from_asked(error, at)),
            };
            bytes += batch.bytes().len();
            if bytes > bytes_max && !batches.is_empty() {
                break;
            }
            batches.push(batch);
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(batches)
    }

    fn offset_in_segment(
        &self,
        segment: &Segment,
        log_start: Offset,
        limit: Offset,
        timestamp_ms: i64,
    ) -> Result<Option<Offset>, Error> {
        let mut scan = self.scan_newer(segment, log_start, limit, timestamp_ms)?;
        while let Some(batch) = scan.next_batch()? {
            if batch.header().max_timestamp_ms < timestamp_ms {
                continue;
            }
            if let Some(found) = offset_in_batch(segment, scan.position(), &batch, log_start, timestamp_ms) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Begins to read a segment where its time index says that all before is older, or else at its start.
    fn scan_newer<'a>(
        &self,
        segment: &'a Segment,
        log_start: Offset,
        limit: Offset,
        timestamp_ms: i64,
    ) -> Result<Scan<'a>, Error> {
        let scan = |from: Offset| Scan::new(&self.files, segment, from.max(log_start), limit, CHUNK_BYTES_MIN);
        let Some(entry) = segment.entry_older(self.files.disk().as_ref(), timestamp_ms) else { return scan(Offset(0)) };
        // The index is a hint: the batch that the entry names must be as new as it says.
        let last_offset = Offset(segment.base_offset() + u64::from(entry.offset));
        let named = Scan::new(&self.files, segment, last_offset, limit, CHUNK_BYTES_MIN)?.next_batch();
        let agrees = |batch: &Batch| {
            batch.next_offset().0 == last_offset.0 + 1 && batch.header().max_timestamp_ms == entry.timestamp_ms
        };
        if matches!(&named, Ok(Some(batch)) if agrees(batch)) { scan(last_offset) } else { scan(Offset(0)) }
    }

    /// Turns a missing file, or what looks like damage, into what made it so, if retention or a deletion went by.
    fn explain(&self, error: Error, name: &TopicPartition, read: &Arc<Partition>, at: Offset) -> Error {
        let missing = matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound);
        let damaged = matches!(&error, Error::Damaged { .. });
        match self.partition(name) {
            _ if !missing && !damaged => error,
            Err(unknown) => unknown,
            Ok((now, _)) if !Arc::ptr_eq(&now, read) => Error::UnknownPartition(name.clone()),
            Ok((_, offsets)) => check_range(at, offsets).err().unwrap_or(error),
        }
    }
}

/// Reads again if a merged segment took the place of another meanwhile: the old one's places mean nothing in the new file.
fn reread<T>(partition: &Partition, read: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    loop {
        let swaps = partition.swaps();
        let done = read();
        if done.is_err() {
            // A swap that is under way holds the list of segments: it is counted when that can be looked at.
            drop(partition.segments());
            if partition.swaps() != swaps {
                continue;
            }
        }
        return done;
    }
}

/// Gives the offset that no batch of a segment ends past.
fn limit_of(partition: &Partition, segment: &Segment, high_watermark: Offset) -> Offset {
    let next = partition.segment_after(segment);
    next.map_or(high_watermark, |next| Offset(next.base_offset()).min(high_watermark))
}

/// Reports damage from the offset asked for on.
fn from_asked(error: Error, at: Offset) -> Error {
    match error {
        Error::Damaged { path, position, from, next, reason } => {
            Error::Damaged { path, position, from: from.max(at), next, reason }
        }
        other => other,
    }
}

/// Finds the first record of a batch that is new enough. A batch that does not decode may hold it at its beginning.
fn offset_in_batch(
    segment: &Segment,
    position: u64,
    batch: &Batch,
    log_start: Offset,
    timestamp_ms: i64,
) -> Option<Offset> {
    let undecodable = |error: BatchError| {
        let path = segment.path().display();
        tracing::warn!(%path, position, offset = %batch.base_offset(), "a stored batch does not decode: {error}");
        Some(batch.base_offset().max(log_start))
    };
    let decoded = match batch.decode() {
        Ok(decoded) => decoded,
        Err(error) => return undecodable(error),
    };
    for record in decoded.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => return undecodable(error),
        };
        let offset = decoded.offset_of(&record);
        if record.timestamp_ms >= timestamp_ms && offset >= log_start {
            return Some(offset);
        }
    }
    None
}

fn check_range(at: Offset, offsets: LogOffsets) -> Result<(), Error> {
    let inside = (offsets.log_start..=offsets.high_watermark).contains(&at);
    if inside { Ok(()) } else { Err(Error::OffsetOutOfRange { at, offsets }) }
}
