//! A file by its name: held open, or set aside while descriptors are short and opened again when it is needed. Whoever has the name by then
//! is looked at: another file is not taken for it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use skidway_record::source::PhysicalId;

use crate::flow::physical::{self, Stat, stat_file, stat_path};

/// Holds one file that is known by its identity.
#[derive(Debug)]
pub struct Handle {
    path: Arc<Path>,
    physical: PhysicalId,
    file: Option<Arc<File>>,
}

impl Handle {
    /// Takes an open file and the path to find it by, which has no symbolic links.
    ///
    /// # Errors
    /// As the operating system says (retry).
    pub fn new(file: File, path: Arc<Path>) -> io::Result<(Self, Stat)> {
        let stat = stat_file(&file)?;
        Ok((Self { path, physical: stat.physical, file: Some(Arc::new(file)) }, stat))
    }

    /// Gives the path to find it by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes that it has another name.
    pub fn set_path(&mut self, path: Arc<Path>) {
        self.path = path;
    }

    /// Gives its identity.
    pub fn physical(&self) -> PhysicalId {
        self.physical
    }

    /// Tells whether a descriptor is held.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Gives the file, opened for as long as the caller keeps it if it is set aside.
    ///
    /// # Errors
    /// As the operating system says (retry); `NotFound` if it is set aside and its name is gone or another file's (retry once it is renamed).
    pub fn file(&self) -> io::Result<Arc<File>> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        let file = physical::open(&self.path)?;
        self.check(&stat_file(&file)?)?;
        Ok(Arc::new(file))
    }

    /// Holds the file open from now on.
    ///
    /// # Errors
    /// As [`Handle::file`].
    pub fn hold(&mut self) -> io::Result<()> {
        self.file = Some(self.file()?);
        Ok(())
    }

    /// Lets go of the descriptor.
    pub fn set_aside(&mut self) {
        self.file = None;
    }

    /// Looks at it; a file set aside by its name.
    ///
    /// # Errors
    /// As [`Handle::file`].
    pub fn stat(&self) -> io::Result<Stat> {
        match &self.file {
            Some(file) => stat_file(file),
            None => stat_path(&self.path).and_then(|stat| self.check(&stat).map(|()| stat)),
        }
    }

    fn check(&self, found: &Stat) -> io::Result<()> {
        if found.physical == self.physical {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "another file has its name now"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_set_aside_is_found_by_its_name_and_no_other_is_taken_for_it() {
        let temp = tempfile::tempdir().unwrap();
        let (path, old) = (temp.path().join("a.log"), temp.path().join("a.log.1"));
        std::fs::write(&path, "text").unwrap();
        let (mut handle, _) = Handle::new(File::open(&path).unwrap(), path.as_path().into()).unwrap();
        handle.set_aside();
        assert!(!handle.is_open());
        assert_eq!((handle.stat().unwrap().size, handle.file().is_ok()), (4, true));
        assert!(!handle.is_open(), "it was opened for the moment");
        std::fs::hard_link(&path, &old).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(handle.hold().unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::write(&path, "another").unwrap();
        assert_eq!(handle.hold().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(handle.stat().unwrap_err().kind(), io::ErrorKind::NotFound);
        handle.set_path(old.into());
        assert!(handle.hold().is_ok() && handle.is_open());
    }
}
