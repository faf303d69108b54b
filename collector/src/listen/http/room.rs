//! Memory for pages that are being written or wait for who reads them: when it is short, pages come out shorter.
//!
//! A page says where to go on, so a shorter one costs its reader a request more and nothing else. It always has its first record.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room is taken in steps of so many bytes.
const STEP_BYTES: usize = 64 << 10;

/// Bounds the memory of all pages together.
#[derive(Debug, Clone)]
pub(super) struct Rooms {
    steps: Arc<Semaphore>,
}

impl Rooms {
    /// Allows so many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        let steps = usize::try_from(bytes / STEP_BYTES as u64).unwrap_or(usize::MAX);
        Self { steps: Arc::new(Semaphore::new(steps.min(Semaphore::MAX_PERMITS))) }
    }

    /// Gives a page room for one step, whether there is any or not.
    pub(super) fn one(&self) -> Room {
        Room { steps: self.steps.clone(), taken: None, bytes: STEP_BYTES }
    }
}

/// Is one page's room; its drop gives it back.
#[derive(Debug)]
pub(super) struct Room {
    steps: Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Room {
    /// Makes room for a page of so many bytes; false if there is none.
    pub(super) fn fits(&mut self, bytes: usize) -> bool {
        while self.bytes < bytes {
            let Ok(step) = self.steps.clone().try_acquire_owned() else { return false };
            match &mut self.taken {
                Some(taken) => taken.merge(step),
                none => *none = Some(step),
            }
            self.bytes += STEP_BYTES;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_share_what_there_is_and_give_it_back() {
        let rooms = Rooms::new(3 * STEP_BYTES as u64);
        let (mut first, mut second) = (rooms.one(), rooms.one());
        assert!(first.fits(STEP_BYTES) && first.fits(3 * STEP_BYTES));
        assert!(second.fits(2 * STEP_BYTES));
        assert!(!second.fits(2 * STEP_BYTES + 1) && second.fits(2 * STEP_BYTES));
        drop(first);
        assert!(second.fits(4 * STEP_BYTES));
        drop(second);
        assert!(rooms.one().fits(4 * STEP_BYTES));
    }
}
