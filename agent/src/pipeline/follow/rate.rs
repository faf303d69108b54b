//! How fast files are read: a token bucket over all of them. Fairness is that of turns, which are short when the rate is low.

use std::time::{Duration, Instant};

/// One turn takes at most this part of a second's bytes, so that no file waits long for the others,
const TURNS_PER_SECOND: u64 = 10;
/// but not less than this: a read covers some bytes twice.
const TURN_BYTES_MIN: u64 = 16 << 10;
/// What was not read for a while may be read at once up to this part of a second's bytes.
const BURSTS_PER_SECOND: u64 = 4;
/// The rate shown is that of this long at least.
const SAMPLE: Duration = Duration::from_secs(1);

/// Holds the bucket, and measures.
#[derive(Debug)]
pub(super) struct ReadRate {
    /// Bytes per second; 0 is no limit.
    max: u64,
    /// In bytes times nanoseconds per second; below zero, reading waits.
    balance: i128,
    filled_at: Instant,
    read: u64,
    sampled_at: Instant,
    sampled: u64,
}

const NANOS: i128 = 1_000_000_000;

impl ReadRate {
    /// Allows `max` bytes per second; any, if that is 0.
    pub(super) fn new(max: u64, now: Instant) -> Self {
        Self { max, balance: 0, filled_at: now, read: 0, sampled_at: now, sampled: 0 }
    }

    /// Gives the limit.
    pub(super) fn max(&self) -> u64 {
        self.max
    }

    /// Tells whether a turn may begin now.
    pub(super) fn may_read(&mut self, now: Instant) -> bool {
        let nanos = now.saturating_duration_since(self.filled_at).as_nanos();
        let gained = i128::from(u64::try_from(nanos).unwrap_or(u64::MAX)) * i128::from(self.max);
        let burst = i128::from(self.max / BURSTS_PER_SECOND) * NANOS;
        (self.balance, self.filled_at) = ((self.balance + gained).min(burst), now);
        self.max == 0 || self.balance >= 0
    }

    /// Tells when the next turn may begin.
    pub(super) fn ready_at(&self) -> Instant {
        let nanos = if self.max == 0 { 0 } else { (-self.balance).max(0) / i128::from(self.max) };
        self.filled_at + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)) + Duration::from_micros(1)
    }

    /// Gives how many bytes one turn may take.
    pub(super) fn bytes_per_turn(&self) -> u64 {
        if self.max == 0 { u64::MAX } else { (self.max / TURNS_PER_SECOND).max(TURN_BYTES_MIN) }
    }

    /// Counts what a turn has read.
    pub(super) fn spend(&mut self, bytes: u64) {
        self.read += bytes;
        if self.max > 0 {
            self.balance -= i128::from(bytes) * NANOS;
        }
    }

    /// Measures: gives the bytes per second of the last second or more.
    pub(super) fn measure(&mut self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.sampled_at);
        if passed >= SAMPLE {
            self.sampled = (u128::from(self.read) * 1000 / passed.as_millis().max(1)) as u64;
            (self.read, self.sampled_at) = (0, now);
        }
        self.sampled
    }

    /// Gives what was measured last.
    pub(super) fn measured(&self) -> u64 {
        self.sampled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_time_no_more_is_read_than_allowed_and_a_pause_earns_a_short_burst() {
        let start = Instant::now();
        let mut rate = ReadRate::new(1 << 20, start);
        let mut read_until = |from: u64, until: u64| {
            let mut read = 0;
            for ms in from..until {
                while rate.may_read(start + Duration::from_millis(ms)) {
                    rate.spend(rate.bytes_per_turn());
                    read += rate.bytes_per_turn();
                }
            }
            read as f64 / f64::from(1 << 20)
        };
        let tenths = |mib: f64| (mib * 10.0).round() as u64;
        assert_eq!(tenths(read_until(0, 3000)), 30);
        assert_eq!(tenths(read_until(9000, 10_000)), 13, "a quarter more after a pause");
        assert!(
            !rate.may_read(start + Duration::from_millis(9999)) && rate.ready_at() > start + Duration::from_secs(9)
        );
        assert!(rate.may_read(rate.ready_at()));
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let now = Instant::now();
        let mut rate = ReadRate::new(0, now);
        rate.spend(1 << 40);
        assert!(rate.may_read(now) && rate.bytes_per_turn() == u64::MAX);
        assert_eq!(rate.measure(now + Duration::from_secs(2)), 1 << 39);
    }
}
