//! Reads arbitrary text as every token that readers keep and hand back, and as those that let their holders in: what is accepted is written
//! again as something that means the same. And as patterns of topics, of which one may cover another.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skidway_collector::access::grants::covers;
use skidway_collector::groups::Stamp;
use skidway_collector::keys::TablePlace;
use skidway_collector::queues::Receipt;
use skidway_collector::read::Token;
use skidway_record::TopicName;
use skidway_wire::access::{BearerToken, TokenId};

fuzz_target!(|text: &str| {
    for text in [text.to_owned(), format!("sk1_{text}"), format!("sk1_0123456789abcdef_{text}")] {
        if let Ok(token) = text.parse::<BearerToken>() {
            assert_eq!(token.reveal(), text, "a token has one spelling");
            assert!(!format!("{token:?}").contains(&text[21..]), "its secret is not shown");
        }
    }
    if let Ok(id) = text.parse::<TokenId>() {
        assert_eq!(id.to_string(), text);
    }
    patterns(text);
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

/// A pattern that covers another matches every name that the other one matches. An input is the two, a space between them, and what stands for
/// each `*` of the other.
fn patterns(text: &str) {
    let mut parts = text.splitn(3, ' ');
    let (Some(own), Some(asked)) = (parts.next(), parts.next()) else { return };
    let name = asked.replace('*', parts.next().unwrap_or_default()).replace('?', "q");
    if covers(own.as_bytes(), asked.as_bytes())
        && let Ok(name) = TopicName::new(&name)
    {
        assert!(name.matches(own), "{own} covers {asked}, and does not match {name}");
    }
}
