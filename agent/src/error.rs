//! What can go wrong in an agent, and what becomes of it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use skidway_record::Fate;

/// Tells why an agent cannot start or go on. All of these end the process; what is worth another try is retried inside.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The state folder cannot be made or locked.
    #[error("state folder {path} cannot be used: {source}")]
    StateDir {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another agent runs on the same state folder.
    #[error("state folder {path} is in use by another agent")]
    StateDirInUse {
        /// Which.
        path: PathBuf,
    },
    /// The admin address cannot be listened on.
    #[error("cannot listen on {address} (agent.admin_listen): {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A file named in the configuration cannot be used.
    #[error("{key} {path} cannot be used: {reason}")]
    File {
        /// The key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A part of the machinery cannot be set up.
    #[error("cannot set up {what}: {source}")]
    Setup {
        /// Which part.
        what: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl AgentError {
    pub(crate) fn setup(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Setup { what, source: source.into() }
    }

    /// Gives the fate: always halt.
    pub fn fate(&self) -> Fate {
        Fate::Halt
    }
}

/// Tells why a running agent could not be asked how things stand.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody answers.
    #[error("no agent answers at {url}: {reason}; does it run, and is this its agent.admin_listen?")]
    Unanswered {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// It cannot say now.
    #[error("{url} answered {status}: {text}")]
    Refused {
        /// Where.
        url: String,
        /// HTTP status.
        status: u16,
        /// Its words.
        text: String,
    },
    /// Whoever answers is no agent of this build.
    #[error("{url} does not answer as an agent of this version does: {reason}")]
    Nonsense {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
}

/// Tells why files and log could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The collector does not answer as asked.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Something of this machine cannot be used.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// A batch cannot be read.
    #[error("a batch of topic {topic}, partition {partition} cannot be read: {source}")]
    Batch {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// Why.
        source: skidway_record::BatchError,
    },
}

/// Tells why one request to the collector was not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No answer: refused, cut, timed out.
    #[error("no answer from {url}: {reason}{}", .advice.as_ref().map_or_else(String::new, |advice| format!(": {advice}")))]
    Unanswered {
        /// The door tried.
        url: String,
        /// Why.
        reason: String,
        /// What to do, where that is known.
        advice: Option<String>,
    },
    /// An answer that is no success.
    #[error("{url} answered {status} {kind}: {detail}")]
    Refused {
        /// The door.
        url: String,
        /// HTTP status.
        status: u16,
        /// The problem's type; empty if the answer was no problem document.
        kind: String,
        /// In words.
        detail: String,
        /// How long to wait at least.
        retry_after: Option<Duration>,
    },
    /// A success that cannot be read.
    #[error("{url} answered what this agent does not understand: {reason}")]
    Nonsense {
        /// The door.
        url: String,
        /// Why.
        reason: String,
    },
    /// A session was opened after the one that this opening was to follow.
    #[error("{url} knows session {current} of this agent")]
    Superseded {
        /// The door.
        url: String,
        /// The newest session.
        current: u64,
    },
    /// The collector serves another log than before, and may not be shipped to.
    #[error(
        "{url} serves log {found}, not {known} as before; set collector.on_new_log to \"continue\" or \"replay\" if that is meant"
    )]
    OtherLog {
        /// The door.
        url: String,
        /// The log it serves.
        found: String,
        /// The log shipped to before.
        known: String,
    },
}

impl RequestError {
    /// Tells what to do: everything is tried again, but what only the request itself can be blamed for.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Refused { status: 409, kind, .. } if matches!(&kind[..], "fenced" | "log-changed") => Fate::Halt,
            // The address is wrong, not the data.
            Self::Refused { kind, .. } if kind == "tls-required" => Fate::Retry,
            Self::Refused { status: 400 | 413, .. } => Fate::Reject,
            _ => Fate::Retry,
        }
    }

    /// Gives the problem's type, if the answer was a problem document.
    pub fn kind(&self) -> &str {
        if let Self::Refused { kind, .. } = self { kind } else { "" }
    }

    /// Gives the HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        if let Self::Refused { status, .. } = self { Some(*status) } else { None }
    }

    /// Gives how long the collector asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Refused { retry_after, .. } = self { *retry_after } else { None }
    }

    /// Tells whether another door may do better.
    pub fn is_the_doors_fault(&self) -> bool {
        !matches!(self, Self::Refused { status: 429, .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_at_fault_itself_is_not_tried_again() {
        let cases = [
            (503, "", Fate::Retry),
            (401, "unauthorized", Fate::Retry),
            (404, "", Fate::Retry),
            (426, "unsupported-version", Fate::Retry),
            (429, "busy", Fate::Retry),
            (507, "no-space", Fate::Retry),
            (409, "fenced", Fate::Halt),
            (409, "log-changed", Fate::Halt),
            (409, "other", Fate::Retry),
            (400, "malformed", Fate::Reject),
            (413, "too-large", Fate::Reject),
        ];
        for (status, kind, fate) in cases {
            let (url, detail, kind) = (String::new(), String::new(), kind.to_owned());
            let error = RequestError::Refused { url, status, kind, detail, retry_after: None };
            assert_eq!(error.fate(), fate, "{error}");
        }
    }
}
