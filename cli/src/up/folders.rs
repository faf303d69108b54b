//! Where `skidway up` keeps what: one data folder with a room for each part.

use std::path::{Path, PathBuf};

/// Holds the two folders everything else is found from. Both are absolute.
#[derive(Debug, Clone)]
pub(super) struct Folders {
    /// Relative globs count from here.
    pub(super) working: PathBuf,
    /// All data is below this.
    pub(super) data: PathBuf,
}

impl Folders {
    /// Counts a data folder from the working folder.
    pub(super) fn new(working: PathBuf, data: &Path) -> Self {
        let data = working.join(data);
        Self { working, data }
    }

    /// Gives the collector's folder.
    pub(super) fn log(&self) -> PathBuf {
        self.data.join("log")
    }

    /// Gives the agent's folder.
    pub(super) fn agent(&self) -> PathBuf {
        self.data.join("agent")
    }

    /// Gives the folder of the demo's log file.
    pub(super) fn demo(&self) -> PathBuf {
        self.data.join("demo")
    }
}
