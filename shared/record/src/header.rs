//! The 61 bytes before a batch's records.
//!
//! RecordBatch v2 (KIP-98; `DefaultRecordBatch` in Apache Kafka), big-endian:
//!
//! ```text
//!  at  width  field
//!   0    8    base offset               stamped by the collector, not covered by the CRC
//!   8    4    batch length              bytes after this field (total − 12)
//!  12    4    partition leader epoch    stamped by the collector, not covered by the CRC
//!  16    1    magic = 2
//!  17    4    CRC-32C                   of everything from `attributes` to the end
//!  21    2    attributes                0–2 codec · 3 timestamp type · 4 transactional · 5 control
//!  23    4    last offset delta
//!  27    8    base timestamp            ms since 1970, of the first record
//!  35    8    max timestamp
//!  43    8    producer id               −1: none
//!  51    2    producer epoch            −1
//!  53    4    base sequence             −1
//!  57    4    record count
//!  61         records, compressed as one block
//! ```

use crate::compression::Compression;
use crate::error::BatchError;
use crate::limits::BATCH_BYTES_MAX;

/// Counts the bytes of the header.
pub const HEADER_BYTES: usize = 61;

/// Counts the bytes up to and with the length field, which the length does not include.
pub const LENGTH_PREFIX_BYTES: usize = 12;

/// Tells where the bytes that the CRC covers begin.
pub const CRC_COVERS_FROM: usize = 21;

/// Marks a batch whose base timestamp is its delete horizon (KIP-534).
pub(crate) const DELETE_HORIZON: i16 = 0x40;

/// Bounds the base offset, so that adding any delta to it cannot overflow.
const BASE_OFFSET_MAX: i64 = i64::MAX - u32::MAX as i64;

/// Holds the parsed header of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record (of the original batch, if compacted).
    pub base_offset: i64,
    /// Bytes of the whole batch, the header included.
    pub total_bytes: usize,
    /// Leader epoch; we write 0.
    pub leader_epoch: i32,
    /// CRC-32C as written.
    pub crc: u32,
    /// Attribute bits as written.
    pub attributes: i16,
    /// Offset of the last record minus the base offset.
    pub last_offset_delta: u32,
    /// Milliseconds since 1970 that the records' deltas count from.
    pub base_timestamp_ms: i64,
    /// Largest timestamp of a record.
    pub max_timestamp_ms: i64,
    /// Kafka producer id; −1 for none.
    pub producer_id: i64,
    /// Kafka producer epoch; −1 for none.
    pub producer_epoch: i16,
    /// Kafka sequence of the first record; −1 for none.
    pub base_sequence: i32,
    /// Number of records.
    pub record_count: u32,
}

impl BatchHeader {
    /// Reads and checks the header at the front of `bytes`, which may hold less or more than the batch.
    ///
    /// # Errors
    /// [`BatchError`] (reject): cut short, wrong magic, a length outside the limits, counts that contradict each other.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let Some(raw) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::CutShort { have: bytes.len(), need: HEADER_BYTES });
        };
        if raw[16] != 2 {
            return Err(BatchError::Magic(raw[16]));
        }
        let length = i64::from(i32::from_be_bytes(field(raw, 8))) + LENGTH_PREFIX_BYTES as i64;
        if length < HEADER_BYTES as i64 || length > BATCH_BYTES_MAX as i64 {
            return Err(BatchError::Length { length, min: HEADER_BYTES, max: BATCH_BYTES_MAX });
        }
        let last_offset_delta = u32::try_from(i32::from_be_bytes(field(raw, 23)))
            .map_err(|_| BatchError::Header("the last offset delta is negative"))?;
        let record_count = u32::try_from(i32::from_be_bytes(field(raw, 57)))
            .map_err(|_| BatchError::Header("the record count is negative"))?;
        let base_offset = i64::from_be_bytes(field(raw, 0));
        if !(0..=BASE_OFFSET_MAX).contains(&base_offset) {
            return Err(BatchError::Header("the base offset is negative or leaves no room for the records'"));
        }
        if record_count > last_offset_delta.saturating_add(1) {
            return Err(BatchError::Header("there are more records than offsets"));
        }
        let header = Self {
            base_offset,
            total_bytes: length as usize,
            leader_epoch: i32::from_be_bytes(field(raw, 12)),
            crc: u32::from_be_bytes(field(raw, 17)),
            attributes: i16::from_be_bytes(field(raw, 21)),
            last_offset_delta,
            base_timestamp_ms: i64::from_be_bytes(field(raw, 27)),
            max_timestamp_ms: i64::from_be_bytes(field(raw, 35)),
            producer_id: i64::from_be_bytes(field(raw, 43)),
            producer_epoch: i16::from_be_bytes(field(raw, 51)),
            base_sequence: i32::from_be_bytes(field(raw, 53)),
            record_count,
        };
        header.compression()?;
        Ok(header)
    }

    /// Names the codec of the body.
    ///
    /// # Errors
    /// [`BatchError::UnknownCompression`] (reject).
    pub fn compression(&self) -> Result<Compression, BatchError> {
        Compression::from_code((self.attributes & 0x07) as u8)
    }

    /// Tells whether the batch carries transaction markers instead of records.
    pub fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    /// Tells whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    /// Tells whether every record has the time of its append, `max_timestamp_ms`, instead of its own.
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & 0x08 != 0
    }

    /// Gives the time, in ms since 1970, from which compaction may remove the batch's tombstones (KIP-534); `None` if none is set. The
    /// records' times count from it.
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON != 0).then_some(self.base_timestamp_ms)
    }

    /// Gives the offset after the batch's last one.
    pub fn next_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta) + 1
    }

    /// Writes the header, the CRC field as it stands.
    pub(crate) fn write(&self, out: &mut [u8; HEADER_BYTES]) {
        let length = (self.total_bytes - LENGTH_PREFIX_BYTES) as i32;
        put(out, 0, self.base_offset.to_be_bytes());
        put(out, 8, length.to_be_bytes());
        put(out, 12, self.leader_epoch.to_be_bytes());
        out[16] = 2;
        put(out, 17, self.crc.to_be_bytes());
        put(out, 21, self.attributes.to_be_bytes());
        put(out, 23, (self.last_offset_delta as i32).to_be_bytes());
        put(out, 27, self.base_timestamp_ms.to_be_bytes());
        put(out, 35, self.max_timestamp_ms.to_be_bytes());
        put(out, 43, self.producer_id.to_be_bytes());
        put(out, 51, self.producer_epoch.to_be_bytes());
        put(out, 53, self.base_sequence.to_be_bytes());
        put(out, 57, (self.record_count as i32).to_be_bytes());
    }
}

fn field<const N: usize>(raw: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    *raw[at..].first_chunk::<N>().expect("every field lies within the header")
}

fn put<const N: usize>(out: &mut [u8; HEADER_BYTES], at: usize, value: [u8; N]) {
    out[at..at + N].copy_from_slice(&value);
}
