//! What can go wrong between a key and its records.

use std::io::ErrorKind;

use skidway_record::{Fate, TopicName, TopicPartition};

use crate::log::LogError;

/// Tells why something about a key cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// No such topic.
    #[error("topic {0} does not exist")]
    UnknownTopic(TopicName),
    /// The topic has no such partition.
    #[error("{0} does not exist")]
    UnknownPartition(TopicPartition),
    /// The topic has no key index.
    #[error("topic {0} has no key index; ask for one with PUT /v1/topics/{0} and {{\"key_index\":true}}")]
    NoIndex(TopicName),
    /// The index is being made, or made again.
    #[error("the key index of topic {topic} is being made: {behind} offsets are still to be read")]
    Behind {
        /// The topic.
        topic: TopicName,
        /// Offsets that are not indexed.
        behind: u64,
    },
    /// Another wrote the key first.
    #[error("the last record of the key is {}", current.as_ref().map_or("none".to_owned(), |it| format!("at offset {} of partition {}", it.1, it.0)))]
    OtherOffset {
        /// Partition and offset of its last record.
        current: Option<(u32, u64)>,
    },
    /// Others wrote to the partition again and again.
    #[error("others write to {0} all the time, so that what was checked was never true for long enough")]
    Contended(TopicPartition),
    /// The place to go on from is none.
    #[error("{0}")]
    BadPlace(String),
    /// There are more keys than may be held at once.
    #[error(
        "{of} has more than {keys} different keys, which take more than {bytes} bytes to tell apart; read it with prefix= or \
         give the topic a key index, which takes a tenth"
    )]
    TooManyKeys {
        /// Which partition.
        of: TopicPartition,
        /// How many were counted.
        keys: u64,
        /// Bytes that all tables together may take.
        bytes: u64,
    },
    /// Others take all memory that there is for tables, or too many are being read.
    #[error("other tables that are being read take all there is for them")]
    Busy,
    /// Too many writes wait, or the collector stops.
    #[error("too many writes that expect a key's offset are waiting")]
    Full,
    /// The log's own error.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The file of the index cannot be read or written; it is being opened anew.
    #[error("the key index cannot be used now: {0}")]
    Store(#[from] StoreError),
}

impl KeysError {
    /// Tells what to do about it.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Log(error) => error.fate(),
            Self::Behind { .. } | Self::Contended(_) | Self::Busy | Self::Full | Self::Store(_) => Fate::Retry,
            _ => Fate::Reject,
        }
    }
}

/// Tells why the file of the index cannot be used: it is opened anew then, and made anew if that does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It is damaged, of another version, or of another log.
    #[error("{0}")]
    Unusable(String),
    /// The disk did not do what it was asked.
    #[error("{0}")]
    Io(String),
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                match redb::Error::from(error) {
                    // It speaks so of what it reads as well.
                    redb::Error::Io(error) if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => {
                        Self::Unusable(error.to_string())
                    }
                    redb::Error::Io(error) => Self::Io(error.to_string()),
                    error @ (redb::Error::PreviousIo | redb::Error::DatabaseAlreadyOpen) => Self::Io(error.to_string()),
                    other => Self::Unusable(other.to_string()),
                }
            }
        }
    )*};
}
from_redb!(
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError,
    redb::SetDurabilityError
);
