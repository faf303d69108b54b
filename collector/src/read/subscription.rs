//! One reader's way through topics: whose turn it is, and where it stands.
//!
//! Pulls one batch at a time, topic after topic and partition after partition in fair turns, and sleeps on the topics'
//! watch channels at the head. Holds no records, so a slow reader costs nothing but its place.

use std::sync::Arc;

use skidway_record::{Batch, Offset, PartitionId, TopicName, TopicPartition};
use tokio::sync::watch;

use crate::log::{Damage, LogError, LogReader, Progress, Topic};
use crate::read::fetch::Batches;
use crate::read::followed::Followed;
use crate::read::start::{earliest, overtaken};
use crate::read::token::{SHARDS_MAX, TOPICS_MAX};
use crate::read::turn::{Assigned, Departed, Shard, Turn};
use crate::read::{ReadError, Scope, Selection, Token, TopicPlace};

/// Walks topics from a place on.
pub struct Subscription {
    log: Arc<dyn LogReader>,
    batches: Arc<Batches>,
    /// Its topics and those of `followed` have the same indices.
    place: Token,
    followed: Followed,
    joining: Option<Joining>,
    departed: Vec<Departed>,
}

/// Lets topics join that come to be while the reader reads.
struct Joining {
    selection: Selection,
    list: watch::Receiver<Arc<[Topic]>>,
    has_news: bool,
}

/// Is where something is to be read: indices of the topic and its partition, and what they stand for.
struct Next {
    topic: Topic,
    indices: (usize, usize),
    shard: Shard,
    from: Offset,
}

impl Subscription {
    pub(super) fn new(
        (log, batches): (Arc<dyn LogReader>, Arc<Batches>),
        place: Token,
        progress: Vec<watch::Receiver<Progress>>,
    ) -> Self {
        debug_assert_eq!(place.topics.len(), progress.len());
        let mut followed = Followed::default();
        progress.into_iter().for_each(|progress| followed.push(progress));
        followed.begin_with(place.turn as usize);
        Self { log, batches, place, followed, joining: None, departed: Vec::new() }
    }

    /// Lets topics of this selection join, those to come too.
    pub(super) fn joined_by(mut self, selection: Selection, list: watch::Receiver<Arc<[Topic]>>) -> Self {
        self.joining = Some(Joining { selection, list, has_news: false });
        self
    }

    /// Tells where the reader stands.
    pub fn place(&self) -> &Token {
        &self.place
    }

    /// Tells where the reader stands, for whoever writes records with the places after them: it may move the shard whose turn it is.
    pub(crate) fn place_mut(&mut self) -> &mut Token {
        &mut self.place
    }

    /// Gives the high watermarks of the partitions read, by topic.
    pub fn high_watermarks(&self) -> Vec<(TopicName, Vec<(PartitionId, Offset)>)> {
        let of = |(place, progress): (&TopicPlace, &watch::Receiver<Progress>)| {
            let progress = progress.borrow();
            let known = |partition: PartitionId| progress.high_watermarks.get(partition.0 as usize).copied();
            let read = (0..place.positions.len()).map(|index| place.partition(index));
            let marks = read.filter_map(|partition| Some((partition, known(partition)?))).collect();
            (progress.topic.name.clone(), marks)
        };
        self.place.topics.iter().zip(self.followed.all()).map(of).collect()
    }

    /// Gives the topics that left the subscription since this was asked last.
    pub fn take_departed(&mut self) -> Vec<Departed> {
        std::mem::take(&mut self.departed)
    }

    /// Lets it be told that topics are gone already.
    pub(super) fn without(mut self, departed: Vec<Departed>) -> Self {
        self.departed = departed;
        self
    }

    /// Gives the next partition its turn; `None` at the head. The place stays until [`Subscription::advance`] moves it.
    ///
    /// # Errors
    /// [`ReadError::Gone`] if retention overtook the reader or its only topic was deleted, [`ReadError::Damaged`] if the records that
    /// come next cannot be read, and whatever reading may meet.
    pub async fn next(&mut self) -> Result<Option<Turn>, ReadError> {
        while let Some(Next { topic, indices, shard, from }) = self.turn()? {
            match self.batches.at(&topic, shard.partition, from).await {
                Ok(Some(batch)) => {
                    self.turn_passes(indices);
                    let of = TopicPartition { topic: topic.name, partition: shard.partition };
                    return Ok(Some(Turn::new((of, shard), batch, from)));
                }
                Ok(None) => self.followed.is_at_head(indices.0),
                Err(error) => self.meet(error, &topic, shard)?,
            }
        }
        Ok(None)
    }

    /// Gives stored batches, undecoded: about `bytes_max`, at least one, the first of which contains the place. The place moves past them.
    /// `None` at the head.
    ///
    /// # Errors
    /// As [`Subscription::next`].
    pub async fn next_stored(&mut self, bytes_max: usize) -> Result<Option<Vec<Batch>>, ReadError> {
        while let Some(Next { topic, indices, shard, from }) = self.turn()? {
            let of = TopicPartition { topic: topic.name.clone(), partition: shard.partition };
            let mut fetched = self.log.fetch(of, from, bytes_max).await.map_err(ReadError::from);
            // Ids never come back: if the topic is still this one, those were its batches.
            if self.log.topic(&topic.name).is_none_or(|now| now.id != topic.id) {
                fetched = Err(ReadError::UnknownTopic(topic.name.clone()));
            }
            match fetched {
                Ok(batches) => {
                    let Some(last) = batches.last() else {
                        self.followed.is_at_head(indices.0);
                        continue;
                    };
                    self.advance(shard, last.next_offset());
                    self.turn_passes(indices);
                    return Ok(Some(batches));
                }
                Err(error) => self.meet(error, &topic, shard)?,
            }
        }
        Ok(None)
    }

    /// Says whose turn it is; `None` at the head.
    fn turn(&mut self) -> Result<Option<Next>, ReadError> {
        self.join()?;
        while let Some(index) = self.followed.first() {
            let progress = self.followed.progress(index);
            if progress.has_changed().is_err() {
                let name = progress.borrow().topic.name.clone();
                self.depart(index, name)?;
                continue;
            }
            let progress = progress.borrow_and_update();
            let place = &mut self.place.topics[index];
            let grown = grow(place, progress.high_watermarks.len());
            if let Some(at) = first_behind(place, &progress.high_watermarks) {
                let shard = Shard { topic: place.topic, partition: place.partition(at) };
                let (topic, from) = (progress.topic.clone(), place.positions[at]);
                drop(progress);
                self.check_size(grown)?;
                return Ok(Some(Next { topic, indices: (index, at), shard, from }));
            }
            drop(progress);
            self.followed.is_at_head(index);
        }
        Ok(None)
    }

    /// Lets the others go before the partition that had its turn.
    fn turn_passes(&mut self, (topic, partition): (usize, usize)) {
        let place = &mut self.place.topics[topic];
        place.turn = ((partition + 1) % place.positions.len()) as u32;
        self.followed.rotate();
        self.place.turn = ((topic + 1) % self.place.topics.len()) as u32;
    }

    /// Moves the place past what was handed on.
    pub fn advance(&mut self, shard: Shard, to: Offset) {
        let (topic, partition) = self.find(shard).expect("only partitions that are read are advanced");
        self.place.topics[topic].positions[partition] = to;
    }

    /// Finds the indices of a partition's position; `None` if it is not read.
    pub(crate) fn find(&self, shard: Shard) -> Option<(usize, usize)> {
        let topic = self.followed.index(&shard.topic)?;
        Some((topic, self.place.topics[topic].index(shard.partition)?))
    }

    /// Passes over records that cannot be read, if that is the error: gives which, and stands after them.
    ///
    /// # Errors
    /// Every other error.
    pub fn pass_over(&mut self, error: ReadError) -> Result<Damage, ReadError> {
        let ReadError::Damaged { damage, .. } = error else { return Err(error) };
        let topic = self.followed.all().position(|progress| progress.borrow().topic.name == damage.topic);
        if let Some(place) = topic.map(|topic| &mut self.place.topics[topic])
            && let Some(index) = place.index(damage.partition)
        {
            place.positions[index] = damage.next;
        }
        Ok(*damage)
    }

    /// Passes over all records that were deleted before they were read: gives which, and stands at the first ones kept.
    pub fn pass_over_deleted(&mut self) -> Vec<(TopicPartition, std::ops::Range<Offset>)> {
        let mut passed = Vec::new();
        for (place, progress) in self.place.topics.iter_mut().zip(self.followed.all()) {
            let topic = progress.borrow().topic.name.clone();
            for index in 0..place.positions.len() {
                let of = TopicPartition { topic: topic.clone(), partition: place.partition(index) };
                let Ok(offsets) = self.log.offsets(&of) else { continue };
                let at = place.positions[index];
                if at < offsets.log_start {
                    place.positions[index] = offsets.log_start;
                    passed.push((of, at..offsets.log_start));
                }
            }
        }
        passed
    }

    /// Reads these partitions from now on and no others. What is not there any more is told by [`Subscription::take_departed`].
    ///
    /// # Errors
    /// [`ReadError::TooMany`] (reject): nothing changes then.
    pub fn assign(&mut self, assigned: impl IntoIterator<Item = Assigned>) -> Result<(), ReadError> {
        let mut by_topic: Vec<(Assigned, Vec<(PartitionId, Offset)>)> = Vec::new();
        let mut assigned: Vec<Assigned> = assigned.into_iter().collect();
        assigned.sort_by(|one, other| one.of.cmp(&other.of));
        for one in assigned {
            let shard = (one.of.partition, one.next);
            match by_topic.last_mut().filter(|(last, _)| last.topic == one.topic) {
                Some((_, shards)) => shards.push(shard),
                None => by_topic.push((one, vec![shard])),
            }
        }
        check_bounds(by_topic.len(), by_topic.iter().map(|(_, shards)| shards.len()).sum())?;
        (self.place.topics, self.place.turn, self.followed) = (Vec::new(), 0, Followed::default());
        for (one, mut shards) in by_topic {
            shards.dedup_by_key(|(partition, _)| *partition);
            let (partitions, positions): (Vec<PartitionId>, Vec<Offset>) = shards.into_iter().unzip();
            let progress = self.log.watch(&one.of.topic).filter(|it| it.borrow().topic.id == one.topic);
            let place = TopicPlace { topic: one.topic, scope: Scope::Some(partitions), turn: 0, positions };
            match progress {
                Some(progress) => self.follow(place, progress),
                None => self.departed.push(Departed::deleted(one.of.topic)),
            }
        }
        Ok(())
    }

    fn follow(&mut self, place: TopicPlace, progress: watch::Receiver<Progress>) {
        self.place.topics.push(place);
        self.followed.push(progress);
    }

    /// Waits until there may be more to read.
    ///
    /// # Errors
    /// [`ReadError::Gone`] if the only topic was deleted.
    pub async fn changed(&mut self) -> Result<(), ReadError> {
        if self.place.is_many {
            self.changed_of_many().await;
            return Ok(());
        }
        self.followed.changed().await;
        let is_gone = self.followed.progress(0).has_changed().is_err();
        if is_gone { Err(self.deleted()) } else { Ok(()) }
    }

    async fn changed_of_many(&mut self) {
        let Self { followed, joining, .. } = self;
        let list = async {
            let Some(joining) = joining else { return std::future::pending().await };
            match joining.list.changed().await {
                Ok(()) => joining.has_news = true,
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = followed.changed() => {}
            () = list => {}
        }
    }

    /// Lets topics join that came to be: they are read from their beginning.
    fn join(&mut self) -> Result<(), ReadError> {
        let Some(joining) = &mut self.joining else { return Ok(()) };
        if !std::mem::take(&mut joining.has_news) && !joining.list.has_changed().unwrap_or(false) {
            return Ok(());
        }
        let list = joining.list.borrow_and_update().clone();
        let selection = joining.selection.clone();
        for topic in list.iter().filter(|topic| selection.selects(&topic.name)) {
            if self.followed.index(&topic.id).is_some() {
                continue;
            }
            let Some(progress) = self.log.watch(&topic.name).filter(|it| it.borrow().topic.id == topic.id) else {
                continue;
            };
            let start = |partition| self.log.offsets(&TopicPartition::new(topic.name.clone(), partition));
            let positions = (0..topic.config.partitions).map(|it| start(it).map_or(Offset(0), |it| it.log_start));
            let positions = positions.collect();
            self.follow(TopicPlace { topic: topic.id, scope: Scope::All, turn: 0, positions }, progress);
            self.check_size(true)?;
        }
        Ok(())
    }

    fn check_size(&self, has_grown: bool) -> Result<(), ReadError> {
        match has_grown && self.place.is_many {
            true => check_bounds(self.place.topics.len(), self.place.partitions()),
            false => Ok(()),
        }
    }

    /// Lets a topic leave that is not there any more; the only one ends the subscription.
    fn depart(&mut self, index: usize, name: TopicName) -> Result<(), ReadError> {
        if !self.place.is_many {
            return Err(self.deleted());
        }
        self.followed.remove(index);
        self.place.topics.remove(index);
        self.place.turn %= self.place.topics.len().max(1) as u32;
        self.departed.push(Departed::deleted(name));
        Ok(())
    }

    fn deleted(&mut self) -> ReadError {
        let name = self.followed.progress(0).borrow().topic.name.clone();
        ReadError::Gone {
            reason: format!("topic {name} was deleted"),
            earliest: earliest(&*self.log, &name, &self.place.topics[0].scope),
        }
    }

    /// Goes on without a topic that is gone; says what any other error means to someone who was reading there.
    fn meet(&mut self, error: ReadError, topic: &Topic, shard: Shard) -> Result<(), ReadError> {
        let Some((index, at)) = self.find(shard) else { return Ok(()) };
        match error {
            ReadError::UnknownTopic(_) | ReadError::Log(LogError::NotFound(_)) => {
                self.depart(index, topic.name.clone())
            }
            ReadError::Log(LogError::OutOfRange { .. }) => {
                let names: Vec<TopicName> = self.followed.all().map(|it| it.borrow().topic.name.clone()).collect();
                Err(overtaken(&*self.log, &self.place, &names, (index, at)))
            }
            ReadError::Damaged { damage, .. } => {
                let mut after = self.place.clone();
                after.topics[index].positions[at] = damage.next;
                Err(ReadError::Damaged { damage, next: Some(after.encode()) })
            }
            other => Err(other),
        }
    }
}

/// Takes in partitions that came to be; tells whether there were any.
fn grow(place: &mut TopicPlace, partitions: usize) -> bool {
    let grows = place.scope == Scope::All && partitions > place.positions.len();
    if grows {
        place.positions.resize(partitions, Offset(0));
    }
    grows
}

/// Refuses more than a token has room for.
pub(super) fn check_bounds(topics: usize, partitions: usize) -> Result<(), ReadError> {
    let fits = topics <= TOPICS_MAX && partitions <= SHARDS_MAX;
    if fits { Ok(()) } else { Err(ReadError::TooMany { topics, partitions }) }
}

/// Finds the next partition in turn that has something to read.
fn first_behind(place: &TopicPlace, high_watermarks: &[Offset]) -> Option<usize> {
    let behind = |index: usize| {
        let high_watermark = high_watermarks.get(place.partition(index).0 as usize);
        high_watermark.is_some_and(|end| place.positions[index] < *end)
    };
    let count = place.positions.len();
    (0..count).map(|step| (place.turn as usize + step) % count).find(|&index| behind(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_round_and_skip_partitions_at_their_head() {
        let offsets = |all: &[u64]| all.iter().copied().map(Offset).collect::<Vec<_>>();
        let mut place = TopicPlace { topic: [0; 16], scope: Scope::All, turn: 1, positions: offsets(&[0, 5, 0]) };
        assert_eq!(first_behind(&place, &offsets(&[1, 5, 1])), Some(2));
        place.turn = 0;
        assert_eq!(first_behind(&place, &offsets(&[1, 5, 1])), Some(0));
        assert_eq!(first_behind(&place, &offsets(&[0, 5, 0])), None);
        place.scope = Scope::One(PartitionId(2));
        place.positions = offsets(&[4]);
        assert_eq!(first_behind(&place, &offsets(&[9, 9, 4])), None);
        assert_eq!(first_behind(&place, &offsets(&[9, 9, 5])), Some(0));
        place.scope = Scope::Some(vec![PartitionId(0), PartitionId(2)]);
        place.positions = offsets(&[9, 4]);
        assert_eq!(first_behind(&place, &offsets(&[9, 9, 5])), Some(1));
    }
}
