//! The values that pass between stages, and what identifies a file to all of them. Decides nothing.

pub mod fingerprint;
pub mod physical;

use std::time::Duration;

use bytes::Bytes;
use skidway_record::source::StoredSource;
use skidway_record::{AgentId, LogId};
use skidway_wire::{CommitRequest, ItemResult};

/// Names a followed file inside this process. Never reused, so a late event for a file long closed finds nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileSlot(pub u64);

/// Holds one line, or a piece of one, without its line end. From framing to batching; borrowed from the read buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// The bytes, any bytes.
    pub bytes: &'a [u8],
    /// The line began in an earlier piece.
    pub continued: bool,
    /// The line goes on after this piece, as far as anyone knows.
    pub partial: bool,
}

/// Says what a record is marked with, beside its file's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks(u8);

impl Marks {
    /// A whole line.
    pub const NONE: Self = Self(0);
    /// The line goes on in a later record.
    pub const PARTIAL: Self = Self(1);
    /// The line began in an earlier record.
    pub const CONTINUED: Self = Self(2);
    /// The rest of the line was dropped, as it was asked for.
    pub const TRUNCATED: Self = Self(4);
    /// A container wrote it to its standard output.
    pub const STDOUT: Self = Self(8);
    /// A container wrote it to its standard error.
    pub const STDERR: Self = Self(16);
    /// No container runtime wrote this line, though one was to.
    pub const FOREIGN: Self = Self(32);

    /// Gives a line's marks.
    #[inline]
    pub fn of(line: &Line<'_>) -> Self {
        Self(u8::from(line.partial) | u8::from(line.continued) << 1)
    }

    /// Gives these marks and others.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Gives these marks and others if `holds`.
    #[must_use]
    pub fn and_if(self, holds: bool, others: Self) -> Self {
        if holds { self.and(others) } else { self }
    }

    /// Tells whether all of the others are among these.
    pub fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

/// Says which session commits are made in; every request carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The agent.
    pub agent: AgentId,
    /// Counts the agent's sessions; a newer one fences the older.
    pub epoch: u64,
    /// The log.
    pub log_id: LogId,
    /// Counts the log's restores and promotions.
    pub log_epoch: u64,
}

/// Holds what a fresh session starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The session.
    pub session: Session,
    /// Inputs whose first scan was over in an earlier session.
    pub opened_inputs: Vec<String>,
    /// All that the collector knows of this agent's files.
    pub sources: Vec<StoredSource>,
    /// The log is not the one the agent shipped to before, and the configuration says to go on all the same.
    pub new_log: bool,
}

/// Asks a lane for one thing. It has time: a lane answers only when the collector has.
#[derive(Debug)]
pub enum Errand {
    /// Open a session and list the sources.
    Open {
        /// The log shipped to before, if any.
        known_log: Option<LogId>,
        /// The newest session known of; 0 if none is. A lane finds out if there are newer ones.
        newest: u64,
    },
    /// Commit these items.
    Commit(CommitRequest),
}

/// Tells how an errand ended.
#[derive(Debug)]
pub enum Outcome {
    /// A session is open.
    Opened(Box<Opened>),
    /// One result an item, in order.
    Committed(Vec<ItemResult>),
    /// A newer session of this agent is open.
    Fenced {
        /// The epoch the refused request carried.
        epoch: u64,
    },
    /// The collector serves another log, or another epoch of it, than the session was opened on.
    LogChanged {
        /// The epoch of the session the refused request carried.
        epoch: u64,
    },
}

/// Names the lane that ran the errand, with how it went.
#[derive(Debug)]
pub struct Report {
    /// Which lane.
    pub lane: usize,
    /// How it went.
    pub outcome: Outcome,
    /// How long it took, retries included.
    pub took: Duration,
}

/// Holds a dead letter's cut value bound, in bytes: 64 KiB.
pub const DEAD_VALUE_BYTES_MAX: usize = 64 << 10;

/// Gives up to `max` bytes from the front.
pub fn cut(bytes: &[u8], max: usize) -> &[u8] {
    &bytes[..bytes.len().min(max)]
}

/// Copies an encoded batch into memory of its own size: builders hand out buffers sized for the worst case.
pub fn fitted(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
