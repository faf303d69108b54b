//! The one who keeps the queues: takes questions, does what is due, writes what changed. One task; all else waits for it.

mod changes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use skidway_record::{Offset, TopicName};
use skidway_wire::queues::QueueChange;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::ask::{Ask, Redrive, Reply, View, refuse};
use super::desk::{Desk, News, Place, Taken};
use super::queue::Queue;
use super::{QUEUES_TOPIC, QueueError, dead_letters, oldest_age_ms, stored};
use crate::clock::now_ms;
use crate::log::{Log, LogError, StateError, StateTopic};
use crate::metrics;

/// Bounds the queues there are.
const QUEUES_MAX: usize = 1_000;

/// Takes so many questions before it writes.
const ASKS_AT_ONCE: usize = 256;

/// Looks after what nobody tells of this often.
const HOUSE_MS: i64 = 1_000;

/// Shows the gauges anew this often.
const GAUGES_MS: i64 = 5_000;

/// Bounds the redrives of one queue that wait for each other.
const REDRIVES_MAX: usize = 64;

/// Is what is to be done to a queue as a whole.
enum Change {
    Put(QueueChange, Reply<(bool, View)>),
    Delete(Reply<()>),
}

/// Keeps the queues.
pub struct Keeper {
    queues: BTreeMap<TopicName, Queue>,
    desk: Desk,
    inbox: mpsc::Receiver<Ask>,
    /// Queues whose windows may have changed.
    touched: BTreeSet<TopicName>,
    /// Queues to be made, changed or deleted, one after the other.
    changes: VecDeque<(TopicName, Change)>,
    is_changing: bool,
    /// Queues of which dead letters are being brought back.
    is_redriving: BTreeSet<TopicName>,
    /// Redrives that wait for that.
    redrives: BTreeMap<TopicName, VecDeque<(Redrive, Reply<u64>)>>,
    house_at: i64,
    gauges_at: i64,
    is_stopping: bool,
}

impl Keeper {
    /// Reads the queues there are.
    ///
    /// # Errors
    /// [`StateError`] (halt).
    pub async fn open(log: Arc<dyn Log>, inbox: mpsc::Receiver<Ask>) -> Result<Self, StateError> {
        let state = StateTopic::open(log.clone(), QUEUES_TOPIC).await?;
        let kept = stored::read(&state.entries()).map_err(|reason| StateError::Record {
            topic: TopicName::new(QUEUES_TOPIC).expect("our own topic's name is valid"),
            offset: Offset(0),
            reason,
        })?;
        let mut desk = Desk::new(log, Arc::new(state));
        let mut queues = BTreeMap::new();
        for (name, mut kept) in kept.queues {
            let dead = desk.log.topic(&kept.settings.dead_letter_topic).map_or([0; 16], |topic| topic.id);
            let redriven = kept.redriven.remove(&dead).unwrap_or_default();
            let mut queue = Queue::new(name.clone(), kept.settings, (dead, redriven));
            queue.attach(&mut desk, &mut kept.windows);
            queues.insert(name, queue);
        }
        let keeper = Self {
            queues,
            desk,
            inbox,
            touched: BTreeSet::new(),
            changes: VecDeque::new(),
            is_changing: false,
            is_redriving: BTreeSet::new(),
            redrives: BTreeMap::new(),
            house_at: 0,
            gauges_at: 0,
            is_stopping: false,
        };
        keeper.forget(kept.stale);
        Ok(keeper)
    }

    /// Keeps the queues until `stop` is cancelled and everyone who asked is answered.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut asks = Vec::with_capacity(ASKS_AT_ONCE);
        while !(self.is_stopping && self.desk.owes_nothing() && self.inbox.is_empty() && !self.is_changing) {
            let wait = Duration::from_millis((self.desk.wake - now_ms()).clamp(0, HOUSE_MS) as u64);
            tokio::select! {
                () = stop.cancelled(), if !self.is_stopping => self.stop(),
                count = self.inbox.recv_many(&mut asks, ASKS_AT_ONCE) => {
                    if count == 0 {
                        return;
                    }
                    asks.drain(..).for_each(|ask| self.take(ask));
                }
                Some(news) = self.desk.work.next(), if !self.desk.work.is_empty() => self.hear(news),
                () = sleep(wait) => self.tick(),
            }
            let now = now_ms();
            for name in std::mem::take(&mut self.touched) {
                if let Some(queue) = self.queues.get_mut(&name) {
                    queue.write(&mut self.desk, now);
                }
            }
        }
    }

    fn stop(&mut self) {
        self.is_stopping = true;
        self.queues.values_mut().for_each(Queue::dismiss);
    }

    fn take(&mut self, ask: Ask) {
        let now = now_ms();
        match ask {
            Ask::Put { name, change, reply } => {
                self.changes.push_back((name, Change::Put(change, reply)));
                self.change_next();
            }
            Ask::Delete { name, reply } => {
                self.changes.push_back((name, Change::Delete(reply)));
                self.change_next();
            }
            Ask::List { reply } => _ = reply.send(Ok(self.queues.values().map(Queue::view).collect())),
            Ask::Describe { name, reply } => {
                _ = reply.send(self.queues.get(&name).map(Queue::view).ok_or(QueueError::UnknownQueue(name)));
            }
            Ask::Receive { name, receive, reply } => match self.queues.get_mut(&name) {
                None => refuse(reply, QueueError::UnknownQueue(name)),
                Some(queue) => {
                    queue.receive(&mut self.desk, receive, reply, now);
                    if self.is_stopping {
                        queue.dismiss();
                    }
                    self.touched.insert(name);
                }
            },
            Ask::Settle { name, receipts, how, reply } => match self.queues.get_mut(&name) {
                None => refuse(reply, QueueError::UnknownQueue(name)),
                Some(queue) => {
                    queue.settle(&mut self.desk, &receipts, &how, reply, now);
                    self.touched.insert(name);
                }
            },
            Ask::Missing { name, missing } => {
                if let Some(queue) = self.queues.get_mut(&name) {
                    missing.into_iter().for_each(|receipt| queue.missing(receipt, now));
                    self.touched.insert(name);
                }
            }
            Ask::Redrive { name, redrive, reply } => self.redrive(name, redrive, reply),
        }
    }

    fn hear(&mut self, news: News) {
        let now = now_ms();
        match news {
            News::Put(name, outcome, reply) => self.put(name, outcome, reply),
            News::Deleted(name, outcome, reply) => self.deleted(&name, outcome, reply),
            News::Watched(name, id, progress) => {
                if let Some(queue) = self.queues.get_mut(&name).filter(|queue| queue.settings.id == id) {
                    queue.watched(&mut self.desk, progress, now);
                    self.touched.insert(name);
                }
            }
            News::Seen(place, seen) => {
                self.at(&place, |queue, desk| {
                    if let Some((partition, owner)) = queue.partition(place.topic, place.partition) {
                        partition.seen(seen, owner, desk, now);
                    }
                    queue.serve(desk, now);
                    queue.dismiss_late(now);
                    queue.wake(desk);
                });
            }
            News::Letter(place, dead, letter) => {
                self.at(&place, |queue, desk| {
                    if let Some((partition, owner)) = queue.partition(place.topic, place.partition) {
                        partition.letter(dead, letter, owner, desk, now);
                    }
                });
            }
            News::Wrote(place, taken, outcome) => self.wrote(&place, taken, &outcome, now),
            News::Redriven(back) => self.redriven(*back),
            News::Tidied => {}
        }
    }

    /// Lets something happen to a queue that is still the one which was meant.
    fn at(&mut self, place: &Place, work: impl FnOnce(&mut Queue, &mut Desk)) {
        if let Some(queue) = self.queues.get_mut(&place.queue).filter(|queue| queue.settings.id == place.id) {
            work(queue, &mut self.desk);
            self.touched.insert(place.queue.clone());
        }
    }

    /// Answers those who waited for a write. Also when the queue is gone: what was written was.
    fn wrote(&mut self, place: &Place, mut taken: Taken, outcome: &Result<(), LogError>, now: i64) {
        let mut left_over = Vec::new();
        for (answer, _) in &taken.given {
            if outcome.is_err() {
                self.desk.withdraw(*answer, place.partition);
            }
            left_over.extend(self.desk.settled(*answer, outcome));
        }
        for answer in std::mem::take(&mut taken.needs) {
            self.desk.settled(answer, outcome);
        }
        self.at(place, |queue, desk| {
            if let Some((partition, _)) = queue.partition(place.topic, place.partition) {
                partition.wrote(&mut taken, outcome, desk, now);
                queue.release(left_over);
            }
            queue.serve(desk, now);
        });
    }

    fn tick(&mut self) {
        let now = now_ms();
        self.desk.wake = now + HOUSE_MS;
        let keeps_house = now >= self.house_at;
        for (name, queue) in &mut self.queues {
            queue.expire(&mut self.desk, now);
            if keeps_house {
                queue.keep_house(&mut self.desk, now);
            }
            self.touched.insert(name.clone());
        }
        if keeps_house {
            self.house_at = now + HOUSE_MS;
        }
        if now >= self.gauges_at {
            self.gauges_at = now + GAUGES_MS;
            self.gauges();
        }
    }

    fn gauges(&self) {
        let (log, views) = (self.desk.log.clone(), self.queues.values().map(Queue::view).collect::<Vec<_>>());
        self.desk.start(async move {
            for view in views {
                let sum =
                    |of: fn(&skidway_wire::queues::QueuePartition) -> u64| view.partitions.iter().map(of).sum::<u64>();
                let ready = sum(|it| it.ready + it.high_watermark.saturating_sub(it.end_offset));
                let depths = [("ready", ready), ("leased", sum(|it| it.leased)), ("delayed", sum(|it| it.delayed))];
                let oldest_ms = oldest_age_ms(&*log, &view).await.unwrap_or(0);
                metrics::queue_stands(view.name.as_str(), &depths, oldest_ms, dead_letters(&*log, &view));
            }
            News::Tidied
        });
    }
}
