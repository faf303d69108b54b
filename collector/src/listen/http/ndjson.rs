//! A stream of lines: records, and control lines `{"heartbeat":…,"next":…}`, `{"damaged":…,"next":…}`, `{"gone":…,"next":…}`,
//! `{"reconnect":…,"next":…}` and `{"error":…}`.

use bytes::BytesMut;
use skidway_record::{Offset, PartitionId, Record, TopicPartition};
use skidway_wire::{Problem, Reconnect};

use crate::json::RecordWriter;
use crate::listen::http::query::ReadQuery;
use crate::listen::http::stream::{Form, Framing, SHARED_PARTITIONS_MAX};
use crate::read::Token;

/// Writes NDJSON.
pub(super) struct Ndjson {
    writer: RecordWriter,
    tokens: bool,
    inline_json: bool,
}

impl Ndjson {
    /// Writes records as the query wants them.
    pub(super) fn new(query: &ReadQuery) -> Self {
        let writer = RecordWriter::of_any(query.inline_json);
        Self { writer, tokens: query.tokens, inline_json: query.inline_json }
    }
}

impl Framing for Ndjson {
    const KIND: &'static str = "ndjson";
    const MEDIA_TYPE: &'static str = "application/x-ndjson";

    fn form(&self, place: &Token) -> Option<Form> {
        let alike = !self.tokens || place.partitions() <= SHARED_PARTITIONS_MAX;
        let id = (u8::from(self.tokens) << 1) | u8::from(self.inline_json);
        alike.then_some(Form { id, shows_place: self.tokens })
    }

    fn turn_to(&mut self, of: &TopicPartition, _place: &Token) {
        self.writer.turn_to(&of.topic);
    }

    fn open(&mut self, _out: &mut BytesMut, _place: &Token) {}

    fn record(
        &mut self,
        out: &mut BytesMut,
        (partition, offset): (PartitionId, Offset),
        record: &Record<'_>,
        place: &Token,
    ) {
        let next = self.tokens.then(|| place.encode());
        self.writer.write(out, partition, offset, record, next.as_deref());
        out.extend_from_slice(b"\n");
    }

    fn heartbeat(&mut self, out: &mut BytesMut, high_watermarks: &str, place: &Token) {
        let next = place.encode();
        let line = format!("{{\"heartbeat\":{{\"high_watermarks\":{high_watermarks}}},\"next\":\"{next}\"}}\n");
        out.extend_from_slice(line.as_bytes());
    }

    fn damaged(&mut self, out: &mut BytesMut, damage: &str, place: &Token) {
        let line = format!("{{\"damaged\":{damage},\"next\":\"{}\"}}\n", place.encode());
        out.extend_from_slice(line.as_bytes());
    }

    fn gone(&mut self, out: &mut BytesMut, gone: &str, place: &Token) {
        let line = format!("{{\"gone\":{gone},\"next\":\"{}\"}}\n", place.encode());
        out.extend_from_slice(line.as_bytes());
    }

    fn told(&mut self, out: &mut BytesMut, name: &str, told: &str, place: &Token) {
        let line = format!("{{\"{name}\":{told},\"next\":\"{}\"}}\n", place.encode());
        out.extend_from_slice(line.as_bytes());
    }

    fn reconnect(&mut self, out: &mut BytesMut, reconnect: &Reconnect, place: &Token) {
        let line = serde_json::json!({ "reconnect": reconnect, "next": place.encode() }).to_string();
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\n");
    }

    fn error(&mut self, out: &mut BytesMut, problem: &Problem) {
        let line = serde_json::json!({ "error": problem }).to_string();
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\n");
    }
}
