//! One turn of a file: bytes are read, framed and batched until a batch is full or the file ends.
//!
//! The only place where tail, frame and batch meet. One buffer and one batcher serve all files; between turns both are empty.

use std::io;

use crate::batch::{Batcher, Death};
use crate::discover::path_bytes;
use crate::flow::Line;
use crate::frame::encoding::Encoding;
use crate::frame::framer::Framer;
use crate::frame::lines::{Framing, Place};
use crate::frame::multiline::Multiline;
use crate::metrics;
use crate::tail::file::{BYTES_BEFORE_MAX, Block};

use super::source::{Source, TurnRead};

/// Read by one call, as a rule: enough to make calls cheap, little enough to stay in the CPU's cache.
const READ_BYTES: usize = 256 << 10;

/// NUL bytes at a line's start are taken for a hole from so many on.
const HOLE_BYTES_MIN: usize = 16;

/// Reads files, one turn at a time.
#[derive(Debug)]
pub(super) struct Reading {
    buffer: Box<[u8]>,
    batcher: Batcher,
}

/// Says how a turn is to be taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'m> {
    pub(super) framing: Framing,
    /// What the bytes mean, its byte order settled.
    pub(super) encoding: Encoding,
    /// Joins lines.
    pub(super) multiline: Option<&'m Multiline>,
    /// Give a last line without its end as a piece, and a last record that may go on as it is.
    pub(super) flush: bool,
    /// Ends the turn once it has read so many bytes or more.
    pub(super) bytes_max: u64,
    /// Goes on every record.
    pub(super) timestamp_ms: i64,
}

/// Tells how a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TurnEnd {
    /// There is more to read.
    More,
    /// The file's end was reached.
    Quiet { rest: Rest },
    /// What was read before is not in the file any more.
    Truncated,
}

/// Says what is left of a file that was read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    Nothing,
    /// A line without its end.
    Line,
    /// A record that may go on with the next line.
    Record,
}

/// Says how far into a block the turn got.
enum Progress {
    /// The batch is full, or as full as it may be.
    Full,
    /// The block holds no further line.
    Drained { left: usize },
}

impl Reading {
    /// Makes a reader for lines up to the longest that any input allows.
    pub(super) fn new(line_bytes_max: usize, compression_level: i32) -> io::Result<Self> {
        let longest = Framing { line_bytes_max, keep_cr: false }.block_bytes_min();
        let buffer = vec![0; (BYTES_BEFORE_MAX + longest).max(READ_BYTES)].into_boxed_slice();
        Ok(Self { buffer, batcher: Batcher::new(compression_level)? })
    }

    /// Lends the buffer for looking at a file outside of a turn.
    pub(super) fn buffer(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    /// Takes one turn: what it read is appended to the source's steps, even if the file fails in the middle.
    pub(super) fn turn(&mut self, source: &mut Source, ask: Ask<'_>) -> io::Result<TurnEnd> {
        let from = (source.file.position(), source.place);
        let mut read = TurnRead::default();
        let end = self.read_blocks(source, ask, &mut read);
        read.lines += self.batcher.records();
        read.batch = self.batcher.close();
        metrics::lines_framed(read.lines);
        source.append(from, read);
        end
    }

    fn read_blocks(&mut self, source: &mut Source, ask: Ask<'_>, read: &mut TurnRead) -> io::Result<TurnEnd> {
        let most = usize::try_from(ask.bytes_max).unwrap_or(usize::MAX);
        let (mut want, from) = (READ_BYTES.min(self.buffer.len()).min(most), source.file.position());
        loop {
            let Block::Bytes { start, end, at_end } = source.file.read(&mut self.buffer[..want])? else {
                return Ok(TurnEnd::Truncated);
            };
            let written = self.written(source, ask.encoding, start..end);
            source.file.ends_at((written < end).then(|| source.file.position() + (written - start) as u64));
            let (end, at_end) = (written, at_end || written < end);
            let start = start + self.pass_over(source, ask.encoding, start..end);
            match self.frame(source, ask, start..end, at_end, read) {
                Progress::Full => return Ok(TurnEnd::More),
                Progress::Drained { left } if at_end => {
                    let rest = match self.buffer[..end].last() {
                        _ if left == 0 => Rest::Nothing,
                        Some(b'\n') => Rest::Record,
                        _ => Rest::Line,
                    };
                    return Ok(TurnEnd::Quiet { rest });
                }
                // A line longer than the block: with the whole buffer it is either ended or long enough to be cut.
                Progress::Drained { left } if left == end - start => want = self.buffer.len(),
                Progress::Drained { .. } if source.file.position() - from >= ask.bytes_max => return Ok(TurnEnd::More),
                Progress::Drained { .. } => {}
            }
        }
    }

    /// Passes over what is no part of any line: a byte order mark, a hole.
    fn pass_over(&self, source: &mut Source, encoding: Encoding, block: std::ops::Range<usize>) -> usize {
        let bytes = &self.buffer[block.clone()];
        let mark = if source.file.position() == 0 { encoding.mark_len(bytes) } else { 0 };
        let nuls = if source.place == Place::LineStart { leading_nuls(&bytes[mark..]) } else { 0 };
        let nuls = nuls - nuls % encoding.unit_len();
        source.file.advance(&self.buffer, block.start, mark + nuls);
        metrics::nuls_dropped(nuls as u64);
        mark + nuls
    }

    /// Finds the end of what was written: some writers reserve room, which shows as NUL bytes until they write there.
    fn written(&self, source: &Source, encoding: Encoding, block: std::ops::Range<usize>) -> usize {
        let bytes = &self.buffer[block.clone()];
        let written = bytes
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| (last + 1).next_multiple_of(encoding.unit_len()));
        let is_reserved = bytes.len().saturating_sub(written) >= HOLE_BYTES_MIN
            && !source.file.has_data_after(bytes.len() as u64, written as u64);
        if is_reserved { block.start + written } else { block.end }
    }

    fn frame(
        &mut self,
        source: &mut Source,
        ask: Ask<'_>,
        block: std::ops::Range<usize>,
        at_end: bool,
        read: &mut TurnRead,
    ) -> Progress {
        let lines_max = source.careful.as_ref().map_or(u64::MAX, |careful| careful.lines_max);
        let mut lines =
            Framer::new(ask.framing, ask.encoding, ask.multiline, &self.buffer[block.clone()], source.place);
        let (mut done, mut is_full) = ((0, source.place), false);
        while let Some(line) = lines.next() {
            let decoded = ask.encoding.decode(line.bytes);
            let line = Line { bytes: &decoded, ..line };
            if let Some(error) = source.careful.as_mut().and_then(|careful| careful.dead.take()) {
                let death = Death { error: &error, path: path_bytes(&source.path), position: source.file.position() };
                read.letter = Some(self.batcher.dead_letter(ask.timestamp_ms, &source.headers, line.bytes, &death));
                read.lines += 1;
                metrics::dead_letter();
                (done, is_full) = ((lines.consumed(), lines.place()), true);
                break;
            }
            if !self.batcher.has_room(&line) || self.batcher.records() >= lines_max {
                is_full = true;
                break;
            }
            self.batcher.push(ask.timestamp_ms, &mut source.headers, &line);
            done = (lines.consumed(), lines.place());
        }
        if !is_full {
            done = (lines.consumed(), lines.place());
            if ask.flush
                && at_end
                && let Some(piece) = lines.flush()
            {
                let decoded = ask.encoding.decode(piece.bytes);
                let piece = Line { bytes: &decoded, ..piece };
                is_full = !self.batcher.has_room(&piece);
                if !is_full {
                    self.batcher.push(ask.timestamp_ms, &mut source.headers, &piece);
                    done = (lines.consumed(), lines.place());
                }
            }
        }
        source.file.advance(&self.buffer, block.start, done.0);
        source.place = done.1;
        if is_full { Progress::Full } else { Progress::Drained { left: block.len() - done.0 } }
    }
}

/// Counts the NUL bytes at the front, if they are so many that nobody wrote them: a writer that does not append leaves a hole when its
/// file was truncated.
pub(crate) fn leading_nuls(block: &[u8]) -> usize {
    let count = block.iter().position(|&byte| byte != 0).unwrap_or(block.len());
    if count >= HOLE_BYTES_MIN { count } else { 0 }
}
