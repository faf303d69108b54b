//! A member's side of its group: what it has, what it was given, and that it leaves when it is dropped.

use std::sync::Arc;
use std::time::Instant;

use skidway_record::Offset;
use tokio::sync::watch;

use crate::groups::membership::Ticket;
use crate::groups::registry::Group;
use crate::groups::{GroupError, GroupName, Groups, Held, Holding, MemberId, Shard, Stamp};
use crate::metrics;

/// Is a member that has a connection: it leaves when this is dropped.
pub struct Seat {
    groups: Arc<Groups>,
    group: Arc<Group>,
    member: MemberId,
    changes: watch::Receiver<u64>,
    /// Leaves when dropped.
    is_connected: bool,
}

impl Seat {
    pub(super) fn new(groups: Arc<Groups>, group: Arc<Group>, member: MemberId, changes: watch::Receiver<u64>) -> Self {
        Self { groups, group, member, changes, is_connected: true }
    }

    /// Gives the member's id.
    pub fn member(&self) -> &MemberId {
        &self.member
    }

    /// Gives the group's name.
    pub fn group(&self) -> &GroupName {
        &self.group.name
    }

    /// Tells what the member has, and marks what it was told so far as seen.
    ///
    /// # Errors
    /// [`GroupError::MemberGone`].
    pub fn holding(&mut self) -> Result<Holding, GroupError> {
        self.changes.borrow_and_update();
        let core = self.group.core();
        core.holding(&self.member).ok_or_else(|| core.members().gone(&self.member))
    }

    /// Tells whether there is something new to tell. Never misses a change: it looks, and does not wait.
    pub fn has_changed(&self) -> bool {
        self.changes.has_changed().unwrap_or(true)
    }

    /// Waits until the group changes.
    pub async fn changed(&mut self) {
        // The sender lives as long as the group, which this keeps.
        let _lives = self.changes.changed().await;
    }

    /// Notes what is about to be given; false if some of it is not the member's any more, and must not be given.
    pub fn give(&self, gives: &[Held]) -> bool {
        self.group.core().give(&self.member, gives)
    }

    /// Begins the lease anew.
    ///
    /// # Errors
    /// [`GroupError::MemberGone`].
    pub fn renew(&self) -> Result<(), GroupError> {
        let mut core = self.group.core();
        match core.renew(&self.member, Instant::now()) {
            true => Ok(()),
            false => Err(core.members().gone(&self.member)),
        }
    }

    /// Stamps the tokens of a generation.
    pub fn stamp(&self, generation: u64) -> Stamp {
        Stamp { generation, member: self.member.clone() }
    }

    /// Counts records that were deleted before the group read them, and says so.
    pub fn lost(&self, shard: &Shard, from: Offset, to: Offset) {
        metrics::group_lost(to.0.saturating_sub(from.0));
        tracing::warn!(
            group = %self.group.name, partition = %shard, %from, %to,
            "records were deleted before the group read them"
        );
    }

    /// Lets the member go on without a connection, by its lease, and begins its first poll.
    ///
    /// # Errors
    /// [`GroupError::MemberGone`].
    pub fn into_poll(mut self) -> Result<Poll, GroupError> {
        let ticket = self.group.core().begin_poll(&self.member, 0)?;
        self.is_connected = false;
        Ok(Poll { seat: self.without_connection(), ticket })
    }

    fn without_connection(&self) -> Self {
        let (groups, group, member) = (self.groups.clone(), self.group.clone(), self.member.clone());
        Self { groups, group, member, changes: self.changes.clone(), is_connected: false }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.is_connected && self.group.core().leave(&self.member) {
            tracing::debug!(group = %self.group.name, member = %self.member, "a member's connection is gone");
            self.groups.wake.notify_one();
        }
    }
}

/// Is one poll of a member without a connection: while it waits it holds the lease, which runs anew when it is dropped.
pub struct Poll {
    seat: Seat,
    ticket: Ticket,
}

impl Poll {
    /// Gives the member's side of its group.
    pub fn seat(&self) -> Seat {
        self.seat.without_connection()
    }

    /// Tells whether the member was told of a generation by a page that surely came.
    ///
    /// # Errors
    /// [`GroupError::Superseded`], [`GroupError::MemberGone`].
    pub fn knows(&self, generation: u64) -> Result<bool, GroupError> {
        self.seat.group.core().members().knows(&self.ticket, generation)
    }

    /// Commits all that surely came with pages before.
    ///
    /// # Errors
    /// [`GroupError::MemberGone`], the log's own.
    pub async fn commit_came(&self) -> Result<(), GroupError> {
        self.seat.groups.commit_came(self.seat.group.clone(), self.seat.member.clone()).await
    }

    /// Gives a page that tells of a generation, and numbers it; `None` if some of it is not the member's any more, and must not be given.
    ///
    /// # Errors
    /// [`GroupError::Superseded`], [`GroupError::MemberGone`].
    pub fn give(&self, gives: &[Held], generation: u64) -> Result<Option<u64>, GroupError> {
        self.seat.group.core().give_page(&self.ticket, gives, generation)
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        self.seat.group.core().end_poll(&self.ticket, Instant::now());
        self.seat.groups.wake.notify_one();
    }
}

impl Groups {
    /// Begins a poll of a member that was here before; `page` is the page it saw last.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`], [`GroupError::MemberGone`], [`GroupError::StalePage`].
    pub fn poll(self: &Arc<Self>, name: &GroupName, member: MemberId, page: u64) -> Result<Poll, GroupError> {
        let group = self.find(name)?;
        let changes = group.changes.subscribe();
        let ticket = group.core().begin_poll(&member, page)?;
        let seat = Seat { groups: self.clone(), group, member, changes, is_connected: false };
        Ok(Poll { seat, ticket })
    }
}
