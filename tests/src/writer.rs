//! A program that writes a log file and rotates it, as logrotate does: `w.log` → `w.log.1` → `w.log.2` …

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::lines::Texts;

/// Writes lines to one rotating file.
#[derive(Debug)]
pub struct Writer {
    name: String,
    path: PathBuf,
    file: File,
    /// The renamed file, still open: some programs go on writing to it for a while.
    renamed: Option<(File, u64)>,
    /// How long each renamed file gets a line with every write, beside the new one.
    lateness: Duration,
    late: Vec<Late>,
    texts: Texts,
    rotate_bytes: u64,
    file_bytes: u64,
    generation: u64,
    next_seq: u64,
}

/// Holds a renamed file that is still written to.
#[derive(Debug)]
struct Late {
    file: File,
    generation: u64,
    until: Instant,
}

impl Writer {
    /// Opens `<folder>/<name>.log`, to be rotated past `rotate_bytes`. Its lines follow from `seed`.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn new(folder: &Path, name: &str, rotate_bytes: u64, seed: u64) -> Self {
        std::fs::create_dir_all(folder).expect("folders are created");
        let path = folder.join(format!("{name}.log"));
        let file = open(&path);
        let texts = Texts::new(seed);
        Self {
            name: name.into(),
            path,
            file,
            renamed: None,
            lateness: Duration::ZERO,
            late: Vec::new(),
            texts,
            rotate_bytes,
            file_bytes: 0,
            generation: 0,
            next_seq: 0,
        }
    }

    /// Lets each renamed file get a line with every write for so long, as a program with several threads or processes does.
    #[must_use]
    pub fn writing_late(mut self, lateness: Duration) -> Self {
        self.lateness = lateness;
        self
    }

    /// Appends `count` lines in one write and rotates if it is time; gives the bytes written.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn write(&mut self, count: u64) -> u64 {
        self.write_to_late();
        let mut bytes = Vec::with_capacity(count as usize * 150);
        let late = self.renamed.take();
        let generation = late.as_ref().map_or(self.generation, |(_, generation)| *generation);
        for seq in self.next_seq..self.next_seq + count {
            self.texts.write_line(&mut bytes, &self.name, seq, generation);
        }
        self.next_seq += count;
        let mut file = late.as_ref().map_or(&self.file, |(file, _)| file);
        file.write_all(&bytes).expect("lines are written");
        if late.is_none() {
            self.file_bytes += bytes.len() as u64;
            if self.file_bytes >= self.rotate_bytes {
                self.rotate();
            }
        }
        bytes.len() as u64
    }

    fn write_to_late(&mut self) {
        let now = Instant::now();
        self.late.retain(|late| late.until > now);
        for late in &mut self.late {
            let mut bytes = Vec::new();
            self.texts.write_line(&mut bytes, &self.name, self.next_seq, late.generation);
            self.next_seq += 1;
            late.file.write_all(&bytes).expect("a late line is written");
        }
    }

    /// Does so several times; gives the bytes written.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn write_times(&mut self, times: u64, count: u64) -> u64 {
        (0..times).map(|_| self.write(count)).sum()
    }

    /// Renames the file, and those renamed before, and begins a new one. Every third time the next lines still go to the old one.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn rotate(&mut self) {
        self.make_way();
        let old = self.begin_anew();
        if !self.lateness.is_zero() {
            let until = Instant::now() + self.lateness;
            self.late.push(Late { file: old, generation: self.generation - 1, until });
        } else if self.texts.one_in(3) {
            self.renamed = Some((old, self.generation - 1));
        }
    }

    /// Renames the file to `w.log.1` and begins a new one; writes no more to the old one, and leaves those renamed before to others.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn rename_away(&mut self) {
        self.begin_anew();
    }

    fn begin_anew(&mut self) -> File {
        rename(&self.path, &numbered(&self.path, 1));
        self.generation += 1;
        self.file_bytes = 0;
        std::mem::replace(&mut self.file, open(&self.path))
    }

    /// Copies the file to `w.log.1` and truncates it, as logrotate's copytruncate does. Nothing is written in between.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn copy_and_truncate(&mut self) {
        self.make_way();
        std::fs::copy(&self.path, numbered(&self.path, 1)).expect("a log file is copied");
        self.truncate();
    }

    /// Truncates the file and begins anew in it.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn truncate(&mut self) {
        self.file.set_len(0).expect("a log file is truncated");
        self.generation += 1;
        self.file_bytes = 0;
    }

    fn make_way(&self) {
        for number in (1..=self.generation).rev() {
            rename(&numbered(&self.path, number), &numbered(&self.path, number + 1));
        }
    }

    /// Gives its name, which opens each of its lines.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells how many lines it has written.
    pub fn lines(&self) -> u64 {
        self.next_seq
    }
}

fn open(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).expect("a log file opens")
}

fn numbered(path: &Path, number: u64) -> PathBuf {
    PathBuf::from(format!("{}.{number}", path.display()))
}

fn rename(from: &Path, to: &Path) {
    rustix::fs::rename(from, to).expect("a log file is renamed");
}
