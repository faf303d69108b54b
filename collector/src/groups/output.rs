//! Offsets committed together with output that was made of what comes before them: both or neither.
//!
//! What Kafka does with a transaction (KIP-447) is one commit here. The group's order is held from the decision to the answer, so that the
//! same token never stores its output twice, also not if an answer was lost and the request comes again.

use std::sync::Arc;
use std::time::Instant;

use skidway_record::Offset;

use crate::groups::commits::Place;
use crate::groups::coordinator::Committer;
use crate::groups::registry::{Group, Stored};
use crate::groups::{GroupError, GroupName, Groups, Shard, Stamp};
use crate::log::{Commit, Committed};
use crate::metrics;

impl Groups {
    /// Commits what a token covers, and stores `output`, whose batches come first in the answer. `output` has no producer: the token tells
    /// whether it was stored.
    ///
    /// # Errors
    /// [`GroupError::OtherEpoch`], [`GroupError::Fenced`] if any of it was moved away since, [`GroupError::AlreadyCommitted`] if it was
    /// committed before, or any partition further than the token, the log's own. Nothing is committed and nothing stored then.
    pub async fn commit_output(
        self: &Arc<Self>,
        name: GroupName,
        stamp: Stamp,
        (log_epoch, places): (u64, Vec<Place>),
        output: Commit,
    ) -> Result<Committed, GroupError> {
        self.check_epoch(log_epoch)?;
        let (groups, group) = (self.clone(), self.find(&name)?);
        let commit = async move {
            let offsets = groups.resolve(places);
            let mut stored = group.order.lock().await;
            group.core().renew(&stamp.member, Instant::now());
            let by = Committer::Token(stamp.member, stamp.generation);
            groups.commit_whole(&group, &mut stored, (&by, offsets), output).await
        };
        self.shielded(commit).await
    }

    async fn commit_whole(
        &self,
        group: &Group,
        stored: &mut Stored,
        (by, asked): (&Committer, Vec<(Shard, Offset)>),
        output: Commit,
    ) -> Result<Committed, GroupError> {
        self.check_extent(&asked)?;
        let verdict = group.core().judge(by, asked)?;
        if !verdict.refused.is_empty() {
            metrics::group_committed(true);
            return Err(GroupError::Fenced { committed: Vec::new(), refused: verdict.refused });
        }
        let changes = self.changes(group, &verdict.accepted, "");
        let further = further(group, &verdict.accepted);
        if changes.is_empty() || !further.is_empty() {
            let accepted = verdict.accepted.into_iter().map(|(shard, _)| shard);
            let shards = if further.is_empty() { accepted.collect() } else { further };
            return Err(GroupError::AlreadyCommitted { shards });
        }
        let committed = self.write_with(group, changes, Vec::new(), output).await?;
        metrics::group_committed(false);
        self.settle_moves(group, stored).await?;
        Ok(committed)
    }
}

/// Finds the partitions that are committed further than asked.
fn further(group: &Group, asked: &[(Shard, Offset)]) -> Vec<Shard> {
    let core = group.core();
    let is_further = |shard: &Shard, at: Offset| core.offsets().get(shard).is_some_and(|now| now.offset > at);
    asked.iter().filter(|(shard, at)| is_further(shard, *at)).map(|(shard, _)| shard.clone()).collect()
}
