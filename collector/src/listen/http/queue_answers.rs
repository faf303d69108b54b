//! How the errors of queues look from outside.

use std::time::Duration;

use skidway_wire::queues::Settlements;

use crate::listen::http::answers::Failure;
use crate::queues::QueueError;

impl Failure {
    /// Says that nobody has the records of any of these receipts any more, and what became of each.
    pub(super) fn lease_expired(settlements: &Settlements) -> Self {
        let detail = "the lease is over and somebody else was given the record; nothing was changed";
        let results = serde_json::to_value(&settlements.results).unwrap_or_default();
        Self::new(409, "lease-expired", detail).with("results", results)
    }
}

impl From<QueueError> for Failure {
    fn from(error: QueueError) -> Self {
        let detail = error.to_string();
        match error {
            QueueError::UnknownQueue(_) => Self::new(404, "queue-not-found", detail),
            QueueError::Invalid { member, .. } => {
                Self::new(400, "invalid-queue-request", detail).with("member", member)
            }
            QueueError::Fixed { member, .. } => Self::new(409, "queue-setting-fixed", detail).with("member", member),
            QueueError::InternalTopic(_) => Self::new(403, "internal-topic", detail),
            QueueError::TooManyQueues { .. } => Self::new(409, "too-many-queues", detail),
            QueueError::TooManyWaiting { .. } => {
                Self::new(429, "too-many-waiting", detail).retry_after(Duration::from_secs(1))
            }
            QueueError::TopicDeleted { .. } => {
                Self::new(409, "queue-topic-deleted", detail).retry_after(Duration::from_secs(5))
            }
            QueueError::InvalidReceipt { index, .. } => {
                Self::new(400, "invalid-receipt", detail).with("receipt", index as u64)
            }
            QueueError::TooManyGaps { .. } => Self::new(409, "too-many-gaps", detail),
            QueueError::Log(error) => error.into(),
        }
    }
}
