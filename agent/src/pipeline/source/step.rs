//! What a source has to commit, one thing at a time.

use bytes::Bytes;
use skidway_record::SourceId;
use skidway_record::source::Fingerprint;

use crate::frame::lines::Place;

/// Holds one thing to commit.
#[derive(Debug)]
pub(in crate::pipeline) enum Step {
    Create { supersedes: Option<SourceId> },
    Rebind,
    Skip(Mark),
    Read(Draft),
    Lost { start: u64, mark: Mark, reason: &'static str, exact: bool },
    Gone,
}

/// Says what is known at a span's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pipeline) struct Mark {
    pub(in crate::pipeline) position: u64,
    pub(super) place: Place,
    pub(super) head: Fingerprint,
    pub(super) anchor: Fingerprint,
}

/// Collects the batches of a span until it is sent.
#[derive(Debug)]
pub(in crate::pipeline) struct Draft {
    pub(super) start: u64,
    pub(super) start_place: Place,
    pub(super) mark: Mark,
    pub(super) batches: Vec<Bytes>,
    pub(super) letter: Option<Bytes>,
    pub(super) lines: u64,
    /// Takes no further batch.
    pub(super) is_closed: bool,
    /// Holds a dead letter, and nothing else.
    pub(super) is_letter: bool,
}

/// Holds what one turn made of the bytes it read.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct TurnRead {
    pub(in crate::pipeline) batch: Option<Bytes>,
    pub(in crate::pipeline) letter: Option<Bytes>,
    pub(in crate::pipeline) lines: u64,
}

impl Draft {
    pub(super) fn new(start: u64, start_place: Place, mark: Mark) -> Self {
        let (batches, letter) = (Vec::new(), None);
        Self { start, start_place, mark, batches, letter, lines: 0, is_closed: false, is_letter: false }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.batches.iter().chain(&self.letter).map(|batch| batch.len() as u64).sum()
    }
}

impl Step {
    /// Gives what is known after it, if it moves the position.
    pub(super) fn mark(&self) -> Option<&Mark> {
        match self {
            Self::Skip(mark) | Self::Lost { mark, .. } => Some(mark),
            Self::Read(draft) => Some(&draft.mark),
            Self::Create { .. } | Self::Rebind | Self::Gone => None,
        }
    }
}
