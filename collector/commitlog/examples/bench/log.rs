//! The log as the cases use it.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use skidway_commitlog::commit::{Commit, Target, Topic, TopicChange, TopicSettings};
use skidway_commitlog::{CommitLog, Config, Error, Observer};
use skidway_disk::RealDisk;
use skidway_record::{Batch, BatchBuilder, Compressor, EncodedHeaders, Offset, TopicName, TopicPartition};

struct Deaf;

impl Observer for Deaf {
    fn published(&self, _advanced: &[(TopicPartition, Offset)]) {}
    fn topics_changed(&self, _topics: &[Topic]) {}
    fn halted(&self, error: &Error) {
        println!("halted: {error}");
    }
    fn synced(&self, _took: Duration, _commits: usize) {}
}

/// Opens a log, fsync on.
pub(crate) fn open(config: Config) -> CommitLog {
    CommitLog::open(config, Arc::new(RealDisk), Arc::new(Deaf)).unwrap()
}

/// Gives the defaults for a folder; a checkpoint limit of 0 MiB stands for the default.
pub(crate) fn config(dir: &Path, checkpoint_mib: u64) -> Config {
    let default = Config::new(dir);
    let checkpoint_bytes = if checkpoint_mib == 0 { default.checkpoint_bytes } else { checkpoint_mib << 20 };
    Config { checkpoint_bytes, ..default }
}

/// Names a partition.
pub(crate) fn place(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), partition)
}

/// Creates a topic.
pub(crate) fn create(log: &CommitLog, topic: &str, partitions: u32) {
    let (send, receive) = sync_channel(1);
    let settings = TopicSettings { partitions: Some(partitions), ..TopicSettings::default() };
    let change = TopicChange::Put(TopicName::new(topic).unwrap(), settings);
    log.alter_topic(change, move |done| send.send(done.map(|_| ())).unwrap());
    receive.recv().unwrap().unwrap();
}

/// Makes a batch of one record whose value does not compress.
pub(crate) fn batch(bytes: usize, seed: u64) -> Batch {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut value = Vec::with_capacity(bytes);
    while value.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        value.extend_from_slice(&state.to_le_bytes());
    }
    let mut builder = BatchBuilder::new();
    builder.push(1, None, Some(&value[..bytes]), &EncodedHeaders::none());
    builder.finish(&mut Compressor::new(1).unwrap()).unwrap()
}

/// Sends commits, a bounded number of them unanswered.
pub(crate) struct Sender<'a> {
    log: &'a CommitLog,
    room: (SyncSender<()>, Receiver<()>),
    unanswered: usize,
    max: usize,
}

impl<'a> Sender<'a> {
    /// Keeps at most `max` commits under way.
    pub(crate) fn new(log: &'a CommitLog, max: usize) -> Self {
        Self { log, room: sync_channel(max), unanswered: 0, max }
    }

    /// Sends a batch to a partition once there is room.
    pub(crate) fn send(&mut self, place: &TopicPartition, batch: &Batch) {
        if self.unanswered == self.max {
            self.wait();
        }
        let done = self.room.0.clone();
        let batches = vec![(Target::Partition(place.clone()), batch.clone())];
        self.log.commit(Commit { batches, ..Commit::default() }, move |answer| {
            answer.unwrap();
            done.send(()).unwrap();
        });
        self.unanswered += 1;
    }

    /// Waits until everything is acknowledged.
    pub(crate) fn finish(mut self) {
        while self.unanswered > 0 {
            self.wait();
        }
    }

    fn wait(&mut self) {
        self.room.1.recv().unwrap();
        self.unanswered -= 1;
    }
}
