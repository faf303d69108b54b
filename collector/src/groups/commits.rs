//! What changes a group's offsets: commits, resets, deletion. Each is durable before it is answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use skidway_record::{Offset, PartitionId, TopicPartition};

use crate::clock::now_ms;
use crate::groups::assignment::TopicId;
use crate::groups::coordinator::Committer;
use crate::groups::membership::Start;
use crate::groups::offsets::{self, Committed};
use crate::groups::registry::{Group, Stored};
use crate::groups::{GroupError, GroupName, Groups, MemberId, Shard, Stamp};
use crate::metrics;

/// How much of a topic's id stands in a token.
const TOKEN_ID_BYTES: usize = 8;

/// Is a place that a token names: a topic's id, of which the first bytes may be all there is, the rest being 0.
pub type Place = (TopicId, PartitionId, Offset);

/// Says where a group is put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResetTo {
    /// To the same kind of place in all partitions of topics that match one of these.
    Start(Vec<String>, Start),
    /// To these.
    Offsets(Vec<(TopicPartition, Offset)>),
}

/// Is what a reset does to one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Which.
    pub shard: Shard,
    /// What was committed.
    pub from: Option<Offset>,
    /// What is.
    pub to: Offset,
}

impl Groups {
    /// Commits what a token covers.
    ///
    /// # Errors
    /// [`GroupError::OtherEpoch`], [`GroupError::Fenced`] if some of it was moved away since (what was not is committed then),
    /// [`GroupError::BadToken`], the log's own.
    pub async fn commit_token(
        self: &Arc<Self>,
        name: GroupName,
        stamp: Stamp,
        (log_epoch, places): (u64, Vec<Place>),
        metadata: String,
    ) -> Result<Vec<(Shard, Offset)>, GroupError> {
        self.check_epoch(log_epoch)?;
        let (groups, group) = (self.clone(), self.find(&name)?);
        let commit = async move {
            let offsets = groups.resolve(places);
            let mut stored = group.order.lock().await;
            group.core().renew(&stamp.member, Instant::now());
            let by = Committer::Token(stamp.member, stamp.generation);
            groups.commit(&group, &mut stored, &by, offsets, metadata).await
        };
        self.shielded(commit).await
    }

    /// Commits offsets by topic and partition: for a member, or from outside while there is none.
    ///
    /// # Errors
    /// [`GroupError::HasMembers`], [`GroupError::MemberGone`], [`GroupError::UnknownTopic`], [`GroupError::UnknownPartition`],
    /// [`GroupError::BeyondEnd`], [`GroupError::Fenced`], the log's own.
    pub async fn commit_offsets(
        self: &Arc<Self>,
        name: GroupName,
        member: Option<MemberId>,
        offsets: Vec<(TopicPartition, Offset)>,
        metadata: String,
    ) -> Result<Vec<(Shard, Offset)>, GroupError> {
        let offsets =
            offsets.into_iter().map(|(of, at)| Ok((self.shard(&of)?, at))).collect::<Result<_, GroupError>>()?;
        let groups = self.clone();
        let commit = async move {
            loop {
                // Whoever commits from outside may begin a group by it.
                let group = if member.is_some() { groups.find(&name)? } else { groups.find_or_make(&name)? };
                let mut stored = group.order.lock().await;
                if stored.is_gone {
                    continue;
                }
                let by = member.map_or(Committer::Outside, Committer::Member);
                if let Committer::Member(member) = &by {
                    group.core().renew(member, Instant::now());
                }
                return groups.commit(&group, &mut stored, &by, offsets, metadata).await;
            }
        };
        self.shielded(commit).await
    }

    /// Commits all that surely came to a member.
    pub(super) async fn commit_came(self: &Arc<Self>, group: Arc<Group>, member: MemberId) -> Result<(), GroupError> {
        let groups = self.clone();
        let commit = async move {
            let mut stored = group.order.lock().await;
            let offsets = group.core().came(&member);
            groups.commit(&group, &mut stored, &Committer::Member(member), offsets, String::new()).await.map(drop)
        };
        self.shielded(commit).await
    }

    /// Decides and writes. Whoever calls it holds the group's order. Gives what is committed now, of what was asked for.
    async fn commit(
        &self,
        group: &Group,
        stored: &mut Stored,
        by: &Committer,
        asked: Vec<(Shard, Offset)>,
        metadata: String,
    ) -> Result<Vec<(Shard, Offset)>, GroupError> {
        self.check_extent(&asked)?;
        let verdict = group.core().judge(by, asked)?;
        let written = self.changes(group, &verdict.accepted, &metadata);
        if !written.is_empty() {
            self.write(group, written, Vec::new()).await?;
        }
        metrics::group_committed(!verdict.refused.is_empty());
        self.settle_moves(group, stored).await?;
        let committed: Vec<_> = {
            let core = group.core();
            let now = |(shard, at): (Shard, Offset)| {
                let now = core.offsets().get(&shard).map_or(at, |committed| committed.offset);
                (shard, now)
            };
            verdict.accepted.into_iter().map(now).collect()
        };
        match verdict.refused.is_empty() {
            true => Ok(committed),
            false => Err(GroupError::Fenced { committed, refused: verdict.refused }),
        }
    }

    /// Makes sure that a token is of this log.
    pub(super) fn check_epoch(&self, asked: u64) -> Result<(), GroupError> {
        let now = self.log.identity().epoch;
        if asked == now { Ok(()) } else { Err(GroupError::OtherEpoch { asked, now }) }
    }

    /// Makes sure that all these offsets can be there.
    pub(super) fn check_extent(&self, asked: &[(Shard, Offset)]) -> Result<(), GroupError> {
        for (shard, at) in asked {
            let high_watermark = self.extent(shard).map(|offsets| offsets.high_watermark);
            if let Some(high_watermark) = high_watermark.filter(|end| at > end) {
                return Err(GroupError::BeyondEnd { of: shard.of(), at: *at, high_watermark });
            }
        }
        Ok(())
    }

    /// Gives what is to be written for offsets that may be committed: those that move on.
    pub(super) fn changes(
        &self,
        group: &Group,
        accepted: &[(Shard, Offset)],
        metadata: &str,
    ) -> Vec<(Shard, Committed)> {
        let (log_epoch, at_ms, core) = (self.log.identity().epoch, now_ms(), group.core());
        let moves = |(shard, at): &&(Shard, Offset)| core.offsets().moves_on(shard, *at);
        let committed = |at: Offset| Committed { offset: at, log_epoch, at_ms, metadata: metadata.to_owned() };
        accepted.iter().filter(moves).map(|(shard, at)| (shard.clone(), committed(*at))).collect()
    }

    /// Goes on with moving partitions: what was waited for may have been committed just now.
    pub(super) async fn settle_moves(&self, group: &Group, stored: &mut Stored) -> Result<(), GroupError> {
        let waits = group.core().owners().any(|(_, _, is_moving)| is_moving);
        if waits { self.settle(group, stored).await } else { Ok(()) }
    }

    /// Finds the partitions that a token names, those of topics that are gone left out: nobody needs them any more.
    pub(super) fn resolve(&self, places: Vec<Place>) -> Vec<(Shard, Offset)> {
        let topics = self.log.topics();
        let find = |(id, partition, at): Place| {
            let topic = topics.iter().find(|topic| is_like(&topic.id, &id))?;
            let is_there = partition.0 < topic.config.partitions;
            is_there.then(|| (Shard { topic: topic.name.clone(), id: topic.id, partition }, at))
        };
        places.into_iter().filter_map(find).collect()
    }

    /// Finds a partition by its name.
    pub(super) fn shard(&self, of: &TopicPartition) -> Result<Shard, GroupError> {
        let topic = self.log.topic(&of.topic).ok_or_else(|| GroupError::UnknownTopic(of.topic.clone()))?;
        match of.partition.0 < topic.config.partitions {
            true => Ok(Shard { topic: topic.name, id: topic.id, partition: of.partition }),
            false => Err(GroupError::UnknownPartition(of.clone())),
        }
    }

    /// Puts a group elsewhere; only while it has no member, unless forced: then whoever reads there begins anew. A dry run changes nothing.
    ///
    /// # Errors
    /// [`GroupError::HasMembers`], [`GroupError::UnknownTopic`], [`GroupError::UnknownPartition`], [`GroupError::BeyondEnd`], the log's own.
    pub async fn reset(
        self: &Arc<Self>,
        name: GroupName,
        to: ResetTo,
        force: bool,
        dry_run: bool,
    ) -> Result<Vec<Moved>, GroupError> {
        let places = self.places(to).await?;
        let groups = self.clone();
        let reset = async move {
            loop {
                let group = if dry_run { groups.find(&name)? } else { groups.find_or_make(&name)? };
                let mut stored = group.order.lock().await;
                if stored.is_gone {
                    continue;
                }
                let members = group.core().members().len();
                if members > 0 && !force && !dry_run {
                    let instead = "stop them first, or say force: they begin anew where they are put then";
                    return Err(GroupError::HasMembers { group: name, members, instead });
                }
                let moved = groups.moved(&group, places);
                if !dry_run {
                    groups.put(&group, &mut stored, &moved).await?;
                }
                return Ok(moved);
            }
        };
        self.shielded(reset).await
    }

    async fn places(&self, to: ResetTo) -> Result<BTreeMap<Shard, Offset>, GroupError> {
        let mut places = BTreeMap::new();
        match to {
            ResetTo::Offsets(offsets) => {
                for (of, at) in offsets {
                    let shard = self.shard(&of)?;
                    let high_watermark = self.log.offsets(&of)?.high_watermark;
                    if at > high_watermark {
                        return Err(GroupError::BeyondEnd { of, at, high_watermark });
                    }
                    places.insert(shard, at);
                }
            }
            ResetTo::Start(patterns, start) => {
                let topics = self.log.topics();
                let matching = topics.iter().filter(|topic| patterns.iter().any(|it| topic.name.is_taken_by(it)));
                for topic in matching {
                    for number in 0..topic.config.partitions {
                        let shard = Shard { topic: topic.name.clone(), id: topic.id, partition: PartitionId(number) };
                        let at = self.start(&shard, start).await?;
                        places.insert(shard, at);
                    }
                }
            }
        }
        Ok(places)
    }

    fn moved(&self, group: &Group, places: BTreeMap<Shard, Offset>) -> Vec<Moved> {
        let core = group.core();
        let from = |shard: &Shard| core.offsets().get(shard).map(|committed| committed.offset);
        places.into_iter().map(|(shard, to)| Moved { from: from(&shard), shard, to }).collect()
    }

    async fn put(&self, group: &Group, stored: &mut Stored, moved: &[Moved]) -> Result<(), GroupError> {
        let (log_epoch, at_ms) = (self.log.identity().epoch, now_ms());
        let committed = |to: Offset| Committed { offset: to, log_epoch, at_ms, metadata: String::new() };
        let written: Vec<_> = moved.iter().map(|it| (it.shard.clone(), committed(it.to))).collect();
        if written.is_empty() {
            return Ok(());
        }
        self.write(group, written.clone(), Vec::new()).await?;
        group.core().reset(written);
        tracing::info!(group = %group.name, partitions = moved.len(), "a group is put elsewhere");
        self.settle(group, stored).await
    }

    /// Forgets a group and all that is committed for it; only while it has no member.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`], [`GroupError::HasMembers`], the log's own.
    pub async fn delete(self: &Arc<Self>, name: GroupName) -> Result<(), GroupError> {
        let (groups, group) = (self.clone(), self.find(&name)?);
        let delete = async move {
            let mut stored = group.order.lock().await;
            let members = group.core().members().len();
            if members > 0 {
                let instead = "stop them first";
                return Err(GroupError::HasMembers { group: name, members, instead });
            }
            let was_there = !stored.is_gone && !group.core().offsets().is_empty();
            groups.forget_group(&group, &mut stored).await?;
            if was_there { Ok(()) } else { Err(GroupError::UnknownGroup(name)) }
        };
        self.shielded(delete).await
    }

    /// Forgets a group that has no member. Whoever calls it holds the group's order.
    pub(super) async fn forget_group(&self, group: &Arc<Group>, stored: &mut Stored) -> Result<(), GroupError> {
        let shards: Vec<Shard> = group.core().offsets().iter().map(|(shard, _)| shard.clone()).collect();
        let keys = shards.iter().map(|shard| (offsets::offset_key(&group.name, shard), None));
        let mut entries: Vec<_> = keys.collect();
        if stored.state != Default::default() {
            entries.push((offsets::group_key(&group.name), None));
        }
        if !entries.is_empty() {
            self.state.write(entries, Default::default()).await?;
        }
        group.core().forget(&shards);
        stored.is_gone = true;
        metrics::group_gone(group.name.as_str());
        self.drop_group(group);
        Ok(())
    }
}

/// Tells whether an id is this one, as much of it as a token has: the first bytes, the rest being 0.
fn is_like(id: &TopicId, known: &TopicId) -> bool {
    let is_short = known[TOKEN_ID_BYTES..].iter().all(|byte| *byte == 0);
    id == known || (is_short && id[..TOKEN_ID_BYTES] == known[..TOKEN_ID_BYTES])
}
