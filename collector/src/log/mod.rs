//! The log as the rest of the collector sees it: one seam, whatever engine stands behind it.
//!
//! The vocabulary is the sequencer's own, passed on from the engine; no other room names the engine. Nothing here
//! validates batches or renders them.

pub mod error;
pub mod progress;
pub mod embedded;
pub mod state_topic;

use std::sync::Arc;

use futures::future::BoxFuture;
use skidway_record::source::StoredSource;
use skidway_record::{AgentId, Batch, Offset, PartitionId, SourceId, TopicName, TopicPartition};
use tokio::sync::watch;

pub use error::{Damage, LogError};
pub use progress::{Pending, Progress};
pub use skidway_commitlog::commit::{
    Advance, AgentState, Appended, Cleanup, Commit, Committed, HandOver, LogIdentity, LogOffsets, OpenSession,
    ProducerSequence, Refusal, Session, SessionRef, SourceChange, Target, Topic, TopicChange, TopicConfig,
    TopicSettings,
};
pub use skidway_commitlog::{Pins, TopicAltered};
pub use state_topic::{StateError, StateTopic, each_record};

/// Names the topic of losses and other events, our own.
pub const EVENTS_TOPIC: &str = "__skidway.events";

/// Is an answer of the log that takes its time.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, LogError>>;

/// Reads the log. Never shows an offset at or above the high watermark.
pub trait LogReader: Send + Sync {
    /// Tells which log this is.
    fn identity(&self) -> LogIdentity;

    /// Lists the topics by name, our own (`__…`) included.
    fn topics(&self) -> Vec<Topic>;

    /// Finds a topic.
    fn topic(&self, name: &TopicName) -> Option<Topic>;

    /// Tells how far a partition reaches.
    fn offsets(&self, of: &TopicPartition) -> Result<LogOffsets, LogError>;

    /// Counts the times that what is stored of a partition was written anew, as compaction does: batches read before may hold records that
    /// are gone since. 0 if there is no such partition.
    fn rewrites(&self, _topic: &TopicName, _partition: PartitionId) -> u64 {
        0
    }

    /// Follows a topic's high watermarks. The sender goes away with the topic, also if it is created again.
    fn watch(&self, topic: &TopicName) -> Option<watch::Receiver<Progress>>;

    /// Follows the list of all topics.
    fn watch_topics(&self) -> watch::Receiver<Arc<[Topic]>>;

    /// Gives whole batches, the first of them containing `at`; at least one, even if larger than `bytes_max`,
    /// unless `at` is the high watermark. [`LogError::Damaged`] if `at` itself cannot be read any more.
    fn fetch(&self, from: TopicPartition, at: Offset, bytes_max: usize) -> Answer<'_, Vec<Batch>>;

    /// Finds the first offset whose record is at least this new, or may be and cannot be read; `None` if there is none.
    fn offset_at(&self, of: TopicPartition, timestamp_ms: i64) -> Answer<'_, Option<Offset>>;
}

/// Changes the log. Every answer, refusals too, is given when what it reveals is durable.
pub trait LogWriter: Send + Sync {
    /// Hands a commit to the sequencer, waiting only for room in its queue; what comes back waits for the outcome.
    ///
    /// Commits submitted one after the other are decided in that order and may share one fsync.
    fn submit(&self, commit: Commit) -> BoxFuture<'_, Pending<Committed>>;

    /// Opens the session of an agent that comes after session `follows` (0 for its first) and fences it. [`Refusal::SessionSuperseded`]
    /// if that is not the newest.
    fn open_session(&self, open: OpenSession, follows: u64) -> Answer<'_, Session>;

    /// Creates, changes or deletes a topic.
    fn alter_topic(&self, change: TopicChange) -> Answer<'_, TopicAltered>;

    /// Pages an agent's sources in the order of their ids, those after `after`, at most `limit`.
    fn sources(&self, agent: AgentId, after: Option<SourceId>, limit: usize) -> Answer<'_, Vec<StoredSource>>;

    /// Lists the agents that ever opened a session.
    fn agents(&self) -> Answer<'_, Vec<AgentState>>;
}

/// Is a whole log: what is read and what is written are one.
pub trait Log: LogReader + LogWriter {}

impl<L: LogReader + LogWriter> Log for L {}
