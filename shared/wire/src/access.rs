//! Who may do what, as HTTP tells it: bearer tokens as text, and the JSON bodies of `/v1/tokens` and of agents' enrolment.
//!
//! A token is `sk1_<public id>_<secret>`: 16 hex digits that name it wherever it is spoken of, and 32 random bytes as base64url without
//! padding, which are shown once and then known to their holder alone. Draws no random bytes: whoever makes a token brings them.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Bytes of a token's public id.
pub const ID_BYTES: usize = 8;

/// Bytes of a token's secret: 256 bits, which nobody guesses.
pub const SECRET_BYTES: usize = 32;

/// Begins a token's text. The number is the format's version.
const PREFIX: &str = "sk1_";

/// Path of the tokens.
pub const TOKENS_PATH: &str = "/v1/tokens";

/// Path that makes join tokens.
pub const JOIN_PATH: &str = "/v1/tokens/join";

/// Gives the path at which an agent enrols.
pub fn enrol_path(agent: &str) -> String {
    format!("/v1/agents/{agent}/enrol")
}

/// Names a token in public: lists, logs, the audit topic. 16 hex digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub [u8; ID_BYTES]);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TokenId {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        let plain = text.len() == 2 * ID_BYTES && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        let number = u64::from_str_radix(text, 16).ok().filter(|_| plain).ok_or(NoToken)?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// Says that a text is no token. Never says which text: it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a token: sk1_, 16 hex digits, _ and 43 letters, as `skidway tokens` makes them")]
pub struct NoToken;

/// Holds a whole token, its secret included. `Debug` shows the public part; only [`BearerToken::reveal`] shows all.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken {
    /// Its public name.
    pub id: TokenId,
    secret: [u8; SECRET_BYTES],
}

impl BearerToken {
    /// Makes a token of bytes that must be random.
    pub fn new(id: [u8; ID_BYTES], secret: [u8; SECRET_BYTES]) -> Self {
        Self { id: TokenId(id), secret }
    }

    /// Gives the secret, to be hashed.
    pub fn secret(&self) -> &[u8; SECRET_BYTES] {
        &self.secret
    }

    /// Gives the token's text: a secret, which belongs into an `Authorization` header, a file of mode 0600, or before the eyes of the one
    /// who made it.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, BASE64_URL_SAFE_NO_PAD.encode(self.secret))
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_***", self.id)
    }
}

impl FromStr for BearerToken {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        let (id, secret) = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or(NoToken)?;
        let secret = BASE64_URL_SAFE_NO_PAD.decode(secret).map_err(|_| NoToken)?;
        Ok(Self { id: id.parse()?, secret: secret.try_into().map_err(|_| NoToken)? })
    }
}

/// Names what a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Write records to topics, and send to queues.
    Produce,
    /// Read topics, groups and queues.
    Consume,
    /// Ship as the one agent that the token is bound to.
    Commit,
    /// Read `/metrics`.
    Metrics,
    /// Everything on the topics, groups and queues that match; with the pattern `*` everything there is.
    Admin,
}

impl Scope {
    /// Gives its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Consume => "consume",
            Self::Commit => "commit",
            Self::Metrics => "metrics",
            Self::Admin => "admin",
        }
    }

    /// Finds the scope of a name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Produce, Self::Consume, Self::Commit, Self::Metrics, Self::Admin]
            .into_iter()
            .find(|scope| scope.name() == name)
    }
}

/// Is a scope with the topics it holds for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// What may be done.
    pub scope: Scope,
    /// Patterns of topics, such as `web-*`: `*` is any text, `?` any one character. Names of groups and queues match them, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
}

/// Bounds what a token's holder may use; what is absent is not bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Quotas {
    /// Requests a second; as many may come at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub requests_per_second: Option<u64>,
    /// Bytes of requests' bodies a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub bytes_per_second: Option<u64>,
    /// Bytes on disk of all topics that match the token's patterns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub storage_bytes: Option<u64>,
    /// Topics that match the token's patterns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub topics: Option<u64>,
}

/// Asks for a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// What people call it, 1 to 128 bytes.
    pub name: String,
    /// What it may do; at least one.
    pub grants: Vec<Grant>,
    /// The agent it is bound to; needed with the scope `commit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// How long it is valid, such as `90d`; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// What its holder may use.
    #[serde(default)]
    pub quotas: Quotas,
}

/// Asks for a join token.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// What people call it, up to 128 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many agents may enrol with it; 1, at most 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10_000)]
    pub uses: Option<u32>,
    /// How long it is valid; `1h`, at most `30d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Pattern of the agents' ids that may enrol; `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agents: Option<String>,
    /// Patterns of the topics that agents may ship to; `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<Vec<String>>,
    /// What each of the agents may use.
    #[serde(default)]
    pub quotas: Quotas,
}

/// Answers a request for a token. The only time that the token is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenMade {
    /// All of it, the secret included.
    pub token: String,
    /// What it is.
    pub summary: TokenSummary,
}

/// Says what a token is; nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenSummary {
    /// Its public part, 16 hex digits.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// `token`, `join`, `agent` (an agent's own), or `file` (`access.admin_token_file`).
    pub kind: String,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// The agent it is bound to, or the pattern of those that may enrol with it.
    pub agent: Option<String>,
    /// When it was made; RFC 3339. Null for that of the file.
    pub created: Option<String>,
    /// When it ends; null: never.
    pub expires: Option<String>,
    /// How many more agents may enrol with it; null if it is no join token.
    pub uses_left: Option<u32>,
    /// What its holder may use.
    pub quotas: Quotas,
}

/// Answers `GET /v1/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    /// By name.
    pub tokens: Vec<TokenSummary>,
}

/// Is what an agent sends to be enrolled: its credential's public id, and the hash of the secret, which stays with the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// The credential's public id, 16 hex digits.
    pub id: String,
    /// SHA-256 of its 32 secret bytes, 64 hex digits.
    pub sha256: String,
}

/// Answers an enrolment, the first and every repetition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Enrolled {
    /// The agent.
    pub agent: String,
    /// Its credential's public id.
    pub id: String,
}

/// Is a record of the topic `__skidway.audit`. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When; RFC 3339. Of refusals that were counted together, the second in which they came.
    pub time: String,
    /// Who.
    pub who: AuditWho,
    /// What was asked, such as `topics.delete`.
    pub action: String,
    /// Of what: a topic, a group, a queue, a token's id; empty if of nothing that has a name.
    pub object: String,
    /// `done`, `refused` (not allowed) or `failed` (allowed, and not done).
    pub outcome: String,
    /// The HTTP status that was answered; 0 of a TLS handshake that came to nothing.
    pub status: u16,
    /// Why, as the problem's type; empty if it was done.
    pub reason: String,
    /// How many alike there were within a second.
    pub count: u64,
}

/// Says who asked. What is not known is absent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct AuditWho {
    /// The token's public id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The name in the client's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The IP address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_shows_no_secret() {
        // A secret whose text has the separator in it.
        let token = BearerToken::new([0xab; ID_BYTES], [0xff; SECRET_BYTES]);
        let text = token.reveal();
        assert_eq!(text.parse(), Ok(token.clone()));
        assert!(text.starts_with("sk1_abababababababab_____"), "{text}");
        assert_eq!(format!("{token:?}"), "sk1_abababababababab_***");
    }

    #[test]
    fn what_is_no_token_is_refused_without_repeating_it() {
        let good = BearerToken::new([1; ID_BYTES], [2; SECRET_BYTES]).reveal();
        for text in ["", "sk1_", "sk1__", "sk2_0101010101010101_AgIC", &good[..good.len() - 1], &(good.clone() + "A")] {
            assert_eq!(text.parse::<BearerToken>(), Err(NoToken), "{text}");
        }
        for text in [good.to_uppercase(), good.replace("0101", "+101"), format!(" {good}"), format!("{good}=")] {
            assert_eq!(text.parse::<BearerToken>(), Err(NoToken), "{text}");
        }
    }
}
