//! One topic on its way into files: reads its partitions in turn, cuts them when they are due, publishes what was cut.

mod deciding;
mod publish;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use skidway_record::{Fate, Offset, TopicPartition};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::board::Desk;
use super::config::SinkConfig;
use super::decisions::{Decision, Shard};
use super::lane::{Cause, Together};
use super::parquet::{Learning, Names};
use super::publishing::Group;
use super::state::Standing;
use super::store::Store;
use super::writing::{Progress, Writing};
use super::{FETCH_BYTES, Patience, Rooms, Sink, owner, unwritable};
use crate::blocking::blocking;
use crate::clock::now_ms;
use crate::log::{LogError, Progress as Reach, Topic};

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
    names: Arc<Names>,
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
            names: sink.place.names.clone(),
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

    fn open(&self, lane: &[u32]) -> Together<'_> {
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
            let learning = Learning::new(self.names.clone(), standing.fields.clone());
            let spool = self.store.spool().to_owned();
            let writing = Writing::new(of, how, spool, standing.frontier).learning(learning);
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
        let due = due.filter(|_| !open.is_empty());
        if let Some(cause) = due {
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
