//! What a sink will do in a day: what came in the last hours is written into files on trial, by the code that does it in earnest, with the
//! records' own times for a clock.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use skidway_record::{Batch, Offset, TopicPartition};
use skidway_wire::SinkPlan;

use super::config::SinkConfig;
use super::decisions::Intent;
use super::lane::{Cause, Together};
use super::parquet::{Learning, Names};
use super::store::Store;
use super::writing::{Progress, Writing};
use super::{FETCH_BYTES, Place, Rooms, unwritable};
use crate::blocking::blocking;
use crate::clock::now_ms;
use crate::log::{LogError, Topic};

/// Compressed bytes of a topic that are tried out at most.
const SAMPLE_BYTES_MAX: u64 = 256 << 20;

const DAY: Duration = Duration::from_secs(86_400);

/// Is one partition on trial.
struct Trial {
    of: TopicPartition,
    writing: Box<Writing>,
    batches: Vec<Batch>,
    end: u64,
}

/// Is a topic on trial.
struct Trials {
    partitions: Vec<Trial>,
    config: Arc<SinkConfig>,
    store: Arc<dyn Store>,
    count: Count,
}

/// Counts what the trial does. What is open at its end counts as far as it has come.
#[derive(Default)]
struct Count {
    /// Files that were written at all.
    written: u64,
    files: f64,
    bytes: u64,
    records: u64,
    operations: f64,
    cuts: BTreeMap<String, f64>,
    covered: Duration,
}

/// Tries a sink out on what came in the last `hours`.
///
/// # Errors
/// What cannot be read or written, in words (retry).
pub(super) async fn plan(rooms: &Rooms, place: &Place, hours: u64) -> Result<SinkPlan, String> {
    place.wait_opened().await?;
    let _alone = place.planning.acquire().await.map_err(|closed| closed.to_string())?;
    let since_ms = now_ms() - i64::try_from(hours * 3_600_000).unwrap_or(i64::MAX);
    let spool = place.store.spool().join("plan");
    let (mut plan, mut day, mut bytes_per_day) = (Count::default(), Count::default(), 0.0);
    for topic in rooms.log.topics().into_iter().filter(|topic| place.config.takes(&topic.name)) {
        let tried = {
            let folder = spool.clone();
            blocking(move || std::fs::create_dir_all(folder)).await.map_err(|error| unwritable(&error))?;
            try_topic(rooms, place, &topic, (since_ms, &spool)).await
        };
        let folder = spool.clone();
        blocking(move || _ = std::fs::remove_dir_all(folder)).await;
        let count = tried?;
        let factor = DAY.as_secs_f64() / count.covered.as_secs_f64().max(1.0);
        day.files += count.files * factor;
        bytes_per_day += count.bytes as f64 * factor;
        day.operations += count.operations * factor;
        for (cause, cuts) in count.cuts {
            *day.cuts.entry(cause).or_default() += cuts * factor;
        }
        plan.written += count.written;
        plan.bytes += count.bytes;
        plan.records += count.records;
        plan.covered = plan.covered.max(count.covered);
    }
    Ok(SinkPlan {
        sample_seconds: plan.covered.as_secs(),
        sample_records: plan.records,
        sample_files: plan.written,
        sample_bytes: plan.bytes,
        files_per_day: day.files.ceil() as u64,
        bytes_per_day: bytes_per_day as u64,
        operations_per_day: day.operations.ceil() as u64,
        cuts_per_day: day.cuts.into_iter().map(|(cause, cuts)| (cause, cuts.ceil() as u64)).collect(),
    })
}

async fn try_topic(
    rooms: &Rooms,
    place: &Place,
    topic: &Topic,
    (since_ms, spool): (i64, &Path),
) -> Result<Count, String> {
    let mut trials = Box::new(Trials::begin(rooms, place, topic, (since_ms, spool)).await?);
    let (mut first_ms, mut clock_ms, mut read) = (i64::MAX, i64::MIN, 0);
    while read < SAMPLE_BYTES_MAX {
        let Some((at, batch)) = trials.next(rooms).await? else { break };
        read += batch.bytes().len() as u64;
        clock_ms = clock_ms.max(batch.header().max_timestamp_ms);
        first_ms = first_ms.min(batch.header().base_timestamp_ms);
        let (back, written) = blocking(move || {
            let written = trials.write(at, batch, clock_ms);
            (trials, written)
        })
        .await;
        written.map_err(|error| unwritable(&error))?;
        trials = back;
    }
    let ended = blocking(move || trials.end(clock_ms)).await;
    let mut count = ended.map_err(|error| unwritable(&error))?;
    count.covered = Duration::from_millis(u64::try_from(clock_ms.saturating_sub(first_ms)).unwrap_or(0));
    // A sample that ends early says nothing of the time after it; one that does not, that nothing came.
    if read < SAMPLE_BYTES_MAX && first_ms < i64::MAX {
        count.covered = count.covered.max(Duration::from_millis(u64::try_from(now_ms() - first_ms).unwrap_or(0)));
    }
    Ok(count)
}

impl Trials {
    async fn begin(
        rooms: &Rooms,
        place: &Place,
        topic: &Topic,
        (since_ms, spool): (i64, &Path),
    ) -> Result<Self, String> {
        let (mut partitions, names) = (Vec::new(), Arc::new(Names::default()));
        for partition in 0..topic.config.partitions {
            let of = TopicPartition::new(topic.name.clone(), partition);
            let end = rooms.log.offsets(&of).map_err(|error| error.to_string())?.high_watermark.0;
            let from = rooms.log.offset_at(of.clone(), since_ms).await.map_err(|error| error.to_string())?;
            let how = (Arc::new(place.config.layout.clone()), place.config.rolling.clone());
            let writing = Writing::new(of.clone(), how, spool.to_owned(), from.map_or(end, |from| from.0));
            let writing = Box::new(writing.learning(Learning::new(names.clone(), Vec::new())));
            partitions.push(Trial { of, writing, batches: Vec::new(), end });
        }
        Ok(Self { partitions, config: place.config.clone(), store: place.store.clone(), count: Count::default() })
    }

    /// Gives the batch that came first of those that are not tried, and the partition it is in.
    async fn next(&mut self, rooms: &Rooms) -> Result<Option<(usize, Batch)>, String> {
        for trial in &mut self.partitions {
            trial.fill(rooms).await.map_err(|error| error.to_string())?;
        }
        let first = |(at, trial): (usize, &Trial)| Some((trial.batches.first()?.header().max_timestamp_ms, at));
        let next = self.partitions.iter().enumerate().filter_map(first).min();
        Ok(next.map(|(_, at)| (at, self.partitions[at].batches.remove(0))))
    }

    /// Gives the partitions that are cut together: each by itself, or all.
    fn lanes(&self) -> Vec<Range<usize>> {
        let all = 0..self.partitions.len();
        if self.config.merges { vec![all] } else { all.map(|at| at..at + 1).collect() }
    }

    fn open(&self, lane: &Range<usize>) -> Together<'_> {
        let mut together = Together::default();
        self.partitions[lane.clone()].iter().for_each(|trial| together.join(trial.writing.lane()));
        together
    }

    /// Cuts what is due by then, and writes a batch of a partition.
    fn write(&mut self, at: usize, batch: Batch, clock_ms: i64) -> io::Result<()> {
        let lanes = self.lanes();
        for lane in &lanes {
            while let Some(cause) = self.open(lane).due(clock_ms, &self.config.rolling) {
                self.cut(lane, (cause, 1.0))?;
            }
        }
        let batch = [batch];
        while let Progress::Cut(cause) = self.partitions[at].writing.write(&batch, u64::MAX, clock_ms)? {
            lanes.iter().filter(|lane| lane.contains(&at)).try_for_each(|lane| self.cut(lane, (cause, 1.0)))?;
        }
        Ok(())
    }

    /// Counts what is open as far as it has come, and gives the count of all.
    fn end(mut self, clock_ms: i64) -> io::Result<Count> {
        for lane in self.lanes() {
            let (part, cause) = self.open(&lane).progress(clock_ms, &self.config.rolling);
            self.cut(&lane, (cause, part))?;
        }
        Ok(self.count)
    }

    /// Closes what is open of partitions that are cut together, and counts it as so much of a cut.
    fn cut(&mut self, lane: &Range<usize>, (cause, part): (Cause, f64)) -> io::Result<()> {
        let (mut files, count) = (BTreeMap::<String, u64>::new(), &mut self.count);
        // Merged, what partitions have for one folder is one file.
        let file = |intent: Intent| if self.config.merges { intent.folder } else { intent.path() };
        for trial in &mut self.partitions[lane.clone()] {
            for (intent, finished) in trial.writing.cut()?.files {
                count.records += intent.records;
                *files.entry(file(intent)).or_default() += finished.bytes;
                finished.discard();
            }
        }
        if !files.is_empty() {
            *count.cuts.entry(cause.as_str().to_owned()).or_default() += part;
        }
        count.written += files.len() as u64;
        count.files += files.len() as f64 * part;
        count.bytes += files.values().sum::<u64>();
        count.operations += files.values().map(|bytes| self.store.operations(*bytes)).sum::<u64>() as f64 * part;
        Ok(())
    }
}

impl Trial {
    async fn fill(&mut self, rooms: &Rooms) -> Result<(), LogError> {
        let next = self.writing.lane().next();
        if !self.batches.is_empty() || next >= self.end {
            return Ok(());
        }
        match rooms.log.fetch(self.of.clone(), Offset(next), FETCH_BYTES).await {
            Ok(batches) => self.batches = batches,
            // Gone meanwhile, or damaged: the rest says enough.
            Err(LogError::OutOfRange { .. } | LogError::Damaged(_)) => self.end = next,
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
