//! Looks into open files for whoever matches them with sources, and remembers which could not be read: those are like nothing known.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use skidway_record::source::{Fingerprint, StoredSource};

use crate::discover::matching::Witness;
use crate::flow::fingerprint::{self, Evidence};
use crate::tail::file::OpenFile;

/// Looks into the files that `file_of` gives by their number.
pub(crate) struct Looks<F> {
    file_of: F,
    /// Why a file could not be read, by its number.
    pub(crate) unreadable: BTreeMap<usize, io::Error>,
}

impl<'a, F: Fn(usize) -> &'a OpenFile> Looks<F> {
    pub(crate) fn new(file_of: F) -> Self {
        Self { file_of, unreadable: BTreeMap::new() }
    }

    fn unless_unreadable<T>(&mut self, file: usize, look: impl FnOnce(&OpenFile) -> io::Result<T>) -> Option<T> {
        look((self.file_of)(file)).map_err(|error| self.unreadable.insert(file, error)).ok()
    }
}

impl<'a, F: Fn(usize) -> &'a OpenFile> Witness for Looks<F> {
    fn heads(&mut self, file: usize, lens: &BTreeSet<u32>) -> Vec<Fingerprint> {
        let look = |file: &OpenFile| file.peek().and_then(|read| fingerprint::heads(read, lens));
        self.unless_unreadable(file, look).unwrap_or_default()
    }

    fn compare(&mut self, file: usize, stored: &StoredSource) -> Evidence {
        let look = |file: &OpenFile| file.peek().and_then(|read| fingerprint::compare(read, stored));
        self.unless_unreadable(file, look).unwrap_or(Evidence::OtherAnchor)
    }
}
