//! What was written to one incarnation of one file, who holds it, and which of its bytes were destroyed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// As many first bytes tell a file from others.
const HEAD_BYTES: usize = 4096;

/// Holds where a line lies, and since when.
#[derive(Debug, Clone)]
pub struct LineAt {
    /// Its number.
    pub seq: u64,
    /// Its bytes, the LF included.
    pub at: Range<u64>,
    /// When it was whole.
    pub written: Instant,
}

/// Says how bytes were destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The file was truncated in place.
    Truncated,
    /// They were written between the copying and the truncation.
    Window,
    /// The last name was removed.
    Deleted,
}

/// Says which bytes nobody has any more who does not hold the file open.
#[derive(Debug, Clone)]
pub struct Destroyed {
    /// Which.
    pub range: Range<u64>,
    /// Since when.
    pub since: Instant,
    /// By what.
    pub how: How,
}

/// Follows the bytes of one incarnation.
#[derive(Debug)]
pub struct Incarnation {
    /// When it was begun.
    pub begun: Instant,
    /// Its whole lines.
    pub lines: Vec<LineAt>,
    /// Its length, in bytes.
    pub len: u64,
    /// Its first bytes, at most 4096.
    pub head: Vec<u8>,
    /// It begins with the line that others begin with, too.
    pub banner: Option<Range<u64>>,
    /// Inodes that held it.
    pub inodes: Vec<u64>,
    /// What was destroyed of it.
    pub destroyed: Vec<Destroyed>,
    /// It ended by a truncation.
    pub is_truncated: bool,
    /// Its last name was removed.
    pub is_removed: bool,
    /// When its file held it no more.
    pub ended: Option<Instant>,
    /// An archive was made of it: if nothing was read of it before, nobody knows that the one is the other.
    pub is_packed: bool,
    /// It was out of the globs for a while, where no agent that was started meanwhile could find it.
    pub was_away: bool,
    /// Its copy lay beside it for so long that the agent may have taken it for a file of its own.
    pub may_be_doubled: bool,
    /// Names that lead to it, and how much is there; `None`: all.
    names: BTreeMap<PathBuf, Option<u64>>,
}

impl Incarnation {
    /// Begins one.
    pub fn new(path: &Path, inode: u64) -> Self {
        Self {
            begun: Instant::now(),
            lines: Vec::new(),
            len: 0,
            head: Vec::new(),
            banner: None,
            inodes: vec![inode],
            destroyed: Vec::new(),
            is_truncated: false,
            is_removed: false,
            ended: None,
            is_packed: false,
            was_away: false,
            may_be_doubled: false,
            names: [(path.to_owned(), None)].into(),
        }
    }

    /// Notes bytes written at its position `at`; what was before and never written is a hole.
    pub fn wrote(&mut self, at: u64, bytes: &[u8]) {
        let room = HEAD_BYTES.saturating_sub(self.head.len());
        let hole = usize::try_from(at - self.len).unwrap_or(usize::MAX).min(room);
        self.head.resize(self.head.len() + hole, 0);
        self.head.extend_from_slice(&bytes[..bytes.len().min(room - hole)]);
        self.len = at + bytes.len() as u64;
        if !self.names.values().any(Option::is_none) {
            // It is deleted, and its writer goes on.
            let since = self.destroyed.iter().rev().find(|it| it.how == How::Deleted).map_or(self.begun, |it| it.since);
            self.destroyed.push(Destroyed { range: at..self.len, since, how: How::Deleted });
        }
    }

    /// Notes another name: of the file itself, or of a copy of its first bytes.
    pub fn named(&mut self, path: &Path, copied: Option<u64>) {
        self.names.insert(path.to_owned(), copied);
    }

    /// Tells whether several names lead to the file itself.
    pub fn is_linked(&self) -> bool {
        self.names.values().filter(|held| held.is_none()).count() > 1
    }

    /// Notes that a name was changed.
    pub fn renamed(&mut self, from: &Path, to: &Path) {
        if let Some(held) = self.names.remove(from) {
            self.names.insert(to.to_owned(), held);
        }
    }

    /// Notes that a name leads to it no more; what no other name leads to is destroyed. Gives how many bytes that is.
    pub fn lost_name(&mut self, path: &Path, how: How) -> u64 {
        let Some(held) = self.names.remove(path) else { return 0 };
        self.is_truncated |= how != How::Deleted;
        // Other names of a truncated file show the same.
        if how != How::Deleted {
            self.names.retain(|_, held| held.is_some());
        }
        self.is_removed |= self.names.is_empty();
        if how != How::Deleted || self.names.is_empty() {
            self.ended.get_or_insert_with(Instant::now);
        }
        let left = self.names.values().map(|held| held.unwrap_or(self.len)).max().unwrap_or(0);
        let had = held.unwrap_or(self.len);
        let how = if left > 0 && how == How::Truncated { How::Window } else { how };
        if had > left {
            self.destroyed.push(Destroyed { range: left..had, since: Instant::now(), how });
        }
        had.saturating_sub(left)
    }

    /// Tells how a line was destroyed; `None` if it was not.
    pub fn destruction_of(&self, line: &Range<u64>) -> Option<&Destroyed> {
        self.destroyed.iter().find(|it| it.range.start < line.end && line.start < it.range.end)
    }
}
