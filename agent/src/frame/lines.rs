//! Cuts a block of a file into lines. Borrows every line from the block, copies none, and keeps no bytes: what is not yet a
//! line stays in the file and is in the next block again.
//!
//! A line ends with LF; one CR before it belongs to the line end unless `keep_cr`. A line longer than `line_bytes_max` comes in
//! pieces, as does one that was flushed before its LF came: all but the last are *partial*, all but the first *continued*.
//! No cut falls between CR and LF or inside a UTF-8 character. An LF that completes a piece already given makes no record.
//!
//! The state between two blocks is where in a line it stands (`carry.rs`).

use crate::flow::Line;

/// Says how an input's files are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// Longest line given in one piece, in bytes.
    pub line_bytes_max: usize,
    /// Leaves the CR of a CR LF in the line.
    pub keep_cr: bool,
}

impl Framing {
    /// Tells how many bytes must be seen to make progress whatever they are: a longest line and its CR LF.
    pub fn block_bytes_min(self) -> usize {
        self.line_bytes_max + 2
    }
}

/// Says where in a line the framer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// At its first byte.
    #[default]
    LineStart,
    /// After a piece that was already given.
    InsideLine,
    /// At a line's first byte, after a piece of a record of several lines that was already given.
    InsideRecord,
    /// Inside a line that is too long, the rest of which is dropped.
    Dropping,
}

/// Says what becomes of a line longer than `line_bytes_max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LongLines {
    /// It comes in pieces.
    #[default]
    Split,
    /// Its first bytes are the record; the rest is dropped.
    Truncate,
    /// It is a dead letter, cut; the rest is dropped.
    DeadLetter,
}

/// Gives the lines of one block, in order, as long as they are whole or too long.
#[derive(Debug)]
pub struct Lines<'a> {
    framing: Framing,
    block: &'a [u8],
    consumed: usize,
    place: Place,
}

impl<'a> Lines<'a> {
    /// Starts at the front of `block`, in `place`.
    pub fn new(framing: Framing, block: &'a [u8], place: Place) -> Self {
        Self { framing, block, consumed: 0, place }
    }

    /// Tells how many bytes of the block are done with.
    pub fn consumed(&self) -> usize {
        self.consumed
    }

    /// Tells where the framer stands after them.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Gives what is left as a piece of a line, short of a trailing CR or half a character; for a file that has gone quiet.
    pub fn flush(&mut self) -> Option<Line<'a>> {
        let rest = &self.block[self.consumed..];
        let piece = &rest[..cut_before(rest)];
        (!piece.is_empty()).then(|| self.piece(piece))
    }

    fn piece(&mut self, bytes: &'a [u8]) -> Line<'a> {
        self.consumed += bytes.len();
        let continued = std::mem::replace(&mut self.place, Place::InsideLine) == Place::InsideLine;
        Line { bytes, continued, partial: true }
    }

    fn long_piece(&mut self, longest: &'a [u8]) -> Line<'a> {
        let cut = cut_before(longest);
        self.piece(if cut == 0 { longest } else { &longest[..cut] })
    }

    fn without_cr(&self, line: &'a [u8]) -> &'a [u8] {
        if self.framing.keep_cr { line } else { line.strip_suffix(b"\r").unwrap_or(line) }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    #[inline]
    fn next(&mut self) -> Option<Line<'a>> {
        let max = self.framing.line_bytes_max;
        loop {
            let rest = &self.block[self.consumed..];
            let window = &rest[..rest.len().min(max + 2)];
            let Some(end) = memchr::memchr(b'\n', window) else {
                return (window.len() == max + 2).then(|| self.long_piece(&rest[..max]));
            };
            let bytes = self.without_cr(&rest[..end]);
            if bytes.len() > max {
                return Some(self.long_piece(&rest[..max]));
            }
            self.consumed += end + 1;
            let continued = std::mem::take(&mut self.place) == Place::InsideLine;
            if !(continued && bytes.is_empty()) {
                return Some(Line { bytes, continued, partial: false });
            }
        }
    }
}

/// Finds the last place at or before the end where a line may be cut: not after a CR, not inside a UTF-8 character.
pub(super) fn cut_before(bytes: &[u8]) -> usize {
    let end = bytes.len() - usize::from(bytes.last() == Some(&b'\r'));
    let tail_start = end.saturating_sub(3);
    let lead = bytes[tail_start..end].iter().rposition(|byte| byte & 0xc0 != 0x80).map(|at| tail_start + at);
    match lead {
        Some(lead) if lead + character_len(bytes[lead]) > end => lead,
        _ => end,
    }
}

/// Tells how long a UTF-8 character is by its first byte; 1 for what begins none.
fn character_len(lead: u8) -> usize {
    match lead {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHORT: Framing = Framing { line_bytes_max: 8, keep_cr: false };

    /// Frames a text and writes each piece with `>` before it if continued and `…` after it if partial.
    fn frame(framing: Framing, text: &[u8], flush: bool) -> (Vec<String>, usize) {
        let mut lines = Lines::new(framing, text, Place::LineStart);
        let mut shown: Vec<String> = lines.by_ref().map(show).collect();
        if flush {
            shown.extend(lines.flush().map(show));
        }
        (shown, lines.consumed())
    }

    fn show(line: Line<'_>) -> String {
        let (before, after) = (if line.continued { ">" } else { "" }, if line.partial { "…" } else { "" });
        format!("{before}{}{after}", line.bytes.escape_ascii())
    }

    #[test]
    fn lines_are_cut_as_the_table_says() {
        let cases: &[(&[u8], bool, &[&str], usize)] = &[
            (b"", false, &[], 0),
            (b"a\nb\n", false, &["a", "b"], 4),
            (b"a\n\n\nb", false, &["a", "", ""], 4),
            (b"a\r\nb\r\r\n\r\n", false, &["a", "b\\r", ""], 9),
            (b"half", false, &[], 0),
            (b"half", true, &["half…"], 4),
            (b"half\r", true, &["half…"], 4),
            (b"\r", true, &[], 0),
            (b"caf\xc3", true, &["caf…"], 3),
            (b"12345678\n", false, &["12345678"], 9),
            (b"12345678\r\n", false, &["12345678"], 10),
            (b"12345678\r", false, &[], 0),
            (b"123456789\n", false, &["12345678…", ">9"], 10),
            (b"1234567\xc3\xa4\n", false, &["1234567…", ">\\xc3\\xa4"], 10),
            (b"1234567\r9\n", false, &["1234567…", ">\\r9"], 10),
            (b"12345678123456781\n", false, &["12345678…", ">12345678…", ">1"], 18),
            (b"a\0b\xff\n", false, &["a\\x00b\\xff"], 5),
            (&[0x80; 10], false, &["\\x80\\x80\\x80\\x80\\x80\\x80\\x80\\x80…"], 8),
        ];
        for (text, flush, lines, consumed) in cases {
            let (found, end) = frame(SHORT, text, *flush);
            let found: Vec<&str> = found.iter().map(String::as_str).collect();
            assert_eq!((&found[..], end), (*lines, *consumed), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_cr_stays_where_it_is_asked_to() {
        let framing = Framing { keep_cr: true, ..SHORT };
        assert_eq!(frame(framing, b"a\r\n", false).0, ["a\\r"]);
    }

    #[test]
    fn a_line_end_after_a_flushed_piece_makes_no_record_and_more_text_continues_it() {
        for (rest, lines) in [("\n", &[][..]), ("\r\n", &[]), ("more\nnext\n", &[">more", "next"])] {
            let mut after = Lines::new(SHORT, rest.as_bytes(), Place::InsideLine);
            assert_eq!(after.by_ref().map(show).collect::<Vec<_>>(), lines, "{rest:?}");
            assert_eq!((after.consumed(), after.place()), (rest.len(), Place::LineStart));
        }
    }

    proptest! {
        #[test]
        fn blocks_of_any_size_give_the_same_lines(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(0xc3), any::<u8>()], 0..200),
            sizes in proptest::collection::vec(1usize..40, 1..50),
        ) {
            let whole: Vec<String> = Lines::new(SHORT, &text, Place::LineStart).map(show).collect();
            let (mut pieces, mut position, mut seen, mut place) = (Vec::new(), 0, 0, Place::LineStart);
            for size in sizes.into_iter().chain([text.len()]) {
                seen = (seen + size).min(text.len());
                let mut lines = Lines::new(SHORT, &text[position..seen], place);
                pieces.extend(lines.by_ref().map(show));
                (position, place) = (position + lines.consumed(), lines.place());
            }
            prop_assert_eq!(pieces, whole);
        }
    }
}
