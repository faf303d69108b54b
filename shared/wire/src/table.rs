//! Tables over HTTP: the latest record of each key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::JsonRecord;

/// Gives the path of one topic's table.
pub fn table_path(topic: &str) -> String {
    format!("/v1/topics/{topic}/table")
}

/// Answers `GET /v1/topics/{t}/table` as `application/json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablePage {
    /// The latest record of each key, those without value left out.
    pub records: Vec<JsonRecord>,
    /// By partition, the first offset that does not count any more.
    pub watermark: BTreeMap<u32, u64>,
    /// Whether the table is at its end.
    pub end: bool,
    /// Where to go on: in the table (`/table?from=`), at its end in the topic (`/records?from=`), with what was written since.
    pub next: String,
}

/// Is the line, or event, between a streamed table and what was written since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TableWatermark {
    /// By partition, the first offset that does not count any more.
    pub watermark: BTreeMap<u32, u64>,
    /// A token at the watermark.
    pub next: String,
}
