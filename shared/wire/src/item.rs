//! One thing an agent commits, and what became of it.

use std::ops::Range;

use bytes::Bytes;
use skidway_record::SourceId;
use skidway_record::limits::BATCH_BYTES_MAX;
use skidway_record::source::{CARRY_BYTES_MAX, Fingerprint, NewSource, PATH_BYTES_MAX, PhysicalId};

use crate::codec::{Reader, Writer};
use crate::error::WireError;
use crate::source::{read_fingerprint, read_new, read_physical, write_fingerprint, write_new, write_physical};

/// Bounds the batches of one item.
pub const BATCHES_PER_ITEM_MAX: usize = 16;

/// Says what a span's bytes were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpanKind {
    /// Read; the item's batches hold the lines.
    Read,
    /// Deliberately not read (`start_at = "end"`); no batches.
    Skipped,
    /// Gone before anyone could read them; no batches. The collector writes the loss event in the same commit.
    Lost {
        /// Why, for the event.
        reason: String,
        /// False if `span` is only a bound.
        exact: bool,
    },
}

/// Holds one thing to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Creates a source.
    Create(NewSource),
    /// Moves a source's position over a span, with the batches that came of it.
    Span {
        /// Which source.
        source: SourceId,
        /// Must start at the source's position; may be empty (to update path, head or carry).
        span: Range<u64>,
        /// What the bytes were.
        kind: SpanKind,
        /// The framer's state the source must have. To be said if the span is empty and has batches: its end does not tell whether it was
        /// committed before.
        expected_carry: Option<Bytes>,
        /// The framer's state at `span.end`.
        carry: Bytes,
        /// Head as now known.
        head: Fingerprint,
        /// Of the bytes before `span.end`.
        anchor: Fingerprint,
        /// The file's path now, if it changed.
        path: Option<Bytes>,
        /// At most [`BATCHES_PER_ITEM_MAX`] encoded record batches, for the source's topic.
        batches: Vec<Bytes>,
        /// Batches of records the collector rejected before, for the topic `<topic>.dead`; as many at most.
        dead: Vec<Bytes>,
    },
    /// Lets a source continue in another file that holds a copy of its bytes.
    Rebind {
        /// Which source.
        source: SourceId,
        /// The copy.
        physical: PhysicalId,
        /// Its path.
        path: Bytes,
    },
    /// Moves the framer's state of a source that was read to its end to the source of the file that took its name: what is unfinished there
    /// goes on here.
    HandOver {
        /// The source that was read to its end.
        from: SourceId,
        /// Where it must stand.
        position: u64,
        /// The framer's state it must have; not empty.
        carry: Bytes,
        /// The source that goes on; it must stand at 0 and have no framer's state.
        to: SourceId,
    },
    /// Reports that the file is gone and everything of it acknowledged; the source is forgotten 30 days later.
    Gone {
        /// Which source.
        source: SourceId,
    },
    /// Marks an input as opened: its first scan is over, `start_at` no longer applies.
    Opened {
        /// The input's name.
        input: String,
    },
}

/// Tells what became of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemResult {
    /// Durable.
    Accepted,
    /// The span does not start where the source stands, or its framer has another state; nothing of the item is stored. Re-read from here.
    /// If `position` is the span's own end, and `carry` its carry, the item had already been committed.
    Conflict {
        /// The source's position.
        position: u64,
        /// The framer's state there.
        carry: Bytes,
    },
    /// The collector does not know the source.
    UnknownSource,
    /// Another source has this physical identity, or the id is taken; nothing is stored.
    Exists {
        /// The source that has it.
        source: SourceId,
    },
    /// The item was refused: for what its batches are (400, 413; it will never be accepted), or for what it asks of the
    /// collector (404, such as a topic that may not be created; the same item may be accepted later).
    Rejected {
        /// Which batch, if one is to blame.
        batch: Option<u32>,
        /// An HTTP status: 400 malformed, 413 too large, 404 its topic is not there.
        status: u32,
        /// In words.
        reason: String,
    },
}

impl Item {
    /// Gives about how many bytes it takes in a frame.
    pub(crate) fn bytes_about(&self) -> usize {
        const REST: usize = 192;
        match self {
            Self::Span { batches, dead, carry, .. } => {
                let batches = batches.iter().chain(dead).map(|batch| 4 + batch.len());
                REST + carry.len() + batches.sum::<usize>()
            }
            _ => REST,
        }
    }
}

pub(crate) fn write_item(out: &mut Writer, item: &Item) {
    match item {
        Item::Create(source) => {
            out.u8(1);
            write_new(out, source);
        }
        Item::Span { source, span, kind, expected_carry, carry, head, anchor, path, batches, dead } => {
            out.u8(2);
            out.array(&source.0);
            out.u64(span.start);
            out.u64(span.end);
            write_kind(out, kind);
            out.option(expected_carry.as_ref(), |out, carry| out.bytes(carry));
            out.bytes(carry);
            write_fingerprint(out, head);
            write_fingerprint(out, anchor);
            out.option(path.as_ref(), |out, path| out.bytes(path));
            out.list(batches, |out, batch| out.bytes(batch));
            out.list(dead, |out, batch| out.bytes(batch));
        }
        Item::Rebind { source, physical, path } => {
            out.u8(3);
            out.array(&source.0);
            write_physical(out, physical);
            out.bytes(path);
        }
        Item::Gone { source } => {
            out.u8(4);
            out.array(&source.0);
        }
        Item::Opened { input } => {
            out.u8(5);
            out.text(input);
        }
        Item::HandOver { from, position, carry, to } => {
            out.u8(6);
            out.array(&from.0);
            out.u64(*position);
            out.bytes(carry);
            out.array(&to.0);
        }
    }
}

pub(crate) fn read_item(input: &mut Reader) -> Result<Item, WireError> {
    Ok(match input.u8("item")? {
        1 => Item::Create(read_new(input)?),
        2 => read_span(input)?,
        3 => Item::Rebind {
            source: SourceId(input.array("source id")?),
            physical: read_physical(input)?,
            path: input.bytes("path", PATH_BYTES_MAX)?,
        },
        4 => Item::Gone { source: SourceId(input.array("source id")?) },
        5 => Item::Opened { input: input.text("input")? },
        6 => Item::HandOver {
            from: SourceId(input.array("source id")?),
            position: input.u64("position")?,
            carry: input.bytes("carry", CARRY_BYTES_MAX)?,
            to: SourceId(input.array("source id")?),
        },
        other => return Err(WireError::field("item", format_args!("unknown kind {other}"))),
    })
}

fn read_span(input: &mut Reader) -> Result<Item, WireError> {
    let source = SourceId(input.array("source id")?);
    let span = input.u64("span start")?..input.u64("span end")?;
    if span.start > span.end {
        return Err(WireError::field("span", "it ends before it starts"));
    }
    let kind = read_kind(input)?;
    let expected_carry = match input.version() {
        ..3 => None,
        _ => input.option("expected carry", |input| input.bytes("expected carry", CARRY_BYTES_MAX))?,
    };
    let carry = input.bytes("carry", CARRY_BYTES_MAX)?;
    let (head, anchor) = (read_fingerprint(input)?, read_fingerprint(input)?);
    let path = input.option("path", |input| input.bytes("path", PATH_BYTES_MAX))?;
    let (batches, dead) = (read_batches(input)?, read_batches(input)?);
    Ok(Item::Span { source, span, kind, expected_carry, carry, head, anchor, path, batches, dead })
}

/// Reads a list of batches. Twice the limit is let through, so that the item and not the request is refused as too large.
fn read_batches(input: &mut Reader) -> Result<Vec<Bytes>, WireError> {
    input.list("batches", BATCHES_PER_ITEM_MAX, |input| input.bytes("batch", BATCH_BYTES_MAX * 2))
}

fn write_kind(out: &mut Writer, kind: &SpanKind) {
    match kind {
        SpanKind::Read => out.u8(0),
        SpanKind::Skipped => out.u8(1),
        SpanKind::Lost { reason, exact } => {
            out.u8(2);
            out.text(reason);
            out.u8(u8::from(*exact));
        }
    }
}

fn read_kind(input: &mut Reader) -> Result<SpanKind, WireError> {
    Ok(match input.u8("span kind")? {
        0 => SpanKind::Read,
        1 => SpanKind::Skipped,
        2 => SpanKind::Lost { reason: input.text("reason")?, exact: input.u8("exact")? != 0 },
        other => return Err(WireError::field("span kind", other)),
    })
}

pub(crate) fn write_result(out: &mut Writer, result: &ItemResult) {
    match result {
        ItemResult::Accepted => out.u8(0),
        ItemResult::Conflict { position, carry } => {
            out.u8(1);
            out.u64(*position);
            out.bytes(carry);
        }
        ItemResult::UnknownSource => out.u8(2),
        ItemResult::Exists { source } => {
            out.u8(3);
            out.array(&source.0);
        }
        ItemResult::Rejected { batch, status, reason } => {
            out.u8(4);
            out.option(*batch, Writer::u32);
            out.u32(*status);
            out.text(reason);
        }
    }
}

pub(crate) fn read_result(input: &mut Reader) -> Result<ItemResult, WireError> {
    Ok(match input.u8("result")? {
        0 => ItemResult::Accepted,
        1 => ItemResult::Conflict { position: input.u64("position")?, carry: input.bytes("carry", CARRY_BYTES_MAX)? },
        2 => ItemResult::UnknownSource,
        3 => ItemResult::Exists { source: SourceId(input.array("source id")?) },
        4 => ItemResult::Rejected {
            batch: input.option("batch", |input| input.u32("batch"))?,
            status: input.u32("status")?,
            reason: input.text("reason")?,
        },
        other => return Err(WireError::field("result", other)),
    })
}
