//! How a request's body comes on, and when it has had its time: pure, the time is handed in.
//!
//! A body has to come on by [`STEP_BYTES`] every `http.body_idle_timeout`, and to be there after `http.body_timeout`. While others wait for
//! memory it has to come on faster, or it gives its room to them.

use std::time::Duration;

use tokio::time::Instant;

/// A body that comes on by less, and does not end, stands still.
const STEP_BYTES: u64 = 16 << 10;

/// How often a body is looked at while others wait for memory.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// While others wait, a body has to be there after so many looks, at the rate it comes on.
const LOOKS_MAX: u64 = 64;

/// Follows one body.
#[derive(Debug)]
pub(super) struct Arrival {
    idle_timeout: Duration,
    /// When it must be there.
    ends_at: Instant,
    bytes: u64,
    /// When the step began that it is in, and at how many bytes.
    step: (Instant, u64),
    /// When it was looked at last, and how many bytes there were.
    look: (Instant, u64),
}

impl Arrival {
    /// Begins with a body of which nothing has come.
    pub(super) fn new(now: Instant, idle_timeout: Duration, body_timeout: Duration) -> Self {
        Self { idle_timeout, ends_at: now + body_timeout, bytes: 0, step: (now, 0), look: (now, 0) }
    }

    /// Takes note of bytes that came.
    pub(super) fn came(&mut self, bytes: u64, now: Instant) {
        self.bytes += bytes;
        if self.bytes >= self.step.1 + STEP_BYTES {
            self.step = (now, self.bytes);
        }
    }

    /// Tells when its time is over unless it comes on.
    pub(super) fn due(&self) -> Instant {
        self.ends_at.min(self.step.0 + self.idle_timeout)
    }

    /// Tells when it is to be looked at.
    pub(super) fn look_at(&self) -> Instant {
        self.look.0 + LOOK_INTERVAL
    }

    /// Looks at a body that holds room for so many bytes, when the time for that has come; true if it is too slow for others to wait.
    pub(super) fn is_slow(&mut self, room_bytes: u64, now: Instant) -> bool {
        if now < self.look_at() {
            return false;
        }
        let came = self.bytes - self.look.1;
        self.look = (now, self.bytes);
        came < room_bytes.div_ceil(LOOKS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_body_that_trickles_in_has_as_much_time_as_one_that_stands_still() {
        let begun = Instant::now();
        let mut body = Arrival::new(begun, 30 * SECOND, 600 * SECOND);
        for second in 1..=29 {
            body.came(1, begun + second * SECOND);
            assert_eq!(body.due(), begun + 30 * SECOND);
        }
        body.came(STEP_BYTES, begun + 29 * SECOND);
        assert_eq!(body.due(), begun + 59 * SECOND, "it came on");
    }

    #[test]
    fn no_body_takes_longer_than_all_may() {
        let begun = Instant::now();
        let mut body = Arrival::new(begun, 30 * SECOND, 600 * SECOND);
        body.came(1 << 20, begun + 590 * SECOND);
        assert_eq!(body.due(), begun + 600 * SECOND);
    }

    #[test]
    fn while_others_wait_it_is_looked_at_every_second_and_must_be_worth_its_room() {
        let begun = Instant::now();
        let mut body = Arrival::new(begun, 30 * SECOND, 600 * SECOND);
        assert!(!body.is_slow(64 << 20, begun + SECOND / 2), "too soon to tell");
        body.came(1 << 20, begun + SECOND / 2);
        assert!(!body.is_slow(64 << 20, begun + SECOND));
        body.came((1 << 20) - 1, begun + 2 * SECOND);
        assert!(body.is_slow(64 << 20, begun + 2 * SECOND));
    }
}
