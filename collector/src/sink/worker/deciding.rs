//! What a worker writes down: cuts of partitions, and records that are in no file.

use std::ops::Range;

use super::super::decisions::{Cut, Decision, Shard};
use super::super::file::Finished;
use super::super::lane::Cause;
use super::super::publishing::Group;
use super::super::unwritable;
use super::super::writing::{Closing, name_merged};
use super::{Obstacle, Partition, Step, Worker};
use crate::blocking::blocking;
use crate::metrics;

/// Is what a cut closed of one partition, with its files in the spool.
type Closed = (Shard, Cut, Vec<Finished>);

impl Worker {
    /// Gives the partitions that are cut with this one.
    pub(super) fn mates(&self, number: u32) -> Vec<u32> {
        if self.config.merges { self.partitions.keys().copied().collect() } else { vec![number] }
    }

    /// Closes all files of partitions and decides them, all at once.
    pub(super) async fn cut(&mut self, lane: &[u32], cause: Cause) -> Step<()> {
        let mut closed = Vec::new();
        for number in lane {
            match self.close(*number, cause).await {
                Ok(one) => closed.extend(one),
                Err(trouble) => {
                    self.undo(closed);
                    return Err(trouble);
                }
            }
        }
        if closed.is_empty() {
            return Ok(());
        }
        if self.config.merges {
            let before = self.partitions.values().map(|partition| partition.standing.frontier).sum();
            let layout = &self.config.layout;
            name_merged(&self.topic.name, before, closed.iter_mut().map(|(_, cut, _)| cut), layout);
        }
        let decision = |(shard, cut, _): &Closed| Decision::Cut { shard: shard.clone(), cut: cut.clone() };
        let decisions: Vec<Decision> = closed.iter().map(decision).collect();
        let decided = self.decide(&decisions).await;
        if decided.is_err() {
            // Whether it is decided is not known if the log halts; if it only refused, it is not, and the files are made again.
            self.undo(closed);
            return decided;
        }
        self.groups.push_back(Group::new(closed));
        metrics::sink_cut(&self.config.name, cause.as_str());
        self.rooms.board.desk(&self.config.name).into_iter().for_each(|desk| desk.cut(cause));
        Ok(())
    }

    /// Closes all files of a partition; none if it stands where it stood.
    async fn close(&mut self, number: u32, cause: Cause) -> Step<Option<Closed>> {
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(None) };
        let Some(mut writing) = partition.writing.take() else { return Ok(None) };
        let (writing, closing) = blocking(move || {
            let closing = writing.cut();
            (writing, closing)
        })
        .await;
        partition.writing = Some(writing);
        let Closing { span, clock_ms, dropped: late_dropped, files, recipe } =
            closing.map_err(|error| Obstacle::Trouble(unwritable(&error)))?;
        if span.is_empty() {
            return Ok(None);
        }
        let (files, spooled) = files.into_iter().unzip();
        let (from, to) = (span.start, span.end);
        let cut = Cut { from, to, cause, recipe, merged_at: None, clock_ms, late_dropped, files };
        Ok(Some((partition.shard.clone(), cut, spooled)))
    }

    /// Lets partitions stand where they stood before a cut that is not decided.
    fn undo(&mut self, closed: Vec<Closed>) {
        for (shard, cut, spooled) in closed {
            spooled.iter().for_each(Finished::discard);
            self.partitions.get_mut(&shard.partition).into_iter().for_each(|partition| partition.stand_at(cut.from));
        }
    }

    /// Writes decisions down, and lets partitions stand so.
    pub(super) async fn decide(&mut self, decisions: &[Decision]) -> Step<()> {
        self.rooms.journal.decide(&self.config.name, decisions).await?;
        self.apply(decisions);
        Ok(())
    }

    /// Lets partitions stand as is decided: from then on they keep in the log what they still need.
    pub(super) fn apply(&mut self, decisions: &[Decision]) {
        for decision in decisions {
            let Some(number) = decision.shard().map(|shard| shard.partition) else { continue };
            let Some(partition) = self.partitions.get_mut(&number) else { continue };
            partition.standing.apply(decision);
            let Partition { shard, standing, .. } = &self.partitions[&number];
            self.pin(shard, standing);
        }
    }

    /// Records that offsets up to `next` cannot be had, after a cut of all before them.
    pub(super) async fn gap(&mut self, number: u32, next: u64, reason: &str) -> Step<()> {
        self.cut(&self.mates(number), Cause::Gap).await?;
        let Some(from) = self.partitions.get(&number).map(|partition| partition.standing.frontier) else {
            return Ok(());
        };
        self.give_up(number, from..next, reason).await?;
        self.partitions.get_mut(&number).into_iter().for_each(|partition| partition.stand_at(next));
        Ok(())
    }

    /// Records that offsets are in no file.
    pub(super) async fn give_up(&mut self, number: u32, offsets: Range<u64>, reason: &str) -> Step<()> {
        let Some(shard) = self.partitions.get(&number).map(|partition| partition.shard.clone()) else { return Ok(()) };
        let Range { start: from, end: to } = offsets;
        tracing::error!(sink = self.config.name, topic = %shard.topic, partition = number, from, to, reason, "records are in no file");
        self.decide(&[Decision::Gap { shard, from, to, reason: reason.to_owned() }]).await?;
        metrics::sink_lost(&self.config.name, to - from);
        Ok(())
    }
}
