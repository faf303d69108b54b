//! A commit being decided: the state as it would be with the changes decided so far.

use skidway_record::{Batch, Offset, PartitionId, TopicName, TopicPartition};

use crate::commit::{Appended, Commit, Committed, Refusal, Target, Topic, TopicConfig};
use crate::decide::Circumstances;
use crate::decide::source::Owner;
use crate::effects::{Append, Change, TopicId};
use crate::state::State;

/// Appended to a topic's name for records that were refused.
const DEAD_SUFFIX: &str = ".dead";

/// Collects changes over a state that is only read.
pub(super) struct Draft<'a, 'c> {
    pub(super) state: &'a State,
    pub(super) circumstances: &'a mut Circumstances<'c>,
    pub(super) changes: Vec<Change>,
    pub(super) appended: Vec<Appended>,
}

impl<'a, 'c> Draft<'a, 'c> {
    pub(super) fn new(state: &'a State, circumstances: &'a mut Circumstances<'c>) -> Self {
        Self { state, circumstances, changes: Vec::new(), appended: Vec::new() }
    }

    pub(super) fn finish(self) -> (Vec<Change>, Committed) {
        (self.changes, Committed { appended: self.appended, duplicate: false })
    }

    /// Refuses unless the partition's next offset is `expected`. A topic that would be created is at 0.
    pub(super) fn expect_offset(&mut self, of: &TopicPartition, expected: Offset) -> Result<(), Refusal> {
        let (topic, config) = self.topic(&of.topic, false)?;
        check_partition(of, &config)?;
        let current = Offset(self.next_offset(topic, of.partition.0));
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
        let base_offset = self.next_offset(topic, partition.partition.0);
        let header = batch.header();
        self.changes.push(Change::Appended(Append {
            topic,
            partition: partition.partition.0,
            base_offset,
            next_offset: base_offset + u64::from(header.last_offset_delta) + 1,
            bytes: header.total_bytes as u32,
        }));
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
            Change::TopicPut(topic) if topic.name == *name => Some((topic.id, topic.config.clone())),
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
        self.changes.push(Change::TopicPut(topic.clone()));
        Ok((topic.id, topic.config))
    }

    /// Gives the next offset, batches placed by this draft included.
    fn next_offset(&self, topic: TopicId, partition: u32) -> u64 {
        let drafted = self.changes.iter().rev().find_map(|change| match change {
            Change::Appended(last) if last.topic == topic && last.partition == partition => Some(last.next_offset),
            _ => None,
        });
        let stored =
            || self.state.topic_by_id(&topic).map_or(0, |held| held.partitions[partition as usize].next_offset);
        drafted.unwrap_or_else(stored)
    }
}

fn check_partition(asked: &TopicPartition, config: &TopicConfig) -> Result<(), Refusal> {
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
