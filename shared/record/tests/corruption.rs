//! Damaged and hostile bytes: every flipped bit is found, nothing panics, nothing inflates past the cap.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::Write;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use skidway_record::compression::decompress;
use skidway_record::header::{CRC_COVERS_FROM, HEADER_BYTES};
use skidway_record::limits::DECOMPRESSED_BYTES_MAX;
use skidway_record::{Batch, BatchBuilder, BatchError, Compression, Compressor, EncodedHeaders};

/// A batch of a few lines; `compressible` ones are stored with zstd, the others as they are.
fn batch(compressible: bool) -> Bytes {
    let mut builder = BatchBuilder::new();
    let headers = EncodedHeaders::new([(b"host".as_slice(), Some(b"web-1".as_slice())), (b"path", None)]);
    for at in 0..if compressible { 20 } else { 1 } {
        let line = if compressible { format!("GET /index.html 200 {at}") } else { "one".into() };
        builder.push(1_700_000_000_000 + at, Some(b"key"), Some(line.as_bytes()), &headers);
    }
    builder.finish(&mut Compressor::new(1).unwrap()).unwrap().bytes().clone()
}

/// Does with `bytes` whatever a reader may do; only its not panicking counts.
fn read_everything(bytes: &Bytes) -> Result<(), BatchError> {
    for batch in Batch::take_all(bytes.clone())? {
        let _ = (batch.base_offset(), batch.next_offset(), batch.header().is_control());
        let verified = batch.verify();
        if let Ok(decoded) = batch.decode() {
            for record in decoded.records().flatten() {
                let _ = (decoded.offset_of(&record), record.headers().count());
            }
        }
        verified?;
    }
    Ok(())
}

/// Puts a right length and CRC on a batch with this body, so that only the body can be at fault.
fn sealed(codec: Compression, record_count: u32, body: &[u8]) -> Bytes {
    let mut bytes = batch(false)[..HEADER_BYTES].to_vec();
    bytes.extend_from_slice(body);
    let length = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[21..23].copy_from_slice(&i16::from(codec.code()).to_be_bytes());
    bytes[23..27].copy_from_slice(&record_count.saturating_sub(1).to_be_bytes());
    bytes[57..61].copy_from_slice(&record_count.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[CRC_COVERS_FROM..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(bytes)
}

#[test]
fn any_flipped_bit_under_the_crc_is_found() {
    for original in [batch(true), batch(false)] {
        read_everything(&original).unwrap();
        for bit in 17 * 8..original.len() * 8 {
            let mut bytes = original.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read_everything(&Bytes::from(bytes)).is_err(), "bit {bit} was flipped unnoticed");
        }
    }
}

#[test]
fn a_flipped_length_or_magic_is_refused() {
    let original = batch(true);
    for bit in (8 * 8..12 * 8).chain(16 * 8..17 * 8) {
        let mut bytes = original.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(read_everything(&Bytes::from(bytes)).is_err(), "bit {bit} was flipped unnoticed");
    }
}

#[test]
fn every_truncation_is_cut_short_and_leaves_the_bytes_alone() {
    for original in [batch(true), batch(false)] {
        for len in 0..original.len() {
            let mut cut = original.slice(..len);
            let taken = Batch::take(&mut cut);
            assert!(matches!(taken, Err(BatchError::CutShort { have, .. }) if have == len), "{len}: {taken:?}");
            assert_eq!(cut.len(), len);
        }
    }
}

#[test]
fn batches_are_taken_one_after_the_other() {
    let bytes = Bytes::from([batch(true), batch(false), batch(true)].concat());
    assert_eq!(Batch::take_all(bytes.clone()).unwrap().len(), 3);
    assert!(Batch::take_all(bytes.slice(..bytes.len() - 1)).is_err());
}

#[test]
fn a_body_of_fewer_or_more_records_than_counted_is_refused() {
    let body = &batch(false)[HEADER_BYTES..];
    let one = sealed(Compression::None, 1, body);
    read_everything(&one).unwrap();
    for (count, what) in [(0, "more"), (2, "fewer"), (u32::MAX >> 1, "far fewer")] {
        assert!(read_everything(&sealed(Compression::None, count, body)).is_err(), "{what}");
    }
}

#[test]
fn extreme_header_fields_do_not_overflow() {
    for (at, width) in [(0, 8), (12, 4), (27, 8), (35, 8), (43, 8), (51, 2), (53, 4)] {
        for fill in [0x00, 0x7f, 0x80, 0xff] {
            let mut bytes = batch(true).to_vec();
            bytes[at] = fill;
            bytes[at + 1..at + width].fill(if fill == 0x7f { 0xff } else { fill });
            let crc = crc32c::crc32c(&bytes[CRC_COVERS_FROM..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
            let _ = read_everything(&Bytes::from(bytes));
        }
    }
}

/// 64 MiB of zeros, compressed by each codec that a batch may name.
fn bombs() -> Vec<(Compression, Vec<u8>)> {
    let zeros = vec![0; 64 << 20];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&zeros).unwrap();
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(&zeros).unwrap();
    // Without a size in its frame, so that only inflating tells.
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    zstd.write_all(&zeros).unwrap();
    vec![
        (Compression::Gzip, gzip.finish().unwrap()),
        (Compression::Lz4, lz4.finish().unwrap()),
        (Compression::Zstd, zstd.finish().unwrap()),
        (Compression::Zstd, zstd::bulk::compress(&zeros, 1).unwrap()),
        (Compression::Snappy, snap::raw::Encoder::new().compress_vec(&zeros).unwrap()),
    ]
}

#[test]
fn bombs_are_refused_within_the_cap() {
    for (codec, bomb) in bombs() {
        let refused = decompress(codec, &bomb, DECOMPRESSED_BYTES_MAX);
        assert_eq!(refused, Err(BatchError::TooLarge { max: DECOMPRESSED_BYTES_MAX }), "{codec:?}");
    }
}

#[test]
fn snappy_blocks_together_stay_within_the_cap() {
    let block = snap::raw::Encoder::new().compress_vec(&vec![0; 1 << 20]).unwrap();
    let mut body = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for _ in 0..17 {
        body.extend_from_slice(&(block.len() as u32).to_be_bytes());
        body.extend_from_slice(&block);
    }
    let refused = decompress(Compression::Snappy, &body, DECOMPRESSED_BYTES_MAX);
    assert_eq!(refused, Err(BatchError::TooLarge { max: DECOMPRESSED_BYTES_MAX }));
}

#[test]
fn a_body_of_exactly_the_cap_is_read() {
    let zeros = vec![0; DECOMPRESSED_BYTES_MAX];
    let body = zstd::bulk::compress(&zeros, 1).unwrap();
    assert_eq!(decompress(Compression::Zstd, &body, DECOMPRESSED_BYTES_MAX).unwrap().len(), zeros.len());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = read_everything(&Bytes::from(bytes));
    }

    #[test]
    fn arbitrary_bodies_under_a_right_crc_never_panic(body in vec(any::<u8>(), 0..300), count in 0..50_u32, code in 0..5_u8) {
        let codec = Compression::from_code(code).unwrap();
        let _ = read_everything(&sealed(codec, count, &body));
    }

    #[test]
    fn damaged_records_under_a_right_crc_never_panic(at in 0..40_usize, byte: u8, count in 0..4_u32) {
        let mut body = batch(false)[HEADER_BYTES..].to_vec();
        let at = at % body.len();
        body[at] = byte;
        let _ = read_everything(&sealed(Compression::None, count, &body));
    }
}
