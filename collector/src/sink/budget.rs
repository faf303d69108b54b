//! How much the log keeps for sinks past retention, and when that will be more than it may. Pure but for [`watch`].

use std::collections::VecDeque;
use std::time::Duration;

use skidway_daemon::human;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Rooms;
use crate::clock::now_ms;

/// How often it is measured.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// The time over which growth is measured.
const WINDOW_MS: i64 = 600_000;

/// A budget that is full sooner than this is told.
const SOON: Duration = Duration::from_secs(3600);

/// Measures what is kept.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// Times and bytes, oldest first.
    measured: VecDeque<(i64, u64)>,
    is_told: bool,
}

/// Says how the budget stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Standing {
    /// Bytes kept past retention.
    pub pinned: u64,
    /// Bytes that may be.
    pub most: u64,
    /// When it will be full, if that is to be expected.
    pub full_in: Option<Duration>,
}

impl Budget {
    /// Takes in a measurement. Tells whether an alarm is to be given.
    pub(super) fn measure(&mut self, at_ms: i64, pinned: u64, most: u64) -> (Standing, bool) {
        self.measured.push_back((at_ms, pinned));
        while self.measured.front().is_some_and(|(first, _)| *first < at_ms - WINDOW_MS) {
            self.measured.pop_front();
        }
        let (first_ms, first) = self.measured.front().copied().unwrap_or((at_ms, pinned));
        let grown = pinned.saturating_sub(first);
        let took = Duration::from_millis(u64::try_from(at_ms - first_ms).unwrap_or(0));
        let left = most.saturating_sub(pinned);
        // Thousands of years are never.
        let full_in = Duration::try_from_secs_f64(took.as_secs_f64() * left as f64 / grown as f64);
        let full_in = full_in.ok().filter(|_| grown > 0);
        let is_urgent = pinned > most / 10 * 8 || full_in.is_some_and(|full_in| full_in < SOON);
        let is_alarm = is_urgent && pinned > 0 && !self.is_told;
        self.is_told = is_urgent && (self.is_told || is_alarm);
        (Standing { pinned, most, full_in }, is_alarm)
    }
}

/// Measures until `stop` is cancelled; shows how it stands, and warns once when it will soon be full.
pub(super) async fn watch(rooms: &Rooms, stop: CancellationToken) {
    let mut budget = Budget::default();
    loop {
        let (pinned, most) = rooms.pins.usage();
        let (standing, is_alarm) = budget.measure(now_ms(), pinned, most);
        crate::metrics::sink_pinned(pinned, standing.full_in);
        rooms.board.show_budget(standing);
        if is_alarm {
            let when =
                standing.full_in.map_or(String::new(), |it| format!(", full in about {} min", it.as_secs() / 60 + 1));
            tracing::warn!(
                "sinks that are behind hold {} of {} past retention{when}; past engine.pinned_bytes the oldest records go: \
                 mend what `skidway sinks` calls failing, or raise it",
                human::size(pinned),
                human::size(most)
            );
        }
        if let Err(error) = rooms.journal.keep_short().await {
            tracing::warn!(%error, "what sinks decided is not shortened; trying again");
        }
        tokio::select! {
            () = sleep(LOOK_INTERVAL) => {}
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_comes_once_and_in_time() {
        let (mut budget, minute) = (Budget::default(), 60_000);
        let mut at = |minutes: i64, pinned| budget.measure(minutes * minute, pinned, 10_000);
        assert_eq!(at(0, 0), (Standing { pinned: 0, most: 10_000, full_in: None }, false));
        // 1 byte a minute: nothing to worry about for days.
        assert!(!at(10, 10).1);
        let (standing, is_alarm) = at(11, 1010);
        assert!(is_alarm && standing.full_in.is_some_and(|it| it < SOON), "{standing:?}");
        assert!(!at(12, 2010).1, "it is told");
        assert_eq!(at(40, 2010), (Standing { pinned: 2010, most: 10_000, full_in: None }, false));
        assert!(!at(41, 1000).1);
        assert!(at(60, 8100).1, "four fifths are enough, however slow");
    }
}
