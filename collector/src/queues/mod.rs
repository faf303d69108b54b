//! Queues: records of a topic given away one by one, to as many consumers as one likes (KIP-932's share groups).
//!
//! ```text
//! listen ─▶ Queues (handle) ─ask─▶ Keeper (one task) ─▶ queue ─▶ partition ─▶ share (pure: which record stands how)
//!                                       │                              └─▶ window (its bytes)
//!                                       └─▶ __skidway.queues, dead letters, events: one commit for what belongs together
//! ```
//!
//! The keeper owns all that changes, and alone writes: whatever waits while one write of a partition is under way shares the next one. Answers are given
//! when what they say is durable: acknowledgements, give-backs, dead letters, and the number of a delivery. Leases alone are not: after a crash
//! what was leased can be had again, under the next number.
//!
//! Never knows HTTP, never decodes what others sent but records of the log.

pub mod error;
pub mod settings;
pub mod share;
pub mod window;
pub mod receipt;
pub mod runs;
pub mod records;
pub mod letters;
pub mod stored;
pub mod ask;
pub mod desk;
pub mod partition;
pub mod queue;
pub mod redrive;
pub mod keeper;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use skidway_record::{Offset, PartitionId, TopicName, TopicPartition};
use skidway_wire::queues::{QueueChange, QueueDescription, QueuePartition, SettleResult};
use tokio::sync::{mpsc, oneshot};

pub use ask::{Given, How, Receive, Redrive};
pub use error::QueueError;
pub use keeper::Keeper;
pub use receipt::Receipt;

use crate::clock::now_ms;
use crate::log::{Log, LogError, StateError};
use ask::{Ask, Reply, View};

/// Names the topic of queues' settings and windows, our own.
pub const QUEUES_TOPIC: &str = "__skidway.queues";

/// Bounds the questions that wait for the keeper.
const ASKS_MAX: usize = 1_024;

/// Lets others use the queues. Cheap to clone.
#[derive(Clone)]
pub struct Queues {
    asks: mpsc::Sender<Ask>,
    log: Arc<dyn Log>,
}

/// Is a record that was given away, ready to be shown.
#[derive(Debug, Clone)]
pub struct Message {
    /// Names this delivery.
    pub receipt: Receipt,
    /// Until when nobody else gets it, in ms since 1970.
    pub until: i64,
    /// Its JSON (DESIGN §7), without the opening brace.
    pub json: Bytes,
}

/// Reads the queues there are, and gives who uses them and who keeps them.
///
/// # Errors
/// [`StateError`] (halt).
pub async fn open(log: Arc<dyn Log>) -> Result<(Queues, Keeper), StateError> {
    let (asks, inbox) = mpsc::channel(ASKS_MAX);
    let keeper = Keeper::open(log.clone(), inbox).await?;
    Ok((Queues { asks, log }, keeper))
}

impl Queues {
    /// Creates a queue or changes it; tells whether it was created.
    ///
    /// # Errors
    /// [`QueueError`], with its fate.
    pub async fn put(&self, name: TopicName, change: QueueChange) -> Result<(bool, QueueDescription), QueueError> {
        let (created, view) = self.ask(|reply| Ask::Put { name, change, reply }).await?;
        Ok((created, self.describe(view).await))
    }

    /// Deletes a queue: its windows are forgotten, its topics stay.
    ///
    /// # Errors
    /// [`QueueError::UnknownQueue`], [`QueueError::Log`].
    pub async fn delete(&self, name: TopicName) -> Result<(), QueueError> {
        self.ask(|reply| Ask::Delete { name, reply }).await
    }

    /// Shows all queues by name.
    ///
    /// # Errors
    /// [`QueueError::Log`].
    pub async fn list(&self) -> Result<Vec<QueueDescription>, QueueError> {
        let views = self.ask(|reply| Ask::List { reply }).await?;
        let mut shown = Vec::with_capacity(views.len());
        for view in views {
            shown.push(self.describe(view).await);
        }
        Ok(shown)
    }

    /// Shows one queue.
    ///
    /// # Errors
    /// [`QueueError::UnknownQueue`], [`QueueError::Log`].
    pub async fn show(&self, name: TopicName) -> Result<QueueDescription, QueueError> {
        Ok(self.describe(self.view(name).await?).await)
    }

    /// Gives the topic whose records a queue gives away.
    ///
    /// # Errors
    /// [`QueueError::UnknownQueue`], [`QueueError::Log`].
    pub async fn topic_of(&self, name: TopicName) -> Result<TopicName, QueueError> {
        Ok(self.view(name).await?.settings.topic)
    }

    async fn view(&self, name: TopicName) -> Result<View, QueueError> {
        self.ask(|reply| Ask::Describe { name, reply }).await
    }

    /// Gives records away, waiting for them if asked to; none if none came in time.
    ///
    /// # Errors
    /// [`QueueError`], with its fate; nothing is given away then.
    pub async fn receive(&self, name: TopicName, receive: Receive) -> Result<Vec<Message>, QueueError> {
        let given = self.ask(|reply| Ask::Receive { name: name.clone(), receive, reply }).await?;
        let mut read = self.read_missing(&given).await?;
        let mut messages = Vec::with_capacity(given.leased.len());
        let mut missing = Vec::new();
        for leased in given.leased {
            let receipt = Receipt { of: given.of, partition: leased.partition, delivery: leased.delivery };
            match leased.json.or_else(|| read.remove(&(leased.partition, leased.delivery.offset))) {
                Some(json) => messages.push(Message { receipt, until: leased.until, json }),
                None => missing.push(receipt),
            }
        }
        if !missing.is_empty() {
            // What is gone is told in the events. Who does not listen any more keeps nothing.
            let _closing = self.asks.send(Ask::Missing { name, missing }).await;
        }
        Ok(messages)
    }

    /// Reads records that were given away before, or found no room in memory.
    async fn read_missing(&self, given: &Given) -> Result<BTreeMap<(u32, Offset), Bytes>, LogError> {
        let mut wanted: BTreeMap<u32, Vec<Offset>> = BTreeMap::new();
        for leased in given.leased.iter().filter(|leased| leased.json.is_none()) {
            wanted.entry(leased.partition).or_default().push(leased.delivery.offset);
        }
        let mut read = BTreeMap::new();
        for (partition, mut offsets) in wanted {
            offsets.sort_unstable();
            let of = TopicPartition { topic: given.topic.clone(), partition: PartitionId(partition) };
            let found = records::json_of(&*self.log, &of, &offsets).await?;
            read.extend(found.into_iter().map(|(offset, json)| ((partition, offset), json)));
        }
        Ok(read)
    }

    /// Finishes records, gives them back or keeps them longer; tells what became of each receipt, in order.
    ///
    /// # Errors
    /// [`QueueError`], with its fate. [`QueueError::InvalidReceipt`] if one is none: nothing is changed then.
    pub async fn settle(
        &self,
        name: TopicName,
        receipts: Vec<Receipt>,
        how: How,
    ) -> Result<Vec<SettleResult>, QueueError> {
        self.ask(|reply| Ask::Settle { name, receipts, how, reply }).await
    }

    /// Brings dead letters back, each once; tells how many, and how many are left.
    ///
    /// # Errors
    /// [`QueueError`], with its fate; some may be back then, and are not brought back again.
    pub async fn redrive(&self, name: TopicName, redrive: Redrive) -> Result<(u64, u64), QueueError> {
        let redriven = self.ask(|reply| Ask::Redrive { name: name.clone(), redrive, reply }).await?;
        let view = self.view(name).await?;
        Ok((redriven, self.dead_letters(&view)))
    }

    async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, QueueError> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(reply)).await.map_err(|_| LogError::Closing)?;
        answer.await.unwrap_or(Err(LogError::Closing.into()))
    }

    async fn describe(&self, view: View) -> QueueDescription {
        let sum = |of: fn(&QueuePartition) -> u64| view.partitions.iter().map(of).sum();
        QueueDescription {
            state: if view.is_open { "open" } else { "topic-deleted" }.to_owned(),
            ready: sum(|it| it.ready + (it.high_watermark - it.end_offset.min(it.high_watermark))),
            leased: sum(|it| it.leased),
            delayed: sum(|it| it.delayed),
            oldest_age_ms: oldest_age_ms(&*self.log, &view).await,
            dead_letters: self.dead_letters(&view),
            consumers: view.consumers,
            skipped: view.skipped,
            settings: view.settings.show(),
            name: view.name.to_string(),
            partitions: view.partitions,
        }
    }

    fn dead_letters(&self, view: &View) -> u64 {
        dead_letters(&*self.log, view)
    }
}

/// Counts the dead letters that were not redriven.
fn dead_letters(log: &dyn Log, view: &View) -> u64 {
    let of = TopicPartition::new(view.settings.dead_letter_topic.clone(), 0);
    let Ok(offsets) = log.offsets(&of) else { return 0 };
    let all = offsets.high_watermark.0 - offsets.log_start.0;
    all.saturating_sub(view.redriven.count_from(offsets.log_start))
}

/// Tells how old the oldest record is that is not finished.
async fn oldest_age_ms(log: &dyn Log, view: &View) -> Option<u64> {
    let mut oldest: Option<i64> = None;
    for partition in view.partitions.iter().filter(|it| it.start_offset < it.high_watermark) {
        let of = TopicPartition::new(view.settings.topic.clone(), partition.partition);
        if let Some(at) = records::timestamp_at(log, &of, Offset(partition.start_offset)).await {
            oldest = Some(oldest.map_or(at, |oldest| oldest.min(at)));
        }
    }
    oldest.map(|at| now_ms().saturating_sub(at).max(0) as u64)
}
