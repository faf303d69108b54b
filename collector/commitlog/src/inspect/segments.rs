//! Checks one segment: every batch and record of the log file, and the two indexes against it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skidway_disk::{Disk, DiskFile, Open};
use skidway_record::Batch;

use crate::error::Error;
use crate::extent::Extent;
use crate::index::{Entry, OffsetEntry, TimeEntry};
use crate::inspect::{Checked, Finding};
use crate::survey::{Damaged, Piece, Stretch, Survey};

const REBUILD: &str = "rebuilds both indexes";

/// Holds what a check of a segment found.
#[derive(Debug, Default)]
pub(crate) struct Checkup {
    /// Damage to the log file, in order.
    pub(crate) damaged: Vec<Damaged>,
    /// Batches of which only what the CRC does not cover is wrong, and told by their neighbours.
    pub(crate) stamps: Vec<Damaged>,
    /// Sound batches whose leader epoch, which is always 0, is another: where they begin.
    pub(crate) stray_epochs: Vec<u64>,
    /// The log file is shorter than the checkpoint says, or not there: its length.
    pub(crate) short: Option<u64>,
    /// What is wrong with an index: file, place, what.
    pub(crate) indexes: Vec<(PathBuf, u64, String)>,
}

impl Checkup {
    /// Tells whether the log file has to be written anew.
    pub(crate) fn needs_mending(&self) -> bool {
        !self.damaged.is_empty() || !self.stamps.is_empty() || !self.stray_epochs.is_empty() || self.short.is_some()
    }

    /// Says it all.
    pub(crate) fn findings(&self, log: &Path) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut say = |path: &Path, position: u64, what: String, repair: &str| {
            let (path, repair) = (path.to_owned(), repair.to_owned());
            findings.push(Finding { path, position: Some(position), what, repair });
        };
        if let Some(len) = self.short {
            say(log, len, "the file is shorter than the checkpoint says".to_owned(), "keeps what there is");
        }
        for Damaged { position, end, from, next, reason } in &self.damaged {
            let what = match next > from {
                true => format!("offsets {from}..{next} ({} bytes) cannot be read: {reason}", end - position),
                false => format!("{} bytes that are no batch: {reason}", end - position),
            };
            say(log, *position, what, "takes the bytes out, keeps the file aside, and records the loss");
        }
        for Damaged { position, from, next, reason, .. } in &self.stamps {
            let what = format!("offsets {from}..{next} cannot be read, though all their bytes are there: {reason}");
            say(log, *position, what, "writes the batch's base offset and length again; nothing is lost");
        }
        for position in &self.stray_epochs {
            let what = "a batch's leader epoch is not 0; nothing else is wrong with it".to_owned();
            say(log, *position, what, "writes 0 again");
        }
        for (path, position, what) in &self.indexes {
            say(path, *position, what.clone(), REBUILD);
        }
        findings
    }
}

/// Checks a segment, its log and two indexes, that ends where the next one, or the partition, begins.
pub(crate) fn check(
    disk: &dyn Disk,
    files: &[PathBuf; 3],
    extent: &Extent,
    limit: u64,
    checked: &mut Checked,
) -> Result<Checkup, Error> {
    let [log, offset_index, time_index] = files;
    let mut found = Checkup::default();
    let mut offsets = Expected::<OffsetEntry>::read(disk, offset_index, extent.offset_entries)?;
    let mut times = Expected::<TimeEntry>::read(disk, time_index, extent.time_entries)?;
    let file = match disk.open(log, Open::Existing) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        opened => Some(opened.map_err(Error::io("open", log))?),
    };
    let len = file.as_ref().map_or(Ok(0), |file| file.len()).map_err(Error::io("measure", log))?;
    found.short = (len < extent.bytes).then_some(len);
    (checked.segments, checked.bytes) = (checked.segments + 1, checked.bytes + len.min(extent.bytes));
    let Some(file) = file else {
        found.damaged.push(missing(extent, limit));
        return Ok(found);
    };
    let mut survey = survey(file, extent.base_offset, len.min(extent.bytes), limit);
    while let Some(piece) = survey.next_piece() {
        match piece {
            Piece::Sound { position, batch, stray_epoch } => {
                found.stray_epochs.extend(stray_epoch.then_some(position));
                match batch.verify() {
                    Ok(()) => count(checked, &batch),
                    Err(error) => found.damaged.push(unusable(position, &batch, error.to_string())),
                }
                offsets.meet(extent.base_offset, position, &batch);
                times.meet(extent.base_offset, position, &batch);
            }
            Piece::Damaged(damaged) if survey.restored(&damaged).is_some() => found.stamps.push(damaged),
            Piece::Damaged(damaged) => found.damaged.push(damaged),
        }
    }
    found.damaged.extend(rest_of(&survey, extent, len, limit));
    // Against damaged batches an index cannot be checked; it is made again with them.
    if found.damaged.is_empty() && found.stamps.is_empty() {
        found.indexes.extend(offsets.finish().into_iter().chain(times.finish()));
    }
    Ok(found)
}

/// Walks the log file of a segment.
pub(crate) fn survey(file: Arc<dyn DiskFile>, base_offset: u64, end: u64, limit: u64) -> Survey {
    Survey::new(file, Stretch { position: 0, end, expected: base_offset, limit })
}

fn count(checked: &mut Checked, batch: &Batch) {
    checked.batches += 1;
    checked.records += u64::from(batch.header().record_count);
}

fn missing(extent: &Extent, limit: u64) -> Damaged {
    let reason = "the file is missing".to_owned();
    Damaged { position: 0, end: extent.bytes, from: extent.base_offset, next: limit, reason }
}

fn unusable(position: u64, batch: &Batch, reason: String) -> Damaged {
    let (from, next) = (batch.base_offset().0, batch.next_offset().0);
    Damaged { position, end: position + batch.bytes().len() as u64, from, next, reason }
}

/// Finds what lies after the last batch, or is missing there.
fn rest_of(survey: &Survey, extent: &Extent, len: u64, limit: u64) -> Option<Damaged> {
    let (position, expected) = (survey.position(), survey.expected());
    if position < len.min(extent.bytes) {
        let reason = "they follow the segment's last batch".to_owned();
        return Some(Damaged { position, end: len.min(extent.bytes), from: expected, next: expected, reason });
    }
    let is_lost = len < extent.bytes && expected < limit;
    is_lost.then(|| Damaged {
        position: len,
        end: extent.bytes,
        from: expected,
        next: limit,
        reason: "the file is shorter than what was written".to_owned(),
    })
}

/// Says what a batch must be for an index entry to name it.
trait Names: Entry {
    fn place(&self) -> u64;

    /// Tells whether the entry names this batch, before which nothing is newer than `newest_ms`; an error says that it should, and
    /// does not.
    fn names(&self, base_offset: u64, position: u64, newest_ms: i64, batch: &Batch) -> Result<bool, String>;
}

impl Names for OffsetEntry {
    fn place(&self) -> u64 {
        u64::from(self.position)
    }

    fn names(&self, base_offset: u64, position: u64, _newest_ms: i64, batch: &Batch) -> Result<bool, String> {
        let ends = batch.next_offset().0 - 1;
        let named = base_offset + u64::from(self.offset);
        match u64::from(self.position) {
            named_at if named_at > position => Ok(false),
            named_at if named_at == position && named == ends => Ok(true),
            named_at => Err(format!("an entry says that the batch at byte {named_at} ends with offset {named}")),
        }
    }
}

impl Names for TimeEntry {
    fn place(&self) -> u64 {
        u64::from(self.offset)
    }

    fn names(&self, base_offset: u64, _position: u64, newest_ms: i64, batch: &Batch) -> Result<bool, String> {
        let ends = batch.next_offset().0 - 1;
        let is_newer = batch.header().max_timestamp_ms > newest_ms;
        let named = base_offset + u64::from(self.offset);
        match named {
            named if named > ends => Ok(false),
            named if named == ends && is_newer && self.timestamp_ms == batch.header().max_timestamp_ms => Ok(true),
            named => {
                Err(format!("an entry says that up to offset {named} nothing is newer than {}", self.timestamp_ms))
            }
        }
    }
}

/// Compares an index with the batches of its segment, met in order.
struct Expected<E> {
    path: PathBuf,
    entries: Vec<E>,
    /// How many entries named their batch.
    met: usize,
    newest_ms: i64,
    wrong: Option<(PathBuf, u64, String)>,
}

impl<E: Names> Expected<E> {
    fn read(disk: &dyn Disk, path: &Path, count: u64) -> Result<Self, Error> {
        let path = path.to_owned();
        let mut raw = vec![0; count as usize * E::BYTES];
        let have = match disk.open(&path, Open::Existing) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            opened => opened.map_err(Error::io("open", &path))?.read_at(&mut raw, 0).unwrap_or(0),
        };
        let entries: Vec<E> = raw[..have].chunks_exact(E::BYTES).filter_map(E::read).collect();
        let is_short = (entries.len() as u64) < count;
        let short = is_short.then(|| (path.clone(), have as u64, "the index is short or cannot be read".to_owned()));
        Ok(Self { path, entries, met: 0, newest_ms: i64::MIN, wrong: short })
    }

    fn meet(&mut self, base_offset: u64, position: u64, batch: &Batch) {
        if self.wrong.is_some() {
            return;
        }
        let newest_ms = self.newest_ms;
        self.newest_ms = newest_ms.max(batch.header().max_timestamp_ms);
        let Some(entry) = self.entries.get(self.met) else { return };
        match entry.names(base_offset, position, newest_ms, batch) {
            Ok(true) => self.met += 1,
            Ok(false) => {}
            Err(what) => self.wrong = Some((self.path.clone(), (self.met * E::BYTES) as u64, what)),
        }
    }

    fn finish(mut self) -> Option<(PathBuf, u64, String)> {
        let beyond = self.entries.get(self.met).map(Names::place);
        self.wrong.take().or_else(|| {
            let what = format!("an entry names {}, where nothing is", beyond?);
            Some((self.path, (self.met * E::BYTES) as u64, what))
        })
    }
}
