//! Records in, one encoded batch out. Pure: reads no clock; the producer fields stay −1 (positions protect agents).

use bytes::Bytes;

use crate::batch::Batch;
use crate::compression::{Compression, Compressor};
use crate::header::{BatchHeader, CRC_COVERS_FROM, DELETE_HORIZON, HEADER_BYTES};
use crate::record::Record;
use crate::varint;

/// Smallest body worth compressing, in bytes. Below it, building zstd's tables costs far more than the few bytes it saves: one-line
/// batches shrink by a sixth, and took a third of an agent's time at 10,000 lines/s over 100 files.
const COMPRESS_FROM_BYTES: usize = 512;

/// Stands where there is no time, as in Kafka.
const NO_TIMESTAMP: i64 = -1;

/// Holds a record's headers already encoded, so that a file's many lines encode theirs once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedHeaders(Vec<u8>);

impl EncodedHeaders {
    /// Takes a record's headers over as they are.
    pub(crate) fn of(record: &Record<'_>) -> Self {
        let mut encoded = Vec::with_capacity(record.encoded_headers().len() + 1);
        varint::write(&mut encoded, i64::from(record.header_count()));
        encoded.extend_from_slice(record.encoded_headers());
        Self(encoded)
    }

    /// Encodes headers in the given order; a `None` value is null. Keys may repeat.
    pub fn new<'a>(headers: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Self {
        Self::none().and(headers)
    }

    /// Gives these headers with more after them.
    #[must_use]
    pub fn and<'a>(&self, more: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Self {
        let (mut fields, mut added) = (&self.0[..], Vec::new());
        let mut count = varint::read(&mut fields).unwrap_or(0);
        for (key, value) in more {
            write_bytes(&mut added, Some(key));
            write_bytes(&mut added, value);
            count += 1;
        }
        let mut encoded = Vec::with_capacity(self.0.len() + 1 + added.len());
        varint::write(&mut encoded, count);
        encoded.extend_from_slice(fields);
        encoded.extend_from_slice(&added);
        Self(encoded)
    }

    /// Gives no headers at all.
    pub fn none() -> Self {
        Self(vec![0])
    }

    /// Tells how many bytes each record pays for them, uncompressed.
    pub fn encoded_len(&self) -> usize {
        self.0.len()
    }
}

/// Collects records into the body of one batch; [`BatchBuilder::finish`] encodes it and makes ready for the next.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    body: Vec<u8>,
    record_count: u32,
    last_offset_delta: u32,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
    delete_horizon_ms: Option<i64>,
}

impl BatchBuilder {
    /// Makes an empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a record; `None` as value is a tombstone. `timestamp_ms` counts from 1970.
    #[inline]
    pub fn push(&mut self, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &EncodedHeaders) {
        self.push_at(self.record_count, timestamp_ms, key, value, headers);
    }

    /// Appends a record at an offset of its own, above those before it.
    #[inline]
    pub(crate) fn push_at(
        &mut self,
        offset_delta: u32,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &EncodedHeaders,
    ) {
        if self.record_count == 0 {
            self.base_timestamp_ms = self.delete_horizon_ms.unwrap_or(timestamp_ms);
            self.max_timestamp_ms = timestamp_ms;
        }
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
        self.last_offset_delta = offset_delta;
        let timestamp_delta = timestamp_ms.wrapping_sub(self.base_timestamp_ms);
        let offset_delta = i64::from(offset_delta);
        let length = 1
            + varint::len(timestamp_delta)
            + varint::len(offset_delta)
            + encoded_len(key)
            + encoded_len(value)
            + headers.0.len();
        self.body.reserve(length + varint::len(length as i64));
        varint::write(&mut self.body, length as i64);
        self.body.push(0);
        varint::write(&mut self.body, timestamp_delta);
        varint::write(&mut self.body, offset_delta);
        write_bytes(&mut self.body, key);
        write_bytes(&mut self.body, value);
        self.body.extend_from_slice(&headers.0);
        self.record_count += 1;
    }

    /// Tells how many records are in it.
    pub fn record_count(&self) -> u32 {
        self.record_count
    }

    /// Tells how many bytes the records take before compression.
    pub fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// Tells whether there is no record in it.
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Encodes the records as a batch of base offset 0 and empties the builder, its memory kept for the next batch.
    ///
    /// A body of 512 bytes or more is compressed if that makes it smaller. `None` if there are no records. The result may exceed
    /// [`crate::limits::BATCH_BYTES_MAX`] if more was pushed than a batch may hold: the caller bounds what it pushes.
    pub fn finish(&mut self, compressor: &mut Compressor) -> Option<Batch> {
        self.finish_at(0, self.last_offset_delta, compressor)
    }

    /// Encodes the records as a batch of that base offset which reaches as far as its last offset, whether or not a record is there.
    pub(crate) fn finish_at(
        &mut self,
        base_offset: i64,
        last_offset_delta: u32,
        compressor: &mut Compressor,
    ) -> Option<Batch> {
        if self.is_empty() {
            return None;
        }
        let mut bytes = vec![0; HEADER_BYTES];
        let worth_it = self.body.len() >= COMPRESS_FROM_BYTES;
        let codec = if worth_it && compressor.append(&self.body, &mut bytes) {
            Compression::Zstd
        } else {
            bytes.extend_from_slice(&self.body);
            Compression::None
        };
        let header = BatchHeader { base_offset, last_offset_delta, ..self.header(codec, bytes.len()) };
        self.body.clear();
        (self.record_count, self.delete_horizon_ms) = (0, None);
        Some(seal(header, bytes))
    }

    /// Sets when the tombstones of the next batch may go, before its first record.
    pub(crate) fn set_delete_horizon(&mut self, horizon_ms: i64) {
        debug_assert!(self.is_empty(), "records' times count from the horizon");
        self.delete_horizon_ms = Some(horizon_ms);
    }

    /// Tells when the tombstones of this batch may go.
    pub(crate) fn delete_horizon_ms(&self) -> Option<i64> {
        self.delete_horizon_ms
    }

    fn header(&self, codec: Compression, total_bytes: usize) -> BatchHeader {
        BatchHeader {
            base_offset: 0,
            total_bytes,
            leader_epoch: 0,
            crc: 0,
            attributes: i16::from(codec.code()) | self.delete_horizon_ms.map_or(0, |_| DELETE_HORIZON),
            last_offset_delta: self.last_offset_delta,
            base_timestamp_ms: self.base_timestamp_ms,
            max_timestamp_ms: self.max_timestamp_ms,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: self.record_count,
        }
    }
}

/// Encodes a batch that has offsets and no records, as Kafka's cleaner leaves them: nobody takes its offsets for lost ones.
pub(crate) fn empty_batch(base_offset: i64, last_offset_delta: u32) -> Batch {
    let header = BatchHeader {
        base_offset,
        total_bytes: HEADER_BYTES,
        leader_epoch: 0,
        crc: 0,
        attributes: 0,
        last_offset_delta,
        base_timestamp_ms: NO_TIMESTAMP,
        max_timestamp_ms: NO_TIMESTAMP,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: 0,
    };
    seal(header, vec![0; HEADER_BYTES])
}

/// Writes the header in front of the body and the CRC over both.
fn seal(mut header: BatchHeader, mut bytes: Vec<u8>) -> Batch {
    let head = bytes.first_chunk_mut::<HEADER_BYTES>().expect("the header's room was reserved");
    header.write(head);
    header.crc = crc32c::crc32c(&bytes[CRC_COVERS_FROM..]);
    bytes[17..21].copy_from_slice(&header.crc.to_be_bytes());
    Batch::from_parts(header, Bytes::from(bytes))
}

#[inline]
fn encoded_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint::len(bytes.len() as i64) + bytes.len())
}

#[inline]
fn write_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => out.push(1), // −1
        Some(bytes) => {
            varint::write(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}
