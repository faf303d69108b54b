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
use crate::extent::Extent;
use crate::partition::Partition;
use crate::segment::Placed;
use crate::state::PartitionState;
use crate::store::{LiveTopic, Publication, Store};
use crate::unsynced::Unsynced;

/// Writes segments and collects what is to be published.
#[derive(Debug)]
pub(crate) struct Writer {
    store: Arc<Store>,
    live: HashMap<TopicId, LiveTopic>,
    /// Batches of this group, by partition: one write each.
    gathered: Vec<Gathered>,
    gathered_by_key: HashMap<u64, usize>,
    unpublished: HashMap<u64, Publication>,
    topics_changed: bool,
    /// What is not synced.
    pub(crate) dirty: Dirty,
    /// What the next checkpoint lets be removed.
    pub(crate) garbage: Vec<PathBuf>,
}

#[derive(Debug)]
struct Gathered {
    partition: Arc<Partition>,
    batches: Vec<Placed>,
}

/// Holds the batches of one commit, stamped, in the order of its appends.
#[derive(Debug)]
pub(crate) struct Batches {
    /// Those that the frame holds, one after the other.
    pub(crate) inline: Bytes,
    /// Those written straight to their segments.
    pub(crate) direct: std::vec::IntoIter<Batch>,
    /// The direct ones need not be written (again).
    pub(crate) direct_is_written: bool,
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
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            live: HashMap::new(),
            gathered: Vec::new(),
            gathered_by_key: HashMap::new(),
            unpublished: HashMap::new(),
            topics_changed: false,
            dirty: Dirty::default(),
            garbage: Vec::new(),
        }
    }

    /// Tells whether a batch may be written straight to its segment: its partition must have a folder.
    pub(crate) fn takes_direct(&self, append: &Append) -> bool {
        let live = self.live.get(&append.topic).and_then(|live| live.partitions.get(append.partition as usize));
        live.is_some_and(|partition| partition.has_dir())
    }

    /// Writes a commit's direct batches to their places, ahead of [`Writer::apply`].
    pub(crate) fn write_direct(
        &mut self,
        effects: &Effects,
        direct: &[Batch],
        unsynced: &mut Unsynced,
    ) -> Result<(), Error> {
        for (append, batch) in effects.appends().filter(|append| append.direct.is_some()).zip(direct) {
            let partition = &self.live[&append.topic].partitions[append.partition as usize];
            let segment = partition.segment_at(&self.store.files, append.segment, effects.at_ms, &mut self.dirty)?;
            segment.write(&self.store.files, batch.bytes(), append.position)?;
            self.dirty.add(&segment);
            unsynced.add(&self.store.files, partition, &segment)?;
        }
        Ok(())
    }

    /// Carries out a commit. Complete only after [`Writer::flush`].
    pub(crate) fn apply(&mut self, effects: &Effects, mut batches: Batches) -> Result<(), Error> {
        for change in &effects.changes {
            match change {
                Change::TopicPut { topic, .. } => self.put_topic(topic),
                Change::TopicDeleted(id) => self.delete_topic(id)?,
                Change::LogStartMoved { topic, partition, log_start } => {
                    self.move_log_start(topic, *partition, *log_start)?;
                }
                Change::Appended(append) => {
                    let batch = batches.next(append)?;
                    self.gather(append, batch, effects.at_ms, append.direct.is_some() && batches.direct_is_written);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes what is gathered.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.gathered_by_key.clear();
        for Gathered { partition, batches } in self.gathered.drain(..) {
            partition.append(&self.store.files, &batches, &mut self.dirty)?;
            if let Some(last) = batches.last() {
                publication(&mut self.unpublished, &partition).high_watermark = last.batch.next_offset().0;
            }
            self.store.recent.push(partition.key(), batches.into_iter().map(|placed| placed.batch));
        }
        Ok(())
    }

    /// Brings the files of all partitions to what is known of them, once a replay is through.
    pub(crate) fn trim(&mut self) -> Result<(), Error> {
        for partition in self.live.values().flat_map(|live| &live.partitions) {
            self.garbage.extend(partition.trim(&self.store.files, &mut self.dirty)?);
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

    /// Gives what readers see.
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
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
            // What was to be removed there goes with the folder; its names may soon be another topic's.
            self.garbage.retain(|path| !path.starts_with(partition.dir()));
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

    fn gather(&mut self, append: &Append, batch: Batch, at_ms: i64, written: bool) {
        let partition = &self.live[&append.topic].partitions[append.partition as usize];
        let place = *self.gathered_by_key.entry(partition.key()).or_insert(self.gathered.len());
        if place == self.gathered.len() {
            self.gathered.push(Gathered { partition: partition.clone(), batches: Vec::new() });
        }
        let placed = Placed { batch, segment: append.segment, position: append.position, at_ms, written };
        self.gathered[place].batches.push(placed);
    }
}

impl Batches {
    /// Takes the batch of the next append.
    fn next(&mut self, append: &Append) -> Result<Batch, Error> {
        let invalid = |reason: String| {
            let path = PathBuf::from(format!("commit of offset {}", append.base_offset));
            Error::corrupt(&path, append.position, format!("a batch to append is not valid: {reason}"))
        };
        if append.direct.is_some() {
            return self.direct.next().ok_or_else(|| invalid("it is missing".to_owned()));
        }
        if self.inline.len() < append.bytes as usize {
            return Err(invalid("it is cut short".to_owned()));
        }
        let mut bytes = self.inline.split_to(append.bytes as usize);
        let batch = Batch::take(&mut bytes).map_err(|error| invalid(error.to_string()))?;
        let covered = (batch.base_offset().0, batch.next_offset().0, batch.bytes().len());
        match covered == (append.base_offset, append.next_offset, append.bytes as usize) {
            true => Ok(batch),
            false => Err(invalid("it is another one".to_owned())),
        }
    }
}

/// Finds or begins a partition's publication.
fn publication<'a>(unpublished: &'a mut HashMap<u64, Publication>, partition: &Arc<Partition>) -> &'a mut Publication {
    unpublished.entry(partition.key()).or_insert_with(|| {
        let (log_start, high_watermark) = partition.shown();
        Publication { partition: partition.clone(), log_start, high_watermark }
    })
}
