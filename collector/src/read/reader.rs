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
    use std::sync::atomic::Ordering::Relaxed;

    use futures::future::join_all;
    use skidway_record::{Offset, PartitionId, TopicPartition};

    use super::*;
    use crate::read::shelf::{Shelf, name};
    use crate::read::{Assigned, Departed};

    fn reader(shelf: &Arc<Shelf>) -> Reader {
        Reader::new(shelf.clone(), 1 << 20)
    }

    async fn subscribe(reader: &Reader, start: StartAt) -> Result<Subscription, ReadError> {
        reader.subscribe(&name("t"), &Scope::All, &start).await
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
        let shelf = Shelf::new(&["t"], 3);
        let reader = reader(&shelf);
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
        let shelf = Shelf::new(&["t"], 3);
        let reader = reader(&shelf);
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
        let shelf = Shelf::new(&["t"], 1);
        let reader = reader(&shelf);
        let mut place = subscribe(&reader, StartAt::Latest).await.unwrap().place().clone();
        shelf.epoch.store(2, Relaxed);
        earliest_of(subscribe(&reader, StartAt::Token(place.encode())).await);
        (place.log_epoch, place.topics[0].positions[0]) = (2, Offset(3));
        earliest_of(subscribe(&reader, StartAt::Token(place.encode())).await);
        place.topics[0].positions[0] = Offset(2);
        assert!(subscribe(&reader, StartAt::Token(place.encode())).await.is_ok());
    }

    fn assigned(shelf: &Shelf, topic: &str, next: u64) -> Assigned {
        let topic = shelf.topic(&name(topic)).unwrap();
        Assigned { topic: topic.id, of: TopicPartition::new(topic.name, 0), next: Offset(next) }
    }

    /// Reads to the head: topics and first offsets of the turns.
    async fn read(subscription: &mut Subscription) -> Vec<(String, u64)> {
        let mut turns = Vec::new();
        while let Some(turn) = subscription.next().await.unwrap() {
            turns.push((turn.of.topic.to_string(), turn.from.0));
            subscription.advance(turn.shard, turn.end());
        }
        turns
    }

    fn turns(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
        expected.iter().map(|(topic, from)| ((*topic).to_owned(), *from)).collect()
    }

    #[tokio::test]
    async fn what_is_assigned_is_read_in_turns_and_can_be_replaced() {
        let shelf = Shelf::new(&["a", "b", "c"], 2);
        let mut member = reader(&shelf).assignable();
        assert_eq!(read(&mut member).await, []);
        member.assign([assigned(&shelf, "b", 2), assigned(&shelf, "a", 0)]).unwrap();
        assert_eq!(read(&mut member).await, turns(&[("a", 0), ("b", 2), ("a", 2)]));
        let places: Vec<_> = member.place().topics.iter().map(|place| place.positions.clone()).collect();
        assert_eq!(places, [[Offset(4)], [Offset(4)]]);
        member.assign([assigned(&shelf, "a", 3), assigned(&shelf, "c", 2)]).unwrap();
        assert_eq!(read(&mut member).await, turns(&[("a", 3), ("c", 2)]));
        member.assign([]).unwrap();
        assert_eq!(read(&mut member).await, []);
    }

    #[tokio::test]
    async fn news_of_any_assigned_topic_wake_its_member() {
        let shelf = Shelf::new(&["a", "b", "c"], 2);
        let mut member = reader(&shelf).assignable();
        member.assign(["a", "b"].map(|topic| assigned(&shelf, topic, 4))).unwrap();
        assert_eq!(read(&mut member).await, []);
        for (topic, from) in [("b", 4), ("a", 4), ("b", 6)] {
            shelf.append(topic);
            member.changed().await.unwrap();
            assert_eq!(read(&mut member).await, turns(&[(topic, from)]));
        }
    }

    #[tokio::test]
    async fn a_deleted_topic_leaves_and_another_of_its_name_is_not_read() {
        let shelf = Shelf::new(&["a", "b"], 1);
        let mut member = reader(&shelf).assignable();
        let both = ["a", "b"].map(|topic| assigned(&shelf, topic, 0));
        member.assign(both.clone()).unwrap();
        shelf.delete("a");
        member.changed().await.unwrap();
        assert_eq!(read(&mut member).await, turns(&[("b", 0)]));
        assert_eq!(member.take_departed(), [Departed::deleted(name("a"))]);
        shelf.create("a");
        member.assign(both).unwrap();
        assert_eq!(read(&mut member).await, turns(&[("b", 0)]));
        assert_eq!(member.take_departed(), [Departed::deleted(name("a"))]);
    }

    #[tokio::test]
    async fn records_deleted_before_they_were_read_can_be_passed_over() {
        let shelf = Shelf::new(&["a", "b"], 3);
        let mut member = reader(&shelf).assignable();
        member.assign(["a", "b"].map(|topic| assigned(&shelf, topic, 0))).unwrap();
        shelf.log_start.store(4, Relaxed);
        assert!(matches!(member.next().await, Err(ReadError::Gone { .. })));
        let passed = ["a", "b"].map(|topic| (TopicPartition::new(name(topic), 0), Offset(0)..Offset(4)));
        assert_eq!(member.pass_over_deleted(), passed);
        assert_eq!(read(&mut member).await, turns(&[("a", 4), ("b", 4)]));
    }

    #[tokio::test]
    async fn topics_that_come_to_match_join_and_too_many_are_refused() {
        let shelf = Shelf::new(&["app-1", "x"], 1);
        let all = Selection::parse("app-*").unwrap();
        let mut reading = reader(&shelf).subscribe_many(all, &StartAt::Latest).await.unwrap();
        assert_eq!(read(&mut reading).await, []);
        shelf.create("app-2");
        shelf.create("y");
        reading.changed().await.unwrap();
        assert_eq!(read(&mut reading).await, turns(&[("app-2", 0)]));
        let shard = |partition| Assigned {
            of: TopicPartition { topic: name("x"), partition: PartitionId(partition) },
            ..assigned(&shelf, "x", 0)
        };
        let outcome = reading.assign((0..5000).map(shard));
        assert!(matches!(outcome, Err(ReadError::TooMany { partitions: 5000, .. })));
        assert_eq!(reading.place().topics.len(), 2, "nothing changed");
    }
}
