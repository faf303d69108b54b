//! One encoded batch: parsed, verified, stamped with its offsets, decoded into records.
//!
//! Never changes a byte that the CRC covers.

use bytes::{Bytes, BytesMut};

use crate::compression::{Compression, decompress};
use crate::error::BatchError;
use crate::header::{BatchHeader, CRC_COVERS_FROM, HEADER_BYTES};
use crate::ids::Offset;
use crate::limits::DECOMPRESSED_BYTES_MAX;
use crate::record::Record;
use crate::varint;

/// Holds one whole batch as it travels, is stored and is fetched. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    header: BatchHeader,
    bytes: Bytes,
}

impl Batch {
    pub(crate) fn from_parts(header: BatchHeader, bytes: Bytes) -> Self {
        debug_assert_eq!(header.total_bytes, bytes.len());
        Self { header, bytes }
    }

    /// Takes the batch at the front of `bytes`, which is advanced past it. Checks header arithmetic only.
    ///
    /// # Errors
    /// [`BatchError`] (reject), `bytes` being left as it was: [`BatchError::CutShort`] if the batch is not all there.
    pub fn take(bytes: &mut Bytes) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        if bytes.len() < header.total_bytes {
            return Err(BatchError::CutShort { have: bytes.len(), need: header.total_bytes });
        }
        let bytes = bytes.split_to(header.total_bytes);
        Ok(Self { header, bytes })
    }

    /// Takes every batch of `bytes`, which must hold nothing else.
    ///
    /// # Errors
    /// As [`Batch::take`].
    pub fn take_all(mut bytes: Bytes) -> Result<Vec<Self>, BatchError> {
        let mut batches = Vec::new();
        while !bytes.is_empty() {
            batches.push(Self::take(&mut bytes)?);
        }
        Ok(batches)
    }

    /// Gives the parsed header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Gives the encoded bytes, header and body.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Gives the offset of the first record.
    pub fn base_offset(&self) -> Offset {
        Offset(self.header.base_offset.max(0) as u64)
    }

    /// Gives the offset after the last record.
    pub fn next_offset(&self) -> Offset {
        Offset(self.header.next_offset().max(0) as u64)
    }

    /// Checks the CRC-32C.
    ///
    /// # Errors
    /// [`BatchError::Crc`] (reject on the way in; on the way out the store is damaged).
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let actual = crc32c::crc32c(&self.bytes[CRC_COVERS_FROM..]);
        let expected = self.header.crc;
        if actual == expected { Ok(()) } else { Err(BatchError::Crc { expected, actual }) }
    }

    /// Checks everything: CRC, decompression within the cap, every record, and that counts, offsets and timestamps agree.
    ///
    /// # Errors
    /// [`BatchError`] (reject).
    pub fn verify(&self) -> Result<(), BatchError> {
        self.verify_crc()?;
        let decoded = self.decode()?;
        let mut last_delta = None;
        let mut max_timestamp_ms = i64::MIN;
        for record in decoded.records() {
            let record = record?;
            if last_delta.is_some_and(|last| record.offset_delta <= last) {
                return Err(BatchError::Header("the records' offsets do not increase"));
            }
            last_delta = Some(record.offset_delta);
            max_timestamp_ms = max_timestamp_ms.max(record.timestamp_ms);
        }
        if last_delta.is_some_and(|last| last > self.header.last_offset_delta) {
            return Err(BatchError::Header("a record lies past the last offset"));
        }
        if last_delta.is_some() && max_timestamp_ms > self.header.max_timestamp_ms {
            return Err(BatchError::Header("a record is newer than the max timestamp"));
        }
        Ok(())
    }

    /// Gives the batch with its first offset set; the only bytes that change are outside the CRC.
    pub fn with_base_offset(self, base_offset: Offset) -> Self {
        let mut header = self.header;
        header.base_offset = base_offset.0 as i64;
        header.leader_epoch = 0;
        let mut bytes = BytesMut::from(self.bytes);
        let head = bytes.first_chunk_mut::<HEADER_BYTES>().expect("a parsed batch has a header");
        header.write(head);
        Self { header, bytes: bytes.freeze() }
    }

    /// Appends the batch's bytes to `out` with its first offset set, sharing nothing: one copy, where
    /// [`Batch::with_base_offset`] makes a second one when the bytes are shared.
    pub fn append_to(&self, base_offset: Offset, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let header = BatchHeader { base_offset: base_offset.0 as i64, leader_epoch: 0, ..self.header.clone() };
        let head = out[start..].first_chunk_mut::<HEADER_BYTES>().expect("a parsed batch has a header");
        header.write(head);
    }

    /// Decompresses the body.
    ///
    /// # Errors
    /// [`BatchError::Decompress`], [`BatchError::TooLarge`] (reject).
    pub fn decode(&self) -> Result<Decoded, BatchError> {
        let body = self.bytes.slice(HEADER_BYTES..);
        let body = match self.header.compression()? {
            Compression::None => body,
            codec => Bytes::from(decompress(codec, &body, DECOMPRESSED_BYTES_MAX)?),
        };
        Ok(Decoded { header: self.header.clone(), body })
    }
}

/// Holds a batch's records, decompressed. Cheap to clone, so that it is decoded once for all its readers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    header: BatchHeader,
    body: Bytes,
}

impl Decoded {
    /// Gives the batch's header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Tells how many bytes the records take in memory.
    pub fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// Iterates over the records in order. After an error, which says which record is malformed, it ends.
    pub fn records(&self) -> impl Iterator<Item = Result<Record<'_>, BatchError>> {
        let mut rest: &[u8] = &self.body;
        let (count, base) = (self.header.record_count, self.header.base_timestamp_ms);
        let append_time_ms = self.header.is_log_append_time().then_some(self.header.max_timestamp_ms);
        let mut index = 0;
        std::iter::from_fn(move || {
            if index == count {
                let trailing = !std::mem::take(&mut rest).is_empty();
                return trailing.then_some(Err(BatchError::Header("there are bytes after the last record")));
            }
            let record = Record::read(&mut rest, base).map_err(|reason| BatchError::Record { index, reason });
            let record = record.map(|record| record.with_append_time(append_time_ms));
            index = if record.is_ok() { index + 1 } else { count };
            if record.is_err() {
                rest = &[];
            }
            Some(record)
        })
    }

    /// Gives the records' bytes, one record after the other.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Begins to pass over records by their lengths alone.
    pub fn walk(&self) -> Walk<'_> {
        Walk { body: &self.body, position: 0, left: self.header.record_count }
    }

    /// Gives the record that begins at a place that [`Walk`] gave.
    ///
    /// # Errors
    /// [`BatchError::Record`] (reject) if it is malformed.
    pub fn record_at(&self, place: usize) -> Result<Record<'_>, BatchError> {
        let mut rest = self.body.get(place..).unwrap_or_default();
        let record = Record::read(&mut rest, self.header.base_timestamp_ms);
        let append_time_ms = self.header.is_log_append_time().then_some(self.header.max_timestamp_ms);
        let record = record.map(|record| record.with_append_time(append_time_ms));
        record.map_err(|reason| BatchError::Record { index: 0, reason })
    }

    /// Gives a record's absolute offset.
    pub fn offset_of(&self, record: &Record<'_>) -> Offset {
        Offset(self.header.base_offset.max(0) as u64 + u64::from(record.offset_delta))
    }
}

/// Passes over the records of a batch without reading their fields.
#[derive(Debug, Clone)]
pub struct Walk<'a> {
    body: &'a [u8],
    position: usize,
    left: u32,
}

impl Walk<'_> {
    /// Gives the place where the next record begins, in bytes of the body.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Gives the place of the next record and passes over it; `None` after the last. One whose length is impossible is the last.
    pub fn next_place(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let place = self.position;
        let rest = self.body.get(place..).unwrap_or_default();
        let mut after = rest;
        let length = varint::read(&mut after).and_then(|length| usize::try_from(length).ok());
        match length.filter(|length| *length <= after.len()) {
            Some(length) => self.position = place + (rest.len() - after.len()) + length,
            None => self.left = 0,
        }
        Some(place)
    }

    /// Gives the place of the record that has byte `at` of the body, or of one before it that is malformed; passes over it.
    pub fn place_over(&mut self, at: usize) -> Option<usize> {
        loop {
            let place = self.next_place()?;
            if self.position > at || self.position == place {
                return Some(place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{BatchBuilder, Compressor, EncodedHeaders};

    #[test]
    fn a_walk_finds_the_places_of_records_and_the_one_over_a_byte() {
        let mut builder = BatchBuilder::new();
        for value in ["one", "twenty-two", "three"] {
            builder.push(7, None, Some(value.as_bytes()), &EncodedHeaders::none());
        }
        let batch = builder.finish(&mut Compressor::new(1).unwrap()).unwrap().decode().unwrap();
        let mut walk = batch.walk();
        let places: Vec<usize> = std::iter::from_fn(|| walk.next_place()).collect();
        let value = |place: &usize| batch.record_at(*place).unwrap().value.unwrap();
        assert_eq!(places.iter().map(value).collect::<Vec<_>>(), [b"one".as_slice(), b"twenty-two", b"three"]);
        let needle = batch.body().windows(3).position(|bytes| bytes == b"two").unwrap();
        let mut walk = batch.walk();
        assert_eq!(walk.place_over(needle), Some(places[1]));
        assert_eq!((walk.position(), walk.place_over(walk.position())), (places[2], Some(places[2])));
        assert!(batch.record_at(batch.body().len()).is_err());
    }
}
