//! What is not read any more: a truncated file's rest, a deleted one's that could not be kept. It becomes a step like any other, so the
//! collector records it.

use skidway_record::source::{Fingerprint, StoredSource};

use super::Source;
use super::step::{Mark, Step};
use crate::frame::carry::Carry;

/// Says what is lost of a file that was given up.
#[derive(Debug, Clone, Copy)]
pub(in crate::pipeline) struct Loss {
    /// Where its content ended.
    pub(in crate::pipeline) end: u64,
    /// Nothing was written after that.
    pub(in crate::pipeline) exact: bool,
    pub(in crate::pipeline) reason: &'static str,
}

impl Source {
    /// Ends this incarnation: what was known of it and not read is lost. Gives how much that is.
    pub(in crate::pipeline) fn end_incarnation(&mut self) -> u64 {
        self.has_ended = true;
        // More may have been written than was seen, so what was seen is a bound.
        self.lose_the_rest(false, "the file was truncated; what was written after the last look at it is not known")
    }

    /// Tells that the file was truncated after it was copied: what was written in between is in neither.
    pub(in crate::pipeline) fn lose_what_was_not_copied(&mut self) {
        let (start, mark) = (self.file.position(), self.mark());
        let reason = "the file was copied and truncated; what was written in between is not known";
        self.push(Step::Lost { start, mark, reason, exact: false });
    }

    /// Tells that the file was truncated before anything was read of what is gone: so it shows only in its size.
    pub(in crate::pipeline) fn lose_what_it_held(&mut self) {
        let reason = "the file became shorter than it was; what it held then is not known";
        self.push(Step::Lost { start: self.file.position(), mark: self.mark(), reason, exact: false });
    }

    /// Gives up what was not read, up to the size seen; gives how much that is.
    pub(in crate::pipeline) fn lose_the_rest(&mut self, exact: bool, reason: &'static str) -> u64 {
        let start = self.file.position();
        let end = self.file.content_end().max(start);
        if exact && end == start {
            return 0;
        }
        let anchor = if end == start { self.file.anchor() } else { Fingerprint::default() };
        // If nothing was skipped, what comes next goes on where this was.
        let carry = if end == start { self.carry.clone() } else { Carry::default() };
        let mark = Mark { position: end, carry, head: self.file.head(), anchor };
        self.push(Step::Lost { start, mark, reason, exact });
        end - start
    }

    /// Gives up what was not read, and the file. Gives how many bytes that are.
    pub(in crate::pipeline) fn give_up(&mut self, loss: Loss) -> u64 {
        self.given_up = Some(Box::new(loss));
        let lost = self.lose_the_rest(loss.exact, loss.reason);
        self.finish();
        lost
    }

    /// Stands, given up, where the collector has the source in a new session. Gives how many bytes read before are lost by that.
    pub(in crate::pipeline) fn stand_given_up(&mut self, stored: Option<&StoredSource>) -> u64 {
        let position_before = self.file.position();
        match stored {
            Some(stored) => self.resume(stored),
            None => self.create(None),
        }
        position_before.saturating_sub(self.file.position())
    }

    /// Gives up again, from there.
    pub(in crate::pipeline) fn give_up_again(&mut self) {
        let Some(loss) = self.given_up.as_deref().copied() else { return };
        let (start, head, anchor) = (self.file.position(), self.file.head(), Fingerprint::default());
        if loss.end > start || !loss.exact {
            let mark = Mark { position: loss.end.max(start), carry: Carry::default(), head, anchor };
            self.push(Step::Lost { start, mark, reason: loss.reason, exact: loss.exact });
        }
        self.finish();
    }

    /// Tells whether it was given up.
    pub(in crate::pipeline) fn is_given_up(&self) -> bool {
        self.given_up.is_some()
    }
}
