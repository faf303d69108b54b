//! What the keeper is asked, and what it answers.

use bytes::Bytes;
use skidway_record::{Offset, TopicName};
use skidway_wire::queues::{QueueChange, QueuePartition, SettleResult};
use tokio::sync::oneshot;

use super::QueueError;
use super::receipt::Receipt;
use super::runs::Runs;
use super::settings::Settings;
use super::share::Delivery;

/// Takes one answer.
pub type Reply<T> = oneshot::Sender<Result<T, QueueError>>;

/// Answers with an error. Whoever is gone does not want to know.
pub fn refuse<T>(reply: Reply<T>, error: QueueError) {
    let _gone = reply.send(Err(error));
}

/// Is a question to the keeper.
pub enum Ask {
    /// Creates or changes a queue; tells whether it was created.
    Put {
        /// Which.
        name: TopicName,
        /// How.
        change: QueueChange,
        /// The answer.
        reply: Reply<(bool, View)>,
    },
    /// Deletes a queue.
    Delete {
        /// Which.
        name: TopicName,
        /// The answer.
        reply: Reply<()>,
    },
    /// Shows all.
    List {
        /// The answer.
        reply: Reply<Vec<View>>,
    },
    /// Shows one.
    Describe {
        /// Which.
        name: TopicName,
        /// The answer.
        reply: Reply<View>,
    },
    /// Gives records away.
    Receive {
        /// Of which queue.
        name: TopicName,
        /// How many, and for how long.
        receive: Receive,
        /// The answer.
        reply: Reply<Given>,
    },
    /// Finishes deliveries or keeps them longer.
    Settle {
        /// Of which queue.
        name: TopicName,
        /// Which.
        receipts: Vec<Receipt>,
        /// How.
        how: How,
        /// The answer.
        reply: Reply<Vec<SettleResult>>,
    },
    /// Says that records which were given away cannot be read.
    Missing {
        /// Of which queue.
        name: TopicName,
        /// Which.
        missing: Vec<Receipt>,
    },
    /// Brings dead letters back; tells how many.
    Redrive {
        /// Of which queue.
        name: TopicName,
        /// Which.
        redrive: Redrive,
        /// The answer.
        reply: Reply<u64>,
    },
}

/// Says what someone wants to receive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receive {
    /// At most so many, 1 or more.
    pub max: usize,
    /// Waits until then, in ms since 1970.
    pub deadline: i64,
    /// For how long they are kept for him; the queue's lease if absent.
    pub lease_ms: Option<u64>,
    /// Ends after about so many bytes of JSON.
    pub bytes_max: usize,
    /// Who asks.
    pub consumer: String,
}

/// Says how deliveries are settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// They are done.
    Ack,
    /// They are given back.
    Nack {
        /// Nobody gets them for so long; by the queue's back-off if absent.
        delay_ms: Option<u64>,
        /// Whether they go to the dead letters at once.
        dead: bool,
        /// Why.
        reason: String,
    },
    /// They are kept for so long from now; the queue's lease if absent.
    Extend {
        /// How long.
        lease_ms: Option<u64>,
    },
}

/// Says which dead letters are to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    /// At most so many.
    pub max: u64,
    /// Only these offsets, sorted; all if absent.
    pub offsets: Option<Vec<Offset>>,
}

/// Is what was given away.
#[derive(Debug, Clone)]
pub struct Given {
    /// First bytes of the queue's and the topic's ids.
    pub of: [u8; 8],
    /// The topic.
    pub topic: TopicName,
    /// The records.
    pub leased: Vec<Leased>,
}

/// Is a record that was given away.
#[derive(Debug, Clone)]
pub struct Leased {
    /// Its partition.
    pub partition: u32,
    /// Which delivery of which record.
    pub delivery: Delivery,
    /// Until when, in ms since 1970.
    pub until: i64,
    /// Its JSON without the opening brace, if it is at hand.
    pub json: Option<Bytes>,
}

/// Shows how a queue stands.
#[derive(Debug, Clone)]
pub struct View {
    /// Its name.
    pub name: TopicName,
    /// Its settings.
    pub settings: Settings,
    /// Whether its topic is there.
    pub is_open: bool,
    /// By partition.
    pub partitions: Vec<QueuePartition>,
    /// Consumers seen lately.
    pub consumers: u64,
    /// Records that were gone before anyone received them, since the start.
    pub skipped: u64,
    /// Offsets of the dead-letter topic that were redriven.
    pub redriven: Runs,
}
