//! One topic on its way into files: reads its partitions in turn, cuts them when they are due, publishes what was cut.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use skidway_record::{Fate, Offset, TopicPartition};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::board::Desk;
use super::config::SinkConfig;
use super::decisions::{Cut, Decision, Shard, Standing};
use super::file::Finished;
use super::lane::{Cause, Together};
use super::publishing::{Failure, Group};
use super::store::Store;
use super::writing::{Closing, Progress, Writing, name_merged};
use super::{FETCH_BYTES, Patience, Rooms, Sink, now_ms, owner, unwritable};
use crate::blocking::blocking;
use crate::log::{LogError, Progress as Reach, Topic};
use crate::metrics;

/// Cuts that wait to be published; past them nothing more is read.
const PENDING_MAX: usize = 16;

/// Groups that are published at once.
const GROUPS_MAX: usize = 8;

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
    /// What is decided and not published, oldest first.
    groups: VecDeque<Group>,
    patience: Patience,
}

/// Is one partition on its way into files.
struct Partition {
    shard: Shard,
    standing: Standing,
    /// `None` only while it is written on another thread.
    writing: Option<Box<Writing>>,
}

impl Partition {
    fn next(&self) -> u64 {
        self.writing.as_ref().map_or(0, |writing| writing.lane().next())
    }

    fn stand_at(&mut self, frontier: u64) {
        self.writing.as_mut().into_iter().for_each(|writing| writing.stand_at(frontier));
    }
}

/// Is what a cut closed of one partition.
struct Closed {
    number: u32,
    span: Range<u64>,
    cut: Cut,
    spooled: Vec<Finished>,
}

/// Says why a step was not taken.
enum Obstacle {
    /// Whatever it is, it may be over later.
    Trouble(String),
    /// The topic is deleted.
    TopicGone,
    /// None: it is tried again.
    Again,
}

type Step<T> = Result<T, Obstacle>;

impl Worker {
    /// Takes `topic`, going on where it stood `before`.
    pub(super) fn new(
        sink: &Sink,
        (topic, progress): (Topic, watch::Receiver<Reach>),
        before: BTreeMap<Shard, Standing>,
    ) -> Self {
        let pending = |(shard, standing): (&Shard, &Standing)| {
            let shard = shard.clone();
            standing.pending.clone().into_iter().map(move |cut| (shard.clone(), cut))
        };
        Self {
            groups: Group::decided(before.iter().flat_map(pending)).into(),
            rooms: sink.rooms.clone(),
            config: sink.place.config.clone(),
            store: sink.place.store.clone(),
            progress,
            before,
            partitions: BTreeMap::new(),
            patience: Patience::new(&sink.place.config.name, topic.name.as_str()),
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
                Err(Obstacle::Again) => true,
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
        let deadlines = self.lanes().into_iter().filter_map(|lane| self.open(&lane).deadline_ms(&self.config.rolling));
        let deadline = deadlines.min();
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
        // Before any takes its step, which an obstacle may keep the others from; what comes of the steps the next turn shows.
        self.partitions.keys().for_each(|number| self.show(*number, desk));
        let mut moved = self.publish().await?;
        for lane in self.lanes() {
            moved |= self.step(&lane, stands_still).await?;
        }
        Ok(moved)
    }

    /// Gives the partitions that are cut together: each by itself, or all.
    fn lanes(&self) -> Vec<Vec<u32>> {
        let numbers = self.partitions.keys().copied();
        if self.config.merges { vec![numbers.collect()] } else { numbers.map(|number| vec![number]).collect() }
    }

    fn open(&self, lane: &[u32]) -> Together {
        let mut together = Together::default();
        let writings = lane.iter().filter_map(|number| self.partitions.get(number)?.writing.as_ref());
        writings.for_each(|writing| together.join(writing.lane()));
        together
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
            let partition = Partition { shard, standing, writing: Some(Box::new(writing)) };
            self.partitions.insert(number, partition);
        }
        Ok(())
    }

    async fn begin(&self, shard: &Shard) -> Step<Standing> {
        let from = self.rooms.log.offsets(&of(shard))?.log_start.0;
        let (begun, mut standing) = (Decision::Begun { shard: shard.clone(), from }, Standing::default());
        self.rooms.journal.decide(&self.config.name, std::slice::from_ref(&begun)).await?;
        standing.apply(&begun);
        Ok(standing)
    }

    /// Cuts what is due, or reads on; false if there is nothing to do now.
    async fn step(&mut self, lane: &[u32], stands_still: bool) -> Step<bool> {
        let open = self.open(lane);
        let due = if stands_still { Some(Cause::Stop) } else { open.due(now_ms(), &self.config.rolling) };
        if let Some(cause) = due.filter(|_| !open.is_empty()) {
            return self.cut(lane, cause).await.map(|()| true);
        }
        let mut moved = false;
        for number in lane {
            let has_room = self.partitions.get(number).is_some_and(|it| it.standing.pending.len() < PENDING_MAX);
            if !stands_still && has_room {
                moved |= self.read(*number).await?;
            }
        }
        Ok(moved)
    }

    /// Reads what comes next into files; false at the head.
    async fn read(&mut self, number: u32) -> Step<bool> {
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(false) };
        let of = of(&partition.shard);
        let next = partition.next();
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
        match written.map_err(|error| Obstacle::Trouble(unwritable(&error)))? {
            Progress::All => {}
            Progress::Cut(cause) => self.cut(&self.mates(number), cause).await?,
            Progress::Undecodable(next, reason) => self.gap(number, next, &reason).await?,
        }
        Ok(true)
    }

    /// Gives the partitions that are cut with this one.
    fn mates(&self, number: u32) -> Vec<u32> {
        if self.config.merges { self.partitions.keys().copied().collect() } else { vec![number] }
    }

    /// Closes all files of partitions and decides them, all at once.
    async fn cut(&mut self, lane: &[u32], cause: Cause) -> Step<()> {
        let mut closed = Vec::new();
        for number in lane {
            match self.close(*number, cause).await {
                Ok(one) => closed.extend(one.filter(|it| !it.span.is_empty())),
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
            name_merged(&self.topic.name, before, closed.iter_mut().map(|it| &mut it.cut), layout);
        }
        let of = |it: &Closed| (self.partitions[&it.number].shard.clone(), it.cut.clone());
        let decisions: Vec<Decision> = closed.iter().map(of).map(|(shard, cut)| Decision::Cut { shard, cut }).collect();
        let decided = self.decide(&decisions).await;
        if decided.is_err() {
            // Whether it is decided is not known if the log halts; if it only refused, it is not, and the files are made again.
            self.undo(closed);
            return decided;
        }
        let shards = &self.partitions;
        let member = |it: Closed| (shards[&it.number].shard.clone(), it.cut, it.spooled);
        self.groups.push_back(Group::new(closed.into_iter().map(member).collect()));
        metrics::sink_cut(&self.config.name, cause.as_str());
        self.rooms.board.desk(&self.config.name).into_iter().for_each(|desk| desk.cut(cause));
        Ok(())
    }

    async fn close(&mut self, number: u32, cause: Cause) -> Step<Option<Closed>> {
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(None) };
        let Some(mut writing) = partition.writing.take() else { return Ok(None) };
        let (writing, closing) = blocking(move || {
            let closing = writing.cut();
            (writing, closing)
        })
        .await;
        partition.writing = Some(writing);
        let Closing { span, clock_ms, dropped: late_dropped, files } =
            closing.map_err(|error| Obstacle::Trouble(unwritable(&error)))?;
        let (files, spooled) = files.into_iter().unzip();
        let (from, to, recipe) = (span.start, span.end, self.config.layout.recipe());
        let cut = Cut { from, to, cause, recipe, merged_at: None, clock_ms, late_dropped, files };
        Ok(Some(Closed { number, span, cut, spooled }))
    }

    /// Lets partitions stand where they stood before a cut that is not decided.
    fn undo(&mut self, closed: Vec<Closed>) {
        for Closed { number, span, spooled, .. } in closed {
            spooled.iter().for_each(Finished::discard);
            self.partitions.get_mut(&number).into_iter().for_each(|partition| partition.stand_at(span.start));
        }
    }

    /// Writes decisions down, and lets partitions stand so.
    async fn decide(&mut self, decisions: &[Decision]) -> Step<()> {
        self.rooms.journal.decide(&self.config.name, decisions).await?;
        self.apply(decisions);
        Ok(())
    }

    /// Lets partitions stand as is decided: from then on they keep in the log what they still need.
    fn apply(&mut self, decisions: &[Decision]) {
        for decision in decisions {
            let Some(number) = decision.shard().map(|shard| shard.partition) else { continue };
            let Some(partition) = self.partitions.get_mut(&number) else { continue };
            partition.standing.apply(decision);
            let Partition { shard, standing, .. } = &self.partitions[&number];
            self.pin(shard, standing);
        }
    }

    /// Records that offsets up to `next` cannot be had, after a cut of all before them.
    async fn gap(&mut self, number: u32, next: u64, reason: &str) -> Step<()> {
        self.cut(&self.mates(number), Cause::Gap).await?;
        let Some(from) = self.partitions.get(&number).map(|partition| partition.standing.frontier) else {
            return Ok(());
        };
        self.give_up(number, from..next, reason).await?;
        self.partitions.get_mut(&number).into_iter().for_each(|partition| partition.stand_at(next));
        Ok(())
    }

    /// Records that offsets are in no file.
    async fn give_up(&mut self, number: u32, offsets: Range<u64>, reason: &str) -> Step<()> {
        let Some(shard) = self.partitions.get(&number).map(|partition| partition.shard.clone()) else { return Ok(()) };
        let Range { start: from, end: to } = offsets;
        tracing::error!(sink = self.config.name, topic = %shard.topic, partition = number, from, to, reason, "records are in no file");
        self.decide(&[Decision::Gap { shard, from, to, reason: reason.to_owned() }]).await?;
        metrics::sink_lost(&self.config.name, to - from);
        Ok(())
    }

    /// Publishes the oldest groups that are not, of each partition one; false if all are.
    async fn publish(&mut self) -> Step<bool> {
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

    fn pin(&self, shard: &Shard, standing: &Standing) {
        self.rooms.pins.pin(&owner(&self.config.name), (shard.topic_id, shard.partition), standing.needs_from());
    }

    fn show(&self, number: u32, desk: &Desk) {
        let Some(partition) = self.partitions.get(&number) else { return };
        let high_watermark = self.progress.borrow().high_watermarks.get(number as usize).map_or(0, |end| end.0);
        desk.stands(&partition.shard, &partition.standing, partition.next(), high_watermark);
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
