//! Lines of container runtimes of a block: their fragments, and lines that belong together, joined by stream.

use skidway_record::limits::LINE_BYTES_PER_BATCH;

use super::lines::{TOO_LONG, put_dead};
use super::{Ask, Framed, Unfinished};
use crate::batch::{Batcher, FileHeaders};
use crate::flow::Line;
use crate::frame::container::Container;
use crate::frame::lines::{Framing, Lines};
use crate::frame::strands::{Given, Joining, Kept, Quiet, Strands, TEXT_BYTES_MAX};
use crate::metrics;
use crate::pipeline::source::Source;

/// Bounds a line of the file, with what the runtime writes around the text; what a record may have, `line_bytes_max` says.
pub(in crate::pipeline) const RAW: Framing = Framing { line_bytes_max: LINE_BYTES_PER_BATCH, keep_cr: true };

/// Writes what comes of lines to the batch.
struct Output<'t> {
    batcher: &'t mut Batcher,
    source: &'t mut Source,
    /// Of the line's first byte in the file.
    position: u64,
    /// Why all that comes of the line is a dead letter.
    dead: Option<String>,
    dropped: usize,
}

impl Output<'_> {
    fn put(&mut self, given: Given<'_>) {
        match (given, &self.dead) {
            (Given::Record(piece), None) => {
                self.batcher.push(piece.at_ms, &mut self.source.headers, piece.bytes, piece.marks);
            }
            (Given::Record(piece) | Given::TooLong(piece), dead) => {
                let why = dead.as_deref().unwrap_or(TOO_LONG);
                put_dead(self.batcher, self.source, piece.at_ms, piece.bytes, self.position, why);
            }
            (Given::Dropped(count), _) => self.dropped += count,
        }
    }
}

/// Frames a block; also tells what is kept that may be given after some quiet.
pub(super) fn frame(
    batcher: &mut Batcher,
    source: &mut Source,
    ask: Ask<'_>,
    container: Container,
    (block, at_end): (&[u8], bool),
) -> (Framed, Kept) {
    let joining = joining(ask, container);
    let lines_max = source.careful.as_ref().map_or(u64::MAX, |careful| careful.lines_max);
    let (start, place) = (source.file.position(), source.carry.place);
    let mut strands = source.carry.take_strands();
    let mut lines = Lines::new(RAW, block, place);
    let mut framed = Framed { consumed: 0, place, is_full: false };
    let dead = source.careful.as_mut().and_then(|careful| careful.dead.take());
    let mut output = Output { batcher, source, position: start, dead, dropped: 0 };
    while let Some(line) = lines.next() {
        if !has_room(&output, &strands, line.bytes.len()) || output.batcher.records() >= lines_max {
            framed.is_full = true;
            break;
        }
        output.position = start + framed.consumed as u64;
        output.take(&mut strands, &joining, line, ask.timestamp_ms);
        (framed.consumed, framed.place) = (lines.consumed(), lines.place());
        if output.dead.is_some() && output.batcher.records() > 0 {
            (output.dead, framed.is_full) = (None, true);
            break;
        }
    }
    if !framed.is_full {
        (framed.consumed, framed.place) = (lines.consumed(), lines.place());
        framed.is_full = at_end && !has_room(&output, &strands, block.len() - framed.consumed);
    }
    if !framed.is_full && at_end {
        if ask.unfinished == Unfinished::Flush
            && let Some(piece) = lines.flush()
        {
            output.take(&mut strands, &joining, piece, ask.timestamp_ms);
            (framed.consumed, framed.place) = (lines.consumed(), lines.place());
        }
        strands.flush(&joining, ask.quiet, &mut |given| output.put(given));
    }
    metrics::dropped(output.dropped as u64);
    let Output { batcher, source, dead, .. } = output;
    if batcher.records() == 0
        && let Some(careful) = source.careful.as_mut()
    {
        // Nothing came of these lines: the next ones are to blame.
        careful.dead = dead;
    }
    let kept = if framed.consumed < block.len() { Kept::Line } else { strands.kept() };
    source.carry.set_strands(strands);
    (framed, kept)
}

/// Gives what is kept as it is, the file being gone.
pub(super) fn flush(batcher: &mut Batcher, mut strands: Strands, ask: Ask<'_>, headers: &mut FileHeaders) {
    let joining = joining(ask, ask.container.unwrap_or(Container::Auto));
    strands.flush(&joining, Quiet::ALL, &mut |given| {
        if let Given::Record(piece) | Given::TooLong(piece) = given {
            batcher.push(piece.at_ms, headers, piece.bytes, piece.marks);
        }
    });
}

fn joining(ask: Ask<'_>, container: Container) -> Joining<'_> {
    Joining {
        container,
        multiline: ask.multiline,
        framing: ask.framing,
        long_lines: ask.long_lines,
        text_bytes_max: TEXT_BYTES_MAX,
    }
}

/// Tells whether what may come of a line fits: all that is kept, and the line itself.
fn has_room(output: &Output<'_>, strands: &Strands, line_bytes: usize) -> bool {
    output.batcher.has_room(strands.text_bytes() + line_bytes)
}

impl Output<'_> {
    fn take(&mut self, strands: &mut Strands, joining: &Joining<'_>, line: Line<'_>, now_ms: i64) {
        strands.take(joining, line, now_ms, &mut |given| self.put(given));
    }
}
