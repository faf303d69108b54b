//! Why somebody is not let in, may not do something, or asked for a token that cannot be.

use std::path::PathBuf;

use skidway_daemon::secret::SecretError;
use skidway_record::Fate;
use skidway_wire::access::{Scope, TokenId};

use crate::access::quota::OverQuota;
use crate::log::{LogError, StateError};

/// Tells why it is not known who asks. Whoever asks learns only whether a token was there at all; the rest is for the audit topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotIdentified {
    /// No `Authorization`, no certificate.
    NoToken,
    /// There is something that is no token.
    Malformed,
    /// No such token, or not its secret. A token that was revoked is not known any more.
    Unknown,
    /// Its time is over.
    Expired,
}

impl NotIdentified {
    /// Names it in the audit topic.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoToken => "no-token",
            Self::Malformed => "malformed-token",
            Self::Unknown => "unknown-token",
            Self::Expired => "expired-token",
        }
    }
}

/// Tells what somebody may not do. Never tells whether what it was asked of is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A scope is missing, or is not for this.
    #[error("this needs the scope {}{}; the token has: {has}", .scope.name(), on(.object))]
    Scope {
        /// Which.
        scope: Scope,
        /// On what; empty for everything.
        object: String,
        /// What the token has.
        has: String,
    },
    /// The token is of another kind: join tokens enrol and nothing else, and nothing else enrols.
    #[error("{0}")]
    Kind(&'static str),
    /// The token is another agent's, or none's.
    #[error("agent {asked} is not the one that this credential is of ({own}); each agent enrols for itself")]
    OtherAgent {
        /// Who it said it was.
        asked: String,
        /// Who it is.
        own: String,
    },
    /// There is no room for it.
    #[error("{}", over(.0))]
    OverQuota(OverQuota),
}

impl Denied {
    /// Says on what, in words that name nothing which whoever asks may not see.
    #[must_use]
    pub fn on(self, object: String) -> Self {
        match self {
            Self::Scope { scope, has, .. } => Self::Scope { scope, object, has },
            other => other,
        }
    }
}

fn on(object: &str) -> String {
    if object.is_empty() { " on everything (*)".to_owned() } else { format!(" on {object}") }
}

fn over(quota: &OverQuota) -> String {
    match quota {
        OverQuota::Requests(_) => {
            "the token's requests_per_second are used up; try again when Retry-After says".to_owned()
        }
        OverQuota::Bytes(_) => "the token's bytes_per_second are used up; try again when Retry-After says".to_owned(),
        OverQuota::Storage { max } => {
            format!(
                "the topics of this token hold {max} bytes, as many as its storage_bytes allow; delete records or wait for retention"
            )
        }
        OverQuota::Topics { max } => format!("there are {max} topics of this token, as many as its quota allows"),
    }
}

/// Tells why a token was not made, changed or used to enrol. Nothing is changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Nobody is asked who they are, so there is nothing to hand out.
    #[error(
        "access.mode is \"open\": whoever reaches the collector may do everything, and tokens mean nothing. Set it to \"tokens\" first"
    )]
    Open,
    /// A member of the request is wrong.
    #[error("{member}: {reason}")]
    Invalid {
        /// Which.
        member: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// No such token.
    #[error("there is no token {0}; `skidway tokens list` shows those there are")]
    UnknownToken(String),
    /// It is not kept here.
    #[error("token {0} is that of access.admin_token_file: put another one there and reload the collector (SIGHUP)")]
    OfFile(TokenId),
    /// There are as many as may be.
    #[error("there are {max} tokens, and may not be more; revoke some")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// As many agents have enrolled with it as may.
    #[error("this join token has been used as often as it may; make another with `skidway tokens join`")]
    UsedUp,
    /// Somebody has this agent's id already.
    #[error(
        "agent {agent} has a credential already ({id}); if it has lost it, `skidway tokens revoke {id}` lets it enrol again"
    )]
    AgentEnrolled {
        /// The agent.
        agent: String,
        /// Its credential.
        id: TokenId,
    },
    /// The log's own error.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl AccessError {
    /// Tells what to do about it.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Log(error) => error.fate(),
            _ => Fate::Reject,
        }
    }
}

/// Tells why the collector cannot know who may do what; it does not start then.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The tokens' topic cannot be read, or an entry of it is not one of ours.
    #[error(transparent)]
    State(#[from] StateError),
    /// The administrator's token cannot be had.
    #[error("access.admin_token_file: {0}")]
    File(#[from] SecretError),
    /// What the file holds is no token.
    #[error("access.admin_token_file: {path} does not hold a token; `skidway tokens generate > {path}` makes one")]
    NoToken {
        /// The file.
        path: PathBuf,
    },
    /// Another token that is kept has its name already.
    #[error(
        "access.admin_token_file: there is a token {0} of another kind already; `skidway tokens generate` makes a new one"
    )]
    Taken(TokenId),
    /// Nobody could ever make a token.
    #[error(
        "access.mode is \"tokens\" and nobody is an administrator yet: make a token with `skidway tokens generate > /etc/skidway/admin-token`, \
         readable by the collector alone, and name the file as access.admin_token_file"
    )]
    NoAdministrator,
}
