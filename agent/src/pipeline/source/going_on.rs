//! How a source goes on: with a framer's state from the collector, or from the end of another source.

use skidway_record::SourceId;

use super::Source;
use super::step::Step;
use crate::frame::carry::{Carry, Pending};
use crate::pipeline::follow::now_ms;

/// Says where a record goes on that is not whole at a file's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) enum GoesOn {
    /// In the file itself, as far as anyone knows.
    Here,
    /// In another file, which waits for it.
    Elsewhere,
    /// It is on its way there.
    HandedOver,
}

impl Source {
    /// Goes on with a framer's state that was read somewhere; what it keeps is quiet from now on.
    pub(in crate::pipeline) fn set_carry(&mut self, mut carry: Carry) {
        if let Some(Pending::Strands(strands)) = carry.pending.as_deref_mut() {
            strands.touch(now_ms());
        }
        self.carry = carry;
    }

    /// Goes on with what is unfinished at the end of another source, before anything of this one is read.
    pub(in crate::pipeline) fn receive(&mut self, from: SourceId, position: u64, carry: Carry) {
        self.push(Step::Receive { from, position, carry });
    }

    /// Tells whether nothing of the file was read or committed yet.
    pub(in crate::pipeline) fn has_not_begun(&self) -> bool {
        self.file.position() == 0 && self.acknowledged == 0 && self.carry == Carry::default()
    }
}
