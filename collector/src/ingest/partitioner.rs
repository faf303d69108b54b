//! Which partition a keyless request goes to: each another one.

use std::sync::atomic::{AtomicU32, Ordering};

/// Hands partitions out in turn.
#[derive(Debug, Default)]
pub struct RoundRobin(AtomicU32);

impl RoundRobin {
    /// Gives the next partition.
    pub fn next(&self, partitions: u32) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed) % partitions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_robin_visits_every_partition() {
        let turns = RoundRobin::default();
        assert_eq!([0, 1, 2, 0, 1], [0; 5].map(|_| turns.next(3)));
    }
}
