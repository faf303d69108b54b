//! What a source has to commit, one thing at a time.

use bytes::Bytes;
use skidway_record::SourceId;
use skidway_record::source::Fingerprint;

use crate::frame::carry::Carry;

/// Holds one thing to commit.
#[derive(Debug)]
pub(in crate::pipeline) enum Step {
    Create {
        supersedes: Option<SourceId>,
    },
    Rebind,
    Skip(Mark),
    /// Goes on with what is unfinished at the end of another source.
    Receive {
        from: SourceId,
        position: u64,
        carry: Carry,
    },
    Read(Draft),
    Lost {
        start: u64,
        mark: Mark,
        reason: &'static str,
        exact: bool,
    },
    Gone,
}

/// Says what is known at a span's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pipeline) struct Mark {
    pub(in crate::pipeline) position: u64,
    pub(super) carry: Carry,
    pub(super) head: Fingerprint,
    pub(super) anchor: Fingerprint,
}

/// Collects the batches of a span until it is sent.
#[derive(Debug)]
pub(in crate::pipeline) struct Draft {
    pub(super) start: u64,
    pub(super) start_carry: Carry,
    pub(super) mark: Mark,
    pub(super) batches: Vec<Bytes>,
    pub(super) letters: Vec<Bytes>,
    pub(super) lines: u64,
    /// Takes no further batch.
    pub(super) is_closed: bool,
    /// Was sent with dead letters, and nothing else.
    pub(super) has_letters_only: bool,
}

/// Holds what one turn made of the bytes it read.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct TurnRead {
    pub(in crate::pipeline) batch: Option<Bytes>,
    pub(in crate::pipeline) letter: Option<Bytes>,
    pub(in crate::pipeline) lines: u64,
}

impl Draft {
    pub(super) fn new(start: u64, start_carry: Carry, mark: Mark) -> Self {
        let (batches, letters) = (Vec::new(), Vec::new());
        Self { start, start_carry, mark, batches, letters, lines: 0, is_closed: false, has_letters_only: false }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.batches.iter().chain(&self.letters).map(|batch| batch.len() as u64).sum()
    }

    /// Tells whether it moves no position.
    pub(super) fn is_empty(&self) -> bool {
        self.mark.position == self.start
    }
}

impl Step {
    /// Tells whether a source that stands so has taken it already.
    pub(super) fn is_done_at(&self, position: u64, carry: &[u8]) -> bool {
        self.mark().is_some_and(|mark| mark.position == position)
            && match self {
                Self::Read(draft) if draft.is_empty() => draft.mark.carry.encode() == carry,
                _ => true,
            }
    }

    /// Gives what is known after it, if it moves the position.
    pub(super) fn mark(&self) -> Option<&Mark> {
        match self {
            Self::Skip(mark) | Self::Lost { mark, .. } => Some(mark),
            Self::Read(draft) => Some(&draft.mark),
            Self::Create { .. } | Self::Rebind | Self::Receive { .. } | Self::Gone => None,
        }
    }
}
