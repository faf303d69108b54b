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
