//! The index on the disk: a redb database that says at which offsets the records of a key are.
//!
//! ```text
//! format   "format"                                  → version u16 | log id 16 | log epoch u64 | hash secret 16 | next number u32
//! rows     topic id 16 | partition u32               → number u32 | next u64 | swept u64 | entries u64 | passed u64
//! entries  number u32 | key's hash 16 | offset u64   → nothing
//! doomed   number u32                                → nothing
//! ```
//!
//! All numbers big-endian. A row says how far its partition is indexed (`next`), with the entries in one transaction; `number` is where its
//! entries are, never used again once it is doomed; below `swept` there are none. A cache: transactions are not synced one by one, and after a
//! crash all is as it was at the last sync. Blocks on the disk.

use std::ops::Bound;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use skidway_daemon::shutdown;

use crate::keys::TopicId;
use crate::keys::error::StoreError;
use crate::keys::hash::{KeyHash, KeyHasher};
use crate::log::LogIdentity;

/// Numbers the format above.
const VERSION: u16 = 1;

/// Memory for pages of the database.
const CACHE_BYTES: usize = 32 << 20;

const FORMAT: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("format");
const ROWS: TableDefinition<'static, &[u8; 20], &[u8; 36]> = TableDefinition::new("rows");
const ENTRIES: TableDefinition<'static, &[u8; 28], ()> = TableDefinition::new("entries");
const DOOMED: TableDefinition<'static, u32, ()> = TableDefinition::new("doomed");

/// Names a partition of one incarnation of a topic.
pub type ShardId = (TopicId, u32);

/// Says how far a partition is indexed, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Begins the keys of its entries.
    pub number: u32,
    /// Records before this are indexed.
    pub next: u64,
    /// There are no entries before this.
    pub swept: u64,
    /// Its entries.
    pub entries: u64,
    /// Places that could not be read and have none.
    pub passed: u64,
}

/// Holds the open database.
pub struct Store {
    database: Database,
    hasher: KeyHasher,
    /// Something was written since the last sync.
    is_dirty: AtomicBool,
}

impl Store {
    /// Opens the database, made anew if there is none, and checks every page of it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(path: &Path, log: &LogIdentity) -> Result<Self, StoreError> {
        contained(|| {
            let mut database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
            if !database.check_integrity()? {
                return Err(StoreError::Unusable("a checksum does not fit".into()));
            }
            let secret = prepared(&database, log)?;
            let is_dirty = AtomicBool::new(true);
            Ok(Self { database, hasher: KeyHasher::new(secret), is_dirty })
        })
    }

    /// Gives what its keys are hashed with.
    pub fn hasher(&self) -> KeyHasher {
        self.hasher
    }

    /// Gives all rows.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn rows(&self) -> Result<Vec<(ShardId, Row)>, StoreError> {
        contained(|| {
            let rows = self.database.begin_read()?.open_table(ROWS)?;
            rows.iter()?
                .map(|row| row.map(|(key, row)| (shard_of(key.value()), row_of(row.value()))).map_err(Into::into))
                .collect()
        })
    }

    /// Begins the index of a partition, whose first record is at `next`. An older one of it is doomed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn begin(&self, shard: ShardId, next: u64) -> Result<Row, StoreError> {
        self.change(|transaction| {
            let number = take_number(transaction)?;
            let row = Row { number, next, swept: next, entries: 0, passed: 0 };
            doom(transaction, shard)?;
            transaction.open_table(ROWS)?.insert(&shard_key(shard), &row_bytes(&row))?;
            Ok(row)
        })
    }

    /// Forgets a partition.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget(&self, shard: ShardId) -> Result<(), StoreError> {
        self.change(|transaction| {
            doom(transaction, shard)?;
            transaction.open_table(ROWS)?.remove(&shard_key(shard))?;
            Ok(())
        })
    }

    /// Adds entries, those between the row's old `next` and its new one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn add(&self, shard: ShardId, row: &Row, entries: &[(KeyHash, u64)]) -> Result<(), StoreError> {
        self.change(|transaction| {
            let mut table = transaction.open_table(ENTRIES)?;
            for (hash, offset) in entries {
                table.insert(&entry_key(row.number, *hash, *offset), ())?;
            }
            transaction.open_table(ROWS)?.insert(&shard_key(shard), &row_bytes(row))?;
            Ok(())
        })
    }

    /// Removes entries before `row.swept`, looking at `steps` of them from `after` on; gives how many it removed and where to go on, if
    /// there are more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sweep(
        &self,
        number: u32,
        before: u64,
        after: Option<EntryKey>,
        steps: usize,
    ) -> Result<(u64, Option<EntryKey>), StoreError> {
        self.change(|transaction| {
            let mut table = transaction.open_table(ENTRIES)?;
            let (mut old, mut last, mut seen) = (Vec::new(), None, 0);
            let (first, end) = (entry_key(number, 0, 0), entry_key(number, u128::MAX, u64::MAX));
            let from = after.as_ref().map_or(Bound::Included(&first), Bound::Excluded);
            for entry in table.range::<&EntryKey>((from, Bound::Included(&end)))?.take(steps) {
                let key = *entry?.0.value();
                if offset_of(&key) < before {
                    old.push(key);
                }
                (last, seen) = (Some(key), seen + 1);
            }
            for key in &old {
                table.remove(key)?;
            }
            Ok((old.len() as u64, last.filter(|_| seen == steps)))
        })
    }

    /// Removes up to `steps` entries of what is doomed; true if there may be more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn clear(&self, steps: usize) -> Result<bool, StoreError> {
        let first = contained(|| {
            let doomed = self.database.begin_read()?.open_table(DOOMED)?;
            Ok(doomed.iter()?.next().transpose()?.map(|(number, _)| number.value()))
        })?;
        let Some(number) = first else { return Ok(false) };
        let (_, more) = self.sweep(number, u64::MAX, None, steps)?;
        if more.is_none() {
            self.change(|transaction| {
                transaction.open_table(DOOMED)?.remove(number)?;
                Ok(())
            })?;
        }
        Ok(true)
    }

    /// Writes a row.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_row(&self, shard: ShardId, row: &Row) -> Result<(), StoreError> {
        self.add(shard, row, &[])
    }

    /// Gives offsets of a key, `from` and on, in order, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn offsets(&self, number: u32, hash: KeyHash, from: u64, limit: usize) -> Result<Vec<u64>, StoreError> {
        contained(|| {
            let entries = self.database.begin_read()?.open_table(ENTRIES)?;
            let range =
                entries.range::<&EntryKey>(&entry_key(number, hash, from)..=&entry_key(number, hash, u64::MAX))?;
            range.take(limit).map(|entry| Ok(offset_of(entry?.0.value()))).collect()
        })
    }

    /// Gives the last offset of a key before `before`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn last(&self, number: u32, hash: KeyHash, before: u64) -> Result<Option<u64>, StoreError> {
        contained(|| {
            let entries = self.database.begin_read()?.open_table(ENTRIES)?;
            let mut range =
                entries.range::<&EntryKey>(&entry_key(number, hash, 0)..&entry_key(number, hash, before))?;
            range.next_back().map(|entry| Ok(offset_of(entry?.0.value()))).transpose()
        })
    }

    /// Hands over the last offset of each key before `before`, in no order of theirs, until `take` says false.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn each_last(
        &self,
        number: u32,
        before: u64,
        mut take: impl FnMut(KeyHash, u64) -> bool,
    ) -> Result<(), StoreError> {
        contained(|| {
            let entries = self.database.begin_read()?.open_table(ENTRIES)?;
            let mut last: Option<(KeyHash, u64)> = None;
            for entry in
                entries.range::<&EntryKey>(&entry_key(number, 0, 0)..=&entry_key(number, u128::MAX, u64::MAX))?
            {
                let (hash, offset) = parts_of(entry?.0.value());
                if offset >= before {
                    continue;
                }
                if let Some((hash, offset)) = last.replace((hash, offset)).filter(|(other, _)| *other != hash)
                    && !take(hash, offset)
                {
                    return Ok(());
                }
            }
            if let Some((hash, offset)) = last {
                take(hash, offset);
            }
            Ok(())
        })
    }

    /// Syncs what was written.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sync(&self) -> Result<(), StoreError> {
        if !self.is_dirty.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        contained(|| {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            // So that a start after a crash need not look at every page to find the free ones.
            transaction.set_quick_repair(true);
            Ok(transaction.commit()?)
        })
    }

    fn change<T>(&self, change: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>) -> Result<T, StoreError> {
        contained(|| {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(Durability::None)?;
            let changed = change(&transaction)?;
            self.is_dirty.store(true, Ordering::SeqCst);
            transaction.commit()?;
            Ok(changed)
        })
    }
}

/// Is the key of an entry.
pub type EntryKey = [u8; 28];

/// Does what reads the file; its damage may make the library panic.
fn contained<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    match shutdown::contained(AssertUnwindSafe(work)) {
        Ok(done) => done,
        Err(panic) => Err(StoreError::Unusable(format!("it cannot be read: {panic}"))),
    }
}

/// Makes the tables of a new database, checks that an old one is of this version and log, and gives its secret.
fn prepared(database: &Database, log: &LogIdentity) -> Result<[u8; 16], StoreError> {
    let transaction = database.begin_write()?;
    let known = transaction.open_table(FORMAT)?.get("format")?.map(|format| format.value().to_vec());
    transaction.open_table(ROWS)?;
    transaction.open_table(ENTRIES)?;
    transaction.open_table(DOOMED)?;
    let head = [&VERSION.to_be_bytes()[..], &log.id.0, &log.epoch.to_be_bytes()].concat();
    let secret = match known {
        Some(format) => {
            let secret = format.strip_prefix(&head[..]).and_then(|rest| rest.first_chunk::<16>());
            *secret.ok_or_else(|| StoreError::Unusable("it is of another version, or of another log".into()))?
        }
        None => {
            let secret: [u8; 16] = rand::random();
            let format = [&head[..], &secret, &0_u32.to_be_bytes()].concat();
            transaction.open_table(FORMAT)?.insert("format", &format[..])?;
            secret
        }
    };
    transaction.commit()?;
    Ok(secret)
}

fn take_number(transaction: &WriteTransaction) -> Result<u32, StoreError> {
    let mut table = transaction.open_table(FORMAT)?;
    let mut format = table.get("format")?.map(|format| format.value().to_vec()).unwrap_or_default();
    let Some(place) = format.last_chunk_mut::<4>() else { return Err(StoreError::Unusable("it has no format".into())) };
    let number = u32::from_be_bytes(*place);
    *place = (number + 1).to_be_bytes();
    table.insert("format", &format[..])?;
    Ok(number)
}

fn doom(transaction: &WriteTransaction, shard: ShardId) -> Result<(), StoreError> {
    let number = transaction.open_table(ROWS)?.get(&shard_key(shard))?.map(|row| row_of(row.value()).number);
    if let Some(number) = number {
        transaction.open_table(DOOMED)?.insert(number, ())?;
    }
    Ok(())
}

fn shard_key((topic, partition): ShardId) -> [u8; 20] {
    let mut key = [0; 20];
    key[..16].copy_from_slice(&topic);
    key[16..].copy_from_slice(&partition.to_be_bytes());
    key
}

fn shard_of(key: &[u8; 20]) -> ShardId {
    let (topic, partition) = key.split_first_chunk::<16>().expect("a key has 20 bytes");
    (*topic, u32::from_be_bytes(*partition.first_chunk().expect("a key has 20 bytes")))
}

fn row_bytes(row: &Row) -> [u8; 36] {
    let mut bytes = [0; 36];
    bytes[..4].copy_from_slice(&row.number.to_be_bytes());
    bytes[4..12].copy_from_slice(&row.next.to_be_bytes());
    bytes[12..20].copy_from_slice(&row.swept.to_be_bytes());
    bytes[20..28].copy_from_slice(&row.entries.to_be_bytes());
    bytes[28..].copy_from_slice(&row.passed.to_be_bytes());
    bytes
}

fn row_of(bytes: &[u8; 36]) -> Row {
    let (number, mut rest) = bytes.split_first_chunk::<4>().expect("a row has 36 bytes");
    let mut next = || {
        let (number, after) = rest.split_first_chunk::<8>().expect("a row has 36 bytes");
        rest = after;
        u64::from_be_bytes(*number)
    };
    Row { number: u32::from_be_bytes(*number), next: next(), swept: next(), entries: next(), passed: next() }
}

fn entry_key(number: u32, hash: KeyHash, offset: u64) -> EntryKey {
    let mut key = [0; 28];
    key[..4].copy_from_slice(&number.to_be_bytes());
    key[4..20].copy_from_slice(&hash.to_be_bytes());
    key[20..].copy_from_slice(&offset.to_be_bytes());
    key
}

fn parts_of(key: &EntryKey) -> (KeyHash, u64) {
    let hash = key[4..].first_chunk::<16>().expect("an entry's key has 28 bytes");
    (u128::from_be_bytes(*hash), offset_of(key))
}

fn offset_of(key: &EntryKey) -> u64 {
    u64::from_be_bytes(*key.last_chunk().expect("an entry's key has 28 bytes"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use skidway_record::LogId;

    use super::*;

    const LOG: LogIdentity = LogIdentity { id: LogId([7; 16]), epoch: 1 };

    const SHARD: ShardId = ([1; 16], 3);

    fn row(next: u64, entries: u64, of: &Row) -> Row {
        Row { next, entries, ..*of }
    }

    #[test]
    fn what_was_synced_is_there_again_and_what_is_doomed_is_not() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("index.redb");
        let store = Store::open(&path, &LOG).unwrap();
        let first = store.begin(SHARD, 5).unwrap();
        store.add(SHARD, &row(9, 2, &first), &[(1, 5), (2, 8)]).unwrap();
        store.sync().unwrap();
        drop(store);
        let store = Store::open(&path, &LOG).unwrap();
        assert_eq!(store.rows().unwrap(), [(SHARD, row(9, 2, &first))]);
        assert_eq!(store.last(first.number, 2, u64::MAX).unwrap(), Some(8));
        let second = store.begin(SHARD, 0).unwrap();
        assert_ne!(first.number, second.number);
        while store.clear(1).unwrap() {}
        assert_eq!(store.last(first.number, 2, u64::MAX).unwrap(), None);
        store.forget(SHARD).unwrap();
        assert_eq!(store.rows().unwrap(), []);
    }

    #[test]
    fn another_log_or_another_format_is_unusable() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("index.redb");
        drop(Store::open(&path, &LOG).unwrap());
        for other in [LogIdentity { epoch: 2, ..LOG }, LogIdentity { id: LogId([8; 16]), ..LOG }] {
            assert!(matches!(Store::open(&path, &other), Err(StoreError::Unusable(_))));
        }
        std::fs::write(&path, "no database at all").unwrap();
        assert!(matches!(Store::open(&path, &LOG), Err(StoreError::Unusable(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn keys_are_found_as_in_a_map(keys in prop::collection::vec(0_u128..6, 1..60), from in 0_u64..60, swept in 0_u64..60) {
            let temp = tempfile::tempdir().unwrap();
            let store = Store::open(&temp.path().join("index.redb"), &LOG).unwrap();
            let of = store.begin(SHARD, 0).unwrap();
            let entries: Vec<_> = keys.iter().enumerate().map(|(offset, key)| (*key, offset as u64)).collect();
            store.add(SHARD, &row(keys.len() as u64, keys.len() as u64, &of), &entries).unwrap();
            // Another partition's entries must not matter.
            let other = store.begin(([1; 16], 4), 0).unwrap();
            store.add(([1; 16], 4), &row(1, 1, &other), &[(0, 1000)]).unwrap();

            let mut model: BTreeMap<u128, Vec<u64>> = BTreeMap::new();
            entries.iter().for_each(|(key, offset)| model.entry(*key).or_default().push(*offset));
            for key in 0..6 {
                let its = model.get(&key).cloned().unwrap_or_default();
                let wanted: Vec<u64> = its.iter().copied().filter(|offset| *offset >= from).take(4).collect();
                prop_assert_eq!(store.offsets(of.number, key, from, 4).unwrap(), wanted);
                let last = its.iter().copied().rfind(|offset| *offset < from);
                prop_assert_eq!(store.last(of.number, key, from).unwrap(), last);
            }
            let mut lasts = BTreeMap::new();
            store.each_last(of.number, from, |key, offset| lasts.insert(key, offset).is_none()).unwrap();
            let last = |(key, offsets): (&u128, &Vec<u64>)| Some((*key, offsets.iter().copied().rfind(|offset| *offset < from)?));
            prop_assert_eq!(lasts, model.iter().filter_map(last).collect::<BTreeMap<_, _>>());

            let (mut removed, mut after) = (0, None);
            loop {
                let (some, more) = store.sweep(of.number, swept, after, 7).unwrap();
                (removed, after) = (removed + some, more);
                if after.is_none() { break }
            }
            prop_assert_eq!(removed, entries.iter().filter(|entry| entry.1 < swept).count() as u64);
        }
    }
}
