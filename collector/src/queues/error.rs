//! What can be wrong with what a queue is asked for.

use skidway_record::{Fate, TopicName};

use crate::log::LogError;

/// Tells why a queue did not do what it was asked. Nothing is changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// No such queue.
    #[error("queue {0} does not exist")]
    UnknownQueue(TopicName),
    /// A member of the request is wrong.
    #[error("{member}: {reason}")]
    Invalid {
        /// Which.
        member: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The queue is there, and this cannot be changed.
    #[error("{member} of queue {queue} cannot be changed: delete the queue and put it anew")]
    Fixed {
        /// Which.
        member: &'static str,
        /// Whose.
        queue: TopicName,
    },
    /// One of our own topics.
    #[error("topic {0} is Skidway's own: a queue cannot have it")]
    InternalTopic(TopicName),
    /// There are as many queues as there may be.
    #[error("there are {max} queues, and may not be more")]
    TooManyQueues {
        /// The limit.
        max: usize,
    },
    /// As many as may be wait for records already.
    #[error("{max} requests wait for records of queue {queue}, and may not be more")]
    TooManyWaiting {
        /// Which.
        queue: TopicName,
        /// The limit.
        max: usize,
    },
    /// The queue's topic is not there.
    #[error("topic {topic} of queue {queue} was deleted; the queue goes on when it is there again")]
    TopicDeleted {
        /// Which queue.
        queue: TopicName,
        /// Its topic.
        topic: TopicName,
    },
    /// A receipt is none, or another queue's.
    #[error("receipt {index} is not one of queue {queue}")]
    InvalidReceipt {
        /// Which of the request's, from 0.
        index: usize,
        /// Whose it should be.
        queue: TopicName,
    },
    /// Dead letters are redriven out of order too often to remember which.
    #[error("dead letters were redriven by offset with more than {max} gaps: redrive those before them first")]
    TooManyGaps {
        /// The limit.
        max: usize,
    },
    /// The log's own error.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl QueueError {
    /// Tells what to do about it.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Log(error) => error.fate(),
            Self::TooManyWaiting { .. } | Self::TopicDeleted { .. } => Fate::Retry,
            _ => Fate::Reject,
        }
    }
}
