//! What the agent could see, and when: only what it had time to look at can it answer for.

use std::ops::Range;
use std::time::{Duration, Instant};

/// So long an agent that is awake and has a session may take to see what there is. Generous: machines are loaded.
pub const GRACE: Duration = Duration::from_secs(4);

/// So long a whole way takes: seen, acknowledged, in the checkpoint.
pub const WELL_KNOWN: Duration = Duration::from_secs(12);

/// Two looks farther apart are no proof that all was well in between.
const LOOKS_APART_MAX: Duration = Duration::from_secs(1);

/// Holds times during which something held without a break.
#[derive(Debug, Default)]
struct Stretches {
    ranges: Vec<Range<Instant>>,
    is_broken: bool,
}

/// Notes how the agent was.
#[derive(Debug, Default)]
pub struct Timeline {
    /// It lets go of deleted files before their writers do.
    pub lets_go_early: bool,
    /// While it had a session, without a break.
    sees: Stretches,
    /// While the collector answered besides.
    ships: Stretches,
    /// When it died, or was told to stop.
    deaths: Vec<Instant>,
    /// When its checkpoint was meddled with.
    tampered: Vec<Instant>,
}

impl Timeline {
    /// Notes that it has a session just now, and whether the collector answers.
    pub fn looks_well(&mut self, now: Instant, ships: bool) {
        self.sees.extend(now);
        if ships {
            self.ships.extend(now);
        }
    }

    /// Notes that whatever was going on is over.
    pub fn breaks(&mut self) {
        (self.sees.is_broken, self.ships.is_broken) = (true, true);
    }

    /// Notes its death.
    pub fn dies(&mut self, now: Instant) {
        self.breaks();
        self.deaths.push(now);
    }

    /// Notes that its checkpoint was deleted, damaged or set back.
    pub fn tampered(&mut self, now: Instant) {
        self.tampered.push(now);
    }

    /// Gives the end of the first `GRACE` that it could look at something, which was there over `range`.
    pub fn saw(&self, range: &Range<Instant>) -> Option<Instant> {
        self.sees.first_within(range, GRACE)
    }

    /// Tells whether it could see something and bring it home.
    pub fn knew_well(&self, range: &Range<Instant>) -> bool {
        self.ships.first_within(range, WELL_KNOWN).is_some()
    }

    /// Gives its first death after a moment.
    pub fn death_after(&self, at: Instant) -> Option<Instant> {
        self.deaths.iter().copied().filter(|death| *death >= at).min()
    }

    /// Tells whether it died shortly before or after a moment.
    pub fn died_within(&self, at: Instant, time: Duration) -> bool {
        self.deaths.iter().any(|death| *death + Duration::from_secs(1) >= at && *death <= at + time)
    }

    /// Tells whether its checkpoint was meddled with.
    pub fn was_tampered_after(&self, at: Instant) -> bool {
        self.tampered.iter().any(|then| *then >= at)
    }
}

impl Stretches {
    fn extend(&mut self, now: Instant) {
        let is_broken = std::mem::take(&mut self.is_broken);
        match self.ranges.last_mut() {
            Some(last) if !is_broken && now.saturating_duration_since(last.end) <= LOOKS_APART_MAX => last.end = now,
            _ => self.ranges.push(now..now),
        }
    }

    /// Gives the end of the first stretch so long within a range.
    fn first_within(&self, range: &Range<Instant>, long: Duration) -> Option<Instant> {
        let within = |stretch: &Range<Instant>| (stretch.start.max(range.start) + long, stretch.end.min(range.end));
        self.ranges.iter().map(within).filter(|(enough, end)| enough <= end).map(|(enough, _)| enough).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unbroken_look_counts() {
        let start = Instant::now();
        let at = |tenths: u64| start + Duration::from_millis(tenths * 100);
        let mut timeline = Timeline::default();
        (0..30).for_each(|tenths| timeline.looks_well(at(tenths), true));
        timeline.dies(at(30));
        (32..100).for_each(|tenths| timeline.looks_well(at(tenths), false));
        assert_eq!(timeline.saw(&(at(0)..at(40))), None);
        assert_eq!(timeline.saw(&(at(0)..at(100))), Some(at(72)));
        assert!(!timeline.knew_well(&(at(0)..at(300))));
        assert_eq!((timeline.death_after(at(10)), timeline.death_after(at(31))), (Some(at(30)), None));
    }
}
