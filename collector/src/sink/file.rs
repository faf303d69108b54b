//! A file being written in the spool: rows in, compressed bytes out, a digest of the rows kept on the way.
//!
//! Rows of text are all here; those of Parquet are in a room of their own. The digest tells whether two files hold the same rows, whatever compressed them.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use flate2::write::GzEncoder;
use skidway_record::{Offset, PartitionId, Record};

use super::parquet::{Learning, ParquetFile, Table};
use super::rows::{Compression, Rows};

/// Rows are handed on in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;

/// Of a zstd file; 3 is zstd's own default.
pub(super) const ZSTD_LEVEL: i32 = 3;

/// Is a file that takes rows. Not durable, and of no use to anyone, before [`RowFile::finish`].
pub(super) enum RowFile {
    Text(Box<TextFile>),
    Parquet(Box<ParquetFile>),
}

/// Is a file of rows that are lines.
pub(super) struct TextFile {
    path: PathBuf,
    output: Output,
    rows: BytesMut,
    digest: Digest,
}

/// Is a file that is complete and durable under its name in the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finished {
    /// Where it is.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// Bytes of its rows, before compression; 0 of Parquet, where that says nothing.
    pub row_bytes: u64,
    /// Of its rows, in hexadecimal.
    pub digest: String,
}

enum Output {
    Gzip(GzEncoder<Counted>),
    Zstd(zstd::Encoder<'static, Counted>),
    None(Counted),
}

/// Is a file that counts what is written to it.
pub(super) struct Counted {
    file: BufWriter<File>,
    bytes: u64,
}

/// Is a digest of rows, and their bytes.
struct Digest {
    hash: twox_hash::XxHash3_128,
    bytes: u64,
}

impl RowFile {
    /// Creates it, with a table if it is a Parquet file; replaces what was left of an earlier try.
    ///
    /// # Errors
    /// As the operating system says (retry).
    pub(super) fn create(path: &Path, compression: Compression, table: Option<&Arc<Table>>) -> io::Result<Self> {
        Ok(match table {
            Some(table) => Self::Parquet(Box::new(ParquetFile::create(path, table, compression)?)),
            None => Self::Text(Box::new(TextFile::create(path, compression)?)),
        })
    }

    /// Appends a record's row; tells whether its size is worth a look.
    ///
    /// # Errors
    /// As the operating system says (retry, from the first row on).
    pub(super) fn write(
        &mut self,
        rows: &mut Rows,
        (partition, offset): (PartitionId, Offset),
        record: &Record<'_>,
        learning: Option<&mut Learning>,
    ) -> io::Result<bool> {
        match self {
            Self::Text(file) => {
                rows.write(&mut file.rows, partition, offset, record);
                file.hand_on()
            }
            Self::Parquet(file) => file.write((rows.topic(), partition, offset), record, learning),
        }
    }

    /// Tells how large it has become, as far as compression has come.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Text(file) => file.bytes(),
            Self::Parquet(file) => file.bytes(),
        }
    }

    /// Completes it and makes it durable.
    ///
    /// # Errors
    /// As the operating system says (retry, from the first row on).
    pub(super) fn finish(self) -> io::Result<Finished> {
        match self {
            Self::Text(file) => file.finish(),
            Self::Parquet(file) => file.finish(),
        }
    }

    /// Takes it out of the spool: what is in it will be written again.
    pub(super) fn discard(self) {
        let path = match &self {
            Self::Text(file) => &file.path,
            Self::Parquet(file) => file.path(),
        };
        // What cannot be removed now is by the next start.
        let _left = std::fs::remove_file(path);
    }
}

impl TextFile {
    fn create(path: &Path, compression: Compression) -> io::Result<Self> {
        let file = Counted::create(path)?;
        let output = match compression {
            Compression::Gzip => Output::Gzip(GzEncoder::new(file, flate2::Compression::default())),
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(file, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                Output::Zstd(encoder)
            }
            Compression::None => Output::None(file),
        };
        Ok(Self { path: path.to_owned(), output, rows: BytesMut::new(), digest: Digest::new() })
    }

    /// Hands rows on once there are enough; tells whether there were.
    fn hand_on(&mut self) -> io::Result<bool> {
        let is_enough = self.rows.len() >= PIECE_BYTES;
        if is_enough {
            self.flush()?;
        }
        Ok(is_enough)
    }

    fn bytes(&self) -> u64 {
        match &self.output {
            Output::Gzip(encoder) => encoder.get_ref().bytes,
            Output::Zstd(encoder) => encoder.get_ref().bytes,
            Output::None(file) => file.bytes,
        }
    }

    fn finish(mut self) -> io::Result<Finished> {
        self.flush()?;
        let file = match self.output {
            Output::Gzip(encoder) => encoder.finish()?,
            Output::Zstd(encoder) => encoder.finish()?,
            Output::None(file) => file,
        };
        let Digest { bytes: row_bytes, .. } = self.digest;
        Ok(Finished { path: self.path, bytes: file.finish()?, row_bytes, digest: self.digest.finish() })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.digest.write(&self.rows);
        match &mut self.output {
            Output::Gzip(encoder) => encoder.write_all(&self.rows)?,
            Output::Zstd(encoder) => encoder.write_all(&self.rows)?,
            Output::None(file) => file.write_all(&self.rows)?,
        }
        self.rows.clear();
        Ok(())
    }
}

impl Finished {
    /// Takes it out of the spool.
    pub(super) fn discard(&self) {
        let _left = std::fs::remove_file(&self.path);
    }
}

impl Digest {
    fn new() -> Self {
        Self { hash: twox_hash::XxHash3_128::new(), bytes: 0 }
    }

    fn write(&mut self, rows: &[u8]) {
        self.hash.write(rows);
        self.bytes += rows.len() as u64;
    }

    fn finish(&self) -> String {
        format!("{:032x}", self.hash.finish_128())
    }
}

/// Gives the digests of a text file's parts, which have so many bytes of rows; the last one is all that is left.
///
/// # Errors
/// It cannot be read or decompressed.
pub(super) fn digests(file: impl Read, compression: Compression, row_bytes: &[u64]) -> io::Result<Vec<String>> {
    let mut rows: Box<dyn Read> = match compression {
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Compression::Zstd => Box::new(zstd::Decoder::new(file)?),
        Compression::None => Box::new(file),
    };
    let (mut piece, mut found) = (vec![0; PIECE_BYTES], Vec::new());
    for (at, bytes) in row_bytes.iter().enumerate() {
        let is_last = at + 1 == row_bytes.len();
        let (mut digest, mut left) = (Digest::new(), if is_last { u64::MAX } else { *bytes });
        while left > 0 {
            let most = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = rows.read(&mut piece[..most])?;
            if read == 0 {
                break;
            }
            digest.write(&piece[..read]);
            left -= read as u64;
        }
        found.push(digest.finish());
    }
    Ok(found)
}

impl Counted {
    /// Creates a file.
    ///
    /// # Errors
    /// As the operating system says (retry).
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: BufWriter::with_capacity(PIECE_BYTES, File::create(path)?), bytes: 0 })
    }

    /// Makes it durable; gives its bytes.
    ///
    /// # Errors
    /// As the operating system says (retry).
    pub(super) fn finish(self) -> io::Result<u64> {
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        Ok(self.bytes)
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_of_the_rows_whatever_compresses_them() {
        let temp = tempfile::tempdir().unwrap();
        let mut all = Vec::new();
        for (compression, pieces) in [(Compression::Gzip, 1), (Compression::Zstd, 1000), (Compression::None, 10)] {
            let mut file = TextFile::create(&temp.path().join("spool"), compression).unwrap();
            for piece in 0..1000 {
                file.rows.extend_from_slice(format!("{piece:0200}\n").as_bytes());
                if piece % pieces == 0 {
                    file.hand_on().unwrap();
                }
            }
            let finished = file.finish().unwrap();
            assert_eq!(finished.bytes, std::fs::metadata(&finished.path).unwrap().len());
            let found = |bytes: &[u64]| digests(File::open(&finished.path).unwrap(), compression, bytes);
            assert_eq!(found(&[finished.row_bytes]).unwrap().concat(), finished.digest);
            let halves = found(&[finished.row_bytes / 2, finished.row_bytes / 2]).unwrap();
            assert!(halves.len() == 2 && !halves.contains(&finished.digest), "{halves:?}");
            all.push(finished.digest);
        }
        all.dedup();
        assert_eq!(all.len(), 1);
    }
}
