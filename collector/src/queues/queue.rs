//! One queue: its partitions in fair turns, those who wait for records, and those who settle what they were given.

mod settling;

use std::collections::{BTreeMap, HashMap, VecDeque};

use skidway_record::{Offset, PartitionId, TopicName, TopicPartition};
use skidway_wire::queues::QueuePartition;
use tokio::sync::watch;

use super::QueueError;
use super::ask::{Given, Leased, Receive, Reply, View, refuse};
use super::desk::{Desk, News, To};
use super::partition::{Owner, Partition};
use super::receipt::Receipt;
use super::runs::Runs;
use super::settings::Settings;
use super::share::{Delivery, Share};
use crate::log::{Progress, Topic};
use crate::metrics;

/// Bounds the requests that wait for records of one queue.
const WAITING_MAX: usize = 10_000;

/// Bounds the consumers that are remembered.
const CONSUMERS_MAX: usize = 10_000;

/// A consumer that asked for nothing for so long is forgotten.
const CONSUMER_MS: i64 = 60_000;

/// Holds a queue.
pub struct Queue {
    /// Its name.
    pub name: TopicName,
    /// Its settings.
    pub settings: Settings,
    /// Its topic, while it is there.
    pub topic: Option<Topic>,
    /// The incarnation of its dead-letter topic, and what of it was redriven.
    pub redriven: ([u8; 16], Runs),
    partitions: Vec<Partition>,
    /// How far the topic reaches, while it is there.
    progress: Option<watch::Receiver<Progress>>,
    waiting: VecDeque<Waiter>,
    /// Whose turn it is.
    turn: usize,
    consumers: HashMap<String, i64>,
    skipped: u64,
}

struct Waiter {
    receive: Receive,
    reply: Reply<Given>,
}

impl Queue {
    /// Makes a queue whose topic is not there yet.
    pub fn new(name: TopicName, settings: Settings, redriven: ([u8; 16], Runs)) -> Self {
        Self {
            name,
            settings,
            topic: None,
            redriven,
            partitions: Vec::new(),
            progress: None,
            waiting: VecDeque::new(),
            turn: 0,
            consumers: HashMap::new(),
            skipped: 0,
        }
    }

    /// Follows its topic, if that is there, with the windows that were kept.
    pub fn attach(&mut self, desk: &mut Desk, windows: &mut BTreeMap<([u8; 16], u32), Share>) {
        let Some(topic) = desk.log.topic(&self.settings.topic) else { return };
        let Some(progress) = desk.log.watch(&topic.name) else { return };
        self.partitions.clear();
        let id = topic.id;
        self.topic = Some(topic);
        self.progressed(&progress, |number| windows.remove(&(id, number)));
        self.progress = Some(progress.clone());
        self.follow(desk, progress);
    }

    fn follow(&self, desk: &Desk, mut progress: watch::Receiver<Progress>) {
        let (name, id) = (self.name.clone(), self.settings.id);
        desk.start(async move {
            let is_there = progress.changed().await.is_ok();
            News::Watched(name, id, is_there.then_some(progress))
        });
    }

    /// Takes over how far the topic reaches; partitions that are new begin at their beginning.
    fn progressed(&mut self, progress: &watch::Receiver<Progress>, mut kept: impl FnMut(u32) -> Option<Share>) {
        let high_watermarks = progress.borrow().high_watermarks.clone();
        for (index, high_watermark) in high_watermarks.into_iter().enumerate() {
            if index == self.partitions.len() {
                let share = kept(index as u32).unwrap_or_else(|| Share::new(Offset(0), self.settings.ordered_by_key));
                self.partitions.push(Partition::new(index as u32, share));
            }
            self.partitions[index].high_watermark = high_watermark;
        }
    }

    /// Takes note that the topic moved on, or is gone.
    pub fn watched(&mut self, desk: &mut Desk, progress: Option<watch::Receiver<Progress>>, now: i64) {
        match progress {
            Some(mut progress) => {
                progress.mark_unchanged();
                self.progressed(&progress, |_| None);
                self.follow(desk, progress);
                self.serve(desk, now);
            }
            None => {
                tracing::warn!(queue = %self.name, topic = %self.settings.topic, "the queue's topic was deleted");
                self.close(desk);
                // It may have been created again already.
                self.attach(desk, &mut BTreeMap::new());
            }
        }
    }

    /// Lets go of the topic: who waits is told.
    pub fn close(&mut self, desk: &mut Desk) {
        (self.topic, self.progress) = (None, None);
        for mut partition in self.partitions.drain(..) {
            partition.close(desk);
        }
        for waiter in self.waiting.drain(..) {
            let _gone = waiter
                .reply
                .send(Err(QueueError::TopicDeleted { queue: self.name.clone(), topic: self.settings.topic.clone() }));
        }
    }

    /// Answers all who wait with what there is: nothing.
    pub fn dismiss(&mut self) {
        for waiter in self.waiting.drain(..) {
            let given = Given { of: [0; 8], topic: self.settings.topic.clone(), leased: Vec::new() };
            let _gone = waiter.reply.send(Ok(given));
        }
    }

    /// Gives the partition if this is still the topic's incarnation.
    pub fn partition(&mut self, topic: [u8; 16], number: u32) -> Option<(&mut Partition, Owner<'_>)> {
        if self.topic.as_ref().is_none_or(|now| now.id != topic) {
            return None;
        }
        let owner = Owner { queue: &self.name, settings: &self.settings, topic };
        self.partitions.get_mut(number as usize).map(|partition| (partition, owner))
    }

    fn each(&mut self) -> impl Iterator<Item = (&mut Partition, Owner<'_>)> {
        let topic = self.topic.as_ref().map_or([0; 16], |topic| topic.id);
        let owner = Owner { queue: &self.name, settings: &self.settings, topic };
        self.partitions.iter_mut().map(move |partition| (partition, owner))
    }

    fn receipts_of(&self) -> [u8; 8] {
        let mut of = [0; 8];
        of[..4].copy_from_slice(&self.settings.id.to_be_bytes()[4..]);
        of[4..].copy_from_slice(&self.topic.as_ref().map_or([0; 16], |topic| topic.id)[..4]);
        of
    }

    /// Lets someone wait for records, and gives them to him if there are any.
    pub fn receive(&mut self, desk: &mut Desk, receive: Receive, reply: Reply<Given>, now: i64) {
        if self.topic.is_none() {
            let (queue, topic) = (self.name.clone(), self.settings.topic.clone());
            return refuse(reply, QueueError::TopicDeleted { queue, topic });
        }
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.retain(|waiter| !waiter.reply.is_closed());
        }
        if self.waiting.len() >= WAITING_MAX {
            let error = QueueError::TooManyWaiting { queue: self.name.clone(), max: WAITING_MAX };
            return refuse(reply, error);
        }
        if self.consumers.len() < CONSUMERS_MAX || self.consumers.contains_key(&receive.consumer) {
            self.consumers.insert(receive.consumer.clone(), now);
        }
        self.waiting.push_back(Waiter { receive, reply });
        self.serve(desk, now);
        self.dismiss_late(now);
        self.wake(desk);
    }

    /// Gives records to those who wait for them, first come, first served.
    pub fn serve(&mut self, desk: &mut Desk, now: i64) {
        while let Some(waiter) = self.waiting.pop_front() {
            if waiter.reply.is_closed() {
                continue;
            }
            let leased = self.acquire(desk, &waiter.receive, now);
            if leased.is_empty() {
                self.waiting.push_front(waiter);
                break;
            }
            self.give(desk, waiter, leased);
        }
        for (partition, owner) in self.each() {
            partition.bury_dead(owner, desk);
        }
        if !self.waiting.is_empty() {
            // Whoever was told that a record is stored finds it, even if the news of it is still on its way here.
            if let Some(progress) = self.progress.clone() {
                self.progressed(&progress, |_| None);
            }
            self.each().for_each(|(partition, owner)| partition.look(owner, desk, now));
        }
    }

    /// Takes records for one receiver, beginning with the partition whose turn it is.
    fn acquire(&mut self, desk: &mut Desk, receive: &Receive, now: i64) -> Vec<Leased> {
        let until = now + receive.lease_ms.unwrap_or(self.settings.lease_ms) as i64;
        let (count, deliveries_max) = (self.partitions.len(), self.settings.max_deliveries);
        let (mut leased, mut bytes) = (Vec::new(), 0);
        for step in 0..count {
            let partition = &mut self.partitions[(self.turn + step) % count];
            while leased.len() < receive.max && (leased.is_empty() || bytes < receive.bytes_max) {
                let Some(delivery) = partition.share.acquire(until, deliveries_max) else { break };
                bytes += partition.bytes_of(delivery.offset);
                let json = partition.take_json(delivery.offset, desk);
                leased.push(Leased { partition: partition.number, delivery, until, json });
                partition.dirty = true;
            }
        }
        self.turn = (self.turn + 1) % count.max(1);
        if !leased.is_empty() {
            desk.wake_at(until);
        }
        leased
    }

    /// Lets the answer wait until the deliveries are durable.
    fn give(&mut self, desk: &mut Desk, waiter: Waiter, leased: Vec<Leased>) {
        let again = leased.iter().filter(|leased| leased.delivery.number > 1).count();
        metrics::queue_delivered(self.name.as_str(), leased.len() as u64, again as u64);
        let answer = desk.next_answer();
        let mut by_partition: BTreeMap<u32, Vec<Delivery>> = BTreeMap::new();
        for leased in &leased {
            by_partition.entry(leased.partition).or_default().push(leased.delivery);
        }
        let left = by_partition.len();
        for (number, deliveries) in by_partition {
            self.partitions[number as usize].given.push((answer, deliveries));
        }
        let given = Given { of: self.receipts_of(), topic: self.settings.topic.clone(), leased };
        desk.owe(answer, left, To::Receiver(waiter.reply, given));
    }

    /// Lets others have what a receiver who is gone did not take.
    pub fn release(&mut self, deliveries: Vec<(u32, Delivery)>) {
        for (number, delivery) in deliveries {
            if let Some(partition) = self.partitions.get_mut(number as usize) {
                partition.share.release(delivery);
            }
        }
    }

    /// Ends what is over at this time.
    pub fn expire(&mut self, desk: &mut Desk, now: i64) {
        let deliveries_max = self.settings.max_deliveries;
        let expired: u64 = self.partitions.iter_mut().map(|it| it.share.expire(now, deliveries_max)).sum();
        metrics::queue_expired(self.name.as_str(), expired);
        self.serve(desk, now);
        self.dismiss_late(now);
        self.wake(desk);
    }

    /// Answers those whose time is over with nothing, unless there may be something for them in a moment.
    pub fn dismiss_late(&mut self, now: i64) {
        if self.is_looking() {
            return;
        }
        let mut index = 0;
        while let Some(waiter) = self.waiting.get(index) {
            if waiter.receive.deadline > now {
                index += 1;
                continue;
            }
            if let Some(waiter) = self.waiting.remove(index) {
                let (of, topic) = (self.receipts_of(), self.settings.topic.clone());
                let _gone = waiter.reply.send(Ok(Given { of, topic, leased: Vec::new() }));
            }
        }
    }

    fn is_looking(&self) -> bool {
        self.partitions.iter().any(Partition::is_looking)
    }

    /// Looks after what nobody tells of: retention, a topic that is there again, consumers that went.
    pub fn keep_house(&mut self, desk: &mut Desk, now: i64) {
        if self.topic.is_none() {
            self.attach(desk, &mut BTreeMap::new());
        }
        let (log, mut gone) = (desk.log.clone(), 0);
        for (partition, owner) in self.each() {
            let of = TopicPartition { topic: owner.settings.topic.clone(), partition: PartitionId(partition.number) };
            if let Ok(offsets) = log.offsets(&of) {
                gone += partition.skip_before(offsets.log_start, owner, now);
            }
            partition.forget_finished(desk);
        }
        self.skipped += gone;
        self.consumers.retain(|_, seen| now - *seen < CONSUMER_MS);
    }

    /// Makes sure that the keeper wakes up for what comes next here.
    pub fn wake(&self, desk: &mut Desk) {
        let dues = self.partitions.iter().filter_map(|partition| partition.share.next_due());
        // Who waits for a look is answered at its end.
        let waiting = if self.is_looking() { None } else { Some(&self.waiting) };
        let deadlines = waiting.into_iter().flatten().map(|waiter| waiter.receive.deadline);
        if let Some(at) = dues.chain(deadlines).min() {
            desk.wake_at(at);
        }
    }

    /// Says that a record which was given away cannot be read.
    pub fn missing(&mut self, receipt: Receipt, now: i64) {
        let of = self.receipts_of();
        let mut gone = 0;
        for (partition, owner) in self.each().filter(|(it, _)| it.number == receipt.partition && receipt.of == of) {
            partition.share.release(receipt.delivery);
            gone += partition.missing(receipt.delivery.offset, owner, now);
        }
        self.skipped += gone;
    }

    /// Writes what changed.
    pub fn write(&mut self, desk: &mut Desk, now: i64) {
        self.each().for_each(|(partition, owner)| partition.write(owner, desk, now));
    }

    /// Shows how it stands.
    pub fn view(&self) -> View {
        let shown = |partition: &Partition| {
            let counts = partition.share.counts();
            QueuePartition {
                partition: partition.number,
                start_offset: partition.share.start().0,
                end_offset: partition.share.end().0,
                high_watermark: partition.high_watermark.0,
                ready: (counts.ready + counts.dying) as u64,
                leased: counts.leased as u64,
                delayed: counts.delayed as u64,
            }
        };
        View {
            name: self.name.clone(),
            settings: self.settings.clone(),
            is_open: self.topic.is_some(),
            partitions: self.partitions.iter().map(shown).collect(),
            consumers: self.consumers.len() as u64,
            skipped: self.skipped,
            redriven: self.redriven.1.clone(),
        }
    }
}
