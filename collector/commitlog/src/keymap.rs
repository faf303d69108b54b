//! The last offset of each key in a range of a partition, in bounded memory. Pure but for the random keys of its hash.
//!
//! A key is known by 128 bits of a keyed hash: that two of a billion keys are taken for one has a chance of one in 10²⁰, whoever chose
//! them. An open-addressing table of 24 bytes a slot, a third of which stay free.

use std::hash::{BuildHasher, RandomState};

/// Slots of the smallest table.
const SLOTS_MIN: usize = 1 << 10;

/// Marks a free slot; no record has this offset.
const FREE: u64 = u64::MAX;

/// Maps keys to the last offset they were met at.
#[derive(Debug)]
pub(crate) struct KeyMap {
    hashes: [RandomState; 2],
    slots: Vec<Slot>,
    slots_max: usize,
    keys: usize,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: [u64; 2],
    offset: u64,
}

impl KeyMap {
    /// Makes an empty map that is full at about `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let fitting = (bytes_max / size_of::<Slot>()).max(SLOTS_MIN);
        // Tables double: the largest power of two that fits.
        let slots_max = 1 << fitting.ilog2();
        let hashes = [RandomState::new(), RandomState::new()];
        Self { hashes, slots: vec![Slot::FREE; SLOTS_MIN], slots_max, keys: 0 }
    }

    /// Tells whether no more keys should be noted. One that is noted all the same is.
    pub(crate) fn is_full(&self) -> bool {
        self.keys >= room_of(self.slots_max)
    }

    /// Notes that a key was met at an offset, above those before.
    pub(crate) fn note(&mut self, key: &[u8], offset: u64) {
        if self.keys >= room_of(self.slots.len()) {
            self.grow();
        }
        let hash = self.hash(key);
        let place = self.place(hash);
        let slot = &mut self.slots[place];
        if slot.offset == FREE {
            self.keys += 1;
        }
        *slot = Slot { hash, offset };
    }

    /// Gives the last offset noted of a key.
    pub(crate) fn last(&self, key: &[u8]) -> Option<u64> {
        let slot = self.slots[self.place(self.hash(key))];
        (slot.offset != FREE).then_some(slot.offset)
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        [self.hashes[0].hash_one(key), self.hashes[1].hash_one(key)]
    }

    /// Finds the slot of a hash, or the free one where it belongs.
    fn place(&self, hash: [u64; 2]) -> usize {
        let mask = self.slots.len() - 1;
        let mut place = hash[0] as usize & mask;
        while self.slots[place].offset != FREE && self.slots[place].hash != hash {
            place = (place + 1) & mask;
        }
        place
    }

    fn grow(&mut self) {
        let larger = vec![Slot::FREE; 2 * self.slots.len()];
        let slots = std::mem::replace(&mut self.slots, larger);
        for slot in slots.into_iter().filter(|slot| slot.offset != FREE) {
            let place = self.place(slot.hash);
            self.slots[place] = slot;
        }
    }
}

impl Slot {
    const FREE: Self = Self { hash: [0; 2], offset: FREE };
}

/// Counts the keys that a table of so many slots takes.
fn room_of(slots: usize) -> usize {
    slots / 3 * 2
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(keys in prop::collection::vec(0..5_000_u32, 0..10_000)) {
            let (mut map, mut model) = (KeyMap::new(0), HashMap::new());
            for (offset, key) in (0..).zip(&keys) {
                map.note(&key.to_be_bytes(), offset);
                model.insert(key, offset);
            }
            for key in 0..5_000_u32 {
                prop_assert_eq!(map.last(&key.to_be_bytes()), model.get(&key).copied());
            }
            prop_assert_eq!(map.keys, model.len());
        }
    }

    #[test]
    fn it_says_when_it_is_full_and_takes_what_comes_all_the_same() {
        let mut map = KeyMap::new(64 << 10);
        let mut taken = 0_u64;
        while !map.is_full() {
            map.note(&taken.to_be_bytes(), taken);
            taken += 1;
        }
        assert!((1_300..64 * 1024 / 24).contains(&taken), "{taken}");
        for key in 0..5_000_u64 {
            map.note(&key.to_be_bytes(), key + 7);
        }
        assert!((0..5_000_u64).all(|key| map.last(&key.to_be_bytes()) == Some(key + 7)));
        assert_eq!(map.last(b"another"), None);
    }
}
