//! What an answer of the collector does to the source that asked.

use skidway_wire::ItemResult;

use super::Source;
use super::step::Step;
use crate::frame::carry::Carry;

/// Takes a rejected span apart until the record at fault stands alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pipeline) struct Careful {
    /// Lines the next span may hold.
    pub(in crate::pipeline) lines_max: u64,
    /// Where the rejected span ended; past it all is as ever.
    pub(in crate::pipeline) until: u64,
    /// The next line alone is to blame: it becomes a dead letter, for this reason.
    pub(in crate::pipeline) dead: Option<String>,
}

/// Tells what an answer means for a source.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum Settled {
    /// It moved on; these many bytes were acknowledged.
    Acknowledged(u64),
    /// The collector knows which file it is in now.
    Rebound,
    /// It goes on with what was unfinished at the end of another source.
    Received,
    /// It is done with.
    Gone,
    /// It reads again from where the collector stands; `regressed`: that is before what it had acknowledged.
    Rewound { regressed: bool },
    /// A rejected span is taken apart.
    TakenApart,
    /// The collector rejects it as a whole; it is tried again later.
    Blocked { status: u32, reason: String },
    /// What the collector knows is not what this agent thinks: all sources have to be listed again.
    Astray(&'static str),
}

impl Source {
    /// Takes the collector's answer to the step under way.
    pub(in crate::pipeline) fn settle(&mut self, result: ItemResult) -> Settled {
        let Some(step) = self.under_way.take() else { return Settled::Acknowledged(0) };
        match result {
            ItemResult::Accepted => self.accept(&step),
            // Answers of earlier tries were lost: what is asked for has happened.
            ItemResult::Exists { source } if source == self.id => self.accept(&step),
            // It goes on all the same; the next start finds the file by its bytes once more.
            ItemResult::Exists { .. } if matches!(*step, Step::Rebind) => self.accept(&step),
            ItemResult::UnknownSource if matches!(*step, Step::Gone) => Settled::Gone,
            // What is given up has no more to say than the source that its file is.
            ItemResult::Exists { .. } if self.is_given_up() && matches!(*step, Step::Create { .. }) => Settled::Gone,
            ItemResult::Conflict { position, carry } if step.is_done_at(position, &carry) => self.accept(&step),
            ItemResult::Conflict { .. } if matches!(*step, Step::Receive { .. }) => {
                Settled::Astray("what it is to go on with is not there")
            }
            ItemResult::Conflict { position, carry } => self.rewind(position, &carry),
            ItemResult::UnknownSource => Settled::Astray("the collector does not know the source"),
            ItemResult::Exists { .. } => Settled::Astray("the collector has another source for the file"),
            ItemResult::Rejected { status, reason, .. } => self.reject(*step, status, reason),
        }
    }

    fn accept(&mut self, step: &Step) -> Settled {
        if matches!(step, Step::Gone) {
            return Settled::Gone;
        }
        let before = self.acknowledged;
        if let Some(mark) = step.mark() {
            (self.acknowledged, self.acknowledged_anchor) = (mark.position, mark.anchor);
        }
        self.look_who_waits();
        if let Some(careful) = &mut self.careful {
            careful.lines_max *= 2;
        }
        self.careful.take_if(|careful| careful.until <= self.acknowledged);
        if self.has_ended && self.is_settled() {
            self.create(Some(self.id));
        }
        match step {
            Step::Receive { carry, .. } => {
                self.set_carry(carry.clone());
                Settled::Received
            }
            Step::Rebind => Settled::Rebound,
            _ => Settled::Acknowledged(self.acknowledged.saturating_sub(before)),
        }
    }

    /// Goes back, or on, to where the collector stands, if the file on disk is still the one that was read.
    fn rewind(&mut self, position: u64, carry: &[u8]) -> Settled {
        let regressed = position < self.acknowledged;
        let Some(carry) = Carry::decode(carry) else { return Settled::Astray("its carry is of another version") };
        let is_ours = !self.is_truncated && position <= self.file.position() && self.file.is_intact().unwrap_or(false);
        if !is_ours || !self.go_to(position, carry) {
            return Settled::Astray("the collector stands where the file cannot be read from");
        }
        (self.acknowledged, self.acknowledged_anchor) = (position, self.file.anchor());
        Settled::Rewound { regressed }
    }

    fn go_to(&mut self, position: u64, carry: Carry) -> bool {
        if !self.file.seek(position).unwrap_or(false) {
            return false;
        }
        self.set_carry(carry);
        self.steps.retain(|step| !matches!(step, Step::Read(_)));
        (self.is_dirty, self.is_behind) = (true, true);
        true
    }

    /// Reads a rejected span again, half as many lines at a time; a line rejected alone becomes a dead letter.
    fn reject(&mut self, step: Step, status: u32, reason: String) -> Settled {
        let is_poison = matches!(status, 400 | 413);
        let Step::Read(draft) = step else {
            self.steps.push_front(step);
            return Settled::Blocked { status, reason };
        };
        let until = self.careful.as_ref().map_or(draft.mark.position, |careful| careful.until);
        if self.is_truncated || !self.file.is_intact().unwrap_or(false) || !self.go_to(draft.start, draft.start_carry) {
            return Settled::Astray("a rejected span cannot be read again");
        }
        if !is_poison || draft.has_letters_only || draft.lines == 0 {
            return Settled::Blocked { status, reason };
        }
        // Several records may come of one line: then that line is to blame.
        let is_one = draft.lines == 1 || self.careful.as_ref().is_some_and(|careful| careful.lines_max == 1);
        let dead = is_one.then_some(reason);
        self.careful = Some(Box::new(Careful { lines_max: (draft.lines / 2).max(1), until, dead }));
        Settled::TakenApart
    }
}
