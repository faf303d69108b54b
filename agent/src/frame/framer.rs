//! One way to frame for all inputs: lines, lines of UTF-16, or records of several lines.

use crate::flow::Line;
use crate::frame::encoding::Encoding;
use crate::frame::lines::{Framing, Lines, Place};
use crate::frame::multiline::{Multiline, Records};
use crate::frame::wide::WideLines;

/// Gives a block's records.
#[derive(Debug)]
pub enum Framer<'a, 'm> {
    /// A line is a record.
    Lines(Lines<'a>),
    /// A line is a record, and takes two bytes a unit.
    Wide(WideLines<'a>),
    /// Lines are joined.
    Records(Records<'a, 'm>),
}

impl<'a, 'm> Framer<'a, 'm> {
    /// Starts at the front of `block`, in `place`.
    pub fn new(
        framing: Framing,
        encoding: Encoding,
        multiline: Option<&'m Multiline>,
        block: &'a [u8],
        place: Place,
    ) -> Self {
        match (encoding, multiline) {
            (Encoding::Utf16(order), _) => Self::Wide(WideLines::new(framing, order, block, place)),
            (_, None) => Self::Lines(Lines::new(framing, block, place)),
            (_, Some(multiline)) => Self::Records(Records::new(framing, multiline, block, place)),
        }
    }

    /// Tells how many bytes of the block are done with.
    pub fn consumed(&self) -> usize {
        match self {
            Self::Lines(lines) => lines.consumed(),
            Self::Wide(lines) => lines.consumed(),
            Self::Records(records) => records.consumed(),
        }
    }

    /// Tells where the framer stands after them.
    pub fn place(&self) -> Place {
        match self {
            Self::Lines(lines) => lines.place(),
            Self::Wide(lines) => lines.place(),
            Self::Records(records) => records.place(),
        }
    }

    /// Gives what is left of whole lines as a piece of a record that goes on elsewhere; of joined lines only.
    pub fn give_open(&mut self) -> Option<Line<'a>> {
        match self {
            Self::Lines(_) | Self::Wide(_) => None,
            Self::Records(records) => records.give_open(),
        }
    }

    /// Gives what is left, for a file that has gone quiet.
    pub fn flush(&mut self) -> Option<Line<'a>> {
        match self {
            Self::Lines(lines) => lines.flush(),
            Self::Wide(lines) => lines.flush(),
            Self::Records(records) => records.flush(),
        }
    }
}

impl<'a> Iterator for Framer<'a, '_> {
    type Item = Line<'a>;

    #[inline]
    fn next(&mut self) -> Option<Line<'a>> {
        match self {
            Self::Lines(lines) => lines.next(),
            Self::Wide(lines) => lines.next(),
            Self::Records(records) => records.next(),
        }
    }
}
