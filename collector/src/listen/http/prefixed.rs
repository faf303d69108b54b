//! A stream of those records alone whose key begins with something.

use bytes::{Bytes, BytesMut};
use skidway_record::{Offset, PartitionId, Record, TopicPartition};
use skidway_wire::{Problem, Reconnect};

use crate::listen::http::stream::{Form, Framing};
use crate::read::Token;

/// Leaves out the records of other keys. The places of those that follow, and heartbeats, are past them.
pub(super) struct Prefixed<F> {
    prefix: Bytes,
    framing: F,
}

impl<F: Framing> Prefixed<F> {
    /// Writes as `framing` does.
    pub(super) fn new(prefix: Bytes, framing: F) -> Self {
        Self { prefix, framing }
    }
}

impl<F: Framing> Framing for Prefixed<F> {
    const KIND: &'static str = F::KIND;
    const MEDIA_TYPE: &'static str = F::MEDIA_TYPE;

    fn form(&self, place: &Token) -> Option<Form> {
        if self.prefix.is_empty() { self.framing.form(place) } else { None }
    }

    fn turn_to(&mut self, of: &TopicPartition, place: &Token) {
        self.framing.turn_to(of, place);
    }

    fn open(&mut self, out: &mut BytesMut, place: &Token) {
        self.framing.open(out, place);
    }

    fn record(&mut self, out: &mut BytesMut, at: (PartitionId, Offset), record: &Record<'_>, place: &Token) {
        if self.prefix.is_empty() || record.key.is_some_and(|key| key.starts_with(&self.prefix)) {
            self.framing.record(out, at, record, place);
        }
    }

    fn heartbeat(&mut self, out: &mut BytesMut, high_watermarks: &str, place: &Token) {
        self.framing.heartbeat(out, high_watermarks, place);
    }

    fn damaged(&mut self, out: &mut BytesMut, damage: &str, place: &Token) {
        self.framing.damaged(out, damage, place);
    }

    fn gone(&mut self, out: &mut BytesMut, gone: &str, place: &Token) {
        self.framing.gone(out, gone, place);
    }

    fn told(&mut self, out: &mut BytesMut, name: &str, told: &str, place: &Token) {
        self.framing.told(out, name, told, place);
    }

    fn reconnect(&mut self, out: &mut BytesMut, reconnect: &Reconnect, place: &Token) {
        self.framing.reconnect(out, reconnect, place);
    }

    fn error(&mut self, out: &mut BytesMut, problem: &Problem) {
        self.framing.error(out, problem);
    }
}
