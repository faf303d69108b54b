//! One group, whole: who has which partition, since which generation, up to where it was given; and who may commit what.
//!
//! Pure: the time is handed in, nothing is stored and nobody is told anything here. A partition that moves is first taken from who has it:
//! nothing more of it is given to that member from then on. Its next member gets it once all that was given is committed, at the latest after
//! `rebalance_timeout`, and starts at the committed offset. A *generation* numbers each change of members or of what they have; a partition's
//! *tenure* is one member's time with it, and tokens older than the tenure are fenced.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use skidway_record::{Offset, PartitionId};

use crate::groups::assignment::{TopicId, assign};
use crate::groups::membership::{Joining, Membership, Polled, Start, Ticket};
use crate::groups::offsets::{Committed, Offsets};
use crate::groups::{GroupError, GroupName, MemberId, Shard};
use crate::log::Topic;

/// Bounds what a group allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Members of a group.
    pub members_max: usize,
    /// How long a member may commit what it was given of a partition that moves.
    pub rebalance_timeout: Duration,
}

/// Is one member's time with a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tenure {
    member: MemberId,
    /// The generation it began with.
    since: u64,
    /// All before was given; `None` if nothing was.
    given: Option<Offset>,
    /// All before surely came: the page after it was asked for.
    came: Option<Offset>,
    /// Nothing more is given, and it ends then.
    ends: Option<Instant>,
}

/// Is a partition as its member has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub shard: Shard,
    /// The generation since which the member has it.
    pub since: u64,
    /// The next offset to be given.
    pub at: Offset,
}

/// Is what a member has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// The generation in force.
    pub generation: u64,
    /// What it reads.
    pub reads: Vec<Held>,
    /// What it reads no more, and may still commit.
    pub leaves: Vec<Held>,
}

/// Says who commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committer {
    /// Who got a token; only partitions had since before its generation.
    Token(MemberId, u64),
    /// A member by its name.
    Member(MemberId),
    /// Someone from outside; only while there is no member.
    Outside,
}

/// Says what may be committed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// What may.
    pub accepted: Vec<(Shard, Offset)>,
    /// What may not: another has it, or had it in between.
    pub refused: Vec<Shard>,
}

/// Says what a change came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebalanced {
    /// The generation it began.
    pub generation: u64,
    /// Partitions that got another member.
    pub moved: usize,
}

/// Coordinates one group.
#[derive(Debug)]
pub struct Coordinator {
    limits: Limits,
    generation: u64,
    topics: BTreeMap<TopicId, Topic>,
    members: Membership,
    /// Who was there at the last rebalance.
    settled: BTreeSet<MemberId>,
    tenures: BTreeMap<Shard, Tenure>,
    offsets: Offsets,
}

impl Coordinator {
    /// Starts without members, past a generation that may have been before.
    pub fn new(group: GroupName, limits: Limits, generation: u64) -> Self {
        Self {
            limits,
            generation,
            topics: BTreeMap::new(),
            members: Membership::new(group, limits.members_max),
            settled: BTreeSet::new(),
            tenures: BTreeMap::new(),
            offsets: Offsets::default(),
        }
    }

    /// Gives the generation in force.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Lets generations go on past one that was stored.
    pub fn go_on_after(&mut self, generation: u64) {
        self.generation = self.generation.max(generation);
    }

    /// Gives the members.
    pub fn members(&self) -> &Membership {
        &self.members
    }

    /// Gives the committed offsets.
    pub fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// Tells which members have what, leaving or not.
    pub fn owners(&self) -> impl Iterator<Item = (&Shard, &MemberId, bool)> {
        self.tenures.iter().map(|(shard, tenure)| (shard, &tenure.member, tenure.ends.is_some()))
    }

    /// Takes a member in. It has nothing before the next [`Coordinator::rebalance`].
    ///
    /// # Errors
    /// As [`Membership::join`].
    pub fn join(&mut self, joining: Joining, now: Instant) -> Result<(), GroupError> {
        self.members.join(joining, now)
    }

    /// Lets a member go; false if it was not there.
    pub fn leave(&mut self, member: &MemberId) -> bool {
        self.members.leave(member)
    }

    /// Begins a member's lease anew; false if it is not there any more.
    pub fn renew(&mut self, member: &MemberId, now: Instant) -> bool {
        self.members.renew(member, now)
    }

    /// Lets all go whose lease is over; gives who.
    pub fn expire(&mut self, now: Instant) -> Vec<MemberId> {
        self.members.expire(now)
    }

    /// Tells when the next lease or tenure ends.
    pub fn next_deadline(&self) -> Option<Instant> {
        let tenures = self.tenures.values().filter_map(|tenure| tenure.ends).min();
        tenures.into_iter().chain(self.members.next_deadline()).min()
    }

    /// Takes over which topics there are.
    pub fn set_topics(&mut self, topics: &[Topic]) {
        self.topics = topics.iter().map(|topic| (topic.id, topic.clone())).collect();
    }

    /// Tells whether these are the topics that were taken over last.
    pub fn has_topics(&self, topics: &[Topic]) -> bool {
        self.topics.len() == topics.len() && topics.iter().all(|topic| self.topics.get(&topic.id) == Some(topic))
    }

    /// Tells whether members came or went since the last rebalance.
    pub fn is_unsettled(&self) -> bool {
        self.settled.len() != self.members.len() || self.members.iter().any(|(id, _)| !self.settled.contains(id))
    }

    /// Gives what somebody subscribes to while nothing is committed for it, and where the group starts there. Nobody gets it before that is.
    ///
    /// A partition that is new to a group with members, or to a topic that the group reads already, is read from its first record on.
    pub fn unstarted(&self) -> Vec<(Shard, Start)> {
        let mut unstarted = Vec::new();
        for topic in self.topics.values() {
            let Some((_, member)) = self.members.iter().find(|(_, member)| member.takes(&topic.name)) else { continue };
            let (missing, started): (Vec<Shard>, Vec<Shard>) =
                shards_of(topic).partition(|shard| self.offsets.get(shard).is_none());
            let known = !started.is_empty() || self.settled.iter().any(|id| self.takes(id, topic));
            let start = if known { Start::Earliest } else { member.start };
            unstarted.extend(missing.into_iter().map(|shard| (shard, start)));
        }
        unstarted
    }

    fn takes(&self, member: &MemberId, topic: &Topic) -> bool {
        self.members.iter().any(|(id, it)| id == member && it.takes(&topic.name))
    }

    /// Brings what members have to what they should have, as far as that may be by now; `None` if nothing changes.
    pub fn rebalance(&mut self, now: Instant) -> Option<Rebalanced> {
        let ids: BTreeSet<MemberId> = self.members.iter().map(|(id, _)| id.clone()).collect();
        let mut changed = std::mem::replace(&mut self.settled, ids) != self.settled;
        let wanted = self.wanted();
        let before = self.tenures.len();
        let (offsets, members, time) = (&self.offsets, &self.members, self.limits.rebalance_timeout);
        self.tenures.retain(|shard, tenure| {
            if !members.has(&tenure.member) || !wanted.contains_key(shard) {
                return false;
            }
            if wanted.get(shard) == Some(&tenure.member) {
                changed |= tenure.ends.take().is_some();
                return true;
            }
            changed |= tenure.ends.is_none();
            let ends = *tenure.ends.get_or_insert(now + time);
            let settled = tenure.given.is_none_or(|given| offsets.get(shard).is_some_and(|it| it.offset >= given));
            ends > now && !settled
        });
        changed |= self.tenures.len() != before;
        let begins: Vec<_> = wanted.into_iter().filter(|(shard, _)| !self.tenures.contains_key(shard)).collect();
        if !changed && begins.is_empty() {
            return None;
        }
        self.generation += 1;
        let moved = begins.len();
        for (shard, member) in begins {
            let tenure = Tenure { member, since: self.generation, given: None, came: None, ends: None };
            self.tenures.insert(shard, tenure);
        }
        Some(Rebalanced { generation: self.generation, moved })
    }

    /// Says who should have what, of what may be given at all.
    fn wanted(&self) -> BTreeMap<Shard, MemberId> {
        let subscriptions = self.members.subscriptions(self.topics.values());
        let started = |shard: &Shard| self.offsets.get(shard).is_some();
        let shards = self.topics.values().flat_map(shards_of).filter(started).collect();
        let current = self.tenures.iter().map(|(shard, tenure)| (shard.clone(), tenure.member.clone())).collect();
        assign(&shards, &subscriptions, &current)
    }

    /// Tells what a member has; `None` if it is not in the group any more.
    pub fn holding(&self, member: &MemberId) -> Option<Holding> {
        if !self.members.has(member) {
            return None;
        }
        let mut holding = Holding { generation: self.generation, reads: Vec::new(), leaves: Vec::new() };
        for (shard, tenure) in self.tenures.iter().filter(|(_, tenure)| tenure.member == *member) {
            let held = Held { shard: shard.clone(), since: tenure.since, at: self.place(shard, tenure) };
            if tenure.ends.is_some() { holding.leaves.push(held) } else { holding.reads.push(held) }
        }
        Some(holding)
    }

    fn place(&self, shard: &Shard, tenure: &Tenure) -> Offset {
        let committed = self.offsets.get(shard).map_or(Offset(0), |committed| committed.offset);
        tenure.given.map_or(committed, |given| given.max(committed))
    }

    /// Notes what is given to a member, all of it or nothing: false if some of it is not the member's any more, and must not be given.
    pub fn give(&mut self, member: &MemberId, gives: &[Held]) -> bool {
        let has = |held: &Held| {
            let tenure = self.tenures.get(&held.shard);
            tenure.is_some_and(|it| it.member == *member && it.since == held.since && it.ends.is_none())
        };
        if !self.members.has(member) || !gives.iter().all(has) {
            return false;
        }
        for held in gives {
            if let Some(tenure) = self.tenures.get_mut(&held.shard) {
                tenure.given = Some(held.at);
            }
        }
        true
    }

    /// Begins a poll of a member without a connection of its own: what the page before gave came, or is to be given again.
    ///
    /// # Errors
    /// As [`Membership::begin_poll`].
    pub fn begin_poll(&mut self, member: &MemberId, page: u64) -> Result<Ticket, GroupError> {
        let (ticket, polled) = self.members.begin_poll(member, page)?;
        for tenure in self.tenures.values_mut().filter(|tenure| tenure.member == *member) {
            match polled {
                Polled::Acknowledged => tenure.came = tenure.given,
                Polled::Repeated => tenure.given = tenure.came,
            }
        }
        Ok(ticket)
    }

    /// Gives a page that tells of a generation: notes its records and numbers it; `None` if some of it is not the member's any more.
    ///
    /// # Errors
    /// As [`Membership::number_page`].
    pub fn give_page(&mut self, ticket: &Ticket, gives: &[Held], generation: u64) -> Result<Option<u64>, GroupError> {
        self.members.check(ticket)?;
        match self.give(&ticket.member, gives) {
            true => self.members.number_page(ticket, generation).map(Some),
            false => Ok(None),
        }
    }

    /// Ends a poll, however it ended.
    pub fn end_poll(&mut self, ticket: &Ticket, now: Instant) {
        self.members.end_poll(ticket, now);
    }

    /// Gives what surely came to a member, all that it has or leaves.
    pub fn came(&self, member: &MemberId) -> Vec<(Shard, Offset)> {
        let of = self.tenures.iter().filter(|(_, tenure)| tenure.member == *member);
        of.filter_map(|(shard, tenure)| Some((shard.clone(), tenure.came?))).collect()
    }

    /// Decides what of a commit may be written.
    ///
    /// # Errors
    /// [`GroupError::HasMembers`], [`GroupError::MemberGone`].
    pub fn judge(&self, by: &Committer, offsets: Vec<(Shard, Offset)>) -> Result<Verdict, GroupError> {
        let group = self.members.group();
        let (member, until) = match by {
            Committer::Outside if self.members.is_empty() => {
                return Ok(Verdict { accepted: offsets, refused: Vec::new() });
            }
            Committer::Outside => {
                let instead = "name the member, or commit the token of its records";
                return Err(GroupError::HasMembers { group: group.clone(), members: self.members.len(), instead });
            }
            Committer::Member(member) if !self.members.has(member) => {
                return Err(self.members.gone(member));
            }
            Committer::Member(member) => (member, self.generation),
            Committer::Token(member, generation) => (member, *generation),
        };
        let mut verdict = Verdict::default();
        for (shard, offset) in offsets {
            let tenure = self.tenures.get(&shard).filter(|_| self.members.has(member));
            match tenure.is_some_and(|tenure| tenure.member == *member && tenure.since <= until) {
                true => verdict.accepted.push((shard, offset)),
                false => verdict.refused.push(shard),
            }
        }
        Ok(verdict)
    }

    /// Takes what was written of a commit or a start.
    pub fn committed(&mut self, written: Vec<(Shard, Committed)>) {
        written.into_iter().for_each(|(shard, committed)| self.offsets.set(shard, committed));
    }

    /// Takes what was written of a reset: whoever has such a partition has it anew, from the committed offset on.
    pub fn reset(&mut self, written: Vec<(Shard, Committed)>) {
        for (shard, committed) in written {
            self.tenures.remove(&shard);
            self.offsets.set(shard, committed);
        }
    }

    /// Forgets committed offsets.
    pub fn forget(&mut self, shards: &[Shard]) {
        for shard in shards {
            self.offsets.remove(shard);
            self.tenures.remove(shard);
        }
    }
}

fn shards_of(topic: &Topic) -> impl Iterator<Item = Shard> {
    let partitions = 0..topic.config.partitions;
    partitions.map(|number| Shard { topic: topic.name.clone(), id: topic.id, partition: PartitionId(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::TopicConfig;
    use proptest::prelude::*;
    use skidway_record::TopicName;

    const SESSION: Duration = Duration::from_secs(30);
    const GRACE: Duration = Duration::from_secs(10);

    /// A group on one topic of so many partitions, and the time.
    struct Table {
        core: Coordinator,
        now: Instant,
        partitions: u32,
        next_offset: u64,
    }

    impl Table {
        fn new(partitions: u32) -> Self {
            let limits = Limits { members_max: 100, rebalance_timeout: GRACE };
            let core = Coordinator::new(GroupName::new("g").unwrap(), limits, 0);
            let mut table = Self { core, now: Instant::now(), partitions, next_offset: 0 };
            table.grow(partitions);
            table
        }

        fn grow(&mut self, partitions: u32) {
            self.partitions = partitions;
            let config = TopicConfig { partitions, ..TopicConfig::default() };
            self.core.set_topics(&[Topic { id: [1; 16], name: TopicName::new("t").unwrap(), config }]);
        }

        fn join(&mut self, member: u32) {
            let joining = Joining {
                id: id(member),
                client: "test".to_owned(),
                at_ms: 0,
                topics: vec!["t".to_owned()],
                start: Start::Earliest,
                session_timeout: SESSION,
            };
            self.core.join(joining, self.now).unwrap();
            self.rebalance();
        }

        fn leave(&mut self, member: u32) {
            self.core.leave(&id(member));
            self.rebalance();
        }

        /// Starts what is new, as the shell does, and rebalances.
        fn rebalance(&mut self) -> Option<Rebalanced> {
            let starts = self.core.unstarted().into_iter().map(|(shard, _)| (shard, at(0))).collect();
            self.core.committed(starts);
            self.core.rebalance(self.now)
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.rebalance();
        }

        fn reads(&self, member: u32) -> Vec<u32> {
            let holding = self.core.holding(&id(member)).unwrap();
            holding.reads.iter().map(|held| held.shard.partition.0).collect()
        }

        fn leaves(&self, member: u32) -> Vec<u32> {
            let holding = self.core.holding(&id(member)).unwrap();
            holding.leaves.iter().map(|held| held.shard.partition.0).collect()
        }

        /// Gives a member everything up to an offset in all that it reads.
        fn give(&mut self, member: u32, to: u64) -> bool {
            let mut gives = self.core.holding(&id(member)).unwrap().reads;
            gives.iter_mut().for_each(|held| held.at = Offset(to));
            self.core.give(&id(member), &gives)
        }

        fn token(&self, member: u32) -> Committer {
            Committer::Token(id(member), self.core.generation())
        }

        fn commit(&mut self, by: &Committer, partitions: &[u32], to: u64) -> (usize, usize) {
            let offsets = partitions.iter().map(|&partition| (shard(partition), Offset(to))).collect();
            let verdict = self.core.judge(by, offsets).unwrap();
            let counts = (verdict.accepted.len(), verdict.refused.len());
            let moves = |(shard, offset): &(Shard, Offset)| self.core.offsets().moves_on(shard, *offset);
            let written = verdict.accepted.into_iter().filter(moves).map(|(shard, offset)| (shard, at(offset.0)));
            let written = written.collect();
            self.core.committed(written);
            self.rebalance();
            counts
        }
    }

    fn id(member: u32) -> MemberId {
        MemberId::new(&format!("m{member:03}")).unwrap()
    }

    fn shard(partition: u32) -> Shard {
        Shard { topic: TopicName::new("t").unwrap(), id: [1; 16], partition: PartitionId(partition) }
    }

    fn at(offset: u64) -> Committed {
        Committed { offset: Offset(offset), log_epoch: 1, at_ms: 0, metadata: String::new() }
    }

    #[test]
    fn what_was_given_and_not_committed_stays_until_it_is_or_the_time_is_over() {
        let mut table = Table::new(4);
        table.join(1);
        table.give(1, 7);
        table.join(2);
        assert_eq!((table.reads(1), table.leaves(1), table.reads(2)), (vec![0, 1], vec![2, 3], vec![]));
        let token = table.token(1);
        assert_eq!(table.commit(&token, &[2], 7), (1, 0));
        assert_eq!((table.leaves(1), table.reads(2)), (vec![3], vec![2]), "one is committed, and moves");
        table.pass(GRACE);
        assert_eq!((table.leaves(1), table.reads(2)), (vec![], vec![2, 3]), "the other's time is over");
        assert_eq!(table.core.holding(&id(2)).unwrap().reads[1].at, Offset(0), "from the committed offset on");
    }

    #[test]
    fn what_is_committed_moves_at_once() {
        let mut table = Table::new(2);
        table.join(1);
        table.give(1, 7);
        let token = table.token(1);
        table.commit(&token, &[0, 1], 7);
        table.join(2);
        assert_eq!((table.reads(1), table.leaves(1), table.reads(2)), (vec![0], vec![], vec![1]));
        assert_eq!(table.core.holding(&id(2)).unwrap().reads[0].at, Offset(7));
    }

    #[test]
    fn nothing_more_is_given_of_a_partition_that_leaves() {
        let mut table = Table::new(2);
        table.join(1);
        table.give(1, 7);
        let before = table.core.holding(&id(1)).unwrap().reads;
        table.join(2);
        assert!(!table.core.give(&id(1), &before), "a page with some of it is not given at all");
        assert!(table.give(1, 8));
    }

    #[test]
    fn a_token_of_before_is_fenced_even_if_the_partition_came_back() {
        let mut table = Table::new(1);
        table.join(2);
        table.give(2, 5);
        let old = table.token(2);
        table.join(1);
        table.leave(2);
        assert_eq!(table.reads(1), [0]);
        assert_eq!(table.commit(&old, &[0], 5), (0, 1), "it is another's");
        table.join(2);
        table.leave(1);
        assert_eq!(table.reads(2), [0]);
        assert_eq!(table.commit(&old, &[0], 5), (0, 1), "it was another's in between");
        assert_eq!(table.commit(&table.token(2).clone(), &[0], 5), (1, 0));
    }

    #[test]
    fn from_outside_offsets_are_committed_only_while_nobody_is_there() {
        let mut table = Table::new(1);
        assert_eq!(table.commit(&Committer::Outside, &[0], 5), (1, 0));
        table.join(1);
        assert!(matches!(
            table.core.judge(&Committer::Outside, vec![(shard(0), Offset(6))]),
            Err(GroupError::HasMembers { members: 1, .. })
        ));
        assert_eq!(table.commit(&Committer::Member(id(1)), &[0], 6), (1, 0));
        let gone = table.core.judge(&Committer::Member(id(9)), Vec::new());
        assert!(matches!(gone, Err(GroupError::MemberGone { .. })));
    }

    #[test]
    fn a_reset_lets_whoever_reads_begin_anew() {
        let mut table = Table::new(1);
        table.join(1);
        table.give(1, 9);
        let token = table.token(1);
        table.commit(&token, &[0], 9);
        table.core.reset(vec![(shard(0), at(3))]);
        table.rebalance();
        let held = &table.core.holding(&id(1)).unwrap().reads[0];
        assert_eq!(held.at, Offset(3));
        assert_eq!(table.commit(&token, &[0], 9), (0, 1), "what was given before does not count any more");
    }

    #[test]
    fn a_repeated_poll_is_given_the_same_again() {
        let mut table = Table::new(1);
        table.join(1);
        let page = |table: &mut Table, seen, to| {
            let ticket = table.core.begin_poll(&id(1), seen).unwrap();
            let mut gives = table.core.holding(&id(1)).unwrap().reads;
            let from = gives[0].at.0;
            gives[0].at = Offset(to);
            let page = table.core.give_page(&ticket, &gives, 1).unwrap().unwrap();
            table.core.end_poll(&ticket, table.now);
            (page, from)
        };
        assert_eq!(page(&mut table, 0, 10), (1, 0));
        assert_eq!(page(&mut table, 1, 20), (2, 10));
        assert_eq!(table.core.came(&id(1)), [(shard(0), Offset(10))], "the second page may not have come");
        assert_eq!(page(&mut table, 1, 20), (2, 10));
        assert_eq!(page(&mut table, 2, 30), (3, 20));
        assert_eq!(table.core.came(&id(1)), [(shard(0), Offset(20))]);
    }

    #[test]
    fn a_group_starts_where_its_first_member_says_and_reads_what_comes_to_be_from_its_beginning() {
        let mut table = Table::new(2);
        let joining = Joining {
            id: id(1),
            client: String::new(),
            at_ms: 0,
            topics: vec!["*".to_owned()],
            start: Start::Latest,
            session_timeout: SESSION,
        };
        table.core.join(joining, table.now).unwrap();
        assert_eq!(table.core.unstarted(), [(shard(0), Start::Latest), (shard(1), Start::Latest)]);
        assert_eq!(table.core.rebalance(table.now).unwrap().moved, 0, "nobody has what is not started");
        assert_eq!(table.rebalance().unwrap().moved, 2);
        table.grow(3);
        assert_eq!(table.core.unstarted(), [(shard(2), Start::Earliest)]);
        table.rebalance();
        assert_eq!(table.reads(1), [0, 1, 2]);
    }

    /// What happens to a group.
    #[derive(Debug, Clone)]
    enum Step {
        Join(u32),
        Leave(u32),
        Give(u32),
        Commit(u32),
        Pass(u64),
        Grow,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let member = 0_u32..6;
        let step = prop_oneof![
            member.clone().prop_map(Step::Join),
            member.clone().prop_map(Step::Leave),
            member.clone().prop_map(Step::Give),
            member.prop_map(Step::Commit),
            (0_u64..20).prop_map(Step::Pass),
            Just(Step::Grow),
        ];
        prop::collection::vec(step, 1..60)
    }

    impl Table {
        fn take(&mut self, step: &Step) {
            let is_there = |table: &Self, member: u32| table.core.members().has(&id(member));
            match *step {
                Step::Join(member) if !is_there(self, member) => self.join(member),
                Step::Leave(member) => self.leave(member),
                Step::Give(member) if is_there(self, member) => {
                    self.next_offset += 1;
                    assert!(self.give(member, self.next_offset), "what it reads may be given");
                }
                Step::Commit(member) if is_there(self, member) => {
                    let holding = self.core.holding(&id(member)).unwrap();
                    let all = holding.reads.iter().chain(&holding.leaves).map(|held| (held.shard.clone(), held.at));
                    let token = self.token(member);
                    let verdict = self.core.judge(&token, all.collect()).unwrap();
                    assert!(verdict.refused.is_empty(), "what it has, leaving or not, it may commit");
                    self.core.committed(verdict.accepted.into_iter().map(|(shard, to)| (shard, at(to.0))).collect());
                    self.rebalance();
                }
                Step::Pass(seconds) => {
                    self.now += Duration::from_secs(seconds);
                    self.core.expire(self.now);
                    self.rebalance();
                }
                Step::Grow if self.partitions < 20 => {
                    self.grow(self.partitions + 1);
                    self.rebalance();
                }
                _ => {}
            }
        }

        fn owners(&self) -> BTreeMap<Shard, MemberId> {
            self.core.owners().map(|(shard, member, _)| (shard.clone(), member.clone())).collect()
        }

        fn committed(&self) -> BTreeMap<Shard, Offset> {
            self.core.offsets().iter().map(|(shard, it)| (shard.clone(), it.offset)).collect()
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_each_partition_has_one_member_and_generations_grow(
            partitions in 1_u32..12, steps in steps(),
        ) {
            let mut table = Table::new(partitions);
            for step in steps {
                let (owners, generation, committed) = (table.owners(), table.core.generation(), table.committed());
                table.take(&step);
                let after = table.owners();
                prop_assert!(table.core.generation() >= generation);
                if after != owners {
                    prop_assert!(table.core.generation() > generation, "{:?}", step);
                }
                prop_assert!(after.values().all(|member| table.core.members().has(member)));
                let moved_back = committed.iter().any(|(shard, at)| table.committed()[shard] < *at);
                prop_assert!(!moved_back, "no committed offset moves back");
                prop_assert!(table.rebalance().is_none(), "what is settled stays as it is");
                if !table.core.members().is_empty() {
                    prop_assert_eq!(after.len(), table.partitions as usize, "every partition has exactly one member");
                }
            }
            // Leases would end as well; what is asked here is what time does to partitions that move.
            table.now += GRACE;
            table.rebalance();
            let mut loads: BTreeMap<MemberId, usize> = table.core.members().iter().map(|(id, _)| (id.clone(), 0)).collect();
            table.core.owners().for_each(|(_, member, _)| *loads.get_mut(member).unwrap() += 1);
            let (most, least) = (loads.values().max(), loads.values().min());
            prop_assert!(most.unwrap_or(&0) - least.unwrap_or(&0) <= 1, "{:?}", loads);
            prop_assert!(table.core.owners().all(|(_, _, is_moving)| !is_moving));
        }
    }
}
