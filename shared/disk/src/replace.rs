//! The one way a file is replaced: a temporary file, fsync, rename, fsync of the folder. Never leaves half a file under the name.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, Open};
use crate::real::RealDisk;

/// Replaces the file at `path` on the real disk: after a crash it holds the old bytes or the new ones, whole.
///
/// # Errors
/// Whatever the system says; the file then holds the old bytes or the new ones.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_on(&RealDisk, path, bytes)
}

/// Replaces the file at `path` on a given disk.
///
/// # Errors
/// As [`replace`].
pub fn replace_on(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_name(path);
    let file = match disk.open(&temporary, Open::Empty) {
        // Another user left it behind; whoever may write to the folder may remove it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            disk.remove(&temporary)?;
            disk.open(&temporary, Open::Empty)?
        }
        opened => opened?,
    };
    file.write_at(bytes, 0)?;
    file.sync()?;
    drop(file);
    disk.rename(&temporary, path)?;
    disk.sync_dir(parent(path))
}

/// Names the temporary file beside `path`. A crash may leave it behind; the next replacement overwrites it.
fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
