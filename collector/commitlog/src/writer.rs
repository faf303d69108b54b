//! Carries out on files what commits did to records, and shows it to readers. Used alike for new commits and in recovery.
//!
//! Decides nothing. What it writes is not synced: the journal has it until the next checkpoint.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use skidway_record::{Batch, Offset, TopicPartition};

use crate::checkpoint::{Dirty, Extents};
use crate::commit::Topic;
use crate::effects::{Append, Change, Effects, TopicId};
use crate::error::Error;
use crate::partition::{Partition, SegmentLimits};
use crate::segment::Extent;
use crate::state::PartitionState;
use crate::store::{LiveTopic, Publication, Store};

/// Writes segments and collects what is to be published.
#[derive(Debug)]
pub(crate) struct Writer {
    store: Arc<Store>,
    limits: SegmentLimits,
    live: HashMap<TopicId, LiveTopic>,
    /// Batches of this group, by partition: one write each.
    gathered: Vec<Gathered>,
    gathered_by_key: HashMap<u64, usize>,
    unpublished: HashMap<u64, Publication>,
    topics_changed: bool,
    at_ms: i64,
    /// What is not synced.
    pub(crate) dirty: Dirty,
    /// What the next checkpoint lets be removed.
    pub(crate) garbage: Vec<PathBuf>,
}

#[derive(Debug)]
struct Gathered {
    partition: Arc<Partition>,
    batches: Vec<Batch>,
}

/// Tells what has become readable.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// New high watermarks.
    pub(crate) advanced: Vec<(TopicPartition, Offset)>,
    /// All topics, if any changed.
    pub(crate) topics: Option<Vec<Topic>>,
}

impl Writer {
    /// Makes a writer for a store without topics.
    pub(crate) fn new(store: Arc<Store>, limits: SegmentLimits) -> Self {
        Self {
            store,
            limits,
            live: HashMap::new(),
            gathered: Vec::new(),
            gathered_by_key: HashMap::new(),
            unpublished: HashMap::new(),
            topics_changed: false,
            at_ms: 0,
            dirty: Dirty::default(),
            garbage: Vec::new(),
        }
    }

    /// Carries out a commit; `batches` holds the bytes its appends name. Complete only after [`Writer::flush`].
    pub(crate) fn apply(&mut self, effects: &Effects, mut batches: Bytes) -> Result<(), Error> {
        self.at_ms = effects.at_ms;
        for change in &effects.changes {
            match change {
                Change::TopicPut(topic) => self.put_topic(topic),
                Change::TopicDeleted(id) => self.delete_topic(id)?,
                Change::LogStartMoved { topic, partition, log_start } => {
                    self.move_log_start(topic, *partition, *log_start)?;
                }
                Change::Appended(append) => {
                    let bytes = batches.split_to(append.bytes as usize);
                    self.gather(append, bytes)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes what is gathered.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.gathered_by_key.clear();
        for gathered in self.gathered.drain(..) {
            let Gathered { partition, batches } = gathered;
            partition.append(&self.store.files, &batches, self.at_ms, self.limits, &mut self.dirty)?;
            self.store.recent.push(partition.key(), &batches);
            if let Some(last) = batches.last() {
                publication(&mut self.unpublished, &partition).high_watermark = last.next_offset().0;
            }
        }
        Ok(())
    }

    /// Shows readers, in one step, all that was flushed since the last time.
    pub(crate) fn publish(&mut self) -> Published {
        let publications: Vec<Publication> = self.unpublished.drain().map(|(_, publication)| publication).collect();
        let changed = std::mem::take(&mut self.topics_changed);
        let topics: Option<BTreeMap<_, _>> =
            changed.then(|| self.live.values().map(|live| (live.topic.name.clone(), live.clone())).collect());
        let listed = topics.as_ref().map(|topics| topics.values().map(|live| live.topic.clone()).collect());
        self.store.publish(&publications, topics);
        let advanced = publications.iter().map(|shown| (shown.partition.name().clone(), Offset(shown.high_watermark)));
        Published { advanced: advanced.collect(), topics: listed }
    }

    /// Takes over a topic that a checkpoint knows, with its partitions' offsets and segments.
    pub(crate) fn restore(
        &mut self,
        topic: &Topic,
        partitions: Vec<(PartitionState, Vec<Extent>)>,
    ) -> Result<(), Error> {
        self.put_topic(topic);
        for (partition, (offsets, extents)) in self.live[&topic.id].partitions.iter().zip(partitions) {
            partition.publish(offsets.log_start, offsets.next_offset);
            if !extents.is_empty() {
                partition.restore(&self.store.files, extents, &mut self.dirty)?;
            }
        }
        Ok(())
    }

    /// Lists the topics and their partitions.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &LiveTopic> {
        self.live.values()
    }

    /// Describes all segments for a checkpoint; what waits of their indexes is written first.
    pub(crate) fn extents(&self) -> Result<Extents, Error> {
        self.dirty.flush_indexes(self.store.files.disk().as_ref())?;
        let partitions = self.live.iter().flat_map(|(id, live)| live.partitions.iter().map(move |held| (*id, held)));
        let described = partitions.map(|(id, held)| (id, held.name().partition.0, held.extents()));
        Ok(described.filter(|(_, _, extents)| !extents.is_empty()).collect())
    }

    fn put_topic(&mut self, topic: &Topic) {
        let live =
            self.live.entry(topic.id).or_insert_with(|| LiveTopic { topic: topic.clone(), partitions: Vec::new() });
        live.topic = topic.clone();
        let have = live.partitions.len() as u32;
        live.partitions.extend(self.store.new_partitions(topic, have));
        self.topics_changed = true;
    }

    fn delete_topic(&mut self, id: &TopicId) -> Result<(), Error> {
        self.flush()?;
        let live = self.live.remove(id).expect("only a topic that exists is deleted");
        self.topics_changed = true;
        for partition in &live.partitions {
            self.unpublished.remove(&partition.key());
            self.dirty.forget(partition.dir());
            self.garbage.extend(partition.set_aside(self.store.files.disk().as_ref())?);
            partition.segments().iter().for_each(|segment| self.store.files.forget(segment.id()));
        }
        Ok(())
    }

    fn move_log_start(&mut self, topic: &TopicId, partition: u32, log_start: u64) -> Result<(), Error> {
        self.flush()?;
        let partition = self.live[topic].partitions[partition as usize].clone();
        let publication = publication(&mut self.unpublished, &partition);
        publication.log_start = log_start;
        let dropped = partition.drop_below(log_start, publication.high_watermark);
        for segment in dropped {
            self.store.files.forget(segment.id());
            self.garbage.extend(segment.paths());
        }
        Ok(())
    }

    fn gather(&mut self, append: &Append, mut bytes: Bytes) -> Result<(), Error> {
        let partition = &self.live[&append.topic].partitions[append.partition as usize];
        let batch = Batch::take(&mut bytes).map_err(|error| {
            Error::corrupt(partition.dir(), append.base_offset, format!("a batch to append is not valid: {error}"))
        })?;
        let place = *self.gathered_by_key.entry(partition.key()).or_insert(self.gathered.len());
        if place == self.gathered.len() {
            self.gathered.push(Gathered { partition: partition.clone(), batches: Vec::new() });
        }
        self.gathered[place].batches.push(batch);
        Ok(())
    }
}

/// Finds or begins a partition's publication.
fn publication<'a>(unpublished: &'a mut HashMap<u64, Publication>, partition: &Arc<Partition>) -> &'a mut Publication {
    unpublished.entry(partition.key()).or_insert_with(|| {
        let (log_start, high_watermark) = partition.shown();
        Publication { partition: partition.clone(), log_start, high_watermark }
    })
}
