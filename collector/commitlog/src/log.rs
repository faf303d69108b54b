//! The engine's door: requests in, answers by callback, records out. Never decides, never writes.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use skidway_disk::Disk;
use skidway_record::source::StoredSource;
use skidway_record::{AgentId, Batch, Offset, PartitionId, SourceId, TopicName, TopicPartition};

use crate::ballast::{Ballast, WithBallast};
use crate::commit::{AgentState, Commit, Committed, LogIdentity, LogOffsets, OpenSession, Session, Topic, TopicChange};
use crate::config::{Config, TopicDefaults};
use crate::error::Error;
use crate::frame::COMMIT_BYTES_MAX;
use crate::noticed::Noticed;
use crate::queue::{End, Queue};
use crate::recovery;
use crate::request::Request;
use crate::sequencer::Sequencer;
use crate::store::Store;

/// Hears what the engine does. Called from the engine's own threads: must return at once and never call back.
pub trait Observer: Send + Sync {
    /// Hears the new high watermarks, once a group of commits has become readable.
    fn published(&self, advanced: &[(TopicPartition, Offset)]);

    /// Hears all topics, after one was created, changed or deleted.
    fn topics_changed(&self, topics: &[Topic]);

    /// Hears, once, that the engine has stopped; every pending and later request gets [`Error::Halted`].
    fn halted(&self, error: &Error);

    /// Hears how long the write and sync of a group took, and how many commits it made durable.
    fn synced(&self, took: Duration, commits: usize);

    /// Hears of each damaged place once, an [`Error::Damaged`], when a reader first meets it. Called from a reader's thread.
    fn damaged(&self, _damage: &Error) {}

    /// Hears of each step of a compaction.
    fn compacted(&self, _step: &Compacted) {}

    /// Hears that a compaction failed; it is tried again later.
    fn compaction_failed(&self) {}

    /// Hears, at each look for what is worth compacting, the largest dirty share of a partition, 0 to 1.
    fn looked_for_compaction(&self, _dirty_ratio_max: f64) {}
}

/// Tells what one step of a compaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compacted {
    /// Where.
    pub partition: TopicPartition,
    /// Bytes of the segments that were written anew.
    pub bytes_before: u64,
    /// Bytes of those that take their place.
    pub bytes_after: u64,
    /// Records left out.
    pub records_removed: u64,
    /// How long the whole compaction took, if this was its last step.
    pub ended_after: Option<Duration>,
}

/// Opens, asks and reads one log. Cheap to clone. Dropping the last one without [`CommitLog::close`] is like a killed process.
#[derive(Clone)]
pub struct CommitLog {
    open: Arc<OpenLog>,
}

struct OpenLog {
    identity: LogIdentity,
    queue: Arc<Queue>,
    store: Arc<Store>,
    noticed: Noticed,
    sequencer: Mutex<Option<JoinHandle<Result<(), Error>>>>,
}

/// Answers [`CommitLog::fetch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Whole batches in order, all below the high watermark; empty only at it.
    pub batches: Vec<Batch>,
    /// The partition's extent at that moment.
    pub offsets: LogOffsets,
}

/// Answers [`CommitLog::alter_topic`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicAltered {
    /// The topic is new.
    pub created: bool,
    /// The topic was changed or deleted.
    pub changed: bool,
    /// The topic as it is now; `None` when it was deleted or had not been there.
    pub topic: Option<Topic>,
}

impl CommitLog {
    /// Opens the log in `config.data_dir`, creating it if the folder is empty. Recovery is done, and durable, when it returns.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Io`], [`Error::Corrupt`] (halt).
    pub fn open(config: Config, disk: Arc<dyn Disk>, observer: Arc<dyn Observer>) -> Result<Self, Error> {
        let config = config.clamped();
        let lock = take_lock(&config, disk.as_ref())?;
        let ballast = Arc::new(Ballast::find(disk.clone(), &config.data_dir, config.reserve_bytes)?);
        let disk: Arc<dyn Disk> = Arc::new(WithBallast::new(disk, ballast.clone()));
        let recovered = recovery::recover(&config, &disk)?;
        let (identity, store) = (recovered.state.identity, recovered.store.clone());
        let queue = Arc::new(Queue::new(config.queue_requests_max, config.queue_bytes_max));
        let data_dir = config.data_dir.clone();
        let noticed = Noticed::new(observer.clone());
        let sequencer = Sequencer::new(config, (disk, ballast), observer, queue.clone(), recovered);
        let unanswered = RefuseOnPanic(queue.clone());
        let work = move || {
            let ended = sequencer.run();
            drop((lock, unanswered));
            ended
        };
        let thread = std::thread::Builder::new().name("skidway-sequencer".to_owned()).spawn(work);
        let thread = thread.map_err(Error::io("start the sequencer of", &data_dir))?;
        Ok(Self { open: Arc::new(OpenLog { identity, queue, store, noticed, sequencer: Mutex::new(Some(thread)) }) })
    }

    /// Says which log this is.
    pub fn identity(&self) -> LogIdentity {
        self.open.identity
    }

    /// Commits. `done` is called when the commit, or what its refusal reveals, is durable, from the engine's thread: it must return
    /// at once. Blocks while the queue is full.
    pub fn commit(&self, commit: Commit, done: impl FnOnce(Result<Committed, Error>) + Send + 'static) {
        let bytes = commit.batches.iter().map(|(_, batch)| batch.bytes().len()).sum();
        if bytes > COMMIT_BYTES_MAX {
            return done(Err(Error::TooLarge { bytes, max: COMMIT_BYTES_MAX }));
        }
        self.open.queue.push(Request::Commit(Box::new(commit), Box::new(done)));
    }

    /// Opens the session of an agent that comes after session `follows`, 0 for its first. As [`CommitLog::commit`].
    pub fn open_session(
        &self,
        open: OpenSession,
        follows: u64,
        done: impl FnOnce(Result<Session, Error>) + Send + 'static,
    ) {
        self.open.queue.push(Request::Session { open, follows, done: Box::new(done) });
    }

    /// Changes topics. As [`CommitLog::commit`].
    pub fn alter_topic(&self, change: TopicChange, done: impl FnOnce(Result<TopicAltered, Error>) + Send + 'static) {
        self.open.queue.push(Request::Topic(change, Box::new(done)));
    }

    /// Changes what topics get that no one has set: new ones, and all that there are but for their partitions. As [`CommitLog::commit`].
    pub fn change_defaults(&self, defaults: TopicDefaults, done: impl FnOnce(Result<(), Error>) + Send + 'static) {
        self.open.queue.push(Request::Defaults(defaults, Box::new(done)));
    }

    /// Lists an agent's sources in the order of their ids, those after `after` only, at most `limit`. As [`CommitLog::commit`].
    pub fn sources(
        &self,
        agent: AgentId,
        after: Option<SourceId>,
        limit: usize,
        done: impl FnOnce(Result<Vec<StoredSource>, Error>) + Send + 'static,
    ) {
        self.open.queue.push(Request::Sources { agent, after, limit, done: Box::new(done) });
    }

    /// Lists the agents in the order of their ids. As [`CommitLog::commit`].
    pub fn agents(&self, done: impl FnOnce(Result<Vec<AgentState>, Error>) + Send + 'static) {
        self.open.queue.push(Request::Agents(Box::new(done)));
    }

    /// Reads whole batches from the one that contains `at`, up to the high watermark: about `bytes_max` bytes, but at least one batch.
    /// Empty at the high watermark. Reads files: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`Error::UnknownPartition`], [`Error::OffsetOutOfRange`], [`Error::Damaged`] if `at` itself cannot be read (reject); [`Error::Io`]
    /// if a file cannot be opened.
    pub fn fetch(&self, from: &TopicPartition, at: Offset, bytes_max: usize) -> Result<Fetched, Error> {
        self.open.store.fetch(from, at, bytes_max).inspect_err(|error| self.open.noticed.note(error))
    }

    /// Does the same from memory alone, without waiting for a disk; `None` if what was asked for is not there.
    ///
    /// # Errors
    /// [`Error::UnknownPartition`], [`Error::OffsetOutOfRange`] (reject).
    pub fn fetch_recent(&self, from: &TopicPartition, at: Offset, bytes_max: usize) -> Result<Option<Fetched>, Error> {
        self.open.store.fetch_recent(from, at, bytes_max)
    }

    /// Finds the first record whose timestamp is `timestamp_ms` or later; `None` if there is none yet. Reads files.
    ///
    /// Where records cannot be read that may be as new, their first offset is the answer.
    ///
    /// # Errors
    /// [`Error::UnknownPartition`] (reject); [`Error::Io`] if a file cannot be opened.
    pub fn offset_at(&self, of: &TopicPartition, timestamp_ms: i64) -> Result<Option<Offset>, Error> {
        self.open.store.offset_at(of, timestamp_ms)
    }

    /// Gives a partition's extent.
    ///
    /// # Errors
    /// [`Error::UnknownPartition`] (reject).
    pub fn offsets(&self, of: &TopicPartition) -> Result<LogOffsets, Error> {
        self.open.store.partition(of).map(|(_, offsets)| offsets)
    }

    /// Counts the times that segments of a partition were written anew: batches read before may hold records that are gone since.
    pub fn rewrites(&self, topic: &TopicName, partition: PartitionId) -> u64 {
        self.open.store.rewrites(topic, partition)
    }

    /// Lists the topics in the order of their names.
    pub fn topics(&self) -> Vec<Topic> {
        self.open.store.topics()
    }

    /// Describes a topic; `None` if there is none of that name.
    pub fn topic(&self, name: &TopicName) -> Option<Topic> {
        self.open.store.topic(name)
    }

    /// Takes no more requests, finishes those it has, saves a checkpoint and ends the engine's threads.
    ///
    /// # Errors
    /// What stopped the engine, if it had stopped (halt).
    pub fn close(self) -> Result<(), Error> {
        self.open.end(End::Closing)
    }
}

impl OpenLog {
    fn end(&self, end: End) -> Result<(), Error> {
        self.queue.close(end);
        let thread = self.sequencer.lock().unwrap_or_else(PoisonError::into_inner).take();
        match thread {
            // An answer's callback may hold the last handle: the sequencer cannot wait for itself.
            Some(thread) if thread.thread().id() != std::thread::current().id() => thread
                .join()
                .unwrap_or_else(|_| Err(Error::Halted { reason: "the sequencer's thread panicked".to_owned() })),
            _ => Ok(()),
        }
    }
}

impl Drop for OpenLog {
    fn drop(&mut self) {
        let is_open = self.sequencer.get_mut().unwrap_or_else(PoisonError::into_inner).is_some();
        if is_open && let Err(error) = self.end(End::Abandoned) {
            tracing::debug!(%error, "the log had stopped before it was dropped");
        }
    }
}

/// Answers those who wait if the sequencer panics, so that nobody waits for ever.
struct RefuseOnPanic(Arc<Queue>);

impl Drop for RefuseOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.refuse(&Error::Halted { reason: "the sequencer's thread panicked".to_owned() });
        }
    }
}

/// Makes the data folder and locks it.
fn take_lock(config: &Config, disk: &dyn Disk) -> Result<Box<dyn Send + Sync>, Error> {
    let dir = &config.data_dir;
    disk.create_dir(dir).map_err(Error::io("create", dir))?;
    let path = dir.join("lock");
    let lock = disk.lock(&path).map_err(Error::io("lock", &path))?;
    lock.ok_or_else(|| Error::InUse(dir.clone()))
}
