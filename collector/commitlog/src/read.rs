//! Reads records back: from memory at the head, else from the segments. Never past the high watermark, never writes.

use std::io;
use std::sync::Arc;

use skidway_record::{Batch, Offset, TopicPartition};

use crate::commit::LogOffsets;
use crate::error::Error;
use crate::log::Fetched;
use crate::partition::Partition;
use crate::segment::Segment;
use crate::store::Store;

/// Bytes read from a file at once, unless a batch is larger.
const CHUNK_BYTES_MIN: usize = 64 << 10;
const CHUNK_BYTES_MAX: usize = 4 << 20;

impl Store {
    /// Reads whole batches from the one that contains `at`.
    pub(crate) fn fetch(&self, from: &TopicPartition, at: Offset, bytes_max: usize) -> Result<Fetched, Error> {
        let (partition, offsets) = self.partition(from)?;
        check_range(at, offsets)?;
        if at == offsets.high_watermark {
            return Ok(Fetched { batches: Vec::new(), offsets });
        }
        let high_watermark = offsets.high_watermark;
        if let Some(batches) = self.recent.read(partition.key(), at, high_watermark, bytes_max) {
            return Ok(Fetched { batches, offsets });
        }
        match reread(&partition, || self.fetch_from_segments(&partition, at, high_watermark, bytes_max)) {
            Ok(batches) => Ok(Fetched { batches, offsets }),
            Err(error) => Err(self.explain(error, from, &partition, at)),
        }
    }

    /// Finds the first record whose timestamp is `timestamp_ms` or later.
    pub(crate) fn offset_at(&self, of: &TopicPartition, timestamp_ms: i64) -> Result<Option<Offset>, Error> {
        let (partition, offsets) = self.partition(of)?;
        let found = reread(&partition, || self.offset_in_segments(&partition, offsets, timestamp_ms));
        found.map_err(|error| self.explain(error, of, &partition, offsets.log_start))
    }

    fn offset_in_segments(
        &self,
        partition: &Partition,
        offsets: LogOffsets,
        timestamp_ms: i64,
    ) -> Result<Option<Offset>, Error> {
        let segments = partition.segments();
        let mut new_enough = segments.iter().filter(|segment| segment.max_timestamp_ms() >= timestamp_ms);
        let found = new_enough.find_map(|segment| self.offset_in_segment(segment, offsets, timestamp_ms).transpose());
        found.transpose()
    }

    fn fetch_from_segments(
        &self,
        partition: &Partition,
        at: Offset,
        high_watermark: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Batch>, Error> {
        let mut segment = partition.segment_of(at.0);
        while let Some(current) = segment {
            let batches = self.fetch_from(&current, at, high_watermark, bytes_max)?;
            if !batches.is_empty() {
                return Ok(batches);
            }
            // Offsets may have gaps: the next record may be in the next segment.
            segment = partition.segment_after(&current);
        }
        Ok(Vec::new())
    }

    fn fetch_from(
        &self,
        segment: &Arc<Segment>,
        at: Offset,
        high_watermark: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Batch>, Error> {
        let chunk_bytes = bytes_max.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        let mut scan = segment.scan_from(&self.files, at, chunk_bytes)?;
        let (mut batches, mut bytes) = (Vec::new(), 0);
        while let Some(batch) = scan.next_batch()? {
            bytes += batch.bytes().len();
            if batch.next_offset() > high_watermark || (bytes > bytes_max && !batches.is_empty()) {
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
        offsets: LogOffsets,
        timestamp_ms: i64,
    ) -> Result<Option<Offset>, Error> {
        let older = segment.older_than(&self.files, timestamp_ms)?.unwrap_or_default();
        let mut scan = segment.scan_from(&self.files, older, CHUNK_BYTES_MIN)?;
        while let Some(batch) = scan.next_batch()? {
            if batch.next_offset() > offsets.high_watermark {
                break;
            }
            if batch.header().max_timestamp_ms < timestamp_ms || batch.next_offset() <= offsets.log_start {
                continue;
            }
            if let Some(found) = offset_in_batch(segment, &batch, offsets.log_start, timestamp_ms)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Turns a missing file into what made it missing, if retention or a deletion went by.
    fn explain(&self, error: Error, name: &TopicPartition, read: &Arc<Partition>, at: Offset) -> Error {
        let missing = matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound);
        match self.partition(name) {
            _ if !missing => error,
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
        match read() {
            Err(_) if partition.swaps() != swaps => {}
            done => return done,
        }
    }
}

fn offset_in_batch(
    segment: &Segment,
    batch: &Batch,
    log_start: Offset,
    timestamp_ms: i64,
) -> Result<Option<Offset>, Error> {
    let damaged = |error: skidway_record::BatchError| {
        let reason = format!("the batch at offset {}: {error}", batch.base_offset());
        Error::corrupt(segment.path(), 0, reason)
    };
    let decoded = batch.decode().map_err(damaged)?;
    for record in decoded.records() {
        let record = record.map_err(damaged)?;
        let offset = decoded.offset_of(&record);
        if record.timestamp_ms >= timestamp_ms && offset >= log_start {
            return Ok(Some(offset));
        }
    }
    Ok(None)
}

fn check_range(at: Offset, offsets: LogOffsets) -> Result<(), Error> {
    let inside = (offsets.log_start..=offsets.high_watermark).contains(&at);
    if inside { Ok(()) } else { Err(Error::OffsetOutOfRange { at, offsets }) }
}
