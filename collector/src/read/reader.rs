//! Opens subscriptions: to one topic, to many, to what a consumer group assigns.

use std::sync::Arc;

use skidway_record::TopicName;

use crate::log::{LogReader, Topic};
use crate::read::fetch::Batches;
use crate::read::start::{StartAt, place_of_many, place_of_one};
use crate::read::subscription::check_bounds;
use crate::read::{Pieces, ReadError, Scope, Selection, Subscription, Token};

/// Opens subscriptions.
pub struct Reader {
    log: Arc<dyn LogReader>,
    batches: Arc<Batches>,
    pieces: Arc<Pieces>,
}

impl Reader {
    /// Reads this log, with at most `cache_bytes` of records kept for all readers: half of it decoded, half rendered.
    pub fn new(log: Arc<dyn LogReader>, cache_bytes: usize) -> Self {
        let pieces = Arc::new(Pieces::new(cache_bytes / 2));
        Self { batches: Arc::new(Batches::new(log.clone(), cache_bytes / 2)), pieces, log }
    }

    /// Gives the records that are kept rendered.
    pub fn pieces(&self) -> &Arc<Pieces> {
        &self.pieces
    }

    /// Finds the place and starts to watch the topic from there.
    ///
    /// # Errors
    /// [`ReadError`]: no such topic or partition, a token that is not valid or not any more, an offset out of range.
    pub async fn subscribe(&self, name: &TopicName, scope: &Scope, start: &StartAt) -> Result<Subscription, ReadError> {
        let unknown = || ReadError::UnknownTopic(name.clone());
        let progress = self.log.watch(name).ok_or_else(unknown)?;
        let topic = progress.borrow().topic.clone();
        let place = place_of_one(&*self.log, &topic, scope, start).await?;
        Ok(Subscription::new((self.log.clone(), self.batches.clone()), place, vec![progress]))
    }

    /// Reads all topics of a selection, those to come too. None at all may be there yet, unless they are named outright.
    ///
    /// # Errors
    /// As [`Reader::subscribe`]; [`ReadError::TooMany`].
    pub async fn subscribe_many(&self, selection: Selection, start: &StartAt) -> Result<Subscription, ReadError> {
        let mut list = self.log.watch_topics();
        let all = list.borrow_and_update().clone();
        if let Some(name) = selection.names().iter().find(|name| !all.iter().any(|topic| topic.name == **name)) {
            return Err(ReadError::UnknownTopic(name.clone()));
        }
        let selected = all.iter().filter(|topic| selection.selects(&topic.name));
        let (topics, progress): (Vec<Topic>, Vec<_>) = selected
            .filter_map(|topic| self.log.watch(&topic.name))
            .map(|progress| {
                let topic = progress.borrow().topic.clone();
                (topic, progress)
            })
            .unzip();
        check_bounds(topics.len(), topics.iter().map(|topic| topic.config.partitions as usize).sum())?;
        let (place, departed) = place_of_many(&*self.log, &topics, start).await?;
        let subscription = Subscription::new((self.log.clone(), self.batches.clone()), place, progress);
        Ok(subscription.joined_by(selection, list).without(departed))
    }

    /// Reads nothing until [`Subscription::assign`] says what.
    pub fn assignable(&self) -> Subscription {
        let place =
            Token { log_epoch: self.log.identity().epoch, is_many: true, turn: 0, topics: Vec::new(), stamp: None };
        Subscription::new((self.log.clone(), self.batches.clone()), place, Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use futures::FutureExt;
    use futures::future::join_all;
    use skidway_record::{Batch, BatchBuilder, Compressor, EncodedHeaders, LogId, Offset, TopicPartition};
    use tokio::sync::watch;

    use super::*;
    use crate::log::{Answer, LogError, LogIdentity, LogOffsets, Progress, TopicConfig};

    /// Is a log of one partition whose batches hold two records each.
    struct Shelf {
        epoch: AtomicU64,
        log_start: AtomicU64,
        fetches: AtomicU64,
        batches: Vec<Batch>,
        progress: watch::Sender<Progress>,
    }

    impl Shelf {
        fn new(batches: u64) -> Arc<Self> {
            let config = TopicConfig { partitions: 1, ..TopicConfig::default() };
            let topic = Topic { id: [1; 16], name: name(), config };
            let high_watermarks = vec![Offset(2 * batches)];
            Arc::new(Self {
                epoch: AtomicU64::new(1),
                log_start: AtomicU64::new(0),
                fetches: AtomicU64::new(0),
                batches: (0..batches).map(|index| batch(2 * index)).collect(),
                progress: watch::Sender::new(Progress { topic, high_watermarks }),
            })
        }

        fn reader(self: &Arc<Self>) -> Reader {
            Reader::new(self.clone(), 1 << 20)
        }
    }

    impl LogReader for Shelf {
        fn identity(&self) -> LogIdentity {
            LogIdentity { id: LogId([0; 16]), epoch: self.epoch.load(Relaxed) }
        }

        fn topics(&self) -> Vec<Topic> {
            vec![self.progress.borrow().topic.clone()]
        }

        fn topic(&self, _name: &TopicName) -> Option<Topic> {
            self.topics().pop()
        }

        fn offsets(&self, _of: &TopicPartition) -> Result<LogOffsets, LogError> {
            let high_watermark = self.progress.borrow().high_watermarks[0];
            Ok(LogOffsets { log_start: Offset(self.log_start.load(Relaxed)), high_watermark, bytes: 0 })
        }

        fn watch(&self, _topic: &TopicName) -> Option<watch::Receiver<Progress>> {
            Some(self.progress.subscribe())
        }

        fn watch_topics(&self) -> watch::Receiver<Arc<[Topic]>> {
            watch::Sender::new(self.topics().into()).subscribe()
        }

        fn fetch(&self, from: TopicPartition, at: Offset, _bytes_max: usize) -> Answer<'_, Vec<Batch>> {
            self.fetches.fetch_add(1, Relaxed);
            let offsets = self.offsets(&from).unwrap();
            let read = move || match at < offsets.log_start {
                true => Err(LogError::OutOfRange { at, offsets }),
                false => Ok(self.batches.iter().filter(|batch| batch.next_offset() > at).cloned().collect()),
            };
            async move { read() }.boxed()
        }

        fn offset_at(&self, _of: TopicPartition, _timestamp_ms: i64) -> Answer<'_, Option<Offset>> {
            async { Ok(None) }.boxed()
        }
    }

    fn name() -> TopicName {
        TopicName::new("t").unwrap()
    }

    fn batch(base: u64) -> Batch {
        let mut builder = BatchBuilder::new();
        for _ in 0..2 {
            builder.push(0, None, Some(b"x"), &EncodedHeaders::none());
        }
        builder.finish(&mut Compressor::new(1).unwrap()).unwrap().with_base_offset(Offset(base))
    }

    async fn subscribe(reader: &Reader, start: StartAt) -> Result<Subscription, ReadError> {
        reader.subscribe(&name(), &Scope::All, &start).await
    }

    /// Gives the token that a reader is sent away with.
    #[track_caller]
    fn earliest_of<T>(outcome: Result<T, ReadError>) -> String {
        match outcome {
            Err(ReadError::Gone { earliest: Some(token), .. }) => token,
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("there was something to read"),
        }
    }

    #[tokio::test]
    async fn many_readers_of_one_place_share_one_read() {
        let shelf = Shelf::new(3);
        let reader = shelf.reader();
        let mut readers = Vec::new();
        for _ in 0..50 {
            readers.push(subscribe(&reader, StartAt::Earliest).await.unwrap());
        }
        for turn in 0..3 {
            let turns = join_all(readers.iter_mut().map(Subscription::next)).await;
            for (reader, got) in readers.iter_mut().zip(turns) {
                let got = got.unwrap().unwrap();
                assert_eq!((got.from, got.end()), (Offset(2 * turn), Offset(2 * turn + 2)));
                reader.advance(got.shard, got.end());
            }
        }
        assert_eq!(shelf.fetches.load(Relaxed), 1);
        assert!(readers[0].next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_reader_that_retention_overtook_is_told_where_to_go_on() {
        let shelf = Shelf::new(3);
        let reader = shelf.reader();
        let mut slow = subscribe(&reader, StartAt::Earliest).await.unwrap();
        let token = slow.place().encode();
        shelf.log_start.store(4, Relaxed);
        let from_stream = earliest_of(slow.next().await);
        assert_eq!(from_stream, earliest_of(subscribe(&reader, StartAt::Token(token)).await));
        let mut again = subscribe(&reader, StartAt::Token(from_stream)).await.unwrap();
        assert_eq!(again.next().await.unwrap().unwrap().from, Offset(4));
    }

    #[tokio::test]
    async fn a_token_of_another_epoch_or_of_records_never_written_is_gone() {
        let shelf = Shelf::new(1);
        let reader = shelf.reader();
        let mut place = subscribe(&reader, StartAt::Latest).await.unwrap().place().clone();
        shelf.epoch.store(2, Relaxed);
        earliest_of(subscribe(&reader, StartAt::Token(place.encode())).await);
        (place.log_epoch, place.topics[0].positions[0]) = (2, Offset(3));
        earliest_of(subscribe(&reader, StartAt::Token(place.encode())).await);
        place.topics[0].positions[0] = Offset(2);
        assert!(subscribe(&reader, StartAt::Token(place.encode())).await.is_ok());
    }
}
