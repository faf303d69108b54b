//! What can be wrong with what came in.

use std::time::Duration;

use skidway_record::{Fate, TopicName};

use crate::log::LogError;

/// Tells why a request was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    /// No such topic, and producing may not create it.
    #[error("topic {0} does not exist, and topics.auto_create is off")]
    UnknownTopic(TopicName),
    /// One of our own topics.
    #[error("topic {0} is Skidway's own: it can be read, not written")]
    InternalTopic(TopicName),
    /// A record that fits no batch.
    #[error("record {index} is too large: {bytes} bytes encoded, at most {max}")]
    RecordTooLarge {
        /// Which record of the request, from 0.
        index: u64,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A record names a partition the topic does not have.
    #[error("record {index} names partition {partition}, the topic has {partitions}, numbered from 0")]
    UnknownPartition {
        /// Which record of the request, from 0.
        index: u64,
        /// The partition it names.
        partition: u32,
        /// How many there are.
        partitions: u32,
    },
    /// A record and the request name different partitions.
    #[error("record {index} names partition {partition}, the request {requested}")]
    OtherPartition {
        /// Which record of the request, from 0.
        index: u64,
        /// The partition it names.
        partition: u32,
        /// The partition the request names.
        requested: u32,
    },
    /// A record without a key for a topic that is compacted by key.
    #[error("record {index} has no key, and the topic is compacted by key: it would be kept for ever")]
    KeyRequired {
        /// Which record of the request, from 0.
        index: u64,
    },
    /// The request holds no record.
    #[error("the request holds no records")]
    Empty,
    /// A newer session of the agent is open.
    #[error("session {epoch} of the agent is not the current one{}", current.map(|it| format!(", which is {it}")).unwrap_or_default())]
    Fenced {
        /// Asked with.
        epoch: u64,
        /// In force.
        current: Option<u64>,
    },
    /// Two machines use one agent id.
    #[error(
        "agent id {agent} is in use by another machine, which connects from {holder} and spoke {} s ago; this one \
         connects from {asker}. Give each machine its own agent.id",
        silent.as_secs()
    )]
    AgentIdInUse {
        /// The id.
        agent: String,
        /// Address of the machine that holds the session; `unknown` since a restart of the collector.
        holder: String,
        /// Address of the machine that asked.
        asker: String,
        /// How long the holder has been silent.
        silent: Duration,
        /// When to ask again: the holder may be gone by then.
        retry_after: Duration,
    },
    /// The log's own error.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl IngestError {
    /// Tells what to do about it.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Log(error) => error.fate(),
            Self::AgentIdInUse { .. } => Fate::Retry,
            _ => Fate::Reject,
        }
    }
}
