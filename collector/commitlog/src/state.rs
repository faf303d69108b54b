//! All that the log knows besides records: topics with their offsets, agents, sources, producers.
//!
//! Held by the sequencer alone, as *staged*: it runs ahead of the journal by at most one group, and nothing of it is told to anyone
//! before that group is durable. Changes only by [`State::apply`]; does no I/O, reads no clock.

mod check;
pub(crate) mod v2;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skidway_record::source::{NewSource, PhysicalId, StoredSource};
use skidway_record::{AgentId, SourceId, TopicName};

use crate::commit::{Advance, AgentState, LogIdentity, OpenSession, Topic, TopicSettings};
use crate::effects::{Append, Change, Effects, ProducedRequest, TopicId};

/// Requests remembered of each producer.
pub(crate) const REQUESTS_PER_PRODUCER: usize = 5;

/// Identifies a file of one input: no two sources that are not gone share one.
pub(crate) type FileIdentity = (AgentId, String, PhysicalId);

/// Holds the state at one place in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Which log this is.
    pub(crate) identity: LogIdentity,
    /// The last commit applied.
    pub(crate) lsn: u64,
    topics: BTreeMap<TopicId, TopicState>,
    agents: BTreeMap<AgentId, AgentState>,
    sources: HashMap<SourceId, StoredSource>,
    #[serde(skip)]
    topic_ids: BTreeMap<TopicName, TopicId>,
    #[serde(skip)]
    sources_by_agent: HashMap<AgentId, BTreeSet<SourceId>>,
    #[serde(skip)]
    live_files: HashMap<FileIdentity, SourceId>,
}

/// Holds one topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TopicState {
    /// Its description.
    pub(crate) topic: Topic,
    /// The settings that are its own; the rest is inherited.
    pub(crate) own: TopicSettings,
    /// Its partitions, as many as the configuration says.
    pub(crate) partitions: Vec<PartitionState>,
    /// Its idempotent producers, by id.
    pub(crate) producers: HashMap<String, ProducerState>,
}

/// Holds where one partition begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct PartitionState {
    /// First offset kept.
    pub(crate) log_start: u64,
    /// Offset of the next record.
    pub(crate) next_offset: u64,
    /// The segment that grows, if there is one.
    pub(crate) segment: Option<SegmentEnd>,
}

/// Holds the end of the segment that grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentEnd {
    /// Offset of its first record.
    pub(crate) base_offset: u64,
    /// Where its next batch begins.
    pub(crate) bytes: u64,
    /// When its first batch was appended, in ms since 1970.
    pub(crate) began_ms: i64,
}

impl PartitionState {
    /// Adds a batch at its place.
    pub(crate) fn append(&mut self, append: &Append, at_ms: i64) {
        let grown = self.segment.filter(|segment| segment.base_offset == append.segment);
        let began_ms = grown.map_or(at_ms, |segment| segment.began_ms);
        let bytes = append.position + u64::from(append.bytes);
        self.next_offset = append.next_offset;
        self.segment = Some(SegmentEnd { base_offset: append.segment, bytes, began_ms });
    }

    fn move_log_start(&mut self, log_start: u64) {
        self.log_start = log_start;
        if log_start >= self.next_offset {
            self.segment = None;
        }
    }
}

/// Holds one idempotent producer's place in a topic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct ProducerState {
    /// Its newest epoch.
    pub(crate) epoch: u64,
    /// Its last requests in that epoch, oldest first; never empty.
    pub(crate) requests: VecDeque<ProducedRequest>,
}

impl ProducerState {
    /// Gives the number of the record that would come next.
    pub(crate) fn expected(&self) -> u64 {
        self.requests.back().map_or(0, |last| last.first + last.count)
    }
}

impl State {
    /// Makes the state of a log without anything in it.
    pub(crate) fn new(identity: LogIdentity) -> Self {
        Self {
            identity,
            lsn: 0,
            topics: BTreeMap::new(),
            agents: BTreeMap::new(),
            sources: HashMap::new(),
            topic_ids: BTreeMap::new(),
            sources_by_agent: HashMap::new(),
            live_files: HashMap::new(),
        }
    }

    /// Makes the indexes that are not stored.
    pub(crate) fn reindex(&mut self) {
        self.topic_ids = self.topics.values().map(|held| (held.topic.name.clone(), held.topic.id)).collect();
        for (id, stored) in &self.sources {
            self.sources_by_agent.entry(stored.agent.clone()).or_default().insert(*id);
            if stored.gone_at_ms.is_none() {
                self.live_files.insert(file_identity(&stored.agent, &stored.source), *id);
            }
        }
    }

    /// Finds a topic by name.
    pub(crate) fn topic(&self, name: &TopicName) -> Option<&TopicState> {
        self.topics.get(self.topic_ids.get(name)?)
    }

    /// Finds a topic by id.
    pub(crate) fn topic_by_id(&self, id: &TopicId) -> Option<&TopicState> {
        self.topics.get(id)
    }

    /// Iterates over the topics in the order of their names.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &TopicState> {
        self.topic_ids.values().map(|id| &self.topics[id])
    }

    /// Finds an agent.
    pub(crate) fn agent(&self, id: &AgentId) -> Option<&AgentState> {
        self.agents.get(id)
    }

    /// Iterates over the agents in the order of their ids.
    pub(crate) fn agents(&self) -> impl Iterator<Item = &AgentState> {
        self.agents.values()
    }

    /// Finds a source.
    pub(crate) fn source(&self, id: &SourceId) -> Option<&StoredSource> {
        self.sources.get(id)
    }

    /// Finds the source, not gone, of a file.
    pub(crate) fn live_source(&self, agent: &AgentId, source: &NewSource) -> Option<SourceId> {
        self.live_files.get(&file_identity(agent, source)).copied()
    }

    /// Lists an agent's sources in the order of their ids, those after `after` only.
    pub(crate) fn sources_of(&self, agent: &AgentId, after: Option<SourceId>, limit: usize) -> Vec<StoredSource> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let ids = self.sources_by_agent.get(agent).into_iter().flat_map(|ids| ids.range((from, Unbounded)));
        ids.take(limit).map(|id| self.sources[id].clone()).collect()
    }

    /// Tells whether [`Change::Forgotten`] with these times would change anything.
    pub(crate) fn would_forget(&self, producers_before_ms: i64, sources_before_ms: i64) -> bool {
        let mut producers = self.topics.values().flat_map(|held| held.producers.values());
        producers.any(|producer| is_stale(producer, producers_before_ms))
            || self.sources.values().any(|stored| is_forgotten(stored, sources_before_ms))
    }

    /// Applies one commit, the next one after `lsn`.
    pub(crate) fn apply(&mut self, effects: &Effects) {
        self.lsn += 1;
        for change in &effects.changes {
            self.apply_change(change, effects.at_ms);
        }
    }

    fn apply_change(&mut self, change: &Change, at_ms: i64) {
        match change {
            Change::TopicPut { topic, own } => self.put_topic(topic, own),
            Change::TopicPutV2 { topic, own } => self.put_topic(&topic.clone().into(), &own.clone().into()),
            Change::TopicDeleted(id) => self.delete_topic(id),
            Change::LogStartMoved { topic, partition, log_start } => {
                self.partition(topic, *partition).move_log_start(*log_start);
            }
            Change::SessionOpened { session, epoch } => self.open_session(session, *epoch),
            Change::InputOpened { agent, input } => self.open_input(agent, input),
            Change::SourceCreated { agent, source, partition } => self.create_source(agent, source, *partition),
            Change::SourceAdvanced(advance) => self.advance_source(advance),
            Change::SourceRebound { source, physical, path } => self.rebind_source(source, *physical, path),
            Change::SourceMoved { source, partition } => self.stored(source).partition = Some(*partition),
            Change::SourceGone { source, at_ms } => self.mark_gone(source, *at_ms),
            Change::Produced { topic, producer, epoch, request } => {
                self.remember_request(topic, producer, *epoch, request);
            }
            Change::Appended(append) => self.append(append, at_ms),
            Change::Forgotten { producers_before_ms, sources_before_ms } => {
                self.forget(*producers_before_ms, *sources_before_ms);
            }
            Change::CarryMoved { from, to } => {
                let carry = std::mem::take(&mut self.stored(from).carry);
                self.stored(to).carry = carry;
            }
            Change::SegmentClosed { topic, partition } => self.partition(topic, *partition).segment = None,
        }
    }

    /// Corrects where the segment that grows ends: a repair.
    pub(crate) fn set_segment_bytes(&mut self, topic: &TopicId, partition: u32, bytes: u64) {
        if let Some(segment) = &mut self.partition(topic, partition).segment {
            segment.bytes = bytes;
        }
    }

    /// Takes over where a partition was found to begin and end: a repair without a checkpoint.
    pub(crate) fn set_partition(&mut self, topic: &TopicId, partition: u32, found: PartitionState) {
        *self.partition(topic, partition) = found;
    }

    fn put_topic(&mut self, topic: &Topic, own: &TopicSettings) {
        let held = self.topics.entry(topic.id).or_insert_with(|| TopicState {
            topic: topic.clone(),
            own: own.clone(),
            partitions: Vec::new(),
            producers: HashMap::new(),
        });
        (held.topic, held.own) = (topic.clone(), own.clone());
        held.partitions.resize(topic.config.partitions as usize, PartitionState::default());
        self.topic_ids.insert(topic.name.clone(), topic.id);
    }

    fn delete_topic(&mut self, id: &TopicId) {
        let held = self.topics.remove(id).expect("only a topic that exists is deleted");
        self.topic_ids.remove(&held.topic.name);
    }

    fn partition(&mut self, topic: &TopicId, partition: u32) -> &mut PartitionState {
        let held = self.topics.get_mut(topic).expect("a partition's topic exists");
        held.partitions.get_mut(partition as usize).expect("a topic holds all its partitions")
    }

    fn append(&mut self, append: &Append, at_ms: i64) {
        let partition = self.partition(&append.topic, append.partition);
        assert_eq!(partition.next_offset, append.base_offset, "offsets are given without gaps");
        partition.append(append, at_ms);
    }

    fn open_session(&mut self, session: &OpenSession, epoch: u64) {
        let opened_inputs = self.agents.get(&session.agent).map_or(Vec::new(), |agent| agent.opened_inputs.clone());
        let opened = AgentState { session: session.clone(), epoch, opened_inputs };
        self.agents.insert(session.agent.clone(), opened);
    }

    fn open_input(&mut self, agent: &AgentId, input: &str) {
        let agent = self.agents.get_mut(agent).expect("an agent opens inputs in a session");
        if let Err(place) = agent.opened_inputs.binary_search_by(|known| known.as_str().cmp(input)) {
            agent.opened_inputs.insert(place, input.to_owned());
        }
    }

    fn create_source(&mut self, agent: &AgentId, source: &NewSource, partition: Option<u32>) {
        self.live_files.insert(file_identity(agent, source), source.id);
        self.sources_by_agent.entry(agent.clone()).or_default().insert(source.id);
        let mut stored = StoredSource {
            source: source.clone(),
            agent: agent.clone(),
            partition,
            position: 0,
            carry: Bytes::new(),
            anchor: Default::default(),
            gone_at_ms: None,
        };
        stored.source.path = unshared(&source.path);
        self.sources.insert(source.id, stored);
    }

    fn stored(&mut self, id: &SourceId) -> &mut StoredSource {
        self.sources.get_mut(id).expect("only a known source changes")
    }

    fn advance_source(&mut self, advance: &Advance) {
        let stored = self.stored(&advance.source);
        stored.position = advance.span.end;
        stored.carry = unshared(&advance.carry);
        stored.source.head = advance.head;
        stored.anchor = advance.anchor;
        if let Some(path) = &advance.path {
            stored.source.path = unshared(path);
        }
    }

    fn rebind_source(&mut self, id: &SourceId, physical: PhysicalId, path: &Bytes) {
        self.release_file(id);
        let stored = self.stored(id);
        stored.source.physical = physical;
        stored.source.path = unshared(path);
        stored.gone_at_ms = None;
        let identity = file_identity(&stored.agent, &stored.source);
        self.live_files.insert(identity, *id);
    }

    fn mark_gone(&mut self, id: &SourceId, at_ms: i64) {
        self.release_file(id);
        self.stored(id).gone_at_ms = Some(at_ms);
    }

    /// Lets another source have the file's identity.
    fn release_file(&mut self, id: &SourceId) {
        let stored = &self.sources[id];
        let identity = file_identity(&stored.agent, &stored.source);
        if self.live_files.get(&identity) == Some(id) {
            self.live_files.remove(&identity);
        }
    }

    fn remember_request(&mut self, topic: &TopicId, producer: &str, epoch: u64, request: &ProducedRequest) {
        let held = self.topics.get_mut(topic).expect("a producer's topic exists");
        let producer = held.producers.entry(producer.to_owned()).or_default();
        if producer.epoch != epoch {
            *producer = ProducerState { epoch, requests: VecDeque::new() };
        }
        producer.requests.push_back(request.clone());
        if producer.requests.len() > REQUESTS_PER_PRODUCER {
            producer.requests.pop_front();
        }
    }

    fn forget(&mut self, producers_before_ms: i64, sources_before_ms: i64) {
        for held in self.topics.values_mut() {
            held.producers.retain(|_, producer| !is_stale(producer, producers_before_ms));
        }
        for (id, stored) in self.sources.extract_if(|_, stored| is_forgotten(stored, sources_before_ms)) {
            if let Some(ids) = self.sources_by_agent.get_mut(&stored.agent) {
                ids.remove(&id);
            }
        }
        self.sources_by_agent.retain(|_, ids| !ids.is_empty());
    }
}

fn is_stale(producer: &ProducerState, before_ms: i64) -> bool {
    producer.requests.back().is_none_or(|last| last.at_ms < before_ms)
}

fn is_forgotten(stored: &StoredSource, before_ms: i64) -> bool {
    stored.gone_at_ms.is_some_and(|at_ms| at_ms < before_ms)
}

fn file_identity(agent: &AgentId, source: &NewSource) -> FileIdentity {
    (agent.clone(), source.input.clone(), source.physical)
}

/// Copies bytes out of the request they came in: the state must not keep whole request bodies in memory.
fn unshared(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
