//! What may be typed after `skidway queues`.

use clap::{Args, Subcommand};
use skidway_record::TopicName;

/// Holds the arguments of `skidway queues`.
#[derive(Debug, Args)]
pub struct Queues {
    /// What to do with queues; listing them if nothing is said.
    #[command(subcommand)]
    pub action: Option<QueueAction>,
}

/// Names what can be done with queues.
#[derive(Debug, Subcommand)]
pub enum QueueAction {
    /// List all queues
    List,
    /// Show one queue and its partitions
    Show {
        /// The queue
        queue: TopicName,
    },
    /// Create a queue, or change it: what is not said stays as it is
    Put {
        /// The queue
        queue: TopicName,
        /// Its settings.
        #[command(flatten)]
        settings: QueuePut,
    },
    /// Delete a queue; its topics stay
    Delete {
        /// The queue
        queue: TopicName,
    },
    /// Receive records: each line is a receipt, a tab and the record's value
    Receive {
        /// The queue
        queue: TopicName,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 1)]
        max: u32,
        /// Wait so long for the first, such as 20s
        #[arg(long, value_name = "TIME")]
        wait: Option<String>,
        /// Keep them for so long [default: the queue's lease]
        #[arg(long, value_name = "TIME")]
        lease: Option<String>,
    },
    /// Acknowledge records that were received
    Ack {
        /// The queue
        queue: TopicName,
        /// Their receipts
        #[arg(required = true)]
        receipts: Vec<String>,
    },
    /// Give records back
    Nack {
        /// The queue
        queue: TopicName,
        /// Their receipts
        #[arg(required = true)]
        receipts: Vec<String>,
        /// Nobody gets them for so long [default: by the queue's back-off]
        #[arg(long, value_name = "TIME")]
        delay: Option<String>,
        /// Why, for the dead letter
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Send them to the dead letters at once
        #[arg(long)]
        dead: bool,
    },
    /// Keep records longer
    Extend {
        /// The queue
        queue: TopicName,
        /// Their receipts
        #[arg(required = true)]
        receipts: Vec<String>,
        /// How long from now [default: the queue's lease]
        #[arg(long, value_name = "TIME")]
        lease: Option<String>,
    },
    /// Bring dead letters back, each once
    Redrive {
        /// The queue
        queue: TopicName,
        /// At most so many [default: 1000]
        #[arg(long, value_name = "N")]
        max: Option<u64>,
        /// Only the dead letter at this offset of the dead-letter topic; may be said again
        #[arg(long = "offset", value_name = "OFFSET")]
        offsets: Vec<u64>,
    },
}

/// Holds the settings of a queue that can be given; docs/queues.md has their defaults and bounds.
#[derive(Debug, Clone, Default, Args)]
pub struct QueuePut {
    /// The topic whose records are given away [default: the queue's name]
    #[arg(long)]
    pub topic: Option<TopicName>,
    /// How long a record is kept for who received it
    #[arg(long, value_name = "TIME")]
    pub lease: Option<String>,
    /// After so many deliveries a record goes to the dead letters
    #[arg(long, value_name = "N")]
    pub max_deliveries: Option<u32>,
    /// How long a record waits that was given back the first time; doubled with each
    #[arg(long, value_name = "TIME")]
    pub backoff_initial: Option<String>,
    /// How long at most
    #[arg(long, value_name = "TIME")]
    pub backoff_max: Option<String>,
    /// How long a new record waits
    #[arg(long, value_name = "TIME")]
    pub delay: Option<String>,
    /// The topic of dead letters [default: <queue>.dead]
    #[arg(long, value_name = "TOPIC")]
    pub dead_letter_topic: Option<TopicName>,
    /// Give records of one key away one after the other
    #[arg(long)]
    pub ordered_by_key: bool,
    /// Where a new queue begins: earliest or latest
    #[arg(long, value_name = "WHERE")]
    pub from: Option<String>,
    /// How many records of one partition may be in flight
    #[arg(long, value_name = "N")]
    pub max_in_flight: Option<u32>,
}
