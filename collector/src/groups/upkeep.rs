//! What time does to groups: leases and tenures end, topics come and go, offsets expire. And what must not be left half done.
//!
//! One task runs all of it, started by the collector's wiring. A client that goes away in the midst of a commit must not leave it between the log
//! and the memory, so that such work is handed to this task, which finishes it whoever still waits.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::clock::now_ms;
use crate::groups::registry::Group;
use crate::groups::{GroupError, Groups, offsets};
use crate::log::LogError;
use crate::metrics;

/// Bounds the work that waits to be taken up; more waits at its client.
pub(super) const WORK_MAX: usize = 1024;

/// Shows lag this often, and tries again what failed.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Looks for what has expired no more often.
const EXPIRY_INTERVAL_MIN: Duration = Duration::from_millis(250);

/// Looks for what has expired this often, or sooner if it is kept for less.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

/// Groups that are looked after at once.
const GROUPS_AT_ONCE: usize = 16;

/// Is work that is finished, whoever waits for it.
pub(super) type Work = BoxFuture<'static, ()>;

impl Groups {
    /// Does a piece of work in the groups' task, and waits for it.
    ///
    /// # Errors
    /// The work's own; [`LogError::Closing`] if the collector stops.
    pub(super) async fn shielded<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, GroupError>> + Send + 'static,
    ) -> Result<T, GroupError> {
        let (reply, answer) = oneshot::channel();
        let work = async move {
            // Whoever went away does not want to know.
            let _asker_gone = reply.send(work.await);
        };
        let closing = GroupError::Log(LogError::Closing);
        self.work.send(work.boxed()).await.map_err(|_| closing.clone())?;
        answer.await.unwrap_or(Err(closing))
    }

    /// Looks after all groups until `stop` is cancelled, then finishes what was begun.
    ///
    /// # Panics
    /// If it is run twice.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let taken = self.waiting.lock().map(|mut waiting| waiting.take());
        let work: mpsc::Receiver<Work> = taken.ok().flatten().expect("groups are run once");
        let mut stopping = pin!(stop.cancelled());
        let (mut work, mut under_way) = (work, FuturesUnordered::new());
        let mut looking = pin!(self.look_after().fuse());
        loop {
            tokio::select! {
                biased; // Stopping beats all.
                () = &mut stopping => break,
                Some(()) = under_way.next(), if !under_way.is_empty() => {}
                Some(next) = work.recv() => under_way.push(next),
                () = &mut looking => {}
            }
        }
        work.close();
        while let Some(next) = work.recv().await {
            under_way.push(next);
        }
        while under_way.next().await.is_some() {}
    }

    /// Looks after all groups for ever.
    async fn look_after(&self) {
        let expiry = EXPIRY_INTERVAL.min(self.config.offsets_retention / 4).max(EXPIRY_INTERVAL_MIN);
        let mut topics = self.log.watch_topics();
        let mut next_expiry = Instant::now() + expiry;
        loop {
            let now = Instant::now();
            let expires = now >= next_expiry;
            if expires {
                next_expiry = now + expiry;
            }
            let each = self.all().into_iter().map(|group| async move {
                if let Err(error) = self.look_at(&group, expires).await {
                    tracing::warn!(group = %group.name, %error, "a group is not looked after now; it is tried again");
                }
            });
            futures::stream::iter(each).for_each_concurrent(GROUPS_AT_ONCE, |look| look).await;
            self.show_metrics();
            let deadline = self.all().iter().filter_map(|group| group.core().next_deadline()).min();
            let next = deadline.into_iter().fold(next_expiry.min(now + LOOK_INTERVAL), Instant::min);
            tokio::select! {
                () = self.wake.notified() => {}
                // As long as there is a log there is its list of topics.
                Ok(()) = topics.changed() => {}
                () = sleep_until(next.into()) => {}
            }
        }
    }

    async fn look_at(&self, group: &Arc<Group>, expires: bool) -> Result<(), GroupError> {
        let now = Instant::now();
        let (is_due, is_empty) = {
            let mut core = group.core();
            let gone = core.expire(now);
            for member in &gone {
                tracing::info!(group = %group.name, %member, "a member's lease ended");
            }
            // Whoever waits hears of it, be it only that he is not in the group any more.
            let topics_changed = !core.members().is_empty() && !core.has_topics(&self.log.topics());
            let is_due = core.next_deadline().is_some_and(|at| at <= now);
            let unsettled = core.is_unsettled();
            (topics_changed || is_due || unsettled, core.members().is_empty())
        };
        if is_due {
            let mut stored = group.order.lock().await;
            if !stored.is_gone {
                self.settle(group, &mut stored).await?;
                if group.core().members().is_empty() {
                    self.note_left(group, &mut stored).await?;
                }
            }
        }
        if expires {
            self.expire(group, is_empty).await?;
        }
        Ok(())
    }

    /// Notes when the last member left.
    async fn note_left(&self, group: &Group, stored: &mut super::registry::Stored) -> Result<(), GroupError> {
        stored.state.active_ms = now_ms();
        let entry = (offsets::group_key(&group.name), Some(offsets::group_value(stored.state)));
        self.write(group, Vec::new(), vec![entry]).await
    }

    /// Forgets what nobody needs any more: offsets of topics that are gone, and a group that was left alone for long.
    async fn expire(&self, group: &Arc<Group>, is_empty: bool) -> Result<(), GroupError> {
        let gone: Vec<_> = {
            let core = group.core();
            let is_gone = |shard: &super::Shard| self.log.topic(&shard.topic).is_none_or(|topic| topic.id != shard.id);
            core.offsets().iter().map(|(shard, _)| shard.clone()).filter(is_gone).collect()
        };
        if gone.is_empty() && !is_empty {
            return Ok(());
        }
        let mut stored = group.order.lock().await;
        if stored.is_gone {
            return Ok(());
        }
        if !gone.is_empty() {
            let entries = gone.iter().map(|shard| (offsets::offset_key(&group.name, shard), None)).collect();
            self.write(group, Vec::new(), entries).await?;
            group.core().forget(&gone);
            tracing::info!(group = %group.name, partitions = gone.len(), "offsets of deleted topics are forgotten");
        }
        let (is_empty, last_ms) = {
            let core = group.core();
            (core.members().is_empty(), core.offsets().last_ms())
        };
        // A collector that was down is no group that stayed away.
        let active_ms = stored.state.active_ms.max(self.opened_ms).max(last_ms.unwrap_or(0));
        let kept_ms = self.config.offsets_retention.as_millis() as i64;
        if is_empty && (last_ms.is_none() || now_ms() - active_ms >= kept_ms) {
            self.forget_group(group, &mut stored).await?;
            if last_ms.is_some() {
                tracing::info!(group = %group.name, "the offsets of a group that stayed away are forgotten");
            }
        }
        Ok(())
    }

    fn show_metrics(&self) {
        metrics::groups(self.list().iter().map(|view| (view.name.as_str().to_owned(), view.members.len(), view.lag())));
    }
}
