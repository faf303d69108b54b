//! Topics as they were stored before they could be compacted: in checkpoints of version 2 and in their journals. Read, never written.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use skidway_record::source::StoredSource;
use skidway_record::{AgentId, SourceId, TopicName};

use crate::commit::{AgentState, LogIdentity, Topic, TopicConfig, TopicSettings};
use crate::effects::TopicId;
use crate::state::{PartitionState, ProducerState, State, TopicState};

/// Is a topic without cleanup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TopicV2 {
    id: TopicId,
    name: TopicName,
    config: TopicConfigV2,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct TopicConfigV2 {
    partitions: u32,
    retention_age_ms: Option<u64>,
    retention_bytes: Option<u64>,
}

/// Is what was set for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TopicSettingsV2 {
    partitions: Option<u32>,
    retention_age_ms: Option<Option<u64>>,
    retention_bytes: Option<Option<u64>>,
}

/// Is the state as a checkpoint of version 2 holds it.
#[derive(Debug, Deserialize)]
pub(crate) struct StateV2 {
    identity: LogIdentity,
    lsn: u64,
    topics: BTreeMap<TopicId, TopicStateV2>,
    agents: BTreeMap<AgentId, AgentState>,
    sources: HashMap<SourceId, StoredSource>,
}

#[derive(Debug, Deserialize)]
struct TopicStateV2 {
    topic: TopicV2,
    own: TopicSettingsV2,
    partitions: Vec<PartitionState>,
    producers: HashMap<String, ProducerState>,
}

impl From<TopicV2> for Topic {
    fn from(TopicV2 { id, name, config }: TopicV2) -> Self {
        let TopicConfigV2 { partitions, retention_age_ms, retention_bytes } = config;
        let config = TopicConfig { partitions, retention_age_ms, retention_bytes, ..TopicConfig::default() };
        Self { id, name, config }
    }
}

impl From<TopicSettingsV2> for TopicSettings {
    fn from(TopicSettingsV2 { partitions, retention_age_ms, retention_bytes }: TopicSettingsV2) -> Self {
        Self { partitions, retention_age_ms, retention_bytes, ..Self::default() }
    }
}

impl From<StateV2> for State {
    fn from(old: StateV2) -> Self {
        let topic = |held: TopicStateV2| TopicState {
            topic: held.topic.into(),
            own: held.own.into(),
            partitions: held.partitions,
            producers: held.producers,
        };
        Self {
            lsn: old.lsn,
            topics: old.topics.into_iter().map(|(id, held)| (id, topic(held))).collect(),
            agents: old.agents,
            sources: old.sources,
            ..Self::new(old.identity)
        }
    }
}
