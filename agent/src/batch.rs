//! Lines in, encoded record batches out. Pure: the time is handed in, a batch's span is its caller's to know.
//!
//! One batcher serves all files in turn; it never holds lines of two files at once.

use bytes::Bytes;
use skidway_record::limits::LINE_BYTES_PER_BATCH;
use skidway_record::{BatchBuilder, Compressor, EncodedHeaders};

use crate::flow::{DEAD_VALUE_BYTES_MAX, Marks, cut, fitted};

/// Marks a record whose line goes on in a later one.
pub const HEADER_PARTIAL: &[u8] = b"skidway-partial";
/// Marks a record whose line began in an earlier one.
pub const HEADER_CONTINUED: &[u8] = b"skidway-continued";

/// Marks a record whose line was too long, so that its rest was dropped.
pub const HEADER_TRUNCATED: &[u8] = b"skidway-truncated";
/// Says which output of a container wrote a record.
pub const HEADER_STREAM: &[u8] = b"stream";
/// Says what is wrong with a record.
pub const HEADER_ERROR: &[u8] = b"skidway-error";

/// Bounds a batch's records before compression, so that very short lines with long headers stay within what readers inflate.
const BODY_BYTES_MAX: usize = 6 << 20;

/// Holds what every record of one file carries, encoded once.
#[derive(Debug, Clone)]
pub struct FileHeaders {
    whole: EncodedHeaders,
    /// Of records that are marked, by their marks. Made when the file has its first such record.
    marked: Vec<(Marks, EncodedHeaders)>,
    key: Option<Bytes>,
}

impl FileHeaders {
    /// Encodes `fields` in the given order; `key` becomes every record's key.
    pub fn new<'a>(fields: impl IntoIterator<Item = (&'a str, &'a [u8])>, key: Option<Bytes>) -> Self {
        let fields = fields.into_iter().map(|(name, value)| (name.as_bytes(), Some(value)));
        Self { whole: EncodedHeaders::new(fields), marked: Vec::new(), key }
    }

    fn of(&mut self, marks: Marks) -> &EncodedHeaders {
        if marks == Marks::NONE {
            return &self.whole;
        }
        let at = self.marked.iter().position(|(known, _)| *known == marks).unwrap_or_else(|| {
            self.marked.push((marks, self.whole.and(fields_of(marks))));
            self.marked.len() - 1
        });
        &self.marked[at].1
    }
}

/// Gives the headers that marks become.
fn fields_of(marks: Marks) -> impl Iterator<Item = (&'static [u8], Option<&'static [u8]>)> {
    let fields: [(Marks, &[u8], &[u8]); 6] = [
        (Marks::STDOUT, HEADER_STREAM, b"stdout"),
        (Marks::STDERR, HEADER_STREAM, b"stderr"),
        (Marks::CONTINUED, HEADER_CONTINUED, b"true"),
        (Marks::PARTIAL, HEADER_PARTIAL, b"true"),
        (Marks::TRUNCATED, HEADER_TRUNCATED, b"true"),
        (Marks::FOREIGN, HEADER_ERROR, b"not a line of a container runtime"),
    ];
    fields.into_iter().filter(move |(mark, ..)| marks.has(*mark)).map(|(_, name, value)| (name, Some(value)))
}

/// Says why a record is dead and where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death<'a> {
    /// The collector's words.
    pub error: &'a str,
    /// The file.
    pub path: &'a [u8],
    /// Position of the line's first byte.
    pub position: u64,
}

/// Collects the lines of one batch.
#[derive(Debug)]
pub struct Batcher {
    builder: BatchBuilder,
    /// Of records for the dead-letter topic.
    dead: BatchBuilder,
    compressor: Compressor,
    line_bytes: usize,
    records: u64,
}

impl Batcher {
    /// Makes a batcher that compresses with this zstd level.
    ///
    /// # Errors
    /// The level is not one of zstd's, or memory is short (halt).
    pub fn new(compression_level: i32) -> std::io::Result<Self> {
        let compressor = Compressor::new(compression_level)?;
        let (builder, dead) = (BatchBuilder::new(), BatchBuilder::new());
        Ok(Self { builder, dead, compressor, line_bytes: 0, records: 0 })
    }

    /// Tells whether so many bytes still fit: a batch closes at 1 MiB of lines. An empty batch takes any line.
    #[inline]
    pub fn has_room(&self, line_bytes: usize) -> bool {
        self.line_bytes + line_bytes < LINE_BYTES_PER_BATCH && self.builder.body_bytes() < BODY_BYTES_MAX
            || self.line_bytes == 0
    }

    /// Appends a line as a record.
    #[inline]
    pub fn push(&mut self, timestamp_ms: i64, headers: &mut FileHeaders, line: &[u8], marks: Marks) {
        self.line_bytes += line.len() + 1;
        self.records += 1;
        let key = headers.key.clone();
        self.builder.push(timestamp_ms, key.as_deref(), Some(line), headers.of(marks));
    }

    /// Tells how many lines were taken since the last batch, dead letters included.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Gives the lines collected as one encoded batch; `None` if there are none.
    pub fn close(&mut self) -> Option<Bytes> {
        (self.line_bytes, self.records) = (0, 0);
        self.builder.finish(&mut self.compressor).map(|batch| fitted(batch.bytes()))
    }

    /// Appends a line as a dead letter, its value cut to 64 KiB.
    pub fn push_dead(&mut self, timestamp_ms: i64, headers: &FileHeaders, value: &[u8], death: &Death<'_>) {
        let position = death.position.to_string();
        let why: [(&[u8], &[u8]); 3] = [
            (HEADER_ERROR, death.error.as_bytes()),
            (b"skidway-path", death.path),
            (b"skidway-position", position.as_bytes()),
        ];
        let fields = headers.whole.and(why.map(|(name, value)| (name, Some(value))));
        let value = cut(value, DEAD_VALUE_BYTES_MAX);
        self.line_bytes += value.len() + 1;
        self.records += 1;
        self.dead.push(timestamp_ms, headers.key.as_deref(), Some(value), &fields);
    }

    /// Gives the dead letters collected as one encoded batch; `None` if there are none.
    pub fn close_dead(&mut self) -> Option<Bytes> {
        self.dead.finish(&mut self.compressor).map(|batch| fitted(batch.bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skidway_record::Batch;

    fn headers() -> FileHeaders {
        FileHeaders::new([("host", &b"web-1"[..]), ("path", b"/a.log")], None)
    }

    /// Shows each record of a batch as `name=value,… text`.
    fn show(batch: &Bytes) -> Vec<String> {
        let batch = Batch::take(&mut batch.clone()).unwrap();
        batch.verify().unwrap();
        let decoded = batch.decode().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        decoded
            .records()
            .map(|record| {
                let record = record.unwrap();
                let fields: Vec<String> =
                    record.headers().map(|it| format!("{}={}", text(it.key), text(it.value.unwrap()))).collect();
                format!("{} {}", fields.join(","), text(record.value.unwrap()))
            })
            .collect()
    }

    #[test]
    fn records_carry_the_files_headers_and_pieces_their_marks() {
        let (mut batcher, mut headers) = (Batcher::new(1).unwrap(), headers());
        let both = Marks::PARTIAL.and(Marks::CONTINUED);
        for marks in [Marks::NONE, Marks::PARTIAL, both, Marks::CONTINUED, Marks::STDERR, Marks::PARTIAL] {
            batcher.push(5, &mut headers, b"x", marks);
        }
        assert_eq!(batcher.records(), 6);
        let marks = [
            "",
            ",skidway-partial=true",
            ",skidway-continued=true,skidway-partial=true",
            ",skidway-continued=true",
            ",stream=stderr",
            ",skidway-partial=true",
        ];
        let expected = marks.map(|marks| format!("host=web-1,path=/a.log{marks} x"));
        assert_eq!(show(&batcher.close().unwrap()), expected);
        assert_eq!(batcher.close(), None);
    }

    #[test]
    fn a_batch_closes_at_one_mebibyte_of_lines_but_takes_any_first_line() {
        let (mut batcher, mut headers) = (Batcher::new(1).unwrap(), headers());
        let line = vec![b'x'; 300 << 10];
        let mut count = 0;
        while batcher.has_room(line.len()) {
            batcher.push(0, &mut headers, &line, Marks::NONE);
            count += 1;
        }
        assert_eq!(count, 3);
        batcher.close();
        assert!(batcher.has_room(2 << 20));
    }

    #[test]
    fn a_dead_letter_says_why_and_where_and_is_cut() {
        let death = Death { error: "too large", path: b"/a.log", position: 17 };
        let mut batcher = Batcher::new(1).unwrap();
        batcher.push_dead(0, &headers(), &[b'x'; 70_000], &death);
        assert_eq!((batcher.records(), batcher.close()), (1, None));
        let shown = show(&batcher.close_dead().unwrap()).remove(0);
        let fields = "host=web-1,path=/a.log,skidway-error=too large,skidway-path=/a.log,skidway-position=17 ";
        assert_eq!(shown.strip_prefix(fields).map(str::len), Some(DEAD_VALUE_BYTES_MAX));
    }
}
