//! Reads arbitrary bytes as the batches of an agent's commit, once as they are and once under a right length and checksum: what passes the
//! check of the way in can be read by everyone behind it.
//!
//! An input is a batch's bytes. Their codec is in them, so that compressed bodies are reached.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use skidway_collector::ingest::Validation;
use skidway_collector::ingest::validate::check;

fuzz_target!(|data: &[u8]| {
    read(Bytes::copy_from_slice(data));
    if data.len() >= 61 {
        let mut bytes = data.to_vec();
        bytes[8..12].copy_from_slice(&((data.len() - 12) as i32).to_be_bytes());
        bytes[16] = 2;
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        read(bytes.into());
    }
});

fn read(bytes: Bytes) {
    let _header_alone = check(vec![bytes.clone()], Validation::Header);
    let Ok(batches) = check(vec![bytes], Validation::Full) else { return };
    for batch in batches {
        let decoded = batch.decode().expect("what passed decodes");
        let mut walk = decoded.walk();
        for record in decoded.records() {
            let record = record.expect("what passed has sound records");
            let place = walk.next_place().expect("as many places as records");
            assert_eq!(decoded.record_at(place).as_ref(), Ok(&record));
        }
    }
}
