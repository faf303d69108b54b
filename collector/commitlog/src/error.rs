//! What can go wrong in the engine, and what whoever meets it does about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skidway_record::{Fate, Offset, TopicPartition};

use crate::commit::{LogOffsets, Refusal};

/// Tells why the engine did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The request contradicts what is stored.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The offset is below the log start or above the high watermark.
    #[error("offset {at} is outside {}..={}", offsets.log_start, offsets.high_watermark)]
    OffsetOutOfRange {
        /// Asked for.
        at: Offset,
        /// What the partition has.
        offsets: LogOffsets,
    },
    /// No such topic, or it has no such partition.
    #[error("unknown partition {0}")]
    UnknownPartition(TopicPartition),
    /// One commit is larger than may be stored at once.
    #[error("a commit of {bytes} bytes is larger than the {max} that are stored at once")]
    TooLarge {
        /// Its batches' bytes.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// There is no room for the commit; nothing of it is stored. Reads go on, and it may be sent again.
    #[error("no space in {}: {free} bytes are free, {need} are needed", path.display())]
    NoSpace {
        /// The data folder.
        path: PathBuf,
        /// Free bytes found.
        free: u64,
        /// Bytes needed, the reserve included.
        need: u64,
    },
    /// The log is being closed; nothing of the request is stored.
    #[error("the log is closed")]
    Closed,
    /// Another process has the data folder open.
    #[error("another process uses {}", .0.display())]
    InUse(PathBuf),
    /// The system refused an operation.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What we did: `open`, `sync`, …
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// What is stored is damaged, and not by a mere power cut.
    #[error("{} is damaged at byte {position}: {reason}", path.display())]
    Corrupt {
        /// The file or folder.
        path: PathBuf,
        /// Place in it.
        position: u64,
        /// What was found.
        reason: String,
    },
    /// Some records cannot be read any more; those before and after them can. The log goes on.
    #[error("offsets {from}..{next} cannot be read: {} is damaged at byte {position}: {reason}", path.display())]
    Damaged {
        /// The segment file.
        path: PathBuf,
        /// Place in it.
        position: u64,
        /// First offset that cannot be read.
        from: Offset,
        /// Next offset that can, or where the readable part ends.
        next: Offset,
        /// What was found.
        reason: String,
    },
    /// The engine stopped at an earlier failure. What of the request is stored, recovery decides.
    #[error("the log has stopped: {reason}")]
    Halted {
        /// The failure.
        reason: String,
    },
}

impl Error {
    /// Says what to do about it.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Refused(_)
            | Self::OffsetOutOfRange { .. }
            | Self::UnknownPartition(_)
            | Self::TooLarge { .. }
            | Self::Damaged { .. } => Fate::Reject,
            Self::NoSpace { .. } | Self::Closed => Fate::Retry,
            Self::InUse(_) | Self::Io { .. } | Self::Corrupt { .. } | Self::Halted { .. } => Fate::Halt,
        }
    }

    /// Names what was being done when the system refused.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source: Arc::new(source) }
    }

    /// Reports damage.
    pub(crate) fn corrupt(path: &Path, position: u64, reason: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), position, reason: reason.into() }
    }

    /// Gives what every request gets once this has stopped the engine.
    pub(crate) fn halted(&self) -> Self {
        match self {
            Self::Halted { .. } => self.clone(),
            other => Self::Halted { reason: other.to_string() },
        }
    }
}
