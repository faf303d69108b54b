//! What container lines become: a table, and the property that nothing depends on where the input is cut.

use proptest::prelude::*;
use regex::bytes::Regex;
use std::time::Duration;

use super::*;
use crate::frame::carry::Carry;
use crate::frame::lines::{Lines, Place};
use crate::frame::multiline::Rule;

/// A framer's state and what came of it so far.
#[derive(Default)]
struct Joiner {
    carry: Carry,
    shown: Vec<String>,
}

fn joining(multiline: Option<&Multiline>) -> Joining<'_> {
    let framing = Framing { line_bytes_max: 20, keep_cr: false };
    Joining { container: Container::Cri, multiline, framing, long_lines: LongLines::Split, text_bytes_max: 30 }
}

fn indentation(lines_max: usize) -> Multiline {
    Multiline::new(Rule::Continue(Regex::new(r"^[ \t]").unwrap()), Duration::ZERO, lines_max)
}

/// Writes a record as `o` or `e` and its second, `>` if continued, the text, `…` if partial, and other marks in words.
fn show(given: Given<'_>) -> String {
    let (piece, kind) = match given {
        Given::Record(piece) => (piece, ""),
        Given::TooLong(piece) => (piece, " too long"),
        Given::Dropped(count) => return format!("dropped {count}"),
    };
    let stream = if piece.marks.has(Marks::STDOUT) { "o" } else { "e" };
    let stream = if piece.marks.has(Marks::FOREIGN) { "?" } else { stream };
    let second = piece.at_ms / 1000 % 60;
    let (before, after) =
        (piece.marks.has(Marks::CONTINUED).then_some(">"), piece.marks.has(Marks::PARTIAL).then_some("…"));
    let kind = if piece.marks.has(Marks::TRUNCATED) { " truncated" } else { kind };
    let text = piece.bytes.escape_ascii();
    format!("{stream}{second} {}{text}{}{kind}", before.unwrap_or_default(), after.unwrap_or_default())
}

impl Joiner {
    /// Takes a block of the file; gives how much of it is done with. The state goes through its carry.
    fn block(&mut self, joining: &Joining<'_>, block: &[u8]) -> usize {
        let raw = Framing { line_bytes_max: 200, keep_cr: true };
        let mut lines = Lines::new(raw, block, self.carry.place);
        let mut strands = self.carry.take_strands();
        for line in lines.by_ref() {
            strands.take(joining, line, 59_000, &mut |given| self.shown.push(show(given)));
        }
        self.carry.place = lines.place();
        self.carry.set_strands(strands);
        let encoded = self.carry.encode();
        assert!(encoded.len() <= joining.text_bytes_max + 128);
        self.carry = Carry::decode(&encoded).unwrap();
        lines.consumed()
    }

    fn flush(&mut self, joining: &Joining<'_>, quiet: Quiet) {
        let mut strands = self.carry.take_strands();
        strands.flush(joining, quiet, &mut |given| self.shown.push(show(given)));
        self.carry.set_strands(strands);
    }
}

/// Writes `o1 P text` as the CRI line of standard output of second 1.
fn file(lines: &[&str]) -> Vec<u8> {
    let line = |line: &&str| {
        let Some((at, rest)) = line.split_once(' ').filter(|(at, _)| at.len() == 2) else { return format!("{line}\n") };
        let stream = if at.starts_with('o') { "stdout" } else { "stderr" };
        format!("2026-01-31T10:11:0{}.5Z {stream} {rest}\n", &at[1..])
    };
    lines.iter().map(line).collect::<String>().into_bytes()
}

#[track_caller]
fn check(joining: &Joining<'_>, lines: &[&str], flush: bool, expected: &[&str]) {
    let mut joiner = Joiner::default();
    let text = file(lines);
    assert_eq!(joiner.block(joining, &text), text.len());
    if flush {
        joiner.flush(joining, Quiet::ALL);
    }
    assert_eq!(joiner.shown, expected, "{lines:?}");
}

#[test]
fn fragments_are_joined_by_stream_with_the_time_of_the_first() {
    let plain = joining(None);
    check(&plain, &["o1 F a", "e2 F b", "o3 F "], false, &["o1 a", "e2 b", "o3 "]);
    check(&plain, &["o1 P a", "e2 P x", "o3 P b", "e4 F y", "o5 F c", "o6 F d"], false, &["e2 xy", "o1 abc", "o6 d"]);
    check(&plain, &["o1 P a", "o2 F "], false, &["o1 a"]);
    check(&plain, &["o1 F a\r", "o2 P b\r", "o3 F \r"], false, &["o1 a", "o2 b\\r"]);
    check(&plain, &["o1 P a"], false, &[]);
}

#[test]
fn lines_of_no_runtime_are_kept_and_say_so() {
    check(&joining(None), &["o1 P a", "what", "o2 F b"], false, &["?59 what", "o1 ab"]);
    let long = "x".repeat(201);
    let expected = [format!("?59 {}…", "x".repeat(200)), "?59 >x".to_owned()];
    check(&joining(None), &[&long], false, &[&expected[0], &expected[1]]);
}

#[test]
fn what_is_quiet_is_given_as_it_is_and_goes_on_as_a_continuation() {
    let plain = joining(None);
    let mut joiner = Joiner::default();
    joiner.block(&plain, &file(&["o1 P half", "e1 P other"]));
    joiner.flush(&plain, Quiet { record_since_ms: i64::MAX, line_since_ms: i64::MIN });
    assert_eq!(joiner.shown, [""; 0]);
    joiner.flush(&plain, Quiet::ALL);
    joiner.flush(&plain, Quiet::ALL);
    joiner.block(&plain, &file(&["o2 P  and", "o3 F  more", "e2 F ", "e3 F next"]));
    assert_eq!(joiner.shown, ["o1 half…", "e1 other…", "o1 > and more", "e3 next"]);
    let traces = indentation(100);
    let traces = joining(Some(&traces));
    let mut joiner = Joiner::default();
    joiner.block(&traces, &file(&["o1 F a", "o2 F  b"]));
    assert_eq!(joiner.carry.take_strands().kept(), Kept::Record);
    check(&traces, &["o1 F a", "o2 F  b"], true, &["o1 a\\n b"]);
    check(&traces, &["o1 F a", "o2 P  b"], true, &["o1 a\\n…", "o1 > b…"]);
    check(&traces, &["o1 F a", "o2 P b"], true, &["o1 a", "o2 b…"]);
}

#[test]
fn lines_that_belong_together_are_joined_by_stream() {
    let few = indentation(3);
    let traces = joining(Some(&few));
    let interleaved = ["o1 F a", "e2 F x", "o3 P  b", "e4 F  y", "o5 F c", "e6 F z", "o7 F d", "e8 F w"];
    check(&traces, &interleaved, false, &["e2 x\\n y", "o1 a\\n bc", "e6 z"]);
    let long = ["o1 F a", "o2 F  b", "o3 F  c", "o4 F  d", "o5 F e", "o6 F f"];
    check(&traces, &long, false, &["o1 a\\n b\\n c\\n…", "o1 > d", "o5 e"]);
    check(&traces, &["o1 F ", "o2 F ", "o3 F x"], false, &["o1 ", "o2 "]);
}

#[test]
fn what_is_too_long_comes_in_pieces_or_as_it_was_asked_for() {
    let split = joining(None);
    let long = ["o1 P 0123456789", "o2 P abcdefghij", "o3 P K", "o4 F L", "o5 F m"];
    check(&split, &long, false, &["o1 0123456789abcdefghij…", "o1 >KL", "o5 m"]);
    check(&split, &["o1 F 0123456789abcdefghijKL"], false, &["o1 0123456789abcdefghij…", "o1 >KL"]);
    let truncate = Joining { long_lines: LongLines::Truncate, ..split };
    let dropped = ["o1 0123456789abcdefghij truncated", "dropped 1", "dropped 1", "o5 m"];
    check(&truncate, &long, false, &dropped);
    let dead = Joining { long_lines: LongLines::DeadLetter, ..split };
    check(&dead, &long, false, &["o1 0123456789abcdefghijK too long", "dropped 1", "o5 m"]);
    let both = ["o1 P 0123456789abcdef", "e2 P 0123456789", "e3 P abcdefgh", "o4 F g", "e5 F i"];
    check(&split, &both, false, &["e2 0123456789abcdefgh…", "o1 0123456789abcdefg", "e2 >i"]);
    let traces = indentation(100);
    let traces = joining(Some(&traces));
    let long = ["o1 F 0123456789", "o2 P  abcdefghi", "o3 F klm", "o4 F n"];
    check(&traces, &long, false, &["o1 0123456789\\n…", "o1 > abcdefghiklm"]);
}

fn container_line() -> impl Strategy<Value = String> {
    let line = ("[oe][1-9]", prop_oneof![Just("P"), Just("F")], "[ a-c]{0,12}\r?");
    prop_oneof![9 => line.prop_map(|(at, tag, text)| format!("{at} {tag} {text}")), 1 => "[a-c]{0,4}"]
}

proptest! {
    /// Whatever is cut where, and carried over, the same records come of it.
    #[test]
    fn cuts_change_nothing(
        lines in proptest::collection::vec(container_line(), 0..40),
        cuts in proptest::collection::vec(0..2000_usize, 0..8),
        joins_lines: bool,
        long_lines in prop_oneof![Just(LongLines::Split), Just(LongLines::Truncate), Just(LongLines::DeadLetter)],
    ) {
        let traces = indentation(4);
        let long_lines = if joins_lines { LongLines::Split } else { long_lines };
        let joining = Joining { long_lines, ..joining(joins_lines.then_some(&traces)) };
        let text = file(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let mut whole = Joiner::default();
        whole.block(&joining, &text);
        whole.flush(&joining, Quiet::ALL);
        let mut ends: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
        ends.push(text.len());
        ends.sort_unstable();
        let (mut joiner, mut start) = (Joiner::default(), 0);
        for end in ends {
            start += joiner.block(&joining, &text[start..end]);
        }
        joiner.flush(&joining, Quiet::ALL);
        prop_assert_eq!(start, text.len());
        prop_assert_eq!(joiner.carry.place, Place::LineStart);
        prop_assert_eq!(joiner.shown, whole.shown);
    }

    /// Put together, the pieces of each stream are its text.
    #[test]
    fn no_byte_is_lost_or_doubled(lines in proptest::collection::vec(container_line(), 0..40), joins_lines: bool) {
        let traces = indentation(4);
        let framing = Framing { line_bytes_max: 20, keep_cr: true };
        let joining = Joining { framing, ..joining(joins_lines.then_some(&traces)) };
        let (mut strands, mut found, mut expected) = (Strands::default(), [vec![], vec![]], [vec![], vec![]]);
        let mut give = |given: Given<'_>| {
            let Given::Record(piece) = given else { panic!("nothing is dropped") };
            if !piece.marks.has(Marks::FOREIGN) {
                let of = &mut found[usize::from(piece.marks.has(Marks::STDERR))];
                of.extend_from_slice(piece.bytes);
                of.extend((!piece.marks.has(Marks::PARTIAL)).then_some(b'\n'));
            }
        };
        for line in file(&lines.iter().map(String::as_str).collect::<Vec<_>>()).split(|&byte| byte == b'\n') {
            if let Some(fragment) = Container::Cri.read(line) {
                let of = &mut expected[fragment.stream as usize];
                of.extend_from_slice(&fragment.text);
                of.extend(fragment.is_last.then_some(b'\n'));
            }
            strands.take(&joining, Line { bytes: line, continued: false, partial: false }, 0, &mut give);
        }
        strands.flush(&joining, Quiet::ALL, &mut give);
        for (found, expected) in found.iter().zip(&expected) {
            let without = |text: &[u8]| text.iter().copied().filter(|&byte| byte != b'\n').collect::<Vec<u8>>();
            // A CR that may belong to a line end waits for what follows it.
            let (found, expected) = (without(found), without(expected));
            prop_assert!(found == expected || [&found[..], b"\r"].concat() == expected, "{found:?} {expected:?}");
        }
    }
}
