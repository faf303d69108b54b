//! Whether what a file says can be true: a frame or checkpoint may be whole, by its checksum, and still not fit. Only a fault of ours, or
//! somebody's hand, makes such a file; the log then does not start, and says why, rather than do what it says.

use skidway_record::limits::PARTITIONS_MAX;

use crate::commit::Topic;
use crate::effects::{Append, Change, Effects, TopicId};
use crate::state::{PartitionState, State};

/// Bounds offsets: they are signed in every client.
const OFFSET_MAX: u64 = i64::MAX as u64;

impl State {
    /// Applies a commit read from the journal.
    ///
    /// # Errors
    /// Says what of it does not fit; the state is then of no more use.
    pub(crate) fn replay(&mut self, effects: &Effects) -> Result<(), String> {
        self.lsn += 1;
        for change in &effects.changes {
            self.check_change(change)?;
            self.apply_change(change, effects.at_ms);
        }
        Ok(())
    }

    /// Checks a state read from a checkpoint.
    ///
    /// # Errors
    /// Says what does not fit.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (id, held) in &self.topics {
            let topic = &held.topic;
            let fits = *id == topic.id && held.partitions.len() == topic.config.partitions as usize;
            if !fits || self.topic_ids.get(&topic.name) != Some(id) {
                return Err(format!("topic {} is not described as itself", topic.name));
            }
            if let Some(partition) = held.partitions.iter().position(|partition| !is_sound(partition)) {
                return Err(format!("partition {partition} of topic {} ends before it begins", topic.name));
            }
        }
        match self.sources.iter().all(|(id, stored)| *id == stored.source.id) {
            true => Ok(()),
            false => Err("a source is not described as itself".to_owned()),
        }
    }

    fn check_change(&self, change: &Change) -> Result<(), String> {
        let require = |holds: bool, what: &str| if holds { Ok(()) } else { Err(format!("{what}: {change:?}")) };
        match change {
            Change::TopicPut { topic, .. } => require(self.may_put(topic), "a topic cannot become this"),
            Change::TopicDeleted(id) | Change::Produced { topic: id, .. } => {
                require(self.topics.contains_key(id), "there is no such topic")
            }
            Change::LogStartMoved { topic, partition, log_start } => {
                let held = self.held_partition(topic, *partition);
                let fits = held.is_some_and(|held| (held.log_start..=held.next_offset).contains(log_start));
                require(fits, "a log cannot start there")
            }
            Change::InputOpened { agent, .. } => require(self.agents.contains_key(agent), "there is no such agent"),
            Change::SourceCreated { source, .. } => {
                require(!self.sources.contains_key(&source.id), "there is such a source already")
            }
            Change::SourceAdvanced(advance) => {
                require(self.sources.contains_key(&advance.source), "there is no such source")
            }
            Change::SourceRebound { source, .. }
            | Change::SourceMoved { source, .. }
            | Change::SourceGone { source, .. } => {
                require(self.sources.contains_key(source), "there is no such source")
            }
            Change::CarryMoved { from, to } => {
                require([from, to].iter().all(|id| self.sources.contains_key(*id)), "there are no such sources")
            }
            Change::SegmentClosed { topic, partition } => {
                require(self.held_partition(topic, *partition).is_some(), "there is no such partition")
            }
            Change::TopicPutV2 { .. } => require(false, "it is read as what it has become"),
            Change::Appended(append) => require(self.may_append(append), "a batch cannot be placed there"),
            Change::SessionOpened { .. } | Change::Forgotten { .. } => Ok(()),
        }
    }

    fn may_put(&self, topic: &Topic) -> bool {
        let partitions = topic.config.partitions;
        let fits = match self.topics.get(&topic.id) {
            Some(held) => held.topic.name == topic.name && held.topic.config.partitions <= partitions,
            None => !self.topic_ids.contains_key(&topic.name),
        };
        fits && (1..=PARTITIONS_MAX).contains(&partitions)
    }

    fn may_append(&self, append: &Append) -> bool {
        let Some(held) = self.held_partition(&append.topic, append.partition) else { return false };
        let grows = held.segment.filter(|segment| segment.base_offset == append.segment);
        let is_placed = match grows {
            Some(segment) => append.position == segment.bytes,
            None => append.segment == append.base_offset && append.position == 0,
        };
        let offsets = held.next_offset == append.base_offset && append.base_offset < append.next_offset;
        is_placed && offsets && append.next_offset <= OFFSET_MAX
    }

    fn held_partition(&self, topic: &TopicId, partition: u32) -> Option<&PartitionState> {
        self.topics.get(topic)?.partitions.get(partition as usize)
    }
}

fn is_sound(partition: &PartitionState) -> bool {
    let ends = partition.log_start <= partition.next_offset && partition.next_offset <= OFFSET_MAX;
    ends && partition.segment.is_none_or(|segment| segment.base_offset < partition.next_offset)
}
