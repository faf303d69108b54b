//! A subscription whose partitions a group assigns: it reads what its member has, tells it of changes, and gives only what it may.

use std::collections::BTreeMap;
use std::sync::Arc;

use skidway_record::{Offset, TopicPartition};
use skidway_wire::groups::{GroupAssignment, GroupGap, PartitionOffset};

use crate::groups::{Held, Holding, Seat, Shard};
use crate::listen::http::answers::Failure;
use crate::listen::http::door::Door;
use crate::listen::http::groups::{shown_name, shown_offset};
use crate::log::Log;
use crate::read::{self, Assigned, Subscription};

/// Is something to tell a member: its name, and a JSON object.
pub(super) type Told = (&'static str, String);

/// Joins a member's seat with what is read for it.
pub(super) struct Seated {
    seat: Seat,
    log: Arc<dyn Log>,
    /// What is read, by what reading knows it as.
    reads: BTreeMap<([u8; 16], u32), Held>,
    /// What it had at last, leaving or not.
    had: BTreeMap<Shard, Had>,
    is_new: bool,
    /// The group changed while this was waited for.
    has_news: bool,
    generation: u64,
}

/// Is a partition that a member has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Had {
    since: u64,
    is_read: bool,
}

impl Seated {
    /// Lets nothing be read before [`Seated::adopt`]. A token of before commits nothing.
    pub(super) fn new(door: &Door, seat: Seat, subscription: &mut Subscription) -> Self {
        subscription.place_mut().stamp = Some(seat.stamp(0).encode().into());
        let (log, reads, had) = (door.log.clone(), BTreeMap::new(), BTreeMap::new());
        Self { seat, log, reads, had, is_new: true, has_news: false, generation: 0 }
    }

    /// Gives the seat.
    pub(super) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Gives the generation that was adopted last.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Tells whether there is something to adopt.
    pub(super) fn has_changed(&self) -> bool {
        self.is_new || self.has_news || self.seat.has_changed()
    }

    /// Waits until there may be something to adopt; for ever if there is no seat.
    pub(super) async fn changed(seated: Option<&mut Self>) {
        match seated {
            Some(seated) => {
                seated.seat.changed().await;
                seated.has_news = true;
            }
            None => std::future::pending().await,
        }
    }

    /// Begins the member's lease anew.
    ///
    /// # Errors
    /// 410 if it is not in the group any more.
    pub(super) fn renew(&self) -> Result<(), Failure> {
        Ok(self.seat.renew()?)
    }

    /// Lets the subscription read what the member has by now; gives what to tell it: gaps, and what changed.
    ///
    /// # Errors
    /// 410 if the member is not in the group any more; what the subscription refuses.
    pub(super) fn adopt(&mut self, subscription: &mut Subscription) -> Result<Vec<Told>, Failure> {
        self.has_news = false;
        let mut holding = self.seat.holding()?;
        let mut told = Vec::new();
        for held in &mut holding.reads {
            let id = (held.shard.id, held.shard.partition.0);
            // What it reads already goes on where it is.
            if let Some(known) = self.reads.get(&id).filter(|known| known.since == held.since) {
                held.at = known.at;
            } else if let Some(gap) = self.start_within_log(held) {
                told.push(gap);
            }
        }
        let changed = self.changes(&holding);
        if changed.is_some() {
            let assigned =
                holding.reads.iter().map(|held| Assigned { topic: held.shard.id, of: held.shard.of(), next: held.at });
            subscription.assign(assigned.collect::<Vec<_>>())?;
            let reads = holding.reads.iter();
            self.reads = reads.map(|held| ((held.shard.id, held.shard.partition.0), held.clone())).collect();
        }
        subscription.place_mut().stamp = Some(self.seat.stamp(holding.generation).encode().into());
        // What changed comes last: then all that was given before is known to who commits the token with it.
        told.extend(changed);
        (self.is_new, self.generation) = (false, holding.generation);
        Ok(told)
    }

    /// Lets a partition start where the log does, if records were deleted before the group read them.
    fn start_within_log(&self, held: &mut Held) -> Option<Told> {
        let log_start = self.log.offsets(&held.shard.of()).ok()?.log_start;
        if held.at >= log_start {
            return None;
        }
        self.seat.lost(&held.shard, held.at, log_start);
        let from = std::mem::replace(&mut held.at, log_start);
        Some(gap(&held.shard.of(), from, log_start))
    }

    /// Says what changed for the member since it was told; `None` if nothing did.
    fn changes(&mut self, holding: &Holding) -> Option<Told> {
        let mut has = BTreeMap::new();
        has.extend(holding.reads.iter().map(|held| (held.shard.clone(), Had { since: held.since, is_read: true })));
        has.extend(holding.leaves.iter().map(|held| (held.shard.clone(), Had { since: held.since, is_read: false })));
        if has == self.had && !self.is_new {
            return None;
        }
        let had = std::mem::replace(&mut self.had, has);
        let known = |held: &&Held| had.get(&held.shard).is_some_and(|had| had.since == held.since && had.is_read);
        let offset = |held: &Held| shown_offset(&(held.shard.clone(), held.at));
        let still = |(shard, had): &(&Shard, &Had)| self.had.get(*shard).is_some_and(|now| now.since == had.since);
        let told = GroupAssignment {
            group: self.seat.group().to_string(),
            member: self.seat.member().to_string(),
            generation: holding.generation,
            partitions: holding.reads.iter().map(offset).collect(),
            added: holding.reads.iter().filter(|held| !known(held)).map(|held| shown_name(&held.shard.of())).collect(),
            revoked: holding.leaves.iter().filter(known).map(offset).collect::<Vec<PartitionOffset>>(),
            moved: had.iter().filter(|had| !still(had)).map(|(shard, _)| shown_name(&shard.of())).collect(),
        };
        Some(("assignment", serde_json::to_string(&told).expect("an assignment is plain JSON")))
    }

    /// Notes what is about to be given of one partition; false if it may not be.
    pub(super) fn give(&mut self, shard: read::Shard, to: Offset) -> bool {
        let Some(held) = self.reads.get_mut(&(shard.topic, shard.partition.0)) else { return false };
        let gives = Held { at: to, ..held.clone() };
        let may = self.seat.give(std::slice::from_ref(&gives));
        if may {
            *held = gives;
        }
        may
    }

    /// Gives what is read, with the places where the subscription stands.
    pub(super) fn reads_at(&self, subscription: &Subscription) -> Vec<Held> {
        let mut reads = Vec::with_capacity(self.reads.len());
        for place in &subscription.place().topics {
            for (index, at) in place.positions.iter().enumerate() {
                let held = self.reads.get(&(place.topic, place.partition(index).0));
                reads.extend(held.map(|held| Held { at: *at, ..held.clone() }));
            }
        }
        reads
    }

    /// Passes over records that were deleted while they were to be read; gives what to tell of it.
    pub(super) fn pass_over_deleted(&mut self, subscription: &mut Subscription) -> Vec<Told> {
        let mut told = Vec::new();
        for (of, passed) in subscription.pass_over_deleted() {
            let Some(held) = self.reads.values_mut().find(|held| held.shard.of() == of) else { continue };
            held.at = passed.end;
            self.seat.lost(&held.shard, passed.start, passed.end);
            told.push(gap(&of, passed.start, passed.end));
        }
        told
    }
}

fn gap(of: &TopicPartition, from: Offset, to: Offset) -> Told {
    let gap = GroupGap {
        topic: of.topic.to_string(),
        partition: of.partition.0,
        offset: from.0,
        next_offset: to.0,
        reason: format!("offsets {from}..{to} of {of} were deleted before the group read them"),
    };
    ("gap", serde_json::to_string(&gap).expect("a gap is plain JSON"))
}
