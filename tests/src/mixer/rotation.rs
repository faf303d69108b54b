//! How a family rotates, packs and drops its files, as logrotate does in its several ways.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::RngExt;

use super::family::{Family, Old};
use super::incarnation::How;
use super::style::Rotation;
use crate::wait;

/// Read of a file that is copied or packed slowly, by one call.
const PIECE_BYTES: usize = 16 << 10;

/// A copy that lay beside its original for longer than this may be taken for a file of its own.
pub const COPY_WAIT_MIN: Duration = Duration::from_millis(700);

/// Gives the path of a family's first file.
pub(super) fn first_path(folder: &Path, name: &str, rotation: Rotation) -> PathBuf {
    match rotation {
        Rotation::Fresh => folder.join(dated(&format!("{name}-"), 0) + ".log"),
        _ => folder.join(format!("{name}.log")),
    }
}

fn dated(start: &str, number: u64) -> String {
    format!("{start}2026{:02}{:02}{:02}", 1 + number / 600 % 12, 1 + number / 24 % 25, number % 24)
}

impl Family {
    pub(super) fn rotate(&mut self) {
        if self.late.is_some() {
            return;
        }
        self.rotations += 1;
        match self.style.rotation {
            Rotation::Chain => self.rotate_chain(),
            Rotation::Dated => {
                let to = self.folder.join(dated(&format!("{}.log-", self.name), self.rotations));
                self.rename_current(to);
            }
            Rotation::Fresh => {
                let path = self.folder.join(dated(&format!("{}-", self.name), self.rotations) + ".log");
                let (before, number) = (std::mem::replace(&mut self.path, path), self.current.number);
                self.old.insert(0, Old { path: before, number, is_packed: false });
                self.begin_next();
            }
            Rotation::Copy => self.copy_and_truncate(),
        }
        while self.old.len() > self.style.keep {
            let Some(oldest) = self.old.pop() else { break };
            self.remove(&oldest.path, oldest.number);
        }
    }

    fn rotate_chain(&mut self) {
        self.make_way();
        self.rename_current(numbered(&self.path, 1));
    }

    fn rename_current(&mut self, to: PathBuf) {
        let (path, number) = (self.path.clone(), self.current.number);
        self.rename(&path, &to, number);
        self.note("rename", format_args!("g{number} to {}", self.short(&to)));
        self.old.insert(0, Old { path: to, number, is_packed: false });
        if self.random.random_bool(0.3) {
            // Between the two nobody has the name.
            wait::pause(Duration::from_millis(self.random.random_range(0..30)));
        }
        self.begin_next();
    }

    /// Begins the next file; the one before may be written to for a while.
    fn begin_next(&mut self) {
        let before = self.begin_file();
        if self.style.writes_late && self.random.random_bool(0.6) {
            let until = Instant::now() + Duration::from_millis(self.random.random_range(50..4000));
            self.late = Some((before, until));
        }
    }

    /// Renames `.2` to `.3`, then `.1` to `.2`.
    fn make_way(&mut self) {
        for index in (0..self.old.len()).rev() {
            let (from, number) = (self.old[index].path.clone(), self.old[index].number);
            let ending = from.extension().unwrap_or_default().to_string_lossy().into_owned();
            let mut to = numbered(&self.path, index + 2);
            if self.old[index].is_packed {
                to = PathBuf::from(format!("{}.{ending}", to.display()));
            }
            self.rename(&from, &to, number);
            self.old[index].path = to;
        }
    }

    fn copy_and_truncate(&mut self) {
        let number = self.current.number;
        self.make_way();
        let copy = numbered(&self.path, 1);
        let is_slow = self.random.random_bool(0.3);
        let copied = copy_pieces(&self.path, &copy, is_slow);
        let since = Instant::now();
        self.incarnations[number].named(&copy, Some(copied));
        self.incarnations[number].inodes.push(inode_of(&copy));
        self.note("copy", format_args!("g{number} {copied} bytes to {}", self.short(&copy)));
        if self.random.random_bool(0.5) {
            wait::pause(Duration::from_millis(self.random.random_range(0..200)));
        }
        if self.style.writes_in_window && self.random.random_bool(0.5) {
            self.write(5);
            wait::pause(Duration::from_millis(self.random.random_range(0..50)));
        }
        // A copy is known by the original's name, and the agent may know that by its other one.
        let is_linked = self.incarnations[number].is_linked();
        let window = self.begin_again(How::Window);
        self.incarnations[number].may_be_doubled |= is_linked || since.elapsed() > COPY_WAIT_MIN;
        self.note("copy-truncate", format_args!("g{number} window {window} bytes; now g{}", self.current.number));
        self.old.insert(0, Old { path: copy, number, is_packed: false });
    }

    /// Compresses a rotated file that nobody writes to any more, beside it, and then removes it.
    pub(super) fn pack(&mut self) {
        let late = self.late.as_ref().map(|(open, _)| open.number);
        let mut plain = (0..self.old.len()).filter(|&at| !self.old[at].is_packed && Some(self.old[at].number) != late);
        let Some(at) = (if self.random.random_bool(0.5) { plain.next() } else { plain.next_back() }) else { return };
        let (from, number) = (self.old[at].path.clone(), self.old[at].number);
        let (is_slow, ending) = (self.random.random_bool(0.3), if self.random.random_bool(0.5) { "gz" } else { "zst" });
        let to = PathBuf::from(format!("{}.{ending}", from.display()));
        let packed = match ending {
            "gz" => {
                pack_pieces(&from, flate2::write::GzEncoder::new(create(&to), flate2::Compression::fast()), is_slow)
            }
            _ => pack_pieces(&from, zstd::Encoder::new(create(&to), 1).expect("zstd starts").auto_finish(), is_slow),
        };
        // An archive beside a file that stays is another file with the same lines.
        self.incarnations[number].may_be_doubled |= self.incarnations[number].is_linked();
        self.incarnations[number].named(&to, Some(packed));
        self.incarnations[number].is_packed = true;
        self.incarnations[number].inodes.push(inode_of(&to));
        self.note("pack", format_args!("g{number} {packed} bytes to {}", self.short(&to)));
        if self.random.random_bool(0.3) {
            wait::pause(Duration::from_millis(self.random.random_range(0..100)));
        }
        self.remove(&from, number);
        (self.old[at].path, self.old[at].is_packed) = (to, true);
    }
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    PathBuf::from(format!("{}.{number}", path.display()))
}

fn inode_of(path: &Path) -> u64 {
    std::fs::metadata(path).expect("a log file is there").ino()
}

fn create(path: &Path) -> File {
    File::create(path).expect("a file is created")
}

/// Copies what is there now; the copy is seen growing.
fn copy_pieces(from: &Path, to: &Path, is_slow: bool) -> u64 {
    pieces(from, &mut create(to), is_slow)
}

fn pack_pieces(from: &Path, mut into: impl Write, is_slow: bool) -> u64 {
    let packed = pieces(from, &mut into, is_slow);
    into.flush().expect("an archive is written");
    packed
}

fn pieces(from: &Path, into: &mut impl Write, is_slow: bool) -> u64 {
    let mut file = File::open(from).expect("a log file opens");
    let (mut piece, mut copied) = (vec![0; PIECE_BYTES], 0);
    loop {
        let read = file.read(&mut piece).expect("a log file is read");
        if read == 0 {
            return copied;
        }
        into.write_all(&piece[..read]).expect("a copy is written");
        copied += read as u64;
        if is_slow {
            // At most some 300 ms for a large file.
            wait::pause(Duration::from_micros(500));
        }
    }
}
