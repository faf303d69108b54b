//! What was written straight to segments and must be durable before its commits are acknowledged: bytes, and names if they are new.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use skidway_disk::{Disk, DiskFile};

use crate::error::Error;
use crate::files::Files;
use crate::partition::{Metadata, Partition};
use crate::segment::Segment;

/// Threads that sync the files of one group at once: a device takes many syncs together in little more time than one.
const GROUP_SYNC_THREADS: usize = 8;

/// Lets a group of commits and a checkpoint sync one file: after a sync that failed, one that succeeds proves nothing, because the
/// system tells of lost pages only once. So they take turns, and whoever comes after a failure fails too.
#[derive(Debug, Default)]
pub(crate) struct SyncOnce {
    failed: Mutex<bool>,
}

impl SyncOnce {
    /// Syncs the file that this belongs to.
    pub(crate) fn sync(&self, file: &dyn DiskFile, path: &Path) -> Result<(), Error> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if *failed {
            return Err(Error::Halted { reason: format!("an earlier sync of {} failed", path.display()) });
        }
        let synced = file.sync().map_err(Error::io("sync", path));
        *failed = synced.is_err();
        synced
    }
}

/// Collects segments written to since the last sync.
#[derive(Debug, Default)]
pub(crate) struct Unsynced {
    segments: HashMap<u64, (Arc<Segment>, Arc<dyn DiskFile>)>,
    /// Files of partitions that name their topic, by number of the partition.
    metadata: HashMap<u64, Arc<Metadata>>,
    dirs: BTreeSet<PathBuf>,
}

impl Unsynced {
    /// Notes that a segment was written to.
    pub(crate) fn add(&mut self, files: &Files, partition: &Partition, segment: &Arc<Segment>) -> Result<(), Error> {
        if self.segments.contains_key(&segment.id()) {
            return Ok(());
        }
        self.segments.insert(segment.id(), (segment.clone(), files.get(segment.id(), segment.path())?));
        if !segment.is_named() {
            self.metadata.insert(partition.key(), partition.metadata().clone());
            self.dirs.insert(partition.dir().to_owned());
            self.dirs.extend(partition.dir().parent().map(ToOwned::to_owned));
        }
        Ok(())
    }

    /// Makes it all durable, with what `beside` syncs at the same time.
    pub(crate) fn sync(&mut self, disk: &dyn Disk, beside: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        if self.segments.is_empty() {
            return beside();
        }
        let segments: Vec<_> = self.segments.drain().map(|(_, segment)| segment).collect();
        std::thread::scope(|scope| {
            let files = scope
                .spawn(|| in_parallel(&segments, GROUP_SYNC_THREADS, |(segment, file)| segment.sync(file.as_ref())));
            beside()?;
            joined(files)
        })?;
        self.sync_names(disk)?;
        segments.iter().for_each(|(segment, _)| segment.set_named());
        Ok(())
    }

    fn sync_names(&mut self, disk: &dyn Disk) -> Result<(), Error> {
        for (_, metadata) in self.metadata.drain() {
            metadata.sync(disk)?;
        }
        for dir in std::mem::take(&mut self.dirs) {
            disk.sync_dir(&dir).map_err(Error::io("sync", &dir))?;
        }
        Ok(())
    }
}

/// Does something to many things, on at most so many threads.
pub(crate) fn in_parallel<T: Sync>(
    things: &[T],
    threads_max: usize,
    each: impl Fn(&T) -> Result<(), Error> + Copy + Send,
) -> Result<(), Error> {
    let share = things.len().div_ceil(threads_max).max(1);
    if things.len() <= share {
        return things.iter().try_for_each(each);
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            things.chunks(share).map(|some| scope.spawn(move || some.iter().try_for_each(each))).collect();
        threads.into_iter().try_for_each(joined)
    })
}

fn joined(thread: std::thread::ScopedJoinHandle<'_, Result<(), Error>>) -> Result<(), Error> {
    thread.join().unwrap_or_else(|_| Err(Error::Halted { reason: "a syncing thread panicked".to_owned() }))
}
