//! What readers see: the topics, their partitions, and nothing that is not durable.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use skidway_record::{PartitionId, TopicName, TopicPartition};

use crate::commit::{LogOffsets, Topic};
use crate::effects::TopicId;
use crate::error::Error;
use crate::files::Files;
use crate::partition::Partition;
use crate::recent::Recent;

/// Holds the published topics.
#[derive(Debug)]
pub(crate) struct Store {
    /// The segment files.
    pub(crate) files: Files,
    /// The newest batches.
    pub(crate) recent: Recent,
    topics_dir: PathBuf,
    /// Locked for writing while a group of commits is published: who reads it sees all of a commit or nothing.
    topics: RwLock<BTreeMap<TopicName, LiveTopic>>,
}

/// Holds a topic with its partitions.
#[derive(Debug, Clone)]
pub(crate) struct LiveTopic {
    /// Its description.
    pub(crate) topic: Topic,
    /// Its partitions, by number.
    pub(crate) partitions: Vec<Arc<Partition>>,
}

/// Makes a partition's new extent readable.
#[derive(Debug, Clone)]
pub(crate) struct Publication {
    /// The partition.
    pub(crate) partition: Arc<Partition>,
    /// First offset kept.
    pub(crate) log_start: u64,
    /// First offset not readable.
    pub(crate) high_watermark: u64,
}

impl Store {
    /// Makes a store without topics.
    pub(crate) fn new(files: Files, recent: Recent, topics_dir: PathBuf) -> Self {
        Self { files, recent, topics_dir, topics: RwLock::default() }
    }

    /// Makes a topic's partitions, from number `from` on, for [`Store::publish`] to show. Nothing is on disk yet.
    pub(crate) fn new_partitions(&self, topic: &Topic, from: u32) -> impl Iterator<Item = Arc<Partition>> {
        let (id, name): (TopicId, _) = (topic.id, topic.name.clone());
        (from..topic.config.partitions).map(move |partition| {
            Arc::new(Partition::new(&self.topics_dir, id, TopicPartition::new(name.clone(), partition)))
        })
    }

    /// Shows new extents and, if any changed, all topics; in one step.
    pub(crate) fn publish(&self, publications: &[Publication], topics: Option<BTreeMap<TopicName, LiveTopic>>) {
        let mut shown = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        for publication in publications {
            publication.partition.publish(publication.log_start, publication.high_watermark);
        }
        if let Some(topics) = topics {
            *shown = topics;
        }
    }

    /// Lists the topics in the order of their names.
    pub(crate) fn topics(&self) -> Vec<Topic> {
        self.read().values().map(|live| live.topic.clone()).collect()
    }

    /// Describes a topic.
    pub(crate) fn topic(&self, name: &TopicName) -> Option<Topic> {
        self.read().get(name).map(|live| live.topic.clone())
    }

    /// Finds a partition, and its extent.
    pub(crate) fn partition(&self, of: &TopicPartition) -> Result<(Arc<Partition>, LogOffsets), Error> {
        let shown = self.read();
        let live = shown.get(&of.topic).and_then(|live| live.partitions.get(of.partition.0 as usize));
        let partition = live.ok_or_else(|| Error::UnknownPartition(of.clone()))?;
        Ok((partition.clone(), partition.offsets()))
    }

    /// Counts the times that segments of a partition were written anew; 0 if there is no such partition.
    pub(crate) fn rewrites(&self, topic: &TopicName, partition: PartitionId) -> u64 {
        let shown = self.read();
        let found = shown.get(topic).and_then(|live| live.partitions.get(partition.0 as usize));
        found.map_or(0, |partition| partition.swaps())
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<TopicName, LiveTopic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }
}
