//! Between agent and collector: requests that are delivered late, twice or never, and answers that may never come.
//!
//! All that was sent stays, and may be delivered at any later time: that is loss, delay, reordering, duplication and retry in one.
//! A retry sends the very same bytes, so that it is the same request; an answer to any try of it will do.

use std::collections::BTreeSet;

use crate::log::{SourceId, Sources};

/// Is one thing an agent commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Item {
    /// Creates a source.
    Create(SourceId),
    /// Moves a source from its position to another, with the bytes between.
    Span(SourceId, u8, u8),
    /// Reports a source's file gone.
    Gone(SourceId),
    /// Reports it back.
    Rebind(SourceId),
}

/// Asks the collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Request {
    /// A process opens a session.
    Open {
        /// Which.
        process: usize,
        /// The session it follows; heeded only where openings are compare-and-set.
        after: u8,
    },
    /// A process lists its agent's sources.
    List {
        /// Which.
        process: usize,
        /// Its session; 0 before it has one.
        epoch: u8,
    },
    /// A process commits an item.
    Commit {
        /// Which.
        process: usize,
        /// In which session.
        epoch: u8,
        /// What.
        item: Item,
    },
}

/// Answers a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answer {
    /// The session's epoch.
    Opened(u8),
    /// The sources.
    Listed(Sources),
    /// Stored.
    Accepted,
    /// The source stands elsewhere, or the newest session is this one.
    Conflict(u8),
    /// No such source.
    UnknownSource,
    /// Another source has the file.
    Exists,
    /// A newer session is open.
    Fenced,
}

/// Holds what is under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Network {
    /// All that was ever sent.
    pub requests: BTreeSet<Request>,
    /// Answers that somebody still waits for.
    pub answers: BTreeSet<(Request, Answer)>,
}
