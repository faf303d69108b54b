//! A folder mounted at a second place (`mount --bind`), to be taken away and brought back. Needs root, or sudo without a password.
//!
//! Unmounted when dropped, also by a panic.

use std::path::{Path, PathBuf};

use crate::image::sudo;

/// Holds a folder mounted at a second place.
#[derive(Debug)]
pub struct Bind {
    at: PathBuf,
}

impl Bind {
    /// Mounts `folder` at `at`, which is there.
    ///
    /// # Errors
    /// Says what this machine lacks for it.
    pub fn mount(folder: &Path, at: &Path) -> Result<Self, String> {
        sudo(&["mount", "--bind", &folder.display().to_string(), &at.display().to_string()])?;
        Ok(Self { at: at.to_owned() })
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        // Files of it may be open.
        if let Err(error) = sudo(&["umount", "-l", &self.at.display().to_string()]) {
            eprintln!("{error}");
        }
    }
}
