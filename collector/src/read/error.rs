//! What can go wrong between a reader and the log.

use skidway_record::{BatchError, Fate, Offset, PartitionId, TopicName, TopicPartition};

use crate::log::LogError;

/// Tells why records cannot be read from here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No such topic. Reading never creates one.
    #[error("topic {0} does not exist")]
    UnknownTopic(TopicName),
    /// The topic has fewer partitions.
    #[error("topic {topic} has {partitions} partitions, numbered from 0; there is no partition {partition}")]
    UnknownPartition {
        /// The topic.
        topic: TopicName,
        /// How many it has.
        partitions: u32,
        /// The one asked for.
        partition: PartitionId,
    },
    /// The token is not one of ours, or of another subscription.
    #[error("{0}")]
    BadToken(String),
    /// What the reader stands at is not there any more, or never was in this log.
    #[error("{reason}")]
    Gone {
        /// Why.
        reason: String,
        /// A token at the earliest record there is; `None` if the topic is gone.
        earliest: Option<String>,
    },
    /// The offset asked for lies past the high watermark.
    #[error("offset {at} of {partition} is past its high watermark {high_watermark}")]
    PastEnd {
        /// Asked of.
        partition: TopicPartition,
        /// Asked for.
        at: Offset,
        /// The next offset to be written.
        high_watermark: Offset,
    },
    /// A stored batch does not decode: the store is damaged.
    #[error("a stored batch of {partition} at offset {at} does not decode: {reason}")]
    Damaged {
        /// Where.
        partition: TopicPartition,
        /// Base offset of the batch.
        at: Offset,
        /// What is wrong with it.
        reason: BatchError,
    },
    /// The log's own error.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl ReadError {
    /// Tells what to do about it.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Damaged { .. } => Fate::Halt,
            Self::Log(error) => error.fate(),
            _ => Fate::Reject,
        }
    }
}
