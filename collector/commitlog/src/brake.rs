//! Slows work in the background down to a rate, and stops it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time that unused rate is kept for.
const CREDIT_MAX: Duration = Duration::from_millis(100);

/// Is shared by the work and by who may stop it.
#[derive(Debug)]
pub(crate) struct Brake {
    bytes_per_second: u64,
    state: Mutex<State>,
    stopped: Condvar,
}

#[derive(Debug)]
struct State {
    is_stopped: bool,
    /// When what was done so far is paid for.
    paid_until: Instant,
}

impl Brake {
    /// Lets so many bytes a second pass.
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        let state = State { is_stopped: false, paid_until: Instant::now() };
        Self { bytes_per_second: bytes_per_second.max(1), state: Mutex::new(state), stopped: Condvar::new() }
    }

    /// Stops the work at its next look.
    pub(crate) fn stop(&self) {
        self.lock().is_stopped = true;
        self.stopped.notify_all();
    }

    /// Tells whether the work is to stop.
    pub(crate) fn is_stopped(&self) -> bool {
        self.lock().is_stopped
    }

    /// Waits until so many bytes, just read or written, keep the rate. False if the work is to stop.
    pub(crate) fn pass(&self, bytes: usize) -> bool {
        let mut state = self.lock();
        let now = Instant::now();
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let earliest = now.checked_sub(CREDIT_MAX).unwrap_or(now);
        state.paid_until = state.paid_until.max(earliest) + cost;
        let wait = state.paid_until.saturating_duration_since(now);
        if !wait.is_zero() {
            let waited = self.stopped.wait_timeout_while(state, wait, |state| !state.is_stopped);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        !state.is_stopped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_waits_for_its_rate_and_a_stop_ends_the_wait() {
        let brake = Brake::new(1 << 20);
        let started = Instant::now();
        assert!((0..4).all(|_| brake.pass(64 << 10)));
        assert!(started.elapsed() >= Duration::from_millis(100), "a quarter second of work, less what is for free");
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| brake.pass(1 << 40));
            brake.stop();
            assert!(!waits.join().unwrap(), "it would take days");
        });
        assert!(brake.is_stopped() && !brake.pass(0));
    }
}
