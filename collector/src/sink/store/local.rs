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

use super::spool::{Spool, make_folders, sync_folder};
use super::{Published, Store};
use crate::sink::path::RESERVED;

/// Keeps files below a folder.
#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
    spool: Spool,
}

impl LocalStore {
    /// Keeps files of the sink of this name below `root`.
    pub fn new(root: &Path, sink: &str) -> Self {
        Self { root: root.to_owned(), spool: Spool::new(root.join(format!("{RESERVED}{sink}"))) }
    }

    /// Tells of the files below a folder; `below` is its path from the root, with a slash at its end unless it is the root.
    fn list_below(&self, below: &str, each: &mut dyn FnMut(&str, u64)) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join(below))? {
            let entry = entry?;
            // Names that we make are text.
            let Some(path) = entry.file_name().to_str().map(|name| format!("{below}{name}")) else { continue };
            let kind = entry.file_type()?;
            if kind.is_dir() && !path.starts_with(RESERVED) {
                self.list_below(&format!("{path}/"), each)?;
            } else if kind.is_file() {
                each(&path, entry.metadata()?.len());
            }
        }
        Ok(())
    }
}

impl Store for LocalStore {
    fn open(&self) -> io::Result<()> {
        self.spool.open()
    }

    fn spool(&self) -> &Path {
        self.spool.folder()
    }

    fn publish(&self, spooled: &Path, path: &str) -> io::Result<Published> {
        let path = self.root.join(path);
        let folder = path.parent().ok_or_else(|| io::Error::other("it has no folder above it"))?;
        make_folders(folder)?;
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

    fn list(&self, each: &mut dyn FnMut(&str, u64)) -> io::Result<()> {
        self.list_below("", each)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let path = self.root.join(path);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed?,
        }
        path.parent().map_or(Ok(()), sync_folder)
    }

    fn operations(&self, _bytes: u64) -> u64 {
        // Created, written out, renamed, and the folder written out.
        4
    }

    fn close(&self) -> io::Result<()> {
        self.spool.close()
    }
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
