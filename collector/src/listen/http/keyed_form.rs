//! What records picked by key look like as a stream: as lines, as events.
//!
//! The same forms as those of whole topics (`ndjson`, `sse`), for records that are not shared among readers and places that are no tokens.

use bytes::BytesMut;
use skidway_record::{Offset, PartitionId, Record, TopicName};
use skidway_wire::Problem;

use crate::json::RecordWriter;
use crate::listen::http::query::ReadQuery;
use crate::listen::http::records::Kind;
use crate::listen::http::rendering::offsets_json;
use crate::listen::http::sse::{ID_ALWAYS_PARTITIONS, ID_EVERY_RECORDS};

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
    /// Says which one is asked for; `None` if it is no stream of records.
    pub(super) fn of(kind: Kind, query: &ReadQuery) -> Option<Self> {
        match kind {
            Kind::Ndjson => Some(Self::Ndjson { tokens: query.tokens }),
            Kind::Sse => Some(Self::Sse),
            Kind::Page | Kind::Raw => None,
        }
    }

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
