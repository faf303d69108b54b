//! What is kept of a segment beside its files: how much of them counts, when it was written, what it holds.

use serde::{Deserialize, Serialize};

/// Describes a segment as a checkpoint saves it; what the file holds beyond `bytes` does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Extent {
    /// Offset of its first record.
    pub(crate) base_offset: u64,
    /// Bytes of the log file.
    pub(crate) bytes: u64,
    /// Entries of the offset index.
    pub(crate) offset_entries: u64,
    /// Entries of the time index.
    pub(crate) time_entries: u64,
    /// When its first batch was appended, in ms since 1970.
    pub(crate) first_append_ms: i64,
    /// When its last batch was appended.
    pub(crate) last_append_ms: i64,
    /// The newest timestamp of its records.
    pub(crate) max_timestamp_ms: i64,
    /// Last offset of the batch that has it.
    pub(crate) max_timestamp_offset: u64,
    /// Its batches.
    pub(crate) batches: u64,
    /// Whether it was written anew, and for what.
    pub(crate) rewritten: Rewritten,
}

/// Says whether a segment was written anew since it was closed. Stored as its number; checkpoints of version 2 knew the first two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Rewritten {
    /// It is as it was appended.
    No,
    /// Its small batches were merged.
    Merged,
    /// Its records superseded by later ones, up to its own end at least, were removed.
    Compacted,
}

impl Extent {
    /// Describes a segment without batches.
    pub(crate) fn empty(base_offset: u64, now_ms: i64) -> Self {
        Self {
            base_offset,
            bytes: 0,
            offset_entries: 0,
            time_entries: 0,
            first_append_ms: now_ms,
            last_append_ms: now_ms,
            max_timestamp_ms: i64::MIN,
            max_timestamp_offset: base_offset,
            batches: 0,
            rewritten: Rewritten::No,
        }
    }
}
