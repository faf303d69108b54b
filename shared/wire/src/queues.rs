//! JSON bodies of the queues' HTTP interface (docs/queues.md). Durations are text such as `"30s"`, times RFC 3339.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::JsonRecord;

/// Asks for a queue: what is absent stays as it is, or gets its default if the queue is new.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueChange {
    /// The topic whose records are given away; the queue's own name by default. Created if need be, never changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// How long a record is kept for who received it; `30s`, at most 12 h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// After so many deliveries a record goes to the dead letters; 5, at most 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_deliveries: Option<u32>,
    /// How long a record that was given back waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<BackoffChange>,
    /// How long a new record waits, counted from its timestamp; `0s`, at most 7 d.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// The topic of dead letters; `<queue>.dead`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_topic: Option<String>,
    /// Whether records of one key are given away one after the other; false. Never changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered_by_key: Option<bool>,
    /// Where a new queue begins: `earliest` (the default) or `latest`. Never changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// How many records of one partition may be leased, delayed or waiting for another one of their key; 2,000, at most 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
}

/// Is the back-off in a [`QueueChange`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackoffChange {
    /// After the first delivery; doubled with each. `1s`, at most 12 h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<String>,
    /// At most; `5m`, at most 12 h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
}

/// Shows a queue's settings in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueSettings {
    /// The topic whose records are given away.
    pub topic: String,
    /// How long a record is kept for who received it.
    pub lease: String,
    /// After so many deliveries a record goes to the dead letters.
    pub max_deliveries: u32,
    /// How long a record that was given back waits.
    pub backoff: Backoff,
    /// How long a new record waits, counted from its timestamp.
    pub delay: String,
    /// The topic of dead letters; absent for a token that may do nothing with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub dead_letter_topic: Option<String>,
    /// Whether records of one key are given away one after the other.
    pub ordered_by_key: bool,
    /// Where the queue began: `earliest` or `latest`.
    pub from: String,
    /// How many records of one partition may be in flight.
    pub max_in_flight: u32,
}

/// Is the back-off in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Backoff {
    /// After the first delivery; doubled with each.
    pub initial: String,
    /// At most.
    pub max: String,
}

/// Answers `GET /v1/queues`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueList {
    /// By name.
    pub queues: Vec<QueueDescription>,
}

/// Answers `GET /v1/queues/{q}` and `PUT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueDescription {
    /// The queue's name.
    pub name: String,
    /// `open`, or `topic-deleted`: there is nothing to receive until the topic is there again.
    pub state: String,
    /// Settings in force.
    pub settings: QueueSettings,
    /// Records that can be received now, or once the window has room for them.
    pub ready: u64,
    /// Records that someone has.
    pub leased: u64,
    /// Records that wait for their time.
    pub delayed: u64,
    /// Age of the oldest record that is not finished, by its timestamp (its batch's first one), in ms. Null if there is none.
    pub oldest_age_ms: Option<u64>,
    /// Records in the dead-letter topic that were not redriven; other queues' included if they share the topic.
    pub dead_letters: u64,
    /// Consumers that asked for records in the last minute.
    pub consumers: u64,
    /// Records that were gone, by retention or damage, before anyone received them, since the collector started.
    pub skipped: u64,
    /// By partition.
    pub partitions: Vec<QueuePartition>,
}

/// Says how a queue stands in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueuePartition {
    /// Number, from 0.
    pub partition: u32,
    /// Everything before this offset is finished.
    pub start_offset: u64,
    /// Nothing from this offset on was looked at yet.
    pub end_offset: u64,
    /// First offset not yet readable.
    pub high_watermark: u64,
    /// Records in the window that can be received, or wait for another one of their key.
    pub ready: u64,
    /// Records that someone has.
    pub leased: u64,
    /// Records that wait for their time.
    pub delayed: u64,
}

/// Asks for records.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiveRequest {
    /// At most so many; 1, at most 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// How long to wait for the first; `0s`, at most 5 m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<String>,
    /// How long they are kept for the caller; the queue's `lease`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// Ends the answer after about so many bytes; 1 MiB, at most 16 MiB. One record is given whatever its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// Who asks, to be counted among the queue's consumers; the address by default. At most 128 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
}

/// Answers `POST /v1/queues/{q}/receive`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Received {
    /// None if nothing came in time.
    pub messages: Vec<QueueMessage>,
}

/// Is a record that was given away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueMessage {
    /// Names this delivery, to acknowledge it, give it back or keep it longer.
    pub receipt: String,
    /// How often the record was given away, this time included.
    pub deliveries: u32,
    /// Until when nobody else gets it.
    pub lease_until: String,
    /// The record.
    #[serde(flatten)]
    pub record: JsonRecord,
}

/// Asks to finish records.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AckRequest {
    /// 1 to 10,000.
    pub receipts: Vec<String>,
}

/// Gives records back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NackRequest {
    /// 1 to 10,000.
    pub receipts: Vec<String>,
    /// How long nobody gets them, at most 12 h; by the queue's `backoff` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// Why, for the dead letter's header `skidway-reason`; at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether they go to the dead letters at once.
    #[serde(default)]
    pub dead: bool,
}

/// Asks to keep records longer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendRequest {
    /// 1 to 10,000.
    pub receipts: Vec<String>,
    /// How long from now; the queue's `lease` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
}

/// Answers `ack`, `nack` and `extend`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Settlements {
    /// One a receipt, in the order asked.
    pub results: Vec<Settlement>,
}

/// Says what became of one receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Settlement {
    /// The receipt.
    pub receipt: String,
    /// What became of it.
    pub result: SettleResult,
}

/// Names what can become of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SettleResult {
    /// What was asked for is done, and durable.
    Done,
    /// The record was given back for the last time and is among the dead letters.
    DeadLettered,
    /// The record was finished before; nothing changed.
    AlreadyDone,
    /// The lease is over and somebody else was given the record; nothing changed.
    LeaseExpired,
}

/// Asks to bring dead letters back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RedriveRequest {
    /// At most so many; 1,000, at most 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
    /// Only the dead letters at these offsets of the dead-letter topic; at most 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offsets: Option<Vec<u64>>,
}

/// Answers `POST /v1/queues/{q}/redrive`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Redriven {
    /// So many are in the queue's topic again.
    pub redriven: u64,
    /// So many dead letters are left.
    pub dead_letters: u64,
}

/// Gives the path of a queue, or with an action such as `/receive` what can be done with it.
pub fn queue_path(queue: &str, action: &str) -> String {
    format!("/v1/queues/{queue}{action}")
}
