//! Joins lines that belong together, such as stack traces, to records. Pure; borrows every record from the block, copies none.
//!
//! A record is a contiguous piece of the file, line ends inside it included. It ends before the next line that starts one; until that is there,
//! its bytes stay in the file and are in the next block again, so nothing has to be remembered over a restart. One that is longer than
//! `line_bytes_max`, or than `lines_max` lines, comes in pieces, which put together are the record: all but the last *partial*, all but the
//! first *continued*.

use std::time::Duration;

use regex::bytes::Regex;

use crate::flow::Line;
use crate::frame::lines::{Framing, Place, cut_before};

/// Says which lines belong together.
#[derive(Debug, Clone)]
pub struct Multiline {
    rule: Rule,
    /// A quiet record is taken for whole after this.
    pub flush: Duration,
    /// Lines of a record, at most.
    pub lines_max: usize,
}

/// Says which lines start a record.
#[derive(Debug, Clone)]
pub enum Rule {
    /// Those that match.
    Start(Regex),
    /// Those that do not match.
    Continue(Regex),
}

/// Names ready-made rules: which lines continue a record, by the language that writes the trace.
pub const PRESETS: [(&str, &str); 6] = [
    ("java", r"^(\s+at |\s+\.\.\. \d+ |\s*Caused by: |\s*Suppressed: |\s+- )"),
    (
        "python",
        r"^([ \t]|Traceback \(most recent call last\):|During handling of the above|The above exception was|[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt|Iteration|Warning|Group)(:|$)|\r?$)",
    ),
    (
        "go",
        r"^(\t|goroutine \d+ \[|created by |\[signal |\.\.\.|[\w./·*()\[\]{}-]+\(.*\)( in goroutine \d+)?\r?$|exit status |\r?$)",
    ),
    ("node", r"^(\s+at |\s+\[cause\]: |\s+[\w'\[\]]+: |[}\])]+,?\r?$|Caused by: |Node\.js v)"),
    ("ruby", r"^(\s+from |\s+\d+: from |\t)"),
    ("indentation", r"^[ \t]"),
];

impl Multiline {
    /// Makes the rules of an input.
    pub fn new(rule: Rule, flush: Duration, lines_max: usize) -> Self {
        Self { rule, flush, lines_max }
    }

    /// Tells whether a line starts a record.
    pub(super) fn starts(&self, line: &[u8]) -> bool {
        match &self.rule {
            Rule::Start(pattern) => pattern.is_match(line),
            Rule::Continue(pattern) => !pattern.is_match(line),
        }
    }
}

impl PartialEq for Multiline {
    fn eq(&self, other: &Self) -> bool {
        let pattern = |rule: &Rule| match rule {
            Rule::Start(pattern) => (true, pattern.as_str().to_owned()),
            Rule::Continue(pattern) => (false, pattern.as_str().to_owned()),
        };
        (pattern(&self.rule), self.flush, self.lines_max) == (pattern(&other.rule), other.flush, other.lines_max)
    }
}

/// Gives the records of one block, in order, as long as they are known to be whole, or too long.
#[derive(Debug)]
pub struct Records<'a, 'm> {
    framing: Framing,
    multiline: &'m Multiline,
    block: &'a [u8],
    consumed: usize,
    place: Place,
    /// The record's lines up to here were looked at, so many of them.
    seen: (usize, usize),
}

impl<'a, 'm> Records<'a, 'm> {
    /// Starts at the front of `block`, in `place`.
    pub fn new(framing: Framing, multiline: &'m Multiline, block: &'a [u8], place: Place) -> Self {
        Self { framing, multiline, block, consumed: 0, place, seen: (0, 0) }
    }

    /// Tells how many bytes of the block are done with.
    pub fn consumed(&self) -> usize {
        self.consumed
    }

    /// Tells where the framer stands after them.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Gives what is left: as a record if its last line is whole, else as a piece of one; for a file that has gone quiet.
    pub fn flush(&mut self) -> Option<Line<'a>> {
        let rest = &self.block[self.consumed..];
        if rest.is_empty() {
            return None;
        }
        if rest.ends_with(b"\n") {
            return Some(self.give(self.block.len(), false, Place::LineStart));
        }
        let cut = cut_before(rest);
        (cut > 0).then(|| self.give(self.consumed + cut, true, Place::InsideLine))
    }

    /// Gives what is left of whole lines as a piece of a record that goes on elsewhere.
    pub fn give_open(&mut self) -> Option<Line<'a>> {
        let has_lines = self.block.len() > self.consumed;
        has_lines.then(|| self.give(self.block.len(), true, Place::InsideRecord))
    }

    /// Gives the bytes up to `end`, which is right after a line end unless they are a piece of a line.
    fn give(&mut self, end: usize, partial: bool, place: Place) -> Line<'a> {
        let mut bytes = &self.block[self.consumed..end];
        if !partial {
            bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
            if !self.framing.keep_cr {
                bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
            }
        }
        let continued = std::mem::replace(&mut self.place, place) != Place::LineStart;
        (self.consumed, self.seen) = (end, (end, 0));
        Line { bytes, continued, partial }
    }

    /// Cuts a record that is too long: before the line at `at`, or inside it if it is the first.
    fn cut(&mut self, at: usize) -> Line<'a> {
        if at > self.consumed {
            return self.give(at, true, Place::InsideRecord);
        }
        let longest = &self.block[at..at + self.framing.line_bytes_max];
        let cut = cut_before(longest);
        self.give(at + if cut == 0 { longest.len() } else { cut }, true, Place::InsideLine)
    }
}

impl<'a> Iterator for Records<'a, '_> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let max = self.framing.line_bytes_max;
        loop {
            let (at, lines) = self.seen;
            let Some(len) = memchr::memchr(b'\n', &self.block[at..]) else {
                return (self.block.len() - self.consumed >= max + 2).then(|| self.cut(at));
            };
            let (line, end) = (&self.block[at..at + len], at + len + 1);
            let starts = self.place != Place::InsideLine || at > self.consumed;
            if starts && self.multiline.starts(line) {
                if at > self.consumed {
                    return Some(self.give(at, false, Place::LineStart));
                }
                self.place = Place::LineStart;
            }
            if end - self.consumed > max + 1 + usize::from(line.ends_with(b"\r")) {
                return Some(self.cut(at));
            }
            self.seen = (end, lines + 1);
            if lines + 1 >= self.multiline.lines_max {
                return Some(self.give(end, true, Place::InsideRecord));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::carry::Carry;
    use proptest::prelude::*;

    const FRAMING: Framing = Framing { line_bytes_max: 1 << 20, keep_cr: false };

    fn preset(name: &str) -> Multiline {
        let pattern = PRESETS.iter().find(|(known, _)| *known == name).unwrap().1;
        Multiline::new(Rule::Continue(Regex::new(pattern).unwrap()), Duration::from_secs(1), 1000)
    }

    fn frame(framing: Framing, multiline: &Multiline, text: &str, flush: bool) -> Vec<String> {
        let mut records = Records::new(framing, multiline, text.as_bytes(), Place::LineStart);
        let mut shown: Vec<String> = records.by_ref().map(show).collect();
        if flush {
            shown.extend(records.flush().map(show));
        }
        shown
    }

    fn show(line: Line<'_>) -> String {
        let (before, after) = (if line.continued { ">" } else { "" }, if line.partial { "…" } else { "" });
        format!("{before}{}{after}", String::from_utf8_lossy(line.bytes))
    }

    #[test]
    fn the_traces_of_each_language_are_one_record() {
        let java = "2026-01-01 ERROR failed\njava.lang.RuntimeException: no\n\tat a.B.c(B.java:7)\n\tat d.E.f(E.java:9)\nCaused by: java.io.IOException: disk\n\tat g.H.i(H.java:1)\n\t... 12 more\n";
        let python = "ERROR failed\nTraceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    f()\nValueError: no\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"a.py\", line 3, in <module>\n    g()\nmy.pkg.OtherError: really\n";
        let go = "panic: runtime error: index out of range [5]\n\ngoroutine 1 [running]:\nmain.f(0x1)\n\t/src/main.go:9 +0x1d\nmain.(*T).g(...)\n\t/src/main.go:5\ncreated by main.main in goroutine 1\n\t/src/main.go:3 +0x2\nexit status 2\n";
        let node = "Error: no\n    at f (/srv/a.js:1:7)\n    at Object.<anonymous> (/srv/a.js:3:1) {\n  code: 'ENOENT',\n  [cause]: Error: disk\n      at g (/srv/b.js:2:2)\n}\n";
        let ruby = "/srv/a.rb:1:in `f': no (RuntimeError)\n\tfrom /srv/a.rb:4:in `g'\n\tfrom /srv/a.rb:9:in `<main>'\n";
        // A Java exception's own line names no level: it starts a record unless a line before does.
        let cases = [("java", java, 2), ("python", python, 1), ("go", go, 1), ("node", node, 1), ("ruby", ruby, 1)];
        for (name, trace, count) in cases {
            let text = format!("2026-01-01 INFO before\n{trace}2026-01-01 INFO after\n2026-01-01 INFO last\n");
            let found = frame(FRAMING, &preset(name), &text, true);
            assert_eq!(found.len(), count + 3, "{name}: {found:#?}");
            assert_eq!(found[1..=count].join("\n"), trace.trim_end_matches('\n'), "{name}");
        }
    }

    #[test]
    fn a_pattern_says_where_records_start() {
        let start = Multiline::new(Rule::Start(Regex::new(r"^\d{4}-").unwrap()), Duration::ZERO, 1000);
        let text = "no start\n2026-a\r\nb\r\n\r\n2026-c\nd";
        assert_eq!(frame(FRAMING, &start, text, false), ["no start", "2026-a\r\nb\r\n"]);
        assert_eq!(frame(FRAMING, &start, text, true), ["no start", "2026-a\r\nb\r\n", "2026-c\nd…"]);
    }

    #[test]
    fn records_too_long_come_in_pieces() {
        let short = Framing { line_bytes_max: 8, keep_cr: false };
        let text = "abcd\n efgh\n hij\nnext\n0123456789\n x\nlast\n";
        let expected = ["abcd\n…", "> efgh\n…", "> hij", "next", "01234567…", ">89\n x", "last"];
        assert_eq!(frame(short, &preset("indentation"), text, true), expected);
        let few = Multiline { lines_max: 2, ..preset("indentation") };
        assert_eq!(frame(FRAMING, &few, "a\n b\n c\n d\ne\n", true), ["a\n b\n…", "> c\n d\n…", "e"]);
    }

    proptest! {
        /// Whatever is cut where, no byte is lost or doubled, and the same records come of it.
        #[test]
        fn cuts_change_nothing(text in "([a-c ]{0,4}\n){0,20}", cuts in proptest::collection::vec(0..100_usize, 0..8)) {
            let (multiline, mut place, mut start, mut found) = (preset("indentation"), Place::LineStart, 0, Vec::new());
            let mut ends: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            ends.push(text.len());
            ends.sort_unstable();
            for (number, end) in ends.iter().enumerate() {
                let mut records = Records::new(FRAMING, &multiline, &text.as_bytes()[start..*end], place);
                found.extend(records.by_ref().map(show));
                if number + 1 == ends.len() {
                    found.extend(records.flush().map(show));
                }
                start += records.consumed();
                place = Carry::decode(&Carry::from(records.place()).encode()).unwrap().place;
            }
            prop_assert_eq!(start, text.len());
            prop_assert_eq!(found, frame(FRAMING, &multiline, &text, true));
        }
    }
}
