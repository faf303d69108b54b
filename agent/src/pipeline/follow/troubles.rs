//! What keeps files from being followed: told once in the log, and in the status for as long as it lasts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::status::Trouble;

/// Bounds the troubles remembered; past it they are only logged, and may repeat.
const TROUBLES_MAX: usize = 10_000;

/// Knows what is wrong with which path.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    now: BTreeMap<PathBuf, What>,
    /// Of the scan before, as long as one is going on.
    before: BTreeMap<PathBuf, What>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct What {
    text: String,
    /// Something that should be followed is not.
    hides_files: bool,
}

impl Troubles {
    /// Everything is looked at again: what is not noted once more until the scan has ended is over.
    pub(super) fn begin_scan(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }

    /// Forgets what is over.
    pub(super) fn end_scan(&mut self) {
        for path in std::mem::take(&mut self.before).into_keys().filter(|path| !self.now.contains_key(path)) {
            tracing::info!(path = %path.display(), "no trouble any more");
        }
    }

    /// Notes that a folder's changes are seen only when it is listed.
    pub(super) fn is_unwatched(&mut self, path: &Path, error: impl std::fmt::Display) {
        self.note(path, format!("the folder cannot be watched, only listed now and then: {error}"), false);
    }

    /// Notes that a file cannot be removed.
    pub(super) fn stays(&mut self, path: &Path, error: impl std::fmt::Display) {
        self.note(path, format!("the file cannot be removed (remove_after): {error}"), false);
    }

    /// Notes that a folder or file cannot be looked at.
    pub(super) fn hides_files(&mut self, path: &Path, text: String) {
        self.note(path, text, true);
    }

    fn note(&mut self, path: &Path, text: String, hides_files: bool) {
        let what = What { text, hides_files };
        let known = self.now.get(path).or_else(|| self.before.get(path));
        if known != Some(&what) {
            tracing::warn!(path = %path.display(), "{}", what.text);
        }
        if self.now.len() < TROUBLES_MAX {
            self.now.insert(path.to_owned(), what);
        }
    }

    /// Notes that a path is fine.
    pub(super) fn is_fine(&mut self, path: &Path) {
        if self.now.remove(path).is_some() {
            tracing::info!(path = %path.display(), "no trouble any more");
        }
    }

    /// Tells whether anything is not followed that should be.
    pub(super) fn hide_any(&self) -> bool {
        self.now.values().any(|what| what.hides_files)
    }

    /// Lists them, by path.
    pub(super) fn list(&self) -> Vec<Trouble> {
        let trouble =
            |(path, what): (&PathBuf, &What)| Trouble { path: path.display().to_string(), what: what.text.clone() };
        self.now.iter().map(trouble).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_lasts_until_a_scan_does_not_find_it_again() {
        let (mut troubles, path) = (Troubles::default(), Path::new("/a"));
        troubles.begin_scan();
        troubles.hides_files(path, "closed".to_owned());
        troubles.is_unwatched(Path::new("/b"), "no more watches");
        troubles.end_scan();
        assert_eq!((troubles.list().len(), troubles.hide_any()), (2, true));
        troubles.begin_scan();
        troubles.is_unwatched(Path::new("/b"), "no more watches");
        troubles.end_scan();
        assert_eq!((troubles.list().len(), troubles.hide_any()), (1, false));
        troubles.is_fine(Path::new("/b"));
        assert_eq!(troubles.list(), []);
    }
}
