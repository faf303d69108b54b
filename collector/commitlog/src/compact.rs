//! Compaction by key: closed segments written anew without the records that a later one of the same key supersedes.
//!
//! A partition is *clean* up to where it was compacted before, and *dirty* from there to the end of what may be compacted now: closed
//! segments, below every pin, older than the topic's lag. A pass notes the last offset of each key of the dirty range ([`KeyMap`]), then
//! goes through clean and dirty segments from the first on, group by group, and leaves out what is superseded. A group, neighbours that
//! are no larger together than a segment may be, becomes one segment; the next is begun once it has taken its place. So what lies below a
//! segment marked as compacted holds each key at most once, whatever comes in between.
//!
//! Offsets stay, and every batch covers those of the batches it was made of, so that a gap is never mistaken for damage. A tombstone is
//! marked, by the pass that first leaves out what it deletes, with the time from which a later pass leaves it out as well (KIP-534).
//! Records without a key stay.

mod outlook;
mod sieve;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use skidway_record::Offset;

use crate::brake::Brake;
use crate::compact::sieve::Sieve;
use crate::error::Error;
use crate::extent::{Extent, Rewritten};
use crate::files::Files;
use crate::keymap::KeyMap;
use crate::partition::Partition;
use crate::replacement::{Output, Replacement, SwapNumber, new_paths};
use crate::scan::{CHUNK_BYTES, Scan};
use crate::segment::Segment;

pub(crate) use outlook::{Bounds, Outlook, Worth};

/// Bounds the offsets of a segment that others are joined in, as in Kafka.
const OFFSETS_MAX: u64 = i32::MAX as u64;

/// Says how a pass goes about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Now, in ms since 1970.
    pub(crate) now_ms: i64,
    /// How long a tombstone stays once what it deletes is gone.
    pub(crate) tombstone_retention_ms: u64,
    /// Bytes of a segment that others are joined in.
    pub(crate) segment_bytes: u64,
    /// Bytes of the table of keys.
    pub(crate) map_bytes: usize,
}

/// Is one pass over a partition, between two of its steps.
#[derive(Debug)]
pub(crate) struct Pass {
    partition: Arc<Partition>,
    /// Those that are gone through, with the offset that each ends at.
    segments: Vec<(Arc<Segment>, u64)>,
    /// So many of them are clean.
    clean: usize,
    rules: Rules,
    keys: Option<Keys>,
    groups: VecDeque<Range<usize>>,
    /// What the files of the step that runs are told by.
    number: SwapNumber,
}

/// Holds the last offsets of keys up to an offset, where a batch ends.
#[derive(Debug)]
struct Keys {
    map: KeyMap,
    to: u64,
}

/// Tells what one step did.
#[derive(Debug)]
pub(crate) struct Step {
    /// The segments written anew.
    pub(crate) replacement: Replacement,
    /// Bytes of those they were made of.
    pub(crate) bytes_before: u64,
    /// Their own.
    pub(crate) bytes_after: u64,
    /// Records left out.
    pub(crate) removed: u64,
}

impl Pass {
    /// Begins a pass over the first `outlook.cleanable` segments; reads nothing yet.
    pub(crate) fn new(partition: &Arc<Partition>, outlook: &Outlook, next_offset: u64, rules: Rules) -> Self {
        let all = partition.segments();
        let ends = all.iter().skip(1).map(|segment| segment.base_offset()).chain([next_offset]);
        let segments: Vec<_> = all.iter().cloned().zip(ends).take(outlook.cleanable).collect();
        Self {
            partition: partition.clone(),
            segments,
            clean: outlook.clean,
            rules,
            keys: None,
            groups: VecDeque::new(),
            number: 0,
        }
    }

    /// Gives the partition.
    pub(crate) fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }

    /// Goes on up to the next group that becomes another. `None` at the end, or when braked to a stop, or if segments went meanwhile.
    ///
    /// # Errors
    /// Whatever reading and writing meets: the pass is given up, nothing has changed since the last step.
    pub(crate) fn step(&mut self, files: &Files, brake: &Brake, number: SwapNumber) -> Result<Option<Step>, Error> {
        self.number = number;
        if self.keys.is_none() {
            let dirty = self.clean..self.segments.len();
            let noted = self.if_there(&dirty, self.note_keys(files, brake))?;
            let Some(keys) = noted else { return Ok(None) };
            self.groups = groups(&self.segments, keys.to, self.rules.segment_bytes);
            self.keys = Some(keys);
        }
        let Some(keys) = self.keys.take() else { return Ok(None) };
        let mut done = Ok(None);
        while let Some(group) = self.groups.pop_front() {
            done = self.if_there(&group, self.rewrite(&group, &keys, files, brake));
            let goes_on = matches!(done, Ok(None)) && !brake.is_stopped() && self.is_there(&group);
            if !goes_on {
                break;
            }
        }
        if !matches!(done, Ok(Some(_))) {
            self.groups.clear();
        }
        self.keys = Some(keys);
        done
    }

    /// Tells whether nothing is left to do after a step.
    pub(crate) fn is_through(&self) -> bool {
        self.groups.is_empty()
    }

    /// Notes the keys of the dirty range, or of as much of its beginning as there is room for. `None` if braked to a stop.
    fn note_keys(&self, files: &Files, brake: &Brake) -> Result<Option<Keys>, Error> {
        let mut map = KeyMap::new(self.rules.map_bytes);
        let mut to = self.segments[..self.clean].last().map_or(0, |(_, end)| *end);
        for (segment, end) in &self.segments[self.clean..] {
            let mut scan = Scan::new(files, segment, Offset(0), Offset(*end), CHUNK_BYTES)?;
            while let Some(batch) = scan.next_batch()? {
                if map.is_full() {
                    return Ok(Some(Keys { map, to: batch.base_offset().0 }));
                }
                if !brake.pass(batch.bytes().len()) {
                    return Ok(None);
                }
                let damaged = |error| damaged(segment, scan.position(), &error);
                let decoded = batch.decode().map_err(damaged)?;
                for record in decoded.records() {
                    let record = record.map_err(damaged)?;
                    if let Some(key) = record.key {
                        map.note(key, decoded.offset_of(&record).0);
                    }
                }
            }
            to = *end;
        }
        Ok(Some(Keys { map, to }))
    }

    /// Tells whether the segments of a group are still the partition's.
    fn is_there(&self, group: &Range<usize>) -> bool {
        let now = self.partition.segments();
        let is_now = |(segment, _): &(Arc<Segment>, u64)| now.iter().any(|other| Arc::ptr_eq(other, segment));
        self.segments[group.clone()].iter().all(is_now)
    }

    /// Takes what was met for the end of the pass if segments of a group went meanwhile: retention is not waited for.
    fn if_there<T>(&self, group: &Range<usize>, done: Result<Option<T>, Error>) -> Result<Option<T>, Error> {
        match done {
            Err(_) if !self.is_there(group) => Ok(None),
            done => done,
        }
    }

    /// Writes a group anew. `None` if there is nothing to gain, it is not there any more, or it is braked to a stop.
    fn rewrite(&self, group: &Range<usize>, keys: &Keys, files: &Files, brake: &Brake) -> Result<Option<Step>, Error> {
        if !self.is_there(group) {
            return Ok(None);
        }
        let segments = &self.segments[group.clone()];
        let mut sieve = Sieve { rules: &self.rules, keys, removed: 0 };
        let outputs = self.outputs(segments, &mut sieve, files, brake);
        let extents: Vec<Extent> = segments.iter().map(|(segment, _)| segment.extent()).collect();
        let replaces = extents.iter().map(|extent| extent.base_offset).collect();
        let is_clean = |extent: &Extent| extent.rewritten == Rewritten::Compacted;
        let is_vain = |new: &[Extent]| {
            new.iter().any(|extent| extent.batches == 0)
                || (sieve.removed == 0 && extents.len() == 1 && is_clean(&extents[0]))
        };
        match outputs {
            Ok(Some(new)) if !is_vain(&new) => {
                let bytes = |extents: &[Extent]| extents.iter().map(|extent| extent.bytes).sum();
                let (bytes_before, bytes_after) = (bytes(&extents), bytes(&new));
                let replacement = Replacement::new(&self.partition, self.number, replaces, new);
                Ok(Some(Step { replacement, bytes_before, bytes_after, removed: sieve.removed }))
            }
            other => {
                self.clear_away(segments, keys, files);
                other.map(|_| None)
            }
        }
    }

    /// Writes what is kept of segments to a new one, and what lies beyond the keys that were noted to another, as it is.
    fn outputs(
        &self,
        segments: &[(Arc<Segment>, u64)],
        sieve: &mut Sieve<'_>,
        files: &Files,
        brake: &Brake,
    ) -> Result<Option<Vec<Extent>>, Error> {
        let Some((first, _)) = segments.first() else { return Ok(None) };
        let extents: Vec<Extent> = segments.iter().map(|(segment, _)| segment.extent()).collect();
        let first_ms = extents.iter().map(|extent| extent.first_append_ms).min().unwrap_or_default();
        let last_ms = extents.iter().map(|extent| extent.last_append_ms).max().unwrap_or_default();
        let begin =
            |base_offset| Output::begin(files, &self.partition, (base_offset, self.number), (first_ms, last_ms));
        let (mut output, mut done) = (begin(first.base_offset())?, Vec::new());
        let mut is_beyond = false;
        for (segment, end) in segments {
            let mut scan = Scan::new(files, segment, Offset(0), Offset(*end), CHUNK_BYTES)?;
            while let Some(batch) = scan.next_batch()? {
                let (bytes, written) = (batch.bytes().len(), output.bytes());
                if !is_beyond && batch.base_offset().0 >= sieve.keys.to {
                    is_beyond = true;
                    let next = begin(batch.base_offset().0)?;
                    done.push(std::mem::replace(&mut output, next).finish(Rewritten::Compacted)?);
                }
                if is_beyond {
                    output.place(batch)?
                } else {
                    sieve.push(&mut output, batch)?
                }
                if !brake.pass(bytes + output.bytes().saturating_sub(written) as usize) {
                    output.abandon();
                    return Ok(None);
                }
            }
        }
        done.push(output.finish(if is_beyond { Rewritten::No } else { Rewritten::Compacted })?);
        Ok(Some(done))
    }

    /// Removes what was written in vain, if that can be done; a start does it too.
    fn clear_away(&self, segments: &[(Arc<Segment>, u64)], keys: &Keys, files: &Files) {
        let bases = segments.iter().map(|(segment, _)| segment.base_offset()).chain([keys.to]);
        for path in bases.flat_map(|base| new_paths(self.partition.dir(), base, self.number)) {
            if let Err(error) = files.disk().remove(&path) {
                tracing::debug!(path = %path.display(), %error, "a segment written in vain stays until the next start");
            }
        }
    }
}

/// Joins neighbours, up to the one that `to` lies in, into groups that are no larger than a segment may be.
fn groups(segments: &[(Arc<Segment>, u64)], to: u64, segment_bytes: u64) -> VecDeque<Range<usize>> {
    let mut groups: VecDeque<Range<usize>> = VecDeque::new();
    let (mut bytes, mut base) = (0, 0);
    for (place, (segment, end)) in segments.iter().enumerate().take_while(|(_, (it, _))| it.base_offset() < to) {
        let own = segment.bytes();
        match groups.back_mut() {
            Some(group) if bytes + own <= segment_bytes && end - base <= OFFSETS_MAX => {
                group.end = place + 1;
                bytes += own;
            }
            _ => {
                groups.push_back(place..place + 1);
                (bytes, base) = (own, segment.base_offset());
            }
        }
    }
    groups
}

fn damaged(segment: &Segment, position: u64, error: &skidway_record::BatchError) -> Error {
    Error::corrupt(segment.path(), position, error.to_string())
}

#[cfg(test)]
mod tests;
