//! One reader's way through a topic: whose turn it is, and where it stands.
//!
//! Pulls one batch at a time, partition after partition in fair turns, and sleeps on the topic's watch channel at the
//! head. Holds no records, so a slow reader costs nothing but its place.

use std::sync::Arc;

use skidway_record::{Batch, Decoded, Offset, PartitionId, Record, TopicPartition};
use tokio::sync::watch;

use crate::log::{Damage, LogError, LogReader, Progress, Topic};
use crate::read::fetch::{Batches, next_offset};
use crate::read::reader::{earliest, overtaken};
use crate::read::{ReadError, Scope, Token};

/// Walks a topic from a place on.
pub struct Subscription {
    log: Arc<dyn LogReader>,
    batches: Arc<Batches>,
    progress: watch::Receiver<Progress>,
    place: Token,
}

/// Gives one partition its turn: the records of `batch` from `from` on.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Whose turn.
    pub of: TopicPartition,
    /// Its next batch, all of it below the high watermark.
    pub batch: Arc<Decoded>,
    /// First offset that was not read before; may lie inside the batch.
    pub from: Offset,
}

impl Turn {
    /// Gives the records that were not read before.
    pub fn records(&self) -> impl Iterator<Item = Result<(Offset, Record<'_>), ReadError>> {
        let placed = self.batch.records().map(|record| match record {
            Ok(record) => Ok((self.batch.offset_of(&record), record)),
            Err(reason) => Err(ReadError::undecodable(&self.of, self.from..self.end(), &reason)),
        });
        placed.skip_while(|record| record.as_ref().is_ok_and(|(offset, _)| *offset < self.from))
    }

    /// Gives the offset after the batch.
    pub fn end(&self) -> Offset {
        next_offset(&self.batch)
    }
}

impl Subscription {
    pub(super) fn new(
        log: Arc<dyn LogReader>,
        batches: Arc<Batches>,
        progress: watch::Receiver<Progress>,
        place: Token,
    ) -> Self {
        Self { log, batches, progress, place }
    }

    /// Tells where the reader stands.
    pub fn place(&self) -> &Token {
        &self.place
    }

    /// Tells how many partitions are read.
    pub fn partitions(&self) -> usize {
        self.place.positions.len()
    }

    /// Gives the high watermark of each partition read.
    pub fn high_watermarks(&self) -> Vec<(PartitionId, Offset)> {
        let progress = self.progress.borrow();
        let of = |index| self.place.partition(index);
        let known = |partition: PartitionId| progress.high_watermarks.get(partition.0 as usize).copied();
        (0..self.partitions()).filter_map(|index| Some((of(index), known(of(index))?))).collect()
    }

    /// Gives the next partition its turn; `None` at the head. The place stays until [`Subscription::advance`] moves it.
    ///
    /// # Errors
    /// [`ReadError::Gone`] if retention overtook the reader or the topic was deleted, [`ReadError::Damaged`] if the records that come next
    /// cannot be read, and whatever reading may meet.
    pub async fn next(&mut self) -> Result<Option<Turn>, ReadError> {
        let Some((topic, index)) = self.turn()? else { return Ok(None) };
        let (partition, from) = (self.place.partition(index), self.place.positions[index]);
        let found = self.batches.at(&topic, partition, from).await;
        let Some(batch) = found.map_err(|error| self.explain(error, partition))? else { return Ok(None) };
        self.place.turn = ((index + 1) % self.place.positions.len()) as u32;
        Ok(Some(Turn { of: TopicPartition { topic: topic.name, partition }, batch, from }))
    }

    /// Gives stored batches, undecoded: about `bytes_max`, at least one, the first of which contains the place. The place moves past them.
    /// `None` at the head.
    ///
    /// # Errors
    /// As [`Subscription::next`].
    pub async fn next_stored(&mut self, bytes_max: usize) -> Result<Option<Vec<Batch>>, ReadError> {
        let Some((topic, index)) = self.turn()? else { return Ok(None) };
        let (partition, from) = (self.place.partition(index), self.place.positions[index]);
        let of = TopicPartition { topic: topic.name.clone(), partition };
        let fetched = self.log.fetch(of, from, bytes_max).await;
        let batches = fetched.map_err(|error| self.explain(error.into(), partition))?;
        // Ids never come back: if the topic is still this one, those were its batches.
        if self.log.topic(&topic.name).is_none_or(|now| now.id != topic.id) {
            return Err(self.deleted());
        }
        let Some(last) = batches.last() else { return Ok(None) };
        self.advance(partition, last.next_offset());
        self.place.turn = ((index + 1) % self.place.positions.len()) as u32;
        Ok(Some(batches))
    }

    /// Says whose turn it is; `None` at the head.
    fn turn(&mut self) -> Result<Option<(Topic, usize)>, ReadError> {
        if self.progress.has_changed().is_err() {
            return Err(self.deleted());
        }
        let progress = self.progress.borrow_and_update();
        if self.place.scope == Scope::All {
            let partitions = progress.high_watermarks.len().max(self.place.positions.len());
            self.place.positions.resize(partitions, Offset(0));
        }
        let index = first_behind(&self.place, &progress.high_watermarks);
        Ok(index.map(|index| (progress.topic.clone(), index)))
    }

    /// Moves the place past what was handed on.
    pub fn advance(&mut self, partition: PartitionId, to: Offset) {
        let index = self.place.index(partition).expect("only partitions that were read are advanced");
        self.place.positions[index] = to;
    }

    /// Passes over records that cannot be read, if that is the error: gives which, and stands after them.
    ///
    /// # Errors
    /// Every other error.
    pub fn pass_over(&mut self, error: ReadError) -> Result<Damage, ReadError> {
        let ReadError::Damaged { damage, .. } = error else { return Err(error) };
        self.advance(damage.partition, damage.next);
        Ok(*damage)
    }

    /// Waits until there may be more to read.
    ///
    /// # Errors
    /// [`ReadError::Gone`] if the topic was deleted.
    pub async fn changed(&mut self) -> Result<(), ReadError> {
        self.progress.changed().await.map_err(|_| self.deleted())
    }

    fn deleted(&self) -> ReadError {
        let name = self.progress.borrow().topic.name.clone();
        ReadError::Gone {
            reason: format!("topic {name} was deleted"),
            earliest: earliest(&*self.log, &name, self.place.scope),
        }
    }

    /// Says what an offset out of range means to someone who was reading there.
    fn explain(&self, error: ReadError, partition: PartitionId) -> ReadError {
        let name = self.progress.borrow().topic.name.clone();
        match error {
            ReadError::UnknownTopic(_) | ReadError::Log(LogError::NotFound(_)) => self.deleted(),
            ReadError::Log(LogError::OutOfRange { .. }) => {
                overtaken(&*self.log, &TopicPartition { topic: name, partition }, &self.place)
            }
            ReadError::Damaged { damage, .. } => {
                let mut after = self.place.clone();
                if let Some(index) = after.index(partition) {
                    after.positions[index] = damage.next;
                }
                ReadError::Damaged { damage, next: Some(after.encode()) }
            }
            other => other,
        }
    }
}

/// Finds the next partition in turn that has something to read.
fn first_behind(place: &Token, high_watermarks: &[Offset]) -> Option<usize> {
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
        let mut place =
            Token { topic: [0; 16], log_epoch: 1, scope: Scope::All, turn: 1, positions: offsets(&[0, 5, 0]) };
        assert_eq!(first_behind(&place, &offsets(&[1, 5, 1])), Some(2));
        place.turn = 0;
        assert_eq!(first_behind(&place, &offsets(&[1, 5, 1])), Some(0));
        assert_eq!(first_behind(&place, &offsets(&[0, 5, 0])), None);
        place.scope = Scope::One(PartitionId(2));
        place.positions = offsets(&[4]);
        assert_eq!(first_behind(&place, &offsets(&[9, 9, 4])), None);
        assert_eq!(first_behind(&place, &offsets(&[9, 9, 5])), Some(0));
    }
}
