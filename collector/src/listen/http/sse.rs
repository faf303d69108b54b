//! A stream of server-sent events (HTML Living Standard §9.2): a record is a plain message, its token the event's id.

use bytes::BytesMut;
use skidway_record::{Offset, PartitionId, Record, TopicPartition};
use skidway_wire::{Problem, Reconnect};

use crate::json::RecordWriter;
use crate::listen::http::query::ReadQuery;
use crate::listen::http::stream::{Form, Framing, SHARED_PARTITIONS_MAX};
use crate::read::Token;

/// Every record has an id while there are at most this many partitions: the token grows with them.
pub(super) const ID_ALWAYS_PARTITIONS: usize = 32;

/// Past that, every so many records have one; of many topics no more often than there are partitions.
pub(super) const ID_EVERY_RECORDS: u64 = 100;

/// Writes events.
pub(super) struct Sse {
    writer: RecordWriter,
    inline_json: bool,
    records: u64,
    /// Every so many records have an id.
    id_every: u64,
}

impl Sse {
    /// Writes records as the query wants them.
    pub(super) fn new(query: &ReadQuery) -> Self {
        let writer = RecordWriter::of_any(query.inline_json);
        Self { writer, inline_json: query.inline_json, records: 0, id_every: 1 }
    }
}

impl Framing for Sse {
    const KIND: &'static str = "sse";
    const MEDIA_TYPE: &'static str = "text/event-stream";

    fn form(&self, place: &Token) -> Option<Form> {
        let alike = place.partitions() <= ID_ALWAYS_PARTITIONS.min(SHARED_PARTITIONS_MAX);
        alike.then_some(Form { id: 4 | u8::from(self.inline_json), shows_place: true })
    }

    fn turn_to(&mut self, of: &TopicPartition, place: &Token) {
        self.writer.turn_to(&of.topic);
        self.id_every = match place.partitions() {
            partitions if partitions <= ID_ALWAYS_PARTITIONS => 1,
            partitions if place.is_many => ID_EVERY_RECORDS.max(partitions as u64),
            _ => ID_EVERY_RECORDS,
        };
    }

    /// Tells where the stream starts: an event without data is not dispatched, but its id is remembered.
    fn open(&mut self, out: &mut BytesMut, place: &Token) {
        write_id(out, place);
        out.extend_from_slice(b"\n");
    }

    fn record(
        &mut self,
        out: &mut BytesMut,
        (partition, offset): (PartitionId, Offset),
        record: &Record<'_>,
        place: &Token,
    ) {
        self.records += 1;
        if self.records.is_multiple_of(self.id_every) {
            write_id(out, place);
        }
        out.extend_from_slice(b"data: ");
        self.writer.write(out, partition, offset, record, None);
        out.extend_from_slice(b"\n\n");
    }

    fn heartbeat(&mut self, out: &mut BytesMut, high_watermarks: &str, place: &Token) {
        let next = place.encode();
        let event = format!(
            "event: heartbeat\nid: {next}\ndata: {{\"high_watermarks\":{high_watermarks},\"next\":\"{next}\"}}\n\n"
        );
        out.extend_from_slice(event.as_bytes());
    }

    fn damaged(&mut self, out: &mut BytesMut, damage: &str, place: &Token) {
        let next = place.encode();
        out.extend_from_slice(format!("event: damaged\nid: {next}\ndata: {damage}\n\n").as_bytes());
    }

    fn gone(&mut self, out: &mut BytesMut, gone: &str, place: &Token) {
        let next = place.encode();
        out.extend_from_slice(format!("event: gone\nid: {next}\ndata: {gone}\n\n").as_bytes());
    }

    fn told(&mut self, out: &mut BytesMut, name: &str, told: &str, place: &Token) {
        let next = place.encode();
        out.extend_from_slice(format!("event: {name}\nid: {next}\ndata: {told}\n\n").as_bytes());
    }

    /// `retry` is EventSource's own field: it comes back by itself then, with the id as `Last-Event-ID`.
    fn reconnect(&mut self, out: &mut BytesMut, reconnect: &Reconnect, place: &Token) {
        let (retry, next) = (reconnect.after_ms, place.encode());
        let data = serde_json::json!({ "reconnect": reconnect, "next": next });
        out.extend_from_slice(format!("retry: {retry}\nevent: reconnect\nid: {next}\ndata: {data}\n\n").as_bytes());
    }

    fn error(&mut self, out: &mut BytesMut, problem: &Problem) {
        let problem = serde_json::to_string(problem).expect("a problem is plain JSON");
        out.extend_from_slice(format!("event: error\ndata: {problem}\n\n").as_bytes());
    }
}

fn write_id(out: &mut BytesMut, place: &Token) {
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(place.encode().as_bytes());
    out.extend_from_slice(b"\n");
}
