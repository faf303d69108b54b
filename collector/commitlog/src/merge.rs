//! Merges the small batches of closed, cold segments: the same records at the same offsets, in fewer bytes.
//!
//! A line now and then makes a batch now and then, and small batches compress badly. The merged segment is written beside the old one
//! (`<base offset>.merged.*`) and synced; the next checkpoint describes it in the old one's place and names the swap; after that the
//! files are renamed. A start that finds a swap named renames what is not renamed yet. So no journal frame ever points into a merged
//! segment, and a crash leaves the old files or the new ones. Optional work: whatever fails is put off, and stops nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use skidway_disk::{Disk, Open};
use skidway_record::{Batch, Compressor, Merger, Offset};

use crate::effects::TopicId;
use crate::error::Error;
use crate::files::Files;
use crate::partition::Partition;
use crate::scan::Scan;
use crate::segment::{Extent, Placed, Segment, log_name};

/// Segments whose batches are smaller than this on average are merged.
const SMALL_BATCH_BYTES: u64 = 16 << 10;

/// Batches larger than this stay as they are.
const LARGE_BATCH_BYTES: usize = 64 << 10;

/// Bytes of records, before compression, that a merged batch is filled up to.
const MERGED_BODY_BYTES: usize = 512 << 10;

/// Bytes read and written at once.
const CHUNK_BYTES: usize = 1 << 20;

/// zstd's default: this is read many times, and nobody waits for it.
const COMPRESSION_LEVEL: i32 = 3;

const EXTENSIONS: [&str; 3] = ["log", "index", "timeindex"];

/// Names a segment whose merged files take the place of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Swap {
    pub(crate) topic: TopicId,
    pub(crate) partition: u32,
    pub(crate) base_offset: u64,
}

/// Holds a merged segment, synced beside the one it was made of.
#[derive(Debug)]
pub(crate) struct Merged {
    partition: Arc<Partition>,
    extent: Extent,
}

/// Finds the segments worth merging: closed, not written to since `cold_ms`, of small batches, not merged before.
pub(crate) fn candidates(extents: &[Extent], now_ms: i64, cold_ms: u64) -> impl Iterator<Item = &Extent> {
    let closed = extents.split_last().map_or(&[][..], |(_grows, closed)| closed);
    closed.iter().filter(move |extent| {
        let is_cold = u64::try_from(now_ms.saturating_sub(extent.last_append_ms)).is_ok_and(|age| age >= cold_ms);
        let has_small = extent.batches > 1 && extent.bytes / extent.batches < SMALL_BATCH_BYTES;
        is_cold && has_small && !extent.is_merged
    })
}

/// Tells whether a file belongs to a merged segment that has not taken its place.
pub(crate) fn is_merged_name(name: &str) -> bool {
    EXTENSIONS.iter().any(|extension| name.ends_with(&format!(".merged.{extension}")))
}

impl Merged {
    /// Writes and syncs the merged segment. `None` if `cancelled` is set meanwhile.
    ///
    /// # Errors
    /// Whatever reading and writing meets: the merge is given up, nothing has changed.
    pub(crate) fn write(
        files: &Files,
        partition: &Arc<Partition>,
        segment: &Segment,
        cancelled: &AtomicBool,
    ) -> Result<Option<Self>, Error> {
        let path = merged_path(&partition.dir().join(log_name(segment.base_offset())));
        let disk = files.disk().as_ref();
        disk.remove(&path).map_err(Error::io("remove", &path))?;
        let before = segment.extent();
        let merged = Segment::create(files, path, before.base_offset, before.first_append_ms)?;
        let mut rewrite = Rewrite::new(files, &merged, before.last_append_ms)?;
        let limit = partition.segment_after(segment).map_or(u64::MAX, |next| next.base_offset());
        let mut scan = Scan::new(files, segment, Offset(0), Offset(limit), CHUNK_BYTES)?;
        while let Some(batch) = scan.next_batch()? {
            if cancelled.load(Ordering::Relaxed) {
                files.forget(merged.id());
                return Ok(None);
            }
            rewrite.push(batch)?;
        }
        rewrite.finish()?;
        merged.flush_indexes(disk)?;
        for path in merged.paths() {
            let file = disk.open(&path, Open::Existing).map_err(Error::io("open", &path))?;
            file.sync().map_err(Error::io("sync", &path))?;
        }
        disk.sync_dir(partition.dir()).map_err(Error::io("sync", partition.dir()))?;
        files.forget(merged.id());
        Ok(Some(Self { partition: partition.clone(), extent: Extent { is_merged: true, ..merged.extent() } }))
    }

    /// Describes the merged segment.
    pub(crate) fn extent(&self) -> &Extent {
        &self.extent
    }

    /// Gives the partition it is of.
    pub(crate) fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }

    /// Names it for the checkpoint.
    pub(crate) fn swap(&self) -> Swap {
        let (topic, partition) = (self.partition.topic(), self.partition.name().partition.0);
        Swap { topic, partition, base_offset: self.extent.base_offset }
    }

    /// Gives its files the names of those they replace.
    pub(crate) fn rename_files(&self, disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
        rename_files(disk, dir, self.extent.base_offset)
    }

    /// Lists its files, to be removed if it is of no use.
    pub(crate) fn paths(&self) -> [PathBuf; 3] {
        paths(self.partition.dir(), self.extent.base_offset).map(|path| merged_path(&path))
    }
}

/// Gives merged files, those that are there, the names of the ones they replace; durable when it returns.
pub(crate) fn rename_files(disk: &dyn Disk, dir: &Path, base_offset: u64) -> Result<(), Error> {
    for path in paths(dir, base_offset) {
        let merged = merged_path(&path);
        match disk.rename(&merged, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.map_err(Error::io("rename", &merged))?,
        }
    }
    disk.sync_dir(dir).map_err(Error::io("sync", dir))
}

pub(crate) fn paths(dir: &Path, base_offset: u64) -> [PathBuf; 3] {
    let log = dir.join(log_name(base_offset));
    EXTENSIONS.map(|extension| log.with_extension(extension))
}

pub(crate) fn merged_path(path: &Path) -> PathBuf {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    path.with_extension(format!("merged.{extension}"))
}

/// Writes batches to a merged segment, small neighbours as one.
struct Rewrite<'a> {
    files: &'a Files,
    segment: &'a Segment,
    at_ms: i64,
    merger: Merger,
    compressor: Compressor,
    waiting: Vec<Placed>,
    end: u64,
    waiting_bytes: usize,
}

impl<'a> Rewrite<'a> {
    fn new(files: &'a Files, segment: &'a Segment, at_ms: i64) -> Result<Self, Error> {
        let compressor = Compressor::new(COMPRESSION_LEVEL).map_err(Error::io("compress into", segment.path()))?;
        let (waiting, merger) = (Vec::new(), Merger::default());
        Ok(Self { files, segment, at_ms, merger, compressor, waiting, end: 0, waiting_bytes: 0 })
    }

    fn push(&mut self, batch: Batch) -> Result<(), Error> {
        if batch.bytes().len() > LARGE_BATCH_BYTES || !Merger::takes(&batch) {
            self.close_batch()?;
            return self.place(batch);
        }
        let damaged = |error: skidway_record::BatchError| Error::corrupt(self.segment.path(), 0, error.to_string());
        let decoded = batch.decode().map_err(damaged)?;
        let is_full = self.merger.body_bytes() + decoded.body_bytes() > MERGED_BODY_BYTES;
        if is_full || !self.merger.reaches(&batch) {
            self.close_batch()?;
        }
        self.merger.push(&decoded).map_err(damaged)
    }

    fn close_batch(&mut self) -> Result<(), Error> {
        match self.merger.finish(&mut self.compressor) {
            Some(batch) => self.place(batch),
            None => Ok(()),
        }
    }

    fn place(&mut self, batch: Batch) -> Result<(), Error> {
        let (segment, position, bytes) = (self.segment.base_offset(), self.end, batch.bytes().len());
        self.waiting.push(Placed { batch, segment, position, at_ms: self.at_ms, written: false });
        self.end += bytes as u64;
        self.waiting_bytes += bytes;
        if self.waiting_bytes >= CHUNK_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), Error> {
        self.waiting_bytes = 0;
        self.segment.append(self.files, &std::mem::take(&mut self.waiting))
    }

    fn finish(mut self) -> Result<(), Error> {
        self.close_batch()?;
        self.write()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_cold_segments_of_small_batches_are_merged_once() {
        let extent = |base_offset, bytes, batches, last_append_ms| Extent {
            bytes,
            batches,
            last_append_ms,
            ..Extent::empty(base_offset, 0)
        };
        let large = extent(0, 100 << 20, 100, 0);
        let single = extent(1, 100, 1, 0);
        let small = extent(2, 100 << 10, 1000, 50);
        let merged = Extent { is_merged: true, ..small.clone() };
        let found = |extents: &[&Extent], now_ms| {
            let extents: Vec<Extent> = extents.iter().map(|&extent| extent.clone()).collect();
            candidates(&extents, now_ms, 10).next().map(|extent| extent.base_offset)
        };
        assert_eq!(found(&[&large, &single, &small, &large], 60), Some(2));
        assert_eq!(found(&[&large, &single, &small, &large], 59), None, "too warm");
        assert_eq!(found(&[&large, &small], 60), None, "the last one grows");
        assert_eq!(found(&[&merged, &large], 60), None);
        assert_eq!(found(&[], 60), None);
    }

    #[test]
    fn merged_files_are_told_from_others() {
        let path = merged_path(Path::new("/t-0/00000000000000000007.timeindex"));
        assert_eq!(path, Path::new("/t-0/00000000000000000007.merged.timeindex"));
        assert!(is_merged_name("00000000000000000007.merged.log"));
        assert!(!is_merged_name("00000000000000000007.log"));
    }
}
