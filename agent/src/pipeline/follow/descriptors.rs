//! How many files are held open. Past the limit the least recently read ones are set aside; each is opened again, by its identity, when it
//! has something to read.
//!
//! A file held open cannot be taken away by deleting it, one set aside can: so those with unread bytes are set aside last.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use super::deleted::MISSING;
use super::{FileSlot, Follow, REST};
use crate::metrics;
use crate::pipeline::source::{Blocked, Name, Source};

/// Descriptors for everything that is not a followed file: connections, the kernel's queue, the checkpoint, a file looked at in passing.
const RESERVED: u64 = 64;
/// Files asked, for each that is to be opened, whether they may be set aside.
const LOOKS: usize = 16;
/// A file without a name is followed for `renamed_follow` after its last growth; while others wait for a descriptor, only for this long.
const NAMELESS_QUIET_MIN: Duration = Duration::from_secs(5);

/// Holds the files that are held open, in the order they are asked to be set aside.
#[derive(Debug)]
pub(super) struct OpenFiles {
    max: usize,
    line: VecDeque<FileSlot>,
}

impl OpenFiles {
    /// Holds at most `max` files open; as many as the process may, if that is 0 or more.
    pub(super) fn new(max: usize) -> Self {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let possible = usize::try_from(limit.saturating_sub(RESERVED).max(8)).unwrap_or(usize::MAX);
        Self { max: if max == 0 { possible } else { possible.min(max) }, line: VecDeque::new() }
    }

    /// Changes the limit; what is open past it is set aside when the next file is opened.
    pub(super) fn change_max(&mut self, max: usize) {
        self.max = Self::new(max).max;
    }

    /// Gives the limit.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Counts those held open.
    pub(super) fn len(&self) -> usize {
        self.line.len()
    }

    /// Notes whether a file is held open, after it changed hands or is done with.
    pub(super) fn recount(&mut self, slot: FileSlot, is_open: bool) {
        self.line.retain(|other| *other != slot);
        self.line.extend(is_open.then_some(slot));
    }
}

impl Follow {
    /// Counts a file that was just opened, having set another one aside if need be.
    pub(super) fn was_opened(&mut self, slot: FileSlot) {
        self.open_files.line.push_back(slot);
    }

    /// Holds a file open for its turn.
    pub(super) fn hold_open(&mut self, slot: FileSlot) -> io::Result<()> {
        let Some(source) = self.sources.get_mut(&slot) else { return Ok(()) };
        source.was_read = true;
        if source.file.is_open() {
            return Ok(());
        }
        self.make_room()?;
        let Some(source) = self.sources.get_mut(&slot) else { return Ok(()) };
        source.file.hold()?;
        self.was_opened(slot);
        Ok(())
    }

    /// Sets a file aside if as many as may be are open.
    ///
    /// # Errors
    /// EMFILE: none of those looked at can be, having no name any more, and unread or written to a moment ago (retry).
    pub(super) fn make_room(&mut self) -> io::Result<()> {
        let has_room = self.open_files.len() < self.open_files.max;
        if has_room || self.set_one_aside(false) || self.set_one_aside(true) || self.let_go_of_one() {
            return Ok(());
        }
        Err(rustix::io::Errno::MFILE.into())
    }

    /// Looks at the first few in line: those read since they were asked last go to the back.
    fn set_one_aside(&mut self, even_unread: bool) -> bool {
        for _ in 0..LOOKS.min(self.open_files.len()) {
            let Some(slot) = self.open_files.line.pop_front() else { return false };
            let Some(source) = self.sources.get_mut(&slot).filter(|source| source.file.is_open()) else { return true };
            let was_read = std::mem::take(&mut source.was_read) && !even_unread;
            if !was_read && source.may_be_set_aside(even_unread) {
                source.file.set_aside();
                metrics::set_aside();
                if !source.file.is_open() {
                    return true;
                }
            }
            self.open_files.line.push_back(slot);
        }
        false
    }

    /// Lets go, before its time, of the file that has been quiet for longest of those without a name that are read to their end.
    fn let_go_of_one(&mut self) -> bool {
        let is_over = |source: &Source| {
            let is_nameless = matches!(source.name, Name::Lost | Name::Deleted);
            is_nameless
                && source.is_settled()
                && !source.is_dirty
                && source.last_growth + NAMELESS_QUIET_MIN <= self.now
        };
        let over = self.open_files.line.iter().filter_map(|slot| Some((self.sources.get(slot)?, *slot)));
        let over = over.filter(|(source, _)| is_over(source)).map(|(source, slot)| (source.last_growth, slot)).min();
        let Some((_, slot)) = over else { return false };
        if self.go_on_in_archive(slot) {
            return true;
        }
        self.finish(slot);
        let Some(source) = self.sources.get_mut(&slot) else { return true };
        source.file.set_aside();
        let is_open = source.file.is_open();
        self.open_files.recount(slot, is_open);
        !is_open
    }

    /// Leaves a file that cannot be read alone for a while; for good, if it was set aside and has no name any more.
    pub(super) fn rest(&mut self, slot: FileSlot, error: &io::Error) {
        let Some(source) = self.sources.get_mut(&slot) else { return };
        // On a network file system the server may have another file under the handle, or none: its name leads to the one that is there.
        if error.raw_os_error() == Some(rustix::io::Errno::STALE.raw_os_error()) {
            source.file.set_aside();
            self.open_files.recount(slot, source.file.is_open());
        }
        let is_missing = !source.file.is_open() && error.kind() == io::ErrorKind::NotFound;
        // It may have been packed, which the next scan shows.
        if is_missing && source.is_troubled && matches!(source.name, Name::Lost | Name::Deleted) {
            if !self.go_on_in_archive(slot) {
                self.give_up(slot, false, MISSING);
            }
            return;
        }
        if !std::mem::replace(&mut source.is_troubled, true) {
            tracing::warn!(path = %source.path.display(), %error, "cannot read; trying again now and then");
        }
        let until = self.now + REST;
        source.blocked = Some(Box::new(Blocked { until, because: error.to_string(), is_unreadable: true }));
        self.timers.set(until, slot);
        if is_missing {
            self.lost_its_name(slot, false);
            self.next_scan = self.now;
        }
    }
}
