//! An error as HTTP tells it: `application/problem+json` (RFC 9457).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Names problem documents in `Content-Type`.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Holds one problem document. `type` is a stable short name that programs may match on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Stable short name, such as `topic-not-found`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in a few words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What failed, on what, why, and what to do.
    pub detail: String,
    /// Further members, such as `current_offset`.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Problem {
    /// Makes a problem whose title is its kind in words (`topic-not-found` → "Topic not found").
    pub fn new(status: u16, kind: &str, detail: impl Into<String>) -> Self {
        let mut title = kind.replace('-', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Self { kind: kind.into(), title, status, detail: detail.into(), extra: Map::new() }
    }

    /// Adds a member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.into(), value.into());
        self
    }
}
