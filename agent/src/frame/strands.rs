//! Joins what container runtimes split, and lines that belong together, of each of a container's two outputs by itself. Pure.
//!
//! Lines of the outputs come in any order, so what is no record yet cannot wait in the file: its text is kept here, and in the source's carry
//! from one span to the next. All of it is at most [`TEXT_BYTES_MAX`]; past that, and past `line_bytes_max`, a record comes in pieces: all but
//! the last *partial*, all but the first *continued*, which put together are the record.

use crate::flow::{Line, Marks};
use crate::frame::container::{Container, Fragment, Stream};
use crate::frame::lines::{Framing, LongLines, cut_before};
use crate::frame::multiline::Multiline;
use skidway_record::source::CARRY_BYTES_MAX;

/// Bounds the text that is kept, in bytes, so that a carry holds it.
pub const TEXT_BYTES_MAX: usize = CARRY_BYTES_MAX - 128;

/// Says how an input's container lines become records.
#[derive(Debug, Clone, Copy)]
pub struct Joining<'m> {
    /// Who writes them.
    pub container: Container,
    /// Joins lines.
    pub multiline: Option<&'m Multiline>,
    /// Bounds a record, and says what belongs to a line end.
    pub framing: Framing,
    /// What becomes of a line longer than that.
    pub long_lines: LongLines,
    /// Bounds the text that is kept.
    pub text_bytes_max: usize,
}

/// Tells what came of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given<'a> {
    /// A record, or a piece of one.
    Record(Piece<'a>),
    /// A line too long, to become a dead letter.
    TooLong(Piece<'a>),
    /// So many bytes of a line too long are dropped.
    Dropped(usize),
}

/// Holds a record, or a piece of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The text.
    pub bytes: &'a [u8],
    /// When its first fragment was written, in ms since 1970.
    pub at_ms: i64,
    /// How it is marked.
    pub marks: Marks,
}

/// Says up to when what is kept must have been quiet to be given as it is, in ms since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet {
    /// Records that may go on with a line.
    pub record_since_ms: i64,
    /// Lines without their end.
    pub line_since_ms: i64,
}

impl Quiet {
    /// Everything is to be given.
    pub const ALL: Self = Self { record_since_ms: i64::MAX, line_since_ms: i64::MAX };
}

/// Says what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    /// Nothing that could be given as it is.
    Nothing,
    /// A record that may go on with the next line.
    Record,
    /// A line without its end.
    Line,
}

/// Keeps what is no record yet, of standard output and standard error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Strands(pub(super) [Strand; 2]);

/// Keeps what is no record yet, of one output.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Strand {
    /// Lines of one record, LF between them; the last may be unfinished.
    pub(super) text: Vec<u8>,
    /// When the first fragment of that was written.
    pub(super) since_ms: i64,
    /// When the first fragment of the unfinished line was written.
    pub(super) line_since_ms: i64,
    /// Whole lines in the text.
    pub(super) lines: usize,
    /// Where the unfinished line begins in the text, if there is one.
    pub(super) line_at: Option<usize>,
    /// A piece of the record was given.
    pub(super) record_given: bool,
    /// A piece of the unfinished line was given.
    pub(super) line_given: bool,
    /// The rest of the unfinished line is dropped.
    pub(super) drops_line: bool,
    /// When something came last, in ms since 1970; not carried.
    pub(super) touched_ms: i64,
}

impl Strands {
    /// Takes over lines that were kept without knowing of outputs.
    pub(super) fn of_lines(lines: &[u8]) -> Self {
        let text = lines.strip_suffix(b"\n").unwrap_or(lines).to_vec();
        Self([Strand { text, lines: 1, ..Strand::default() }, Strand::default()])
    }

    /// Gives what is kept as lines.
    pub(super) fn to_lines(&self) -> Vec<u8> {
        let kept = self.0.iter().filter(|strand| !strand.text.is_empty());
        kept.flat_map(|strand| strand.text.iter().copied().chain([b'\n'])).collect()
    }

    /// Tells whether nothing is kept.
    pub fn is_idle(&self) -> bool {
        self.0.iter().all(Strand::is_idle)
    }

    /// Counts the bytes of text that are kept.
    pub fn text_bytes(&self) -> usize {
        self.0.iter().map(|strand| strand.text.len()).sum()
    }

    /// Says what is kept that could be given as it is.
    pub fn kept(&self) -> Kept {
        self.0.iter().map(Strand::kept).max().unwrap_or(Kept::Nothing)
    }

    /// Counts quiet from `now_ms` on, after a restart.
    pub fn touch(&mut self, now_ms: i64) {
        self.0.iter_mut().for_each(|strand| strand.touched_ms = now_ms);
    }

    /// Takes a line of the file, its own line end taken off but for a CR.
    pub fn take(&mut self, joining: &Joining<'_>, line: Line<'_>, now_ms: i64, give: &mut dyn FnMut(Given<'_>)) {
        let is_whole = !line.partial && !line.continued;
        let Some(fragment) = is_whole.then(|| joining.container.read(line.bytes)).flatten() else {
            let marks = Marks::of(&line).and(Marks::FOREIGN);
            let bytes = if line.partial { line.bytes } else { joining.without_cr(line.bytes) };
            return give(Given::Record(Piece { bytes, at_ms: now_ms, marks }));
        };
        let (stream, mark) = match fragment.stream {
            Stream::Stdout => (0, Marks::STDOUT),
            Stream::Stderr => (1, Marks::STDERR),
        };
        self.0[stream].touched_ms = now_ms;
        self.0[stream].take(joining, &fragment, mark, give);
        while self.text_bytes() > joining.text_bytes_max {
            let (strand, mark) = self.longest();
            if !strand.end_earlier_record(joining, mark, give) {
                strand.give_piece(usize::MAX, mark, give);
            }
        }
    }

    /// Gives what has been quiet for long enough as it is.
    pub fn flush(&mut self, joining: &Joining<'_>, quiet: Quiet, give: &mut dyn FnMut(Given<'_>)) {
        let marks = [Marks::STDOUT, Marks::STDERR];
        for (strand, mark) in self.0.iter_mut().zip(marks) {
            let since_ms = match strand.kept() {
                Kept::Nothing => continue,
                Kept::Record => quiet.record_since_ms,
                Kept::Line => quiet.line_since_ms,
            };
            if strand.touched_ms < since_ms {
                strand.flush(joining, mark, give);
            }
        }
    }

    fn longest(&mut self) -> (&mut Strand, Marks) {
        let [stdout, stderr] = &mut self.0;
        if stdout.text.len() >= stderr.text.len() { (stdout, Marks::STDOUT) } else { (stderr, Marks::STDERR) }
    }
}

impl Joining<'_> {
    fn without_cr<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        if self.framing.keep_cr { line } else { line.strip_suffix(b"\r").unwrap_or(line) }
    }
}

impl Strand {
    pub(super) fn is_idle(&self) -> bool {
        self.text.is_empty() && self.lines == 0 && self.line_at.is_none() && !self.record_given
    }

    fn kept(&self) -> Kept {
        match self.line_at {
            _ if self.drops_line => Kept::Nothing,
            Some(_) if cut_before(&self.text) > 0 => Kept::Line,
            None if self.lines > 0 => Kept::Record,
            _ => Kept::Nothing,
        }
    }

    fn take(&mut self, joining: &Joining<'_>, fragment: &Fragment<'_>, mark: Marks, give: &mut dyn FnMut(Given<'_>)) {
        if self.drops_line {
            give(Given::Dropped(fragment.text.len()));
            if fragment.is_last {
                *self = Self::default();
            }
            return;
        }
        let is_alone = fragment.is_last && joining.multiline.is_none() && self.is_idle();
        if is_alone && fragment.text.len() <= joining.framing.line_bytes_max {
            let bytes = joining.without_cr(&fragment.text);
            return give(Given::Record(Piece { bytes, at_ms: fragment.at_ms, marks: mark }));
        }
        if self.line_at.is_none() {
            self.begin_line(fragment.at_ms);
        }
        self.text.extend_from_slice(&fragment.text);
        if fragment.is_last {
            self.end_line(joining, mark, give);
        } else {
            self.cut_long(joining, mark, give);
        }
    }

    fn begin_line(&mut self, at_ms: i64) {
        if self.lines > 0 {
            self.text.push(b'\n');
        }
        if self.text.is_empty() && !self.record_given {
            self.since_ms = at_ms;
        }
        (self.line_at, self.line_since_ms, self.line_given) = (Some(self.text.len()), at_ms, false);
    }

    fn end_line(&mut self, joining: &Joining<'_>, mark: Marks, give: &mut dyn FnMut(Given<'_>)) {
        let has_cr = self.line_at.is_some_and(|at| self.text[at..].ends_with(b"\r"));
        if has_cr && !joining.framing.keep_cr {
            self.text.pop();
        }
        self.end_earlier_record(joining, mark, give);
        self.cut_long(joining, mark, give);
        if self.drops_line {
            *self = Self::default();
            return;
        }
        (self.line_at, self.line_given) = (None, false);
        self.lines += 1;
        match joining.multiline {
            None => self.end_record(mark, give),
            Some(multiline) if self.lines >= multiline.lines_max => self.give_piece(usize::MAX, mark, give),
            Some(_) => {}
        }
    }

    /// Gives the record before the unfinished line if that starts another one. True if there was one to give.
    fn end_earlier_record(&mut self, joining: &Joining<'_>, mark: Marks, give: &mut dyn FnMut(Given<'_>)) -> bool {
        let (Some(at), Some(multiline)) = (self.line_at, joining.multiline) else { return false };
        if self.line_given || !multiline.starts(&self.text[at..]) {
            return false;
        }
        let had_lines = self.lines > 0;
        if had_lines {
            let marks = mark.and_if(self.record_given, Marks::CONTINUED);
            give(Given::Record(Piece { bytes: &self.text[..at - 1], at_ms: self.since_ms, marks }));
            self.text.drain(..at);
            (self.line_at, self.lines) = (Some(0), 0);
        }
        (self.record_given, self.since_ms) = (false, self.line_since_ms);
        had_lines
    }

    /// Gives pieces, or does what was asked for, while the text is longer than a record may be.
    fn cut_long(&mut self, joining: &Joining<'_>, mark: Marks, give: &mut dyn FnMut(Given<'_>)) {
        let max = joining.framing.line_bytes_max;
        while self.text.len() > max {
            if self.end_earlier_record(joining, mark, give) {
                continue;
            }
            let marks = mark.and_if(self.record_given, Marks::CONTINUED);
            let piece = |bytes, marks| Piece { bytes, at_ms: self.since_ms, marks };
            match joining.long_lines {
                LongLines::Split => {
                    self.give_piece(max, mark, give);
                    continue;
                }
                LongLines::Truncate => {
                    let cut = cut_inside(&self.text[..max]);
                    give(Given::Record(piece(&self.text[..cut], marks.and(Marks::TRUNCATED))));
                    give(Given::Dropped(self.text.len() - cut));
                }
                LongLines::DeadLetter => give(Given::TooLong(piece(&self.text, marks))),
            }
            self.text.clear();
            self.drops_line = true;
        }
    }

    /// Gives the front of the text as a piece: what is before the unfinished line, or of that at most `max` bytes.
    fn give_piece(&mut self, max: usize, mark: Marks, give: &mut dyn FnMut(Given<'_>)) {
        let end = match self.line_at {
            None => {
                self.text.push(b'\n');
                self.text.len()
            }
            Some(0) => {
                self.line_given = true;
                cut_inside(&self.text[..self.text.len().min(max)])
            }
            Some(at) => at,
        };
        let marks = mark.and(Marks::PARTIAL).and_if(self.record_given, Marks::CONTINUED);
        give(Given::Record(Piece { bytes: &self.text[..end], at_ms: self.since_ms, marks }));
        self.text.drain(..end);
        (self.line_at, self.lines, self.record_given) = (self.line_at.map(|_| 0), 0, true);
    }

    /// Gives all lines as a record, or as the last piece of one.
    fn end_record(&mut self, mark: Marks, give: &mut dyn FnMut(Given<'_>)) {
        // A line end after a piece that was given makes no record.
        if !(self.record_given && self.text.is_empty()) {
            let marks = mark.and_if(self.record_given, Marks::CONTINUED);
            give(Given::Record(Piece { bytes: &self.text, at_ms: self.since_ms, marks }));
        }
        *self = Self { touched_ms: self.touched_ms, ..Self::default() };
    }

    fn flush(&mut self, joining: &Joining<'_>, mark: Marks, give: &mut dyn FnMut(Given<'_>)) {
        if self.line_at.is_none() {
            return self.end_record(mark, give);
        }
        self.end_earlier_record(joining, mark, give);
        while self.line_at.is_some_and(|at| at > 0) || cut_before(&self.text) > 0 {
            let is_line = self.line_at == Some(0);
            self.give_piece(if is_line { cut_before(&self.text) } else { usize::MAX }, mark, give);
        }
    }
}

/// Finds where a piece may end, at least one byte from the front.
fn cut_inside(bytes: &[u8]) -> usize {
    match cut_before(bytes) {
        0 => bytes.len(),
        cut => cut,
    }
}

#[cfg(test)]
mod tests;
