//! Who is in a group: subscriptions, leases, and the polls of those who have no connection of their own.
//!
//! Pure: the time is handed in. Knows nothing of partitions' owners or offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use skidway_record::TopicName;

use crate::groups::assignment::TopicId;
use crate::groups::{GroupError, GroupName, MemberId};
use crate::log::Topic;

/// Says where a group starts in a partition in which nothing is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// At the first record kept: nothing is missed.
    #[default]
    Earliest,
    /// After the last record there is.
    Latest,
    /// So many records before the last.
    Last(u64),
    /// At the first record of this age or newer, in ms since 1970.
    Timestamp(i64),
}

/// Is what a member comes with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joining {
    /// A new id.
    pub id: MemberId,
    /// What the client calls itself, or where it comes from.
    pub client: String,
    /// Now, in ms since 1970; only shown.
    pub at_ms: i64,
    /// Names of topics, or patterns of names.
    pub topics: Vec<String>,
    /// Where the group starts in what is new to it.
    pub start: Start,
    /// How long it may be silent.
    pub session_timeout: Duration,
}

/// Is a member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What the client calls itself, or where it comes from.
    pub client: String,
    /// When it joined, in ms since 1970.
    pub since_ms: i64,
    /// Names of topics, or patterns of names.
    pub topics: Vec<String>,
    /// Where the group starts in what is new to it.
    pub start: Start,
    /// How long it may be silent.
    pub session_timeout: Duration,
    /// When its lease ends; `None` while a poll of it is under way.
    until: Option<Instant>,
    /// Counts its polls: only the newest one counts.
    polls: u64,
    /// Counts the pages it was given.
    pages: u64,
    /// The generation that its last page told of, and the one before that.
    told: (u64, u64),
}

impl Member {
    /// Tells whether it subscribes to a topic. Our own topics are taken only by a pattern that begins like them.
    pub fn takes(&self, topic: &TopicName) -> bool {
        self.topics.iter().any(|pattern| topic.is_taken_by(pattern))
    }
}

/// Says what a poll of a member acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// The page before came.
    Acknowledged,
    /// The page before did not come: it is to be given again.
    Repeated,
}

/// Names one poll of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Whose.
    pub member: MemberId,
    poll: u64,
}

/// Holds the members of a group.
#[derive(Debug)]
pub struct Membership {
    group: GroupName,
    members_max: usize,
    members: BTreeMap<MemberId, Member>,
}

impl Membership {
    /// Starts without members.
    pub fn new(group: GroupName, members_max: usize) -> Self {
        Self { group, members_max, members: BTreeMap::new() }
    }

    /// Gives the group's name.
    pub fn group(&self) -> &GroupName {
        &self.group
    }

    /// Gives all members, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&MemberId, &Member)> {
        self.members.iter()
    }

    /// Counts the members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Tells whether this one is in the group.
    pub fn has(&self, member: &MemberId) -> bool {
        self.members.contains_key(member)
    }

    /// Takes a member in, with a lease from now on.
    ///
    /// # Errors
    /// [`GroupError::TooMany`] (retry).
    pub fn join(&mut self, joining: Joining, now: Instant) -> Result<(), GroupError> {
        if self.members.len() >= self.members_max {
            return Err(GroupError::TooMany {
                what: "members of the group (groups.members_max)",
                max: self.members_max,
            });
        }
        let Joining { id, client, at_ms: since_ms, topics, start, session_timeout } = joining;
        let until = Some(now + session_timeout);
        let member =
            Member { client, since_ms, topics, start, session_timeout, until, polls: 0, pages: 0, told: (0, 0) };
        self.members.insert(id, member);
        Ok(())
    }

    /// Lets a member go; false if it was not there.
    pub fn leave(&mut self, member: &MemberId) -> bool {
        self.members.remove(member).is_some()
    }

    /// Begins a lease anew; false if the member is not there any more.
    pub fn renew(&mut self, member: &MemberId, now: Instant) -> bool {
        let Some(member) = self.members.get_mut(member) else { return false };
        if member.until.is_some() {
            member.until = Some(now + member.session_timeout);
        }
        true
    }

    /// Lets all go whose lease is over; gives who.
    pub fn expire(&mut self, now: Instant) -> Vec<MemberId> {
        let over = |member: &Member| member.until.is_some_and(|until| until <= now);
        let gone: Vec<MemberId> = self.iter().filter(|(_, it)| over(it)).map(|(id, _)| id.clone()).collect();
        gone.iter().for_each(|id| _ = self.members.remove(id));
        gone
    }

    /// Tells when the next lease ends.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.members.values().filter_map(|member| member.until).min()
    }

    /// Begins a poll of a member, which holds its lease while it is under way. A poll that still waits is superseded.
    ///
    /// `page` is the page that the client saw last, 0 if none; the page before is taken as well, since an answer may be lost.
    ///
    /// # Errors
    /// [`GroupError::MemberGone`], [`GroupError::StalePage`].
    pub fn begin_poll(&mut self, id: &MemberId, page: u64) -> Result<(Ticket, Polled), GroupError> {
        let gone = self.gone(id);
        let member = self.members.get_mut(id).ok_or(gone)?;
        let polled = match member.pages.checked_sub(page) {
            Some(0) => Polled::Acknowledged,
            Some(1) => Polled::Repeated,
            _ => return Err(GroupError::StalePage { asked: page, last: member.pages }),
        };
        if polled == Polled::Repeated {
            member.told.0 = member.told.1;
        }
        member.polls += 1;
        member.until = None;
        // What is given again is the same page, so that both of its answers have the same number.
        member.pages = page;
        Ok((Ticket { member: id.clone(), poll: member.polls }, polled))
    }

    /// Checks that a poll is its member's newest.
    ///
    /// # Errors
    /// [`GroupError::MemberGone`], [`GroupError::Superseded`].
    pub fn check(&self, ticket: &Ticket) -> Result<(), GroupError> {
        match self.members.get(&ticket.member) {
            None => Err(self.gone(&ticket.member)),
            Some(member) if member.polls != ticket.poll => Err(GroupError::Superseded(ticket.member.clone())),
            Some(_) => Ok(()),
        }
    }

    /// Tells whether a page that surely came told of a generation.
    ///
    /// # Errors
    /// As [`Membership::check`].
    pub fn knows(&self, ticket: &Ticket, generation: u64) -> Result<bool, GroupError> {
        self.check(ticket)?;
        Ok(self.members.get(&ticket.member).is_some_and(|member| member.told.0 == generation))
    }

    /// Numbers the page that a poll gives, and that tells of a generation.
    ///
    /// # Errors
    /// As [`Membership::check`].
    pub fn number_page(&mut self, ticket: &Ticket, generation: u64) -> Result<u64, GroupError> {
        self.check(ticket)?;
        let gone = self.gone(&ticket.member);
        let member = self.members.get_mut(&ticket.member).ok_or(gone)?;
        member.pages += 1;
        member.told = (generation, member.told.0);
        Ok(member.pages)
    }

    /// Says that a member is not there.
    pub fn gone(&self, member: &MemberId) -> GroupError {
        GroupError::MemberGone { group: self.group.clone(), member: member.to_string() }
    }

    /// Ends a poll, however it ended: the lease runs from now on, unless a newer poll holds it.
    pub fn end_poll(&mut self, ticket: &Ticket, now: Instant) {
        let newest = self.members.get_mut(&ticket.member).filter(|member| member.polls == ticket.poll);
        if let Some(member) = newest {
            member.until = Some(now + member.session_timeout);
        }
    }

    /// Tells which of these topics each member subscribes to.
    pub fn subscriptions<'a>(
        &self,
        topics: impl Iterator<Item = &'a Topic> + Clone,
    ) -> BTreeMap<MemberId, BTreeSet<TopicId>> {
        let of =
            |member: &Member| topics.clone().filter(|topic| member.takes(&topic.name)).map(|topic| topic.id).collect();
        self.iter().map(|(id, member)| (id.clone(), of(member))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> MemberId {
        MemberId::new(text).unwrap()
    }

    fn joining(text: &str, topics: &[&str]) -> Joining {
        Joining {
            id: id(text),
            client: "test".to_owned(),
            at_ms: 0,
            topics: topics.iter().map(|&topic| topic.to_owned()).collect(),
            start: Start::Earliest,
            session_timeout: Duration::from_secs(30),
        }
    }

    fn group(members: &[&str], now: Instant) -> Membership {
        let mut group = Membership::new(GroupName::new("g").unwrap(), 3);
        members.iter().for_each(|member| group.join(joining(member, &["t"]), now).unwrap());
        group
    }

    #[test]
    fn whoever_is_silent_longer_than_its_lease_is_gone() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut group = group(&["a", "b"], at(0));
        assert!(group.renew(&id("a"), at(20)));
        assert_eq!(group.next_deadline(), Some(at(30)));
        assert_eq!((group.expire(at(29)), group.expire(at(30))), (vec![], vec![id("b")]));
        assert!(!group.renew(&id("b"), at(31)));
        assert_eq!(group.expire(at(50)), [id("a")]);
    }

    #[test]
    fn a_poll_holds_the_lease_while_it_waits() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut group = group(&["a"], at(0));
        let (ticket, _) = group.begin_poll(&id("a"), 0).unwrap();
        assert_eq!(group.expire(at(300)), []);
        group.end_poll(&ticket, at(300));
        assert_eq!((group.expire(at(329)), group.expire(at(330))), (vec![], vec![id("a")]));
    }

    #[test]
    fn a_page_whose_answer_was_lost_is_given_again_under_the_same_number() {
        let now = Instant::now();
        let mut group = group(&["a"], now);
        let mut poll = |page| {
            let (ticket, polled) = group.begin_poll(&id("a"), page)?;
            let page = group.number_page(&ticket, 1)?;
            group.end_poll(&ticket, now);
            Ok::<_, GroupError>((polled, page))
        };
        assert_eq!(poll(0), Ok((Polled::Acknowledged, 1)));
        assert_eq!(poll(1), Ok((Polled::Acknowledged, 2)));
        assert_eq!(poll(1), Ok((Polled::Repeated, 2)));
        assert_eq!(poll(2), Ok((Polled::Acknowledged, 3)));
        assert_eq!(poll(1), Err(GroupError::StalePage { asked: 1, last: 3 }));
        assert_eq!(poll(4), Err(GroupError::StalePage { asked: 4, last: 3 }));
    }

    #[test]
    fn of_two_polls_of_one_member_the_newer_counts() {
        let now = Instant::now();
        let mut group = group(&["a"], now);
        let (older, _) = group.begin_poll(&id("a"), 0).unwrap();
        let (newer, _) = group.begin_poll(&id("a"), 0).unwrap();
        assert_eq!(group.number_page(&older, 1), Err(GroupError::Superseded(id("a"))));
        group.end_poll(&older, now);
        assert_eq!(group.next_deadline(), None, "the newer one still holds the lease");
        assert_eq!(group.number_page(&newer, 1), Ok(1));
    }

    #[test]
    fn there_are_no_more_members_than_may_be() {
        let now = Instant::now();
        let mut group = group(&["a", "b", "c"], now);
        assert!(matches!(group.join(joining("d", &["t"]), now), Err(GroupError::TooMany { max: 3, .. })));
    }

    #[test]
    fn our_own_topics_are_read_only_by_who_names_them() {
        let now = Instant::now();
        let mut group = group(&[], now);
        group.join(joining("a", &["*"]), now).unwrap();
        group.join(joining("b", &["__skidway.*", "app-?"]), now).unwrap();
        let takes = |member: &str, topic| group.members[&id(member)].takes(&TopicName::new(topic).unwrap());
        assert_eq!((takes("a", "app-1"), takes("a", "__skidway.events")), (true, false));
        assert_eq!((takes("b", "app-1"), takes("b", "app-10"), takes("b", "__skidway.events")), (true, false, true));
    }
}
