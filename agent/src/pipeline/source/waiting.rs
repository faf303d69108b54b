//! How long a source's oldest byte has waited for its acknowledgement. Two moments a source are remembered, not one a byte: the age told is the
//! true one or older, at most twice as old, and never that of a byte already acknowledged.

use std::time::Instant;

use super::Source;

/// Holds since when bytes wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    since: Instant,
    /// The first byte from this position on was seen only then.
    later: Option<(u64, Instant)>,
}

impl Waiting {
    /// Begins with bytes seen now.
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, later: None }
    }

    /// Notes that the file has grown past `known` bytes, of which some wait.
    fn grew(&mut self, known: u64, now: Instant) {
        self.later.get_or_insert((known, now));
    }

    fn acknowledged(&mut self, position: u64) {
        if let Some((_, since)) = self.later.take_if(|(known, _)| *known <= position) {
            self.since = since;
        }
    }
}

impl Source {
    /// Notes that the file may have grown.
    pub(in crate::pipeline) fn saw_growth(&mut self, now: Instant) {
        let known = self.file.size();
        let waiting = self.waiting.get_or_insert(Waiting::new(now));
        // Until something past the acknowledged bytes was looked at, what was written first is not told from what came after.
        if known > self.acknowledged && waiting.since < now {
            waiting.grew(known, now);
        }
    }

    /// Forgets acknowledged bytes; all of them if everything that can be shipped was. What only its writer can complete waits for nobody.
    pub(in crate::pipeline) fn look_who_waits(&mut self) {
        let acknowledged = self.acknowledged;
        self.waiting
            .take_if(|_| self.is_read_out && !self.is_dirty && self.steps.is_empty() && self.under_way.is_none());
        self.waiting.iter_mut().for_each(|waiting| waiting.acknowledged(acknowledged));
    }

    /// Tells since when its oldest byte waits; `None` if none does, or as long as it is held back on purpose.
    pub(in crate::pipeline) fn waiting_since(&self) -> Option<Instant> {
        let is_held = self.copy_of.is_some() && !self.is_associated;
        self.waiting.filter(|_| !is_held).map(|waiting| waiting.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_age_is_that_of_the_oldest_byte_not_acknowledged_and_at_most_twice_that() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut waiting = Waiting::new(at(0));
        // A hundred bytes a second, each acknowledged three seconds after it was seen.
        for second in 1..100 {
            waiting.grew(second * 100, at(second));
            waiting.acknowledged(second.saturating_sub(3) * 100);
            let age = at(second) - waiting.since;
            assert!(age >= Duration::from_secs(second.min(3)) && age <= Duration::from_secs(6), "{second}: {age:?}");
        }
        waiting.acknowledged(90 * 100);
        assert!(at(100) - waiting.since >= Duration::from_secs(3));
    }

    #[test]
    fn a_byte_nobody_acknowledges_grows_old_however_much_comes_after_it() {
        let start = Instant::now();
        let mut waiting = Waiting::new(start);
        for second in 1..100 {
            waiting.grew(second * 100, start + Duration::from_secs(second));
            waiting.acknowledged(50);
        }
        assert_eq!(waiting.since, start);
    }
}
