//! One topic on its way into files: reads its partitions in turn, cuts them when they are due, publishes what was cut.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use skidway_record::{Fate, Offset, TopicPartition};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::board::Desk;
use super::config::SinkConfig;
use super::decisions::{Cut, Decision, Shard, Standing};
use super::file::Finished;
use super::lane::Cause;
use super::publishing::{Failure, Publishing};
use super::store::Store;
use super::writing::{Closing, Progress, Writing};
use super::{Patience, Rooms, Sink, now_ms, owner};
use crate::blocking::blocking;
use crate::log::{LogError, Progress as Reach, Topic};
use crate::metrics;

/// Read of a partition at a time, in compressed bytes.
const FETCH_BYTES: usize = 1 << 20;

/// Cuts that wait to be published; past them nothing more is read.
const PENDING_MAX: usize = 16;

/// Waits at most so long without looking at the clock.
const NAP: Duration = Duration::from_secs(60);

const GONE_BEFORE: &str =
    "the records were deleted before the sink had them: more was pinned than engine.pinned_bytes allows";

/// Takes one topic into files.
pub(super) struct Worker {
    rooms: Arc<Rooms>,
    config: Arc<SinkConfig>,
    store: Arc<dyn Store>,
    topic: Topic,
    progress: watch::Receiver<Reach>,
    before: BTreeMap<Shard, Standing>,
    partitions: BTreeMap<u32, Partition>,
    patience: Patience,
}

/// Is one partition on its way into files.
struct Partition {
    shard: Shard,
    standing: Standing,
    /// `None` only while it is written on another thread.
    writing: Option<Box<Writing>>,
    publishing: Publishing,
}

/// Says why a step was not taken.
enum Obstacle {
    /// Whatever it is, it may be over later.
    Trouble(String),
    /// The topic is deleted.
    TopicGone,
}

type Step<T> = Result<T, Obstacle>;

impl Worker {
    /// Takes `topic`, going on where it stood `before`.
    pub(super) fn new(
        sink: &Sink,
        store: Arc<dyn Store>,
        (topic, progress): (Topic, watch::Receiver<Reach>),
        before: BTreeMap<Shard, Standing>,
    ) -> Self {
        Self {
            rooms: sink.rooms.clone(),
            config: sink.config.clone(),
            store,
            progress,
            before,
            partitions: BTreeMap::new(),
            patience: Patience::new(&sink.config.name, topic.name.as_str()),
            topic,
        }
    }

    /// Works until the topic is gone, or `stop` is cancelled and all that is open is published. Gives the topic's id.
    pub(super) async fn run(mut self, desk: &Desk, stop: CancellationToken) -> [u8; 16] {
        let mut pauses = desk.pauses();
        loop {
            let stands_still = *pauses.borrow_and_update() || stop.is_cancelled();
            let moved = match self.turn(desk, stands_still).await {
                Ok(moved) => {
                    self.patience.over(desk);
                    moved
                }
                Err(Obstacle::TopicGone) => break,
                Err(Obstacle::Trouble(trouble)) => {
                    self.patience.complain(desk, &trouble);
                    tokio::select! {
                        () = self.patience.wait() => {}
                        () = stop.cancelled() => {}
                    }
                    if stop.is_cancelled() {
                        break;
                    }
                    continue;
                }
            };
            if stop.is_cancelled() && !moved {
                break;
            }
            if !moved {
                self.wait(&mut pauses, &stop).await;
            }
        }
        for partition in self.partitions.values() {
            desk.left(&partition.shard);
            if self.rooms.log.topic(&self.topic.name).is_none_or(|topic| topic.id != self.topic.id) {
                self.rooms.pins.unpin(&owner(&self.config.name), (self.topic.id, partition.shard.partition));
            }
        }
        self.topic.id
    }

    async fn wait(&mut self, pauses: &mut watch::Receiver<bool>, stop: &CancellationToken) {
        let deadline = self.partitions.values().filter_map(|it| it.writing.as_ref()?.deadline_ms()).min();
        let nap = deadline.map_or(NAP, |at| Duration::from_millis(u64::try_from(at - now_ms()).unwrap_or(0))).min(NAP);
        tokio::select! {
            _moved_or_gone = self.progress.changed() => {}
            _paused = pauses.changed() => {}
            () = sleep(nap) => {}
            () = stop.cancelled() => {}
        }
    }

    /// Does what there is to do in each partition, once. False if nothing was.
    async fn turn(&mut self, desk: &Desk, stands_still: bool) -> Step<bool> {
        self.look_for_partitions(stands_still).await?;
        let mut moved = false;
        let numbers: Vec<u32> = self.partitions.keys().copied().collect();
        // Before any takes its step, which an obstacle may keep the others from; what comes of the steps the next turn shows.
        numbers.iter().for_each(|number| self.show(*number, desk));
        for number in numbers {
            moved |= self.step(number, stands_still).await?;
        }
        Ok(moved)
    }

    /// Begins the partitions there are and are not begun.
    async fn look_for_partitions(&mut self, stands_still: bool) -> Step<()> {
        let Some(topic) = self.rooms.log.topic(&self.topic.name).filter(|topic| topic.id == self.topic.id) else {
            return Err(Obstacle::TopicGone);
        };
        for number in 0..topic.config.partitions {
            if self.partitions.contains_key(&number) {
                continue;
            }
            let shard = Shard { topic: topic.name.clone(), topic_id: topic.id, partition: number };
            let standing = match self.before.get(&shard) {
                Some(standing) => standing.clone(),
                None if stands_still => continue,
                None => self.begin(&shard).await?,
            };
            self.pin(&shard, &standing);
            let of = TopicPartition::new(topic.name.clone(), number);
            let how = (Arc::new(self.config.layout.clone()), self.config.rolling.clone());
            let writing = Writing::new(of, how, self.store.spool().to_owned(), standing.frontier);
            let publishing = Publishing::new(standing.pending.len());
            let partition = Partition { shard, standing, writing: Some(Box::new(writing)), publishing };
            self.partitions.insert(number, partition);
        }
        Ok(())
    }

    async fn begin(&self, shard: &Shard) -> Step<Standing> {
        let from = self.rooms.log.offsets(&of(shard))?.log_start.0;
        let (begun, mut standing) = (Decision::Begun { shard: shard.clone(), from }, Standing::default());
        self.rooms.journal.decide(&self.config.name, &begun).await?;
        standing.apply(&begun);
        Ok(standing)
    }

    /// Does one thing for a partition; false if there is nothing to do now.
    async fn step(&mut self, number: u32, stands_still: bool) -> Step<bool> {
        if self.publish(number).await? {
            return Ok(true);
        }
        let Some(partition) = self.partitions.get(&number) else { return Ok(false) };
        let Some(writing) = partition.writing.as_ref() else { return Ok(false) };
        let due = if stands_still { Some(Cause::Stop) } else { writing.due(now_ms()) };
        match due.filter(|_| writing.lane().open_files() > 0) {
            Some(cause) => self.cut(number, cause).await.map(|()| true),
            None if stands_still || partition.standing.pending.len() >= PENDING_MAX => Ok(false),
            None => self.read(number).await,
        }
    }

    /// Reads what comes next into files; false at the head.
    async fn read(&mut self, number: u32) -> Step<bool> {
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(false) };
        let of = of(&partition.shard);
        let next = partition.writing.as_ref().map_or(0, |writing| writing.lane().next());
        if self.progress.borrow().high_watermarks.get(number as usize).is_some_and(|end| end.0 <= next) {
            return Ok(false);
        }
        let batches = match self.rooms.log.fetch(of.clone(), Offset(next), FETCH_BYTES).await {
            Ok(batches) if batches.is_empty() => return Ok(false),
            Ok(batches) => batches,
            Err(LogError::OutOfRange { offsets, .. }) if offsets.log_start.0 > next => {
                return self.gap(number, offsets.log_start.0, GONE_BEFORE).await.map(|()| true);
            }
            Err(LogError::Damaged(damage)) => {
                return self.gap(number, damage.next.0, &damage.to_string()).await.map(|()| true);
            }
            Err(error) => return Err(error.into()),
        };
        let Some(mut writing) = partition.writing.take() else { return Ok(false) };
        let (writing, written) = blocking(move || {
            let written = writing.write(&batches, u64::MAX, now_ms());
            (writing, written)
        })
        .await;
        partition.writing = Some(writing);
        match written.map_err(|error| Obstacle::Trouble(format!("the spool cannot be written: {error}")))? {
            Progress::All => {}
            Progress::Cut(cause) => self.cut(number, cause).await?,
            Progress::Undecodable(next, reason) => self.gap(number, next, &reason).await?,
        }
        Ok(true)
    }

    /// Closes all files of a partition and decides them.
    async fn cut(&mut self, number: u32, cause: Cause) -> Step<()> {
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(()) };
        let Some(mut writing) = partition.writing.take() else { return Ok(()) };
        let (writing, cut) = blocking(move || {
            let cut = writing.cut();
            (writing, cut)
        })
        .await;
        partition.writing = Some(writing);
        let Closing { span, files } =
            cut.map_err(|error| Obstacle::Trouble(format!("the spool cannot be written: {error}")))?;
        if span.is_empty() {
            return Ok(());
        }
        let (files, spooled): (Vec<_>, Vec<Finished>) = files.into_iter().unzip();
        let cut = Cut { from: span.start, to: span.end, cause, recipe: self.config.layout.recipe(), files };
        let decision = Decision::Cut { shard: partition.shard.clone(), cut };
        let decided = self.decide(number, &decision).await;
        let Some(partition) = self.partitions.get_mut(&number) else { return decided };
        if decided.is_err() {
            // Whether it is decided is not known if the log halts; if it only refused, it is not, and the files are made again.
            spooled.iter().for_each(Finished::discard);
            partition.writing.as_mut().into_iter().for_each(|writing| writing.stand_at(span.start));
            return decided;
        }
        partition.publishing.push(spooled);
        metrics::sink_cut(&self.config.name, cause.as_str());
        self.rooms.board.desk(&self.config.name).into_iter().for_each(|desk| desk.cut(cause));
        Ok(())
    }

    /// Writes a decision of a partition down, and lets it stand so: from then on it keeps in the log what it still needs.
    async fn decide(&mut self, number: u32, decision: &Decision) -> Step<()> {
        self.rooms.journal.decide(&self.config.name, decision).await?;
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(()) };
        partition.standing.apply(decision);
        let Partition { shard, standing, .. } = &self.partitions[&number];
        self.pin(shard, standing);
        Ok(())
    }

    /// Records that offsets up to `next` cannot be had, after a cut of all before them.
    async fn gap(&mut self, number: u32, next: u64, reason: &str) -> Step<()> {
        self.cut(number, Cause::Gap).await?;
        let Some(from) = self.partitions.get(&number).map(|partition| partition.standing.frontier) else {
            return Ok(());
        };
        self.give_up(number, from..next, reason).await?;
        let writing = self.partitions.get_mut(&number).and_then(|partition| partition.writing.as_mut());
        writing.into_iter().for_each(|writing| writing.stand_at(next));
        Ok(())
    }

    /// Records that offsets are in no file.
    async fn give_up(&mut self, number: u32, offsets: Range<u64>, reason: &str) -> Step<()> {
        let Some(shard) = self.partitions.get(&number).map(|partition| partition.shard.clone()) else { return Ok(()) };
        let Range { start: from, end: to } = offsets;
        tracing::error!(sink = self.config.name, topic = %shard.topic, partition = number, from, to, reason, "records are in no file");
        self.decide(number, &Decision::Gap { shard, from, to, reason: reason.to_owned() }).await?;
        metrics::sink_lost(&self.config.name, to - from);
        Ok(())
    }

    /// Publishes the oldest cut that is not; false if all are.
    async fn publish(&mut self, number: u32) -> Step<bool> {
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(false) };
        let Some(cut) = partition.standing.pending.first().cloned() else { return Ok(false) };
        let shard = partition.shard.clone();
        match partition.publishing.publish(&self.rooms.log, &self.store, &shard, &cut).await {
            Ok(bytes) => {
                self.decide(number, &Decision::Done { shard, to: cut.to, bytes }).await?;
                let (files, records) = (cut.files.len() as u64, cut.files.iter().map(|file| file.records).sum());
                metrics::sink_published(&self.config.name, files, records, bytes);
            }
            Err(Failure::Gone(reason)) => self.give_up(number, cut.from..cut.to, &reason).await?,
            Err(Failure::Trouble(trouble)) => return Err(Obstacle::Trouble(trouble)),
        }
        self.partitions.get_mut(&number).into_iter().for_each(|partition| partition.publishing.pop());
        Ok(true)
    }

    fn pin(&self, shard: &Shard, standing: &Standing) {
        self.rooms.pins.pin(&owner(&self.config.name), (shard.topic_id, shard.partition), standing.needs_from());
    }

    fn show(&self, number: u32, desk: &Desk) {
        let Some(partition) = self.partitions.get(&number) else { return };
        let high_watermark = self.progress.borrow().high_watermarks.get(number as usize).map_or(0, |end| end.0);
        let next = partition.writing.as_ref().map_or(0, |writing| writing.lane().next());
        desk.stands(&partition.shard, &partition.standing, next, high_watermark);
    }
}

impl From<LogError> for Obstacle {
    fn from(error: LogError) -> Self {
        match error {
            LogError::NotFound(_) => Self::TopicGone,
            error if error.fate() == Fate::Retry => Self::Trouble(error.to_string()),
            error => Self::Trouble(format!("the log does not do it: {error}")),
        }
    }
}

fn of(shard: &Shard) -> TopicPartition {
    TopicPartition::new(shard.topic.clone(), shard.partition)
}
