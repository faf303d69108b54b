//! A compressed file read as if it were not: `.gz` (RFC 1952, several members too) and `.zst` (RFC 8878, several frames too), by position in
//! the decompressed bytes.
//!
//! Decompression only goes forward; what a read gave is kept so that the next one may begin inside it. Whoever goes back further starts over.
//! An archive that ends too early is still being written: it is read as far as it goes, and from its start again once it has grown. So is a
//! damaged one, which says so.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::SystemTime;

use flate2::read::MultiGzDecoder;

/// Bytes passed over at once.
const SKIP_BYTES: usize = 64 << 10;

/// Tells formats apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// Tells a file's format by its first four bytes; `None` if it is neither.
    pub fn of(start: &[u8]) -> Option<Self> {
        match start {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Reads one archive. Its file is the caller's, and the same each time; only while something is left to decompress is it held open here.
pub struct Archive {
    compression: Compression,
    decoder: Option<Box<dyn Read + Send>>,
    /// The bytes given last, and where they begin.
    window: Vec<u8>,
    window_start: u64,
    /// How large the file was, and when it was written to last, when it was decompressed as far as it goes.
    ended_at: Option<(u64, Option<SystemTime>)>,
    /// Why it goes no further, if that is no end.
    damage: Option<String>,
    /// Its end was a proper one.
    is_whole: bool,
    /// Whoever reads it has taken note of that.
    pub is_damage_recorded: bool,
}

/// Reads a file from its start without moving its offset.
struct FromStart {
    file: Arc<File>,
    position: u64,
}

impl Archive {
    /// Stands at the start.
    pub fn new(compression: Compression) -> Self {
        Self {
            compression,
            decoder: None,
            window: Vec::new(),
            window_start: 0,
            ended_at: None,
            damage: None,
            is_whole: false,
            is_damage_recorded: false,
        }
    }

    /// Gives another reader of the same file, from its start.
    pub fn again(&self) -> Self {
        Self::new(self.compression)
    }

    /// Tells how large the file was when its end was reached; `None` while there is more to decompress.
    pub fn ended_at(&self) -> Option<u64> {
        self.ended_at.map(|(size, _)| size)
    }

    /// Says why it cannot be decompressed to its end, if it cannot; all before was given.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// Tells whether it was decompressed to its proper end, not to where it is cut off.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Tells whether it is in the middle of its file.
    pub fn is_decompressing(&self) -> bool {
        self.decoder.is_some()
    }

    /// Fills `into` with decompressed bytes from `position` on; less only at the end.
    ///
    /// # Errors
    /// As the operating system says (retry). Damage is none: it is an end of its own kind.
    pub fn read_at(&mut self, file: &Arc<File>, into: &mut [u8], position: u64) -> io::Result<usize> {
        if position < self.window_start || self.has_grown(file)? {
            self.start_over();
        }
        while self.window_end() < position {
            let skipped = (position - self.window_end()).min(SKIP_BYTES as u64) as usize;
            self.window_start = self.window_end();
            let mut window = std::mem::take(&mut self.window);
            window.resize(skipped, 0);
            let read = self.decompress(file, &mut window)?;
            window.truncate(read);
            self.window = window;
            if read == 0 {
                return Ok(0);
            }
        }
        let known = &self.window[(position - self.window_start) as usize..];
        let mut filled = known.len().min(into.len());
        into[..filled].copy_from_slice(&known[..filled]);
        if filled < into.len() {
            filled += self.decompress(file, &mut into[filled..])?;
            self.window.clear();
            self.window.extend_from_slice(&into[..filled]);
            self.window_start = position;
        }
        Ok(filled)
    }

    fn window_end(&self) -> u64 {
        self.window_start + self.window.len() as u64
    }

    fn has_grown(&self, file: &File) -> io::Result<bool> {
        Ok(match self.ended_at {
            Some(ended_at) => look(file)? != ended_at,
            None => false,
        })
    }

    fn start_over(&mut self) {
        (self.decoder, self.ended_at, self.damage, self.window_start) = (None, None, None, 0);
        (self.is_whole, self.is_damage_recorded) = (false, false);
        self.window.clear();
    }

    /// Decompresses what comes next; less than asked for only at the end.
    fn decompress(&mut self, file: &Arc<File>, into: &mut [u8]) -> io::Result<usize> {
        if self.ended_at.is_some() {
            return Ok(0);
        }
        let mut filled = 0;
        while filled < into.len() {
            let before = look(file)?;
            match self.decoder(file)?.read(&mut into[filled..]) {
                Ok(read) if read > 0 => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error().is_some() => {
                    self.start_over();
                    return Err(error);
                }
                ended => {
                    (self.decoder, self.ended_at, self.is_whole) = (None, Some(before), ended.is_ok());
                    let is_damage = |error: &io::Error| error.kind() != io::ErrorKind::UnexpectedEof;
                    self.damage = ended.err().filter(is_damage).map(|error| error.to_string());
                    break;
                }
            }
        }
        Ok(filled)
    }

    fn decoder(&mut self, file: &Arc<File>) -> io::Result<&mut Box<dyn Read + Send>> {
        let decoder = match self.decoder.take() {
            Some(decoder) => decoder,
            None => {
                let bytes = BufReader::with_capacity(SKIP_BYTES, FromStart { file: Arc::clone(file), position: 0 });
                match self.compression {
                    Compression::Gzip => Box::new(MultiGzDecoder::new(bytes)) as Box<dyn Read + Send>,
                    Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(bytes)?),
                }
            }
        };
        Ok(self.decoder.insert(decoder))
    }
}

fn look(file: &File) -> io::Result<(u64, Option<SystemTime>)> {
    let found = file.metadata()?;
    Ok((found.len(), found.modified().ok()))
}

impl Read for FromStart {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (compression, from) = (self.compression, self.window_start);
        out.debug_struct("Archive").field("compression", &compression).field("window_start", &from).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn text() -> Vec<u8> {
        (0..60_000).flat_map(|line| format!("line {line} of the archive\n").into_bytes()).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    fn archive(bytes: &[u8]) -> (Arc<File>, Archive) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        (Arc::new(file), Archive::new(Compression::of(bytes).unwrap()))
    }

    fn read((file, archive): &mut (Arc<File>, Archive), position: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let read = archive.read_at(file, &mut bytes, position).unwrap();
        bytes.truncate(read);
        bytes
    }

    #[test]
    fn both_formats_are_read_from_anywhere() {
        let text = text();
        for packed in [gzip(&text), zstd::encode_all(&text[..], 1).unwrap()] {
            let mut archive = archive(&packed);
            for (position, len) in [(0, 10), (5, 100_000), (90_000, 20_000), (700_000, 300), (3, 40), (50, 0)] {
                assert_eq!(read(&mut archive, position as u64, len), text[position..position + len]);
            }
            assert_eq!(read(&mut archive, text.len() as u64 - 10, 100), text[text.len() - 10..]);
            assert!(archive.1.ended_at().is_some());
            assert_eq!(read(&mut archive, text.len() as u64, 100), b"");
            assert_eq!(read(&mut archive, text.len() as u64 + 5000, 100), b"");
        }
    }

    #[test]
    fn members_follow_one_another_and_an_unfinished_archive_is_read_on_when_it_grows() {
        let text = text();
        let (front, back) = text.split_at(400_000);
        let cases = [
            [gzip(front), gzip(back)].concat(),
            [zstd::encode_all(front, 1).unwrap(), zstd::encode_all(back, 1).unwrap()].concat(),
        ];
        for packed in cases {
            for cut in [20, 100, packed.len() / 3, packed.len() / 2, packed.len() - 5] {
                let mut archive = archive(&packed[..cut]);
                let found = read(&mut archive, 0, text.len() + 1);
                assert!(text.starts_with(&found));
                let middle = found.len() as u64 / 2;
                archive.0.as_ref().write_all(&packed[cut..]).unwrap();
                assert_eq!(read(&mut archive, middle, text.len()), text[middle as usize..]);
            }
        }
    }

    #[test]
    fn a_damaged_archive_is_read_up_to_the_damage_and_again_once_it_is_mended() {
        let text = text();
        let (front, back) = text.split_at(400_000);
        let cases =
            [(gzip(front), gzip(back)), (zstd::encode_all(front, 1).unwrap(), zstd::encode_all(back, 1).unwrap())];
        for (front_packed, back_packed) in cases {
            let damaged = [&front_packed[..], &vec![b'x'; back_packed.len()]].concat();
            let mut archive = archive(&damaged);
            assert!(read(&mut archive, 0, text.len() + 1) == front);
            assert!(archive.1.damage().is_some() && archive.1.ended_at() == Some(damaged.len() as u64));
            archive.0.write_all_at(&back_packed, front_packed.len() as u64).unwrap();
            archive.0.set_modified(SystemTime::UNIX_EPOCH).unwrap();
            assert!(read(&mut archive, 0, text.len() + 1) == text);
            assert!(archive.1.damage().is_none());
        }
    }
}
