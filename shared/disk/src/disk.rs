//! The contract between what must survive and what it is kept on.
//!
//! Nothing is durable before it was synced: bytes by [`DiskFile::sync`], names (creations, renames, removals) by [`Disk::sync_dir`] of
//! the folder that holds them. After any failed write or sync nothing is known of the bytes concerned: stop, start again, recover.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Keeps files. Cheap to share; every method may block.
pub trait Disk: Debug + Send + Sync {
    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` for [`Open::Existing`] where there is none, and whatever the system says.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>>;

    /// Lists a folder, in no particular order.
    ///
    /// # Errors
    /// `NotFound` if there is no such folder, and whatever the system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;

    /// Creates a folder and the folders above it; does nothing if it is there.
    ///
    /// # Errors
    /// Whatever the system says.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Gives a file or folder another name in the same folder. A file of that name is replaced in one step.
    ///
    /// # Errors
    /// `NotFound` if there is nothing of that name, and whatever the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file, or a folder with all that is in it; does nothing if it is not there. Open files stay readable.
    ///
    /// # Errors
    /// Whatever the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// Whatever the system says. The fate is halt: a failed sync is never tried again.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Tells how many bytes may still be written to the file system of `dir`.
    ///
    /// # Errors
    /// Whatever the system says.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;

    /// Takes the lock file at `path` until the guard is dropped or the process ends; `None` if another holds it.
    ///
    /// # Errors
    /// Whatever the system says.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>>;
}

/// Reads and writes one open file at given positions.
pub trait DiskFile: Debug + Send + Sync {
    /// Reads up to `into.len()` bytes at `position`; fewer only at the end of the file.
    ///
    /// # Errors
    /// Whatever the system says.
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes all bytes at `position`; the file grows if need be.
    ///
    /// # Errors
    /// Whatever the system says; `StorageFull` if there is no room. Any part may have been written.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// Cuts or extends (with zeros) the file to `len` bytes.
    ///
    /// # Errors
    /// Whatever the system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves room and extends the file with zeros to `len` bytes, if it is shorter: writes below `len` find room.
    ///
    /// # Errors
    /// `StorageFull` if there is no room; then at most some zeros were added.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Makes bytes and length durable (`fdatasync`).
    ///
    /// # Errors
    /// Whatever the system says. The fate is halt: a failed sync is never tried again.
    fn sync(&self) -> io::Result<()>;

    /// Tells the file's length in bytes.
    ///
    /// # Errors
    /// Whatever the system says.
    fn len(&self) -> io::Result<u64>;

    /// Tells whether the file has no bytes.
    ///
    /// # Errors
    /// Whatever the system says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Says what [`Disk::open`] expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// The file must be there.
    Existing,
    /// The file is created unless it is there.
    OrCreate,
    /// The file is created, or emptied if it is there.
    Empty,
}

/// Names one thing in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name; names that are not UTF-8 are not ours and are left out of listings.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
}
