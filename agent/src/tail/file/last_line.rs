//! Where a file's last line begins, found from its end.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::OpenFile;
use crate::flow::fingerprint::read_at;
use crate::tail::archive::Archive;

impl OpenFile {
    /// Finds the position after the file's last LF, or 0 if it has none.
    ///
    /// # Errors
    /// As the operating system says (retry).
    pub fn after_last_line(&self, buffer: &mut [u8]) -> io::Result<u64> {
        let file = self.handle.file()?;
        if let Some(archive) = &self.archive {
            return after_last_line(&file, archive.again(), buffer);
        }
        let mut end = self.size;
        while end > 0 {
            let len = end.min(buffer.len() as u64) as usize;
            let start = end - len as u64;
            let read = read_at(&file, &mut buffer[..len], start)?;
            if let Some(at) = memchr::memrchr(b'\n', &buffer[..read]) {
                return Ok(start + at as u64 + 1);
            }
            end = start;
        }
        Ok(0)
    }
}

fn after_last_line(file: &Arc<File>, mut archive: Archive, buffer: &mut [u8]) -> io::Result<u64> {
    let (mut position, mut found) = (0, 0);
    loop {
        let read = archive.read_at(file, buffer, position)?;
        if read == 0 {
            return Ok(found);
        }
        if let Some(at) = memchr::memrchr(b'\n', &buffer[..read]) {
            found = position + at as u64 + 1;
        }
        position += read as u64;
    }
}
