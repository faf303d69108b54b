//! Keeps the key indexes up with their topics: opens them, reads what is new, removes what is deleted, writes it all down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skidway_record::PartitionId;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::blocking::blocking;
use crate::keys::index::{Open, lock};
use crate::keys::shard::Shard;
use crate::keys::{Keys, KeysError};
use crate::metrics;

/// How often topics are looked at.
const PERIOD: Duration = Duration::from_millis(500);

/// Waits so long after it failed.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// How often the index is synced: what a crash makes it read again.
const SYNC_PERIOD: Duration = Duration::from_secs(5);

/// Entries of what is doomed that are removed in one turn.
const CLEAR_STEPS: usize = 4096;

impl Keys {
    /// Keeps the indexes up until the collector stops.
    pub async fn run_indexer(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut synced = Instant::now();
        loop {
            tokio::select! {
                biased; // Stopping beats all.
                () = stop.cancelled() => break,
                () = self.news.notified() => {}
                _ = ticks.tick() => {}
            }
            let sync = synced.elapsed() >= SYNC_PERIOD;
            if let Err(error) = self.turn(&stop, sync).await {
                tracing::warn!(%error, "the key index is not kept up; it is tried again");
                if matches!(error, KeysError::Store(_)) {
                    self.close();
                }
                ticks.reset_after(AFTER_FAILURE);
            }
            if sync {
                synced = Instant::now();
            }
        }
        if let Some(open) = self.opened()
            && let Err(error) = write_down(&open, true).await
        {
            tracing::warn!(%error, "the key index is not written down; the next start makes it up");
        }
        self.close();
    }

    /// Does what is to be done now: all partitions a bit each, until none is behind.
    async fn turn(self: &Arc<Self>, stop: &CancellationToken, sync: bool) -> Result<(), KeysError> {
        if self.opened().is_none() {
            if self.chosen.topics().is_empty() {
                return Ok(());
            }
            let (keys, started) = (self.clone(), Instant::now());
            blocking(move || keys.reopen()).await?;
            tracing::info!(took = ?started.elapsed(), "the key index is open");
        }
        let Some(open) = self.opened() else { return Ok(()) };
        self.forget_others(&open).await?;
        let (mut is_behind, until) = (true, Instant::now() + PERIOD);
        while is_behind && !stop.is_cancelled() && Instant::now() < until {
            is_behind = self.advance_all().await?;
        }
        if is_behind {
            self.news.notify_one();
        }
        let until = Instant::now() + PERIOD;
        for shard in shards(&open) {
            sweep(&shard, until).await?;
        }
        write_down(&open, sync).await?;
        let mut is_more = true;
        while is_more && Instant::now() < until && !stop.is_cancelled() {
            let store = open.store.clone();
            is_more = blocking(move || store.clear(CLEAR_STEPS)).await?;
        }
        Ok(())
    }

    /// Indexes a bit of each partition; tells whether there is more.
    async fn advance_all(&self) -> Result<bool, KeysError> {
        let mut is_behind = false;
        for topic in self.chosen.topics() {
            let (mut lag, mut entries) = (0, 0);
            for partition in 0..topic.config.partitions {
                let advanced = match self.shard(&topic, PartitionId(partition)).await {
                    Ok(shard) => shard.advance().await,
                    Err(error) => Err(error),
                };
                match advanced {
                    Ok((behind, of_shard)) => (lag, entries) = (lag + behind, entries + of_shard),
                    // Deleted meanwhile, or the log has its own trouble, which it tells.
                    Err(KeysError::Log(_) | KeysError::UnknownTopic(_) | KeysError::Behind { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            metrics::key_index(topic.name.as_str(), lag, entries);
            is_behind = is_behind || lag > 0;
        }
        Ok(is_behind)
    }

    /// Forgets partitions of topics that are gone or have no index any more.
    async fn forget_others(&self, open: &Arc<Open>) -> Result<(), KeysError> {
        let topics = self.chosen.topics();
        let kept: BTreeMap<_, _> = topics.iter().map(|topic| (topic.id, topic.config.partitions)).collect();
        let store = open.store.clone();
        let rows = blocking(move || store.rows()).await?;
        for (id, _) in rows.into_iter().filter(|((topic, _), _)| !kept.contains_key(topic)) {
            lock(&open.shards).remove(&id);
            let store = open.store.clone();
            blocking(move || store.forget(id)).await?;
        }
        Ok(())
    }
}

/// Removes entries of deleted records until there are none, or it is time for something else.
async fn sweep(shard: &Shard, until: Instant) -> Result<(), KeysError> {
    while Instant::now() < until {
        match shard.sweep().await {
            Ok(true) => {}
            // Of a topic that was deleted meanwhile.
            Ok(false) | Err(KeysError::Log(_)) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes what is in memory, and syncs it if it is time.
async fn write_down(open: &Arc<Open>, sync: bool) -> Result<(), KeysError> {
    for shard in shards(open) {
        shard.flush().await?;
    }
    if sync {
        let store = open.store.clone();
        blocking(move || store.sync()).await?;
    }
    Ok(())
}

fn shards(open: &Open) -> Vec<Arc<Shard>> {
    lock(&open.shards).values().cloned().collect()
}
