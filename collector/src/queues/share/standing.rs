//! How a record of a window may stand, and what may become of a delivery: the window's vocabulary.

use skidway_record::Offset;

use super::KeyHash;

/// Is a record that is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// How often it was given away.
    pub deliveries: u32,
    /// How it stands.
    pub state: State,
    pub(super) key: Option<KeyHash>,
}

/// Says how an unfinished record stands. Times are in ms since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Anyone may have it.
    Ready,
    /// Someone has it until then.
    Leased(i64),
    /// Nobody may have it before then.
    Delayed(i64),
    /// It goes to the dead letters.
    Dying,
}

/// Counts the records of a window by how they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Ready ones, those included that wait for another one of their key.
    pub ready: usize,
    /// Leased ones.
    pub leased: usize,
    /// Delayed ones.
    pub delayed: usize,
    /// Those on their way to the dead letters.
    pub dying: usize,
}

/// Names one delivery of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delivery {
    /// Which record.
    pub offset: Offset,
    /// Which of its deliveries, from 1.
    pub number: u32,
}

/// Says what became of a delivery that someone wanted to settle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It was done.
    Done,
    /// The record dies of it: it is done once its dead letter is written.
    Dying,
    /// The record was finished before.
    Before,
    /// The lease is over and the record was given away again.
    Lost,
    /// The record was never given away.
    Unknown,
}

/// Is a record that died: a dead letter is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// Which record.
    pub offset: Offset,
    /// How often it was given away.
    pub deliveries: u32,
    /// Why, in words.
    pub reason: String,
}

/// Tells of records that were finished without anyone having had them, because they are not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipped {
    /// The first.
    pub from: Offset,
    /// The offset after the last.
    pub to: Offset,
    /// How many at most: offsets may have gaps.
    pub records: u64,
}

impl Counts {
    pub(super) fn of(&mut self, state: State) -> &mut usize {
        match state {
            State::Ready => &mut self.ready,
            State::Leased(_) => &mut self.leased,
            State::Delayed(_) => &mut self.delayed,
            State::Dying => &mut self.dying,
        }
    }
}
