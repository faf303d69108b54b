//! A log for tests: topics of one partition each, whose batches hold two records.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use skidway_record::{Batch, BatchBuilder, Compressor, EncodedHeaders, LogId, Offset, TopicName, TopicPartition};
use tokio::sync::watch;

use crate::log::{Answer, LogError, LogIdentity, LogOffsets, LogReader, Progress, Topic, TopicConfig};

/// Holds the topics.
pub(super) struct Shelf {
    pub(super) epoch: AtomicU64,
    pub(super) log_start: AtomicU64,
    pub(super) fetches: AtomicU64,
    ids: AtomicU64,
    batches: u64,
    topics: Mutex<Vec<watch::Sender<Progress>>>,
    list: watch::Sender<Arc<[Topic]>>,
}

pub(super) fn name(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

impl Shelf {
    /// Makes topics of so many batches each.
    pub(super) fn new(topics: &[&str], batches: u64) -> Arc<Self> {
        let shelf = Self {
            epoch: AtomicU64::new(1),
            log_start: AtomicU64::new(0),
            fetches: AtomicU64::new(0),
            ids: AtomicU64::new(1),
            batches,
            topics: Mutex::default(),
            list: watch::Sender::new(Arc::new([])),
        };
        topics.iter().for_each(|topic| shelf.create(topic));
        Arc::new(shelf)
    }

    /// Makes one topic more.
    pub(super) fn create(&self, topic: &str) {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.ids.fetch_add(1, Relaxed).to_be_bytes());
        let config = TopicConfig { partitions: 1, ..TopicConfig::default() };
        let topic = Topic { id, name: name(topic), config };
        let progress = Progress { topic, high_watermarks: vec![Offset(2 * self.batches)] };
        self.topics.lock().unwrap().push(watch::Sender::new(progress));
        self.list.send_replace(self.topics().into());
    }

    /// Deletes a topic.
    pub(super) fn delete(&self, topic: &str) {
        self.topics.lock().unwrap().retain(|it| it.borrow().topic.name.as_str() != topic);
        self.list.send_replace(self.topics().into());
    }

    /// Appends a batch to a topic.
    pub(super) fn append(&self, topic: &str) {
        let topics = self.topics.lock().unwrap();
        let topic = topics.iter().find(|it| it.borrow().topic.name.as_str() == topic).unwrap();
        topic.send_modify(|progress| progress.high_watermarks[0].0 += 2);
    }
}

impl LogReader for Shelf {
    fn identity(&self) -> LogIdentity {
        LogIdentity { id: LogId([0; 16]), epoch: self.epoch.load(Relaxed) }
    }

    fn topics(&self) -> Vec<Topic> {
        self.topics.lock().unwrap().iter().map(|topic| topic.borrow().topic.clone()).collect()
    }

    fn topic(&self, name: &TopicName) -> Option<Topic> {
        self.topics().into_iter().find(|topic| topic.name == *name)
    }

    fn offsets(&self, of: &TopicPartition) -> Result<LogOffsets, LogError> {
        let watched = self.watch(&of.topic).ok_or_else(|| LogError::NotFound(of.clone()))?;
        let high_watermark = watched.borrow().high_watermarks[0];
        Ok(LogOffsets { log_start: Offset(self.log_start.load(Relaxed)), high_watermark, bytes: 0 })
    }

    fn watch(&self, topic: &TopicName) -> Option<watch::Receiver<Progress>> {
        let topics = self.topics.lock().unwrap();
        topics.iter().find(|it| it.borrow().topic.name == *topic).map(watch::Sender::subscribe)
    }

    fn watch_topics(&self) -> watch::Receiver<Arc<[Topic]>> {
        self.list.subscribe()
    }

    fn fetch(&self, from: TopicPartition, at: Offset, _bytes_max: usize) -> Answer<'_, Vec<Batch>> {
        self.fetches.fetch_add(1, Relaxed);
        let read = move || {
            let offsets = self.offsets(&from)?;
            let batches = at.0 / 2..offsets.high_watermark.0 / 2;
            match at < offsets.log_start {
                true => Err(LogError::OutOfRange { at, offsets }),
                false => Ok(batches.map(|index| batch(2 * index)).collect()),
            }
        };
        async move { read() }.boxed()
    }

    fn offset_at(&self, _of: TopicPartition, _timestamp_ms: i64) -> Answer<'_, Option<Offset>> {
        async { Ok(None) }.boxed()
    }
}

fn batch(base: u64) -> Batch {
    let mut builder = BatchBuilder::new();
    for _ in 0..2 {
        builder.push(0, None, Some(b"x"), &EncodedHeaders::none());
    }
    builder.finish(&mut Compressor::new(1).unwrap()).unwrap().with_base_offset(Offset(base))
}
