//! Where a reader starts: turns what was asked for into a place in the topic.

use std::sync::Arc;

use skidway_record::{Offset, PartitionId, TopicName, TopicPartition};

use crate::log::{LogOffsets, LogReader, Topic};
use crate::read::fetch::Batches;
use crate::read::{Pieces, ReadError, Scope, Subscription, Token};

/// Says where to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartAt {
    /// At the first record kept.
    Earliest,
    /// After the last record there is.
    Latest,
    /// So many records before the last, in each partition.
    Last(u64),
    /// At the first record of this age or newer, in ms since 1970.
    Timestamp(i64),
    /// At this offset; the scope is one partition.
    Offset(Offset),
    /// Where an earlier reader stood.
    Token(String),
}

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
    pub async fn subscribe(&self, name: &TopicName, scope: Scope, start: &StartAt) -> Result<Subscription, ReadError> {
        let unknown = || ReadError::UnknownTopic(name.clone());
        let progress = self.log.watch(name).ok_or_else(unknown)?;
        let topic = progress.borrow().topic.clone();
        let place = match start {
            StartAt::Token(text) => self.resume(&topic, scope, text)?,
            start => self.place(&topic, scope, start).await?,
        };
        Ok(Subscription::new(self.log.clone(), self.batches.clone(), progress, place))
    }

    async fn place(&self, topic: &Topic, scope: Scope, start: &StartAt) -> Result<Token, ReadError> {
        let mut place = start_of(&*self.log, topic, scope)?;
        for index in 0..place.positions.len() {
            let of = TopicPartition { topic: topic.name.clone(), partition: place.partition(index) };
            place.positions[index] = self.position(of, start, &place).await?;
        }
        Ok(place)
    }

    /// Finds one partition's position; `earliest` is the place to tell about if it is not kept any more.
    async fn position(&self, of: TopicPartition, start: &StartAt, earliest: &Token) -> Result<Offset, ReadError> {
        let LogOffsets { log_start, high_watermark, .. } = self.log.offsets(&of)?;
        Ok(match start {
            StartAt::Earliest | StartAt::Token(_) => log_start,
            StartAt::Latest => high_watermark,
            StartAt::Last(count) => Offset(high_watermark.0.saturating_sub(*count)).max(log_start),
            StartAt::Timestamp(ms) => self.log.offset_at(of, *ms).await?.unwrap_or(high_watermark),
            StartAt::Offset(at) if *at > high_watermark => {
                return Err(ReadError::PastEnd { partition: of, at: *at, high_watermark });
            }
            StartAt::Offset(at) if *at < log_start => return Err(gone_below(&of, *at, log_start, earliest)),
            StartAt::Offset(at) => *at,
        })
    }

    /// Goes on where a token stands. Partitions newer than the token start at their beginning.
    fn resume(&self, topic: &Topic, scope: Scope, text: &str) -> Result<Token, ReadError> {
        let token = Token::decode(text).ok_or_else(|| {
            ReadError::BadToken("it is neither a token, earliest, latest, -N nor an RFC 3339 time".into())
        })?;
        let gone = |reason: String| ReadError::Gone { reason, earliest: earliest(&*self.log, &topic.name, scope) };
        if token.topic != topic.id {
            return Err(gone(format!("the token is of another topic than the {} there is now", topic.name)));
        }
        if token.log_epoch != self.log.identity().epoch {
            return Err(gone("the log was restored since the token was made".into()));
        }
        if !matches!(token.scope, Scope::All) && token.scope != scope {
            return Err(ReadError::BadToken(
                "the token is of a subscription to one partition, and not to this one".into(),
            ));
        }
        let mut place = start_of(&*self.log, topic, scope)?;
        place.turn = token.turn % place.positions.len() as u32;
        let mut deleted = None;
        for index in 0..place.positions.len() {
            let partition = place.partition(index);
            let Some(at) = token.index(partition).map(|index| token.positions[index]) else { continue };
            let of = TopicPartition { topic: topic.name.clone(), partition };
            let high_watermark = self.log.offsets(&of)?.high_watermark;
            let log_start = place.positions[index];
            if at > high_watermark {
                return Err(gone(format!(
                    "the token stands past the end of {of}: the log is not the one it was made of"
                )));
            }
            if at < log_start {
                deleted = deleted.or(Some((of, at, log_start)));
            }
            place.positions[index] = at.max(log_start);
        }
        match deleted {
            None => Ok(place),
            Some((of, at, log_start)) => Err(gone_below(&of, at, log_start, &place)),
        }
    }
}

/// Says that records were deleted before they were read; `kept` is the place with those passed over.
fn gone_below(of: &TopicPartition, at: Offset, log_start: Offset, kept: &Token) -> ReadError {
    let reason = format!("offset {at} of {of} was deleted; the log starts at {log_start}");
    ReadError::Gone { reason, earliest: Some(kept.encode()) }
}

/// Says the same of a reader that retention overtook.
pub(super) fn overtaken(log: &dyn LogReader, of: &TopicPartition, place: &Token) -> ReadError {
    let mut kept = place.clone();
    let (mut at, mut start) = (Offset(0), Offset(0));
    for (index, position) in kept.positions.iter_mut().enumerate() {
        let partition = place.partition(index);
        let Ok(offsets) = log.offsets(&TopicPartition { topic: of.topic.clone(), partition }) else { continue };
        if partition == of.partition {
            (at, start) = (*position, offsets.log_start);
        }
        *position = (*position).max(offsets.log_start);
    }
    gone_below(of, at, start, &kept)
}

/// Gives a token at the first record kept of each partition; `None` if there is no such topic or partition.
pub(super) fn earliest(log: &dyn LogReader, name: &TopicName, scope: Scope) -> Option<String> {
    start_of(log, &log.topic(name)?, scope).ok().map(|token| token.encode())
}

fn start_of(log: &dyn LogReader, topic: &Topic, scope: Scope) -> Result<Token, ReadError> {
    let partitions = topic.config.partitions;
    let read = match scope {
        Scope::All => 0..partitions,
        Scope::One(PartitionId(only)) if only < partitions => only..only + 1,
        Scope::One(partition) => {
            return Err(ReadError::UnknownPartition { topic: topic.name.clone(), partitions, partition });
        }
    };
    let mut positions = Vec::with_capacity(read.len());
    for partition in read {
        positions.push(log.offsets(&TopicPartition::new(topic.name.clone(), partition))?.log_start);
    }
    Ok(Token { topic: topic.id, log_epoch: log.identity().epoch, scope, turn: 0, positions })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use futures::FutureExt;
    use futures::future::join_all;
    use skidway_record::{Batch, BatchBuilder, Compressor, EncodedHeaders, LogId};
    use tokio::sync::watch;

    use super::*;
    use crate::log::{Answer, LogError, LogIdentity, Progress, TopicConfig};

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
            let config = TopicConfig { partitions: 1, retention_age_ms: None, retention_bytes: None };
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
        reader.subscribe(&name(), Scope::All, &start).await
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
                reader.advance(got.of.partition, got.end());
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
        (place.log_epoch, place.positions[0]) = (2, Offset(3));
        earliest_of(subscribe(&reader, StartAt::Token(place.encode())).await);
        place.positions[0] = Offset(2);
        assert!(subscribe(&reader, StartAt::Token(place.encode())).await.is_ok());
    }
}
