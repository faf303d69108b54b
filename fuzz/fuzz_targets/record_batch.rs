//! Reads arbitrary bytes as record batches, once as they are and once under a right length, magic and CRC.
//!
//! Nothing may panic, and a batch that verifies must decode to as many records as its header counts.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use skidway_record::Batch;
use skidway_record::header::{CRC_COVERS_FROM, HEADER_BYTES};

fuzz_target!(|data: &[u8]| {
    read(Bytes::copy_from_slice(data));
    if data.len() >= HEADER_BYTES {
        read(sealed(data));
    }
});

fn read(mut bytes: Bytes) {
    while let Ok(batch) = Batch::take(&mut bytes) {
        let verified = batch.verify();
        let _ = (batch.base_offset(), batch.next_offset());
        let Ok(decoded) = batch.decode() else {
            assert!(verified.is_err(), "a verified batch decodes");
            continue;
        };
        let records = decoded.records().filter_map(Result::ok).map(|record| {
            assert_eq!(record.headers().count(), record.header_count() as usize);
            decoded.offset_of(&record)
        });
        let count = records.count();
        assert!(verified.is_err() || count == batch.header().record_count as usize);
    }
}

fn sealed(data: &[u8]) -> Bytes {
    let mut bytes = data.to_vec();
    bytes[8..12].copy_from_slice(&((data.len() - 12) as i32).to_be_bytes());
    bytes[16] = 2;
    let crc = crc32c::crc32c(&bytes[CRC_COVERS_FROM..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(bytes)
}
