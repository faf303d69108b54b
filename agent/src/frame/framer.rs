//! One way to frame for all inputs: lines, or records of several lines.

use crate::flow::Line;
use crate::frame::lines::{Framing, Lines, Place};
use crate::frame::multiline::{Multiline, Records};

/// Gives a block's records.
#[derive(Debug)]
pub enum Framer<'a, 'm> {
    /// A line is a record.
    Lines(Lines<'a>),
    /// Lines are joined.
    Records(Records<'a, 'm>),
}

impl<'a, 'm> Framer<'a, 'm> {
    /// Starts at the front of `block`, in `place`.
    pub fn new(framing: Framing, multiline: Option<&'m Multiline>, block: &'a [u8], place: Place) -> Self {
        match multiline {
            None => Self::Lines(Lines::new(framing, block, place)),
            Some(multiline) => Self::Records(Records::new(framing, multiline, block, place)),
        }
    }

    /// Tells how many bytes of the block are done with.
    pub fn consumed(&self) -> usize {
        match self {
            Self::Lines(lines) => lines.consumed(),
            Self::Records(records) => records.consumed(),
        }
    }

    /// Tells where the framer stands after them.
    pub fn place(&self) -> Place {
        match self {
            Self::Lines(lines) => lines.place(),
            Self::Records(records) => records.place(),
        }
    }

    /// Gives what is left, for a file that has gone quiet.
    pub fn flush(&mut self) -> Option<Line<'a>> {
        match self {
            Self::Lines(lines) => lines.flush(),
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
            Self::Records(records) => records.next(),
        }
    }
}
