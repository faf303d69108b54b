//! The folder of this machine where files are written before they are published.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Holds files being written.
#[derive(Debug)]
pub(super) struct Spool(PathBuf);

impl Spool {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0
    }

    /// Makes an empty folder: what is left of an earlier run is deleted.
    ///
    /// # Errors
    /// As the operating system says (retry).
    pub(super) fn open(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        make_folders(&self.0)
    }

    /// Deletes it.
    ///
    /// # Errors
    /// As the operating system says; the next start deletes it.
    pub(super) fn close(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.0)
    }
}

/// Makes a folder and those above it, each durably in the one above.
pub(super) fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().ok_or_else(|| io::Error::other("it has no folder above it"))?;
    make_folders(above)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_folder(above)
}

/// Makes what happened in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
