//! Who reads which partition: balanced, and sticky.
//!
//! Pure. Partitions and members' topics in, one member for each partition out. Never looks at records, offsets or time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::groups::{MemberId, Shard};

/// Names a topic's incarnation.
pub type TopicId = [u8; 16];

/// Gives every partition that somebody subscribes to exactly one member.
///
/// Starts from `current` and moves as little as it can: members' loads cannot be made more even by moving any partition, not even by a chain of
/// moves, so that those who subscribe to the same topics differ by one at most.
pub fn assign(
    shards: &BTreeSet<Shard>,
    subscriptions: &BTreeMap<MemberId, BTreeSet<TopicId>>,
    current: &BTreeMap<Shard, MemberId>,
) -> BTreeMap<Shard, MemberId> {
    let mut plan = Plan::new(subscriptions);
    let keeps =
        |shard: &Shard, member: &MemberId| subscriptions.get(member).is_some_and(|topics| topics.contains(&shard.id));
    let mut homeless = Vec::new();
    for shard in shards {
        match current.get(shard).filter(|member| keeps(shard, member)).and_then(|member| plan.index(member)) {
            Some(member) => plan.give(member, shard.clone()),
            None => homeless.push(shard),
        }
    }
    // Those that few may have come first: whoever may have anything evens it out.
    homeless.sort_by_key(|shard| plan.readers(shard.id).len());
    for shard in homeless {
        if let Some(member) = plan.least_loaded(shard.id) {
            plan.give(member, shard.clone());
        }
    }
    while plan.move_one() {}
    plan.finish()
}

/// Is an assignment being made. Members are numbered in the order of their ids.
struct Plan<'a> {
    members: Vec<&'a MemberId>,
    /// Who subscribes to a topic.
    readers: BTreeMap<TopicId, Vec<usize>>,
    /// What each member has, by topic.
    held: Vec<BTreeMap<TopicId, BTreeSet<Shard>>>,
    loads: Vec<usize>,
}

impl<'a> Plan<'a> {
    fn new(subscriptions: &'a BTreeMap<MemberId, BTreeSet<TopicId>>) -> Self {
        let mut readers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
        for (index, topics) in subscriptions.values().enumerate() {
            topics.iter().for_each(|topic| readers.entry(*topic).or_default().push(index));
        }
        let count = subscriptions.len();
        Self {
            members: subscriptions.keys().collect(),
            readers,
            held: vec![BTreeMap::new(); count],
            loads: vec![0; count],
        }
    }

    fn index(&self, member: &MemberId) -> Option<usize> {
        self.members.binary_search(&member).ok()
    }

    fn readers(&self, topic: TopicId) -> &[usize] {
        self.readers.get(&topic).map_or(&[], Vec::as_slice)
    }

    fn least_loaded(&self, topic: TopicId) -> Option<usize> {
        self.readers(topic).iter().copied().min_by_key(|&member| self.loads[member])
    }

    fn give(&mut self, member: usize, shard: Shard) {
        self.held[member].entry(shard.id).or_default().insert(shard);
        self.loads[member] += 1;
    }

    /// Takes a partition of a topic from one member and gives it to another: the last one, so that who has little keeps the first.
    fn shift(&mut self, topic: TopicId, from: usize, to: usize) {
        let shards = self.held[from].get_mut(&topic);
        let Some(shard) = shards.and_then(BTreeSet::pop_last) else { return };
        self.loads[from] -= 1;
        self.give(to, shard);
    }

    /// Evens loads out by one; false if they are as even as can be.
    fn move_one(&mut self) -> bool {
        let mut by_load: Vec<usize> = (0..self.members.len()).collect();
        by_load.sort_by_key(|&member| std::cmp::Reverse(self.loads[member]));
        let least = self.loads.iter().copied().min().unwrap_or(0);
        for from in by_load {
            if self.loads[from] < least + 2 {
                return false;
            }
            if let Some(chain) = self.chain(from) {
                // From its far end, so that nobody ever hands on what it was only just given.
                chain.iter().rev().for_each(|&(topic, from, to)| self.shift(topic, from, to));
                return true;
            }
        }
        false
    }

    /// Finds the shortest chain of moves that takes one partition from `from` and gives one to a member that has at least two less.
    fn chain(&self, from: usize) -> Option<Vec<(TopicId, usize, usize)>> {
        let mut came: Vec<Option<(TopicId, usize)>> = vec![None; self.members.len()];
        let (mut topics_seen, mut queue) = (BTreeSet::new(), VecDeque::from([from]));
        let mut best: Option<usize> = None;
        while let Some(member) = queue.pop_front() {
            // Of the topic that it has most of first: each topic ends up with everyone.
            let mut topics: Vec<_> = self.held[member].iter().filter(|(_, shards)| !shards.is_empty()).collect();
            topics.sort_by_key(|(_, shards)| std::cmp::Reverse(shards.len()));
            for (&topic, _) in topics {
                if !topics_seen.insert(topic) {
                    continue;
                }
                for &reader in self.readers(topic) {
                    if reader == from || came[reader].is_some() {
                        continue;
                    }
                    came[reader] = Some((topic, member));
                    queue.push_back(reader);
                    let fits = self.loads[reader] + 2 <= self.loads[from];
                    if fits && best.is_none_or(|best| self.loads[reader] < self.loads[best]) {
                        best = Some(reader);
                    }
                }
            }
            if best.is_some() {
                break;
            }
        }
        let (mut to, mut chain) = (best?, Vec::new());
        while let Some((topic, member)) = came[to] {
            chain.push((topic, member, to));
            to = member;
        }
        chain.reverse();
        Some(chain)
    }

    fn finish(self) -> BTreeMap<Shard, MemberId> {
        let mut assigned = BTreeMap::new();
        for (member, topics) in self.members.iter().zip(self.held) {
            let shards = topics.into_values().flatten();
            assigned.extend(shards.map(|shard| (shard, (*member).clone())));
        }
        assigned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skidway_record::{PartitionId, TopicName};

    type Assigned = BTreeMap<Shard, MemberId>;

    fn shards(topics: &[(u8, u32)]) -> BTreeSet<Shard> {
        let of = |&(topic, partitions): &(u8, u32)| {
            let shard = move |partition| Shard {
                topic: TopicName::new(&format!("t{topic}")).unwrap(),
                id: [topic; 16],
                partition: PartitionId(partition),
            };
            (0..partitions).map(shard)
        };
        topics.iter().flat_map(of).collect()
    }

    fn members(subscriptions: &[(u8, &[u8])]) -> BTreeMap<MemberId, BTreeSet<TopicId>> {
        let one = |&(member, topics): &(u8, &[u8])| (id(member), topics.iter().map(|topic| [*topic; 16]).collect());
        subscriptions.iter().map(one).collect()
    }

    fn id(member: u8) -> MemberId {
        MemberId::new(&format!("m{member:03}")).unwrap()
    }

    fn loads(assigned: &Assigned, members: &BTreeMap<MemberId, BTreeSet<TopicId>>) -> Vec<usize> {
        members.keys().map(|member| assigned.values().filter(|it| *it == member).count()).collect()
    }

    fn moved(before: &Assigned, after: &Assigned) -> usize {
        before.iter().filter(|(shard, member)| after.get(shard).is_some_and(|now| now != *member)).count()
    }

    #[test]
    fn loads_are_even_as_subscriptions_allow() {
        type Case = (&'static [(u8, u32)], &'static [(u8, &'static [u8])], &'static [usize]);
        let cases: [Case; 7] = [
            (&[(1, 8)], &[(1, &[1])], &[8]),
            (&[(1, 8)], &[(1, &[1]), (2, &[1]), (3, &[1])], &[3, 3, 2]),
            (&[(1, 1)], &[(1, &[1]), (2, &[1])], &[1, 0]),
            (&[(1, 4), (2, 4)], &[(1, &[1, 2]), (2, &[2])], &[4, 4]),
            (&[(1, 6), (2, 1)], &[(1, &[1]), (2, &[1, 2]), (3, &[2])], &[3, 3, 1]),
            (&[(1, 3)], &[(1, &[2])], &[0]),
            (&[], &[], &[]),
        ];
        for (topics, subscriptions, expected) in cases {
            let members = members(subscriptions);
            let assigned = assign(&shards(topics), &members, &BTreeMap::new());
            assert_eq!(loads(&assigned, &members), expected, "{topics:?} {subscriptions:?}");
        }
    }

    #[test]
    fn loads_are_evened_out_along_chains() {
        let members = members(&[(1, &[1]), (2, &[1, 2]), (3, &[2])]);
        let all = shards(&[(1, 4), (2, 2)]);
        let unlucky = |shard: &Shard| match (shard.id[0], shard.partition.0) {
            (1, 0..3) => id(1),
            (2, 1) => id(3),
            _ => id(2),
        };
        let current: Assigned = all.iter().map(|shard| (shard.clone(), unlucky(shard))).collect();
        assert_eq!(loads(&current, &members), [3, 2, 1]);
        let after = assign(&all, &members, &current);
        assert_eq!((loads(&after, &members), moved(&current, &after)), (vec![2, 2, 2], 2));
    }

    #[test]
    fn every_topic_is_spread_over_all() {
        let members = members(&[(1, &[1, 2]), (2, &[1, 2])]);
        let alone = assign(&shards(&[(1, 4), (2, 4)]), &self::members(&[(1, &[1, 2])]), &BTreeMap::new());
        let after = assign(&shards(&[(1, 4), (2, 4)]), &members, &alone);
        for topic in [1, 2] {
            let count = after.iter().filter(|(shard, member)| shard.id[0] == topic && **member == id(2)).count();
            assert_eq!(count, 2, "topic {topic}");
        }
    }

    proptest! {
        #[test]
        fn a_join_or_leave_moves_no_more_than_needed(partitions in 0_u32..60, joins in prop::collection::vec(any::<bool>(), 1..25)) {
            let all = shards(&[(1, partitions), (2, partitions / 2)]);
            let (mut present, mut next) = (BTreeMap::new(), 0);
            let mut assigned = Assigned::new();
            for join in joins {
                let leaver = present.keys().next().cloned().filter(|_| !join);
                match &leaver {
                    Some(leaver) => _ = present.remove(leaver),
                    None => {
                        present.insert(id(next), BTreeSet::from([[1; 16], [2; 16]]));
                        next += 1;
                    }
                }
                let after = assign(&all, &present, &assigned);
                let expected = if present.is_empty() { 0 } else { all.len() };
                prop_assert_eq!(after.len(), expected, "every partition has exactly one member");
                let loads = loads(&after, &present);
                let (most, least) = (loads.iter().max().copied(), loads.iter().min().copied());
                prop_assert!(most.unwrap_or(0) - least.unwrap_or(0) <= 1, "{:?}", loads);
                let needed = match &leaver {
                    Some(leaver) if present.is_empty() => { let _nobody = leaver; 0 }
                    Some(leaver) => assigned.values().filter(|it| *it == leaver).count(),
                    None if present.len() == 1 => 0,
                    None => all.len() / present.len(),
                };
                prop_assert!(moved(&assigned, &after) <= needed, "{} moved, {} needed", moved(&assigned, &after), needed);
                assigned = after;
            }
        }

        #[test]
        fn whoever_subscribes_to_what_no_single_move_would_make_it_more_even(
            topics in prop::collection::vec(0_u32..8, 1..6),
            wishes in prop::collection::vec(prop::collection::btree_set(0_u8..6, 0..5), 0..12),
        ) {
            let topics: Vec<(u8, u32)> = topics.into_iter().enumerate().map(|(at, count)| (at as u8, count)).collect();
            let all = shards(&topics);
            let members: BTreeMap<MemberId, BTreeSet<TopicId>> = wishes.iter().enumerate()
                .map(|(at, wish)| (id(at as u8), wish.iter().map(|topic| [*topic; 16]).collect())).collect();
            let after = assign(&all, &members, &BTreeMap::new());
            let wanted = all.iter().filter(|shard| members.values().any(|topics| topics.contains(&shard.id)));
            prop_assert!(after.keys().eq(wanted), "what somebody subscribes to, and nothing else");
            let load = |member: &MemberId| after.values().filter(|it| *it == member).count();
            for (shard, member) in &after {
                prop_assert!(members[member].contains(&shard.id));
                let better = members.iter().find(|(other, topics)| topics.contains(&shard.id) && load(other) + 2 <= load(member));
                prop_assert!(better.is_none(), "{:?} of {:?} could go to {:?}", shard, member, better);
            }
            prop_assert_eq!(assign(&all, &members, &after), after.clone(), "what is even stays as it is");
        }
    }
}
