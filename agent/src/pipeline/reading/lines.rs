//! Lines, and records of several, of a block: the way of most files. A line too long is dealt with as its input asks.

use super::{Ask, DROPPED_BYTES_MAX, Framed, Unfinished};
use crate::batch::{Batcher, Death, FileHeaders};
use crate::discover::path_bytes;
use crate::flow::{Line, Marks};
use crate::frame::carry::LINES_BYTES_MAX;
use crate::frame::framer::Framer;
use crate::frame::lines::{LongLines, Place};
use crate::frame::strands::Kept;
use crate::metrics;
use crate::pipeline::source::Source;

/// Why a line too long is a dead letter.
pub(super) const TOO_LONG: &str = "the line is longer than line_bytes_max";

/// Frames a block, after the lines that wait in the carry, if any do. Gives how much of the block is done with, whether the batch is full, and
/// what is left.
pub(super) fn frame_after_carried(
    batcher: &mut Batcher,
    source: &mut Source,
    ask: Ask<'_>,
    (block, at_end): (&[u8], bool),
) -> (usize, bool, Kept) {
    let carried = source.carry.take_lines();
    let joined;
    let text = if carried.is_empty() {
        block
    } else {
        joined = [&carried[..], block].concat();
        &joined[..]
    };
    let framed = frame(batcher, source, ask, (text, carried.len(), at_end));
    source.carry.place = framed.place;
    let (rest, kept) = (&text[framed.consumed..], kept(ask, &text[framed.consumed..]));
    let is_handed_over = ask.unfinished == Unfinished::HandOver && at_end && !framed.is_full;
    if is_handed_over && kept == Kept::Record && rest.len() <= LINES_BYTES_MAX {
        source.carry.set_lines(rest);
        return (block.len(), false, Kept::Nothing);
    }
    source.carry.set_lines(text.get(framed.consumed..carried.len()).unwrap_or_default());
    (framed.consumed.saturating_sub(carried.len()), framed.is_full, kept)
}

fn kept(ask: Ask<'_>, rest: &[u8]) -> Kept {
    match rest.last() {
        None => Kept::Nothing,
        Some(b'\n') if ask.multiline.is_some() => Kept::Record,
        Some(_) => Kept::Line,
    }
}

/// Frames a text, the first `carried` bytes of which are not in the file any more.
fn frame(
    batcher: &mut Batcher,
    source: &mut Source,
    ask: Ask<'_>,
    (text, carried, at_end): (&[u8], usize, bool),
) -> Framed {
    let lines_max = source.careful.as_ref().map_or(u64::MAX, |careful| careful.lines_max);
    let mut drops = source.carry.place == Place::Dropping;
    let start = if drops { Place::InsideLine } else { source.carry.place };
    let mut lines = Framer::new(ask.framing, ask.encoding, ask.multiline, text, start);
    let mut framed = Framed { consumed: 0, place: source.carry.place, is_full: false };
    let mut dropped = 0;
    while let Some(line) = lines.next() {
        if drops && line.continued {
            (drops, dropped) = (line.partial, dropped + line.bytes.len());
            framed.stands(&lines, drops);
            framed.is_full = dropped >= DROPPED_BYTES_MAX;
        } else if !batcher.has_room(line.bytes.len()) || batcher.records() >= lines_max {
            framed.is_full = true;
        } else {
            let decoded = ask.encoding.decode(line.bytes);
            let line = Line { bytes: &decoded, ..line };
            let error = source.careful.as_mut().and_then(|careful| careful.dead.take());
            drops = error.is_none() && line.partial && ask.long_lines != LongLines::Split;
            let is_letter = error.is_some() || (drops && ask.long_lines == LongLines::DeadLetter);
            if is_letter {
                let position = source.file.position() + framed.consumed.saturating_sub(carried) as u64;
                put_dead(batcher, source, ask.timestamp_ms, line.bytes, position, error.as_deref().unwrap_or(TOO_LONG));
            } else {
                let marks = if drops { truncated(&line) } else { Marks::of(&line) };
                batcher.push(ask.timestamp_ms, &mut source.headers, line.bytes, marks);
            }
            framed.stands(&lines, drops);
            framed.is_full = is_letter;
        }
        if framed.is_full {
            break;
        }
    }
    if !framed.is_full {
        framed.stands(&lines, drops);
        if at_end && let Some(piece) = unfinished(&mut lines, ask, &text[framed.consumed..]) {
            let decoded = ask.encoding.decode(piece.bytes);
            framed.is_full = !drops && !batcher.has_room(decoded.len());
            if drops {
                dropped += piece.bytes.len();
            } else if !framed.is_full {
                batcher.push(ask.timestamp_ms, &mut source.headers, &decoded, Marks::of(&piece));
            }
            if !framed.is_full {
                framed.stands(&lines, drops);
            }
        }
    }
    metrics::dropped(dropped as u64);
    framed
}

/// Gives what is left at a file's end, if it is to be given.
fn unfinished<'a>(lines: &mut Framer<'a, '_>, ask: Ask<'_>, left: &[u8]) -> Option<Line<'a>> {
    match ask.unfinished {
        Unfinished::Wait => None,
        Unfinished::Flush => lines.flush(),
        // What a carry has no room for goes on as a piece of the record.
        Unfinished::HandOver if left.len() > LINES_BYTES_MAX && left.ends_with(b"\n") => lines.give_open(),
        Unfinished::HandOver => None,
    }
}

/// Gives lines that wait in a carry as they are, their file being gone.
pub(super) fn flush(batcher: &mut Batcher, text: &[u8], place: Place, ask: Ask<'_>, headers: &mut FileHeaders) {
    let mut lines = Framer::new(ask.framing, ask.encoding, ask.multiline, text, place);
    while let Some(line) = lines.next().or_else(|| lines.flush()) {
        batcher.push(ask.timestamp_ms, headers, line.bytes, Marks::of(&line));
    }
}

fn truncated(line: &Line<'_>) -> Marks {
    Marks::TRUNCATED.and_if(line.continued, Marks::CONTINUED)
}

/// Makes a dead letter of a line.
pub(super) fn put_dead(batcher: &mut Batcher, source: &Source, at_ms: i64, line: &[u8], position: u64, error: &str) {
    let death = Death { error, path: path_bytes(&source.path), position };
    batcher.push_dead(at_ms, &source.headers, line, &death);
    metrics::dead_letter();
}

impl Framed {
    #[inline]
    fn stands(&mut self, lines: &Framer<'_, '_>, drops: bool) {
        let place = lines.place();
        let is_inside = drops && place == Place::InsideLine;
        (self.consumed, self.place) = (lines.consumed(), if is_inside { Place::Dropping } else { place });
    }
}
