//! What the agent tells of itself to people: the body of `GET /status` (DESIGN §7).

use serde::{Deserialize, Serialize};

/// Answers `GET /status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's id.
    pub agent: String,
    /// The log shipped to; null before the first session.
    pub log_id: Option<String>,
    /// Its epoch.
    pub log_epoch: Option<u64>,
    /// The session's epoch.
    pub session_epoch: Option<u64>,
    /// Why the collector does not let the agent in; null if it does.
    #[serde(default)]
    pub refused: Option<String>,
    /// Every file followed, by path.
    pub files: Vec<FileStatus>,
    /// Files an input asks for that are not followed.
    pub skipped: Vec<SkippedFile>,
    /// How many more there are that are older than `ignore_older`.
    pub skipped_unnamed: usize,
    /// What keeps files from being followed, by path.
    pub troubles: Vec<Trouble>,
    /// How near the agent is to what it may use.
    pub limits: Limits,
    /// Sums over the files.
    pub totals: Totals,
}

/// Names a path that cannot be looked at as it should, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// A file or a folder.
    pub path: String,
    /// What is wrong, in words.
    pub what: String,
}

/// Tells how much is used of what may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Files held open.
    pub open_files: usize,
    /// Past it the least recently read are set aside, and opened again when they grow.
    pub open_files_max: usize,
    /// Encoded bytes that wait for acknowledgement.
    pub memory_bytes: u64,
    /// Past it nothing is read.
    pub memory_bytes_max: u64,
    /// Bytes read from files per second, lately.
    pub read_rate: u64,
    /// How many may be; 0 is any.
    pub read_rate_max: u64,
    /// Bytes on disk of deleted files that are held open.
    pub deleted_bytes: u64,
    /// Past it the oldest of them are given up.
    pub deleted_bytes_max: u64,
    /// How long the oldest of them has waited to be read.
    pub deleted_oldest_ms: u64,
    /// Past it that is given up.
    pub deleted_age_max_ms: u64,
}

/// Tells how far one file is shipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStatus {
    /// Its path, as last known.
    pub path: String,
    /// Its source's id.
    pub source: String,
    /// Where its lines go.
    pub topic: String,
    /// The partition fixed for it; null if there is none or the collector has not told yet.
    pub partition: Option<u32>,
    /// Bytes seen of it.
    pub size: u64,
    /// Bytes acknowledged.
    pub position: u64,
    /// The difference.
    pub bytes_behind: u64,
    /// How long the oldest byte has waited for its acknowledgement; 0 if none waits.
    pub oldest_unacknowledged_ms: u64,
    /// `reading`, `idle`, `held` (renamed, followed for a while), `deleted`, `blocked` (it cannot be read, or the collector rejects it).
    pub state: FileState,
    /// Why it is blocked.
    pub trouble: Option<String>,
}

/// Says what is going on with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// Bytes are unread or unacknowledged.
    Reading,
    /// Everything is acknowledged.
    Idle,
    /// Renamed to what no input asks for; followed for a while.
    Held,
    /// Has no name any more; read to its end.
    Deleted,
    /// It cannot be read, or the collector rejects what comes of it; tried again now and then.
    Blocked,
}

/// Names a file that is not followed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedFile {
    /// Its path.
    pub path: String,
    /// Why, in words.
    pub reason: String,
}

/// Sums over all files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Bytes on disk not acknowledged.
    pub bytes_behind: u64,
    /// Bytes known lost since the agent started.
    pub lost_bytes: u64,
    /// Files deleted or replaced before they could be looked at, since the agent started.
    #[serde(default)]
    pub missed_files: u64,
    /// Files followed.
    pub files: usize,
    /// How long the oldest byte of all has waited for its acknowledgement; 0 if none waits.
    pub oldest_unacknowledged_ms: u64,
}
