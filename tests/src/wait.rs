//! Waiting for what another process does. Its state can only be asked for, so this asks again and again, up to a deadline.

use std::time::{Duration, Instant};

/// Bounds every ordinary wait: generous, because a loaded machine is slow and a passing test never waits it out.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `condition` until it gives a value.
///
/// # Panics
/// When [`PATIENCE`] is over; `what` says what never came.
pub fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, condition).unwrap_or_else(|| panic!("waited {PATIENCE:?} in vain until {what}"))
}

/// Asks `condition` until it gives a value or `patience` is over.
pub fn within<T>(patience: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        pause(Duration::from_millis(10));
    }
}

/// Lets time pass where time itself is the matter: a writer's pace, a random moment to kill.
pub fn pause(time: Duration) {
    let deadline = Instant::now() + time;
    while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}
