//! The key indexes of all topics that have one: opened, found, given up when they are broken.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skidway_record::{PartitionId, TopicName, TopicPartition};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;

use crate::blocking::blocking;
use crate::keys::KeysError;
use crate::keys::chosen::Chosen;
use crate::keys::error::StoreError;
use crate::keys::lane::Conditional;
use crate::keys::shard::Shard;
use crate::keys::store::{Row, ShardId, Store};
use crate::log::{Log, StateError, Topic};

/// Writes that wait for their turn; more are refused.
const WAITING_MAX: usize = 4096;

/// Whoever needs the index waits so long for it to be opened.
const OPENED_WITHIN: Duration = Duration::from_secs(2);

/// Finds keys.
pub struct Keys {
    pub(super) log: Arc<dyn Log>,
    pub(super) chosen: Chosen,
    path: PathBuf,
    /// High watermarks when the collector started: an index that claims more is of a log that was.
    started_at: HashMap<ShardId, u64>,
    open: watch::Sender<Option<Arc<Open>>>,
    /// Wakes the indexer: another topic, or a broken index.
    pub(super) news: Notify,
    pub(super) lane: mpsc::Sender<Conditional>,
    requests: Mutex<Option<mpsc::Receiver<Conditional>>>,
}

/// Is the opened file with what is known of its partitions.
pub(super) struct Open {
    pub(super) store: Arc<Store>,
    pub(super) shards: Mutex<HashMap<ShardId, Arc<Shard>>>,
    rows: HashMap<ShardId, Row>,
    /// Two that begin one partition's index would each doom the other's.
    beginning: tokio::sync::Mutex<()>,
}

impl Keys {
    /// Reads which topics are indexed. The index itself is opened by the indexer, for it may take time to check.
    ///
    /// # Errors
    /// [`StateError`] (halt).
    pub async fn open(log: Arc<dyn Log>, data_dir: &Path) -> Result<Self, StateError> {
        let chosen = Chosen::open(log.clone()).await?;
        let mut started_at = HashMap::new();
        for topic in chosen.topics() {
            for partition in 0..topic.config.partitions {
                let end = log.offsets(&TopicPartition::new(topic.name.clone(), partition))?.high_watermark;
                started_at.insert((topic.id, partition), end.0);
            }
        }
        let (lane, requests) = mpsc::channel(WAITING_MAX);
        let (open, path) = (watch::Sender::new(None), data_dir.join("keys"));
        let requests = Mutex::new(Some(requests));
        Ok(Self { log, chosen, path, started_at, open, news: Notify::new(), lane, requests })
    }

    /// Tells whether a topic has an index.
    pub fn has_index(&self, topic: &Topic) -> bool {
        self.chosen.has(topic)
    }

    /// Gives a topic an index, or takes it away; durable when it returns.
    ///
    /// # Errors
    /// [`KeysError::Log`].
    pub async fn set_index(&self, topic: &Topic, indexed: bool) -> Result<(), KeysError> {
        self.chosen.set(topic, indexed).await?;
        self.news.notify_one();
        Ok(())
    }

    /// Finds a topic that is indexed.
    ///
    /// # Errors
    /// [`KeysError::UnknownTopic`], [`KeysError::NoIndex`].
    pub fn indexed(&self, name: &TopicName) -> Result<Topic, KeysError> {
        let topic = self.log.topic(name).ok_or_else(|| KeysError::UnknownTopic(name.clone()))?;
        if self.has_index(&topic) { Ok(topic) } else { Err(KeysError::NoIndex(name.clone())) }
    }

    /// Finds the index of a partition.
    ///
    /// # Errors
    /// As [`Keys::indexed`]; [`KeysError::UnknownPartition`]; [`KeysError::Behind`] while the index is being opened, [`KeysError::Store`].
    pub async fn shard(&self, topic: &Topic, partition: PartitionId) -> Result<Arc<Shard>, KeysError> {
        let of = TopicPartition { topic: topic.name.clone(), partition };
        if partition.0 >= topic.config.partitions {
            return Err(KeysError::UnknownPartition(of));
        }
        let Some(open) = self.soon_opened().await else {
            let behind = self.log.offsets(&of)?.high_watermark.0;
            return Err(KeysError::Behind { topic: topic.name.clone(), behind });
        };
        let id = (topic.id, partition.0);
        if let Some(shard) = lock(&open.shards).get(&id) {
            return Ok(shard.clone());
        }
        let _alone = open.beginning.lock().await;
        // Somebody else may just have done it.
        if let Some(shard) = lock(&open.shards).get(&id) {
            return Ok(shard.clone());
        }
        let row = match open.rows.get(&id).filter(|row| self.is_of_this_log(id, row)) {
            Some(row) => *row,
            None => {
                let (store, log_start) = (open.store.clone(), self.log.offsets(&of)?.log_start.0);
                blocking(move || store.begin(id, log_start)).await?
            }
        };
        let shard = Arc::new(Shard::new(self.log.clone(), open.store.clone(), of, topic.id, row));
        lock(&open.shards).insert(id, shard.clone());
        Ok(shard)
    }

    /// Tells whether a row speaks of what the log has: a log that lost its newest records, as one that is not synced may, has others there.
    fn is_of_this_log(&self, id: ShardId, row: &Row) -> bool {
        self.started_at.get(&id).is_none_or(|end| row.next <= *end)
    }

    pub(super) fn opened(&self) -> Option<Arc<Open>> {
        self.open.borrow().clone()
    }

    /// Waits a moment for the file to be opened, as it is after a start or for the first topic that asks for an index.
    async fn soon_opened(&self) -> Option<Arc<Open>> {
        let mut open = self.open.subscribe();
        let opened = timeout(OPENED_WITHIN, open.wait_for(Option::is_some)).await;
        opened.ok().and_then(Result::ok).and_then(|open| open.clone())
    }

    /// Opens the file, made anew if it cannot be used. Blocks.
    pub(super) fn reopen(&self) -> Result<(), StoreError> {
        let path = self.path.join("index.redb");
        let failed = |error: std::io::Error| StoreError::Io(format!("{}: {error}", self.path.display()));
        std::fs::create_dir_all(&self.path).map_err(failed)?;
        let log = self.log.identity();
        let open = || -> Result<(Store, Vec<(ShardId, Row)>), StoreError> {
            let store = Store::open(&path, &log)?;
            let rows = store.rows()?;
            Ok((store, rows))
        };
        let opened = match open() {
            Err(StoreError::Unusable(reason)) => {
                tracing::error!(path = %path.display(), reason, "the key index is deleted and made anew");
                std::fs::remove_file(&path).map_err(failed)?;
                open()
            }
            opened => opened,
        };
        let (store, rows) = opened?;
        let (store, rows) = (Arc::new(store), rows.into_iter().collect());
        let open = Open { store, shards: Mutex::default(), rows, beginning: tokio::sync::Mutex::default() };
        self.open.send_replace(Some(Arc::new(open)));
        Ok(())
    }

    /// Closes the file: it is broken, or the collector stops.
    pub(super) fn close(&self) {
        self.open.send_replace(None);
    }

    /// Gives up on an index that is broken; passes on every error.
    pub fn noticed(&self, error: KeysError) -> KeysError {
        if let KeysError::Store(reason) = &error {
            tracing::warn!(%reason, "the key index is opened anew");
            self.close();
            self.news.notify_one();
        }
        error
    }

    /// Takes the end of the lane that its task needs; it does so once.
    pub(super) fn take_requests(&self) -> Option<mpsc::Receiver<Conditional>> {
        lock(&self.requests).take()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
