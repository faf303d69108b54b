//! A commit being decided: the state as it would be with the changes decided so far.

use std::collections::HashMap;

use skidway_record::{Batch, Offset, PartitionId, TopicName, TopicPartition};

use crate::commit::{Appended, Commit, Committed, Refusal, Target, Topic, TopicConfig, TopicSettings};
use crate::decide::Circumstances;
use crate::decide::source::Owner;
use crate::effects::{Append, Change, TopicId};
use crate::state::{PartitionState, SegmentEnd, State};

/// Appended to a topic's name for records that were refused.
const DEAD_SUFFIX: &str = ".dead";

/// Collects changes over a state that is only read.
pub(super) struct Draft<'a, 'c> {
    pub(super) state: &'a State,
    pub(super) circumstances: &'a mut Circumstances<'c>,
    pub(super) changes: Vec<Change>,
    pub(super) appended: Vec<Appended>,
    /// Ends of the partitions that this draft appends to.
    ends: HashMap<(TopicId, u32), PartitionState>,
}

impl<'a, 'c> Draft<'a, 'c> {
    pub(super) fn new(state: &'a State, circumstances: &'a mut Circumstances<'c>) -> Self {
        Self { state, circumstances, changes: Vec::new(), appended: Vec::new(), ends: HashMap::new() }
    }

    pub(super) fn finish(self) -> (Vec<Change>, Committed) {
        (self.changes, Committed { appended: self.appended, duplicate: false })
    }

    /// Refuses unless the partition's next offset is `expected`. A topic that would be created is at 0.
    pub(super) fn expect_offset(&mut self, of: &TopicPartition, expected: Offset) -> Result<(), Refusal> {
        let (topic, config) = self.topic(&of.topic, false)?;
        check_partition(of, &config)?;
        let current = Offset(self.end(topic, of.partition.0).next_offset);
        if current == expected { Ok(()) } else { Err(Refusal::OffsetMismatch { current }) }
    }

    /// Marks an input of the session's agent as opened, if it is not.
    pub(super) fn open_input(&mut self, commit: &Commit) {
        let (Some(input), Some(session)) = (&commit.opened_input, &commit.session) else { return };
        let known = self.state.agent(&session.agent).is_some_and(|agent| agent.opened_inputs.contains(input));
        if !known {
            self.changes.push(Change::InputOpened { agent: session.agent.clone(), input: input.clone() });
        }
    }

    /// Gives a batch its place.
    pub(super) fn append(&mut self, target: &Target, owner: Option<&Owner>, batch: &Batch) -> Result<(), Refusal> {
        let (partition, topic) = self.place(target, owner)?;
        let mut end = self.end(topic, partition.partition.0);
        let (base_offset, header) = (end.next_offset, batch.header());
        let mut append = Append {
            topic,
            partition: partition.partition.0,
            base_offset,
            next_offset: base_offset + u64::from(header.last_offset_delta) + 1,
            bytes: header.total_bytes as u32,
            segment: base_offset,
            position: 0,
            direct: None,
        };
        if let Some(segment) = end.segment.filter(|segment| self.fits(segment, &append)) {
            (append.segment, append.position) = (segment.base_offset, segment.bytes);
        }
        end.append(&append, self.circumstances.now_ms);
        self.ends.insert((topic, append.partition), end);
        self.changes.push(Change::Appended(append));
        self.appended.push(Appended { partition, base_offset: Offset(base_offset), count: header.record_count });
        Ok(())
    }

    fn place(&mut self, target: &Target, owner: Option<&Owner>) -> Result<(TopicPartition, TopicId), Refusal> {
        match target {
            Target::Partition(partition) => {
                let (topic, config) = self.topic(&partition.topic, false)?;
                check_partition(partition, &config)?;
                Ok((partition.clone(), topic))
            }
            Target::Source => {
                let owner = owner.ok_or(Refusal::UnknownSource)?;
                let (topic, config) = self.topic(&owner.topic, true)?;
                // Batches without an order of their own take turns by the journal's.
                let turn = || (self.state.lsn as u32).wrapping_add(self.appended.len() as u32) % config.partitions;
                let partition = owner.partition.unwrap_or_else(turn);
                Ok((TopicPartition::new(owner.topic.clone(), partition), topic))
            }
            Target::DeadLetter => {
                let owner = owner.ok_or(Refusal::UnknownSource)?;
                let name = dead_letter_topic(&owner.topic);
                let (topic, _) = self.topic(&name, true)?;
                Ok((TopicPartition::new(name, 0), topic))
            }
        }
    }

    /// Finds a topic, or has it created: by right (`must`) or because producing may.
    pub(super) fn topic(&mut self, name: &TopicName, must: bool) -> Result<(TopicId, TopicConfig), Refusal> {
        if let Some(held) = self.state.topic(name) {
            return Ok((held.topic.id, held.topic.config.clone()));
        }
        let drafted = self.changes.iter().find_map(|change| match change {
            Change::TopicPut { topic, .. } if topic.name == *name => Some((topic.id, topic.config.clone())),
            _ => None,
        });
        if let Some(found) = drafted {
            return Ok(found);
        }
        if !must && !self.circumstances.topics.may_create(name) {
            return Err(Refusal::UnknownTopic(name.clone()));
        }
        let topic = Topic {
            id: (self.circumstances.mint)(),
            name: name.clone(),
            config: self.circumstances.topics.config_for(name),
        };
        let created = (topic.id, topic.config.clone());
        self.changes.push(Change::TopicPut { topic, own: TopicSettings::default() });
        Ok(created)
    }

    /// Gives a partition's end, batches placed by this draft included.
    fn end(&self, topic: TopicId, partition: u32) -> PartitionState {
        let stored = || self.state.topic_by_id(&topic)?.partitions.get(partition as usize).copied();
        self.ends.get(&(topic, partition)).copied().or_else(stored).unwrap_or_default()
    }

    /// Tells whether a batch still goes into the segment that grows: its size, its age and the width of its index entries bound it.
    fn fits(&self, segment: &SegmentEnd, append: &Append) -> bool {
        let limits = self.circumstances.segments;
        let age_ms = self.circumstances.now_ms.saturating_sub(segment.began_ms);
        segment.bytes + u64::from(append.bytes) <= limits.bytes
            && age_ms < limits.age_ms as i64
            && append.next_offset - segment.base_offset <= u64::from(u32::MAX)
    }
}

/// Refuses a partition that the topic has not.
pub(super) fn check_partition(asked: &TopicPartition, config: &TopicConfig) -> Result<(), Refusal> {
    let PartitionId(partition) = asked.partition;
    if partition < config.partitions {
        return Ok(());
    }
    let (topic, partitions) = (asked.topic.clone(), config.partitions);
    Err(Refusal::UnknownPartition { topic, partitions, partition: asked.partition })
}

/// Names the topic for a topic's refused records; a name near the limit is cut to make room.
fn dead_letter_topic(topic: &TopicName) -> TopicName {
    let stem_bytes_max = skidway_record::limits::TOPIC_NAME_BYTES_MAX - DEAD_SUFFIX.len();
    let stem = &topic.as_str()[..topic.as_str().len().min(stem_bytes_max)];
    TopicName::new(&format!("{stem}{DEAD_SUFFIX}")).expect("a valid name's start, a dot and letters are a valid name")
}
