//! Which log lines are written, and how that changes while the process runs: for good, or lent for a while, so that nobody has to remember
//! to end a search for a fault.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::parse_duration;

/// Bounds a filter, in bytes.
const FILTER_BYTES_MAX: usize = 1024;

/// Bounds how long a level is lent, in days. What should stay for longer belongs in the configuration.
const LENT_DAYS_MAX: u64 = 30;

/// Says why the level stays as it is.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogLevelError {
    /// The filter is wrong (reject).
    #[error("level: {0}")]
    Filter(String),
    /// The time for which it would be lent is wrong (reject).
    #[error("for: expected 1s to {LENT_DAYS_MAX}d, such as 10m")]
    Lent,
    /// Something else writes this process's log lines (halt: it will not change).
    #[error("the log of this process cannot be changed: it was not started by its program")]
    NotOurs,
}

/// Says which log lines are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevel {
    /// The filter in force, as it was written.
    pub level: String,
    /// The one of the configuration, or of `RUST_LOG`, which wins.
    pub configured: String,
    /// When the configured one is in force again; `None` if it is, or another was set for good.
    pub ends_in_seconds: Option<u64>,
}

/// Reads a filter as `log.level` takes it.
///
/// # Errors
/// What is wrong with it (reject).
pub fn parse(text: &str) -> Result<EnvFilter, String> {
    let expected = |reason: String| format!("expected error, warn, info, debug, trace or a filter ({reason})");
    if text.len() > FILTER_BYTES_MAX {
        return Err(expected(format!("at most {FILTER_BYTES_MAX} bytes")));
    }
    if text.trim().is_empty() {
        return Err(expected("it is empty".to_owned()));
    }
    // A lone word would be taken for a module, and all others would fall silent: "debgu" is meant otherwise.
    let lone = text.split(',').map(str::trim).find(|part| {
        let is_word = part.chars().all(|char| char.is_ascii_alphanumeric());
        is_word && part.parse::<LevelFilter>().is_err()
    });
    if let Some(word) = lone {
        return Err(expected(format!("{word:?} is no level; of a module, say {word}=debug")));
    }
    // Without regular expressions, which could be made to cost much at each line.
    EnvFilter::builder().with_regex(false).parse(text).map_err(|error| expected(error.to_string()))
}

/// Gives what is in force.
///
/// # Errors
/// [`LogLevelError::NotOurs`].
pub fn current() -> Result<LogLevel, LogLevelError> {
    let live = live()?;
    Ok(live.levels().shown(Instant::now()))
}

/// Writes other lines from now on, until the process ends or, if it is `lent` (`1s` to `30d`), for that long and up to five seconds more.
///
/// # Errors
/// [`LogLevelError`]; nothing has changed then.
pub fn set(text: &str, lent: Option<&str>) -> Result<LogLevel, LogLevelError> {
    let live = live()?;
    let filter = parse(text).map_err(LogLevelError::Filter)?;
    let lent = lent.map(|lent| lent_for(lent).ok_or(LogLevelError::Lent)).transpose()?;
    let now = Instant::now();
    let mut levels = live.levels();
    tracing::info!(level = text, before = levels.level, ?lent, "other log lines from now on");
    live.apply(filter)?;
    levels.level = text.to_owned();
    levels.ends = lent.map(|lent| now + lent);
    Ok(levels.shown(now))
}

fn lent_for(text: &str) -> Option<Duration> {
    parse_duration(text).filter(|lent| (1..=LENT_DAYS_MAX * 86_400).contains(&lent.as_secs()))
}

/// Writes the configured lines again.
///
/// # Errors
/// [`LogLevelError::NotOurs`].
pub fn reset() -> Result<LogLevel, LogLevelError> {
    let configured = live()?.levels().configured.clone();
    set(&configured, None)
}

/// Takes a configuration that was read again. A level that was set meanwhile stays unless the configured one is another than before.
pub fn configure(text: &str) {
    let is_given = std::env::var_os(EnvFilter::DEFAULT_ENV).is_some();
    let Ok(live) = live() else { return };
    if is_given || live.levels().configured == text {
        return;
    }
    match set(text, None) {
        Ok(_) => text.clone_into(&mut live.levels().configured),
        Err(error) => tracing::error!(%error, "log.level is not reloaded"),
    }
}

/// Ends what was lent for long enough. To be called now and then.
pub(crate) fn end_what_was_lent() {
    let Ok(live) = live() else { return };
    let is_over = live.levels().ends.is_some_and(|ends| ends <= Instant::now());
    if is_over && let Err(error) = reset() {
        tracing::error!(%error, "the log level stays as it was lent");
    }
}

/// Gives the filter a process starts with, which can be changed from then on.
pub(crate) fn begin(configured: &str) -> (reload::Layer<EnvFilter, Registry>, impl FnOnce() + use<>) {
    let given = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|text| !text.trim().is_empty());
    let of_environment = given.and_then(|text| Some((EnvFilter::try_new(&text).ok()?, text)));
    let (filter, level) =
        of_environment.unwrap_or_else(|| (parse(configured).unwrap_or_default(), configured.to_owned()));
    let (layer, handle) = reload::Layer::new(filter);
    let levels = Levels { configured: level.clone(), level, ends: None };
    let keep = move || {
        let _there_already = LIVE.set(Live { handle, levels: Mutex::new(levels) });
    };
    (layer, keep)
}

static LIVE: OnceLock<Live> = OnceLock::new();

struct Live {
    handle: reload::Handle<EnvFilter, Registry>,
    levels: Mutex<Levels>,
}

struct Levels {
    level: String,
    configured: String,
    ends: Option<Instant>,
}

fn live() -> Result<&'static Live, LogLevelError> {
    LIVE.get().ok_or(LogLevelError::NotOurs)
}

impl Live {
    fn levels(&self) -> MutexGuard<'_, Levels> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, filter: EnvFilter) -> Result<(), LogLevelError> {
        self.handle.reload(filter).map_err(|_| LogLevelError::NotOurs)
    }
}

impl Levels {
    fn shown(&self, now: Instant) -> LogLevel {
        let ends_in_seconds = self.ends.map(|ends| ends.saturating_duration_since(now).as_secs());
        LogLevel { level: self.level.clone(), configured: self.configured.clone(), ends_in_seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_filters_are_read_and_words_that_are_neither_are_refused() {
        for good in
            ["info", "WARN", "off", "info,skidway_agent=debug", "skidway_agent::tail=trace, warn", "[span]=debug"]
        {
            assert!(parse(good).is_ok(), "{good}");
        }
        let long = "a=info,".repeat(200);
        for (bad, words) in [
            ("debgu", "\"debgu\" is no level; of a module, say debgu=debug"),
            ("info,hyper", "\"hyper\" is no level"),
            ("", "it is empty"),
            ("a=loud", "level filter"),
            (&long, "at most 1024 bytes"),
        ] {
            let said = parse(bad).unwrap_err();
            assert!(said.starts_with("expected error, warn, info") && said.contains(words), "{bad}: {said}");
        }
    }
}
