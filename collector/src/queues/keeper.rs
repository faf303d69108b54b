//! The one who keeps the queues: takes questions, does what is due, writes what changed. One task; all else waits for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use skidway_record::{Offset, TopicName, TopicPartition};
use skidway_wire::queues::QueueChange;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::ask::{Ask, Redrive, Reply, View, refuse};
use super::desk::{Back, Desk, News, Place, Taken};
use super::queue::Queue;
use super::redrive::Job;
use super::runs::Runs;
use super::settings::Settings;
use super::share::Share;
use super::{QUEUES_TOPIC, QueueError, dead_letters, oldest_age_ms, stored, window};
use crate::clock::now_ms;
use crate::log::{Commit, Log, LogError, StateError, StateTopic, TopicChange};
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

/// Keeps the queues.
pub struct Keeper {
    queues: BTreeMap<TopicName, Queue>,
    desk: Desk,
    inbox: mpsc::Receiver<Ask>,
    /// Queues whose windows may have changed.
    touched: BTreeSet<TopicName>,
    /// Settings being written, one after the other.
    puts: VecDeque<(TopicName, QueueChange, Reply<(bool, View)>)>,
    is_putting: bool,
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
            puts: VecDeque::new(),
            is_putting: false,
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
        while !(self.is_stopping && self.desk.owes_nothing() && self.inbox.is_empty() && !self.is_putting) {
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
                self.puts.push_back((name, change, reply));
                self.put_next();
            }
            Ask::Delete { name, reply } => self.delete(&name, reply),
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
            News::Put(name, outcome) => self.put(name, outcome),
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

    fn put_next(&mut self) {
        while !self.is_putting
            && let Some((name, change, _)) = self.puts.front()
        {
            let before = self.queues.get(name);
            let settings = match before {
                None if self.queues.len() >= QUEUES_MAX => Err(QueueError::TooManyQueues { max: QUEUES_MAX }),
                _ => Settings::changed(before.map(|it| &it.settings), rand::random(), name, change),
            };
            let (name, is_new) = (name.clone(), before.is_none());
            match settings {
                Err(error) => {
                    if let Some((_, _, reply)) = self.puts.pop_front() {
                        let _gone = reply.send(Err(error));
                    }
                }
                Ok(settings) => {
                    self.is_putting = true;
                    let (log, state) = (self.desk.log.clone(), self.desk.state.clone());
                    self.desk.start(async move {
                        let outcome = keep(&*log, &state, &name, settings, is_new).await;
                        News::Put(name, outcome)
                    });
                }
            }
        }
    }

    fn put(&mut self, name: TopicName, outcome: Result<Settings, QueueError>) {
        self.is_putting = false;
        let Some((_, _, reply)) = self.puts.pop_front() else { return };
        let answer = outcome.map(|settings| {
            let is_new = !self.queues.contains_key(&name);
            let dead = self.desk.log.topic(&settings.dead_letter_topic).map_or([0; 16], |topic| topic.id);
            let queue = self.queues.entry(name.clone()).or_insert_with(|| {
                let mut queue = Queue::new(name.clone(), settings.clone(), (dead, Runs::default()));
                let kept = stored::read(&self.desk.state.entries()).ok();
                let kept = kept.and_then(|mut kept| kept.queues.remove(&name));
                queue.attach(&mut self.desk, &mut kept.map(|kept| kept.windows).unwrap_or_default());
                queue
            });
            queue.settings = settings;
            (is_new, queue.view())
        });
        let _gone = reply.send(answer);
        self.put_next();
    }

    fn delete(&mut self, name: &TopicName, reply: Reply<()>) {
        let Some(mut queue) = self.queues.remove(name) else {
            return refuse(reply, QueueError::UnknownQueue(name.clone()));
        };
        queue.close(&mut self.desk);
        metrics::queue_deleted(name.as_str());
        let state = self.desk.state.clone();
        let is_of = |key: &[u8]| {
            let text = std::str::from_utf8(key).unwrap_or_default();
            text.split('/').nth(2) == Some(name.as_str())
        };
        let keys: Vec<Bytes> = state.entries().into_iter().map(|(key, _)| key).filter(|key| is_of(key)).collect();
        self.desk.start(async move {
            let changes = keys.into_iter().map(|key| (key, None)).collect();
            let outcome = state.write(changes, Commit::default()).await;
            let _gone = reply.send(outcome.map(|_| ()).map_err(QueueError::from));
            News::Tidied
        });
    }

    /// Forgets keys of what is not there any more.
    fn forget(&self, keys: Vec<Bytes>) {
        if keys.is_empty() {
            return;
        }
        let state = self.desk.state.clone();
        self.desk.start(async move {
            let changes = keys.into_iter().map(|key| (key, None)).collect();
            if let Err(error) = state.write(changes, Commit::default()).await {
                tracing::warn!(%error, "windows of queues that are gone are not forgotten yet");
            }
            News::Tidied
        });
    }

    fn redrive(&mut self, name: TopicName, redrive: Redrive, reply: Reply<u64>) {
        if !self.queues.contains_key(&name) {
            return refuse(reply, QueueError::UnknownQueue(name));
        }
        let waiting = self.redrives.entry(name.clone()).or_default();
        if waiting.len() >= REDRIVES_MAX {
            return refuse(reply, QueueError::TooManyWaiting { queue: name, max: REDRIVES_MAX });
        }
        waiting.push_back((redrive, reply));
        self.redrive_next(&name);
    }

    /// Begins the next redrive of a queue: one after the other, so that no dead letter goes twice.
    fn redrive_next(&mut self, name: &TopicName) {
        if self.is_redriving.contains(name) {
            return;
        }
        let next = self.redrives.get_mut(name).and_then(VecDeque::pop_front);
        let (Some((redrive, reply)), Some(queue)) = (next, self.queues.get(name)) else {
            // Who waited for a queue that is gone is told that nobody answers.
            self.redrives.remove(name);
            return;
        };
        self.is_redriving.insert(name.clone());
        let (log, state) = (self.desk.log.clone(), self.desk.state.clone());
        let (queue_name, settings, known) = (name.clone(), queue.settings.clone(), queue.redriven.clone());
        self.desk.start(async move {
            let id = settings.id;
            let Some(dead) = log.topic(&settings.dead_letter_topic) else {
                let (dead, runs) = known;
                return News::Redriven(Box::new(Back { queue: queue_name, id, dead, runs, reply, outcome: Ok(0) }));
            };
            let runs = if known.0 == dead.id { known.1 } else { Runs::default() };
            let mut job = Job { log, state, queue: queue_name, settings, dead, runs };
            let outcome = job.run(&redrive).await;
            let Job { queue, dead, runs, .. } = job;
            News::Redriven(Box::new(Back { queue, id, dead: dead.id, runs, reply, outcome }))
        });
    }

    fn redriven(&mut self, back: Back) {
        if let Some(queue) = self.queues.get_mut(&back.queue).filter(|queue| queue.settings.id == back.id) {
            queue.redriven = (back.dead, back.runs);
        }
        let _gone = back.reply.send(back.outcome);
        self.is_redriving.remove(&back.queue);
        self.redrive_next(&back.queue);
    }
}

/// Makes a queue's settings durable; those of a new one together with where it begins.
async fn keep(
    log: &dyn Log,
    state: &StateTopic,
    name: &TopicName,
    settings: Settings,
    is_new: bool,
) -> Result<Settings, QueueError> {
    for topic in [&settings.topic, &settings.dead_letter_topic] {
        log.alter_topic(TopicChange::Ensure(topic.clone())).await?;
    }
    let mut changes = vec![(stored::settings_key(name), Some(Bytes::from(settings.encode())))];
    if let Some(topic) = log.topic(&settings.topic).filter(|_| is_new) {
        for partition in 0..topic.config.partitions {
            let offsets = log.offsets(&TopicPartition::new(topic.name.clone(), partition))?;
            let begin = if settings.from_earliest { offsets.log_start } else { offsets.high_watermark };
            let share = Share::new(begin, settings.ordered_by_key);
            let key = stored::window_key(name, settings.id, topic.id, partition);
            changes.push((key, Some(Bytes::from(window::encode(&share)))));
        }
    }
    state.write(changes, Commit::default()).await?;
    Ok(settings)
}
