//! One test's place on disk: log files, configurations, state, output of the programs. Removed if the test passes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tempfile::TempDir;

use crate::program::create;
use crate::report;
use crate::{Agent, Collector};

/// Holds the folder of one test.
#[derive(Debug)]
pub struct Site {
    folder: Option<TempDir>,
    path: PathBuf,
    since: Instant,
}

impl Site {
    /// Makes a place with an empty folder `logs`.
    ///
    /// # Panics
    /// When there is no room for temporary files.
    #[expect(clippy::new_without_default, reason = "it creates a folder")]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("skidway-test-").tempdir().expect("a temporary folder");
        let path = folder.path().to_path_buf();
        std::fs::create_dir(path.join("logs")).expect("a folder is created");
        Self { folder: Some(folder), path, since: Instant::now() }
    }

    /// Gives the path of something in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Gives the path of something in it, as text.
    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a file anew, with the folders above it.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        create(&path).write_all(content.as_ref()).expect("a file is written");
        path
    }

    /// Appends to a file, created if need be.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn append(&self, name: &str, content: impl AsRef<[u8]>) {
        append(&self.path(name), content);
    }

    /// Opens a file to append to it, created if need be, as a program does that keeps its log open.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn open(&self, name: &str) -> std::fs::File {
        open(&self.path(name))
    }

    /// Renames a file, as a rotation does.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn rename(&self, from: &str, to: &str) {
        rustix::fs::rename(self.path(from), self.path(to)).expect("a file is renamed");
    }

    /// Does so if there is such a file.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn rename_if_there(&self, from: &str, to: &str) {
        if self.path(from).exists() {
            self.rename(from, to);
        }
    }

    /// Removes a file.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).expect("a file is removed");
    }

    /// Prepares a collector that keeps its data here.
    pub fn collector(&self) -> Collector {
        Collector::new(self)
    }

    /// Prepares an agent named `id` that keeps its state here and ships to `url`.
    pub fn agent(&self, id: &str, url: &str) -> Agent {
        Agent::new(self, id, url)
    }
}

/// Appends to a file, created if need be, with the folders above it.
///
/// # Panics
/// When the disk refuses.
pub fn append(path: &Path, content: impl AsRef<[u8]>) {
    open(path).write_all(content.as_ref()).expect("a file is written");
}

fn open(path: &Path) -> std::fs::File {
    std::fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("folders are created");
    std::fs::OpenOptions::new().create(true).append(true).open(path).expect("a file opens")
}

impl Drop for Site {
    fn drop(&mut self) {
        report::ended(!std::thread::panicking(), self.since.elapsed());
        let keep = std::thread::panicking() || std::env::var_os("SKIDWAY_TEST_KEEP").is_some();
        if let Some(folder) = self.folder.take().filter(|_| keep) {
            eprintln!("--- files of the test are kept in {}", folder.keep().display());
        }
    }
}
