//! A growing access log to try Skidway on. A thread writes it; at 8 MiB it is rotated, and one old file is kept.

mod traffic;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;

use jiff::Zoned;
use traffic::Traffic;

/// A file of this size is rotated.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Seeds the visitors: everybody sees the same ones.
const SEED: u64 = 0x5eed;

/// Writes the log until it is stopped.
#[derive(Debug)]
pub(super) struct Demo {
    stop: SyncSender<()>,
    writer: JoinHandle<io::Result<()>>,
}

impl Demo {
    /// Starts writing.
    pub(super) fn start(log: Log) -> io::Result<Self> {
        let (stop, stopped) = sync_channel(0);
        let write = move || write_lines(log, &stopped);
        let writer = std::thread::Builder::new().name("demo".to_owned()).spawn(write)?;
        Ok(Self { stop, writer })
    }

    /// Ends the writing after the line under way. Blocks for as long as that takes.
    ///
    /// # Errors
    /// Why the writing had ended before.
    pub(super) fn stop(self) -> io::Result<()> {
        drop(self.stop);
        self.writer.join().unwrap_or_else(|_| Err(io::Error::other("the demo's writer panicked")))
    }
}

fn write_lines(mut log: Log, stopped: &Receiver<()>) -> io::Result<()> {
    let mut traffic = Traffic::new(SEED);
    loop {
        let now = Zoned::now();
        log.append(&traffic.line(&now))?;
        match stopped.recv_timeout(traffic.pause(&now)) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// A log file as programs write it: append, and rename when it is large.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Log {
    /// Opens `access.log` in a folder; makes both if they are not there.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        Self::append_to(Self::path(folder))
    }

    /// Names the file that is written.
    pub(super) fn path(folder: &Path) -> PathBuf {
        folder.join("access.log")
    }

    fn append_to(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path, file, bytes })
    }

    fn append(&mut self, line: &str) -> io::Result<()> {
        if self.bytes >= FILE_BYTES_MAX {
            self.rotate()?;
        }
        self.file.write_all(format!("{line}\n").as_bytes())?;
        self.bytes += line.len() as u64 + 1;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let old = self.path.with_extension("log.1");
        #[expect(
            clippy::disallowed_methods,
            reason = "plays a program that rotates its log; nobody's state depends on it"
        )]
        std::fs::rename(&self.path, old)?;
        *self = Self::append_to(self.path.clone())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_log_is_rotated_and_one_old_file_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path()).unwrap();
        for generation in 0..3 {
            log.bytes = FILE_BYTES_MAX;
            log.append(&format!("first of generation {generation}")).unwrap();
        }
        let read = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("access.log"), "first of generation 2\n");
        assert_eq!(read("access.log.1"), "first of generation 1\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_stopped_demo_leaves_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            Demo::start(Log::open(folder.path()).unwrap()).unwrap().stop().unwrap();
        }
        let text = std::fs::read_to_string(Log::path(folder.path())).unwrap();
        assert!(text.lines().count() >= 2 && text.ends_with('\n'));
    }
}
