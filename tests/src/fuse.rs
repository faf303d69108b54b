//! A folder shown through FUSE, so that a test can let reads of its files fail or take long: a failing disk, a network file system.
//!
//! The view is read-only and flat: what lies in the folder behind it is seen at once, but without inotify's events, as on a network file
//! system, and without birth times. Each file keeps its inode number. Needs root, or fusermount3, and `/dev/fuse`. Unmounted when dropped.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, Config, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, ReplyOpen, Request,
};

use crate::site::Site;
use crate::wait;

/// The kernel asks again each time: nothing is remembered.
const TTL: Duration = Duration::ZERO;

/// Holds a mounted view of a folder.
#[derive(Debug)]
pub struct View {
    behind: PathBuf,
    mount: PathBuf,
    faults: Arc<Mutex<Faults>>,
    _session: BackgroundSession,
}

/// Says what goes wrong with the next reads.
#[derive(Debug, Default)]
struct Faults {
    planned: Vec<Fault>,
    failed: u64,
    delay: Duration,
    bytes_max: Option<usize>,
}

#[derive(Debug)]
struct Fault {
    name: PathBuf,
    at: u64,
    error: rustix::io::Errno,
    times: u32,
}

impl View {
    /// Mounts a view of the test's folder `behind`, which is made if need be, at its folder `view`.
    ///
    /// # Errors
    /// Says what this machine lacks for it.
    pub fn mount(site: &Site) -> Result<Self, String> {
        let (behind, mount) = (site.path("behind"), site.path("view"));
        for folder in [&behind, &mount] {
            std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        }
        let faults = Arc::new(Mutex::new(Faults::default()));
        let folder = Folder { path: behind.clone(), files: Mutex::default(), faults: faults.clone() };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::RO, MountOption::FSName("skidway-test".to_owned())];
        let session = fuser::spawn_mount(folder, &mount, &config);
        let session = session.map_err(|error| format!("FUSE cannot be mounted: {error}"))?;
        Ok(Self { behind, mount, faults, _session: session })
    }

    /// Gives the folder where the files are seen.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Gives the folder where the files lie, and are written.
    pub fn behind(&self) -> &Path {
        &self.behind
    }

    /// Lets the next `times` reads that want the byte at `at` of a file, or a later one, fail with `error`.
    pub fn fail_reads(&self, name: &str, at: u64, error: rustix::io::Errno, times: u32) {
        lock(&self.faults).planned.push(Fault { name: name.into(), at, error, times });
    }

    /// Tells how many reads failed so far.
    pub fn failed_reads(&self) -> u64 {
        lock(&self.faults).failed
    }

    /// Lets every read take so long from now on.
    pub fn delay_reads(&self, delay: Duration) {
        lock(&self.faults).delay = delay;
    }

    /// Lets every read give so many bytes at most from now on, however many were asked for.
    pub fn shorten_reads(&self, bytes_max: usize) {
        lock(&self.faults).bytes_max = Some(bytes_max);
    }
}

impl Faults {
    fn of_all_reads(&self) -> (Duration, Option<usize>) {
        (self.delay, self.bytes_max)
    }

    fn of_read(&mut self, name: &Path, end: u64) -> Option<rustix::io::Errno> {
        let fault = self.planned.iter_mut().find(|fault| fault.times > 0 && fault.name == name && fault.at < end)?;
        fault.times -= 1;
        self.failed += 1;
        Some(fault.error)
    }
}

/// Serves the kernel's requests.
struct Folder {
    path: PathBuf,
    /// Each file ever looked up, by its inode number; held open, so that it goes on being served when it is renamed or removed.
    files: Mutex<HashMap<u64, Arc<Looked>>>,
    faults: Arc<Mutex<Faults>>,
}

struct Looked {
    name: PathBuf,
    file: File,
}

impl Folder {
    fn look_up(&self, name: &OsStr) -> io::Result<FileAttr> {
        let file = File::open(self.path.join(name))?;
        let attr = attributes(&file)?;
        let looked = Looked { name: name.into(), file };
        lock(&self.files).insert(attr.ino.0, Arc::new(looked));
        Ok(attr)
    }

    fn file(&self, ino: INodeNo) -> io::Result<Arc<Looked>> {
        lock(&self.files).get(&ino.0).cloned().ok_or_else(|| rustix::io::Errno::NOENT.into())
    }

    fn attributes(&self, ino: INodeNo) -> io::Result<FileAttr> {
        if ino == INodeNo::ROOT { attributes(&File::open(&self.path)?) } else { attributes(&self.file(ino)?.file) }
    }

    fn read(&self, ino: INodeNo, offset: u64, size: u32) -> io::Result<Vec<u8>> {
        let looked = self.file(ino)?;
        let (delay, bytes_max) = lock(&self.faults).of_all_reads();
        wait::pause(delay);
        let mut bytes = vec![0; bytes_max.map_or(size as usize, |max| max.min(size as usize))];
        let read = looked.file.read_at(&mut bytes, offset)?;
        bytes.truncate(read);
        let fault = lock(&self.faults).of_read(&looked.name, offset + read as u64);
        fault.map_or(Ok(bytes), |error| Err(error.into()))
    }

    fn list(&self) -> io::Result<Vec<(u64, FileType, PathBuf)>> {
        let entry = |entry: io::Result<std::fs::DirEntry>| {
            let entry = entry?;
            let kind = FileType::from_std(entry.file_type()?).unwrap_or(FileType::RegularFile);
            Ok((std::os::unix::fs::DirEntryExt::ino(&entry), kind, entry.file_name().into()))
        };
        std::fs::read_dir(&self.path)?.map(entry).collect()
    }
}

impl Filesystem for Folder {
    fn lookup(&self, _request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.look_up(name) {
            Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
            Err(error) => reply.error(error.into()),
        }
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino) {
            Ok(attr) => reply.attr(&TTL, &FileAttr { ino, ..attr }),
            Err(error) => reply.error(error.into()),
        }
    }

    fn open(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // Every read arrives here, none is answered from the page cache.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match Self::read(self, ino, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error.into()),
        }
    }

    fn readdir(&self, _request: &Request, _ino: INodeNo, _handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        match self.list() {
            Ok(entries) => {
                for (number, (ino, kind, name)) in (1..).zip(entries).skip(offset as usize) {
                    if reply.add(INodeNo(ino), number, kind, &name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(error.into()),
        }
    }
}

fn attributes(file: &File) -> io::Result<FileAttr> {
    let found = file.metadata()?;
    let time = |seconds: i64, ns: i64| SystemTime::UNIX_EPOCH + Duration::new(seconds as u64, ns as u32);
    let modified = time(found.mtime(), found.mtime_nsec());
    Ok(FileAttr {
        ino: INodeNo(found.ino()),
        size: found.size(),
        blocks: found.blocks(),
        atime: modified,
        mtime: modified,
        ctime: time(found.ctime(), found.ctime_nsec()),
        crtime: modified,
        kind: FileType::from_std(found.file_type()).unwrap_or(FileType::RegularFile),
        perm: (found.mode() & 0o7777) as u16,
        nlink: found.nlink() as u32,
        uid: found.uid(),
        gid: found.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    })
}

/// A test that panicked holding it has failed anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_seen_as_they_are_and_a_planned_read_fails_once() {
        let site = Site::new();
        let view = match View::mount(&site) {
            Ok(view) => view,
            Err(lack) => return crate::report::missing(&format!("{lack}; nothing ran in its place")),
        };
        site.write("behind/a.log", "one\n");
        let seen = view.path().join("a.log");
        assert_eq!(std::fs::read(&seen).unwrap(), b"one\n");
        site.append("behind/a.log", "two\n");
        view.fail_reads("a.log", 4, rustix::io::Errno::IO, 1);
        assert_eq!(std::fs::read(&seen).unwrap_err().raw_os_error(), Some(5));
        assert_eq!((std::fs::read(&seen).unwrap(), view.failed_reads()), (b"one\ntwo\n".to_vec(), 1));
        let open = File::open(&seen).unwrap();
        site.rename("behind/a.log", "behind/b.log");
        assert_eq!(std::fs::read_dir(view.path()).unwrap().count(), 1);
        let (by_handle, by_name) = (open.metadata().unwrap(), view.path().join("b.log").metadata().unwrap());
        assert_eq!((by_handle.ino(), by_handle.size()), (by_name.ino(), 8));
    }
}
