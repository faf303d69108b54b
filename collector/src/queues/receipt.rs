//! A receipt: which delivery of which record of which queue someone was given. Opaque to its holder. Pure.
//!
//! ```text
//! base64url of: version u8 = 1 | queue 4 bytes | topic 4 bytes | partition | offset | delivery      the last three as zig-zag varints
//! ```
//!
//! Delivery counts are durable before a record is given away, so a receipt names one delivery for ever, over restarts as well.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use skidway_record::{Offset, varint};

use super::share::Delivery;

const VERSION: u8 = 1;

/// Names one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// First bytes of the queue's and the topic's ids.
    pub of: [u8; 8],
    /// Partition.
    pub partition: u32,
    /// Which delivery of which record.
    pub delivery: Delivery,
}

impl Receipt {
    /// Writes it as text.
    pub fn encode(&self) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.of);
        varint::write(&mut bytes, i64::from(self.partition));
        varint::write(&mut bytes, self.delivery.offset.0 as i64);
        varint::write(&mut bytes, i64::from(self.delivery.number));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads one; `None` if it is none.
    pub fn decode(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (&VERSION, rest) = bytes.split_first()? else { return None };
        let (of, mut rest) = rest.split_first_chunk::<8>()?;
        let rest = &mut rest;
        let partition = u32::try_from(varint::read(rest)?).ok()?;
        let offset = Offset(u64::try_from(varint::read(rest)?).ok()?);
        let number = u32::try_from(varint::read(rest)?).ok().filter(|number| *number > 0)?;
        rest.is_empty().then_some(Self { of: *of, partition, delivery: Delivery { offset, number } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn receipts_round_trip(of: [u8; 8], partition: u32, offset in 0..i64::MAX as u64, number in 1..u32::MAX) {
            let receipt = Receipt { of, partition, delivery: Delivery { offset: Offset(offset), number } };
            prop_assert_eq!(Receipt::decode(&receipt.encode()), Some(receipt));
        }

        #[test]
        fn whatever_text_comes_is_a_receipt_or_refused(text in "[A-Za-z0-9_-]{0,40}") {
            let _any_answer_will_do = Receipt::decode(&text);
        }
    }
}
