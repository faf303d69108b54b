//! One ordered shard of a topic: its segments, in their folder. Grown by the sequencer, read by anyone.
//!
//! The folder is made with the first batch. It holds Kafka's `partition.metadata`, so that it is never taken for the folder of another
//! topic of the same name:
//!
//! ```text
//! version: 0
//! topic_id: <16 bytes, base64url without padding>
//! ```

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use skidway_disk::{Disk, Open};
use skidway_record::{Offset, TopicPartition};

use crate::checkpoint::Dirty;
use crate::commit::LogOffsets;
use crate::effects::TopicId;
use crate::error::Error;
use crate::extent::Extent;
use crate::files::Files;
use crate::replacement::{self, Replacement};
use crate::segment::{Placed, Segment, base_offset_of, log_name};
use crate::unsynced::SyncOnce;

pub(crate) const METADATA_NAME: &str = "partition.metadata";

static NEXT_KEY: AtomicU64 = AtomicU64::new(0);

/// Says when a segment is closed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentLimits {
    /// Bytes.
    pub(crate) bytes: u64,
    /// Time since its first append, in ms.
    pub(crate) age_ms: u64,
}

/// Stands for the file that says which topic a partition's folder is of.
#[derive(Debug)]
pub(crate) struct Metadata {
    path: PathBuf,
    sync: SyncOnce,
}

impl Metadata {
    /// Gives its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes what was written durable.
    pub(crate) fn sync(&self, disk: &dyn Disk) -> Result<(), Error> {
        let file = disk.open(&self.path, Open::Existing).map_err(Error::io("open", &self.path))?;
        self.sync.sync(file.as_ref(), &self.path)
    }
}

/// Holds one partition.
#[derive(Debug)]
pub(crate) struct Partition {
    /// Its number in this process.
    key: u64,
    topic: TopicId,
    name: TopicPartition,
    dir: PathBuf,
    metadata: Arc<Metadata>,
    log_start: AtomicU64,
    high_watermark: AtomicU64,
    /// In the order of their base offsets; batches go to the last.
    segments: RwLock<Vec<Arc<Segment>>>,
    /// The folder is there, and says whose it is.
    has_dir: AtomicBool,
    /// Counts the times that others took the places of segments.
    swaps: AtomicU64,
}

impl Partition {
    /// Makes a partition without segments; nothing is on disk yet.
    pub(crate) fn new(topics_dir: &Path, topic: TopicId, name: TopicPartition) -> Self {
        let dir = topics_dir.join(dir_name(&name));
        Self {
            key: NEXT_KEY.fetch_add(1, Ordering::Relaxed),
            topic,
            name,
            metadata: Arc::new(Metadata { path: dir.join(METADATA_NAME), sync: SyncOnce::default() }),
            dir,
            log_start: AtomicU64::new(0),
            high_watermark: AtomicU64::new(0),
            segments: RwLock::default(),
            has_dir: AtomicBool::new(false),
            swaps: AtomicU64::new(0),
        }
    }

    /// Gives its number in this process.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// Gives the topic it is of.
    pub(crate) fn topic(&self) -> TopicId {
        self.topic
    }

    /// Gives its name.
    pub(crate) fn name(&self) -> &TopicPartition {
        &self.name
    }

    /// Gives its folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Gives its extent as readers see it.
    pub(crate) fn offsets(&self) -> LogOffsets {
        LogOffsets {
            log_start: Offset(self.log_start.load(Ordering::Acquire)),
            high_watermark: Offset(self.high_watermark.load(Ordering::Acquire)),
            bytes: self
                .segments
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
                .map(|segment| segment.bytes())
                .sum(),
        }
    }

    /// Gives the first offset kept and the first not readable.
    pub(crate) fn shown(&self) -> (u64, u64) {
        (self.log_start.load(Ordering::Acquire), self.high_watermark.load(Ordering::Acquire))
    }

    /// Makes what was appended readable.
    pub(crate) fn publish(&self, log_start: u64, high_watermark: u64) {
        self.log_start.store(log_start, Ordering::Release);
        self.high_watermark.store(high_watermark, Ordering::Release);
    }

    /// Lists its segments in order.
    pub(crate) fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the segment that holds `offset`, if any does.
    pub(crate) fn segment_of(&self, offset: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let after = segments.partition_point(|segment| segment.base_offset() <= offset);
        segments.get(after.checked_sub(1)?).cloned()
    }

    /// Gives the segment that begins after another.
    pub(crate) fn segment_after(&self, segment: &Segment) -> Option<Arc<Segment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let after = segments.partition_point(|other| other.base_offset() <= segment.base_offset());
        segments.get(after).cloned()
    }

    /// Appends batches at their places, beginning segments where need be.
    pub(crate) fn append(&self, files: &Files, placed: &[Placed], dirty: &mut Dirty) -> Result<(), Error> {
        for run in placed.chunk_by(|one, other| one.segment == other.segment) {
            let segment = self.segment_at(files, run[0].segment, run[0].at_ms, dirty)?;
            segment.append(files, run)?;
            dirty.add(&segment);
        }
        Ok(())
    }

    /// Gives the segment that begins at an offset; begins it if it is not there.
    pub(crate) fn segment_at(
        &self,
        files: &Files,
        base_offset: u64,
        at_ms: i64,
        dirty: &mut Dirty,
    ) -> Result<Arc<Segment>, Error> {
        let found = self.segment_of(base_offset).filter(|segment| segment.base_offset() == base_offset);
        if let Some(segment) = found {
            return Ok(segment);
        }
        if !self.has_dir() {
            self.make_dir(files.disk().as_ref(), dirty)?;
            self.has_dir.store(true, Ordering::Relaxed);
        }
        let segment = Arc::new(Segment::create(files, self.dir.join(log_name(base_offset)), base_offset, at_ms)?);
        dirty.add_dir(&self.dir);
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let place = segments.partition_point(|other| other.base_offset() < base_offset);
        segments.insert(place, segment.clone());
        Ok(segment)
    }

    /// Tells whether its folder is there.
    pub(crate) fn has_dir(&self) -> bool {
        self.has_dir.load(Ordering::Relaxed)
    }

    /// Gives the file that says which topic it is of.
    pub(crate) fn metadata(&self) -> &Arc<Metadata> {
        &self.metadata
    }

    /// Takes away the segments that lie wholly below `log_start`; their files stay until the next checkpoint has forgotten them.
    pub(crate) fn drop_below(&self, log_start: u64, next_offset: u64) -> Vec<Arc<Segment>> {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let ends = segments.iter().skip(1).map(|segment| segment.base_offset()).chain([next_offset]);
        // One that was begun for batches not yet readable starts at the log start itself.
        let below = segments
            .iter()
            .zip(ends)
            .take_while(|(segment, end)| segment.base_offset() < log_start && *end <= log_start);
        let count = below.count();
        segments.drain(..count).collect()
    }

    /// Describes its segments for a checkpoint.
    pub(crate) fn extents(&self) -> Vec<Extent> {
        self.segments().iter().map(|segment| segment.extent()).collect()
    }

    /// Takes over the segments that a checkpoint knows; what else the folder holds stays until [`Partition::trim`].
    pub(crate) fn restore(&self, files: &Files, extents: Vec<Extent>, dirty: &mut Dirty) -> Result<(), Error> {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        for extent in extents {
            let (segment, rebuilt) = Segment::restore(files, &self.dir, extent)?;
            let segment = Arc::new(segment);
            if rebuilt {
                dirty.add(&segment);
            }
            segments.push(segment);
        }
        self.has_dir.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Cuts its files to what it knows of them, once a replay is through; lists the files of segments that are not its own.
    pub(crate) fn trim(&self, files: &Files, dirty: &mut Dirty) -> Result<Vec<PathBuf>, Error> {
        if !self.has_dir() {
            return Ok(Vec::new());
        }
        let segments = self.segments();
        for segment in &segments {
            if segment.trim(files)? {
                dirty.add(segment);
            }
        }
        let known = |base_offset| segments.iter().any(|segment| segment.base_offset() == base_offset);
        let entries = files.disk().list(&self.dir).map_err(Error::io("list", &self.dir))?;
        let stray = |name: &str| {
            replacement::is_merged_name(name) || base_offset_of(name).is_some_and(|base_offset| !known(base_offset))
        };
        Ok(entries.iter().filter(|entry| stray(&entry.name)).map(|entry| self.dir.join(&entry.name)).collect())
    }

    /// Puts new segments into the places of those they were made of. Readers of these may stumble, and read again.
    pub(crate) fn swap_in(&self, files: &Files, new: &Replacement) -> Result<(), Error> {
        let disk = files.disk().as_ref();
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        new.rename_files(disk)?;
        // What retention took away meanwhile is not brought back.
        let bases: Vec<u64> = segments.iter().map(|segment| segment.base_offset()).collect();
        if let Some(place) = new.place_in(&bases) {
            let segment = |extent: &Extent| {
                let path = self.dir.join(log_name(extent.base_offset));
                let segment = Segment::new(path, extent.clone(), extent.bytes);
                segment.set_named();
                Arc::new(segment)
            };
            let replaced = segments.splice(place, new.extents().iter().map(segment));
            replaced.for_each(|gone| files.forget(gone.id()));
        }
        self.swaps.fetch_add(1, Ordering::Release);
        drop(segments);
        let superfluous = new.superfluous();
        superfluous.iter().try_for_each(|path| disk.remove(path).map_err(Error::io("remove", path)))
    }

    /// Counts the times that others took the places of segments: who stumbles while this grows reads again.
    pub(crate) fn swaps(&self) -> u64 {
        self.swaps.load(Ordering::Acquire)
    }

    /// Gives the folder of a deleted topic another name, so that a new topic can have this one. `None` if there is no folder.
    pub(crate) fn set_aside(&self, disk: &dyn Disk) -> Result<Option<PathBuf>, Error> {
        if !self.has_dir.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let aside = self.dir.with_file_name(deleted_dir_name(&self.name, &self.topic));
        disk.rename(&self.dir, &aside).map_err(Error::io("rename", &self.dir))?;
        Ok(Some(aside))
    }

    fn make_dir(&self, disk: &dyn Disk, dirty: &mut Dirty) -> Result<(), Error> {
        disk.create_dir(&self.dir).map_err(Error::io("create", &self.dir))?;
        let path = self.metadata.path();
        // Never emptied: in recovery it may be the one thing that says whose the folder is.
        let file = disk.open(path, Open::OrCreate).map_err(Error::io("create", path))?;
        file.write_at(metadata_of(&self.topic).as_bytes(), 0).map_err(Error::io("write", path))?;
        dirty.add_metadata(&self.metadata);
        dirty.add_dir(&self.dir);
        if let Some(topics_dir) = self.dir.parent() {
            dirty.add_dir(topics_dir);
        }
        Ok(())
    }
}

/// Gives the text that says which topic a partition's folder belongs to; [`topic_of_dir`] reads it back.
pub(crate) fn metadata_of(topic: &TopicId) -> String {
    format!("version: 0\ntopic_id: {}\n", URL_SAFE_NO_PAD.encode(topic))
}

/// Names a partition's folder, as Kafka does.
pub(crate) fn dir_name(name: &TopicPartition) -> String {
    format!("{}-{}", name.topic, name.partition)
}

/// Bounds a folder's name, as file systems do.
const DIR_NAME_BYTES_MAX: usize = 255;

/// Names the folder of a deleted topic's partition until it is removed; what would be too long is cut, for the topic's id tells it apart.
fn deleted_dir_name(name: &TopicPartition, topic: &TopicId) -> String {
    let ending = format!("-{}.{}-delete", name.partition, URL_SAFE_NO_PAD.encode(topic));
    let topic = name.topic.as_str();
    format!("{}{ending}", &topic[..topic.len().min(DIR_NAME_BYTES_MAX - ending.len())])
}

/// Writes the file that says which topic a folder belongs to once more as it is, and syncs it: it may be in the page cache only.
pub(crate) fn write_metadata_again(disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
    let path = dir.join(METADATA_NAME);
    let file = disk.open(&path, Open::Existing).map_err(Error::io("open", &path))?;
    let mut raw = [0; 128];
    let have = file.read_at(&mut raw, 0).map_err(Error::io("read", &path))?;
    file.write_at(&raw[..have], 0).map_err(Error::io("write", &path))?;
    file.sync().map_err(Error::io("sync", &path))
}

/// Reads which topic a partition's folder belongs to; `None` if that is not to be told.
pub(crate) fn topic_of_dir(disk: &dyn Disk, dir: &Path) -> Option<TopicId> {
    let file = disk.open(&dir.join(METADATA_NAME), Open::Existing).ok()?;
    let mut raw = [0; 128];
    let have = file.read_at(&mut raw, 0).ok()?;
    let text = std::str::from_utf8(&raw[..have]).ok()?;
    let encoded = text.strip_prefix("version: 0\ntopic_id: ")?.trim_end();
    URL_SAFE_NO_PAD.decode(encoded).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use skidway_record::TopicName;

    #[test]
    fn folders_of_the_longest_names_can_be_made_and_deleted() {
        let name = |partition| TopicPartition::new(TopicName::new(&"n".repeat(249)).unwrap(), partition);
        assert!(dir_name(&name(999)).len() <= DIR_NAME_BYTES_MAX);
        let deleted = deleted_dir_name(&name(999), &[255; 16]);
        assert_eq!(deleted.len(), DIR_NAME_BYTES_MAX);
        assert!(deleted.ends_with("-999._____________________w-delete"), "{deleted}");
        let short = deleted_dir_name(&TopicPartition::new(TopicName::new("app").unwrap(), 3), &[0; 16]);
        assert_eq!(short, "app-3.AAAAAAAAAAAAAAAAAAAAAA-delete");
    }
}
