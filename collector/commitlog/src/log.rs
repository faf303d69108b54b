//! The engine's door: requests in, answers by callback, records out. Never decides, never writes.

use std::sync::Arc;
use std::time::Duration;

use skidway_disk::Disk;
use skidway_record::source::StoredSource;
use skidway_record::{AgentId, Batch, LogId, Offset, SourceId, TopicName, TopicPartition};

use crate::commit::{AgentState, Commit, Committed, LogIdentity, LogOffsets, OpenSession, Session, Topic, TopicChange};
use crate::config::Config;
use crate::error::Error;

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
}

/// Opens, asks and reads one log. Cheap to clone. Dropping the last one without [`CommitLog::close`] is like a killed process.
#[derive(Clone)]
pub struct CommitLog {
    identity: LogIdentity,
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
    pub fn open(_config: Config, _disk: Arc<dyn Disk>, _observer: Arc<dyn Observer>) -> Result<Self, Error> {
        Ok(Self { identity: LogIdentity { id: LogId([0; 16]), epoch: 1 } })
    }

    /// Says which log this is.
    pub fn identity(&self) -> LogIdentity {
        self.identity
    }

    /// Commits. `done` is called when the commit, or what its refusal reveals, is durable, from the engine's thread: it must return
    /// at once. Blocks while the queue is full.
    pub fn commit(&self, _commit: Commit, done: impl FnOnce(Result<Committed, Error>) + Send + 'static) {
        done(Err(Error::Closed));
    }

    /// Opens an agent's session. As [`CommitLog::commit`].
    pub fn open_session(&self, _open: OpenSession, done: impl FnOnce(Result<Session, Error>) + Send + 'static) {
        done(Err(Error::Closed));
    }

    /// Changes topics. As [`CommitLog::commit`].
    pub fn alter_topic(&self, _change: TopicChange, done: impl FnOnce(Result<TopicAltered, Error>) + Send + 'static) {
        done(Err(Error::Closed));
    }

    /// Lists an agent's sources in the order of their ids, those after `after` only, at most `limit`. As [`CommitLog::commit`].
    pub fn sources(
        &self,
        _agent: AgentId,
        _after: Option<SourceId>,
        _limit: usize,
        done: impl FnOnce(Result<Vec<StoredSource>, Error>) + Send + 'static,
    ) {
        done(Err(Error::Closed));
    }

    /// Lists the agents in the order of their ids. As [`CommitLog::commit`].
    pub fn agents(&self, done: impl FnOnce(Result<Vec<AgentState>, Error>) + Send + 'static) {
        done(Err(Error::Closed));
    }

    /// Reads whole batches from the one that contains `at`, up to the high watermark: about `bytes_max` bytes, but at least one batch.
    /// Empty at the high watermark. Reads files: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`Error::UnknownPartition`], [`Error::OffsetOutOfRange`] (reject); [`Error::Io`], [`Error::Corrupt`] (halt).
    pub fn fetch(&self, from: &TopicPartition, _at: Offset, _bytes_max: usize) -> Result<Fetched, Error> {
        Err(Error::UnknownPartition(from.clone()))
    }

    /// Finds the first record whose timestamp is `timestamp_ms` or later; `None` if there is none yet. Reads files.
    ///
    /// # Errors
    /// As [`CommitLog::fetch`].
    pub fn offset_at(&self, of: &TopicPartition, _timestamp_ms: i64) -> Result<Option<Offset>, Error> {
        Err(Error::UnknownPartition(of.clone()))
    }

    /// Gives a partition's extent.
    ///
    /// # Errors
    /// [`Error::UnknownPartition`] (reject).
    pub fn offsets(&self, of: &TopicPartition) -> Result<LogOffsets, Error> {
        Err(Error::UnknownPartition(of.clone()))
    }

    /// Lists the topics in the order of their names.
    pub fn topics(&self) -> Vec<Topic> {
        Vec::new()
    }

    /// Describes a topic; `None` if there is none of that name.
    pub fn topic(&self, _name: &TopicName) -> Option<Topic> {
        None
    }

    /// Takes no more requests, finishes those it has, saves a checkpoint and ends the engine's threads.
    ///
    /// # Errors
    /// What stopped the engine, if it had stopped (halt).
    pub fn close(self) -> Result<(), Error> {
        Ok(())
    }
}
