//! Open files and whose turn it is. Reads bytes; never looks at what they say and never waits.

pub mod archive;
pub mod file;
pub mod handle;
pub mod start;

use std::collections::VecDeque;

use rustc_hash::FxHashSet;

use crate::flow::FileSlot;

/// Queues files that have something to read, each at most once. A turn is about one batch, so a file with much to read goes
/// to the back after each and starves nobody.
#[derive(Debug, Default)]
pub struct Turns {
    queue: VecDeque<FileSlot>,
    queued: FxHashSet<FileSlot>,
}

impl Turns {
    /// Puts a file at the back, unless it waits already.
    pub fn add(&mut self, slot: FileSlot) {
        if self.queued.insert(slot) {
            self.queue.push_back(slot);
        }
    }

    /// Takes the file at the front.
    pub fn take(&mut self) -> Option<FileSlot> {
        let slot = self.queue.pop_front()?;
        self.queued.remove(&slot);
        Some(slot)
    }

    /// Tells whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_file_waits_behind_the_quiet_ones() {
        let mut turns = Turns::default();
        for slot in [1, 2, 1, 3] {
            turns.add(FileSlot(slot));
        }
        let busy = turns.take().unwrap();
        turns.add(busy);
        let order: Vec<u64> = std::iter::from_fn(|| turns.take()).map(|slot| slot.0).collect();
        assert_eq!((busy.0, order), (1, vec![2, 3, 1]));
    }
}
