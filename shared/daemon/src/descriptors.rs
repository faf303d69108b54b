//! How many files a process may have open: as many as the system lets it, rather than the low default that shells inherit.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Taken where the system names no limit.
const UNLIMITED: u64 = 1 << 20;

/// Raises the process's limit of open files to the highest it may choose, and gives it.
pub fn raise_limit() -> u64 {
    let limits = getrlimit(Resource::Nofile);
    let highest = Rlimit { current: limits.maximum, maximum: limits.maximum };
    // Refused only where a sandbox forbids it: then the limit stays what it was.
    match setrlimit(Resource::Nofile, highest) {
        Ok(()) => limits.maximum.unwrap_or(UNLIMITED),
        Err(error) => {
            tracing::debug!(%error, "the limit of open files stays");
            limits.current.unwrap_or(UNLIMITED)
        }
    }
}
