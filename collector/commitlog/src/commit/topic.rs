//! What a topic is, and what may be set of it.

use serde::{Deserialize, Serialize};
use skidway_record::TopicName;

/// Gives what a caller wants set; `None` leaves it as it is: set before, or inherited from the first rule that matches.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopicSettings {
    /// 1 to 1000.
    pub partitions: Option<u32>,
    /// How long records are kept after their append; `Some(None)`: for ever.
    pub retention_age_ms: Option<Option<u64>>,
    /// How many bytes a partition keeps; `Some(None)`: no bound.
    pub retention_bytes: Option<Option<u64>>,
    /// What goes in time.
    pub cleanup: Option<Cleanup>,
    /// How long a tombstone stays.
    pub tombstone_retention_ms: Option<u64>,
    /// How long a record is left as it is.
    pub min_compaction_lag_ms: Option<u64>,
}

/// Holds a topic's settings in force. By default 4 partitions, 7 days and 10 GiB a partition, without compaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicConfig {
    /// 1 to 1000.
    pub partitions: u32,
    /// `None`: for ever.
    pub retention_age_ms: Option<u64>,
    /// Per partition; `None`: no bound.
    pub retention_bytes: Option<u64>,
    /// What goes in time: by age and bytes, by key, or both.
    pub cleanup: Cleanup,
    /// How long a tombstone stays once compaction has removed what it deletes, in ms; 24 hours by default. Kafka's `delete.retention.ms`.
    pub tombstone_retention_ms: u64,
    /// How long after its append a record is not compacted away, in ms; 0 by default. Kafka's `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: u64,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            partitions: 4,
            retention_age_ms: Some(7 * 24 * 60 * 60 * 1000),
            retention_bytes: Some(10 << 30),
            cleanup: Cleanup::Delete,
            tombstone_retention_ms: 24 * 60 * 60 * 1000,
            min_compaction_lag_ms: 0,
        }
    }
}

/// Says what goes of a topic in time, as Kafka's `cleanup.policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Cleanup {
    /// What is older, or more, than retention allows.
    #[default]
    Delete,
    /// Records that a later one of the same key supersedes.
    Compact,
    /// Both.
    CompactDelete,
}

impl Cleanup {
    /// Every one, in the order of their names.
    pub const ALL: [Self; 3] = [Self::Compact, Self::CompactDelete, Self::Delete];

    /// Gives its name, as it is written: `delete`, `compact` or `compact,delete`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Compact => "compact",
            Self::CompactDelete => "compact,delete",
        }
    }

    /// Reads a name; `delete,compact` is `compact,delete`. `None` if it is none.
    pub fn parse(name: &str) -> Option<Self> {
        if name == "delete,compact" {
            return Some(Self::CompactDelete);
        }
        Self::ALL.into_iter().find(|cleanup| cleanup.name() == name)
    }

    /// Tells whether retention applies.
    pub fn deletes(self) -> bool {
        self != Self::Compact
    }

    /// Tells whether superseded records go.
    pub fn compacts(self) -> bool {
        self != Self::Delete
    }
}

/// Describes a topic. A deleted and recreated topic has another id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// Random, version 4.
    pub id: [u8; 16],
    /// Name.
    pub name: TopicName,
    /// Settings.
    pub config: TopicConfig,
}
