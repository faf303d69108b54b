//! What can go wrong between the collector and its log.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;
use skidway_commitlog::Error as EngineError;
use skidway_record::{Fate, Offset, PartitionId, TopicName, TopicPartition};

use crate::log::{LogOffsets, Refusal};

/// Describes records that cannot be read any more; those before and after them can. Serialized as readers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Topic.
    #[serde(skip)]
    pub topic: TopicName,
    /// Its partition.
    pub partition: PartitionId,
    /// First offset that cannot be read, of those asked for.
    #[serde(rename = "offset")]
    pub from: Offset,
    /// Next offset that can.
    #[serde(rename = "next_offset")]
    pub next: Offset,
    /// The damaged file, if damage to a file is what it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Place in it, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// What was found.
    pub reason: String,
}

impl Display for Damage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, from, next, reason, .. } = self;
        write!(f, "offsets {from}..{next} of {topic}-{partition} cannot be read: ")?;
        match (&self.file, self.position) {
            (Some(file), Some(position)) => write!(f, "{file} is damaged at byte {position}: {reason}"),
            _ => write!(f, "{reason}"),
        }
    }
}

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
    /// Some records cannot be read any more.
    #[error("{0}")]
    Damaged(Box<Damage>),
    /// The log is closing.
    #[error("the log is closing")]
    Closing,
    /// A file could not be opened, or the log has stopped.
    #[error("the log failed: {0}")]
    Failed(String),
}

impl LogError {
    /// Tells what to do about it.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Refused(_)
            | Self::OutOfRange { .. }
            | Self::NotFound(_)
            | Self::TooLarge { .. }
            | Self::Damaged(_) => Fate::Reject,
            Self::NoSpace(_) | Self::Closing => Fate::Retry,
            Self::Failed(_) => Fate::Halt,
        }
    }

    /// Says what an error means to who read a partition.
    pub(super) fn of_read(error: EngineError, of: &TopicPartition) -> Self {
        match error {
            EngineError::Damaged { path, position, from, next, reason } => Self::Damaged(Box::new(Damage {
                topic: of.topic.clone(),
                partition: of.partition,
                from,
                next,
                file: Some(path.display().to_string()),
                position: Some(position),
                reason,
            })),
            other => other.into(),
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
