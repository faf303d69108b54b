//! Reads arbitrary bytes as entries of the topics that tokens, groups, queues and sinks keep their state in: an error or a state, never a panic.
//!
//! An input is a key, a NUL and a value, again and again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use skidway_collector::access::token::{self, Token};
use skidway_collector::sink::state::State;
use skidway_collector::{groups, queues};

fuzz_target!(|data: &[u8]| {
    let parts: Vec<&[u8]> = data.split(|byte| *byte == 0).collect();
    let mut sinks = State::default();
    for pair in parts.chunks(2) {
        let (key, value) = (pair[0], pair.get(1).copied().unwrap_or_default());
        if let Ok(token) = Token::decode(value) {
            assert_eq!(Token::decode(&token.encode()), Ok(token));
        }
        if let Some(id) = token::id_of(key) {
            assert_eq!(token::key(id), key);
        }
        let _not_ours = groups::offsets::read(key, value);
        let _not_ours = queues::stored::read(&[(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value))]);
        let _not_ours = queues::window::decode(value, key.len() % 2 == 0);
        let _not_ours = queues::runs::Runs::decode(value);
        let _not_ours = sinks.take(value);
    }
    // What was taken can be written anew and read again.
    let mut again = State::default();
    for (sink, decision) in sinks.standing() {
        again.take(&decision.encode(sink)).expect("what we write can be read");
    }
});
