//! One turn of a file: bytes are read, framed and batched until a batch is full or the file ends.
//!
//! The only place where tail, frame and batch meet. One buffer and one batcher serve all files; between turns both are empty.

mod lines;
mod strands;

use std::io;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use crate::batch::{Batcher, FileHeaders};
use crate::config::Input;
use crate::frame::carry::{Carry, Pending};
use crate::frame::container::Container;
use crate::frame::encoding::Encoding;
use crate::frame::lines::{Framing, LongLines, Place};
use crate::frame::multiline::Multiline;
use crate::frame::strands::{Kept, Quiet};
use crate::metrics;
use crate::tail::file::{BYTES_BEFORE_MAX, Block};

use super::source::{Source, TurnRead};

pub(super) use strands::RAW;

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

/// A turn ends after so many bytes of lines too long that are dropped.
const DROPPED_BYTES_MAX: usize = 4 << 20;

/// Says how a turn is to be taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'m> {
    framing: Framing,
    long_lines: LongLines,
    /// What the bytes mean, its byte order settled.
    encoding: Encoding,
    /// Joins lines.
    multiline: Option<&'m Multiline>,
    /// Joins fragments.
    container: Option<Container>,
    unfinished: Unfinished,
    /// Of text in the carry, what has been quiet for long enough to be given.
    quiet: Quiet,
    /// Ends the turn once it has read so many bytes or more.
    bytes_max: u64,
    /// Goes on every record that says no time of its own.
    timestamp_ms: i64,
}

/// Says what becomes of a last line without its end, and of a last record that may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfinished {
    /// It is waited for.
    Wait,
    /// It is given as it is.
    Flush,
    /// A record whose lines are whole is to go on in another file.
    HandOver,
}

/// Tells how a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TurnEnd {
    /// There is more to read.
    More,
    /// The file's end was reached.
    Quiet { kept: Kept },
    /// What was read before is not in the file any more.
    Truncated,
}

/// Says how far into a block the turn got.
enum Progress {
    /// The batch is full, or as full as it may be.
    Full,
    /// The block holds no further line.
    Drained { left: usize, kept: Kept },
}

/// Says what came of a text.
struct Framed {
    /// So many of its bytes are done with.
    consumed: usize,
    place: Place,
    is_full: bool,
}

impl<'m> Ask<'m> {
    /// Asks for what an input wants.
    pub(super) fn of(input: &'m Input, encoding: Encoding, unfinished: Unfinished, timestamp_ms: i64) -> Self {
        let before = |quiet: Duration| timestamp_ms.saturating_sub(quiet.as_millis() as i64);
        let multiline = input.multiline.as_ref();
        let quiet = Quiet {
            record_since_ms: before(multiline.map_or(input.partial_flush, |multiline| multiline.flush)),
            line_since_ms: before(input.partial_flush),
        };
        Self {
            framing: Framing { line_bytes_max: input.line_bytes_max, keep_cr: input.keep_cr },
            long_lines: input.long_lines,
            encoding,
            multiline,
            container: input.container,
            unfinished,
            quiet: if unfinished == Unfinished::Flush { Quiet::ALL } else { quiet },
            bytes_max: u64::MAX,
            timestamp_ms,
        }
    }

    /// Ends the turn once it has read so many bytes or more.
    pub(super) fn at_most(self, bytes_max: u64) -> Self {
        Self { bytes_max, ..self }
    }
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
        let from = (source.file.position(), source.carry.clone());
        let end = self.read_blocks(source, ask);
        self.close(source, from);
        end
    }

    /// Gives what a source's carry holds as it is: its file is not read any more.
    pub(super) fn flush_carry(&mut self, source: &mut Source, ask: Ask<'_>) {
        let from = (source.file.position(), source.carry.clone());
        if source.carry.pending.is_some() {
            self.frame(source, ask, 0..0, true);
        }
        self.close(source, from);
    }

    /// Encodes what a carry holds as it is, for a source whose file is gone.
    pub(super) fn batch_of(&mut self, carry: &Carry, ask: Ask<'_>, headers: &mut FileHeaders) -> Option<Bytes> {
        match carry.pending.as_deref()? {
            Pending::Lines(text) => lines::flush(&mut self.batcher, text, carry.place, ask, headers),
            Pending::Strands(strands) => strands::flush(&mut self.batcher, strands.clone(), ask, headers),
        }
        metrics::lines_framed(self.batcher.records());
        self.batcher.close()
    }

    fn close(&mut self, source: &mut Source, from: (u64, Carry)) {
        let lines = self.batcher.records();
        let read = TurnRead { lines, letter: self.batcher.close_dead(), batch: self.batcher.close() };
        metrics::lines_framed(lines);
        source.append(from, read);
    }

    fn read_blocks(&mut self, source: &mut Source, ask: Ask<'_>) -> io::Result<TurnEnd> {
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
            match self.frame(source, ask, start..end, at_end) {
                Progress::Full => return Ok(TurnEnd::More),
                Progress::Drained { kept, .. } if at_end => return Ok(TurnEnd::Quiet { kept }),
                // A line longer than the block: with the whole buffer it is either ended or long enough to be cut.
                Progress::Drained { left, .. } if left == end - start => want = self.buffer.len(),
                Progress::Drained { .. } if source.file.position() - from >= ask.bytes_max => return Ok(TurnEnd::More),
                Progress::Drained { .. } => {}
            }
        }
    }

    /// Passes over what is no part of any line: a byte order mark, a hole.
    fn pass_over(&self, source: &mut Source, encoding: Encoding, block: Range<usize>) -> usize {
        let bytes = &self.buffer[block.clone()];
        let mark = if source.file.position() == 0 { encoding.mark_len(bytes) } else { 0 };
        let nuls = if source.carry.place == Place::LineStart { leading_nuls(&bytes[mark..]) } else { 0 };
        let nuls = nuls - nuls % encoding.unit_len();
        source.file.advance(&self.buffer, block.start, mark + nuls);
        metrics::nuls_dropped(nuls as u64);
        mark + nuls
    }

    /// Finds the end of what was written: some writers reserve room, which shows as NUL bytes until they write there.
    fn written(&self, source: &Source, encoding: Encoding, block: Range<usize>) -> usize {
        let bytes = &self.buffer[block.clone()];
        let written = bytes
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| (last + 1).next_multiple_of(encoding.unit_len()));
        let is_reserved = bytes.len().saturating_sub(written) >= HOLE_BYTES_MIN
            && !source.file.has_data_after(bytes.len() as u64, written as u64);
        if is_reserved { block.start + written } else { block.end }
    }

    fn frame(&mut self, source: &mut Source, ask: Ask<'_>, block: Range<usize>, at_end: bool) -> Progress {
        let bytes = &self.buffer[block.clone()];
        let (consumed, is_full, kept) = match ask.container {
            Some(container) => {
                let (framed, kept) = strands::frame(&mut self.batcher, source, ask, container, (bytes, at_end));
                source.carry.place = framed.place;
                (framed.consumed, framed.is_full, kept)
            }
            None => lines::frame_after_carried(&mut self.batcher, source, ask, (bytes, at_end)),
        };
        source.file.advance(&self.buffer, block.start, consumed);
        if is_full { Progress::Full } else { Progress::Drained { left: block.len() - consumed, kept } }
    }
}

/// Counts the NUL bytes at the front, if they are so many that nobody wrote them: a writer that does not append leaves a hole when its
/// file was truncated.
pub(crate) fn leading_nuls(block: &[u8]) -> usize {
    let count = block.iter().position(|&byte| byte != 0).unwrap_or(block.len());
    if count >= HOLE_BYTES_MIN { count } else { 0 }
}
