//! Writes that expect a key's last offset, in turn for each partition, those that wait together in one commit.
//!
//! A round: index all up to the high watermark, decide, and commit what may be written on the condition that the partition has not moved
//! since. If it has, nothing was written and all is checked again. So a key is checked against all that is durable, and nothing comes between
//! the check and the write, whoever else writes and whatever is killed.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use skidway_record::{Batch, Offset, PartitionId, TopicName, TopicPartition};
use tokio::sync::{OwnedRwLockReadGuard, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::keys::decision::{Asked, Verdict, decide};
use crate::keys::shard::Shard;
use crate::keys::{Keys, KeysError};
use crate::log::{Commit, Committed, LogError, ProducerSequence, Refusal, Target, Topic};
use crate::metrics;

/// Checks a write again at most so often.
const ROUNDS_MAX: usize = 20;

/// Writes of one commit.
const GROUP_MAX: usize = 1024;

/// Bytes of batches of one commit, but for a single write.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// Is where a key has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Nowhere: the key has no record.
    None,
    /// At this offset.
    Last(Offset),
}

/// Is a write that expects its key to end somewhere.
#[derive(Debug)]
pub struct ConditionalWrite {
    /// Topic.
    pub topic: TopicName,
    /// The partition its batches go to.
    pub partition: PartitionId,
    /// The key of all its records.
    pub key: Bytes,
    /// Where the key has to end.
    pub expected: Expected,
    /// Its records.
    pub batches: Vec<Batch>,
    /// How many they are.
    pub count: u64,
    /// Its place in a producer's sequence.
    pub producer: Option<ProducerSequence>,
}

/// Is a write on its way.
pub(super) struct Conditional {
    shard: Arc<Shard>,
    asked: Asked,
    batches: Vec<Batch>,
    bytes: usize,
    producer: Option<ProducerSequence>,
    reply: oneshot::Sender<Result<Committed, KeysError>>,
}

impl Keys {
    /// Makes a write if its key ends where it expects; tells where its batches went.
    ///
    /// # Errors
    /// [`KeysError::OtherOffset`] if not (reject); as [`Keys::shard`]; [`KeysError::Contended`], [`KeysError::Full`] (retry), [`KeysError::Log`].
    pub async fn write(&self, write: ConditionalWrite) -> Result<Committed, KeysError> {
        let topic = self.indexed(&write.topic)?;
        let shard = self.shard(&topic, write.partition).await?;
        let key = shard.hasher().hash(&write.key);
        let expected = match write.expected {
            Expected::None => None,
            Expected::Last(offset) => Some(offset.0),
        };
        let (reply, answer) = oneshot::channel();
        let conditional = Conditional {
            shard,
            asked: Asked { key, expected, count: write.count },
            bytes: write.batches.iter().map(|batch| batch.bytes().len()).sum(),
            batches: write.batches,
            producer: write.producer,
            reply,
        };
        self.lane.try_send(conditional).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => KeysError::Full,
            mpsc::error::TrySendError::Closed(_) => KeysError::Log(LogError::Closing),
        })?;
        let outcome = answer.await.unwrap_or(Err(KeysError::Log(LogError::Closing)));
        metrics::conditional(match &outcome {
            Ok(_) => "written",
            Err(KeysError::OtherOffset { .. }) => "refused",
            Err(_) => "failed",
        });
        outcome.map_err(|error| self.noticed(error))
    }

    /// Waits until no write that expects a key's offset is being made in these partitions, and keeps the next ones waiting. Nothing if the
    /// topic has no index.
    pub async fn take_turn(
        &self,
        topic: &Topic,
        partitions: impl Iterator<Item = u32>,
    ) -> Vec<OwnedRwLockReadGuard<()>> {
        let mut turns = Vec::new();
        // While the index is not open nothing is written that expects a key's offset.
        if !self.has_index(topic) || self.opened().is_none() {
            return turns;
        }
        // In one order, so that two never wait for each other.
        for partition in partitions.collect::<BTreeSet<_>>() {
            if let Ok(shard) = self.shard(topic, PartitionId(partition)).await {
                turns.push(shard.turn.clone().read_owned().await);
            }
        }
        turns
    }

    /// Makes the writes that come until the collector stops; those that wait then are still made.
    pub async fn run_lane(self: Arc<Self>, stop: CancellationToken) {
        let Some(mut requests) = self.take_requests() else { return };
        let mut lanes = Lanes::default();
        let mut groups = FuturesUnordered::new();
        let mut stopping = false;
        loop {
            tokio::select! {
                biased; // A lane that is free is filled before more is taken in, so that what waits together goes together.
                Some(of) = groups.next(), if !groups.is_empty() => {
                    lanes.busy.remove(&of);
                }
                () = stop.cancelled(), if !stopping => {
                    requests.close();
                    stopping = true;
                }
                request = requests.recv() => match request {
                    Some(request) => lanes.waiting.entry(request.shard.of().clone()).or_default().push(request),
                    None if groups.is_empty() => break,
                    // Closed: nothing comes any more, only lanes end.
                    None => {
                        if let Some(of) = groups.next().await {
                            lanes.busy.remove(&of);
                        }
                    }
                },
            }
            while let Ok(request) = requests.try_recv() {
                lanes.waiting.entry(request.shard.of().clone()).or_default().push(request);
            }
            for group in lanes.next_groups() {
                groups.push(self.run_group(group));
            }
        }
    }

    /// Makes the writes of one partition, and tells which it was.
    async fn run_group(&self, group: Vec<Conditional>) -> TopicPartition {
        let of = group[0].shard.of().clone();
        let mut undecided = group;
        for round in 0..ROUNDS_MAX {
            if round > 0 {
                metrics::conditional_again();
            }
            undecided = self.round(undecided).await;
            if undecided.is_empty() {
                return of;
            }
        }
        answer_all(undecided, &KeysError::Contended(of.clone()));
        of
    }

    /// Checks and writes; gives what has to be checked again.
    async fn round(&self, group: Vec<Conditional>) -> Vec<Conditional> {
        let shard = group[0].shard.clone();
        let _turn = shard.turn.write().await;
        let (verdicts, next) = match self.verdicts(&shard, &group).await {
            Ok(decided) => decided,
            Err(error) => {
                answer_all(group, &error);
                return Vec::new();
            }
        };
        let (mut written, mut refused) = (Vec::new(), Vec::new());
        for (conditional, verdict) in group.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Write => written.push(conditional),
                Verdict::Refuse(current) => refused.push((conditional, current)),
            }
        }
        let again = self.commit(&shard, written, next).await;
        if !again.is_empty() {
            // What was refused may have been so for what is not written.
            return again.into_iter().chain(refused.into_iter().map(|(conditional, _)| conditional)).collect();
        }
        for (conditional, current) in refused {
            let current = current.map(|offset| (shard.of().partition.0, offset));
            self.refuse(conditional, current).await;
        }
        Vec::new()
    }

    /// Decides on all that is durable; tells what the partition's next offset was.
    async fn verdicts(&self, shard: &Shard, group: &[Conditional]) -> Result<(Vec<Verdict>, u64), KeysError> {
        let indexed = shard.caught_up().await?;
        let mut last = HashMap::new();
        for conditional in group {
            let key = conditional.asked.key;
            if let Entry::Vacant(unknown) = last.entry(key) {
                unknown.insert(indexed.last(key).await?);
            }
        }
        let asked: Vec<Asked> = group.iter().map(|conditional| conditional.asked).collect();
        Ok((decide(&asked, |key| last.get(&key).copied().flatten(), indexed.end()), indexed.end()))
    }

    /// Commits what was decided if the partition's next offset is still this one; gives it back if not.
    async fn commit(&self, shard: &Shard, mut written: Vec<Conditional>, next: u64) -> Vec<Conditional> {
        if written.is_empty() {
            return written;
        }
        let target = Target::Partition(shard.of().clone());
        let batches =
            written.iter().flat_map(|it| it.batches.iter().map(|batch| (target.clone(), batch.clone()))).collect();
        let producer = written.first_mut().and_then(|first| first.producer.clone());
        let expected_offset = Some((shard.of().clone(), Offset(next)));
        let commit = Commit { producer, expected_offset, batches, ..Commit::default() };
        match self.log.submit(commit).await.await {
            Ok(committed) => {
                let mut appended = committed.appended.into_iter();
                for conditional in written {
                    let its = appended.by_ref().take(conditional.batches.len()).collect();
                    answer(conditional, Ok(Committed { appended: its, duplicate: committed.duplicate }));
                }
                Vec::new()
            }
            Err(LogError::Refused(Refusal::OffsetMismatch { .. })) => written,
            Err(error) => {
                answer_all(written, &error.into());
                Vec::new()
            }
        }
    }

    /// Refuses a write, unless it is one that was made before: then it tells where it went.
    async fn refuse(&self, mut conditional: Conditional, current: Option<(u32, u64)>) {
        let refusal = Err(KeysError::OtherOffset { current });
        let Some(producer) = conditional.producer.take() else { return answer(conditional, refusal) };
        let of = conditional.shard.of().clone();
        let batches = conditional.batches.iter().map(|batch| (Target::Partition(of.clone()), batch.clone())).collect();
        // No partition gets that far: nothing is written, but a producer that repeats itself is recognized before that is looked at.
        let expected_offset = Some((of, Offset(i64::MAX as u64)));
        let commit = Commit { producer: Some(producer), expected_offset, batches, ..Commit::default() };
        match self.log.submit(commit).await.await {
            Ok(committed) => answer(conditional, Ok(committed)),
            Err(LogError::Refused(Refusal::OffsetMismatch { .. })) => answer(conditional, refusal),
            Err(error) => answer(conditional, Err(error.into())),
        }
    }
}

fn answer(conditional: Conditional, outcome: Result<Committed, KeysError>) {
    // An asker who went away does not want to know; what was written stays written.
    let _asker_gone = conditional.reply.send(outcome);
}

fn answer_all(group: Vec<Conditional>, error: &KeysError) {
    group.into_iter().for_each(|conditional| answer(conditional, Err(error.clone())));
}

/// Holds what waits, by partition, and which partitions are being written.
#[derive(Default)]
struct Lanes {
    waiting: HashMap<TopicPartition, Vec<Conditional>>,
    busy: HashSet<TopicPartition>,
}

impl Lanes {
    /// Takes the next group of each partition that is free. A producer's place in its sequence is one of a commit's, so it goes alone.
    fn next_groups(&mut self) -> Vec<Vec<Conditional>> {
        let mut groups = Vec::new();
        for (of, waiting) in &mut self.waiting {
            if waiting.is_empty() || self.busy.contains(of) {
                continue;
            }
            let (mut bytes, shard) = (0, waiting[0].shard.clone());
            let fits = |conditional: &&Conditional| {
                bytes += conditional.bytes;
                // Another index of the same partition, opened since, hashes keys otherwise.
                let is_alike = conditional.producer.is_none() && Arc::ptr_eq(&conditional.shard, &shard);
                is_alike && bytes <= GROUP_BYTES_MAX
            };
            let count = waiting.iter().take(GROUP_MAX).take_while(fits).count().max(1);
            groups.push(waiting.drain(..count).collect());
            self.busy.insert(of.clone());
        }
        self.waiting.retain(|_, waiting| !waiting.is_empty());
        groups
    }
}
