//! What can go wrong between a reader and the log.

use std::ops::Range;

use skidway_record::{BatchError, Fate, Offset, PartitionId, TopicName, TopicPartition};

use crate::log::{Damage, LogError};
use crate::read::token::{SHARDS_MAX, TOPICS_MAX};

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
    /// More topics or partitions than one subscription may have.
    #[error(
        "{topics} topics with {partitions} partitions are more than one subscription may have: {TOPICS_MAX} and {SHARDS_MAX}"
    )]
    TooMany {
        /// Topics asked for.
        topics: usize,
        /// Partitions of all of them.
        partitions: usize,
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
    /// The records asked for first cannot be read any more.
    #[error("{damage}")]
    Damaged {
        /// Which, and why.
        damage: Box<Damage>,
        /// A token after them, once it is known who reads.
        next: Option<String>,
    },
    /// The log's own error.
    #[error(transparent)]
    Log(LogError),
}

impl From<LogError> for ReadError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Damaged(damage) => Self::Damaged { damage, next: None },
            other => Self::Log(other),
        }
    }
}

impl ReadError {
    /// Says that a stored batch, whole by its checksum, does not decode.
    pub(super) fn undecodable(of: &TopicPartition, offsets: Range<Offset>, reason: &BatchError) -> Self {
        let damage = Damage {
            topic: of.topic.clone(),
            partition: of.partition,
            from: offsets.start,
            next: offsets.end,
            file: None,
            position: None,
            reason: format!("the stored batch does not decode: {reason}"),
        };
        Self::Damaged { damage: Box::new(damage), next: None }
    }

    /// Tells what to do about it.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Log(error) => error.fate(),
            _ => Fate::Reject,
        }
    }
}
