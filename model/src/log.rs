//! What the log holds after some commits: the fold of a journal. One partition a file, so that order is each file's own.

use std::collections::BTreeMap;

/// Names a source as a random id would: by who minted it, and in which session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId {
    /// Its file.
    pub file: usize,
    /// The process that minted it.
    pub process: usize,
    /// The session it was minted in.
    pub epoch: u8,
}

/// Holds what is stored of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stored {
    /// Where the next span must start.
    pub position: u8,
    /// It was reported gone; the log may forget it.
    pub is_gone: bool,
}

/// The agent's sources.
pub type Sources = BTreeMap<SourceId, Stored>;

/// Changes one thing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The agent has a new session.
    Opened(u8),
    /// A source is known.
    Created(SourceId),
    /// Bytes of a file are in its partition.
    Appended(usize, Vec<u8>),
    /// A source's position moved.
    Advanced(SourceId, u8),
    /// A source's file is gone.
    Gone(SourceId),
    /// A source's file is back.
    Rebound(SourceId),
    /// Sources that are gone are forgotten.
    Forgotten,
}

/// Is all there or not at all after a crash.
pub type Commit = Vec<Effect>;

/// Holds the state at one place of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Log {
    /// The agent's newest session.
    pub epoch: u8,
    /// The agent's sources.
    pub sources: Sources,
    /// The bytes in each file's partition.
    pub partitions: Vec<Vec<u8>>,
}

impl Log {
    /// Begins without anything but empty partitions.
    pub fn new(files: usize) -> Self {
        Self { epoch: 0, sources: Sources::new(), partitions: vec![Vec::new(); files] }
    }

    /// Applies one commit.
    pub fn apply(&mut self, commit: &Commit) {
        for effect in commit {
            self.apply_effect(effect);
        }
    }

    fn apply_effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Opened(epoch) => self.epoch = *epoch,
            Effect::Created(id) => {
                self.sources.insert(*id, Stored { position: 0, is_gone: false });
            }
            Effect::Appended(file, bytes) => self.partitions[*file].extend(bytes),
            Effect::Advanced(id, end) => {
                self.sources.entry(*id).and_modify(|stored| stored.position = *end);
            }
            Effect::Gone(id) => {
                self.sources.entry(*id).and_modify(|stored| stored.is_gone = true);
            }
            Effect::Rebound(id) => {
                self.sources.entry(*id).and_modify(|stored| stored.is_gone = false);
            }
            Effect::Forgotten => self.sources.retain(|_, stored| !stored.is_gone),
        }
    }
}
