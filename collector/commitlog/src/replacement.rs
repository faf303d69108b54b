//! Segments written anew, and how they take the places of those they were made of.
//!
//! New segments are written beside the old ones (`<base offset>.<number>.merged.*`) and synced; the next checkpoint describes them in the old ones'
//! places and names each swap; after that the files are renamed, and old ones without a successor of their name removed. A start that
//! finds a swap named renames what is not renamed yet, and removes what the checkpoint does not describe. So no journal frame ever points
//! into a new segment, and a crash leaves the old files or the new ones. The number tells a swap that the checkpoint names, and that was
//! done, from files that are written for the next.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skidway_disk::{Disk, Open};
use skidway_record::{Batch, BatchError, Compressor, Merger};

use crate::effects::TopicId;
use crate::error::Error;
use crate::extent::{Extent, Rewritten};
use crate::files::Files;
use crate::partition::Partition;
use crate::scan::CHUNK_BYTES;
use crate::segment::{Placed, Segment, log_name};

/// Bytes of records, before compression, that a batch is filled up to.
pub(crate) const MERGED_BODY_BYTES: usize = 512 << 10;

/// zstd's default: this is read many times, and nobody waits for it.
const COMPRESSION_LEVEL: i32 = 3;

const EXTENSIONS: [&str; 3] = ["log", "index", "timeindex"];

/// Names a segment whose new files take the place of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Swap {
    pub(crate) topic: TopicId,
    pub(crate) partition: u32,
    pub(crate) base_offset: u64,
    pub(crate) number: SwapNumber,
}

/// Tells new files from those of earlier and later swaps: the number of the journal file that followed when they were begun, which is
/// above all that the checkpoint then in force names. 0 in checkpoints of version 2, whose files have no number.
pub(crate) type SwapNumber = u64;

/// Is a swap as a checkpoint of version 2 names it.
#[derive(Debug, Deserialize)]
pub(crate) struct SwapV2 {
    topic: TopicId,
    partition: u32,
    base_offset: u64,
}

impl From<SwapV2> for Swap {
    fn from(SwapV2 { topic, partition, base_offset }: SwapV2) -> Self {
        Self { topic, partition, base_offset, number: 0 }
    }
}

/// Holds new segments of a partition, synced beside the neighbours they were made of.
#[derive(Debug)]
pub(crate) struct Replacement {
    partition: Arc<Partition>,
    number: SwapNumber,
    /// Base offsets of the segments that go, in order, none left out between them.
    replaces: Vec<u64>,
    /// Describes those that come; the first begins where the first that goes does.
    extents: Vec<Extent>,
}

impl Replacement {
    /// Holds what was written.
    pub(crate) fn new(
        partition: &Arc<Partition>,
        number: SwapNumber,
        replaces: Vec<u64>,
        extents: Vec<Extent>,
    ) -> Self {
        Self { partition: partition.clone(), number, replaces, extents }
    }

    /// Gives the partition it is of.
    pub(crate) fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }

    /// Describes the segments that come.
    pub(crate) fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// Gives the offset where the segments that go, while they are still there, end.
    pub(crate) fn end(&self) -> u64 {
        let (segments, (_, high_watermark)) = (self.partition.segments(), self.partition.shown());
        let is_after = |base: &u64| self.replaces.last().is_none_or(|last| base > last);
        segments.iter().map(|segment| segment.base_offset()).find(is_after).unwrap_or(high_watermark)
    }

    /// Tells whether records were removed.
    pub(crate) fn is_compacted(&self) -> bool {
        self.extents.iter().any(|extent| extent.rewritten == Rewritten::Compacted)
    }

    /// Names them for the checkpoint.
    pub(crate) fn swaps(&self) -> impl Iterator<Item = Swap> {
        let (topic, partition, number) = (self.partition.topic(), self.partition.name().partition.0, self.number);
        self.extents.iter().map(move |extent| Swap { topic, partition, base_offset: extent.base_offset, number })
    }

    /// Finds the segments that go among all of the partition, by their base offsets; `None` if they are not all there.
    pub(crate) fn place_in(&self, bases: &[u64]) -> Option<std::ops::Range<usize>> {
        let start = bases.iter().position(|base| Some(base) == self.replaces.first())?;
        let range = start..start + self.replaces.len();
        (bases.get(range.clone())? == self.replaces).then_some(range)
    }

    /// Gives the new files their names, durably.
    pub(crate) fn rename_files(&self, disk: &dyn Disk) -> Result<(), Error> {
        let dir = self.partition.dir();
        self.extents.iter().try_for_each(|extent| rename_files(disk, dir, extent.base_offset, self.number))
    }

    /// Lists the files of those that go whose names nobody takes over.
    pub(crate) fn superfluous(&self) -> Vec<PathBuf> {
        let is_taken = |base: &u64| self.extents.iter().any(|extent| extent.base_offset == *base);
        let gone = self.replaces.iter().filter(|base| !is_taken(base));
        gone.flat_map(|base| paths(self.partition.dir(), *base)).collect()
    }

    /// Lists its files, to be removed if it is of no use.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.extents
            .iter()
            .flat_map(|extent| new_paths(self.partition.dir(), extent.base_offset, self.number))
            .collect()
    }
}

/// Tells whether a file belongs to a new segment that has not taken its place.
pub(crate) fn is_merged_name(name: &str) -> bool {
    EXTENSIONS.iter().any(|extension| name.ends_with(&format!(".merged.{extension}")))
}

/// Gives new files, those that are there, the names of the ones they replace; durable when it returns.
pub(crate) fn rename_files(disk: &dyn Disk, dir: &Path, base_offset: u64, number: SwapNumber) -> Result<(), Error> {
    for path in paths(dir, base_offset) {
        let merged = merged_path(&path, number);
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

/// Gives the names of a new segment's files before they take their places.
pub(crate) fn new_paths(dir: &Path, base_offset: u64, number: SwapNumber) -> [PathBuf; 3] {
    paths(dir, base_offset).map(|path| merged_path(&path, number))
}

/// Gives the name of one of them, beside the file that it replaces.
pub(crate) fn merged_path(path: &Path, number: SwapNumber) -> PathBuf {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match number {
        0 => path.with_extension(format!("merged.{extension}")),
        _ => path.with_extension(format!("{number}.merged.{extension}")),
    }
}

/// Writes a new segment, small batches as one.
pub(crate) struct Output<'a> {
    files: &'a Files,
    partition: &'a Partition,
    segment: Segment,
    last_append_ms: i64,
    /// The batch that is being filled.
    pub(crate) merger: Merger,
    compressor: Compressor,
    waiting: Vec<Placed>,
    end: u64,
    waiting_bytes: usize,
}

impl<'a> Output<'a> {
    /// Begins one, with the append times of the first and last batch it is made of.
    pub(crate) fn begin(
        files: &'a Files,
        partition: &'a Partition,
        (base_offset, number): (u64, SwapNumber),
        (first_append_ms, last_append_ms): (i64, i64),
    ) -> Result<Self, Error> {
        let path = merged_path(&partition.dir().join(log_name(base_offset)), number);
        files.disk().remove(&path).map_err(Error::io("remove", &path))?;
        let compressor = Compressor::new(COMPRESSION_LEVEL).map_err(Error::io("compress into", &path))?;
        let segment = Segment::create(files, path, base_offset, first_append_ms)?;
        let (merger, waiting) = (Merger::default(), Vec::new());
        Ok(Self { files, partition, segment, last_append_ms, merger, compressor, waiting, end: 0, waiting_bytes: 0 })
    }

    /// Gives the bytes placed so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.end
    }

    /// Reports a batch that cannot be read.
    pub(crate) fn damaged(&self, error: &BatchError) -> Error {
        Error::corrupt(self.segment.path(), self.end, error.to_string())
    }

    /// Writes a batch as it is, after what was collected.
    pub(crate) fn place(&mut self, batch: Batch) -> Result<(), Error> {
        self.close_batch()?;
        self.append(batch)
    }

    /// Writes what was collected as one batch.
    pub(crate) fn close_batch(&mut self) -> Result<(), Error> {
        match self.merger.finish(&mut self.compressor) {
            Some(batch) => self.append(batch),
            None => Ok(()),
        }
    }

    /// Encodes what was collected as one batch without writing it.
    pub(crate) fn take_batch(&mut self) -> Option<Batch> {
        self.merger.finish(&mut self.compressor)
    }

    /// Ends it; all of it is durable but for the names it gets at last.
    pub(crate) fn finish(mut self, rewritten: Rewritten) -> Result<Extent, Error> {
        self.close_batch()?;
        self.write()?;
        let disk = self.files.disk().as_ref();
        self.segment.flush_indexes(disk)?;
        for path in self.segment.paths() {
            let file = disk.open(&path, Open::Existing).map_err(Error::io("open", &path))?;
            file.sync().map_err(Error::io("sync", &path))?;
        }
        let dir = self.partition.dir();
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        self.files.forget(self.segment.id());
        Ok(Extent { rewritten, ..self.segment.extent() })
    }

    /// Lets it go.
    pub(crate) fn abandon(self) {
        self.files.forget(self.segment.id());
    }

    fn append(&mut self, batch: Batch) -> Result<(), Error> {
        let (segment, position, bytes) = (self.segment.base_offset(), self.end, batch.bytes().len());
        self.waiting.push(Placed { batch, segment, position, at_ms: self.last_append_ms, written: false });
        self.end += bytes as u64;
        self.waiting_bytes += bytes;
        if self.waiting_bytes >= CHUNK_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), Error> {
        self.waiting_bytes = 0;
        self.segment.append(self.files, &std::mem::take(&mut self.waiting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_files_are_told_from_others() {
        let path = |number| merged_path(Path::new("/t-0/00000000000000000007.timeindex"), number);
        assert_eq!(path(0), Path::new("/t-0/00000000000000000007.merged.timeindex"));
        assert_eq!(path(12), Path::new("/t-0/00000000000000000007.12.merged.timeindex"));
        assert!(is_merged_name("00000000000000000007.12.merged.index"));
        assert!(is_merged_name("00000000000000000007.merged.log"));
        assert!(!is_merged_name("00000000000000000007.log"));
    }
}
