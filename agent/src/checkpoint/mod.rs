//! What the collector acknowledged, remembered across restarts. A hint: the collector is the truth, and an agent without its
//! checkpoint ships the same lines. It tells a log that was exchanged or set back from one that was not.

pub mod file;

use std::collections::HashMap;

use skidway_record::source::{Fingerprint, PhysicalId};
use skidway_record::{LogId, SourceId};

/// Holds what was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// The log shipped to; `None` before the first session.
    pub log_id: Option<LogId>,
    /// Its epoch.
    pub log_epoch: u64,
    /// By source. While the agent runs, only those that no followed file goes on with: the others know it themselves.
    pub sources: HashMap<SourceId, Acknowledged>,
}

/// Says up to where one source was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// Its file.
    pub physical: PhysicalId,
    /// End of the last acknowledged span.
    pub position: u64,
    /// Of the bytes before it.
    pub anchor: Fingerprint,
    /// As far as the file was seen to reach, in bytes; past the position if the agent was behind.
    pub size: u64,
}
