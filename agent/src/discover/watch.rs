//! What the kernel says about watched folders (inotify). Reads thousands of events by one call and gives each file that grew
//! once. Never looks at a file; where watches run out, the scan still finds everything, only later.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use crate::flow::FileSlot;

/// Takes some 2,000 events of short names.
const BUFFER_BYTES: usize = 64 << 10;

/// Tells what changed in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A known file was written to.
    Grew(FileSlot),
    /// A known file lost its name: it was renamed or deleted.
    Unnamed(FileSlot),
    /// This name is new, or means another file now.
    Named(PathBuf),
    /// What had this name is gone, and nobody has looked at it: it was deleted or replaced too soon.
    Missed(PathBuf),
    /// Events were lost or folders came and went: everything has to be listed.
    ScanNeeded,
}

/// Watches folders and knows which name in them is which file.
#[derive(Debug)]
pub struct Watcher {
    inotify: OwnedFd,
    buffer: Box<[MaybeUninit<u8>]>,
    folders: HashMap<i32, Folder>,
    by_path: HashMap<PathBuf, i32>,
    /// The last rename away from a name, until it is known where to.
    moving: Option<Moving>,
    /// A folder is watched since this was last asked for.
    has_new_folders: bool,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    names: HashMap<Box<[u8]>, FileSlot>,
    /// Names that came and were not looked at yet.
    unseen: HashSet<Box<[u8]>>,
}

/// Holds the first half of a rename, which the kernel tells right before the second.
#[derive(Debug)]
struct Moving {
    cookie: u32,
    is_unseen: bool,
}

impl Watcher {
    /// Opens the kernel's queue; watches nothing yet.
    ///
    /// # Errors
    /// The limit of inotify instances is reached, or the kernel has none (halt).
    pub fn new() -> rustix::io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let buffer = vec![MaybeUninit::uninit(); BUFFER_BYTES].into_boxed_slice();
        Ok(Self {
            inotify,
            buffer,
            folders: HashMap::new(),
            by_path: HashMap::new(),
            moving: None,
            has_new_folders: false,
        })
    }

    /// Watches a folder; again is no harm.
    ///
    /// # Errors
    /// The folder is gone, or the limit of watches is reached (retry).
    pub fn watch(&mut self, folder: &Path) -> rustix::io::Result<()> {
        if self.by_path.contains_key(folder) {
            return Ok(());
        }
        let flags = WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::MOVE
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let watch = inotify::add_watch(&self.inotify, folder, flags)?;
        self.by_path.insert(folder.to_owned(), watch);
        self.has_new_folders = true;
        self.folders.entry(watch).or_insert_with(|| Folder::new(folder));
        Ok(())
    }

    /// Watches a folder, or as long as it is not there, the nearest one above it that is.
    ///
    /// # Errors
    /// As [`Watcher::watch`].
    pub fn watch_or_await(&mut self, folder: &Path) -> rustix::io::Result<()> {
        for ancestor in folder.ancestors() {
            match self.watch(ancestor) {
                Err(Errno::NOENT) => {}
                done => return done,
            }
        }
        Ok(())
    }

    /// Tells whether there are folders whose names have to be bound: new ones, and those that were watched before and came back.
    pub fn take_new_folders(&mut self) -> bool {
        std::mem::take(&mut self.has_new_folders)
    }

    /// Remembers that a name means a file, if its folder is watched. Gives the file that had the name before.
    pub fn bind(&mut self, path: &Path, slot: FileSlot) -> Option<FileSlot> {
        let (folder, name) = self.place_of(path)?;
        folder.unseen.remove(name);
        folder.names.insert(name.into(), slot).filter(|before| *before != slot)
    }

    /// Does so unless the name means a file already.
    pub fn bind_if_free(&mut self, path: &Path, slot: FileSlot) {
        if let Some((folder, name)) = self.place_of(path) {
            folder.names.entry(name.into()).or_insert(slot);
        }
    }

    /// Forgets a name, unless it means another file by now.
    pub fn unbind(&mut self, path: &Path, slot: FileSlot) {
        if let Some((folder, name)) = self.place_of(path)
            && folder.names.get(name) == Some(&slot)
        {
            folder.names.remove(name);
        }
    }

    /// Notes that somebody looked at what has a name, so that it is not missed when it goes.
    pub fn saw(&mut self, path: &Path) {
        if let Some((folder, name)) = self.place_of(path) {
            folder.unseen.remove(name);
        }
    }

    fn place_of<'p>(&mut self, path: &'p Path) -> Option<(&mut Folder, &'p [u8])> {
        let watch = self.by_path.get(path.parent()?)?;
        Some((self.folders.get_mut(watch)?, path.file_name()?.as_bytes()))
    }

    /// Takes all events that wait, in order, without waiting for more.
    ///
    /// # Errors
    /// As the operating system says (retry).
    pub fn drain(&mut self, mut tell: impl FnMut(Change)) -> rustix::io::Result<()> {
        let mut events = Reader::new(self.inotify.as_fd(), &mut self.buffer);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            let kind = event.events();
            if kind.contains(ReadFlags::QUEUE_OVERFLOW) {
                self.folders.values_mut().for_each(|folder| folder.unseen.clear());
                tell(Change::ScanNeeded);
                continue;
            }
            let Some(folder) = self.folders.get_mut(&event.wd()) else { continue };
            if kind.intersects(ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF) {
                // The path means another folder, or none: the next scan watches what is there by then.
                let path = folder.path.clone();
                self.by_path.retain(|_, watch| *watch != event.wd());
                self.folders.remove(&event.wd());
                if !kind.contains(ReadFlags::IGNORED) {
                    let _already_gone = inotify::remove_watch(&self.inotify, event.wd());
                }
                tracing::debug!(folder = %path.display(), "folder is watched no more");
                tell(Change::ScanNeeded);
            } else if let Some(name) = event.file_name() {
                folder
                    .change(name.to_bytes(), kind, event.cookie(), &mut self.moving)
                    .into_iter()
                    .flatten()
                    .for_each(&mut tell);
            }
        }
    }
}

impl Folder {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), names: HashMap::new(), unseen: HashSet::new() }
    }

    /// Gives what an event means, in order.
    fn change(
        &mut self,
        name: &[u8],
        kind: ReadFlags,
        cookie: u32,
        moving: &mut Option<Moving>,
    ) -> [Option<Change>; 2] {
        if kind.contains(ReadFlags::MODIFY) {
            return [self.names.get(name).copied().map(Change::Grew), None];
        }
        // A file that could not be followed when it appeared, such as an archive without a byte in it, may be complete now.
        if kind.contains(ReadFlags::CLOSE_WRITE) {
            let is_known = self.names.contains_key(name);
            return [(!is_known).then(|| Change::Named(self.path_of(name))), None];
        }
        if kind.contains(ReadFlags::ISDIR) {
            return [Some(Change::ScanNeeded), None];
        }
        let was_unseen = self.unseen.remove(name);
        let missed = was_unseen.then(|| Change::Missed(self.path_of(name)));
        if kind.contains(ReadFlags::MOVED_FROM) {
            *moving = Some(Moving { cookie, is_unseen: was_unseen });
            return [self.names.remove(name).map(Change::Unnamed), None];
        }
        if kind.contains(ReadFlags::DELETE) {
            return [self.names.remove(name).map(Change::Unnamed), missed];
        }
        // A file that was looked at under another name is not missed under this one.
        let before = moving.take().filter(|moving| kind.contains(ReadFlags::MOVED_TO) && moving.cookie == cookie);
        if before.is_none_or(|moving| moving.is_unseen) {
            self.unseen.insert(name.into());
        }
        [missed, Some(Change::Named(self.path_of(name)))]
    }

    fn path_of(&self, name: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(name))
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn drain(watcher: &mut Watcher) -> Vec<Change> {
        let mut changes = Vec::new();
        watcher.drain(|change| changes.push(change)).unwrap();
        changes
    }

    #[test]
    fn growth_renames_and_new_names_are_told_apart() {
        let temp = tempfile::tempdir().unwrap();
        let (log, old) = (temp.path().join("a.log"), temp.path().join("a.log.1"));
        let mut watcher = Watcher::new().unwrap();
        watcher.watch(temp.path()).unwrap();
        fs::write(&log, "").unwrap();
        assert_eq!(drain(&mut watcher), [Change::Named(log.clone()), Change::Named(log.clone())]);
        watcher.bind(&log, FileSlot(7));
        fs::write(&log, "x").unwrap();
        fs::hard_link(&log, &old).unwrap();
        fs::remove_file(&log).unwrap();
        let expected = [Change::Grew(FileSlot(7)), Change::Named(old), Change::Unnamed(FileSlot(7))];
        assert_eq!(drain(&mut watcher), expected);
    }

    #[test]
    fn what_goes_before_anyone_looked_at_it_is_missed_and_nothing_else_is() {
        let temp = tempfile::tempdir().unwrap();
        let path = |name: &str| temp.path().join(name);
        let (named, missed) = (|name| Change::Named(path(name)), |name| Change::Missed(path(name)));
        let mut watcher = Watcher::new().unwrap();
        watcher.watch(temp.path()).unwrap();

        std::os::unix::fs::symlink("x", path("a")).unwrap();
        fs::remove_file(path("a")).unwrap();
        assert_eq!(drain(&mut watcher), [named("a"), missed("a")], "it was deleted");

        std::os::unix::fs::symlink("x", path("new")).unwrap();
        rustix::fs::rename(path("new"), path("a")).unwrap();
        std::os::unix::fs::symlink("y", path("new")).unwrap();
        rustix::fs::rename(path("new"), path("a")).unwrap();
        let expected = [named("new"), named("a"), named("new"), missed("a"), named("a")];
        assert_eq!(drain(&mut watcher), expected, "it was replaced");

        watcher.saw(&path("a"));
        fs::remove_file(path("a")).unwrap();
        assert_eq!(drain(&mut watcher), [], "it was looked at");

        fs::write(path("followed"), "").unwrap();
        drain(&mut watcher);
        watcher.bind(&path("followed"), FileSlot(1));
        rustix::fs::rename(path("followed"), path("old")).unwrap();
        fs::remove_file(path("old")).unwrap();
        assert_eq!(drain(&mut watcher), [Change::Unnamed(FileSlot(1)), named("old")], "it is followed");
    }

    #[test]
    fn a_folder_that_goes_or_comes_asks_for_a_scan() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("sub");
        let mut watcher = Watcher::new().unwrap();
        watcher.watch(temp.path()).unwrap();
        fs::create_dir(&folder).unwrap();
        assert_eq!(drain(&mut watcher), [Change::ScanNeeded]);
        watcher.watch(&folder).unwrap();
        fs::remove_dir(&folder).unwrap();
        assert!(drain(&mut watcher).iter().all(|change| *change == Change::ScanNeeded));
        assert!(watcher.by_path.len() == 1);
    }
}
