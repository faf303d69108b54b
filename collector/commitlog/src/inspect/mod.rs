//! What an operator does with a log at rest: shows its files, checks all of it, repairs what is damaged.
//!
//! ```text
//! dump      one file as text or JSON lines; needs no lock and no log
//! verify    reads everything under the log's lock, and says what is wrong and what a repair would do; changes nothing
//! repair    brings the log to a state that opens and verifies clean; keeps every file it changes aside; says what is lost
//! ```
//!
//! Uses the engine's own formats and rules; never deletes what it does not understand.

mod dump;
mod journals;
mod mend;
mod rebuild;
mod repair;
mod segments;
mod verify;

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use skidway_disk::Disk;
use skidway_record::{Offset, TopicPartition};

use crate::error::Error;
use crate::journal;

pub use dump::{Dump, dump};
pub use repair::{Repaired, repair, told};
pub use verify::verify;

/// Says one thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file or folder.
    pub path: PathBuf,
    /// Place in it, in bytes.
    pub position: Option<u64>,
    /// What was found, and what it means.
    pub what: String,
    /// What a repair does about it.
    pub repair: String,
}

impl Display for Finding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { path, position, what, repair } = self;
        write!(f, "{}", path.display())?;
        if let Some(position) = position {
            write!(f, " at byte {position}")?;
        }
        write!(f, ": {what}\n    repair: {repair}")
    }
}

/// Counts what was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Checked {
    /// Topics.
    pub topics: u64,
    /// Segment files.
    pub segments: u64,
    /// Batches in them that are sound.
    pub batches: u64,
    /// Records in these.
    pub records: u64,
    /// Bytes of the segments.
    pub bytes: u64,
    /// Commits in the journal after the checkpoint.
    pub commits: u64,
    /// What is wrong.
    pub findings: u64,
}

/// Names records that a repair could not keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Where they were.
    pub partition: TopicPartition,
    /// First offset lost.
    pub from: Offset,
    /// First offset after them.
    pub next: Offset,
    /// The file that was damaged.
    pub file: PathBuf,
    /// Place in it, in bytes.
    pub position: u64,
    /// Bytes that were taken out.
    pub bytes: u64,
    /// What was found.
    pub reason: String,
}

/// Hears of findings as they are made.
pub type Hear<'a> = &'a mut dyn FnMut(Finding);

/// Takes a log's lock; the folder must hold a log.
fn take_lock(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn Send + Sync>, Error> {
    let entries = disk.list(dir).map_err(Error::io("list", dir))?;
    let holds_log = entries.iter().any(|entry| entry.name == "checkpoint" || entry.name == "topics");
    if !holds_log && journal::numbers(disk, dir)?.is_empty() {
        return Err(Error::corrupt(dir, 0, "there is no log in it"));
    }
    let path = dir.join("lock");
    let lock = disk.lock(&path).map_err(Error::io("lock", &path))?;
    lock.ok_or_else(|| Error::InUse(dir.to_owned()))
}

/// Says where an error of the engine is, for a finding.
fn place_of(error: &Error, otherwise: &Path) -> (PathBuf, Option<u64>, String) {
    match error {
        Error::Corrupt { path, position, reason } => (path.clone(), Some(*position), reason.clone()),
        Error::Io { path, source, what } => (path.clone(), None, format!("cannot {what} it: {source}")),
        other => (otherwise.to_owned(), None, other.to_string()),
    }
}
