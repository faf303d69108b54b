//! Tells of damage that readers meet: each place once, however many readers meet it however often.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Error;
use crate::log::Observer;

/// Places remembered; no more are told of.
const PLACES_MAX: usize = 4096;

/// Remembers damaged places.
pub(crate) struct Noticed {
    observer: Arc<dyn Observer>,
    places: Mutex<HashSet<(PathBuf, u64)>>,
}

impl Noticed {
    /// Remembers none yet.
    pub(crate) fn new(observer: Arc<dyn Observer>) -> Self {
        Self { observer, places: Mutex::default() }
    }

    /// Tells of an error if it is damage not met before.
    pub(crate) fn note(&self, error: &Error) {
        let Error::Damaged { path, position, .. } = error else { return };
        {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            if places.len() >= PLACES_MAX || !places.insert((path.clone(), *position)) {
                return;
            }
        }
        tracing::error!("{error}");
        self.observer.damaged(error);
    }
}
