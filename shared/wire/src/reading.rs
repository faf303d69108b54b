//! What readers are told beside records: members of pages, control lines of NDJSON, events of SSE.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Tells of a topic that left a subscription to many; the others are read on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Gone {
    /// Its name; null if only the token knew it.
    pub topic: Option<String>,
    /// Why.
    pub reason: String,
}

/// Tells subscribers that their stream ends, and when to come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconnect {
    /// How long to wait before, in ms.
    pub after_ms: u64,
    /// Why it ends.
    pub reason: String,
}

impl Reconnect {
    /// Says that the collector stops.
    pub fn stopping(after_ms: u64) -> Self {
        Self { after_ms, reason: "the collector is stopping".into() }
    }
}
