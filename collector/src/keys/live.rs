//! Which records of a partition are the last of their key, as of a watermark.
//!
//! With an index they are found there. Without one, all records before the watermark are looked at once: a hash and an offset are held for
//! each key meanwhile, 8 bytes for each key that is left afterwards.

use std::collections::HashMap;
use std::sync::Arc;

use skidway_record::{Offset, TopicPartition};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::blocking::blocking;
use crate::keys::KeysError;
use crate::keys::fetching::{Fetching, Found, decoded};
use crate::keys::hash::{KeyHash, KeyHasher};
use crate::keys::shard::Shard;

/// Bytes asked of the log at once.
const FETCH_BYTES: usize = 1 << 20;

/// Bytes counted for each key while a partition is looked through: an entry of a hash map that may be half empty.
const KEY_BYTES: u64 = 64;

/// Bytes counted for each key that is left.
const OFFSET_BYTES: u64 = 8;

/// Memory is asked for in steps of so many keys.
const KEYS_STEP: u64 = 1024;

/// Is the offset of a key's last record; that of one that has no value.
#[derive(Clone, Copy)]
enum Last {
    Value(u64),
    Tombstone,
}

/// Holds the offsets of a partition's live records: the last of their key.
pub struct Live {
    /// In order.
    pub offsets: Vec<u64>,
    _room: OwnedSemaphorePermit,
}

/// Gives out memory for tables, in KiB.
#[derive(Clone)]
pub struct Room {
    /// What there is in all.
    pub bytes: u64,
    /// What is left.
    pub left: Arc<Semaphore>,
}

/// Is memory being taken for the keys of a partition.
struct Growing {
    of: TopicPartition,
    room: Room,
    permit: OwnedSemaphorePermit,
    bytes_a_key: u64,
    keys_max: u64,
}

impl Growing {
    fn new(of: &TopicPartition, room: &Room, bytes_a_key: u64) -> Result<Self, KeysError> {
        let permit = room.left.clone().try_acquire_many_owned(0).map_err(|_| KeysError::Busy)?;
        Ok(Self { of: of.clone(), room: room.clone(), permit, bytes_a_key, keys_max: 0 })
    }

    /// Makes sure that there is memory for so many keys.
    fn hold(&mut self, keys: u64) -> Result<(), KeysError> {
        while keys > self.keys_max {
            let step = (KEYS_STEP * self.bytes_a_key).div_ceil(1024);
            match self.room.left.clone().try_acquire_many_owned(step as u32) {
                Ok(more) => self.permit.merge(more),
                Err(_) if (self.keys_max + KEYS_STEP) * self.bytes_a_key > self.room.bytes => {
                    return Err(KeysError::TooManyKeys {
                        of: self.of.clone(),
                        keys: self.keys_max,
                        bytes: self.room.bytes,
                    });
                }
                Err(_) => return Err(KeysError::Busy),
            }
            self.keys_max += KEYS_STEP;
        }
        Ok(())
    }

    /// Gives back what is not needed for what is left.
    fn kept(mut self, mut offsets: Vec<u64>) -> Live {
        offsets.shrink_to_fit();
        let needed = (offsets.len() as u64 * OFFSET_BYTES).div_ceil(1024) as usize;
        let kept =
            self.permit.split(needed.min(self.permit.num_permits())).expect("no more is split off than there is");
        Live { offsets, _room: kept }
    }
}

/// Finds the live records in the index; those without value among them are found out when they are read. `None` if some records could not be
/// read when they were to be indexed.
///
/// # Errors
/// As [`Shard::caught_up`]; [`KeysError::TooManyKeys`], [`KeysError::Busy`].
pub async fn by_index(shard: &Shard, before: Offset, room: &Room) -> Result<Option<Live>, KeysError> {
    let indexed = shard.caught_up().await?;
    if indexed.has_passed_over() {
        return Ok(None);
    }
    let (store, number) = indexed.stored().await?;
    let mut growing = Growing::new(shard.of(), room, OFFSET_BYTES)?;
    blocking(move || {
        let (mut offsets, mut held) = (Vec::new(), Ok(()));
        store.each_last(number, before.0, |_, offset| {
            offsets.push(offset);
            held = growing.hold(offsets.len() as u64);
            held.is_ok()
        })?;
        held?;
        offsets.sort_unstable();
        Ok(Some(growing.kept(offsets)))
    })
    .await
}

/// Finds the live records whose key begins with `prefix` by looking at all.
///
/// # Errors
/// [`KeysError::TooManyKeys`], [`KeysError::Busy`], [`KeysError::UnknownTopic`], [`KeysError::Log`].
pub async fn by_reading(fetching: &Fetching, before: Offset, prefix: &[u8], room: &Room) -> Result<Live, KeysError> {
    let mut growing = Growing::new(fetching.of(), room, KEY_BYTES)?;
    let hasher = KeyHasher::new(rand::random());
    let (mut at, mut last) = (Offset(0), HashMap::<KeyHash, Last>::new());
    while at < before {
        let batches = match fetching.at(at, FETCH_BYTES).await? {
            Found::Batches(batches) => batches,
            Found::Passed(next) => {
                at = next.max(Offset(at.0 + 1));
                continue;
            }
            Found::End => break,
        };
        at = batches.last().map_or(before, |batch| batch.next_offset().max(Offset(at.0 + 1)));
        let (prefix, fetching) = (prefix.to_vec(), fetching.clone());
        (last, growing) = decoded(batches, move |batches| {
            for (batch, decoded) in batches {
                let decoded = match decoded {
                    Ok(decoded) => decoded,
                    Err(reason) => {
                        fetching.undecodable(&batch, &reason)?;
                        continue;
                    }
                };
                for record in decoded.records().map_while(Result::ok) {
                    let offset = decoded.offset_of(&record);
                    let Some(key) = record.key.filter(|key| key.starts_with(&prefix) && offset < before) else {
                        continue;
                    };
                    let its = record.value.map_or(Last::Tombstone, |_| Last::Value(offset.0));
                    last.insert(hasher.hash(key), its);
                }
                growing.hold(last.len() as u64)?;
            }
            Ok::<_, KeysError>((last, growing))
        })
        .await?;
    }
    let live = |last: Last| match last {
        Last::Value(offset) => Some(offset),
        Last::Tombstone => None,
    };
    let mut offsets: Vec<u64> = last.into_values().filter_map(live).collect();
    offsets.sort_unstable();
    Ok(growing.kept(offsets))
}
