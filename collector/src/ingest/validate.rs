//! Whether bytes that claim to be a batch may enter the log.
//!
//! Pure. A batch that passes is stored byte for byte, so whatever a reader relies on is checked here.

use bytes::Bytes;
use skidway_record::{Batch, BatchError};

/// Says how much of a batch is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Validation {
    /// Header, CRC, decompression within its cap, and every record.
    #[default]
    Full,
    /// Header and CRC: for agents that are trusted to write records well.
    Header,
}

/// Says which batch is bad, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadBatch {
    /// Its index among those sent together.
    pub index: u32,
    /// It is larger than a batch may be.
    pub too_large: bool,
    /// In words.
    pub reason: String,
}

/// Marks a batch of a transaction, of control records, one stamped by a broker, or one that a compaction rewrote (attribute bits 3 to 6).
const NOT_OURS: i16 = 0x78;

/// Checks encoded batches.
///
/// # Errors
/// The first [`BadBatch`].
pub fn check(batches: Vec<Bytes>, validation: Validation) -> Result<Vec<Batch>, BadBatch> {
    let mut checked = Vec::with_capacity(batches.len());
    for (index, bytes) in batches.into_iter().enumerate() {
        let batch = check_one(bytes, validation).map_err(|error| BadBatch {
            index: index as u32,
            too_large: matches!(error, BatchError::TooLarge { .. })
                || matches!(error, BatchError::Length { length, max, .. } if length > max as i64),
            reason: error.to_string(),
        })?;
        checked.push(batch);
    }
    Ok(checked)
}

fn check_one(mut bytes: Bytes, validation: Validation) -> Result<Batch, BatchError> {
    let batch = Batch::take(&mut bytes)?;
    if !bytes.is_empty() {
        return Err(BatchError::Header("there are bytes after the batch"));
    }
    let header = batch.header();
    if header.attributes & NOT_OURS != 0 {
        return Err(BatchError::Header("control, transactional, broker-stamped and compacted batches are not taken"));
    }
    if header.producer_id != -1 {
        return Err(BatchError::Header("the producer id is not -1; an agent's positions protect its batches"));
    }
    if header.record_count == 0 || header.record_count != header.last_offset_delta + 1 {
        return Err(BatchError::Header("the records do not take one offset each"));
    }
    match validation {
        Validation::Full => batch.verify()?,
        Validation::Header => batch.verify_crc()?,
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skidway_record::{BatchBuilder, Compressor, EncodedHeaders};

    fn good() -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        builder.push(5, None, Some(b"a line"), &EncodedHeaders::none());
        builder.finish(&mut Compressor::new(1).unwrap()).unwrap().bytes().to_vec()
    }

    /// Changes a byte and makes the CRC fit again.
    fn forged(at: usize, byte: u8) -> Vec<u8> {
        let mut bytes = good();
        bytes[at] = byte;
        let crc = crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn crc32c(bytes: &[u8]) -> u32 {
        let step = |crc: u32, byte: &u8| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
        };
        !bytes.iter().fold(!0, step)
    }

    #[test]
    fn good_batches_pass_and_bad_ones_are_named() {
        let cut = good()[..70].to_vec();
        let longer = [good(), vec![0]].concat();
        let mut flipped = good();
        *flipped.last_mut().unwrap() ^= 1;
        let cases = [
            (good(), None),
            (cut, Some("cut short")),
            (longer, Some("after the batch")),
            (flipped, Some("CRC-32C")),
            (forged(22, 0x20), Some("control")),
            (forged(22, 0x40), Some("compacted")),
            (forged(50, 7), Some("producer id")),
            (forged(60, 0), Some("one offset each")),
        ];
        for (bytes, expected) in cases {
            let outcome = check(vec![good().into(), bytes.into()], Validation::Header);
            match (outcome, expected) {
                (Ok(_), None) => {}
                (Err(bad), Some(words)) => assert!(bad.index == 1 && bad.reason.contains(words), "{bad:?}"),
                (outcome, _) => panic!("{outcome:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn only_full_validation_looks_at_records() {
        let odd = forged(61, 2);
        assert!(check(vec![odd.clone().into()], Validation::Header).is_ok());
        assert!(check(vec![odd.into()], Validation::Full).is_err());
    }
}
