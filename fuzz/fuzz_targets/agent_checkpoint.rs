//! Reads arbitrary bytes as an agent's checkpoint, once as they are and once under a right hash: a checkpoint that is written again as the
//! same, or none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skidway_agent::checkpoint::file::decode;

fuzz_target!(|data: &[u8]| {
    let _nearly_always_none = decode(data);
    for opening in [&b""[..], b"SKCP\x02"] {
        let mut bytes = [opening, data].concat();
        let hash = twox_hash::XxHash3_128::oneshot(&bytes);
        bytes.extend_from_slice(&hash.to_be_bytes());
        if let Some((_, checkpoint)) = decode(&bytes) {
            assert!(checkpoint.sources.len() * 84 <= bytes.len(), "memory is bounded by what is there");
        }
    }
});
