//! How a worker publishes what is decided.

use std::collections::{BTreeSet, VecDeque};

use futures::{StreamExt, stream};

use super::super::decisions::Shard;
use super::super::publishing::{Failure, Group};
use super::{Obstacle, Step, Worker};
use crate::clock::now_ms;
use crate::metrics;

/// Groups that are published at once.
const GROUPS_MAX: usize = 8;

impl Worker {
    /// Publishes the oldest groups that are not, of each partition one; false if all are.
    pub(super) async fn publish(&mut self) -> Step<bool> {
        let (mut chosen, mut left, mut taken) = (Vec::new(), VecDeque::new(), BTreeSet::new());
        for group in std::mem::take(&mut self.groups) {
            let shards: Vec<Shard> = group.cuts().map(|(shard, ..)| shard.clone()).collect();
            let is_next = chosen.len() < GROUPS_MAX && shards.iter().all(|shard| !taken.contains(shard));
            taken.extend(shards);
            if is_next { chosen.push(group) } else { left.push_back(group) }
        }
        self.groups = left;
        let moved = !chosen.is_empty();
        let (log, store) = (self.rooms.log.clone(), self.store.clone());
        let publish = move |mut group: Group| {
            let (log, store) = (log.clone(), store.clone());
            async move {
                let published = match group.prepare(&log, store.spool()).await {
                    Ok(()) => group.publish(&store).await,
                    failed => failed,
                };
                (group, published)
            }
        };
        let published: Vec<_> = stream::iter(chosen).map(publish).buffer_unordered(GROUPS_MAX).collect().await;
        let mut obstacle = None;
        for (mut group, published) in published {
            let done = match published {
                Ok(()) => self.done(&group).await,
                Err(failure) => self.failed(&mut group, failure).await.and(Err(Obstacle::Again)),
            };
            if let Err(why) = done {
                self.groups.push_front(group);
                obstacle = obstacle.or(Some(why).filter(|why| !matches!(why, Obstacle::Again)));
            }
        }
        obstacle.map_or(Ok(moved), Err)
    }

    async fn done(&mut self, group: &Group) -> Step<()> {
        let (decisions, files) = group.done(&self.config.name, now_ms());
        self.rooms.journal.publish(&self.config.name, &decisions, &files).await?;
        self.apply(&decisions);
        let cuts = || group.cuts().map(|(_, cut, _)| cut);
        let count = cuts().flat_map(|cut| &cut.files).filter(|file| !file.continues).count() as u64;
        let records = cuts().flat_map(|cut| &cut.files).map(|file| file.records).sum();
        metrics::sink_published(&self.config.name, count, records, group.cuts().flat_map(|(.., bytes)| bytes).sum());
        metrics::sink_late_dropped(&self.config.name, cuts().map(|cut| cut.late_dropped).sum());
        Ok(())
    }

    /// Leaves out of a group what cannot be had any more.
    async fn failed(&mut self, group: &mut Group, failure: Failure) -> Step<()> {
        match failure {
            Failure::Trouble(trouble) => Err(Obstacle::Trouble(trouble)),
            Failure::Gone { at, reason } => {
                let Some((shard, cut)) = group.cuts().nth(at).map(|(shard, cut, _)| (shard.clone(), cut.clone()))
                else {
                    return Ok(());
                };
                self.give_up(shard.partition, cut.from..cut.to, &reason).await?;
                group.leave_out(at);
                Ok(())
            }
        }
    }
}
