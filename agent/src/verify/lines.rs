//! The lines of a file as the agent cuts them, front to back or, piece by piece of the file, back to front. Records of several lines count as
//! their lines: which of them belong together depends on when they were written.

use std::io;
use std::ops::Range;

use crate::config::Input;
use crate::frame::encoding::Encoding;
use crate::frame::framer::Framer;
use crate::frame::lines::{Framing, LongLines, Place};
use crate::pipeline::leading_nuls;
use crate::tail::file::{BYTES_BEFORE_MAX, Block, OpenFile};

use super::alignment::FileLine;
use super::text::{Hasher, Text};

/// Read by one call, as a rule.
const READ_BYTES: usize = 256 << 10;
/// Loaded at once.
const PART_BYTES: u64 = 64 << 10;
/// An archive is decompressed from its start for each part: it has at most so many.
const ARCHIVE_PARTS: u64 = 16;

/// Reads the shipped lines of one file.
#[derive(Debug)]
pub(super) struct FileLines {
    file: OpenFile,
    framing: Framing,
    encoding: Encoding,
    /// Of a line that is too long only the first piece is shipped.
    truncates: bool,
    /// Where its parts begin, each at a line's start, and where the last one ends.
    parts: Vec<u64>,
    /// Parts not given yet.
    left: usize,
    pub(super) lines: u64,
}

impl FileLines {
    /// Takes an open file that was shipped up to `end`, and looks through it once.
    pub(super) fn open(file: OpenFile, input: &Input, end: u64, scratch: &mut Scratch) -> io::Result<Self> {
        let mut start = [0; 2];
        let len = file.peek().and_then(|mut read| read(&mut start, 0))?;
        let encoding = input.encoding.settled(&start[..len]).unwrap_or(input.encoding);
        let framing = Framing { line_bytes_max: input.line_bytes_max, keep_cr: input.keep_cr };
        let truncates = input.long_lines == LongLines::Truncate;
        let part = if file.is_archive() { PART_BYTES.max(end / ARCHIVE_PARTS) } else { PART_BYTES };
        let mut opened = Self { file, framing, encoding, truncates, parts: vec![0], left: 0, lines: 0 };
        let (mut parts, mut lines, mut is_whole) = (vec![0], 0, true);
        opened.pieces(0..end, scratch, |_, piece| {
            // Inside a line nobody can begin to read.
            if is_whole && !piece.continued && piece.start - parts[parts.len() - 1] >= part {
                parts.push(piece.start);
            }
            lines += u64::from(!piece.continued);
            is_whole = !piece.partial;
        })?;
        opened.file.stop_decompressing();
        parts.push(end);
        (opened.left, opened.parts, opened.lines) = (parts.len() - 1, parts, lines);
        Ok(opened)
    }

    /// Gives the lines before those given so far; none at the file's start.
    pub(super) fn previous(&mut self, scratch: &mut Scratch) -> io::Result<Vec<FileLine>> {
        let mut lines = Vec::new();
        while lines.is_empty() && self.left > 0 {
            self.left -= 1;
            let part = self.parts[self.left]..self.parts[self.left + 1];
            self.each(part, scratch, |line| lines.push(line))?;
        }
        Ok(lines)
    }

    /// Gives all lines, front to back.
    pub(super) fn all(&mut self, scratch: &mut Scratch, line: impl FnMut(FileLine)) -> io::Result<()> {
        let end = self.parts[self.parts.len() - 1];
        self.each(0..end, scratch, line)
    }

    fn each(&mut self, range: Range<u64>, scratch: &mut Scratch, mut line: impl FnMut(FileLine)) -> io::Result<()> {
        let (mut open, truncates): (Option<FileLine>, _) = (None, self.truncates);
        self.pieces(range, scratch, |hasher, piece| {
            let whole = match open.take() {
                Some(open) if piece.continued && truncates => {
                    FileLine { span: open.span.start..piece.end, text: open.text }
                }
                Some(open) if piece.continued => FileLine {
                    span: open.span.start..piece.end,
                    text: hasher.join(open.text, piece.text(hasher, open.text)),
                },
                before => {
                    before.into_iter().for_each(&mut line);
                    FileLine { span: piece.start..piece.end, text: piece.text(hasher, Text::default()) }
                }
            };
            if piece.partial { open = Some(whole) } else { line(whole) }
        })?;
        open.into_iter().for_each(line);
        self.file.stop_decompressing();
        Ok(())
    }

    /// Gives the pieces that the agent's framer makes of a range, which begins at a line's start. This is where the agent's reading is kept up with.
    fn pieces(
        &mut self,
        range: Range<u64>,
        scratch: &mut Scratch,
        mut give: impl FnMut(&Hasher, FilePiece<'_>),
    ) -> io::Result<()> {
        let Scratch { buffer, hasher } = scratch;
        buffer.resize(buffer.len().max(BYTES_BEFORE_MAX + self.framing.block_bytes_min()).max(READ_BYTES), 0);
        if !self.file.seek(range.start)? {
            return Err(changed());
        }
        let (mut place, mut want) = (Place::LineStart, READ_BYTES);
        while self.file.position() < range.end {
            let Block::Bytes { start, end, .. } = self.file.read(&mut buffer[..want])? else { return Err(changed()) };
            let wanted = range.end - self.file.position();
            let is_last = (end - start) as u64 >= wanted;
            let block = start..if is_last { start + wanted as usize } else { end };
            let passed = self.pass_over(&buffer[block.clone()], place);
            let base = self.file.position() + passed as u64;
            let mut framer =
                Framer::new(self.framing, self.encoding, None, &buffer[block.start + passed..block.end], place);
            let mut consumed = 0;
            while let Some(line) = framer.next().or_else(|| if is_last { framer.flush() } else { None }) {
                let bytes = self.encoding.decode(line.bytes);
                let (start, end) = (base + consumed, base + framer.consumed() as u64);
                consumed = framer.consumed() as u64;
                give(hasher, FilePiece { start, end, bytes: &bytes, continued: line.continued, partial: line.partial });
            }
            let consumed = passed + framer.consumed();
            place = framer.place();
            self.file.advance(buffer, block.start, consumed);
            match consumed {
                _ if is_last => break,
                0 if want == buffer.len() || block.is_empty() => return Err(changed()),
                0 => want = buffer.len(),
                _ => {}
            }
        }
        Ok(())
    }

    /// Counts what the agent passes over: a byte order mark, a hole.
    fn pass_over(&self, block: &[u8], place: Place) -> usize {
        let mark = if self.file.position() == 0 { self.encoding.mark_len(block) } else { 0 };
        let nuls = if place == Place::LineStart { leading_nuls(&block[mark..]) } else { 0 };
        mark + nuls - nuls % self.encoding.unit_len()
    }
}

/// Is what reading needs beside the file: made once for all.
#[derive(Debug)]
pub(super) struct Scratch {
    buffer: Vec<u8>,
    pub(super) hasher: Hasher,
}

impl Scratch {
    pub(super) fn new(hasher: Hasher) -> Self {
        Self { buffer: Vec::new(), hasher }
    }
}

struct FilePiece<'b> {
    start: u64,
    end: u64,
    bytes: &'b [u8],
    continued: bool,
    partial: bool,
}

impl FilePiece<'_> {
    fn text(&self, hasher: &Hasher, before: Text) -> Text {
        hasher.of(if before.len == 0 { without_hole(self.bytes) } else { self.bytes })
    }
}

/// Takes a hole off a line's start: whether the agent dropped it depends on where its blocks began.
pub(super) fn without_hole(line: &[u8]) -> &[u8] {
    &line[leading_nuls(line)..]
}

fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the file changed while it was looked at")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::encoding::Order;
    use std::io::Write;

    fn open(text: &[u8], end: u64, input: &Input) -> (FileLines, Scratch) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        let mut scratch = Scratch::new(Hasher::new(3));
        let file = OpenFile::new(file, std::path::Path::new("").into()).unwrap();
        (FileLines::open(file, input, end, &mut scratch).unwrap(), scratch)
    }

    /// Reads a file front to back and back to front, and compares both with the lines expected.
    #[track_caller]
    fn check(text: &[u8], end: u64, input: &Input, expected: &[&str]) {
        let (mut file, mut scratch) = open(text, end, input);
        let texts: Vec<Text> = expected.iter().map(|line| scratch.hasher.of(line.as_bytes())).collect();
        let mut forward = Vec::new();
        file.all(&mut scratch, |line| forward.push(line)).unwrap();
        assert_eq!(forward.iter().map(|line| line.text).collect::<Vec<_>>(), texts);
        assert_eq!(file.lines, texts.len() as u64);
        let mut backward = Vec::new();
        loop {
            let part = file.previous(&mut scratch).unwrap();
            if part.is_empty() {
                break;
            }
            backward.splice(0..0, part);
        }
        assert_eq!(backward, forward);
        assert!(forward.windows(2).all(|pair| pair[0].span.end == pair[1].span.start));
    }

    #[test]
    fn lines_are_those_the_agent_ships_whole() {
        let input = Input { line_bytes_max: 1024, ..Input::new("t") };
        check(b"one\r\n\ntwo\nhalf", 14, &input, &["one", "", "two", "half"]);
        check(b"one\ntwo\nthree", 6, &input, &["one", "tw"]);
        check(b"", 0, &input, &[]);
        let (long, nuls) = ("x".repeat(5000), "\0".repeat(100));
        check(format!("{long}\n{nuls}new\n").as_bytes(), 5105, &input, &[&long, "new"]);
        let wide = Input { encoding: Encoding::Utf16(Order::Little), ..input };
        check(b"\xff\xfea\0\n\0b\0\n\0", 10, &wide, &["a", "b"]);
    }

    #[test]
    fn a_large_file_is_read_from_its_end_part_by_part() {
        let lines: Vec<String> = (0..50_000).map(|number| format!("line {number}")).collect();
        let text = lines.join("\n") + "\n";
        let expected: Vec<&str> = lines.iter().map(String::as_str).collect();
        check(text.as_bytes(), text.len() as u64, &Input::new("t"), &expected);
        let packed = zstd::encode_all(text.as_bytes(), 1).unwrap();
        check(&packed, text.len() as u64, &Input::new("t"), &expected);
    }
}
