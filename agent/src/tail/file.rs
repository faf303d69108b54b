//! One open file, read from a position on. A block is believed only if the bytes before it, read by the same call, are those
//! that were there before; so a file that was truncated and has grown past the position again is not taken for the old one.
//!
//! Keeps an open file, a position and two fingerprints. Bytes live in the caller's buffer.

mod last_line;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use skidway_record::source::{FINGERPRINT_BYTES_MAX, Fingerprint, PhysicalId};

use crate::flow::fingerprint::{self, ANCHOR_BYTES_MAX, read_at};
use crate::flow::physical::Stat;
use crate::tail::archive::{Archive, Compression};
use crate::tail::handle::Handle;

/// Counts the bytes before a position that a read covers again, at most: those of an anchor that an earlier version left.
pub const BYTES_BEFORE_MAX: usize = FINGERPRINT_BYTES_MAX as usize;

/// Looked at at once for what may be in reserved room.
const ROOM_BYTES_READ: usize = 32 << 10;

/// Holds one open file.
#[derive(Debug)]
pub struct OpenFile {
    handle: Handle,
    /// Reads it decompressed, if that is what it is.
    archive: Option<Box<Archive>>,
    position: u64,
    anchor: Fingerprint,
    head: Fingerprint,
    size: u64,
    /// Bytes at its end that nobody has written: room that was reserved.
    room: u64,
    /// Where the last read that came up short ended. That was the file's end, unless it gave less than there was.
    read_to: u64,
}

/// Tells what a read found.
#[derive(Debug, PartialEq, Eq)]
pub enum Block {
    /// Bytes from the position on: `buffer[start..end]`. At the file's end they may be none.
    Bytes {
        /// Where in the buffer they start; before it are the anchor's.
        start: usize,
        /// Where they end.
        end: usize,
        /// Nothing more was there.
        at_end: bool,
    },
    /// What was read before is there no more: the file was truncated, or written anew.
    Truncated,
}

impl OpenFile {
    /// Stands at the start of an opened file. Only its identity and size are looked at. `path`, without symbolic links, is where it is
    /// opened again after it was set aside.
    ///
    /// # Errors
    /// As the operating system says (retry).
    pub fn new(file: File, path: Arc<Path>) -> io::Result<Self> {
        let mut start = [0; 4];
        let len = read_at(&file, &mut start, 0)?;
        let archive = Compression::of(&start[..len]).map(|compression| Box::new(Archive::new(compression)));
        let (handle, stat) = Handle::new(file, path)?;
        let size = if archive.is_some() { 0 } else { stat.size };
        let (anchor, head) = (Fingerprint::default(), Fingerprint::default());
        Ok(Self { handle, archive, position: 0, anchor, head, size, room: 0, read_to: 0 })
    }

    /// Gives the file's identity.
    pub fn physical(&self) -> PhysicalId {
        self.handle.physical()
    }

    /// Gives the path to find it by, without symbolic links.
    pub fn real_path(&self) -> &Path {
        self.handle.path()
    }

    /// Notes that it has another name.
    pub fn set_real_path(&mut self, path: Arc<Path>) {
        self.handle.set_path(path);
    }

    /// Tells whether a descriptor is held.
    pub fn is_open(&self) -> bool {
        self.handle.is_open()
    }

    /// Holds a descriptor from now on; without, each read opens the file anew.
    ///
    /// # Errors
    /// As the operating system says (retry); `NotFound` if its name is gone or another file's.
    pub fn hold(&mut self) -> io::Result<()> {
        self.handle.hold()
    }

    /// Lets go of the descriptor. Not of an archive in the middle of it.
    pub fn set_aside(&mut self) {
        if !self.archive.as_ref().is_some_and(|archive| archive.is_decompressing()) {
            self.handle.set_aside();
        }
    }

    /// Lets go of what decompression holds; the next read starts it over.
    pub fn stop_decompressing(&mut self) {
        self.archive.iter_mut().for_each(|archive| **archive = archive.again());
    }

    /// Lets go of the descriptor for good.
    pub fn close(&mut self) {
        self.archive = self.archive.take().map(|archive| Box::new(archive.again()));
        self.handle.set_aside();
    }

    /// Gives the position: all before it was read and framed.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Gives the fingerprint of the bytes before the position.
    pub fn anchor(&self) -> Fingerprint {
        self.anchor
    }

    /// Gives the fingerprint of the file's first bytes, as many as were seen.
    pub fn head(&self) -> Fingerprint {
        self.head
    }

    /// Tells whether the file has no name any more; if it is set aside, whether its name is gone or another file's.
    pub fn is_deleted(&self) -> bool {
        match self.stat_now() {
            Ok(stat) => stat.links == 0,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Tells whether it is read decompressed.
    pub fn is_archive(&self) -> bool {
        self.archive.is_some()
    }

    /// Says why an archive cannot be decompressed to its end, once it was read as far as it can be.
    pub fn damage(&self) -> Option<&str> {
        self.archive.as_ref().and_then(|archive| archive.damage())
    }

    /// Tells whether the damage is recorded.
    pub fn is_damage_recorded(&self) -> bool {
        self.archive.as_ref().is_some_and(|archive| archive.is_damage_recorded)
    }

    /// Notes that the damage is recorded, until the archive is written to again.
    pub fn record_damage(&mut self) {
        self.archive.iter_mut().for_each(|archive| archive.is_damage_recorded = true);
    }

    /// Gives a way to look at its bytes, decompressed if need be, without moving on.
    ///
    /// # Errors
    /// As the operating system says (retry).
    pub fn peek(&self) -> io::Result<impl FnMut(&mut [u8], u64) -> io::Result<usize>> {
        let (file, mut archive) = (self.handle.file()?, self.archive.as_ref().map(|archive| archive.again()));
        Ok(move |bytes: &mut [u8], position| match &mut archive {
            Some(archive) => archive.read_at(&file, bytes, position),
            None => read_at(&file, bytes, position),
        })
    }

    /// Tells from its size whether there is something to read, or something else to find out about it.
    pub fn has_changed(&self, stat: &Stat) -> bool {
        match &self.archive {
            Some(archive) => archive.ended_at().is_some_and(|size| size != stat.size),
            None => stat.size < self.position || (stat.size > self.position && stat.size != self.read_to),
        }
    }

    /// Tells whether all of it, as it is now, lies before the position.
    pub fn is_read_out(&self, stat: &Stat) -> bool {
        match &self.archive {
            Some(archive) => archive.is_whole() && archive.ended_at() == Some(stat.size) && self.position == self.size,
            None => stat.size == self.position,
        }
    }

    /// Gives the largest size seen in this incarnation, in bytes; of an archive, as far as it was decompressed.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes note of its size, if what was read of it is still there: else that is the size of something else.
    pub fn saw(&mut self, stat: &Stat) {
        if self.archive.is_none() && stat.size > self.size && self.is_intact().unwrap_or(false) {
            (self.size, self.room) = (stat.size, 0);
        }
    }

    /// Tells, once, whether it ends before the size it was seen to have.
    pub fn has_shrunk(&mut self) -> bool {
        let ends_before = |size| self.handle.stat().is_ok_and(|stat| stat.size < size);
        let has_shrunk = self.archive.is_none() && self.read_to < self.size && ends_before(self.size);
        if has_shrunk {
            (self.size, self.room) = (self.read_to, 0);
        }
        has_shrunk
    }

    /// Gives where its content ends, as far as it was seen, in bytes; room that was reserved behind it does not count.
    pub fn content_end(&self) -> u64 {
        self.size - self.room
    }

    /// Notes that nothing was written past this position, to the size seen; `None` if something was.
    pub fn ends_at(&mut self, position: Option<u64>) {
        self.room = position.map_or(0, |position| self.size.saturating_sub(position));
    }

    /// Looks at the file without taking note of its size.
    ///
    /// # Errors
    /// As the operating system says (retry).
    pub fn stat_now(&self) -> io::Result<Stat> {
        self.handle.stat()
    }

    /// Tells whether the first `size` bytes, which this file has, are as another's: the first and the last 4 KiB of them are looked at.
    pub fn begins_like(&self, other: &Self, size: u64) -> bool {
        let (mut own, mut others) = ([0; BYTES_BEFORE_MAX], [0; BYTES_BEFORE_MAX]);
        let len = size.min(own.len() as u64) as usize;
        let (Ok(file), Ok(others_file)) = (self.handle.file(), other.handle.file()) else { return false };
        let mut is_alike = |position| {
            let read = |file: &File, bytes: &mut [u8]| {
                read_at(file, &mut bytes[..len], position).is_ok_and(|read| read == len)
            };
            read(&file, &mut own) && read(&others_file, &mut others) && own[..len] == others[..len]
        };
        is_alike(0) && is_alike(size - len as u64)
    }

    /// Looks at the file's size and number of names now.
    ///
    /// # Errors
    /// As the operating system says (retry).
    pub fn stat(&mut self) -> io::Result<Stat> {
        let stat = self.handle.stat()?;
        self.saw(&stat);
        Ok(stat)
    }

    /// Reads a block from the position on, with its anchor, by one call; as much as the buffer holds.
    ///
    /// # Errors
    /// As the operating system says (retry).
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Block> {
        let start = self.anchor.len as usize;
        let from = self.position - start as u64;
        let mut end = self.read_once(buffer, from)?;
        if end < start {
            // Too much hangs on it to believe one short read.
            end = self.fill(buffer, from)?;
        }
        if end < start || fingerprint::of(&buffer[..start]) != self.anchor {
            return Ok(Block::Truncated);
        }
        if self.position == start as u64 && end > self.head.len as usize {
            self.head = fingerprint::head(&buffer[..end]);
        }
        self.complete_head();
        let read_to = self.position + (end - start) as u64;
        self.size = self.size.max(read_to);
        if end < buffer.len() {
            self.read_to = read_to;
        }
        Ok(Block::Bytes { start, end, at_end: end < buffer.len() })
    }

    /// Looks at the first bytes once more when the position is past them: of a file that grew in small steps not all were seen by one read.
    fn complete_head(&mut self) {
        let whole = FINGERPRINT_BYTES_MAX;
        if self.head.len >= whole || self.position < u64::from(whole) {
            return;
        }
        let mut bytes = [0; FINGERPRINT_BYTES_MAX as usize];
        let read = self.peek().and_then(|mut read| read(&mut bytes, 0)).unwrap_or(0);
        if read == bytes.len() && fingerprint::of(&bytes[..self.head.len as usize]) == self.head {
            self.head = fingerprint::of(&bytes);
        }
    }

    /// Reads by one call. Of a local file a short read is its end; where it is not, the next scan sees that there is more.
    fn read_once(&mut self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let file = self.handle.file()?;
        if let Some(archive) = &mut self.archive {
            return archive.read_at(&file, buffer, position);
        }
        loop {
            match file.read_at(buffer, position) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    fn fill(&mut self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let file = self.handle.file()?;
        match &mut self.archive {
            Some(archive) => archive.read_at(&file, buffer, position),
            None => read_at(&file, buffer, position),
        }
    }

    /// Tells whether anything but NUL bytes lies past `len` bytes from the position on, of which the first `written` hold something.
    pub fn has_data_after(&self, len: u64, written: u64) -> bool {
        // A writer that fills reserved room in order is believed: the whole room is not looked at again for every line.
        if self.room > 0 && self.position + written > self.content_end() {
            return false;
        }
        let (Ok(file), mut bytes) = (self.handle.file(), [0; ROOM_BYTES_READ]) else { return false };
        let mut from = self.position + len;
        // Reserved room passes for data as long as the kernel has it in its cache, which reading brings it to.
        while let Ok(data) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(from)) {
            match read_at(&file, &mut bytes, data) {
                Ok(read) if read > 0 && bytes[..read].iter().all(|&byte| byte == 0) => from = data + read as u64,
                found => return found.is_ok_and(|read| read > 0),
            }
        }
        false
    }

    /// Moves the position over the first `consumed` bytes of the block that [`OpenFile::read`] left in the buffer at `start`.
    pub fn advance(&mut self, buffer: &[u8], start: usize, consumed: usize) {
        if consumed > 0 {
            self.position += consumed as u64;
            self.anchor = fingerprint::anchor(&buffer[..start + consumed]);
        }
    }

    /// Stands at a position that was verified by other means, with the fingerprints known there.
    pub fn resume(&mut self, position: u64, anchor: Fingerprint, head: Fingerprint) {
        (self.position, self.anchor, self.head) = (position, anchor, head);
    }

    /// Goes to a position at or before the file's end, reading the anchor there. False if the file does not reach it.
    ///
    /// # Errors
    /// As the operating system says (retry).
    pub fn seek(&mut self, position: u64) -> io::Result<bool> {
        let mut bytes = [0; BYTES_BEFORE_MAX];
        let len = position.min(ANCHOR_BYTES_MAX as u64) as usize;
        if self.fill(&mut bytes[..len], position - len as u64)? < len {
            return Ok(false);
        }
        (self.position, self.anchor) = (position, fingerprint::of(&bytes[..len]));
        let head_len = self.peek()?(&mut bytes, 0)?;
        if head_len > self.head.len as usize {
            self.head = fingerprint::head(&bytes[..head_len]);
        }
        Ok(true)
    }

    /// Checks that the bytes before the position are still there.
    ///
    /// # Errors
    /// As the operating system says (retry).
    pub fn is_intact(&mut self) -> io::Result<bool> {
        let mut bytes = [0; BYTES_BEFORE_MAX];
        let len = self.anchor.len as usize;
        Ok(self.read(&mut bytes[..len])? != Block::Truncated)
    }

    /// Starts over at the file's first byte, as another incarnation of it.
    pub fn begin_again(&mut self) {
        (self.position, self.size, self.room, self.read_to) = (0, 0, 0, 0);
        (self.anchor, self.head) = (Fingerprint::default(), Fingerprint::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn temp(text: &[u8]) -> (File, OpenFile) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        let open = OpenFile::new(file.try_clone().unwrap(), Path::new("").into()).unwrap();
        (file, open)
    }

    /// Reads one block and consumes it; `None` if the file was truncated.
    fn take(open: &mut OpenFile) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 64 << 10];
        match open.read(&mut buffer).unwrap() {
            Block::Bytes { start, end, .. } => {
                open.advance(&buffer, start, end - start);
                Some(buffer[start..end].to_vec())
            }
            Block::Truncated => None,
        }
    }

    #[test]
    fn a_growing_file_is_read_from_where_it_was_left() {
        let (mut file, mut open) = temp(b"one\n");
        assert_eq!(take(&mut open).unwrap(), b"one\n");
        assert_eq!(take(&mut open).unwrap(), b"");
        file.write_all(&[b'x'; 10_000]).unwrap();
        assert_eq!(take(&mut open).unwrap().len(), 10_000);
        assert_eq!((open.position(), open.head().len, open.anchor().len), (10_004, 4096, 1024));
        assert!(open.is_intact().unwrap());
    }

    #[test]
    fn the_head_of_a_file_that_grows_in_small_steps_becomes_whole() {
        let (mut file, mut open) = temp(b"");
        for _ in 0..60 {
            file.write_all(&[b'x'; 100]).unwrap();
            take(&mut open).unwrap();
        }
        assert_eq!((open.position(), open.head()), (6000, fingerprint::of(&[b'x'; 4096])));
    }

    #[test]
    fn a_truncated_file_is_told_from_one_that_grew() {
        let (mut file, mut open) = temp(b"header\nold line\n");
        take(&mut open).unwrap();
        file.set_len(0).unwrap();
        assert_eq!(take(&mut open), None);
        file.write_all_at(b"header\nnew line\nand more than before\n", 0).unwrap();
        assert_eq!(take(&mut open), None, "it grew past the position with other bytes");
        assert!(!open.is_intact().unwrap());
        let stat = open.stat().unwrap();
        assert_eq!((stat.size, open.size()), (37, 16), "the size of what it holds now says nothing of what it held");
        open.begin_again();
        assert!(take(&mut open).unwrap().starts_with(b"header\nnew"));
        file.write_all(b"").unwrap();
    }

    #[test]
    fn a_file_longer_than_was_read_of_it_has_changed() {
        let (mut file, mut open) = temp(b"one\ntwo\n");
        let has_changed = |open: &OpenFile| open.has_changed(&open.stat_now().unwrap());
        open.seek(4).unwrap();
        assert!(has_changed(&open), "resumed before its end");
        open.read(&mut [0; 100]).unwrap();
        assert!(!has_changed(&open), "a line that waits for its end was read");
        file.write_all(b"three").unwrap();
        assert!(has_changed(&open), "it grew");
        take(&mut open);
        assert!(!has_changed(&open), "it was read to its end");
    }

    #[test]
    fn a_file_truncated_before_it_was_read_is_known_by_its_size() {
        let (mut file, mut open) = temp(b"old lines\n");
        file.set_len(0).unwrap();
        file.write_all_at(b"new\n", 0).unwrap();
        assert_eq!(take(&mut open).unwrap(), b"new\n");
        assert_eq!((open.has_shrunk(), open.has_shrunk(), open.size()), (true, false, 4));
        file.write_all(b"").unwrap();
    }

    #[test]
    fn seeking_back_finds_the_anchor_there_and_past_the_end_is_refused() {
        let (_file, mut open) = temp(b"one\ntwo\n");
        take(&mut open).unwrap();
        assert!(open.seek(4).unwrap());
        assert_eq!(take(&mut open).unwrap(), b"two\n");
        assert!(!open.seek(9).unwrap());
    }

    #[test]
    fn the_last_line_end_is_found_from_the_back() {
        for (text, position) in [("", 0), ("half", 0), ("a\nbb\n", 5), ("a\nbb\nhalf and some more", 5)] {
            let (_file, open) = temp(text.as_bytes());
            assert_eq!(open.after_last_line(&mut [0; 4]).unwrap(), position, "{text:?}");
        }
    }
}
