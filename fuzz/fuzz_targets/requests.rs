//! Reads arbitrary bytes as what clients send to the HTTP door: query strings, who they say they are, bodies of records, documents of
//! groups, queues and tokens.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skidway_collector::listen::http::fuzzing;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        fuzzing::query(text);
    }
    fuzzing::authorization(data);
    fuzzing::produce(data);
    fuzzing::documents(data);
});
