//! How long to wait before the next try. Pure: the caller rolls the dice and does the waiting.

use std::time::Duration;

/// Doubles a wait from `base` to `max`, half of it fixed and half of it random, so that a fleet does not come back at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// Starts at `base` (at least 1 ms) and never waits longer than `max`.
    pub fn new(base: Duration, max: Duration) -> Self {
        let base = base.max(Duration::from_millis(1));
        Self { base, max: max.max(base), ceiling: base }
    }

    /// Gives the next wait, between half of the present ceiling and all of it, and doubles the ceiling.
    ///
    /// `jitter` is a random number from 0 (shortest) to 1 (longest).
    pub fn next(&mut self, jitter: f64) -> Duration {
        let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 1.0 };
        let wait = self.ceiling.mul_f64(0.5 + jitter / 2.0);
        self.ceiling = self.ceiling.saturating_mul(2).min(self.max);
        wait
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.ceiling = self.base;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn waits_double_up_to_the_maximum_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(ms(100), ms(350));
        let waits: Vec<_> = (0..4).map(|_| backoff.next(1.0)).collect();
        assert_eq!(waits, [ms(100), ms(200), ms(350), ms(350)]);
        backoff.reset();
        assert_eq!(backoff.next(1.0), ms(100));
    }

    #[test]
    fn jitter_never_takes_more_than_half() {
        let mut backoff = Backoff::new(ms(100), ms(100));
        for (jitter, wait) in [(0.0, 50), (0.5, 75), (1.0, 100), (-3.0, 50), (9.0, 100), (f64::NAN, 100)] {
            assert_eq!(backoff.next(jitter), ms(wait), "jitter {jitter}");
        }
    }

    #[test]
    fn nonsense_bounds_are_straightened() {
        let mut backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
        assert_eq!(backoff.next(1.0), ms(1));
        let mut endless = Backoff::new(Duration::MAX, Duration::MAX);
        assert!(endless.next(0.0) > ms(1));
    }
}
