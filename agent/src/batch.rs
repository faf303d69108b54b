//! Lines in, encoded record batches out. Pure: the time is handed in, a batch's span is its caller's to know.
//!
//! One batcher serves all files in turn; it never holds lines of two files at once.

use bytes::Bytes;
use skidway_record::limits::LINE_BYTES_PER_BATCH;
use skidway_record::{BatchBuilder, Compressor, EncodedHeaders};

use crate::flow::{DEAD_VALUE_BYTES_MAX, Line, cut, fitted};

/// Marks a record whose line goes on in a later one.
pub const HEADER_PARTIAL: &[u8] = b"skidway-partial";
/// Marks a record whose line began in an earlier one.
pub const HEADER_CONTINUED: &[u8] = b"skidway-continued";

/// Bounds a batch's records before compression, so that very short lines with long headers stay within what readers inflate.
const BODY_BYTES_MAX: usize = 6 << 20;

/// Holds what every record of one file carries, encoded once.
#[derive(Debug, Clone)]
pub struct FileHeaders {
    whole: EncodedHeaders,
    /// Of pieces of a line: partial, continued, both. Made when the file has its first such piece.
    pieces: Option<Box<[EncodedHeaders; 3]>>,
    key: Option<Bytes>,
}

impl FileHeaders {
    /// Encodes `fields` in the given order; `key` becomes every record's key.
    pub fn new<'a>(fields: impl IntoIterator<Item = (&'a str, &'a [u8])>, key: Option<Bytes>) -> Self {
        let fields = fields.into_iter().map(|(name, value)| (name.as_bytes(), Some(value)));
        Self { whole: EncodedHeaders::new(fields), pieces: None, key }
    }

    fn of(&mut self, line: &Line<'_>) -> &EncodedHeaders {
        if !line.partial && !line.continued {
            return &self.whole;
        }
        let pieces = self.pieces.get_or_insert_with(|| {
            let marks: [&[&[u8]]; 3] = [&[HEADER_PARTIAL], &[HEADER_CONTINUED], &[HEADER_CONTINUED, HEADER_PARTIAL]];
            Box::new(marks.map(|marks| self.whole.and(marks.iter().map(|&mark| (mark, Some(&b"true"[..]))))))
        });
        &pieces[if line.partial { usize::from(line.continued) * 2 } else { 1 }]
    }
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
        Ok(Self { builder: BatchBuilder::new(), compressor, line_bytes: 0, records: 0 })
    }

    /// Tells whether a line still fits: a batch closes at 1 MiB of lines. An empty batch takes any line.
    #[inline]
    pub fn has_room(&self, line: &Line<'_>) -> bool {
        self.line_bytes + line.bytes.len() < LINE_BYTES_PER_BATCH && self.builder.body_bytes() < BODY_BYTES_MAX
            || self.line_bytes == 0
    }

    /// Appends a line as a record.
    #[inline]
    pub fn push(&mut self, timestamp_ms: i64, headers: &mut FileHeaders, line: &Line<'_>) {
        self.line_bytes += line.bytes.len() + 1;
        self.records += 1;
        let key = headers.key.clone();
        self.builder.push(timestamp_ms, key.as_deref(), Some(line.bytes), headers.of(line));
    }

    /// Tells how many lines were taken since the last batch.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Gives the lines collected as one encoded batch; `None` if there are none.
    pub fn close(&mut self) -> Option<Bytes> {
        (self.line_bytes, self.records) = (0, 0);
        self.builder.finish(&mut self.compressor).map(|batch| fitted(batch.bytes()))
    }

    /// Encodes one line as the only record of a dead-letter batch, its value cut to 64 KiB.
    pub fn dead_letter(&mut self, timestamp_ms: i64, headers: &FileHeaders, value: &[u8], death: &Death<'_>) -> Bytes {
        let position = death.position.to_string();
        let why: [(&[u8], &[u8]); 3] = [
            (b"skidway-error", death.error.as_bytes()),
            (b"skidway-path", death.path),
            (b"skidway-position", position.as_bytes()),
        ];
        let fields = headers.whole.and(why.map(|(name, value)| (name, Some(value))));
        let value = cut(value, DEAD_VALUE_BYTES_MAX);
        self.builder.push(timestamp_ms, headers.key.as_deref(), Some(value), &fields);
        self.close().expect("a record was just pushed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skidway_record::Batch;

    fn whole(bytes: &[u8]) -> Line<'_> {
        Line { bytes, continued: false, partial: false }
    }

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
        let piece = |continued, partial| Line { bytes: b"x", continued, partial };
        for line in [whole(b"x"), piece(false, true), piece(true, true), piece(true, false)] {
            batcher.push(5, &mut headers, &line);
        }
        assert_eq!(batcher.records(), 4);
        let marks =
            ["", ",skidway-partial=true", ",skidway-continued=true,skidway-partial=true", ",skidway-continued=true"];
        let expected = marks.map(|marks| format!("host=web-1,path=/a.log{marks} x"));
        assert_eq!(show(&batcher.close().unwrap()), expected);
        assert_eq!(batcher.close(), None);
    }

    #[test]
    fn a_batch_closes_at_one_mebibyte_of_lines_but_takes_any_first_line() {
        let (mut batcher, mut headers) = (Batcher::new(1).unwrap(), headers());
        let line = vec![b'x'; 300 << 10];
        let mut count = 0;
        while batcher.has_room(&whole(&line)) {
            batcher.push(0, &mut headers, &whole(&line));
            count += 1;
        }
        assert_eq!(count, 3);
        batcher.close();
        assert!(batcher.has_room(&whole(&vec![0; 2 << 20])));
    }

    #[test]
    fn a_dead_letter_says_why_and_where_and_is_cut() {
        let death = Death { error: "too large", path: b"/a.log", position: 17 };
        let letter = Batcher::new(1).unwrap().dead_letter(0, &headers(), &[b'x'; 70_000], &death);
        let shown = show(&letter).remove(0);
        let fields = "host=web-1,path=/a.log,skidway-error=too large,skidway-path=/a.log,skidway-position=17 ";
        assert_eq!(shown.strip_prefix(fields).map(str::len), Some(DEAD_VALUE_BYTES_MAX));
    }
}
