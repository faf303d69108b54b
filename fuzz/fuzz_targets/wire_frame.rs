//! Reads arbitrary bytes as every frame of the agents' protocol: nothing panics, and what is accepted encodes back to the same frame.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use skidway_wire::{CommitAnswer, CommitRequest, OpenSession, SessionOpened, SourcePage};

fuzz_target!(|data: &[u8]| {
    let Some((&kind, fields)) = data.split_first() else { return };
    let kind = kind % 6;
    let frame = Bytes::from([b"SKWY\x03", &[kind][..], fields].concat());
    check(&frame, OpenSession::decode, OpenSession::encode);
    check(&frame, SessionOpened::decode, SessionOpened::encode);
    check(&frame, CommitRequest::decode, CommitRequest::encode);
    check(&frame, CommitAnswer::decode, CommitAnswer::encode);
    check(&frame, SourcePage::decode, SourcePage::encode);
});

fn check<T: PartialEq + std::fmt::Debug, E>(frame: &Bytes, decode: fn(Bytes) -> Result<T, E>, encode: fn(&T) -> Bytes) {
    if let Ok(value) = decode(frame.clone()) {
        let again = decode(encode(&value)).ok();
        assert_eq!(again.as_ref(), Some(&value));
    }
}
