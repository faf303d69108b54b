//! What retention and deletion must leave alone for now: offsets that somebody outside, such as a sink, has not got yet.
//!
//! Pins live in memory. Whoever sets them knows them from elsewhere, so at the start everything is pinned until they are set. They take disk:
//! past a budget the oldest segments go all the same, and whoever pinned them finds a gap.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use skidway_record::TopicName;

use crate::commit::TopicConfig;
use crate::effects::TopicId;
use crate::extent::Extent;
use crate::retention;

/// Holds the pins of one log.
#[derive(Debug, Default)]
pub struct Pins {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Nobody has said yet what is pinned.
    all: bool,
    /// Bytes that may be kept past retention, over all partitions.
    bytes_max: u64,
    /// Bytes that are.
    bytes: u64,
    by_partition: HashMap<(TopicId, u32), HashMap<String, u64>>,
    /// Whose topics are pinned whole where nothing else was said.
    owners: Vec<(String, Takes)>,
}

/// Tells which topics an owner takes.
struct Takes(Box<dyn Fn(&TopicName) -> bool + Send>);

impl fmt::Debug for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Takes")
    }
}

/// Is a partition of which retention would delete something.
#[derive(Debug)]
pub(crate) struct Overdue {
    pub(crate) topic: TopicId,
    pub(crate) partition: u32,
    /// Where its log would start.
    log_start: u64,
    /// Segments before that which are pinned, in order.
    pinned: Vec<Pinned>,
}

#[derive(Debug)]
struct Pinned {
    offsets: Range<u64>,
    bytes: u64,
    last_append_ms: i64,
}

impl Pins {
    /// Pins everything until [`Pins::is_told`], if `all`; keeps at most `bytes_max` bytes past retention.
    pub fn new(all: bool, bytes_max: u64) -> Self {
        Self { inner: Mutex::new(Inner { all, bytes_max, ..Inner::default() }) }
    }

    /// Ends the time in which everything is pinned.
    pub fn is_told(&self) {
        self.lock().all = false;
    }

    /// Keeps all records of the topics that an owner takes, those that are created later as well, until it pins each partition where it stands.
    pub fn pin_all(&self, owner: &str, takes: impl Fn(&TopicName) -> bool + Send + 'static) {
        self.lock().owners.push((owner.to_owned(), Takes(Box::new(takes))));
    }

    /// Keeps a partition's records from `offset` on, for `owner`; replaces its pin before.
    pub fn pin(&self, owner: &str, (topic, partition): ([u8; 16], u32), offset: u64) {
        self.lock().by_partition.entry((topic, partition)).or_default().insert(owner.to_owned(), offset);
    }

    /// Takes an owner's pin of a partition away.
    pub fn unpin(&self, owner: &str, of: ([u8; 16], u32)) {
        let mut inner = self.lock();
        if let Some(owners) = inner.by_partition.get_mut(&of) {
            owners.remove(owner);
            if owners.is_empty() {
                inner.by_partition.remove(&of);
            }
        }
    }

    /// Tells how many bytes are kept past retention, and how many may be.
    pub fn usage(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.bytes, inner.bytes_max)
    }

    /// Gives the owner and place of the lowest pin.
    pub(crate) fn lowest(&self, (topic, name): (TopicId, &TopicName), partition: u32) -> Option<(String, u64)> {
        let inner = self.lock();
        if inner.all {
            return Some(("a sink that is still starting".to_owned(), 0));
        }
        let pinned = inner.by_partition.get(&(topic, partition));
        let has_said = |owner: &String| pinned.is_some_and(|pinned| pinned.contains_key(owner));
        let whole = inner.owners.iter().find(|(owner, takes)| !has_said(owner) && takes.0(name));
        if let Some((owner, _)) = whole {
            return Some((owner.clone(), 0));
        }
        let lowest = pinned?.iter().min_by_key(|(_, offset)| **offset);
        lowest.map(|(owner, offset)| (owner.clone(), *offset))
    }

    /// Looks at one partition's segments: what retention would delete, and what of that is pinned.
    pub(crate) fn overdue(
        &self,
        (topic, name): (TopicId, &TopicName),
        partition: u32,
        (segments, next_offset): (&[Extent], u64),
        config: &TopicConfig,
        now_ms: i64,
    ) -> Option<Overdue> {
        let log_start = retention::new_log_start(segments, next_offset, config, now_ms)?;
        let floor = self.lowest((topic, name), partition).map_or(u64::MAX, |(_, offset)| offset);
        let ends = segments.iter().skip(1).map(|segment| segment.base_offset).chain([next_offset]);
        let pinned = segments.iter().zip(ends).filter(|(_, end)| *end <= log_start && *end > floor);
        let pinned = pinned.map(|(segment, end)| {
            let (offsets, last_append_ms) = (segment.base_offset..end, segment.last_append_ms);
            Pinned { offsets, bytes: segment.bytes, last_append_ms }
        });
        Some(Overdue { topic, partition, log_start, pinned: pinned.collect() })
    }

    /// Decides where logs start now: pinned segments stay while they fit the budget, the newest first.
    pub(crate) fn settle(&self, overdue: Vec<Overdue>) -> Vec<(TopicId, u32, u64)> {
        let mut inner = self.lock();
        let all =
            overdue.iter().enumerate().flat_map(|(place, it)| it.pinned.iter().map(move |pinned| (place, pinned)));
        let mut newest_first: Vec<(usize, &Pinned)> = all.collect();
        newest_first.sort_by_key(|(place, it)| (Reverse(it.last_append_ms), *place, Reverse(it.offsets.start)));
        let mut starts: Vec<u64> = overdue.iter().map(|it| it.log_start).collect();
        let mut is_cut = vec![false; overdue.len()];
        inner.bytes = 0;
        for (place, pinned) in newest_first {
            // One that goes takes those before it with it.
            is_cut[place] |= inner.bytes + pinned.bytes > inner.bytes_max;
            if !is_cut[place] {
                inner.bytes += pinned.bytes;
                starts[place] = starts[place].min(pinned.offsets.start);
            }
        }
        overdue.iter().zip(starts).map(|(it, start)| (it.topic, it.partition, start)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: TopicId = [1; 16];

    fn name() -> TopicName {
        TopicName::new("app").unwrap()
    }

    /// Gives where the logs of partitions with three segments of 100 bytes each start, all of them overdue.
    fn starts(pins: &Pins, partitions: u32) -> Vec<u64> {
        let segment = |base, at_ms| Extent { bytes: 100, last_append_ms: at_ms, ..Extent::empty(base, 0) };
        let segments = [segment(0, 10), segment(50, 20), segment(90, 30)];
        let config =
            TopicConfig { partitions, retention_age_ms: Some(1), retention_bytes: None, ..TopicConfig::default() };
        let of = |partition| pins.overdue((TOPIC, &name()), partition, (&segments, 120), &config, 1000).unwrap();
        pins.settle((0..partitions).map(of).collect()).into_iter().map(|(_, _, start)| start).collect()
    }

    #[test]
    fn whole_segments_stay_from_the_lowest_pin_on() {
        let pins = Pins::new(false, 1000);
        assert_eq!(starts(&pins, 1), [120]);
        for (offset, start) in [(0, 0), (49, 0), (50, 50), (89, 50), (100, 90), (120, 120)] {
            pins.pin("archive", (TOPIC, 0), offset);
            assert_eq!(starts(&pins, 1), [start], "{offset}");
        }
        pins.pin("archive", (TOPIC, 0), 95);
        pins.pin("lake", (TOPIC, 0), 60);
        assert_eq!((starts(&pins, 1), pins.lowest((TOPIC, &name()), 0)), (vec![50], Some(("lake".to_owned(), 60))));
        pins.unpin("lake", (TOPIC, 0));
        pins.unpin("archive", (TOPIC, 0));
        assert_eq!((starts(&pins, 1), pins.lowest((TOPIC, &name()), 0)), (vec![120], None));
    }

    #[test]
    fn everything_stays_until_it_is_told_what_is_pinned() {
        let pins = Pins::new(true, 1000);
        assert_eq!(starts(&pins, 2), [0, 0]);
        pins.pin("archive", (TOPIC, 1), 50);
        pins.is_told();
        assert_eq!((starts(&pins, 2), pins.usage()), (vec![120, 50], (200, 1000)));
    }

    #[test]
    fn a_topic_is_kept_whole_until_who_takes_it_says_where_it_stands() {
        let pins = Pins::new(false, 1000);
        pins.pin_all("archive", |name| name.matches("app*"));
        assert_eq!((starts(&pins, 2), pins.lowest((TOPIC, &TopicName::new("web").unwrap()), 0)), (vec![0, 0], None));
        pins.pin("archive", (TOPIC, 1), 120);
        assert_eq!(starts(&pins, 2), [0, 120]);
    }

    #[test]
    fn past_the_budget_the_oldest_segments_go() {
        for (budget, expected) in [(600, [0, 0]), (599, [0, 50]), (400, [50, 50]), (399, [50, 90]), (99, [120, 120])] {
            let pins = Pins::new(true, budget);
            assert_eq!(starts(&pins, 2), expected, "{budget}");
        }
    }
}
