//! A Parquet file being written in the spool. Rows wait in memory until they are a row group.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression as Codec, Encoding, ZstdLevel};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use skidway_record::Record;

use super::fields::Learning;
use super::leaf::Leaf;
use super::row::{At, push};
use super::table::Table;
use crate::sink::file::{Counted, Finished, ZSTD_LEVEL};
use crate::sink::rows::Compression;

/// Rows that wait take so much memory, at most; their buffers up to twice of it, the writer's a few MiB more.
const GROUP_BYTES: usize = 4 << 20;

/// The writer's, for one column.
const DICTIONARY_BYTES: usize = 512 << 10;

/// What a file's end says of row groups is kept in memory: a file with so many parts is full.
const PARTS_MAX: usize = 2048;

/// How often a file's size is told, in bytes that wait.
const TOLD_BYTES: usize = 64 << 10;

/// Is a file that takes rows.
pub(in crate::sink) struct ParquetFile {
    path: PathBuf,
    table: Arc<Table>,
    leaves: Vec<Leaf>,
    writer: SerializedFileWriter<Counted>,
    /// What waits, by the last look at it.
    waiting: usize,
    /// Came since.
    came: usize,
    /// What all row groups so far took while they waited.
    grouped: usize,
    group_bytes: usize,
}

impl ParquetFile {
    /// Creates it; replaces what was left of an earlier try.
    ///
    /// # Errors
    /// As the operating system says (retry).
    pub(in crate::sink) fn create(path: &Path, table: &Arc<Table>, compression: Compression) -> io::Result<Self> {
        let properties = properties(compression).map_err(io_error)?;
        Self::with(path, table, properties, GROUP_BYTES)
    }

    pub(super) fn with(
        path: &Path,
        table: &Arc<Table>,
        properties: WriterPropertiesPtr,
        group_bytes: usize,
    ) -> io::Result<Self> {
        let writer = SerializedFileWriter::new(Counted::create(path)?, table.schema.clone(), properties);
        let writer = writer.map_err(io_error)?;
        let leaves = writer.schema_descr().columns().iter().map(|column| Leaf::new(column));
        let leaves = leaves.collect::<Result<_>>().map_err(io_error)?;
        let table = table.clone();
        Ok(Self { path: path.to_owned(), table, leaves, writer, waiting: 0, came: 0, grouped: 0, group_bytes })
    }

    /// Appends a record's row; tells whether its size is worth a look.
    ///
    /// # Errors
    /// As the operating system says (retry, from the first row on).
    pub(in crate::sink) fn write(
        &mut self,
        at: At<'_>,
        record: &Record<'_>,
        learning: Option<&mut Learning>,
    ) -> io::Result<bool> {
        push(&mut self.leaves, &self.table, at, record, learning);
        // A guess that is cheap; those that are not small are looked at soon.
        self.came += record.bytes() + self.leaves.len() * 4;
        if self.came < TOLD_BYTES.min(self.group_bytes) {
            return Ok(false);
        }
        (self.waiting, self.came) = (self.leaves.iter().map(Leaf::bytes).sum(), 0);
        if self.waiting >= self.group_bytes {
            self.close_group().map_err(io_error)?;
        }
        Ok(true)
    }

    /// Tells how large it has become; of what waits, how large it will be by what came before.
    pub(in crate::sink) fn bytes(&self) -> u64 {
        if self.writer.flushed_row_groups().len() * self.leaves.len() > PARTS_MAX {
            return u64::MAX;
        }
        let written = self.writer.bytes_written();
        // Before there is a group to go by, a quarter: what logs become at worst, about.
        let waiting = (self.waiting * written).checked_div(self.grouped).unwrap_or(self.waiting / 4);
        (written + waiting) as u64
    }

    /// Completes it and makes it durable.
    ///
    /// # Errors
    /// As the operating system says (retry, from the first row on).
    pub(in crate::sink) fn finish(mut self) -> io::Result<Finished> {
        self.close_group().map_err(io_error)?;
        let bytes = self.writer.into_inner().map_err(io_error)?.finish()?;
        Ok(Finished { path: self.path, bytes, row_bytes: 0, digest: combined(&self.leaves) })
    }

    /// Gives where it is.
    pub(in crate::sink) fn path(&self) -> &Path {
        &self.path
    }

    fn close_group(&mut self) -> Result<()> {
        let mut group = self.writer.next_row_group()?;
        for leaf in &mut self.leaves {
            let column = group.next_column()?;
            leaf.write(column.ok_or_else(|| ParquetError::General("a column is missing".to_owned()))?)?;
        }
        group.close()?;
        self.grouped += self.waiting;
        self.waiting = 0;
        Ok(())
    }
}

/// Gives the digest of a file's columns together.
pub(super) fn combined(leaves: &[Leaf]) -> String {
    let mut digest = twox_hash::XxHash3_128::new();
    leaves.iter().for_each(|leaf| leaf.add_to(&mut digest));
    format!("{:032x}", digest.finish_128())
}

fn properties(compression: Compression) -> Result<WriterPropertiesPtr> {
    let codec = match compression {
        Compression::None => Codec::UNCOMPRESSED,
        Compression::Gzip | Compression::Zstd => Codec::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?),
    };
    let mut properties = WriterProperties::builder()
        .set_compression(codec)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_created_by(concat!("skidway version ", env!("CARGO_PKG_VERSION")).to_owned());
    // They grow: no dictionary helps, differences do.
    for column in ["offset", "timestamp"] {
        let column = ColumnPath::from(column);
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
    }
    Ok(Arc::new(properties.build()))
}

pub(super) fn io_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        error => io::Error::other(error),
    }
}
