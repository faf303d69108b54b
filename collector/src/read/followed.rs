//! The topics of one subscription: which of them may have something to read, in fair turns.
//!
//! Sleeps on the topics' watch channels without a task of its own. Holds no records and no offsets of the reader's.

use std::collections::{HashMap, VecDeque};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::watch;

use crate::log::Progress;
use crate::read::token::TopicId;

/// After so many turns news are looked for though nobody slept yet: short pages need none.
const TURNS_UNARMED_MAX: u32 = 64;

/// A topic's news: which, and the channel to wait for the next of.
type News = BoxFuture<'static, (TopicId, watch::Receiver<Progress>, bool)>;

/// Follows topics. Those that may have something to read stand in a queue; their indices are those of the reader's place.
#[derive(Default)]
pub(super) struct Followed {
    topics: Vec<FollowedTopic>,
    /// Finds the topics of more than one.
    indices: HashMap<TopicId, usize>,
    ready: VecDeque<TopicId>,
    news: FuturesUnordered<News>,
    is_armed: bool,
    turns_unarmed: u32,
}

struct FollowedTopic {
    id: TopicId,
    progress: watch::Receiver<Progress>,
    is_ready: bool,
}

impl Followed {
    /// Begins to follow one more topic, which may have something to read.
    pub(super) fn push(&mut self, progress: watch::Receiver<Progress>) {
        let id = progress.borrow().topic.id;
        if self.is_armed {
            self.news.push(news(id, progress.clone()));
        }
        self.indices.insert(id, self.topics.len());
        self.topics.push(FollowedTopic { id, progress, is_ready: true });
        self.ready.push_back(id);
    }

    /// Follows a topic no longer. Its last news are nobody's.
    pub(super) fn remove(&mut self, index: usize) {
        let removed = self.topics.remove(index);
        self.ready.retain(|id| *id != removed.id);
        self.indices = self.topics.iter().enumerate().map(|(index, topic)| (topic.id, index)).collect();
    }

    /// Lets this topic be looked at first, and those after it in their order.
    pub(super) fn begin_with(&mut self, index: usize) {
        if self.ready.len() == self.topics.len() && index < self.topics.len() {
            self.ready.rotate_left(index);
        }
    }

    /// Finds a topic.
    pub(super) fn index(&self, id: &TopicId) -> Option<usize> {
        match self.topics.as_slice() {
            [only] => (only.id == *id).then_some(0),
            _ => self.indices.get(id).copied(),
        }
    }

    /// Gives the channel of a topic.
    pub(super) fn progress(&mut self, index: usize) -> &mut watch::Receiver<Progress> {
        &mut self.topics[index].progress
    }

    /// Gives the channels of all topics.
    pub(super) fn all(&self) -> impl Iterator<Item = &watch::Receiver<Progress>> {
        self.topics.iter().map(|topic| &topic.progress)
    }

    /// Tells which topic to look at next; `None` if none has anything to read.
    pub(super) fn first(&mut self) -> Option<usize> {
        if let [only] = self.topics.as_slice() {
            if only.progress.has_changed().unwrap_or(true) {
                self.make_ready(0);
            }
        } else {
            self.take_news();
        }
        let id = self.ready.front()?;
        self.index(id)
    }

    /// Lets others go before the topic that was looked at.
    pub(super) fn rotate(&mut self) {
        if self.ready.len() > 1 {
            self.ready.rotate_left(1);
        }
    }

    /// Says that a topic has nothing to read until there are news of it.
    pub(super) fn is_at_head(&mut self, index: usize) {
        let topic = &mut self.topics[index];
        topic.is_ready = false;
        if self.ready.front() == Some(&topic.id) {
            self.ready.pop_front();
        }
    }

    /// Waits for news of any topic; for ever if there are none.
    pub(super) async fn changed(&mut self) {
        if let [only] = self.topics.as_mut_slice() {
            let _gone_is_news_too = only.progress.changed().await;
            return self.make_ready(0);
        }
        self.arm();
        match self.news.next().await {
            Some(news) => self.take(news),
            None => std::future::pending().await,
        }
    }

    /// Takes what came while nobody slept, so that a topic with much to read keeps no other waiting.
    fn take_news(&mut self) {
        self.turns_unarmed += u32::from(!self.is_armed);
        if self.turns_unarmed == TURNS_UNARMED_MAX {
            self.arm();
        }
        while let Some(Some(news)) = self.news.next().now_or_never() {
            self.take(news);
        }
    }

    fn take(&mut self, (id, progress, is_there): (TopicId, watch::Receiver<Progress>, bool)) {
        let Some(index) = self.index(&id) else { return };
        if is_there {
            self.news.push(news(id, progress));
        }
        self.make_ready(index);
    }

    fn make_ready(&mut self, index: usize) {
        let topic = &mut self.topics[index];
        if !std::mem::replace(&mut topic.is_ready, true) {
            self.ready.push_back(topic.id);
        }
    }

    /// Begins to listen on all channels, from what each was seen to hold.
    fn arm(&mut self) {
        if !std::mem::replace(&mut self.is_armed, true) {
            self.news = self.topics.iter().map(|topic| news(topic.id, topic.progress.clone())).collect();
        }
    }
}

/// Waits for a topic's next news; false if there will be none because it is gone.
fn news(id: TopicId, mut progress: watch::Receiver<Progress>) -> News {
    async move {
        let is_there = progress.changed().await.is_ok();
        (id, progress, is_there)
    }
    .boxed()
}
