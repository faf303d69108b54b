//! Paths and JSON bodies of the HTTP interface that more than one program speaks (DESIGN §7).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Gives the path of one topic's records.
pub fn records_path(topic: &str) -> String {
    format!("/v1/topics/{topic}/records")
}

/// Gives the path that opens an agent's session.
pub fn session_path(agent: &str) -> String {
    format!("/v1/agents/{agent}/session")
}

/// Gives the path that pages an agent's sources.
pub fn sources_path(agent: &str) -> String {
    format!("/v1/agents/{agent}/sources")
}

/// Path that takes commits.
pub const COMMITS_PATH: &str = "/v1/commits";

/// Answers `GET /healthz` and `GET /readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`, `ready`.
    pub status: String,
}

/// Answers `GET /v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct About {
    /// 32 hex digits.
    pub log_id: String,
    /// Counts restores and promotions of the log.
    pub log_epoch: u64,
    /// `embedded` or `kafka`.
    pub engine: String,
    /// The collector's build.
    pub version: String,
}

/// Path of the collector's log level.
pub const LOG_LEVEL_PATH: &str = "/v1/log-level";

/// Path of the agent's log level, at its admin port.
pub const AGENT_LOG_LEVEL_PATH: &str = "/log-level";

/// Asks for other log lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogLevelRequest {
    /// `error`, `warn`, `info`, `debug`, `trace`, `off` or a filter such as `info,skidway_agent=debug`.
    pub level: String,
    /// Then the configured one is in force again: `1s` to `30d`; until the process ends if absent.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lent: Option<String>,
}

/// Says which log lines are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLevel {
    /// The filter in force.
    pub level: String,
    /// The one of the configuration, or of `RUST_LOG`.
    pub configured: String,
    /// Seconds until that one is in force again; null if it is, or another was set for good.
    pub ends_in_seconds: Option<u64>,
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, configured, ends_in_seconds } = self;
        match ends_in_seconds {
            Some(seconds) => write!(f, "{level}, {seconds} s more, then {configured}"),
            None if level == configured => f.write_str(level),
            None => write!(f, "{level} until it ends; configured is {configured}"),
        }
    }
}

/// Holds a record as JSON shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default, ToSchema)]
pub struct JsonRecord {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: u64,
    /// RFC 3339, UTC, milliseconds.
    pub timestamp: String,
    /// Key if UTF-8; null if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Key if not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_base64: Option<String>,
    /// Text; an array if repeated; `{"base64":…}` if binary.
    #[serde(default)]
    pub headers: Map<String, Value>,
    /// Value if UTF-8; null for a tombstone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Value if not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
}

/// Answers `GET /v1/topics`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopicList {
    /// By name.
    pub topics: Vec<TopicSummary>,
}

/// Holds a line of the topic list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopicSummary {
    /// Name.
    pub name: String,
    /// Number of partitions.
    pub partitions: u32,
}

/// Answers `GET /v1/topics/{t}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopicDescription {
    /// Name.
    pub name: String,
    /// Settings in force.
    pub config: TopicSettings,
    /// One entry a partition, in order.
    pub partitions: Vec<PartitionDescription>,
}

/// Holds a topic's settings, as `PUT` takes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopicSettings {
    /// 1 to 1000.
    pub partitions: u32,
    /// How long and how much is kept.
    pub retention: Retention,
    /// What becomes of old records: `delete`, `compact` or `compact,delete`.
    pub cleanup: String,
    /// How long the tombstones of a compacted topic stay, such as `24h`.
    pub tombstone_retention: String,
    /// How long records are not compacted, such as `0s`.
    pub min_compaction_lag: String,
    /// Whether an index of keys is kept.
    pub key_index: bool,
}

/// Says what is kept of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Retention {
    /// Time since the append, such as `7d`. Null: for ever.
    pub age: Option<String>,
    /// Of one partition, such as `10GiB`. Null: no bound.
    pub bytes: Option<String>,
}

/// Holds a partition's extent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartitionDescription {
    /// Number, from 0.
    pub partition: u32,
    /// First offset kept.
    pub log_start_offset: u64,
    /// First offset not yet readable.
    pub high_watermark: u64,
    /// Bytes of its segments.
    pub bytes: u64,
}

/// Answers the deletion of a partition's first records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordsDeleted {
    /// Number, from 0.
    pub partition: u32,
    /// First offset kept.
    pub log_start_offset: u64,
}

/// Answers a produce request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Produced {
    /// One entry a partition written to.
    pub offsets: Vec<ProducedOffsets>,
}

/// Tells where a run of records went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProducedOffsets {
    /// Partition.
    pub partition: u32,
    /// Offset of the first.
    pub base_offset: u64,
    /// How many.
    pub count: u64,
}

/// Answers `GET /v1/agents`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentList {
    /// By id.
    pub agents: Vec<AgentSummary>,
}

/// Holds a line of the fleet list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentSummary {
    /// The agent's id.
    pub id: String,
    /// Host name it gave.
    pub host: String,
    /// Its build.
    pub version: String,
    /// Session epoch.
    pub session_epoch: u64,
    /// When it last spoke; RFC 3339. Null if not since the collector started.
    pub last_seen: Option<String>,
    /// Bytes on disk not acknowledged, as it last said.
    pub bytes_behind: Option<u64>,
    /// Age of its oldest unacknowledged byte in ms, as it last said.
    pub oldest_unacknowledged_ms: Option<u64>,
}

/// Answers `GET /v1/sinks`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct SinkList {
    /// By name.
    pub sinks: Vec<SinkSummary>,
    /// Bytes of records that the log keeps past retention because sinks have not got them.
    pub pinned_bytes: u64,
    /// How many may be (`engine.pinned_bytes`).
    pub pinned_bytes_max: u64,
    /// When there will be as many, in seconds, if it goes on so. Null if that is not to be expected.
    pub full_in_seconds: Option<u64>,
}

/// Says how a sink stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SinkSummary {
    /// Its name.
    pub name: String,
    /// Where its files go.
    pub url: String,
    /// Their format and compression, as their names end.
    pub format: String,
    /// `running`, `failing` (it tries again), or `paused`.
    pub state: String,
    /// What is wrong. Null if nothing is.
    pub trouble: Option<String>,
    /// Since when; RFC 3339.
    pub trouble_since: Option<String>,
    /// What was wrong last, since the collector started, also if it is over. Null if nothing was.
    pub last_error: Option<SinkError>,
    /// The file that was published last. Null if none was.
    pub last_file: Option<SinkFile>,
    /// Files published.
    pub files: u64,
    /// Records in them.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records that could not be had and are in no file.
    pub lost_records: u64,
    /// Late records that are in no file, as `late = "drop"` wants it.
    pub late_dropped_records: u64,
    /// Records that are in no file yet.
    pub behind: u64,
    /// Cuts since the collector started, by cause: `bytes`, `records`, `age`, `idle`, `period`, `open-files`, `gap`, `stop`.
    pub cuts: std::collections::BTreeMap<String, u64>,
    /// By topic and partition.
    pub partitions: Vec<SinkShard>,
}

/// Is something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SinkError {
    /// When it was last seen; RFC 3339.
    pub at: String,
    /// What.
    pub detail: String,
}

/// Is a published file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SinkFile {
    /// When it was published; RFC 3339.
    pub at: String,
    /// Its path below the sink's url.
    pub path: String,
}

/// Says how a sink stands in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SinkShard {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// All before this offset is in files that were decided.
    pub frontier: u64,
    /// All before this was read.
    pub read: u64,
    /// All before this is in the log.
    pub high_watermark: u64,
    /// Files that were decided and are not published.
    pub pending_files: u64,
}
