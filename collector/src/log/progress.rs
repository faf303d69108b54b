//! How news of the log travels: high watermarks to whoever watches a topic, outcomes to whoever waits for one.
//!
//! Holds no records. Nobody polls: readers sleep until a watermark moves.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::{Context, Poll};

use skidway_record::{Offset, TopicName, TopicPartition};
use tokio::sync::{oneshot, watch};

use crate::log::{LogError, Topic};

/// Tells how far each partition of one topic may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The topic as it is now; its id never changes while it is watched.
    pub topic: Topic,
    /// High watermarks by partition; grows when the topic gets partitions.
    pub high_watermarks: Vec<Offset>,
}

/// Keeps one watch channel a topic.
#[derive(Debug)]
pub struct ProgressBoard {
    /// Sent last: a topic that is listed can be followed.
    list: watch::Sender<Arc<[Topic]>>,
    topics: RwLock<HashMap<TopicName, watch::Sender<Progress>>>,
}

impl Default for ProgressBoard {
    fn default() -> Self {
        Self { list: watch::Sender::new(Arc::new([])), topics: RwLock::default() }
    }
}

impl ProgressBoard {
    /// Follows a topic; `None` if there is no such topic.
    pub fn watch(&self, topic: &TopicName) -> Option<watch::Receiver<Progress>> {
        self.read().get(topic).map(watch::Sender::subscribe)
    }

    /// Follows the list of all topics.
    pub fn watch_topics(&self) -> watch::Receiver<Arc<[Topic]>> {
        self.list.subscribe()
    }

    /// Takes over the list of all topics: new ones start to be followed, gone and recreated ones end for their followers.
    pub fn set_topics(&self, topics: &[Topic]) {
        let mut followed = self.write();
        let mut before = std::mem::take(&mut *followed);
        for topic in topics {
            let kept = before.remove(&topic.name).filter(|sender| sender.borrow().topic.id == topic.id);
            let sender = kept
                .unwrap_or_else(|| watch::Sender::new(Progress { topic: topic.clone(), high_watermarks: Vec::new() }));
            let changed = *topic != sender.borrow().topic;
            if changed || sender.borrow().high_watermarks.is_empty() {
                sender.send_modify(|progress| {
                    progress.topic = topic.clone();
                    progress.high_watermarks.resize(topic.config.partitions as usize, Offset(0));
                });
            }
            followed.insert(topic.name.clone(), sender);
        }
        drop(followed);
        self.list.send_replace(topics.into());
    }

    /// Moves high watermarks and wakes those who follow them, once for each run of one topic.
    pub fn advance(&self, advanced: &[(TopicPartition, Offset)]) {
        let followed = self.read();
        for run in advanced.chunk_by(|(one, _), (other, _)| one.topic == other.topic) {
            let Some(sender) = run.first().and_then(|(of, _)| followed.get(&of.topic)) else { continue };
            sender.send_modify(|progress| {
                for (of, high_watermark) in run {
                    if let Some(known) = progress.high_watermarks.get_mut(of.partition.0 as usize) {
                        *known = (*known).max(*high_watermark);
                    }
                }
            });
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<TopicName, watch::Sender<Progress>>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<TopicName, watch::Sender<Progress>>> {
        self.topics.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the outcome of what was submitted.
#[derive(Debug)]
pub struct Pending<T>(oneshot::Receiver<Result<T, LogError>>);

impl<T> Pending<T> {
    /// Makes an outcome and the place to put it.
    pub fn new() -> (oneshot::Sender<Result<T, LogError>>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, LogError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // The sequencer answers everything it took; it drops an answer only when it ends.
        Pin::new(&mut self.0).poll(context).map(|outcome| outcome.unwrap_or(Err(LogError::Closing)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::TopicConfig;

    fn topic(id: u8, partitions: u32) -> Topic {
        let config = TopicConfig { partitions, ..TopicConfig::default() };
        Topic { id: [id; 16], name: TopicName::new("t").unwrap(), config }
    }

    fn at(partition: u32, offset: u64) -> (TopicPartition, Offset) {
        (TopicPartition::new(TopicName::new("t").unwrap(), partition), Offset(offset))
    }

    #[test]
    fn followers_see_watermarks_and_new_partitions_move() {
        let board = ProgressBoard::default();
        board.set_topics(&[topic(1, 2)]);
        let mut follower = board.watch(&topic(1, 2).name).unwrap();
        board.advance(&[at(0, 5), at(1, 7), at(9, 1)]);
        assert!(follower.has_changed().unwrap());
        assert_eq!(follower.borrow_and_update().high_watermarks, [Offset(5), Offset(7)]);

        board.set_topics(&[topic(1, 2)]);
        assert!(!follower.has_changed().unwrap());
        board.set_topics(&[topic(1, 3)]);
        assert_eq!(follower.borrow_and_update().high_watermarks, [Offset(5), Offset(7), Offset(0)]);
    }

    #[test]
    fn a_recreated_topic_ends_for_those_who_followed_the_old_one() {
        let board = ProgressBoard::default();
        board.set_topics(&[topic(1, 1)]);
        let old = board.watch(&topic(1, 1).name).unwrap();
        board.set_topics(&[topic(2, 1)]);
        assert!(old.has_changed().is_err());
        assert!(board.watch(&topic(2, 1).name).is_some());
        board.set_topics(&[]);
        assert!(board.watch(&topic(2, 1).name).is_none());
    }
}
