//! Files made anew as the configuration says today, and put in place of the old ones.
//!
//! Decided first, as every file: an exchange that is cut short is finished at the next start, while the log keeps the records. The old
//! file goes before the new one comes, so that nobody finds a record twice.

use std::io;
use std::sync::Arc;

use skidway_record::TopicName;
use skidway_record::TopicPartition;
use skidway_wire::SinkFinding;

use super::super::again::{NotAgain, write_again};
use super::super::config::Layout;
use super::super::decisions::{Cut, Decision, Replay, Shard};
use super::super::file::Finished;
use super::super::manifest::Entry;
use super::super::parquet::Learning;
use super::super::publishing::{Failure, Group, paths};
use super::super::writing::{Closing, name_merged};
use super::super::{Place, Rooms};
use super::{Auditor, Step, Stop, groups, has_rows, intents};
use crate::blocking::blocking;
use crate::clock::now_ms;
use crate::log::LogError;

/// Is an exchange of files that is decided.
pub(in crate::sink) struct Swap {
    old: Group,
    new: Group,
}

impl Swap {
    /// Gives the exchanges of an earlier run.
    pub(in crate::sink) fn decided(replays: impl IntoIterator<Item = (Shard, Replay)>) -> Vec<Self> {
        let part = |(shard, replay): (Shard, Replay)| ((shard.clone(), replay.old), (shard, replay.new));
        let (old, new): (Vec<_>, Vec<_>) = replays.into_iter().map(part).unzip();
        let swap = |(old, new)| Self { old, new };
        Group::decided(old).into_iter().zip(Group::decided(new)).map(swap).collect()
    }
}

/// Finishes an exchange, or gives it up if the records are not there any more: then no try ever would.
///
/// # Errors
/// What keeps it, in words; a later try goes on.
pub(in crate::sink) async fn settle(rooms: &Rooms, place: &Place, swap: &mut Swap) -> Result<(), String> {
    match finish(rooms, place, swap).await {
        Ok(()) => Ok(()),
        Err(Failure::Trouble(reason)) => Err(format!("an exchange of files is not finished: {reason}")),
        Err(Failure::Gone { reason, .. }) => {
            let sink = &place.config.name;
            tracing::error!(
                sink,
                reason,
                "an exchange of files is given up; `skidway sinks verify {sink}` says what is there"
            );
            over(rooms, place, swap, &[]).await.map_err(|error| error.to_string())
        }
    }
}

/// Removes what was there, publishes what takes its place.
async fn finish(rooms: &Rooms, place: &Place, swap: &mut Swap) -> Result<(), Failure> {
    swap.new.prepare(&rooms.log, place.store.spool()).await?;
    let layout = swap.old.cuts().next().map(|(_, cut, _)| Layout::of(&cut.recipe)).transpose();
    let Some(layout) = layout.map_err(Failure::Trouble)?.map(Arc::new) else { return Ok(()) };
    for parts in swap.old.files().into_values().map(|parts| intents(&parts)) {
        let (store, layout) = (place.store.clone(), layout.clone());
        let spool = place.store.spool().join("replay");
        let removed = blocking(move || {
            for path in parts.first().map(paths).into_iter().flatten() {
                // Not what another topic of this name has there, nor what an earlier try put there.
                let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
                match has_rows(&*store, &spool, &path, &parts, &layout) {
                    Ok(true) => store.remove(&path)?,
                    Err(error) if !is_gone(&error) => return Err(error),
                    Ok(false) | Err(_) => {}
                }
            }
            std::fs::remove_dir_all(spool)
        });
        removed.await.map_err(|error| Failure::Trouble(format!("a file cannot be removed: {error}")))?;
    }
    swap.new.publish(&place.store).await?;
    let (_, entries) = swap.new.done(&place.config.name, now_ms());
    over(rooms, place, swap, &entries).await.map_err(|error| Failure::Trouble(error.to_string()))
}

/// Writes down that an exchange is over, and lets retention have the records.
async fn over(rooms: &Rooms, place: &Place, swap: &Swap, entries: &[Entry]) -> Result<(), LogError> {
    let over = swap.new.cuts().map(|(shard, cut, _)| Decision::Replayed { shard: shard.clone(), from: cut.from });
    let over: Vec<Decision> = over.collect();
    rooms.journal.publish(&place.config.name, &over, entries).await?;
    unpin(rooms, place, &swap.new);
    Ok(())
}

fn unpin(rooms: &Rooms, place: &Place, group: &Group) {
    for (shard, ..) in group.cuts() {
        rooms.pins.unpin(&owner(&place.config.name), (shard.topic_id, shard.partition));
    }
}

/// Names the owner of what is pinned for exchanges.
pub(in crate::sink) fn owner(sink: &str) -> String {
    format!("replay of sink {sink}")
}

impl Auditor {
    /// Finishes the exchange that an earlier job could not: what is there is neither old nor new until then.
    pub(super) async fn finish_what_was_cut_short(&self) -> Step<()> {
        let Some(mut swap) = self.place.unfinished().take() else { return Ok(()) };
        settle(&self.rooms, &self.place, &mut swap).await.map_err(|reason| {
            *self.place.unfinished() = Some(swap);
            Stop::Failed(reason)
        })
    }

    /// Makes the files anew that have records of a topic's time.
    pub(super) async fn replay(&mut self, topic: &str, from_ms: i64, to_ms: i64) -> Step<()> {
        let name = TopicName::new(topic).map_err(|error| Stop::Failed(error.to_string()))?;
        let Some(topic) = self.rooms.log.topic(&name) else {
            return Err(Stop::Failed(format!("there is no topic {name}")));
        };
        let mut spans = Vec::new();
        for partition in 0..topic.config.partitions {
            let of = TopicPartition::new(name.clone(), partition);
            let at = async |ms| {
                self.rooms.log.offset_at(of.clone(), ms).await.map(|offset| offset.map_or(u64::MAX, |it| it.0))
            };
            let failed = |error: LogError| Stop::Failed(error.to_string());
            spans.push(at(from_ms).await.map_err(failed)?..at(to_ms).await.map_err(failed)?);
        }
        for group in groups(self.manifest().await?) {
            self.is_heard()?;
            let is_asked = |shard: &Shard, cut: &Cut| {
                let span = spans.get(shard.partition as usize);
                shard.topic_id == topic.id && span.is_some_and(|span| cut.from < span.end && span.start < cut.to)
            };
            if group.cuts().any(|(shard, cut, _)| is_asked(shard, cut)) {
                self.replay_group(group).await?;
            }
        }
        Ok(())
    }

    async fn replay_group(&mut self, old: Group) -> Step<()> {
        let there: Vec<String> = old.files().into_keys().collect();
        self.summary.files += there.len() as u64;
        let (rooms, place) = (self.rooms.clone(), self.place.clone());
        // Retention does not take what is being made again.
        for (shard, cut, _) in old.cuts() {
            rooms.pins.pin(&owner(&place.config.name), (shard.topic_id, shard.partition), cut.from);
        }
        let made = match self.make_anew(&old).await {
            Ok(made) => made,
            Err(NotAgain::Trouble(reason)) => {
                unpin(&rooms, &place, &old);
                return Err(Stop::Failed(reason));
            }
            Err(NotAgain::Gone(reason) | NotAgain::Differs(reason)) => {
                unpin(&rooms, &place, &old);
                self.summary.problems += 1;
                return self.tell(SinkFinding::NotReplayed { files: there, reason }).await;
            }
        };
        let records = |cut: &Cut| cut.files.iter().map(|file| file.records).sum::<u64>() + cut.late_dropped;
        if old.cuts().zip(&made).any(|((_, old, _), (_, new, _))| records(new) < records(old)) {
            unpin(&rooms, &place, &old);
            made.iter().flat_map(|(.., spooled)| spooled).for_each(Finished::discard);
            self.summary.problems += 1;
            let reason = "the log has fewer records than these files: the topic was compacted since".to_owned();
            return self.tell(SinkFinding::NotReplayed { files: there, reason }).await;
        }
        let is_same = old.cuts().zip(&made).all(|((_, old, _), (_, new, _))| old.files == new.files);
        if is_same {
            unpin(&rooms, &place, &old);
            made.iter().flat_map(|(.., spooled)| spooled).for_each(Finished::discard);
            return Ok(());
        }
        let decision = |((shard, old, _), (_, new, _)): ((&Shard, &Cut, _), &(Shard, Cut, Vec<Finished>))| {
            Decision::Replay { shard: shard.clone(), replay: Box::new(Replay { old: old.clone(), new: new.clone() }) }
        };
        let decisions: Vec<Decision> = old.cuts().zip(&made).map(decision).collect();
        let decided = rooms.journal.decide(&place.config.name, &decisions).await;
        if let Err(error) = decided {
            unpin(&rooms, &place, &old);
            return Err(Stop::Failed(error.to_string()));
        }
        let mut swap = Swap { old, new: Group::new(made) };
        if let Err(reason) = settle(&rooms, &place, &mut swap).await {
            // The next job finishes it, or the next start; with files made again, as this job's are deleted.
            swap.new.leave_spool();
            *place.unfinished() = Some(swap);
            return Err(Stop::Failed(reason));
        }
        let files: Vec<String> = swap.new.files().into_keys().collect();
        self.summary.written += files.len() as u64;
        self.tell(SinkFinding::Replayed { removed: there, files }).await
    }

    /// Writes the offsets of a group's cuts into files as the configuration says today.
    async fn make_anew(&self, old: &Group) -> Result<Vec<(Shard, Cut, Vec<Finished>)>, NotAgain> {
        let layout = &self.place.config.layout;
        let (mut made, mut merged_at, mut topic) = (Vec::new(), None, None);
        for (shard, cut, _) in old.cuts() {
            let learning = Learning::new(self.place.names.clone(), cut.recipe.fields.clone().unwrap_or_default());
            let how = (layout.clone(), Some(learning));
            let closing = write_again(&self.rooms.log, &self.spool, shard, cut, how).await?;
            let Closing { clock_ms, dropped: late_dropped, files, recipe, .. } = closing;
            let (files, spooled) = files.into_iter().unzip();
            let new = Cut { recipe, clock_ms, late_dropped, files, ..cut.clone() };
            merged_at = merged_at.or(cut.merged_at);
            topic = Some(shard.topic.clone());
            made.push((shard.clone(), new, spooled));
        }
        if let Some((before, topic)) = merged_at.zip(topic) {
            name_merged(&topic, before, made.iter_mut().map(|(_, cut, _)| cut), layout);
        }
        Ok(made)
    }
}
