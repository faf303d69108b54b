//! What records picked by key look like: in a page, as lines, as events.
//!
//! The same forms as those of whole topics (`page`, `ndjson`, `sse`), for records that are not shared among readers.

use bytes::BytesMut;
use skidway_record::{Offset, PartitionId, Record, TopicName};
use skidway_wire::Problem;

use crate::json::RecordWriter;

/// Every event has an id while there are at most this many partitions: the token grows with them.
const ID_ALWAYS_PARTITIONS: usize = 32;

/// Past that, every so many have one.
const ID_EVERY_RECORDS: u64 = 100;

/// Says what a stream looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A line each; with the place after it, if that is wanted.
    Ndjson {
        /// Whether it is.
        tokens: bool,
    },
    /// An event each.
    Sse,
}

impl Shape {
    /// Names it in metrics.
    pub(super) fn kind(self) -> &'static str {
        if self == Self::Sse { "sse" } else { "ndjson" }
    }

    /// Names it in `Content-Type`.
    pub(super) fn media_type(self) -> &'static str {
        if self == Self::Sse { "text/event-stream" } else { "application/x-ndjson" }
    }
}

/// Writes a stream.
pub(super) struct StreamWriter {
    shape: Shape,
    writer: RecordWriter,
    partitions: usize,
    records: u64,
}

impl StreamWriter {
    /// Writes records of a topic, of which so many partitions are read.
    pub(super) fn new(shape: Shape, topic: &TopicName, inline_json: bool, partitions: usize) -> Self {
        Self { shape, writer: RecordWriter::new(topic, inline_json), partitions, records: 0 }
    }

    /// Writes a record; `place` makes the one after it.
    pub(super) fn record(
        &mut self,
        out: &mut BytesMut,
        (partition, offset): (PartitionId, Offset),
        record: &Record<'_>,
        place: impl FnOnce() -> String,
    ) {
        self.records += 1;
        match self.shape {
            Shape::Ndjson { tokens } => {
                let next = tokens.then(place);
                self.writer.write(out, partition, offset, record, next.as_deref());
                out.extend_from_slice(b"\n");
            }
            Shape::Sse => {
                if self.partitions <= ID_ALWAYS_PARTITIONS || self.records.is_multiple_of(ID_EVERY_RECORDS) {
                    out.extend_from_slice(format!("id: {}\n", place()).as_bytes());
                }
                out.extend_from_slice(b"data: ");
                self.writer.write(out, partition, offset, record, None);
                out.extend_from_slice(b"\n\n");
            }
        }
    }

    /// Writes where the stream begins, so that an `EventSource` knows it before the first record.
    pub(super) fn open(&self, out: &mut BytesMut, place: &str) {
        if self.shape == Shape::Sse {
            out.extend_from_slice(format!("id: {place}\n\n").as_bytes());
        }
    }

    /// Writes a heartbeat.
    pub(super) fn heartbeat(&self, out: &mut BytesMut, high_watermarks: &[(PartitionId, Offset)], place: &str) {
        let marks = offsets_json(high_watermarks);
        let text = match self.shape {
            Shape::Ndjson { .. } => format!("{{\"heartbeat\":{{\"high_watermarks\":{marks}}},\"next\":\"{place}\"}}\n"),
            Shape::Sse => {
                format!("event: heartbeat\nid: {place}\ndata: {{\"high_watermarks\":{marks},\"next\":\"{place}\"}}\n\n")
            }
        };
        out.extend_from_slice(text.as_bytes());
    }

    /// Writes that the table is at its end: what comes now was written after the watermark.
    pub(super) fn watermark(&self, out: &mut BytesMut, watermark: &[(PartitionId, Offset)], place: &str) {
        let line = format!("{{\"watermark\":{},\"next\":\"{place}\"}}", offsets_json(watermark));
        let text = match self.shape {
            Shape::Ndjson { .. } => format!("{line}\n"),
            Shape::Sse => format!("event: watermark\nid: {place}\ndata: {line}\n\n"),
        };
        out.extend_from_slice(text.as_bytes());
    }

    /// Writes the error that ends the stream.
    pub(super) fn error(&self, out: &mut BytesMut, problem: &Problem) {
        let problem = serde_json::to_string(problem).expect("a problem is plain JSON");
        let text = match self.shape {
            Shape::Ndjson { .. } => format!("{{\"error\":{problem}}}\n"),
            Shape::Sse => format!("event: error\ndata: {problem}\n\n"),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

/// Shows offsets by partition as a JSON object.
pub(super) fn offsets_json(offsets: &[(PartitionId, Offset)]) -> String {
    let members: Vec<String> = offsets.iter().map(|(partition, offset)| format!("\"{partition}\":{offset}")).collect();
    format!("{{{}}}", members.join(","))
}

/// Is a page being filled: an array of records, within bounds.
pub(super) struct PageWriter {
    body: BytesMut,
    writer: RecordWriter,
    records_left: u64,
    bytes_max: usize,
    /// No record fits any more.
    pub(super) full: bool,
    /// There is a record in it.
    pub(super) filled: bool,
}

impl PageWriter {
    /// Starts a page.
    pub(super) fn new(topic: &TopicName, inline_json: bool, (records_max, bytes_max): (u64, usize)) -> Self {
        let body = BytesMut::from(&b"{\"records\":["[..]);
        let writer = RecordWriter::new(topic, inline_json);
        Self { body, writer, records_left: records_max, bytes_max, full: false, filled: false }
    }

    /// Takes a record, the first one whatever its size; false if it does not fit.
    pub(super) fn record(&mut self, (partition, offset): (PartitionId, Offset), record: &Record<'_>) -> bool {
        let before = self.body.len();
        if self.filled {
            self.body.extend_from_slice(b",");
        }
        self.writer.write(&mut self.body, partition, offset, record, None);
        if self.filled && self.body.len() > self.bytes_max {
            self.body.truncate(before);
            self.full = true;
            return false;
        }
        (self.filled, self.records_left) = (true, self.records_left - 1);
        self.full = self.records_left == 0;
        true
    }

    /// Ends the page; `members` are what comes after the records.
    pub(super) fn finish(mut self, members: &str) -> BytesMut {
        self.body.extend_from_slice(format!("],{members}}}\n").as_bytes());
        self.body
    }
}
