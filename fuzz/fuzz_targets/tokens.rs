//! Reads arbitrary text as every token that readers keep and hand back: what is accepted is written again as something that means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skidway_collector::groups::Stamp;
use skidway_collector::keys::TablePlace;
use skidway_collector::queues::Receipt;
use skidway_collector::read::Token;

fuzz_target!(|text: &str| {
    for text in [text.to_owned(), format!("t1{text}"), format!("t2{text}")] {
        if let Some(token) = Token::decode(&text) {
            assert_eq!(Token::decode(&token.encode()), Some(token));
        }
    }
    if let Some((stamp, place)) = Stamp::split(&format!("g1{text}")) {
        let written = stamp.encode() + place;
        assert_eq!(Stamp::split(&written), Some((stamp, place)));
    }
    if let Some(place) = TablePlace::decode(&format!("k1{text}")) {
        assert_eq!(TablePlace::decode(&place.encode()), Some(place));
    }
    if let Some(receipt) = Receipt::decode(text) {
        assert_eq!(Receipt::decode(&receipt.encode()), Some(receipt));
    }
});
