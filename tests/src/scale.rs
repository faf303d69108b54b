//! How long and how large tests are: `SKIDWAY_TEST_SCALE`, 1 in the quick tier. The scenarios of `docs/SCENARIOS.md` have the text's own
//! durations and sizes at 60; a seed makes a randomised test repeat itself.

use std::time::Duration;

/// The scale at which a scenario is what its text says.
const WHOLE: f64 = 60.0;

/// Gives the scale.
pub fn scale() -> u64 {
    number("SKIDWAY_TEST_SCALE", 1).max(1)
}

/// Gives the part of a scenario's duration that this run takes, `least` at least.
pub fn duration(whole: Duration, least: Duration) -> Duration {
    whole.mul_f64((scale() as f64 / WHOLE).min(1.0)).max(least)
}

/// Gives the part of a scenario's count or size that this run takes, `least` at least.
pub fn amount(whole: u64, least: u64) -> u64 {
    ((whole as f64 * (scale() as f64 / WHOLE).min(1.0)) as u64).max(least)
}

/// Gives the seed of a randomised test, a new one unless `SKIDWAY_TEST_SEED` says which. Whoever asks prints it.
pub fn seed() -> u64 {
    number("SKIDWAY_TEST_SEED", rand::random::<u64>() >> 1)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
