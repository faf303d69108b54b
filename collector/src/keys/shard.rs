//! The index of one partition: what is on the disk, and the newest part in memory until it is written there.

use std::collections::HashMap;
use std::sync::Arc;

use skidway_record::{Offset, TopicPartition};
use tokio::sync::{Mutex, MutexGuard, RwLock};

use crate::blocking::blocking;
use crate::keys::fetching::{Fetching, Found, decoded};
use crate::keys::hash::{KeyHash, KeyHasher};
use crate::keys::store::{EntryKey, Row, ShardId, Store};
use crate::keys::{KeysError, TopicId};
use crate::log::{Log, LogOffsets};

/// Bytes asked of the log at once.
const FETCH_BYTES: usize = 1 << 20;

/// Entries of one partition kept in memory; more are written at once.
const FRESH_MAX: usize = 4096;

/// Whoever asks for a key waits while at most so many offsets are to be indexed, and is told to come back otherwise.
const BEHIND_MAX: u64 = 100_000;

/// Entries looked at in one step of sweeping.
const SWEEP_STEPS: usize = 4096;

/// Holds the index of a partition.
pub struct Shard {
    id: ShardId,
    log: Arc<dyn Log>,
    store: Arc<Store>,
    fetching: Fetching,
    state: Mutex<State>,
    /// Writes that expect a key's offset take it whole, others share it: what was checked is then still true when it is written. What
    /// does not pass here, such as agents' batches, makes the write be checked again.
    pub turn: Arc<RwLock<()>>,
}

struct State {
    /// How far it is indexed.
    row: Row,
    /// What the disk says.
    stored: Row,
    fresh: HashMap<KeyHash, Vec<u64>>,
    fresh_entries: usize,
    sweep: Option<EntryKey>,
}

/// Is a partition's index, complete up to `end` and standing still.
pub struct Indexed<'s> {
    shard: &'s Shard,
    state: MutexGuard<'s, State>,
    offsets: LogOffsets,
}

impl Shard {
    /// Goes on where the row says.
    pub fn new(log: Arc<dyn Log>, store: Arc<Store>, of: TopicPartition, id: TopicId, row: Row) -> Self {
        let state = State { row, stored: row, fresh: HashMap::new(), fresh_entries: 0, sweep: None };
        let fetching = Fetching::new(log.clone(), of.clone(), id).skipping_damaged(true);
        Self { id: (id, of.partition.0), log, store, fetching, state: Mutex::new(state), turn: Arc::default() }
    }

    /// Names the partition.
    pub fn of(&self) -> &TopicPartition {
        self.fetching.of()
    }

    /// Gives what keys are hashed with.
    pub fn hasher(&self) -> KeyHasher {
        self.store.hasher()
    }

    /// Indexes what is not indexed, up to the high watermark, and lets it be looked at.
    ///
    /// # Errors
    /// [`KeysError::Behind`] if that would take long; [`KeysError::Log`], [`KeysError::Store`].
    pub async fn caught_up(&self) -> Result<Indexed<'_>, KeysError> {
        let mut state = self.state.lock().await;
        let offsets = self.log.offsets(self.of())?;
        let behind = offsets.high_watermark.0.saturating_sub(state.row.next.max(offsets.log_start.0));
        if behind > BEHIND_MAX {
            return Err(KeysError::Behind { topic: self.of().topic.clone(), behind });
        }
        while state.row.next < offsets.high_watermark.0 {
            self.step(&mut state).await?;
        }
        Ok(Indexed { shard: self, state, offsets })
    }

    /// Indexes one read's worth; tells how many offsets are still to be indexed, and how many entries there are.
    ///
    /// # Errors
    /// As [`Shard::caught_up`], without the first.
    pub async fn advance(&self) -> Result<(u64, u64), KeysError> {
        let mut state = self.state.lock().await;
        let high_watermark = self.log.offsets(self.of())?.high_watermark.0;
        if state.row.next < high_watermark {
            self.step(&mut state).await?;
        }
        Ok((high_watermark.saturating_sub(state.row.next), state.row.entries))
    }

    async fn step(&self, state: &mut State) -> Result<(), KeysError> {
        let at = state.row.next;
        let batches = match self.fetching.at(Offset(at), FETCH_BYTES).await? {
            Found::Batches(batches) => batches,
            Found::Passed(next) => {
                let log_start = self.log.offsets(self.of())?.log_start.0;
                state.row.passed += u64::from(next.0 > log_start);
                state.row.next = next.0.max(at + 1);
                return Ok(());
            }
            Found::End => {
                // Told of a later end and given nothing: whoever waits must not wait for ever.
                return Err(KeysError::Behind { topic: self.of().topic.clone(), behind: 1 });
            }
        };
        let hasher = self.hasher();
        let (keys, next, passed) = decoded(batches, move |batches| {
            let (mut keys, mut next, mut passed) = (Vec::new(), at, 0);
            for (batch, decoded) in batches {
                next = batch.next_offset().0.max(next);
                let Ok(decoded) = decoded else {
                    passed += 1;
                    continue;
                };
                for record in decoded.records().flatten() {
                    let offset = decoded.offset_of(&record).0;
                    if let Some(key) = record.key.filter(|_| offset >= at) {
                        keys.push((hasher.hash(key), offset));
                    }
                }
            }
            (keys, next, passed)
        })
        .await;
        state.row.next = next;
        state.row.passed += passed;
        state.row.entries += keys.len() as u64;
        state.fresh_entries += keys.len();
        for (hash, offset) in keys {
            state.fresh.entry(hash).or_default().push(offset);
        }
        if state.fresh_entries >= FRESH_MAX { self.write(state).await } else { Ok(()) }
    }

    /// Writes what is in memory alone.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub async fn flush(&self) -> Result<(), KeysError> {
        let mut state = self.state.lock().await;
        self.write(&mut state).await
    }

    async fn write(&self, state: &mut State) -> Result<(), KeysError> {
        if state.row == state.stored {
            return Ok(());
        }
        let fresh = std::mem::take(&mut state.fresh);
        let mut entries: Vec<_> = fresh
            .into_iter()
            .flat_map(|(hash, offsets)| offsets.into_iter().map(move |offset| (hash, offset)))
            .collect();
        state.fresh_entries = 0;
        // A tree is written faster in its own order.
        entries.sort_unstable();
        let (store, id, row) = (self.store.clone(), self.id, state.row);
        blocking(move || store.add(id, &row, &entries)).await?;
        state.stored = row;
        Ok(())
    }

    /// Removes some entries of records that are deleted, if there are many; true if there is more to do.
    ///
    /// # Errors
    /// [`KeysError::Store`], [`KeysError::Log`].
    pub async fn sweep(&self) -> Result<bool, KeysError> {
        let mut state = self.state.lock().await;
        let log_start = self.log.offsets(self.of())?.log_start.0.min(state.row.next);
        let deleted = log_start.saturating_sub(state.row.swept);
        if state.sweep.is_none() && deleted <= state.row.entries / 4 {
            return Ok(false);
        }
        self.write(&mut state).await?;
        let (store, number, after) = (self.store.clone(), state.row.number, state.sweep);
        let (removed, more) = blocking(move || store.sweep(number, log_start, after, SWEEP_STEPS)).await?;
        state.row.entries = state.row.entries.saturating_sub(removed);
        state.sweep = more;
        if more.is_none() {
            state.row.swept = log_start;
        }
        self.write(&mut state).await?;
        Ok(more.is_some())
    }
}

impl Indexed<'_> {
    /// Gives how far the partition reaches; all of it is indexed.
    pub fn end(&self) -> u64 {
        self.state.row.next
    }

    /// Gives the last offset of a key that is still kept.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub async fn last(&self, hash: KeyHash) -> Result<Option<u64>, KeysError> {
        let kept = |offset: &u64| *offset >= self.offsets.log_start.0;
        if let Some(offset) = self.state.fresh.get(&hash).and_then(|offsets| offsets.last()) {
            return Ok(Some(*offset).filter(kept));
        }
        let (store, number) = (self.shard.store.clone(), self.state.row.number);
        Ok(blocking(move || store.last(number, hash, u64::MAX)).await?.filter(kept))
    }

    /// Gives offsets of a key that are still kept, `from` and on, in order, at most `limit`.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub async fn offsets(&self, hash: KeyHash, from: u64, limit: usize) -> Result<Vec<u64>, KeysError> {
        let from = from.max(self.offsets.log_start.0);
        let (store, number) = (self.shard.store.clone(), self.state.row.number);
        let mut offsets = blocking(move || store.offsets(number, hash, from, limit)).await?;
        let fresh = self.state.fresh.get(&hash).into_iter().flatten().copied().filter(|offset| *offset >= from);
        offsets.extend(fresh.take(limit - offsets.len().min(limit)));
        Ok(offsets)
    }

    /// Tells whether there were records that could not be read, and are not in it.
    pub fn has_passed_over(&self) -> bool {
        self.state.row.passed > 0
    }

    /// Writes all to the disk, and gives where its entries are.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub async fn stored(mut self) -> Result<(Arc<Store>, u32), KeysError> {
        self.shard.write(&mut self.state).await?;
        Ok((self.shard.store.clone(), self.state.row.number))
    }
}
