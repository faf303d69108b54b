//! What a group adds to the tokens of its readers: whose they are, and since when.
//!
//! Pure. Opaque to readers; a token of a group is `g1`, a stamp and `.`, and then what says the place. A stamp is the unpadded base64url of
//!
//! ```text
//! generation, a varint of `record::varint` | the member's id
//! ```
//!
//! The place has the log's epoch, so that a token names generation, member and epoch.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use skidway_record::varint;

use crate::groups::MemberId;

/// Begins every token of a group and numbers its format.
const VERSION: &str = "g1";

/// Ends the stamp. It is in neither alphabet.
const END: char = '.';

/// Says whose a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The group's generation when the token was made.
    pub generation: u64,
    /// The member that was given what the token covers.
    pub member: MemberId,
}

impl Stamp {
    /// Writes what a token begins with.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(10 + self.member.as_str().len());
        varint::write(&mut bytes, self.generation as i64);
        bytes.extend_from_slice(self.member.as_str().as_bytes());
        format!("{VERSION}{}{END}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Splits a token into its stamp and its place; `None` if it is not a group's.
    pub fn split(token: &str) -> Option<(Self, &str)> {
        let (stamp, place) = token.strip_prefix(VERSION)?.split_once(END)?;
        let bytes = URL_SAFE_NO_PAD.decode(stamp).ok()?;
        let mut rest = bytes.as_slice();
        let generation = u64::try_from(varint::read(&mut rest)?).ok()?;
        let member = MemberId::new(std::str::from_utf8(rest).ok()?)?;
        Some((Self { generation, member }, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_round_trip_and_are_url_safe() {
        let stamp = Stamp { generation: 70_000, member: MemberId::new("m0123456789abcdef").unwrap() };
        let token = stamp.encode() + "t2abc";
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "{token}");
        assert_eq!(Stamp::split(&token), Some((stamp, "t2abc")));
    }

    #[test]
    fn whatever_else_is_not_a_token_of_a_group() {
        for bad in ["", "g1", "g1.t2abc", "g1!.t2abc", "t2abc", "g2AAAA.t2abc", "latest", "g1AAAA"] {
            assert_eq!(Stamp::split(bad), None, "{bad}");
        }
    }
}
