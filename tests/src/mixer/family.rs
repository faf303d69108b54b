//! One program and its log files: the one it writes, those it rotated, and what is known of each incarnation.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::chronicle::Chronicle;
use super::incarnation::{How, Incarnation, LineAt};
use super::style::{Operation, Rotation, Style};
use crate::lines::Texts;

/// The line that many files begin with.
pub const BANNER: &str = "# this service writes one record a line; times are UTC; the format is version 1";

/// Is a file that is written to.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) file: File,
    /// Its incarnation.
    pub(super) number: usize,
    /// Where a writer that does not append is.
    pub(super) at: u64,
}

/// Is a file that was rotated away.
#[derive(Debug)]
pub(super) struct Old {
    pub(super) path: PathBuf,
    pub(super) number: usize,
    pub(super) is_packed: bool,
}

/// Is a file out of the globs for a while.
#[derive(Debug)]
struct Away {
    home: PathBuf,
    path: PathBuf,
    number: usize,
    until: Instant,
}

/// Holds a program's files.
#[derive(Debug)]
pub struct Family {
    /// Opens each of its lines.
    pub name: String,
    /// What it does.
    pub style: Style,
    /// What was written, file after file.
    pub incarnations: Vec<Incarnation>,
    pub(super) folder: PathBuf,
    pub(super) chronicle: Arc<Chronicle>,
    pub(super) random: StdRng,
    pub(super) path: PathBuf,
    pub(super) current: Open,
    /// Written to no longer than until then, though renamed or removed.
    pub(super) late: Option<(Open, Instant)>,
    pub(super) old: Vec<Old>,
    pub(super) rotations: u64,
    short_lived: Vec<(PathBuf, usize, Instant)>,
    away: Option<Away>,
    links: Vec<PathBuf>,
    texts: Texts,
    next_seq: u64,
    /// The rest of a line, and its number.
    half: Option<(u64, Vec<u8>, u64)>,
}

impl Family {
    /// Begins one in a folder.
    ///
    /// # Panics
    /// When the disk refuses, as all operations here.
    pub fn new(folder: &Path, name: &str, seed: u64, chronicle: Arc<Chronicle>) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let style = Style::draw(&mut random);
        let path = super::rotation::first_path(folder, name, style.rotation);
        let file = open(&path, style.appends);
        let inode = file.metadata().expect("an open file has a state").ino();
        chronicle.note(name, "begins", format_args!("{style:?}"));
        let mut family = Self {
            name: name.to_owned(),
            incarnations: vec![Incarnation::new(&path, inode)],
            folder: folder.to_owned(),
            chronicle,
            random,
            path,
            current: Open { file, number: 0, at: 0 },
            late: None,
            old: Vec::new(),
            rotations: 0,
            short_lived: Vec::new(),
            away: None,
            links: Vec::new(),
            texts: Texts::new(seed),
            next_seq: 0,
            half: None,
            style,
        };
        family.write_banner();
        family
    }

    /// Counts the lines written.
    pub fn lines(&self) -> u64 {
        self.next_seq
    }

    /// Does one thing.
    pub fn step(&mut self) {
        self.let_time_pass(Instant::now());
        if self.half.is_some() {
            self.complete();
            return;
        }
        match self.style.next(&mut self.random) {
            Operation::Write => {
                let count = self.random.random_range(1..40);
                self.write(count);
            }
            Operation::Burst => self.burst(),
            Operation::Half => self.begin_line(),
            Operation::Rotate if self.away.is_none() => self.rotate(),
            Operation::Pack if self.away.is_none() => self.pack(),
            Operation::Truncate if self.away.is_none() => self.truncate(),
            Operation::Recreate if self.away.is_none() => self.recreate(false),
            Operation::RemoveHeld if self.away.is_none() => self.recreate(true),
            Operation::ShortLived => self.begin_short_lived(),
            Operation::MoveAway if self.away.is_none() => self.move_away(),
            Operation::Link if self.away.is_none() => self.link(),
            _ => {}
        }
    }

    /// Ends everything that is going on.
    pub fn end(&mut self) {
        self.complete();
        self.let_time_pass(Instant::now() + Duration::from_secs(3600));
    }

    fn let_time_pass(&mut self, now: Instant) {
        if self.late.as_ref().is_some_and(|(_, until)| *until <= now) {
            self.late = None;
        }
        if self.away.as_ref().is_some_and(|away| away.until <= now) {
            self.move_back();
        }
        let over = |it: &(PathBuf, usize, Instant)| it.2 <= now;
        while let Some(at) = self.short_lived.iter().position(over) {
            let (path, number, _) = self.short_lived.swap_remove(at);
            self.remove(&path, number);
        }
    }

    pub(super) fn note(&self, kind: &'static str, what: impl std::fmt::Display) {
        self.chronicle.note(&self.name, kind, what);
    }

    /// Writes whole lines by one call, to the late file if there is one.
    pub(super) fn write(&mut self, count: u64) {
        let to_late = self.late.is_some() && self.random.random_bool(0.7);
        let open = match &mut self.late {
            Some((late, _)) if to_late => late,
            _ => &mut self.current,
        };
        let number = open.number;
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for seq in self.next_seq..self.next_seq + count {
            self.texts.write_line(&mut bytes, &self.name, seq, number as u64);
            ends.push(bytes.len() as u64);
        }
        let at = put(open, &mut self.incarnations[number], self.style.appends, &bytes);
        let (written, mut start) = (Instant::now(), at);
        for (index, end) in ends.into_iter().enumerate() {
            let line = LineAt { seq: self.next_seq + index as u64, at: start..at + end, written };
            start = at + end;
            self.incarnations[number].lines.push(line);
        }
        let (first, last) = (self.next_seq, self.next_seq + count - 1);
        self.next_seq += count;
        self.note("write", format_args!("g{number} {at}..{start} lines {first}..={last}"));
    }

    fn burst(&mut self) {
        for _ in 0..self.random.random_range(5..40) {
            self.write(400);
        }
    }

    fn begin_line(&mut self) {
        let number = self.current.number;
        let (seq, mut bytes) = (self.next_seq, Vec::new());
        self.texts.write_line(&mut bytes, &self.name, seq, number as u64);
        let rest = bytes.split_off(self.random.random_range(1..bytes.len()));
        let at = put(&mut self.current, &mut self.incarnations[number], self.style.appends, &bytes);
        self.next_seq += 1;
        self.half = Some((seq, rest, at));
        self.note("half", format_args!("g{number} {at} line {seq}"));
    }

    fn complete(&mut self) {
        let Some((seq, rest, start)) = self.half.take() else { return };
        let number = self.current.number;
        let at = put(&mut self.current, &mut self.incarnations[number], self.style.appends, &rest);
        let line = LineAt { seq, at: start..at + rest.len() as u64, written: Instant::now() };
        self.incarnations[number].lines.push(line);
    }

    fn write_banner(&mut self) {
        if !self.style.has_banner {
            return;
        }
        let number = self.current.number;
        let line = format!("{BANNER}\n");
        let at = put(&mut self.current, &mut self.incarnations[number], self.style.appends, line.as_bytes());
        self.incarnations[number].banner = Some(at..at + line.len() as u64);
    }

    /// Begins the next file under the path.
    pub(super) fn begin_file(&mut self) -> Open {
        let file = open(&self.path, self.style.appends);
        let inode = file.metadata().expect("an open file has a state").ino();
        self.incarnations.push(Incarnation::new(&self.path, inode));
        let before = std::mem::replace(&mut self.current, Open { file, number: self.incarnations.len() - 1, at: 0 });
        self.links.clear();
        self.note("file", format_args!("g{} inode {inode} {}", self.current.number, self.short(&self.path)));
        self.write_banner();
        before
    }

    /// Empties the file; the next incarnation has the same inode, and all names.
    pub(super) fn begin_again(&mut self, how: How) -> u64 {
        let before = self.current.number;
        self.current.file.set_len(0).expect("a log file is truncated");
        let lost = self.incarnations[before].lost_name(&self.path, how);
        let inode = self.current.file.metadata().expect("an open file has a state").ino();
        let mut next = Incarnation::new(&self.path, inode);
        self.links.iter().for_each(|link| next.named(link, None));
        self.incarnations.push(next);
        self.current.number = self.incarnations.len() - 1;
        lost
    }

    fn truncate(&mut self) {
        let before = self.current.number;
        let lost = self.begin_again(How::Truncated);
        self.note("truncate", format_args!("g{before} {lost} bytes; now g{}", self.current.number));
        self.write_banner();
    }

    fn recreate(&mut self, holds: bool) {
        let (path, number) = (self.path.clone(), self.current.number);
        self.remove(&path, number);
        let before = self.begin_file();
        if holds {
            let until = Instant::now() + Duration::from_millis(self.random.random_range(100..3000));
            self.late = Some((before, until));
            self.note("held", format_args!("g{number}"));
        }
    }

    /// Removes one name of an incarnation.
    pub(super) fn remove(&mut self, path: &Path, number: usize) {
        std::fs::remove_file(path).expect("a log file is removed");
        let lost = self.incarnations[number].lost_name(path, How::Deleted);
        self.note("remove", format_args!("g{number} {} {lost} bytes", self.short(path)));
    }

    fn begin_short_lived(&mut self) {
        let number = self.incarnations.len();
        let path = self.folder.join(format!("{}-short{number}.log", self.name));
        let (before, late) = (self.path.clone(), self.late.take());
        let links = std::mem::take(&mut self.links);
        self.path = path.clone();
        let current = self.begin_file();
        self.write(30);
        (self.path, self.current, self.late, self.links) = (before, current, late, links);
        let until = Instant::now() + Duration::from_millis(self.random.random_range(0..3000));
        self.short_lived.push((path, number, until));
        self.note("short-lived", format_args!("g{number}"));
    }

    fn move_away(&mut self) {
        let which = self.random.random_range(0..=self.old.len());
        let current = (self.path.clone(), self.current.number);
        let (home, number) = self.old.get(which).map_or(current, |old| (old.path.clone(), old.number));
        let path = self.folder.with_file_name("away").join(home.file_name().unwrap_or_default());
        self.rename(&home, &path, number);
        self.incarnations[number].was_away = true;
        // A copy that is not there when its original is found truncated is another file when it comes.
        self.incarnations[number].may_be_doubled |= self.style.rotation == Rotation::Copy;
        let until = Instant::now() + Duration::from_millis(self.random.random_range(50..6000));
        self.note("move-away", format_args!("g{number} {}", self.short(&home)));
        self.away = Some(Away { home, path, number, until });
    }

    fn move_back(&mut self) {
        let Some(Away { home, path, number, .. }) = self.away.take() else { return };
        self.rename(&path, &home, number);
        self.note("move-back", format_args!("g{number} {}", self.short(&home)));
    }

    /// Renames one of an incarnation's names.
    pub(super) fn rename(&mut self, from: &Path, to: &Path, number: usize) {
        rustix::fs::rename(from, to).expect("a log file is renamed");
        self.incarnations[number].renamed(from, to);
    }

    /// Gives the file a second name, hard or symbolic; the one it got before is taken away.
    fn link(&mut self) {
        let number = self.current.number;
        for link in std::mem::take(&mut self.links) {
            self.remove(&link, number);
        }
        let soft = self.folder.join(format!("{}-soft.log", self.name));
        if self.random.random_bool(0.5) {
            let hard = self.folder.join(format!("{}-hard{number}.log", self.name));
            if std::fs::hard_link(&self.path, &hard).is_ok() {
                self.incarnations[number].named(&hard, None);
                self.links.push(hard);
                self.note("hard-link", format_args!("g{number}"));
            }
        } else if std::os::unix::fs::symlink(&self.path, &soft).is_ok() {
            self.note("soft-link", format_args!("g{number}"));
        } else {
            std::fs::remove_file(&soft).expect("a link is removed");
        }
    }

    pub(super) fn short(&self, path: &Path) -> String {
        path.strip_prefix(&self.folder).unwrap_or(path).display().to_string()
    }
}

/// Writes at the file's end, or where a writer that does not append is; gives the position.
fn put(open: &mut Open, incarnation: &mut Incarnation, appends: bool, bytes: &[u8]) -> u64 {
    let at = if appends { incarnation.len } else { open.at };
    if appends {
        (&open.file).write_all(bytes).expect("lines are written");
    } else {
        open.file.write_all_at(bytes, at).expect("lines are written");
    }
    open.at = at + bytes.len() as u64;
    incarnation.wrote(at, bytes);
    at
}

fn open(path: &Path, appends: bool) -> File {
    let mut options = OpenOptions::new();
    if appends {
        options.append(true)
    } else {
        options.write(true)
    };
    options.create(true).open(path).expect("a log file opens")
}
