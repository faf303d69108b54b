//! What a collector is asked to do with the files of a sink, and what it finds. A job's answer is NDJSON: a finding a line, a summary last.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Is a piece of work on files that are published already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkJob {
    /// Compares the manifest with the storage, and if `deep` each file's rows with both its digest and the log.
    Verify {
        /// Reads every file and, of those that the log still has, every record.
        deep: bool,
    },
    /// Makes files again that are missing or damaged, as far as the log has their records.
    Repair,
    /// Makes the files of these records anew, as the configuration says today, and puts them in place of the old ones.
    Replay {
        /// The topic.
        topic: String,
        /// From the first record at least this new, in ms since 1970.
        from_ms: i64,
        /// Up to the first record at least this new.
        to_ms: i64,
    },
}

/// Is one finding of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum SinkFinding {
    /// A file was published and is not there.
    Missing {
        /// Its path below the sink's url.
        path: String,
    },
    /// A file has other rows than were published.
    Changed {
        /// Its path.
        path: String,
    },
    /// Whether a file has the rows that were published cannot be told now.
    Unreadable {
        /// Its path.
        path: String,
        /// Why.
        reason: String,
    },
    /// A file has a name such as the sink's, and the sink knows nothing of it.
    Unknown {
        /// Its path.
        path: String,
        /// Its bytes.
        bytes: u64,
    },
    /// No file and no gap accounts for these offsets.
    Hole {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// First offset.
        from: u64,
        /// First offset after them.
        to: u64,
    },
    /// These records could not be had when the files were made; that was told then. No new problem.
    Gap {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// First offset.
        from: u64,
        /// First offset after them.
        to: u64,
        /// Why.
        reason: String,
    },
    /// The log has other records than the files of these offsets.
    Differs {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// First offset.
        from: u64,
        /// First offset after them.
        to: u64,
        /// How.
        reason: String,
    },
    /// A file was made again.
    Repaired {
        /// Its path.
        path: String,
    },
    /// A file cannot be made again.
    Beyond {
        /// Its path.
        path: String,
        /// Why.
        reason: String,
    },
    /// Files were put in place of others.
    Replayed {
        /// What was there.
        removed: Vec<String>,
        /// What is there now.
        files: Vec<String>,
    },
    /// These files cannot be made anew; they are as they were.
    NotReplayed {
        /// Their paths.
        files: Vec<String>,
        /// Why.
        reason: String,
    },
    /// The job ends before its end.
    Failed {
        /// Why.
        reason: String,
    },
    /// The job is over.
    Summary(SinkAudit),
}

/// Sums up a job.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct SinkAudit {
    /// Files in the manifest.
    pub files: u64,
    /// Their records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were read.
    pub read: u64,
    /// Records that were compared with the log.
    pub compared_records: u64,
    /// Files made again or anew.
    pub written: u64,
    /// What is wrong, and was not mended.
    pub problems: u64,
}

/// Says what a sink will do in a day, by what came in the last hours: they are written into files on trial, by the same code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SinkPlan {
    /// Time that the sample covers, in seconds; less than asked for if there was more than can be tried out.
    pub sample_seconds: u64,
    /// Records in it.
    pub sample_records: u64,
    /// Files it made.
    pub sample_files: u64,
    /// Bytes of the files.
    pub sample_bytes: u64,
    /// Files in a day; those that were open at the sample's end count as far as they had come.
    pub files_per_day: u64,
    /// Bytes of the files of a day.
    pub bytes_per_day: u64,
    /// Requests to the storage in a day.
    pub operations_per_day: u64,
    /// Cuts in a day by cause.
    pub cuts_per_day: BTreeMap<String, u64>,
}
