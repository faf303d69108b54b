//! What a framer has to remember at a source's position: where in a line it stands, and text that is read but no record yet. Pure.
//!
//! Committed with every span and handed from a file read to its end to the one that takes its name. What it holds is not in the file any
//! more, as far as the position says, so it is bounded: [`CARRY_BYTES_MAX`], all of it encoded.
//!
//! ```text
//! (empty)                          at the start of a line, nothing pending
//! version u8 = 1 | place u8        the place alone; the only form of earlier builds
//! version u8 = 2 | place u8 | kind u8 | pending
//!
//! place    0 at the start of a line     1 inside a line, a piece of which was given
//!          2 at a line's start inside a record of several lines, a piece of which was given
//!          3 inside a line too long, the rest of which is dropped
//! kind 1   whole lines of a record that may go on, line ends included; up to the carry's end
//! kind 2   what container runtimes split, up to twice: stream u8 (0 stdout, 1 stderr) | flags u8 | since i64 | line since i64 | lines u32 |
//!          line at u32 | length u32 | text
//! flags    1 inside a line, which begins at `line at`; 2 a piece of the record was given; 4 a piece of that line was given; 8 the rest of
//!          the line is dropped
//! ```
//!
//! Integers are little-endian; times count milliseconds from 1970.

use bytes::{Buf, BufMut, Bytes};
use skidway_record::source::CARRY_BYTES_MAX;

use crate::frame::lines::Place;
use crate::frame::strands::{Strand, Strands};

/// Bounds whole lines that are carried, in bytes.
pub const LINES_BYTES_MAX: usize = CARRY_BYTES_MAX - 64;

const VERSION_PLACE: u8 = 1;
const VERSION: u8 = 2;
const KIND_LINES: u8 = 1;
const KIND_STRANDS: u8 = 2;
const INSIDE_LINE: u8 = 1;
const RECORD_GIVEN: u8 = 2;
const LINE_GIVEN: u8 = 4;
const DROPS_LINE: u8 = 8;

/// Holds a framer's state between two blocks. Of most files it is a place and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Carry {
    /// Where in a line the position is.
    pub place: Place,
    /// What was read and is no record yet.
    pub pending: Option<Box<Pending>>,
}

/// Holds text that was read and is no record yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pending {
    /// Whole lines of a record that may go on.
    Lines(Vec<u8>),
    /// Of containers' output, by stream.
    Strands(Strands),
}

impl From<Place> for Carry {
    fn from(place: Place) -> Self {
        Self { place, pending: None }
    }
}

impl Carry {
    /// Tells whether a record has begun that may go on in the file that takes this one's name.
    pub fn may_go_on(&self) -> bool {
        self.place == Place::InsideRecord || self.pending.is_some()
    }

    /// Takes the carried lines out; none is usual.
    pub fn take_lines(&mut self) -> Vec<u8> {
        match self.pending.take().map(|pending| *pending) {
            None => Vec::new(),
            Some(Pending::Lines(lines)) => lines,
            // The input was configured otherwise when these were read.
            Some(Pending::Strands(strands)) => strands.to_lines(),
        }
    }

    /// Puts lines back.
    pub fn set_lines(&mut self, lines: &[u8]) {
        self.pending = (!lines.is_empty()).then(|| Box::new(Pending::Lines(lines.to_vec())));
    }

    /// Takes the strands of a container's output out.
    pub fn take_strands(&mut self) -> Strands {
        match self.pending.take().map(|pending| *pending) {
            Some(Pending::Strands(strands)) => strands,
            // The input was configured otherwise when these were read.
            Some(Pending::Lines(lines)) => Strands::of_lines(&lines),
            None => Strands::default(),
        }
    }

    /// Puts them back.
    pub fn set_strands(&mut self, strands: Strands) {
        self.pending = (!strands.is_idle()).then(|| Box::new(Pending::Strands(strands)));
    }

    /// Encodes it.
    pub fn encode(&self) -> Bytes {
        let place = match self.place {
            Place::LineStart => 0,
            Place::InsideLine => 1,
            Place::InsideRecord => 2,
            Place::Dropping => 3,
        };
        let mut out = Vec::new();
        match self.pending.as_deref() {
            None if place == 0 => {}
            None if place < 3 => out.extend([VERSION_PLACE, place]),
            None => out.extend([VERSION, place]),
            Some(Pending::Lines(lines)) => {
                out.extend([VERSION, place, KIND_LINES]);
                out.extend_from_slice(lines);
            }
            Some(Pending::Strands(strands)) => {
                out.extend([VERSION, place, KIND_STRANDS]);
                for (stream, strand) in (0..).zip(&strands.0).filter(|(_, strand)| !strand.is_idle()) {
                    encode_strand(stream, strand, &mut out);
                }
            }
        }
        Bytes::from(out)
    }

    /// Reads one; `None` if another version wrote it.
    pub fn decode(carry: &[u8]) -> Option<Self> {
        let (place, rest) = match carry {
            [] => return Some(Self::default()),
            [VERSION_PLACE, place @ 0..=2] => (*place, &[][..]),
            [VERSION, place, rest @ ..] => (*place, rest),
            _ => return None,
        };
        let place = match place {
            0 => Place::LineStart,
            1 => Place::InsideLine,
            2 => Place::InsideRecord,
            3 => Place::Dropping,
            _ => return None,
        };
        let mut carry = Self::from(place);
        match rest {
            [] => {}
            [KIND_LINES, lines @ ..] => carry.set_lines(lines),
            [KIND_STRANDS, strands @ ..] => carry.set_strands(decode_strands(strands)?),
            _ => return None,
        }
        Some(carry)
    }
}

fn encode_strand(stream: u8, strand: &Strand, out: &mut Vec<u8>) {
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    out.put_u8(stream);
    out.put_u8(
        flag(strand.line_at.is_some(), INSIDE_LINE)
            | flag(strand.record_given, RECORD_GIVEN)
            | flag(strand.line_given, LINE_GIVEN)
            | flag(strand.drops_line, DROPS_LINE),
    );
    out.put_i64_le(strand.since_ms);
    out.put_i64_le(strand.line_since_ms);
    out.put_u32_le(strand.lines as u32);
    out.put_u32_le(strand.line_at.unwrap_or(0) as u32);
    out.put_u32_le(strand.text.len() as u32);
    out.extend_from_slice(&strand.text);
}

fn decode_strands(mut bytes: &[u8]) -> Option<Strands> {
    let mut strands = Strands::default();
    while !bytes.is_empty() {
        let strand = strands.0.get_mut(usize::from(bytes.try_get_u8().ok()?))?;
        let flags = bytes.try_get_u8().ok()?;
        (strand.since_ms, strand.line_since_ms) = (bytes.try_get_i64_le().ok()?, bytes.try_get_i64_le().ok()?);
        strand.lines = bytes.try_get_u32_le().ok()? as usize;
        let (line_at, len) = (bytes.try_get_u32_le().ok()? as usize, bytes.try_get_u32_le().ok()? as usize);
        let (text, rest) = bytes.split_at_checked(len)?;
        strand.text = text.to_vec();
        strand.line_at = (flags & INSIDE_LINE != 0).then_some(line_at).filter(|&at| at <= len);
        (strand.record_given, strand.line_given) = (flags & RECORD_GIVEN != 0, flags & LINE_GIVEN != 0);
        strand.drops_line = flags & DROPS_LINE != 0;
        bytes = rest;
    }
    Some(strands)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn strand() -> impl Strategy<Value = Strand> {
        let text = proptest::collection::vec(any::<u8>(), 0..40);
        (text, any::<[i64; 2]>(), 0_usize..5, proptest::option::of(0_usize..1), any::<[bool; 3]>()).prop_map(
            |(text, [since_ms, line_since_ms], lines, line_at, [record_given, line_given, drops_line])| {
                let strand = Strand {
                    text,
                    since_ms,
                    line_since_ms,
                    lines,
                    line_at,
                    record_given,
                    line_given,
                    drops_line,
                    touched_ms: 0,
                };
                if strand.is_idle() { Strand::default() } else { strand }
            },
        )
    }

    fn carry() -> impl Strategy<Value = Carry> {
        let place = prop_oneof![
            Just(Place::LineStart),
            Just(Place::InsideLine),
            Just(Place::InsideRecord),
            Just(Place::Dropping)
        ];
        let lines = proptest::collection::vec(any::<u8>(), 1..40).prop_map(Pending::Lines);
        let strands = [strand(), strand()].prop_map(|strands| Pending::Strands(Strands(strands)));
        let pending = proptest::option::of(prop_oneof![lines, strands].prop_map(Box::new));
        (place, pending).prop_map(|(place, pending)| Carry { place, pending })
    }

    #[test]
    fn carries_of_earlier_builds_are_read_and_foreign_ones_are_not() {
        let cases: [(&[u8], Option<Place>); 6] = [
            (b"", Some(Place::LineStart)),
            (b"\x01\x00", Some(Place::LineStart)),
            (b"\x01\x01", Some(Place::InsideLine)),
            (b"\x01\x02", Some(Place::InsideRecord)),
            (b"\x01\x03", None),
            (b"\x03\x01", None),
        ];
        for (bytes, place) in cases {
            assert_eq!(Carry::decode(bytes), place.map(Carry::from), "{bytes:?}");
        }
        assert_eq!(Carry::from(Place::InsideRecord).encode(), &b"\x01\x02"[..], "earlier builds read it");
    }

    proptest! {
        #[test]
        fn carries_round_trip(carry in carry()) {
            let read = Carry::decode(&carry.encode()).unwrap();
            let mut expected = carry;
            if let Some(Pending::Strands(strands)) = expected.pending.as_deref()
                && strands.is_idle()
            {
                expected.pending = None;
            }
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), version in 0_u8..4) {
            let _ = Carry::decode(&bytes);
            let _ = Carry::decode(&[&[version, 0, 2], &bytes[..]].concat());
        }
    }
}
