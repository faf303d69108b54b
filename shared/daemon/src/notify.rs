//! What systemd is told: ready, stopping, still alive. Under any other parent every call does nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Says that the process is up: ports open, state recovered.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Says that an orderly end has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Shows one line in `systemctl status`.
pub fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

/// Pings the watchdog at half of its period until `ended` is cancelled; returns at once if nobody watches.
///
/// Let it run through the drain as well: a process that goes silent while it stops is killed in the middle of it.
pub async fn watchdog(ended: CancellationToken) {
    watchdog_while(ended, async || true).await;
}

/// Does so as long as `is_alive` says, asked before each ping.
pub async fn watchdog_while(ended: CancellationToken, is_alive: impl AsyncFn() -> bool) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval(ping_interval(period));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ping_forever = async {
        loop {
            ticks.tick().await;
            if is_alive().await {
                tell(&[NotifyState::Watchdog]);
            } else {
                tracing::error!("what does the work does not turn over; not telling the watchdog that it does");
            }
        }
    };
    ended.run_until_cancelled(ping_forever).await;
}

/// Half of what systemd grants, so that one late ping kills nobody.
fn ping_interval(period: Duration) -> Duration {
    (period / 2).max(Duration::from_millis(1))
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, ?states, "could not tell the service manager");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchdog_is_pinged_at_half_of_its_period() {
        assert_eq!(ping_interval(Duration::from_secs(30)), Duration::from_secs(15));
        assert_eq!(ping_interval(Duration::ZERO), Duration::from_millis(1));
    }
}
