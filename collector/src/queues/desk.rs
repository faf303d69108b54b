//! The keeper's desk: work under way, answers that wait for writes, the time of the next wake-up. Knows no queue.

use std::collections::HashMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use skidway_record::{Batch, TopicName};
use skidway_wire::queues::SettleResult;
use tokio::sync::watch;

use super::QueueError;
use super::ask::{Given, Reply, View};
use super::records::Seen;
use super::runs::Runs;
use super::settings::Settings;
use super::share::{Dead, Delivery};
use crate::log::{Log, LogError, Progress, StateTopic, Target};

/// Names a window: a queue's, over one partition of one incarnation of its topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The queue.
    pub queue: TopicName,
    /// Its id.
    pub id: u64,
    /// The topic's id.
    pub topic: [u8; 16],
    /// The partition.
    pub partition: u32,
}

/// Is work that is over.
pub enum News {
    /// A queue's settings are durable, or not; who asked is told.
    Put(TopicName, Result<Settings, QueueError>, Reply<(bool, View)>),
    /// A queue is forgotten, or not.
    Deleted(TopicName, Result<(), LogError>, Reply<()>),
    /// A topic's high watermarks moved, or it is gone.
    Watched(TopicName, u64, Option<watch::Receiver<Progress>>),
    /// Records were looked at.
    Seen(Place, Result<Seen, LogError>),
    /// A dead letter is ready to be written; `None` if its record cannot be had.
    Letter(Place, Dead, Result<Option<Batch>, LogError>),
    /// A window was written, or not.
    Wrote(Place, Taken, Result<(), LogError>),
    /// Dead letters were brought back.
    Redriven(Box<Back>),
    /// Nobody has to know.
    Tidied,
}

/// Is a redrive that is over.
pub struct Back {
    /// The queue.
    pub queue: TopicName,
    /// Its id.
    pub id: u64,
    /// The dead-letter topic's id.
    pub dead: [u8; 16],
    /// What of it was redriven.
    pub runs: Runs,
    /// Who asked.
    pub reply: Reply<u64>,
    /// How many, or what went wrong.
    pub outcome: Result<u64, QueueError>,
}

/// Is what one write of a window carries, for those who wait for it.
#[derive(Debug, Default)]
pub struct Taken {
    /// Batches written with it, to be written again if it fails.
    pub batches: Vec<(Target, Batch)>,
    /// Answers that wait for it.
    pub needs: Vec<u64>,
    /// Deliveries that are in it for the first time, by the answers that give them.
    pub given: Vec<(u64, Vec<Delivery>)>,
}

/// Is an answer that waits for writes.
struct Waiting {
    left: usize,
    failed: Option<LogError>,
    to: To,
}

/// Says whom an answer is for.
pub enum To {
    /// Who receives.
    Receiver(Reply<Given>, Given),
    /// Who settles.
    Settler(Reply<Vec<SettleResult>>, Vec<SettleResult>),
}

/// Holds what the keeper works with.
pub struct Desk {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The topic of queues.
    pub state: Arc<StateTopic>,
    /// Work under way.
    pub work: FuturesUnordered<BoxFuture<'static, News>>,
    /// When there is something to do even if nothing comes, in ms since 1970.
    pub wake: i64,
    /// JSON that is held for receivers, in bytes.
    pub json_bytes: usize,
    waiting: HashMap<u64, Waiting>,
    next: u64,
}

impl Desk {
    /// Sets up an empty desk.
    pub fn new(log: Arc<dyn Log>, state: Arc<StateTopic>) -> Self {
        let work = FuturesUnordered::new();
        Self { log, state, work, wake: 0, json_bytes: 0, waiting: HashMap::new(), next: 0 }
    }

    /// Lets work run.
    pub fn start(&self, work: impl Future<Output = News> + Send + 'static) {
        self.work.push(work.boxed());
    }

    /// Makes sure to wake up then.
    pub fn wake_at(&mut self, at: i64) {
        self.wake = self.wake.min(at);
    }

    /// Gives the name of the next answer.
    pub fn next_answer(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Tells whether no answer waits.
    pub fn owes_nothing(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Keeps an answer until so many writes are durable. Gives what a receiver who is gone did not take.
    pub fn owe(&mut self, answer: u64, left: usize, to: To) -> Vec<(u32, Delivery)> {
        let waiting = Waiting { left, failed: None, to };
        if left == 0 {
            return waiting.send();
        }
        self.waiting.insert(answer, waiting);
        Vec::new()
    }

    /// Says that a write which an answer waits for is durable, or failed. Gives what a receiver who is gone did not take.
    pub fn settled(&mut self, answer: u64, outcome: &Result<(), LogError>) -> Vec<(u32, Delivery)> {
        let Some(waiting) = self.waiting.get_mut(&answer) else { return Vec::new() };
        waiting.left -= 1;
        if let Err(error) = outcome {
            waiting.failed = Some(error.clone());
        }
        match waiting.left {
            0 => self.waiting.remove(&answer).map(Waiting::send).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// Takes deliveries of one partition out of an answer: their numbers are not durable.
    pub fn withdraw(&mut self, answer: u64, partition: u32) {
        if let Some(Waiting { to: To::Receiver(_, given), .. }) = self.waiting.get_mut(&answer) {
            given.leased.retain(|leased| leased.partition != partition);
        }
    }
}

impl Waiting {
    fn send(self) -> Vec<(u32, Delivery)> {
        match (self.to, self.failed) {
            (To::Receiver(reply, given), Some(error)) if given.leased.is_empty() => _ = reply.send(Err(error.into())),
            (To::Receiver(reply, given), _) => {
                if let Err(Ok(given)) = reply.send(Ok(given)) {
                    return given.leased.iter().map(|leased| (leased.partition, leased.delivery)).collect();
                }
            }
            // Some of them may be durable: asking again tells.
            (To::Settler(reply, _), Some(error)) => _ = reply.send(Err(error.into())),
            (To::Settler(reply, results), None) => _ = reply.send(Ok(results)),
        }
        Vec::new()
    }
}
