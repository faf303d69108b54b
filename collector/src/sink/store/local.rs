//! Files of this machine: written in a hidden folder beside them, so that publishing is a rename, which never replaces a file.
//!
//! ```text
//! <root>/.skidway-<sink>/…     files being written; deleted at the start, gone after an orderly stop
//! <root>/<folder>/<name>       published: whole, durable, never changed again
//! ```

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::{Published, Store};

/// Keeps files below a folder.
#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
    spool: PathBuf,
}

impl LocalStore {
    /// Keeps files of the sink of this name below `root`.
    pub fn new(root: &Path, sink: &str) -> Self {
        Self { root: root.to_owned(), spool: root.join(format!(".skidway-{sink}")) }
    }

    /// Makes the folders above a file, each durably in the one above it.
    fn make_folders(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        let above = folder.parent().ok_or_else(|| io::Error::other("it has no folder above it"))?;
        self.make_folders(above)?;
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        sync_folder(above)
    }
}

impl Store for LocalStore {
    fn open(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.spool) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.make_folders(&self.spool)
    }

    fn spool(&self) -> &Path {
        &self.spool
    }

    fn publish(&self, spooled: &Path, path: &str) -> io::Result<Published> {
        let path = self.root.join(path);
        let folder = path.parent().ok_or_else(|| io::Error::other("it has no folder above it"))?;
        self.make_folders(folder)?;
        match renameat_with(CWD, spooled, CWD, &path, RenameFlags::NOREPLACE) {
            Ok(()) => sync_folder(folder).map(|()| Published::New),
            // An earlier try may have come as far as this.
            Err(Errno::EXIST) => sync_folder(folder).map(|()| Published::Exists),
            Err(Errno::NOENT) if path.is_file() => sync_folder(folder).map(|()| Published::Exists),
            // Some file systems cannot rename so; a second name is as good.
            Err(Errno::INVAL | Errno::NOSYS) => match fs::hard_link(spooled, &path) {
                Ok(()) => {
                    sync_folder(folder)?;
                    fs::remove_file(spooled).map(|()| Published::New)
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    sync_folder(folder).map(|()| Published::Exists)
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error.into()),
        }
    }

    fn read(&self, path: &str) -> io::Result<Box<dyn Read + Send>> {
        let path = self.root.join(path);
        if !fs::metadata(&path)?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        Ok(Box::new(File::open(path)?))
    }

    fn close(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.spool)
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::store::conformance::conforms;

    #[test]
    fn a_folder_of_this_machine_conforms() {
        let temp = tempfile::tempdir().unwrap();
        conforms(&LocalStore::new(&temp.path().join("not/there/yet"), "archive"));
    }

    #[test]
    fn a_folder_that_cannot_be_is_told() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("file"), "").unwrap();
        assert!(LocalStore::new(&temp.path().join("file/below"), "archive").open().is_err());
    }
}
