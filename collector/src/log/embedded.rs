//! The log on this machine: the embedded engine behind the collector's seam.
//!
//! The engine is synchronous and has a thread of its own. Commits reach it through its bounded queue, whose room is
//! counted here so that nobody on the runtime ever blocks on it; reads of files happen on blocking threads.

use std::future::ready;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use skidway_commitlog::{CommitLog, Compacted, Config, Error as EngineError, Observer, TopicDefaults};
use skidway_disk::Disk;
use skidway_record::source::StoredSource;
use skidway_record::{AgentId, Batch, Offset, PartitionId, SourceId, TopicName, TopicPartition};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::blocking::blocking;
use crate::log::progress::ProgressBoard;
use crate::log::{
    AgentState, Answer, Commit, Committed, LogError, LogIdentity, LogOffsets, LogReader, LogWriter, OpenSession,
    Pending, Pins, Progress, Session, Topic, TopicAltered, TopicChange,
};
use crate::metrics;

/// Bounds the requests that wait for the sequencer; fewer than its own queue takes.
pub const QUEUED_MAX: usize = 4096;

/// Holds the open engine.
#[derive(Clone)]
pub struct EmbeddedLog {
    engine: CommitLog,
    news: Arc<News>,
    room: Arc<Semaphore>,
    pins: Arc<Pins>,
}

impl EmbeddedLog {
    /// Opens the log, recovery included. Blocks on the disk.
    ///
    /// # Errors
    /// As the engine's `open` (halt).
    pub fn open(config: Config, disk: Arc<dyn Disk>) -> Result<Self, EngineError> {
        let news = Arc::new(News::default());
        let pins = config.pins.clone();
        let engine = CommitLog::open(config, disk, news.clone())?;
        let topics = engine.topics();
        news.board.set_topics(&topics);
        for topic in &topics {
            for partition in 0..topic.config.partitions {
                let of = TopicPartition::new(topic.name.clone(), partition);
                let high_watermark = engine.offsets(&of)?.high_watermark;
                news.board.advance(&[(of, high_watermark)]);
            }
        }
        Ok(Self { engine, news, room: Arc::new(Semaphore::new(QUEUED_MAX)), pins })
    }

    /// Ends when the engine lost trust in its disk or itself: the process has to end, recovery decides what is true.
    pub async fn halted(&self) -> String {
        self.news.halted.cancelled().await;
        self.news.reason.get().cloned().unwrap_or_default()
    }

    /// Finishes what was submitted, writes a checkpoint and closes the files. Blocks.
    ///
    /// # Errors
    /// As the engine's `close` (halt); what was acknowledged is durable all the same.
    pub fn close(self) -> Result<(), EngineError> {
        self.engine.close()
    }

    /// Changes what topics get that no one has set: new ones, and those there are but for their partitions.
    ///
    /// # Errors
    /// [`LogError::Closing`], [`LogError::Failed`].
    pub async fn change_defaults(&self, defaults: TopicDefaults) -> Result<(), LogError> {
        self.ask(move |engine, reply| engine.change_defaults(defaults, move |outcome| reply.send(outcome))).await
    }

    /// Gives what holds records back from retention.
    pub fn pins(&self) -> Arc<Pins> {
        self.pins.clone()
    }

    /// Waits for room in the sequencer's queue.
    async fn room(&self) -> OwnedSemaphorePermit {
        self.room.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    /// Asks the sequencer and waits for its answer.
    fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&CommitLog, Reply<T>) + Send + 'static,
    ) -> BoxFuture<'_, Result<T, LogError>> {
        async move {
            let (reply, pending) = Reply::new(self.room().await);
            ask(&self.engine, reply);
            pending.await
        }
        .boxed()
    }
}

impl LogReader for EmbeddedLog {
    fn identity(&self) -> LogIdentity {
        self.engine.identity()
    }

    fn topics(&self) -> Vec<Topic> {
        self.engine.topics()
    }

    fn topic(&self, name: &TopicName) -> Option<Topic> {
        self.engine.topic(name)
    }

    fn offsets(&self, of: &TopicPartition) -> Result<LogOffsets, LogError> {
        Ok(self.engine.offsets(of)?)
    }

    fn rewrites(&self, topic: &TopicName, partition: PartitionId) -> u64 {
        self.engine.rewrites(topic, partition)
    }

    fn watch(&self, topic: &TopicName) -> Option<watch::Receiver<Progress>> {
        self.news.board.watch(topic)
    }

    fn watch_topics(&self) -> watch::Receiver<Arc<[Topic]>> {
        self.news.board.watch_topics()
    }

    fn fetch(&self, from: TopicPartition, at: Offset, bytes_max: usize) -> Answer<'_, Vec<Batch>> {
        let failed = |error, of: &TopicPartition| LogError::of_read(error, of);
        match self.engine.fetch_recent(&from, at, bytes_max) {
            Ok(Some(fetched)) => ready(Ok(fetched.batches)).boxed(),
            Ok(None) => {
                let engine = self.engine.clone();
                let read = move || engine.fetch(&from, at, bytes_max).map_err(|error| failed(error, &from));
                blocking(move || Ok(read()?.batches)).boxed()
            }
            Err(error) => ready(Err(failed(error, &from))).boxed(),
        }
    }

    fn offset_at(&self, of: TopicPartition, timestamp_ms: i64) -> Answer<'_, Option<Offset>> {
        let engine = self.engine.clone();
        blocking(move || Ok(engine.offset_at(&of, timestamp_ms)?)).boxed()
    }
}

impl LogWriter for EmbeddedLog {
    #[expect(clippy::async_yields_async, reason = "waiting for room and waiting for the outcome are two things")]
    fn submit(&self, commit: Commit) -> BoxFuture<'_, Pending<Committed>> {
        async move {
            let (reply, pending) = Reply::new(self.room().await);
            self.engine.commit(commit, move |outcome| reply.send(outcome));
            pending
        }
        .boxed()
    }

    fn open_session(&self, open: OpenSession, follows: u64) -> Answer<'_, Session> {
        self.ask(move |engine, reply| engine.open_session(open, follows, move |outcome| reply.send(outcome)))
    }

    fn alter_topic(&self, change: TopicChange) -> Answer<'_, TopicAltered> {
        self.ask(move |engine, reply| engine.alter_topic(change, move |outcome| reply.send(outcome)))
    }

    fn sources(&self, agent: AgentId, after: Option<SourceId>, limit: usize) -> Answer<'_, Vec<StoredSource>> {
        self.ask(move |engine, reply| engine.sources(agent, after, limit, move |outcome| reply.send(outcome)))
    }

    fn agents(&self) -> Answer<'_, Vec<AgentState>> {
        self.ask(move |engine, reply| engine.agents(move |outcome| reply.send(outcome)))
    }
}

/// Carries one answer from the sequencer's thread back to the runtime, and frees the room it held.
struct Reply<T> {
    to: oneshot::Sender<Result<T, LogError>>,
    _room: OwnedSemaphorePermit,
}

impl<T> Reply<T> {
    fn new(room: OwnedSemaphorePermit) -> (Self, Pending<T>) {
        let (to, pending) = Pending::new();
        (Self { to, _room: room }, pending)
    }

    fn send(self, outcome: Result<T, EngineError>) {
        // An asker who went away does not want to know; what was committed stays committed.
        let _asker_gone = self.to.send(outcome.map_err(LogError::from));
    }
}

/// Passes on what the engine publishes.
#[derive(Default)]
struct News {
    board: ProgressBoard,
    halted: CancellationToken,
    reason: OnceLock<String>,
}

impl Observer for News {
    fn published(&self, advanced: &[(TopicPartition, Offset)]) {
        self.board.advance(advanced);
    }

    fn topics_changed(&self, topics: &[Topic]) {
        self.board.set_topics(topics);
    }

    fn halted(&self, error: &EngineError) {
        tracing::error!(%error, "the log halted; the process ends and recovery decides what is true");
        let _first_reason_counts = self.reason.set(error.to_string());
        self.halted.cancel();
    }

    fn synced(&self, took: Duration, commits: usize) {
        metrics::synced(took, commits);
    }

    fn damaged(&self, _damage: &EngineError) {
        metrics::damaged();
    }

    fn compacted(&self, step: &Compacted) {
        metrics::compacted(step.bytes_before, step.bytes_after, step.records_removed, step.ended_after);
    }

    fn compaction_failed(&self) {
        metrics::compaction_failed();
    }

    fn looked_for_compaction(&self, dirty_ratio_max: f64) {
        metrics::dirty_ratio(dirty_ratio_max);
    }
}
