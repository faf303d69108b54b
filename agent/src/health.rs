//! Whether the agent does what it is for, as told to whoever asks from outside: not "the process is up", but "no byte has waited too long".
//! Judges what the tail thread shows of itself; knows no file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// The tail thread answers within this, or is taken for stuck: a turn takes some 10 ms, a scan of very many files a few seconds.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Holds what the tail thread last showed of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pulse {
    /// Counts its rounds.
    pub beats: u64,
    /// A session was open.
    pub had_session: bool,
    /// Since when the collector has answered nothing, though asked.
    pub unanswered_since: Option<Instant>,
    /// What has waited for its acknowledgement longest.
    pub oldest: Option<Waiting>,
}

/// Names a file whose bytes wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its path.
    pub path: PathBuf,
    /// When the oldest of the bytes was seen.
    pub since: Instant,
}

/// Answers for the agent. Cheap to clone.
#[derive(Clone)]
pub struct Monitor {
    pulse: watch::Receiver<Pulse>,
    ring: Arc<dyn Fn() + Send + Sync>,
    age_max: Duration,
}

impl Monitor {
    /// Watches a pulse; `ring` wakes the thread up that it comes from. `age_max` of zero is none.
    pub fn new(pulse: watch::Receiver<Pulse>, age_max: Duration, ring: impl Fn() + Send + Sync + 'static) -> Self {
        Self { pulse, ring: Arc::new(ring), age_max }
    }

    /// Waits for the tail thread to turn over; false if it does not within some seconds. One that has ended is not stuck.
    pub async fn is_alive(&self) -> bool {
        let mut pulse = self.pulse.clone();
        pulse.mark_unchanged();
        (self.ring)();
        tokio::time::timeout(ANSWER_MAX, pulse.changed()).await.is_ok()
    }

    /// Tells whether the agent does its work.
    ///
    /// # Errors
    /// In words, what is wrong.
    pub async fn health(&self) -> Result<(), String> {
        if !self.is_alive().await {
            return Err(format!("the tail thread has not answered for {ANSWER_MAX:?}"));
        }
        judge_health(&self.pulse.borrow(), self.age_max, Instant::now())
    }

    /// Tells whether the collector takes what the agent ships.
    ///
    /// # Errors
    /// In words, why not.
    pub fn readiness(&self) -> Result<(), String> {
        judge_readiness(&self.pulse.borrow(), self.age_max, Instant::now())
    }
}

fn judge_health(pulse: &Pulse, age_max: Duration, now: Instant) -> Result<(), String> {
    let Some(oldest) = &pulse.oldest else { return Ok(()) };
    let Some(age) = too_old(oldest.since, age_max, now) else { return Ok(()) };
    let path = oldest.path.display();
    Err(format!("the oldest byte not acknowledged has waited for {age}s: {path} (agent.health_age_max is {age_max:?})"))
}

fn judge_readiness(pulse: &Pulse, age_max: Duration, now: Instant) -> Result<(), String> {
    if !pulse.had_session {
        return Err("no session yet".to_owned());
    }
    match pulse.unanswered_since.and_then(|since| too_old(since, age_max, now)) {
        Some(age) => Err(format!("the collector has not answered for {age}s (agent.health_age_max is {age_max:?})")),
        None => Ok(()),
    }
}

/// Gives an age in seconds if it is past the limit.
fn too_old(since: Instant, age_max: Duration, now: Instant) -> Option<u64> {
    let age = now.saturating_duration_since(since);
    (!age_max.is_zero() && age > age_max).then_some(age.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn health_is_the_age_of_the_oldest_byte_and_names_it() {
        let start = Instant::now();
        let oldest = Some(Waiting { path: PathBuf::from("/a.log"), since: start });
        let pulse = Pulse { oldest, ..Pulse::default() };
        let judge = |limit, seconds| judge_health(&pulse, limit, start + Duration::from_secs(seconds));
        assert_eq!(judge(LIMIT, 60), Ok(()));
        assert_eq!(judge(Duration::ZERO, 6000), Ok(()));
        let words = judge(LIMIT, 90).unwrap_err();
        assert!(words.contains("90s: /a.log"), "{words}");
        assert_eq!(judge_health(&Pulse::default(), LIMIT, start), Ok(()));
    }

    #[test]
    fn readiness_is_a_session_and_a_collector_that_answers() {
        let start = Instant::now();
        let judge = |had_session, unanswered_since, seconds| {
            let pulse = Pulse { had_session, unanswered_since, ..Pulse::default() };
            judge_readiness(&pulse, LIMIT, start + Duration::from_secs(seconds)).is_ok()
        };
        assert_eq!([judge(false, None, 0), judge(true, None, 0)], [false, true]);
        assert_eq!([judge(true, Some(start), 60), judge(true, Some(start), 61)], [true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_does_not_turn_over_is_not_alive_and_one_that_has_ended_is() {
        let sender = watch::Sender::new(Pulse::default());
        let asked = sender.clone();
        let answering = Monitor::new(sender.subscribe(), LIMIT, move || asked.send_modify(|pulse| pulse.beats += 1));
        assert!(answering.is_alive().await);
        let stuck = Monitor::new(sender.subscribe(), LIMIT, || {});
        assert!(!stuck.is_alive().await);
        assert!(stuck.health().await.unwrap_err().contains("tail thread"));
        drop((answering, sender));
        assert!(stuck.is_alive().await);
    }
}
