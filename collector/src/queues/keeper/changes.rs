//! Changes of queues as a whole: made, changed, deleted, their dead letters brought back. One after the other, so that none undoes half of another.

use std::collections::VecDeque;

use bytes::Bytes;
use skidway_record::{TopicName, TopicPartition};
use skidway_wire::queues::QueueChange;

use super::super::ask::{Redrive, Reply, View, refuse};
use super::super::desk::{Back, News};
use super::super::queue::Queue;
use super::super::redrive::Job;
use super::super::runs::Runs;
use super::super::settings::Settings;
use super::super::share::Share;
use super::super::{QueueError, stored, window};
use super::{Change, Keeper, QUEUES_MAX, REDRIVES_MAX};
use crate::log::{Commit, Log, LogError, StateTopic, TopicChange};
use crate::metrics;

impl Keeper {
    /// Begins the next change, if none is under way.
    pub(super) fn change_next(&mut self) {
        while !self.is_changing
            && let Some((name, change)) = self.changes.pop_front()
        {
            match change {
                Change::Put(change, reply) => self.begin_put(name, &change, reply),
                Change::Delete(reply) => self.begin_delete(name, reply),
            }
        }
    }

    fn begin_put(&mut self, name: TopicName, change: &QueueChange, reply: Reply<(bool, View)>) {
        let before = self.queues.get(&name);
        let settings = match before {
            None if self.queues.len() >= QUEUES_MAX => Err(QueueError::TooManyQueues { max: QUEUES_MAX }),
            _ => Settings::changed(before.map(|it| &it.settings), rand::random(), &name, change),
        };
        let settings = match settings {
            Ok(settings) => settings,
            Err(error) => return refuse(reply, error),
        };
        self.is_changing = true;
        let (log, state, is_new) = (self.desk.log.clone(), self.desk.state.clone(), before.is_none());
        self.desk.start(async move {
            let outcome = keep(&*log, &state, &name, settings, is_new).await;
            News::Put(name, outcome, reply)
        });
    }

    pub(super) fn put(&mut self, name: TopicName, outcome: Result<Settings, QueueError>, reply: Reply<(bool, View)>) {
        self.is_changing = false;
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
        self.change_next();
    }

    fn begin_delete(&mut self, name: TopicName, reply: Reply<()>) {
        if !self.queues.contains_key(&name) {
            return refuse(reply, QueueError::UnknownQueue(name));
        }
        self.is_changing = true;
        let state = self.desk.state.clone();
        self.desk.start(async move {
            let keys = state.entries().into_iter().map(|(key, _)| key);
            let changes = keys.filter(|key| stored::is_of(key, &name)).map(|key| (key, None)).collect();
            // A window that is being written may come after: without settings it is forgotten at the next start.
            let outcome = state.write(changes, Commit::default()).await.map(|_| ());
            News::Deleted(name, outcome, reply)
        });
    }

    pub(super) fn deleted(&mut self, name: &TopicName, outcome: Result<(), LogError>, reply: Reply<()>) {
        self.is_changing = false;
        if outcome.is_ok()
            && let Some(mut queue) = self.queues.remove(name)
        {
            queue.close(&mut self.desk);
            metrics::queue_deleted(name.as_str());
        }
        let _gone = reply.send(outcome.map_err(QueueError::from));
        self.change_next();
    }

    /// Forgets keys of what is not there any more.
    pub(super) fn forget(&self, keys: Vec<Bytes>) {
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

    pub(super) fn redrive(&mut self, name: TopicName, redrive: Redrive, reply: Reply<u64>) {
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

    pub(super) fn redriven(&mut self, back: Back) {
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
