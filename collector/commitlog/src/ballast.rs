//! Room that is held on the disk, to be given up when it is full: deletions, checkpoints, copies of what the journal has and recovery
//! go on then, whoever filled it up.
//!
//! The file `ballast` holds that room and nothing else. [`WithBallast`] is the disk the engine works on: an operation that finds no room
//! gives the ballast up and is tried once more. Room for new commits is asked for beforehand (`allocate`) and never gets it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use skidway_disk::{Disk, DiskFile, Entry, Open};

use crate::error::Error;

const NAME: &str = "ballast";

/// Holds room on a disk.
#[derive(Debug)]
pub(crate) struct Ballast {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    bytes: u64,
    is_held: Mutex<bool>,
}

impl Ballast {
    /// Finds what a data folder holds; takes nothing yet.
    pub(crate) fn find(disk: Arc<dyn Disk>, dir: &Path, bytes: u64) -> Result<Self, Error> {
        let path = dir.join(NAME);
        let held = match disk.open(&path, Open::Existing) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            opened => opened.and_then(|file| file.len()).map_err(Error::io("open", &path))?,
        };
        Ok(Self { disk, path, bytes, is_held: Mutex::new(bytes > 0 && held >= bytes) })
    }

    /// Tells whether all of it is held.
    pub(crate) fn is_held(&self) -> bool {
        *self.lock()
    }

    /// Takes the room if it is there.
    pub(crate) fn take(&self) -> Result<(), Error> {
        let mut is_held = self.lock();
        if *is_held || self.bytes == 0 {
            return Ok(());
        }
        let taken = self.disk.open(&self.path, Open::OrCreate).and_then(|file| file.allocate(self.bytes));
        match taken {
            Err(error) if error.kind() != io::ErrorKind::StorageFull => Err(Error::io("reserve", &self.path)(error)),
            taken => {
                *is_held = taken.is_ok();
                Ok(())
            }
        }
    }

    /// Gives the room up. Tells whether there was any.
    pub(crate) fn release(&self) -> io::Result<bool> {
        let mut is_held = self.lock();
        let file = self.disk.open(&self.path, Open::OrCreate)?;
        let had = file.len()? > 0;
        if had {
            tracing::warn!(path = %self.path.display(), "the disk is full; the room held for this is used");
            file.set_len(0)?;
        }
        *is_held = false;
        Ok(had)
    }

    /// Tries again, without the ballast, what found no room.
    fn retried<T>(&self, mut operation: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match operation() {
            Err(error) if error.kind() == io::ErrorKind::StorageFull && self.release()? => operation(),
            done => done,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, bool> {
        self.is_held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Is a disk whose ballast is given up when it is full.
#[derive(Debug)]
pub(crate) struct WithBallast {
    disk: Arc<dyn Disk>,
    ballast: Arc<Ballast>,
}

impl WithBallast {
    /// Puts a ballast on a disk.
    pub(crate) fn new(disk: Arc<dyn Disk>, ballast: Arc<Ballast>) -> Self {
        Self { disk, ballast }
    }
}

impl Disk for WithBallast {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.ballast.retried(|| self.disk.open(path, how))?;
        Ok(Arc::new(FileWithBallast { file, ballast: self.ballast.clone() }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.ballast.retried(|| self.disk.create_dir(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.ballast.retried(|| self.disk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free_bytes(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        self.ballast.retried(|| self.disk.lock(path))
    }
}

#[derive(Debug)]
struct FileWithBallast {
    file: Arc<dyn DiskFile>,
    ballast: Arc<Ballast>,
}

impl DiskFile for FileWithBallast {
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(into, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.ballast.retried(|| self.file.write_at(bytes, position))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
