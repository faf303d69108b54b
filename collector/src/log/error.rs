//! What can go wrong between the collector and its log.

use skidway_commitlog::Error as EngineError;
use skidway_record::{Fate, Offset, TopicPartition};

use crate::log::{LogOffsets, Refusal};

/// Tells why the log did not do what it was asked. Cheap to clone: one failed read may have many readers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The request contradicts what the log holds.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The offset lies before the log start or past the high watermark.
    #[error("offset {at} is not between {} and {}", offsets.log_start, offsets.high_watermark)]
    OutOfRange {
        /// Asked for.
        at: Offset,
        /// What there is.
        offsets: LogOffsets,
    },
    /// No such topic or partition.
    #[error("{0} does not exist")]
    NotFound(TopicPartition),
    /// One commit is larger than may be stored at once.
    #[error("a commit of {bytes} bytes is larger than the {max} that are stored at once")]
    TooLarge {
        /// Its batches' bytes.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The disk is full. Reading goes on, and writing does once there is room.
    #[error("the log has no space left: {0}")]
    NoSpace(String),
    /// The log is closing.
    #[error("the log is closing")]
    Closing,
    /// A read failed, or the log found itself damaged.
    #[error("the log failed: {0}")]
    Failed(String),
}

impl LogError {
    /// Tells what to do about it.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Refused(_) | Self::OutOfRange { .. } | Self::NotFound(_) | Self::TooLarge { .. } => Fate::Reject,
            Self::NoSpace(_) | Self::Closing => Fate::Retry,
            Self::Failed(_) => Fate::Halt,
        }
    }
}

impl From<EngineError> for LogError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Refused(refusal) => Self::Refused(refusal),
            EngineError::OffsetOutOfRange { at, offsets } => Self::OutOfRange { at, offsets },
            EngineError::UnknownPartition(partition) => Self::NotFound(partition),
            EngineError::TooLarge { bytes, max } => Self::TooLarge { bytes, max },
            EngineError::NoSpace { .. } => Self::NoSpace(error.to_string()),
            EngineError::Closed => Self::Closing,
            other => Self::Failed(other.to_string()),
        }
    }
}
