//! What a record is in a file: a JSON object or its bare value, and which of the file's rows have which compression. Rows end with LF.

use bytes::BytesMut;
use skidway_record::{Offset, PartitionId, Record, TopicName};

use crate::json::{Column, RecordWriter};

/// Says what a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON object a record.
    Ndjson,
    /// The record's value as it is.
    Raw,
    /// Parquet: typed columns. Its rows are not text; see [`super::parquet`].
    Parquet,
}

/// Says how a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// gzip, what every reader knows.
    Gzip,
    /// Zstandard, smaller and faster.
    Zstd,
    /// Not at all.
    None,
}

impl Format {
    /// Lists all, with the names that configurations use.
    pub const ALL: [(&'static str, Self); 3] =
        [("ndjson", Self::Ndjson), ("raw", Self::Raw), ("parquet", Self::Parquet)];

    /// Gives its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }
}

impl Compression {
    /// Lists all, with the names that configurations use.
    pub const ALL: [(&'static str, Self); 3] = [("gzip", Self::Gzip), ("zstd", Self::Zstd), ("none", Self::None)];

    /// Gives its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, compression)| *compression == self).map_or("", |(name, _)| name)
    }
}

/// Gives a file's extensions.
pub fn extension(format: Format, compression: Compression) -> String {
    let format = match format {
        Format::Ndjson => "ndjson",
        Format::Raw => "log",
        // Compressed inside.
        Format::Parquet => return "parquet".to_owned(),
    };
    match compression {
        Compression::Gzip => format!("{format}.gz"),
        Compression::Zstd => format!("{format}.zst"),
        Compression::None => format.to_owned(),
    }
}

/// Makes rows of records of one topic.
pub struct Rows {
    topic: TopicName,
    format: Format,
    columns: Vec<Column>,
    writer: RecordWriter,
}

impl Rows {
    /// Makes rows of this format; an NDJSON row shows these columns. With `inline_json`, a value that is JSON appears as it is.
    pub fn new(topic: &TopicName, format: Format, columns: &[Column], inline_json: bool) -> Self {
        let writer = RecordWriter::new(topic, inline_json);
        Self { topic: topic.clone(), format, columns: columns.to_vec(), writer }
    }

    /// Gives the topic whose records they are.
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// Appends a record's row of text.
    pub fn write(&mut self, out: &mut BytesMut, partition: PartitionId, offset: Offset, record: &Record<'_>) {
        match self.format {
            Format::Ndjson => {
                self.writer.write_columns(out, &self.columns, (&self.topic, partition, offset), record);
            }
            Format::Raw | Format::Parquet => out.extend_from_slice(record.value.unwrap_or_default()),
        }
        out.extend_from_slice(b"\n");
    }
}
