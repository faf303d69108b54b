//! The segment files that are open: a bounded number, the least recently used closed first.
//!
//! A file closed here may hold bytes not yet synced. The checkpoint opens it again to sync it: Linux reports a write-back error to the
//! first who asks after it happened, also to one who opened the file later (errseq, since 4.17), so none is lost by that.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use skidway_disk::{Disk, DiskFile, Open};

use crate::buffers::Buffers;
use crate::error::Error;

/// Keeps files open, by the id of their segment.
#[derive(Debug)]
pub(crate) struct Files {
    disk: Arc<dyn Disk>,
    open_max: usize,
    open: Mutex<OpenFiles>,
    buffers: Buffers,
}

#[derive(Debug, Default)]
struct OpenFiles {
    by_segment: HashMap<u64, Used>,
    clock: u64,
}

#[derive(Debug)]
struct Used {
    file: Arc<dyn DiskFile>,
    last: u64,
}

impl Files {
    /// Makes the set, for at most `open_max` files.
    pub(crate) fn new(disk: Arc<dyn Disk>, open_max: usize) -> Self {
        Self { disk, open_max, open: Mutex::default(), buffers: Buffers::default() }
    }

    /// Gives the disk the files are on.
    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Gives what the files are read into.
    pub(crate) fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// Gives a segment's file, opening it if need be.
    pub(crate) fn get(&self, segment: u64, path: &Path) -> Result<Arc<dyn DiskFile>, Error> {
        if let Some(file) = self.lock().touch(segment) {
            return Ok(file);
        }
        let file = self.disk.open(path, Open::Existing).map_err(Error::io("open", path))?;
        self.keep(segment, file.clone());
        Ok(file)
    }

    /// Keeps a file that was opened elsewhere.
    pub(crate) fn keep(&self, segment: u64, file: Arc<dyn DiskFile>) {
        let mut open = self.lock();
        while open.by_segment.len() >= self.open_max {
            open.close_oldest();
        }
        open.clock += 1;
        let last = open.clock;
        open.by_segment.insert(segment, Used { file, last });
    }

    /// Closes a removed segment's file, so that its room is given back.
    pub(crate) fn forget(&self, segment: u64) {
        self.lock().by_segment.remove(&segment);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, OpenFiles> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenFiles {
    fn touch(&mut self, segment: u64) -> Option<Arc<dyn DiskFile>> {
        self.clock += 1;
        let used = self.by_segment.get_mut(&segment)?;
        used.last = self.clock;
        Some(used.file.clone())
    }

    fn close_oldest(&mut self) {
        let oldest = self.by_segment.iter().min_by_key(|(_, used)| used.last).map(|(id, _)| *id);
        if let Some(id) = oldest {
            self.by_segment.remove(&id);
        }
    }
}
