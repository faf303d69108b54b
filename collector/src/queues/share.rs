//! One queue's window over one partition: KIP-932's share-group states, without clock, log or lock.
//!
//! ```text
//!   log:   … finished … | start   window   end | not looked at yet …
//!
//!   offer ─▶ Delayed ─▶ Ready ─▶ Leased ──ack──▶ finished (gone from the window)
//!               ▲         ▲  ▲────┘ lease over, fewer deliveries than are allowed
//!               └──nack───┴───────┘
//!                       Leased ──nack as dead, or deliveries used up──▶ Dying ──its dead letter is written──▶ finished
//! ```
//!
//! The window holds the records that are not finished, and no others: what lies between them is finished. So its size, and that of its
//! [encoding](super::window), goes by the records in flight, however far apart they are. Records come in by [`Share::offer`] in the order of their offsets.
//! A delivery is named by a record's offset and its number among the record's deliveries; whoever still has the newest number may finish the record,
//! also when the lease is over, as long as nobody else was given it.

mod standing;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use skidway_record::Offset;

pub use standing::{Counts, Dead, Delivery, Entry, Settled, Skipped, State};

/// Is what a record may be ordered by: a hash of its key. Equal hashes of different keys make one wait for the other, no more.
pub type KeyHash = u64;

/// Holds the window of one queue over one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Share {
    /// First offset that was not looked at; every offset below it that has no entry is finished.
    pub(super) end: Offset,
    pub(super) entries: BTreeMap<Offset, Entry>,
    /// Those that can be given away now: ready, and with nothing of the same key before them.
    ready: BTreeSet<Offset>,
    /// When leases and delays end.
    due: BTreeSet<(i64, Offset)>,
    /// Unfinished records of each key, if order is kept.
    keys: HashMap<KeyHash, BTreeSet<Offset>>,
    ordered: bool,
    /// Records whose keys were not read again since the start.
    unlearned: BTreeSet<Offset>,
    /// Records that died and were not collected yet, with the reason.
    dead: Vec<(Offset, String)>,
    counts: Counts,
}

impl Share {
    /// Makes an empty window that begins at an offset. With `ordered`, records of one key are given away one after the other.
    pub fn new(end: Offset, ordered: bool) -> Self {
        Self { end, ordered, ..Self::default() }
    }

    /// Makes a window of what was read back: leases are over, keys unknown until [`Share::learn`] tells them.
    pub(super) fn restored(
        end: Offset,
        ordered: bool,
        entries: impl IntoIterator<Item = (Offset, u32, State)>,
    ) -> Self {
        let mut share = Self::new(end, ordered);
        for (offset, deliveries, state) in entries {
            if ordered {
                share.unlearned.insert(offset);
            }
            share.insert(offset, Entry { deliveries, state, key: None });
        }
        share
    }

    /// Gives the first offset that is not finished.
    pub fn start(&self) -> Offset {
        self.entries.first_key_value().map_or(self.end, |(offset, _)| *offset)
    }

    /// Gives the first offset that was not looked at.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Tells whether a record is in the window.
    pub fn contains(&self, offset: Offset) -> bool {
        self.entries.contains_key(&offset)
    }

    /// Tells how many records are in the window.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether nothing is in the window.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Counts the records by how they stand.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Tells whether there is a record that can be given away now.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Gives the first record whose key is still to be learned.
    pub fn first_unlearned(&self) -> Option<Offset> {
        self.unlearned.first().copied()
    }

    /// Tells when the next lease or delay ends.
    pub fn next_due(&self) -> Option<i64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes the next record in; one below the end is known already. Nobody may have it before `not_before`.
    pub fn offer(&mut self, offset: Offset, key: Option<KeyHash>, not_before: Option<i64>, now: i64) {
        if offset < self.end {
            return;
        }
        self.end = Offset(offset.0 + 1);
        let state = not_before.filter(|at| *at > now).map_or(State::Ready, State::Delayed);
        let key = key.filter(|_| self.ordered);
        if let Some(key) = key {
            self.keys.entry(key).or_default().insert(offset);
        }
        self.insert(offset, Entry { deliveries: 0, state, key });
    }

    /// Says that there are no records below this offset that were not offered.
    pub fn pass(&mut self, to: Offset) {
        self.end = self.end.max(to);
    }

    /// Tells the key of a record that was read back. Records are told in the order of their offsets.
    pub fn learn(&mut self, offset: Offset, key: Option<KeyHash>) {
        if !self.unlearned.remove(&offset) {
            return;
        }
        let Some(entry) = self.entries.get_mut(&offset) else { return };
        entry.key = key;
        if let Some(key) = key {
            self.keys.entry(key).or_default().insert(offset);
        }
        if entry.state == State::Ready && self.is_first(offset, key) {
            self.ready.insert(offset);
        }
    }

    /// Says that what was to be learned below this offset is not in the log any more: such records are finished.
    pub fn forget_unlearned(&mut self, below: Offset) -> Option<Skipped> {
        let gone: Vec<Offset> = self.unlearned.range(..below).copied().collect();
        self.skip(&gone)
    }

    /// Gives the next record away until `until`. One that was given away `deliveries_max` times dies instead, and the next one is taken.
    pub fn acquire(&mut self, until: i64, deliveries_max: u32) -> Option<Delivery> {
        while let Some(offset) = self.ready.first().copied() {
            let entry = self.entries.get_mut(&offset).expect("what is ready is in the window");
            if entry.deliveries >= deliveries_max {
                self.die(offset, "no delivery was finished, the last one not even when its lease was over");
                continue;
            }
            entry.deliveries += 1;
            let number = entry.deliveries;
            self.enter(offset, State::Leased(until));
            return Some(Delivery { offset, number });
        }
        None
    }

    /// Takes back a delivery that never reached anyone: as if it had not been.
    pub fn undo(&mut self, delivery: Delivery) {
        if let Some(entry) = self.entries.get_mut(&delivery.offset).filter(|entry| entry.deliveries == delivery.number)
        {
            entry.deliveries -= 1;
            self.enter(delivery.offset, State::Ready);
        }
    }

    /// Lets others have a record whose delivery nobody will finish. The delivery counts.
    pub fn release(&mut self, delivery: Delivery) {
        if let Ok(State::Leased(_)) = self.current(delivery).map(|entry| entry.state) {
            self.enter(delivery.offset, State::Ready);
        }
    }

    /// Finishes a record.
    pub fn ack(&mut self, delivery: Delivery) -> Settled {
        match self.current(delivery) {
            Err(settled) => settled,
            Ok(_) => {
                self.finish(delivery.offset);
                Settled::Done
            }
        }
    }

    /// Gives a record back: nobody may have it before `until`, or it dies if this was its last delivery or `dead` is set.
    pub fn nack(
        &mut self,
        delivery: Delivery,
        until: i64,
        now: i64,
        deliveries_max: u32,
        dead: bool,
        reason: &str,
    ) -> Settled {
        match self.current(delivery) {
            Err(settled) => settled,
            Ok(entry) if entry.state == State::Dying => Settled::Dying,
            Ok(entry) if dead || entry.deliveries >= deliveries_max => {
                self.die(delivery.offset, reason);
                Settled::Dying
            }
            Ok(_) => {
                self.enter(delivery.offset, if until > now { State::Delayed(until) } else { State::Ready });
                Settled::Done
            }
        }
    }

    /// Moves the end of a lease; one that is over begins again if nobody else was given the record.
    pub fn extend(&mut self, delivery: Delivery, until: i64) -> Settled {
        match self.current(delivery) {
            Err(settled) => settled,
            Ok(Entry { state: State::Dying, .. }) => Settled::Lost,
            Ok(_) => {
                self.enter(delivery.offset, State::Leased(until));
                Settled::Done
            }
        }
    }

    /// Ends the leases and delays whose time is over. Gives how many leases ended.
    pub fn expire(&mut self, now: i64, deliveries_max: u32) -> u64 {
        let mut leases = 0;
        while let Some((_, offset)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            let entry = self.entries[&offset];
            let was_leased = matches!(entry.state, State::Leased(_));
            leases += u64::from(was_leased);
            if was_leased && entry.deliveries >= deliveries_max {
                self.die(offset, "the lease was over");
            } else {
                self.enter(offset, State::Ready);
            }
        }
        leases
    }

    /// Gives the records that died since the last time.
    pub fn take_dead(&mut self) -> Vec<Dead> {
        let dead = std::mem::take(&mut self.dead);
        let still = |(offset, reason)| {
            let entry = self.entries.get(&offset).filter(|entry| entry.state == State::Dying)?;
            Some(Dead { offset, deliveries: entry.deliveries, reason })
        };
        dead.into_iter().filter_map(still).collect()
    }

    /// Finishes a record that died, its dead letter being written together with this state; false if it was finished before.
    pub fn bury(&mut self, offset: Offset) -> bool {
        let is_dying = self.entries.get(&offset).is_some_and(|entry| entry.state == State::Dying);
        if is_dying {
            self.finish(offset);
        }
        is_dying
    }

    /// Finishes what lies in a range that cannot be read, but for what someone has.
    pub fn skip_range(&mut self, from: Offset, to: Offset) -> Option<Skipped> {
        let is_free = |entry: &Entry| !matches!(entry.state, State::Leased(_));
        let gone: Vec<Offset> =
            self.entries.range(from..to).filter(|(_, entry)| is_free(entry)).map(|(offset, _)| *offset).collect();
        let unseen = Skipped { from: self.end.max(from), to, records: to.0.saturating_sub(self.end.max(from).0) };
        let seen = self.skip(&gone);
        if self.end >= from {
            self.pass(to);
        }
        match (seen, unseen.records) {
            (seen, 0) => seen,
            (None, _) => Some(unseen),
            (Some(seen), more) => Some(Skipped { from: seen.from, to, records: seen.records + more }),
        }
    }

    /// Finishes what retention took, but for what someone has.
    pub fn skip_before(&mut self, log_start: Offset) -> Option<Skipped> {
        if self.start() >= log_start { None } else { self.skip_range(self.start(), log_start) }
    }

    fn skip(&mut self, offsets: &[Offset]) -> Option<Skipped> {
        let (first, last) = (offsets.first()?, offsets.last()?);
        offsets.iter().for_each(|offset| self.finish(*offset));
        Some(Skipped { from: *first, to: Offset(last.0 + 1), records: offsets.len() as u64 })
    }

    /// Finds the record if this is its newest delivery.
    fn current(&self, delivery: Delivery) -> Result<Entry, Settled> {
        match self.entries.get(&delivery.offset) {
            None if delivery.offset < self.end => Err(Settled::Before),
            None => Err(Settled::Unknown),
            Some(entry) if entry.deliveries == delivery.number => Ok(*entry),
            Some(entry) if entry.deliveries > delivery.number => Err(Settled::Lost),
            Some(_) => Err(Settled::Unknown),
        }
    }

    fn die(&mut self, offset: Offset, reason: &str) {
        self.dead.push((offset, reason.to_owned()));
        self.enter(offset, State::Dying);
    }

    fn is_first(&self, offset: Offset, key: Option<KeyHash>) -> bool {
        if self.unlearned.contains(&offset) {
            return false;
        }
        key.is_none_or(|key| self.keys.get(&key).and_then(BTreeSet::first) == Some(&offset))
    }

    fn insert(&mut self, offset: Offset, entry: Entry) {
        self.entries.insert(offset, entry);
        self.arrive(offset, entry);
    }

    fn enter(&mut self, offset: Offset, state: State) {
        let entry = self.entries.get_mut(&offset).expect("only what is in the window changes");
        let before = std::mem::replace(&mut entry.state, state);
        let now = *entry;
        self.leave(offset, before);
        self.arrive(offset, now);
    }

    fn finish(&mut self, offset: Offset) {
        let Some(entry) = self.entries.remove(&offset) else { return };
        self.leave(offset, entry.state);
        self.unlearned.remove(&offset);
        let Some(key) = entry.key else { return };
        let Some(of_key) = self.keys.get_mut(&key) else { return };
        of_key.remove(&offset);
        match of_key.first().copied() {
            None => _ = self.keys.remove(&key),
            Some(next) if self.entries.get(&next).is_some_and(|entry| entry.state == State::Ready) => {
                self.ready.insert(next);
            }
            Some(_) => {}
        }
    }

    fn arrive(&mut self, offset: Offset, entry: Entry) {
        *self.counts.of(entry.state) += 1;
        match entry.state {
            State::Ready if self.is_first(offset, entry.key) => _ = self.ready.insert(offset),
            State::Leased(until) | State::Delayed(until) => _ = self.due.insert((until, offset)),
            State::Ready | State::Dying => {}
        }
    }

    fn leave(&mut self, offset: Offset, state: State) {
        *self.counts.of(state) -= 1;
        match state {
            State::Ready => _ = self.ready.remove(&offset),
            State::Leased(until) | State::Delayed(until) => _ = self.due.remove(&(until, offset)),
            State::Dying => {}
        }
    }
}
