//! The first bytes that say something about a file: decompressed if it is an archive, after the hole if it begins with one.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::flow::fingerprint::read_at;
use crate::tail::archive::{Archive, Compression};

/// An archive is longer than this once anything is in it.
const ARCHIVE_BYTES_MIN: u64 = 10;

/// Looks this far for the end of a hole, in bytes of data: a copy of a file with a hole has NUL bytes there. A file with still more of them
/// is taken for a text: what reads it drops them.
const HOLE_BYTES_MAX: u64 = 64 << 20;

/// NUL bytes at the start are taken for a hole from so many on, as they are when the file is read.
const HOLE_BYTES_MIN: usize = 16;

/// NUL bytes are read so many at a time.
const PIECE_BYTES: usize = 64 << 10;

/// Fills `into` with what a file is to be judged by; `None` while there is nothing to judge: only NUL bytes, or an archive that is not begun.
///
/// # Errors
/// As the operating system says (retry).
pub fn start_of(path: &Path, file: &File, into: &mut [u8]) -> io::Result<Option<usize>> {
    let read = read_at(file, into, 0)?;
    if let Some(compression) = Compression::of(&into[..read]) {
        return Archive::new(compression).read_at(&Arc::new(file.try_clone()?), into, 0).map(Some);
    }
    if (read as u64) < ARCHIVE_BYTES_MIN && path.extension().is_some_and(|ending| ending == "gz" || ending == "zst") {
        return Ok(None);
    }
    let nuls = into[..read].iter().position(|&byte| byte != 0).unwrap_or(read);
    if nuls < read && nuls >= HOLE_BYTES_MIN {
        return read_at(file, into, nuls as u64).map(Some);
    }
    if nuls < read || read == 0 {
        return Ok(Some(read));
    }
    let Ok(data) = rustix::fs::seek(file, rustix::fs::SeekFrom::Data(0)) else { return Ok(None) };
    let (mut position, mut piece) = (data, vec![0; PIECE_BYTES]);
    while position < data + HOLE_BYTES_MAX {
        let read = read_at(file, &mut piece, position)?;
        if read == 0 {
            return Ok(None);
        }
        if let Some(first) = piece[..read].iter().position(|&byte| byte != 0) {
            return read_at(file, into, position + first as u64).map(Some);
        }
        position += read as u64;
    }
    Ok(Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom, Write};

    fn start(name: &str, write: impl FnOnce(&mut File)) -> Option<Vec<u8>> {
        let mut file = tempfile::tempfile().unwrap();
        write(&mut file);
        let mut bytes = vec![0; 64];
        start_of(Path::new(name), &file, &mut bytes).unwrap().map(|read| bytes[..read].to_vec())
    }

    #[test]
    fn what_says_nothing_is_passed_over() {
        assert_eq!(start("a.log", |_| {}), Some(vec![]));
        assert_eq!(start("a.log", |file| file.write_all(b"text").unwrap()), Some(b"text".to_vec()));
        assert_eq!(start("a.gz", |file| file.write_all(b"\x1f\x8b").unwrap()), None);
        assert_eq!(start("a.log", |file| file.set_len(100_000).unwrap()), None);
        assert_eq!(start("a.log", |file| file.write_all(&[0; 500]).unwrap()), None);
        let short = |file: &mut File| file.write_all(&[vec![0; 20], b"text".to_vec()].concat()).unwrap();
        assert_eq!(start("a.log", short), Some(b"text".to_vec()));
        let hole = |file: &mut File| {
            file.seek(SeekFrom::Start(3_000_001)).unwrap();
            file.write_all(b"after the hole").unwrap();
        };
        assert_eq!(start("a.log", hole), Some(b"after the hole".to_vec()));
        let copied = |file: &mut File| file.write_all(&[vec![0; 3_000_001], b"after it".to_vec()].concat()).unwrap();
        assert_eq!(start("a.log", copied), Some(b"after it".to_vec()));
        let packed = zstd::encode_all(&b"packed"[..], 1).unwrap();
        assert_eq!(start("a.log", |file| file.write_all(&packed).unwrap()), Some(b"packed".to_vec()));
    }
}
