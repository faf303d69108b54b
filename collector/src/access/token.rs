//! A token as it is kept: everything but its secret.
//!
//! Keys of the topic `__skidway.tokens`, which are text, and their lives:
//!
//! | key | life | value |
//! |---|---|---|
//! | `1/token/<public id>` | from its making until it is revoked, or a week after its end | [`Token`], JSON |
//!
//! The leading number is the version of the key and of its value.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skidway_wire::access::{Grant, Quotas, TokenId, TokenSummary};

use crate::json::rfc3339;

/// Begins the keys.
const KEY: &str = "1/token/";

/// Says what a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Made for somebody.
    Token,
    /// Lets agents enrol, and nothing else.
    Join,
    /// An agent's own.
    Agent,
    /// From `access.admin_token_file`; never stored.
    File,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Join => "join",
            Self::Agent => "agent",
            Self::File => "file",
        }
    }
}

/// Holds what is known of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// What people call it.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// SHA-256 of its secret, hex.
    #[serde(with = "hex")]
    pub sha256: [u8; 32],
    /// What it is good for; of a join token, what the agents' will be.
    pub grants: Vec<Grant>,
    /// The agent it is bound to; of a join token the pattern of those that may enrol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// When it was made, in ms since 1970.
    pub created_ms: i64,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
    /// How many more agents may enrol with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_left: Option<u32>,
    /// The join token it was enrolled with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined_by: Option<String>,
    /// How much its holder may use.
    #[serde(default)]
    pub quotas: Quotas,
}

impl Token {
    /// Tells whether its time is over.
    pub fn is_over(&self, now_ms: i64) -> bool {
        self.expires_ms.is_some_and(|at| at <= now_ms)
    }

    /// Says what it is.
    pub fn summary(&self, id: TokenId) -> TokenSummary {
        TokenSummary {
            id: id.to_string(),
            name: self.name.clone(),
            kind: self.kind.name().to_owned(),
            grants: self.grants.clone(),
            agent: self.agent.clone(),
            created: Some(rfc3339(self.created_ms)).filter(|_| self.kind != Kind::File),
            expires: self.expires_ms.map(rfc3339),
            uses_left: self.uses_left,
            quotas: self.quotas,
        }
    }

    /// Writes it down.
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("a token is plain JSON").into()
    }

    /// Reads what was written down.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub fn decode(value: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(value).map_err(|error| error.to_string())
    }
}

/// Gives the key of a token.
pub fn key(id: TokenId) -> Bytes {
    format!("{KEY}{id}").into()
}

/// Reads a key; `None` if it is none of this version.
pub fn id_of(key: &[u8]) -> Option<TokenId> {
    std::str::from_utf8(key).ok()?.strip_prefix(KEY)?.parse().ok()
}

/// Reads 64 hex digits.
pub fn hash_of(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// A hash as JSON has it.
mod hex {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(hash: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        super::hash_of(&text).ok_or_else(|| D::Error::custom("not 64 hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skidway_wire::access::Scope;

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let token = Token {
            name: "ci".into(),
            kind: Kind::Join,
            sha256: [0xa5; 32],
            grants: vec![Grant { scope: Scope::Commit, topics: vec!["*".into()] }],
            agent: Some("web-*".into()),
            created_ms: 1,
            expires_ms: Some(2),
            uses_left: Some(3),
            joined_by: None,
            quotas: Quotas { topics: Some(4), ..Quotas::default() },
        };
        assert_eq!(Token::decode(&token.encode()), Ok(token.clone()));
        assert_eq!((token.is_over(1), token.is_over(2)), (false, true));
        let id = TokenId([7; 8]);
        assert_eq!(id_of(&key(id)), Some(id));
        assert_eq!(id_of(b"2/token/0707070707070707"), None);
        for bad in ["{}", "[]", "{\"name\":\"a\"}"] {
            assert!(Token::decode(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(hash_of(&"é".repeat(32)), None);
    }
}
