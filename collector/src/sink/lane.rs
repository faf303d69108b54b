//! What is open of one partition, and when it is cut. Pure: time is handed in, bytes are reported, nothing is written.
//!
//! A cut closes all open files of the partition at one offset, the *frontier*. All before it is in files that were decided; nothing after it
//! is in any. So a file is told by its folder and the frontiers before and after it, and can be made again from the log.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An hour's file is closed so long after the hour, for records that are a little late. What comes after that is late.
pub const GRACE_MS: i64 = 60_000;

/// Stands for the file of records that are dropped; no folder has this name.
const DROPPED: &str = "\0";

/// Says when files are rolled, whichever comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rolling {
    /// Compressed bytes of one file.
    pub bytes: u64,
    /// Records of one file.
    pub records: u64,
    /// Since its first record came.
    pub age: Duration,
    /// Since its last record came.
    pub idle: Duration,
    /// Files open in one partition at once.
    pub open_files_max: usize,
}

/// Says why a partition was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A file reached its size.
    Bytes,
    /// A file reached its number of records.
    Records,
    /// A file's first record is old enough.
    Age,
    /// Nothing came for a while.
    Idle,
    /// The times of a file's folder are over.
    Period,
    /// As many files are open as may be.
    OpenFiles,
    /// Some records cannot be read, or are not there any more.
    Gap,
    /// The sink is paused, or the collector stops.
    Stop,
}

impl Cause {
    /// Gives its name, as metrics and listings show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Records => "records",
            Self::Age => "age",
            Self::Idle => "idle",
            Self::Period => "period",
            Self::OpenFiles => "open-files",
            Self::Gap => "gap",
            Self::Stop => "stop",
        }
    }
}

/// Is a file that takes records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    first: u64,
    last: u64,
    records: u64,
    bytes: u64,
    opened_ms: i64,
    grew_ms: i64,
    /// When its folder's times are over, if they were not when it was opened.
    ends_ms: Option<i64>,
}

impl Open {
    fn due(&self, now_ms: i64, rolling: &Rolling) -> Option<Cause> {
        let causes = [
            (self.bytes >= rolling.bytes, Cause::Bytes),
            (self.records >= rolling.records, Cause::Records),
            (self.ends_ms.is_some_and(|ends| ends <= now_ms), Cause::Period),
            (now_ms >= after(self.opened_ms, rolling.age), Cause::Age),
            (now_ms >= after(self.grew_ms, rolling.idle), Cause::Idle),
        ];
        causes.into_iter().find(|(is_due, _)| *is_due).map(|(_, cause)| cause)
    }

    /// Tells when it is due by time alone.
    fn deadline_ms(&self, rolling: &Rolling) -> i64 {
        let by_time = after(self.opened_ms, rolling.age).min(after(self.grew_ms, rolling.idle));
        self.ends_ms.map_or(by_time, |ends| ends.min(by_time))
    }

    /// Tells how much of the way to its end it has come, and what that end will be.
    fn progress(&self, now_ms: i64, rolling: &Rolling) -> (f64, Cause) {
        let since = (now_ms - self.opened_ms).max(0) as f64;
        let of = |part: f64, whole: f64| (part / whole.max(1.0)).min(1.0);
        let ends = self.ends_ms.map_or(0.0, |ends| of(since, (ends - self.opened_ms) as f64));
        let ways = [
            (of(self.bytes as f64, rolling.bytes as f64), Cause::Bytes),
            (of(self.records as f64, rolling.records as f64), Cause::Records),
            (of(since, rolling.age.as_millis() as f64), Cause::Age),
            (ends, Cause::Period),
        ];
        ways.into_iter().fold((0.0, Cause::Age), |most, way| if way.0 > most.0 { way } else { most })
    }

    /// Takes another partition's part of the same file in.
    fn join(&mut self, other: &Self) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.opened_ms = self.opened_ms.min(other.opened_ms);
        self.grew_ms = self.grew_ms.max(other.grew_ms);
        self.ends_ms = self.ends_ms.into_iter().chain(other.ends_ms).min();
    }
}

/// Shows what is open of partitions that are cut together: the same folder's files of all of them are one.
#[derive(Debug, Default)]
pub struct Together<'l>(BTreeMap<&'l str, Open>);

impl<'l> Together<'l> {
    /// Tells whether nothing is open.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a partition in.
    pub fn join(&mut self, lane: &'l Lane) {
        for (folder, file) in &lane.files {
            self.0.entry(folder).and_modify(|joined| joined.join(file)).or_insert(*file);
        }
    }

    /// Tells whether they are to be cut now, and why.
    pub fn due(&self, now_ms: i64, rolling: &Rolling) -> Option<Cause> {
        self.0.values().filter_map(|file| file.due(now_ms, rolling)).min()
    }

    /// Tells how much of the way to the next cut they have come, 1 at most, and why that will come.
    pub fn progress(&self, now_ms: i64, rolling: &Rolling) -> (f64, Cause) {
        let ways = self.0.values().map(|file| file.progress(now_ms, rolling));
        ways.fold((0.0, Cause::Age), |most, way| if way.0 > most.0 { way } else { most })
    }

    /// Tells when the next cut is due by time alone; `None` while nothing is open.
    pub fn deadline_ms(&self, rolling: &Rolling) -> Option<i64> {
        self.0.values().map(|file| file.deadline_ms(rolling)).min()
    }
}

/// Says what a closed file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Its folder.
    pub folder: String,
    /// Offsets of its first and last record.
    pub offsets: (u64, u64),
    /// How many records.
    pub records: u64,
}

/// Says what a cut decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneCut {
    /// The offsets.
    pub span: Range<u64>,
    /// Records among them that are in no file, as the configuration wants it.
    pub dropped: u64,
    /// What the files hold.
    pub files: Vec<Closed>,
}

/// Keeps what is open of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    frontier: u64,
    next: u64,
    files: BTreeMap<String, Open>,
}

impl Lane {
    /// Stands at a frontier, with nothing open.
    pub fn new(frontier: u64) -> Self {
        Self { frontier, next: frontier, files: BTreeMap::new() }
    }

    /// Gives the next offset to read.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Gives the offset after all that was decided.
    pub fn frontier(&self) -> u64 {
        self.frontier
    }

    /// Tells how many files are open.
    pub fn open_files(&self) -> usize {
        self.files.len()
    }

    /// Takes the record at `offset` into its folder's file, and tells how many that has. `ends_ms`: when the folder's times are over, asked for
    /// a new file only.
    pub fn take(&mut self, folder: &str, offset: u64, now_ms: i64, ends_ms: impl FnOnce() -> Option<i64>) -> u64 {
        self.next = offset + 1;
        if let Some(file) = self.files.get_mut(folder) {
            (file.last, file.grew_ms) = (offset, now_ms);
            file.records += 1;
            return file.records;
        }
        // What is late already does not wait for an end that is past: it would be a file a record.
        let ends_ms = ends_ms().map(|ends| ends + GRACE_MS).filter(|ends| *ends > now_ms);
        let file =
            Open { first: offset, last: offset, records: 1, bytes: 0, opened_ms: now_ms, grew_ms: now_ms, ends_ms };
        self.files.insert(folder.to_owned(), file);
        1
    }

    /// Counts a record that goes into no file.
    pub fn drop(&mut self, offset: u64, now_ms: i64) {
        self.take(DROPPED, offset, now_ms, || None);
    }

    /// Passes over offsets that no record has.
    pub fn pass(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// Notes how large a file has become.
    pub fn has_bytes(&mut self, folder: &str, bytes: u64) {
        if let Some(file) = self.files.get_mut(folder) {
            file.bytes = bytes;
        }
    }

    /// Tells whether the partition is to be cut now, and why.
    pub fn due(&self, now_ms: i64, rolling: &Rolling) -> Option<Cause> {
        self.files.values().filter_map(|file| file.due(now_ms, rolling)).min()
    }

    /// Closes all files.
    pub fn cut(&mut self) -> LaneCut {
        let span = self.frontier..self.next;
        self.frontier = self.next;
        let mut files = std::mem::take(&mut self.files);
        let dropped = files.remove(DROPPED).map_or(0, |dropped| dropped.records);
        let closed =
            |(folder, file): (String, Open)| Closed { folder, offsets: (file.first, file.last), records: file.records };
        LaneCut { span, dropped, files: files.into_iter().map(closed).collect() }
    }

    /// Starts over at the frontier: what was written since is of no use.
    pub fn rewind(&mut self) {
        self.next = self.frontier;
        self.files.clear();
    }
}

fn after(ms: i64, wait: Duration) -> i64 {
    ms.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rolling() -> Rolling {
        let seconds = Duration::from_secs;
        Rolling { bytes: 1000, records: 3, age: seconds(600), idle: seconds(60), open_files_max: 2 }
    }

    fn together<const N: usize>(lanes: [&Lane; N]) -> Together<'_> {
        let mut together = Together::default();
        lanes.into_iter().for_each(|lane| together.join(lane));
        together
    }

    const NEVER: fn() -> Option<i64> = || None;

    #[test]
    fn a_cut_closes_every_file_at_one_offset() {
        let mut lane = Lane::new(10);
        for (folder, offset) in [("a", 10), ("b", 11), ("a", 12)] {
            lane.take(folder, offset, 0, NEVER);
        }
        lane.pass(15);
        let closed = |folder: &str, offsets, records| Closed { folder: folder.into(), offsets, records };
        lane.drop(15, 0);
        let files = vec![closed("a", (10, 12), 2), closed("b", (11, 11), 1)];
        assert_eq!(lane.cut(), LaneCut { span: 10..16, dropped: 1, files });
        assert_eq!((lane.frontier(), lane.next(), lane.open_files()), (16, 16, 0));
        assert_eq!(lane.cut(), LaneCut { span: 16..16, dropped: 0, files: vec![] });
        lane.take("a", 16, 0, NEVER);
        lane.rewind();
        assert_eq!((lane.next(), lane.open_files()), (16, 0));
    }

    #[test]
    fn whatever_comes_first_rolls() {
        let second = 1000;
        for (takes, bytes, now_ms, expected) in [
            (vec![], 0, i64::MAX, None),
            (vec![0], 999, 59 * second, None),
            (vec![0], 1000, 0, Some(Cause::Bytes)),
            (vec![0, 0, 0], 0, 0, Some(Cause::Records)),
            (vec![0], 0, 60 * second, Some(Cause::Idle)),
            (vec![0, 550 * second], 0, 600 * second, Some(Cause::Age)),
            (vec![0, 550 * second], 0, 599 * second, None),
        ] {
            let mut lane = Lane::new(0);
            for (offset, at_ms) in takes.iter().enumerate() {
                lane.take("a", offset as u64, *at_ms, NEVER);
            }
            lane.has_bytes("a", bytes);
            assert_eq!(lane.due(now_ms, &rolling()), expected, "{takes:?} {bytes} {now_ms}");
            let deadline = together([&lane]).deadline_ms(&rolling());
            let by_time = matches!(expected, Some(Cause::Idle | Cause::Age));
            assert!(!by_time || deadline == Some(now_ms), "{deadline:?}");
        }
    }

    #[test]
    fn a_file_ends_with_its_hour_unless_it_was_late_from_the_start() {
        let mut lane = Lane::new(0);
        lane.take("h10", 0, 1_000_000, || Some(1_010_000));
        assert_eq!(together([&lane]).deadline_ms(&rolling()), Some(1_060_000), "idle comes first");
        lane.take("h10", 1, 1_030_000, || unreachable!("it is open"));
        assert_eq!(together([&lane]).deadline_ms(&rolling()), Some(1_070_000));
        assert_eq!(lane.due(1_069_999, &rolling()), None);
        assert_eq!(lane.due(1_070_000, &rolling()), Some(Cause::Period));
        lane.cut();
        lane.take("h10", 2, 2_000_000, || Some(1_010_000));
        assert_eq!(lane.due(2_000_000, &rolling()), None);
    }

    #[test]
    fn partitions_that_are_merged_have_one_size_one_age_and_are_idle_together() {
        let (mut first, mut second) = (Lane::new(0), Lane::new(7));
        first.take("a", 0, 0, || Some(90_000));
        second.take("a", 7, 59_000, NEVER);
        second.take("b", 8, 59_000, NEVER);
        first.has_bytes("a", 600);
        assert_eq!(together([&first, &second]).due(59_000, &rolling()), None);
        second.has_bytes("a", 400);
        assert_eq!(together([&first, &second]).due(59_000, &rolling()), Some(Cause::Bytes));
        second.has_bytes("a", 0);
        assert_eq!(first.due(60_000, &rolling()), Some(Cause::Idle));
        assert_eq!(together([&first, &second]).due(60_000, &rolling()), None);
        assert_eq!(together([&first, &second]).deadline_ms(&rolling()), Some(119_000));
        assert_eq!(together([]).deadline_ms(&rolling()), None);
        assert_eq!(together([&first]).progress(15_000, &rolling()), (0.6, Cause::Bytes));
        assert_eq!(together([&first]).progress(120_000, &rolling()), (0.8, Cause::Period));
    }
}
