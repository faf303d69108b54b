//! A file as the kernel knows it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxFlags, statx};
use rustix::io::Errno;
use skidway_record::source::PhysicalId;

/// Holds what one `statx` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Which file.
    pub physical: PhysicalId,
    /// Its size, in bytes.
    pub size: u64,
    /// When it was written to last, in ns since 1970.
    pub modified_ns: i128,
    /// How many names it has; 0 once it is deleted.
    pub links: u32,
    /// Neither folder nor device nor pipe.
    pub is_regular: bool,
}

/// Opens a file for reading, without leaving a trace in its access time where that is allowed (the file's owner, root): else each read of a
/// growing file writes its inode. Does not wait for a writer if a pipe has taken the name.
///
/// # Errors
/// As the operating system says (retry).
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = match rustix::fs::open(path, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::open(path, flags, Mode::empty()),
        opened => opened,
    };
    Ok(File::from(opened?))
}

/// Looks at the file a path leads to, through symbolic links.
///
/// # Errors
/// As the operating system says (retry).
pub fn stat_path(path: &Path) -> io::Result<Stat> {
    Ok(read(&statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS | StatxFlags::BTIME)?))
}

/// Looks at an open file.
///
/// # Errors
/// As the operating system says (retry).
pub fn stat_file(file: impl AsFd) -> io::Result<Stat> {
    Ok(read(&statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::BTIME)?))
}

fn read(found: &Statx) -> Stat {
    let born = found.stx_mask & StatxFlags::BTIME.bits() != 0;
    let birth_ns = i128::from(found.stx_btime.tv_sec) * 1_000_000_000 + i128::from(found.stx_btime.tv_nsec);
    Stat {
        physical: PhysicalId {
            device: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
            generation: 0,
            birth_ns: if born { u64::try_from(birth_ns).unwrap_or(0) } else { 0 },
        },
        size: found.stx_size,
        modified_ns: i128::from(found.stx_mtime.tv_sec) * 1_000_000_000 + i128::from(found.stx_mtime.tv_nsec),
        links: found.stx_nlink,
        is_regular: FileType::from_raw_mode(u32::from(found.stx_mode)).is_file(),
    }
}
