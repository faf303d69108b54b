//! One file of a partition: record batches one after the other, byte for byte as they came, with its two indexes.
//!
//! A valid Kafka `.log` file. Grown by the sequencer alone; readers see no further than `bytes`, which grows after the write. What is
//! written here is durable only by the journal, until a checkpoint has synced it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use skidway_disk::{Disk, DiskFile, Open};
use skidway_record::Batch;

use crate::error::Error;
use crate::extent::Extent;
use crate::files::Files;
use crate::index::{INDEX_INTERVAL_BYTES, Index, OffsetEntry, TimeEntry};
use crate::survey::{Piece, Stretch, Survey};
use crate::unsynced::SyncOnce;

/// Ends the names of segment files.
pub(crate) const LOG_EXTENSION: &str = "log";

const DIGITS: usize = 20;

/// Numbers the segments of this process, for [`Files`].
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// Holds one segment.
#[derive(Debug)]
pub(crate) struct Segment {
    id: u64,
    base_offset: u64,
    path: PathBuf,
    bytes: AtomicU64,
    /// Its names, and its folder's, are durable.
    is_named: AtomicBool,
    sync: SyncOnce,
    /// Length of the file when it was opened: a recovery cuts off what it does not know.
    found_bytes: u64,
    growth: Mutex<Growth>,
}

/// Holds a batch, stamped, with its place.
#[derive(Debug)]
pub(crate) struct Placed {
    /// The batch.
    pub(crate) batch: Batch,
    /// Base offset of its segment.
    pub(crate) segment: u64,
    /// Where it begins there.
    pub(crate) position: u64,
    /// When it was appended, in ms since 1970.
    pub(crate) at_ms: i64,
    /// Its bytes are there already.
    pub(crate) written: bool,
}

#[derive(Debug)]
struct Growth {
    extent: Extent,
    offsets: Index<OffsetEntry>,
    times: Index<TimeEntry>,
    bytes_since_entry: u64,
    last_time_entry: i64,
}

impl Segment {
    /// Begins a segment with its three files. Their names are durable once the folder is synced.
    ///
    /// A log file that is there is left as it is: in recovery, batches written straight to it are there already.
    pub(crate) fn create(files: &Files, path: PathBuf, base_offset: u64, now_ms: i64) -> Result<Self, Error> {
        let file = files.disk().open(&path, Open::OrCreate).map_err(Error::io("create", &path))?;
        let found_bytes = file.len().map_err(Error::io("measure", &path))?;
        let segment = Self::new(path, Extent::empty(base_offset, now_ms), found_bytes);
        files.keep(segment.id, file);
        for path in &segment.index_paths() {
            files.disk().open(path, Open::Empty).map_err(Error::io("create", path))?;
        }
        Ok(segment)
    }

    /// Opens a segment as a checkpoint describes it; what was written after it stays until [`Segment::trim`]. Tells whether an index had
    /// to be rebuilt.
    pub(crate) fn restore(files: &Files, dir: &Path, extent: Extent) -> Result<(Self, bool), Error> {
        let (bytes, path) = (extent.bytes, dir.join(log_name(extent.base_offset)));
        let file = files.disk().open(&path, Open::Existing).map_err(Error::io("open", &path))?;
        let len = file.len().map_err(Error::io("measure", &path))?;
        if len < bytes {
            return Err(Error::corrupt(&path, len, format!("the checkpoint knows {bytes} bytes of it")));
        }
        let segment = Self::new(path, extent, len);
        segment.set_named();
        let rebuilt = segment.restore_indexes(files)?;
        Ok((segment, rebuilt))
    }

    /// Cuts off what the file held beyond the segment's end when it was opened. Tells whether there was anything.
    pub(crate) fn trim(&self, files: &Files) -> Result<bool, Error> {
        let bytes = self.bytes();
        if self.found_bytes <= bytes {
            return Ok(false);
        }
        files.get(self.id, &self.path)?.set_len(bytes).map_err(Error::io("cut", &self.path))?;
        Ok(true)
    }

    /// Takes a segment as it is described; its files are there.
    pub(crate) fn new(path: PathBuf, extent: Extent, found_bytes: u64) -> Self {
        let growth = Growth {
            offsets: Index::new(&path, extent.offset_entries),
            times: Index::new(&path, extent.time_entries),
            bytes_since_entry: 0,
            last_time_entry: if extent.time_entries == 0 { i64::MIN } else { extent.max_timestamp_ms },
            extent,
        };
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            base_offset: growth.extent.base_offset,
            path,
            bytes: AtomicU64::new(growth.extent.bytes),
            is_named: AtomicBool::new(false),
            sync: SyncOnce::default(),
            found_bytes,
            growth: Mutex::new(growth),
        }
    }

    /// Gives its number in this process.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Gives the offset of its first record.
    pub(crate) fn base_offset(&self) -> u64 {
        self.base_offset
    }

    /// Gives the log file's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the bytes that readers may read.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Describes it as it is now.
    pub(crate) fn extent(&self) -> Extent {
        self.growth().extent()
    }

    /// Gives the newest timestamp of its records, in ms since 1970.
    pub(crate) fn max_timestamp_ms(&self) -> i64 {
        self.growth().extent.max_timestamp_ms
    }

    /// Lists its three files.
    pub(crate) fn paths(&self) -> [PathBuf; 3] {
        let [offsets, times] = self.index_paths();
        [self.path.clone(), offsets, times]
    }

    /// Lists its two index files.
    pub(crate) fn index_paths(&self) -> [PathBuf; 2] {
        let growth = self.growth();
        [growth.offsets.path().to_owned(), growth.times.path().to_owned()]
    }

    /// Makes its batches durable; `file` is its log file.
    pub(crate) fn sync(&self, file: &dyn DiskFile) -> Result<(), Error> {
        self.sync.sync(file, &self.path)
    }

    /// Tells whether a power cut leaves its names.
    pub(crate) fn is_named(&self) -> bool {
        self.is_named.load(Ordering::Relaxed)
    }

    /// Notes that its names are durable.
    pub(crate) fn set_named(&self) {
        self.is_named.store(true, Ordering::Relaxed);
    }

    /// Writes bytes at their place, ahead of [`Segment::append`]; no reader sees them yet.
    pub(crate) fn write(&self, files: &Files, bytes: &[u8], position: u64) -> Result<(), Error> {
        let file = files.get(self.id, &self.path)?;
        file.write_at(bytes, position).map_err(Error::io("write", &self.path))
    }

    /// Appends batches at its end, which is their place; those that follow each other and are not written yet with one write.
    pub(crate) fn append(&self, files: &Files, placed: &[Placed]) -> Result<(), Error> {
        let mut end = self.bytes();
        for batch in placed {
            if batch.position != end {
                let reason = format!("a batch belongs to byte {}, where the segment does not end", batch.position);
                return Err(Error::corrupt(&self.path, end, reason));
            }
            end += batch.batch.bytes().len() as u64;
        }
        for run in placed.chunk_by(|one, other| one.written == other.written) {
            match run {
                [first, ..] if first.written => {}
                [only] => self.write(files, only.batch.bytes(), only.position)?,
                several => self.write(files, &joined(several), several[0].position)?,
            }
        }
        let mut growth = self.growth();
        for batch in placed {
            growth.add(&batch.batch);
            growth.extent.last_append_ms = batch.at_ms;
        }
        self.bytes.store(growth.extent.bytes, Ordering::Release);
        if growth.offsets.is_due() {
            growth.flush(files.disk().as_ref())?;
        }
        Ok(())
    }

    /// Writes the index entries that wait in memory to their files.
    pub(crate) fn flush_indexes(&self, disk: &dyn Disk) -> Result<(), Error> {
        self.growth().flush(disk)
    }

    /// Finds the last index entry at or before an offset. Without one, or if the index cannot be read, the segment is read from its start.
    pub(crate) fn entry_before(&self, disk: &dyn Disk, offset: u64) -> Option<OffsetEntry> {
        let relative = u32::try_from(offset.checked_sub(self.base_offset)?).unwrap_or(u32::MAX);
        let holds = |entry: &OffsetEntry| entry.offset <= relative;
        let search = self.growth().offsets.search(holds);
        search.finish(disk, holds).unwrap_or_default()
    }

    /// Finds the last index entry that is older than a time: up to its offset no record is newer than it. As [`Segment::entry_before`].
    pub(crate) fn entry_older(&self, disk: &dyn Disk, timestamp_ms: i64) -> Option<TimeEntry> {
        let holds = |entry: &TimeEntry| entry.timestamp_ms < timestamp_ms;
        let search = self.growth().times.search(holds);
        search.finish(disk, holds).unwrap_or_default()
    }

    /// Checks the index files against the checkpoint, and rebuilds both from the log if one is short. Tells whether it did.
    fn restore_indexes(&self, files: &Files) -> Result<bool, Error> {
        let disk = files.disk().as_ref();
        let restored = {
            let growth = self.growth();
            growth.offsets.restore(disk).and_then(|offsets| Ok(offsets & growth.times.restore(disk)?))
        };
        if restored.map_err(Error::io("restore the indexes of", &self.path))? {
            return Ok(false);
        }
        tracing::warn!(segment = %self.path.display(), "an index is short; rebuilding it");
        let file = files.get(self.id, &self.path)?;
        let (base, end) = (self.base_offset, self.bytes());
        let limit = base + u64::from(u32::MAX) + 1;
        let mut survey = Survey::new(file, Stretch { position: 0, end, expected: base, limit });
        let mut growth = self.growth();
        let (newest, newest_offset) = (growth.extent.max_timestamp_ms, growth.extent.max_timestamp_offset);
        growth.reset();
        while let Some(piece) = survey.next_piece() {
            match piece {
                Piece::Sound { batch, .. } => growth.add(&batch),
                Piece::Damaged(damaged) => growth.pass(damaged.end - damaged.position),
            }
        }
        let extent = &mut growth.extent;
        extent.bytes = end;
        if newest > extent.max_timestamp_ms {
            // It was in a batch that is damaged now.
            (extent.max_timestamp_ms, extent.max_timestamp_offset) = (newest, newest_offset);
        }
        growth.flush(disk)?;
        Ok(true)
    }

    fn growth(&self) -> MutexGuard<'_, Growth> {
        self.growth.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Growth {
    /// Notes a batch that was written at the end, with index entries as Kafka makes them.
    fn add(&mut self, batch: &Batch) {
        let (position, last_offset) = (self.extent.bytes, batch.next_offset().0 - 1);
        let timestamp_ms = batch.header().max_timestamp_ms;
        if timestamp_ms > self.extent.max_timestamp_ms {
            self.extent.max_timestamp_ms = timestamp_ms;
            self.extent.max_timestamp_offset = last_offset;
        }
        if self.bytes_since_entry > INDEX_INTERVAL_BYTES {
            self.push_entries(position, last_offset);
            self.bytes_since_entry = 0;
        }
        let bytes = batch.bytes().len() as u64;
        self.bytes_since_entry += bytes;
        self.extent.bytes += bytes;
        self.extent.batches += 1;
    }

    /// Notes bytes that are no batch any more.
    fn pass(&mut self, bytes: u64) {
        self.bytes_since_entry += bytes;
        self.extent.bytes += bytes;
    }

    fn push_entries(&mut self, position: u64, last_offset: u64) {
        let base_offset = self.extent.base_offset;
        let relative = |offset: u64| (offset - base_offset) as u32;
        self.offsets.push(OffsetEntry { offset: relative(last_offset), position: position as u32 });
        if self.extent.max_timestamp_ms > self.last_time_entry {
            self.last_time_entry = self.extent.max_timestamp_ms;
            let offset = relative(self.extent.max_timestamp_offset);
            self.times.push(TimeEntry { timestamp_ms: self.last_time_entry, offset });
        }
    }

    fn extent(&self) -> Extent {
        Extent { offset_entries: self.offsets.len(), time_entries: self.times.len(), ..self.extent.clone() }
    }

    fn flush(&mut self, disk: &dyn Disk) -> Result<(), Error> {
        self.offsets.flush(disk).map_err(Error::io("write", self.offsets.path()))?;
        self.times.flush(disk).map_err(Error::io("write", self.times.path()))
    }

    /// Forgets the indexes and what was learnt of the batches, to learn it again.
    fn reset(&mut self) {
        let log = self.offsets.path().with_extension(LOG_EXTENSION);
        (self.offsets, self.times) = (Index::new(&log, 0), Index::new(&log, 0));
        (self.bytes_since_entry, self.last_time_entry) = (0, i64::MIN);
        (self.extent.bytes, self.extent.batches, self.extent.max_timestamp_ms) = (0, 0, i64::MIN);
    }
}

/// Names the log file of a base offset; [`base_offset_of`] reads the name back.
pub(crate) fn log_name(base_offset: u64) -> String {
    format!("{base_offset:0DIGITS$}.{LOG_EXTENSION}")
}

/// Reads the base offset from the name of a segment's log or index file; `None` if it is neither.
pub(crate) fn base_offset_of(name: &str) -> Option<u64> {
    let (digits, extension) = name.split_once('.')?;
    let ours = [LOG_EXTENSION, "index", "timeindex"].contains(&extension);
    (ours && digits.len() == DIGITS).then(|| digits.parse().ok()).flatten()
}

fn joined(placed: &[Placed]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(placed.iter().map(|placed| placed.batch.bytes().len()).sum());
    placed.iter().for_each(|placed| bytes.extend_from_slice(placed.batch.bytes()));
    bytes
}
