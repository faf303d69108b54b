//! The wall clock, as the log's times are written.

use std::time::{SystemTime, UNIX_EPOCH};

/// Gives the time in ms since 1970; 0 before that.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
