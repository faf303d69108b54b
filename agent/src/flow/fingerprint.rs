//! Fingerprints of a file's head and of the bytes before a position: what makes a file the same file after a rename.
//!
//! XXH3-128 with seed 0, big-endian, over at most 4096 bytes. Not a secret: whoever can write the log can forge it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use skidway_record::source::{FINGERPRINT_BYTES_MAX, Fingerprint, StoredSource};

/// Counts the bytes before a position that its anchor covers, at most. Each read covers them again, so that a small read costs little more than
/// its own bytes; a dozen lines are enough to tell one file from another. Earlier versions left anchors of up to 4096.
pub const ANCHOR_BYTES_MAX: usize = 1024;

/// Hashes all of `bytes`, at most 4096 of them being asked for.
pub fn of(bytes: &[u8]) -> Fingerprint {
    if bytes.is_empty() {
        return Fingerprint::default();
    }
    debug_assert!(bytes.len() <= FINGERPRINT_BYTES_MAX as usize);
    let hash = twox_hash::XxHash3_128::oneshot(bytes);
    Fingerprint { len: bytes.len() as u32, hash: hash.to_be_bytes() }
}

/// Hashes the head: the first 4096 bytes of those at hand.
pub fn head(bytes: &[u8]) -> Fingerprint {
    of(&bytes[..bytes.len().min(FINGERPRINT_BYTES_MAX as usize)])
}

/// Hashes the anchor: the last 1024 bytes of those before a position.
pub fn anchor(bytes: &[u8]) -> Fingerprint {
    of(&bytes[bytes.len().saturating_sub(ANCHOR_BYTES_MAX)..])
}

/// Hashes the first bytes of a file, for each of these numbers of them (at most 4096), as far as it has so many. Reads 4 KiB.
///
/// # Errors
/// The file cannot be read (retry).
pub fn heads(
    mut read_at: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    lens: &BTreeSet<u32>,
) -> io::Result<Vec<Fingerprint>> {
    let mut bytes = [0; FINGERPRINT_BYTES_MAX as usize];
    let read = read_at(&mut bytes, 0)?;
    Ok(lens.iter().filter_map(|&len| bytes[..read].get(..len as usize)).map(of).collect())
}

/// Tells whether a fingerprint is that of NUL bytes only, as a hole shows them: then it tells no file from another.
pub fn is_blank(print: &Fingerprint) -> bool {
    print.len > 0 && print.len <= FINGERPRINT_BYTES_MAX && *print == of(&vec![0; print.len as usize])
}

/// Says how a file's bytes compare with what is stored of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// Head and anchor are there.
    Same,
    /// The file ends before the source's position.
    Shorter,
    /// Its first bytes are others.
    OtherHead,
    /// The bytes before the position are others.
    OtherAnchor,
}

/// Compares a file with a stored source, reading at most 8 KiB.
///
/// # Errors
/// The file cannot be read (retry).
pub fn compare(read: impl FnMut(&mut [u8], u64) -> io::Result<usize>, stored: &StoredSource) -> io::Result<Evidence> {
    compare_with(read, &stored.source.head, &stored.anchor, stored.position)
}

/// Compares a file with the head and the anchor before `position` of a source, reading at most 8 KiB.
///
/// # Errors
/// The file cannot be read (retry).
pub fn compare_with(
    mut read_at: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    head: &Fingerprint,
    anchor: &Fingerprint,
    position: u64,
) -> io::Result<Evidence> {
    let mut bytes = [0; FINGERPRINT_BYTES_MAX as usize];
    let read = read_at(&mut bytes[..head.len as usize], 0)?;
    // Bytes of the head beyond the position may have gone with a truncation that the position survived: that is another file too.
    if read < head.len as usize || of(&bytes[..read]) != *head {
        return Ok(if (read as u64) < position { Evidence::Shorter } else { Evidence::OtherHead });
    }
    let start = position.saturating_sub(u64::from(anchor.len));
    let read = read_at(&mut bytes[..anchor.len as usize], start)?;
    if read < anchor.len as usize {
        return Ok(Evidence::Shorter);
    }
    Ok(if of(&bytes[..read]) == *anchor { Evidence::Same } else { Evidence::OtherAnchor })
}

/// Fills `bytes` from `position` on as far as the file goes.
///
/// # Errors
/// As the operating system says (retry).
pub fn read_at(file: &File, bytes: &mut [u8], position: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
