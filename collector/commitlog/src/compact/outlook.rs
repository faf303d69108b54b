//! What of a partition may be compacted now, and whether it is worth it. Pure.

use std::ops::Range;

use crate::extent::{Extent, Rewritten};

/// Says when compaction is worth it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Worth {
    /// Share of what is dirty, in percent.
    pub(crate) dirty_percent: u8,
    /// Dirty bytes.
    pub(crate) bytes_min: u64,
    /// Age from which fewer bytes are enough, in ms.
    pub(crate) age_ms: u64,
}

/// Says what of a partition may be compacted now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The last segment grows.
    pub(crate) grows: bool,
    /// The partition's next offset.
    pub(crate) next_offset: u64,
    /// The lowest pin: nothing from there on.
    pub(crate) floor: u64,
    /// Nothing appended later than so long ago, in ms.
    pub(crate) lag_ms: u64,
    /// Now, in ms since 1970.
    pub(crate) now_ms: i64,
}

/// Tells how a partition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Outlook {
    /// Segments, from the first on, that may be compacted now.
    pub(crate) cleanable: usize,
    /// Those of them that were compacted before.
    pub(crate) clean: usize,
    clean_bytes: u64,
    dirty_bytes: u64,
    /// Closed segments that may not be compacted yet.
    held_back_bytes: u64,
    /// The segment that grows, and when it was begun.
    growing: Option<(u64, i64)>,
    /// First append of what is dirty.
    dirty_since_ms: Option<i64>,
}

impl Outlook {
    /// Looks at a partition's segments.
    pub(crate) fn of(extents: &[Extent], bounds: Bounds) -> Self {
        let (closed, growing) = match extents.split_last() {
            Some((last, closed)) if bounds.grows => (closed, Some((last.bytes, last.first_append_ms))),
            _ => (extents, None),
        };
        let ends = extents.iter().skip(1).map(|extent| extent.base_offset).chain([bounds.next_offset]);
        let may = |(extent, end): &(&Extent, u64)| {
            let age_ms = bounds.now_ms.saturating_sub(extent.last_append_ms);
            *end <= bounds.floor && u64::try_from(age_ms).is_ok_and(|age_ms| age_ms >= bounds.lag_ms)
        };
        let cleanable = closed.iter().zip(ends).take_while(may).count();
        let clean = closed[..cleanable].iter().take_while(|it| it.rewritten == Rewritten::Compacted).count();
        let bytes = |range: Range<usize>| closed[range].iter().map(|extent| extent.bytes).sum();
        Self {
            cleanable,
            clean,
            clean_bytes: bytes(0..clean),
            dirty_bytes: bytes(clean..cleanable),
            held_back_bytes: bytes(cleanable..closed.len()),
            growing,
            dirty_since_ms: closed.get(clean).map(|extent| extent.first_append_ms),
        }
    }

    /// Gives the dirty share of what may be compacted now, 0 to 1.
    pub(crate) fn dirty_ratio(&self) -> f64 {
        let all = self.clean_bytes + self.dirty_bytes;
        if all == 0 { 0.0 } else { self.dirty_bytes as f64 / all as f64 }
    }

    /// Gives the bytes that a pass reads.
    pub(crate) fn bytes(&self) -> u64 {
        self.clean_bytes + self.dirty_bytes
    }

    /// Tells whether a pass is worth it.
    pub(crate) fn is_due(&self, worth: &Worth, now_ms: i64) -> bool {
        let is_aged = self.dirty_since_ms.is_some_and(|since| is_older(since, now_ms, worth.age_ms));
        let is_enough = self.dirty_bytes >= worth.bytes_min.max(1) || (self.dirty_bytes > 0 && is_aged);
        is_enough && worth.is_share(self.dirty_bytes, self.bytes())
    }

    /// Tells whether the segment that grows should be closed, so that it can be compacted. While others are held back only if it is as
    /// large as all of them, or it would be closed again and again in vain.
    pub(crate) fn should_close(&self, worth: &Worth, now_ms: i64) -> bool {
        let Some((growing, since_ms)) = self.growing.filter(|(bytes, _)| *bytes > 0) else { return false };
        if self.is_due(worth, now_ms) {
            return false;
        }
        let all = self.bytes() + self.held_back_bytes + growing;
        let dirty = self.dirty_bytes + self.held_back_bytes + growing;
        let counted = if self.held_back_bytes > 0 { growing } else { dirty };
        let is_large = growing >= worth.bytes_min && worth.is_share(counted, all);
        is_large || (is_older(since_ms, now_ms, worth.age_ms) && worth.is_share(dirty, all))
    }
}

impl Worth {
    fn is_share(&self, part: u64, all: u64) -> bool {
        u128::from(part) * 100 >= u128::from(all) * u128::from(self.dirty_percent)
    }
}

fn is_older(since_ms: i64, now_ms: i64, age_ms: u64) -> bool {
    u64::try_from(now_ms.saturating_sub(since_ms)).is_ok_and(|age| age >= age_ms)
}
