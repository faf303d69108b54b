//! What a source tells of itself: to the collector's list, to people, to the sums.

use skidway_record::source::StoredSource;
use skidway_record::{AgentId, SourceId};

use super::step::Step;
use super::{Name, Source};
use crate::checkpoint::Acknowledged;
use crate::status::FileState;

impl Source {
    /// Turns it into what the collector knows of it.
    pub(in crate::pipeline) fn into_stored(self, agent: AgentId, input_name: &str, gone_at_ms: i64) -> StoredSource {
        StoredSource {
            source: self.described(input_name, None),
            agent,
            partition: self.partition,
            position: self.acknowledged,
            carry: self.carry.encode(),
            anchor: self.acknowledged_anchor,
            gone_at_ms: Some(gone_at_ms),
        }
    }

    /// Tells up to where it was acknowledged, for the checkpoint; `None` while nothing says which source it is. How far the file reaches tells, if
    /// it is gone at the next start, whether it was read to its end.
    pub(in crate::pipeline) fn known_acknowledged(&self) -> Option<(SourceId, Acknowledged)> {
        let (physical, position, anchor) = (self.file.physical(), self.acknowledged, self.acknowledged_anchor);
        self.is_associated.then(|| (self.id, Acknowledged { physical, position, anchor, size: self.file.size() }))
    }

    /// Says what is going on with the file.
    pub(in crate::pipeline) fn state(&self) -> FileState {
        match self.name {
            _ if self.blocked.is_some() => FileState::Blocked,
            Name::Deleted => FileState::Deleted,
            Name::Renamed | Name::Lost => FileState::Held,
            Name::Found if self.copy_of.is_some() && !self.is_associated => FileState::Held,
            Name::Found if self.bytes_behind() > 0 || !self.is_settled() => FileState::Reading,
            Name::Found => FileState::Idle,
        }
    }

    /// Counts the bytes seen and not acknowledged.
    pub(in crate::pipeline) fn bytes_behind(&self) -> u64 {
        self.known_bytes().saturating_sub(self.acknowledged)
    }

    /// Tells where the file's content ends as far as anyone has looked; while nothing can be read, scans are all that looks. Room that was
    /// reserved does not count.
    pub(in crate::pipeline) fn known_bytes(&self) -> u64 {
        let has_grown = !self.file.is_archive() && !self.is_truncated && self.listed_bytes > self.file.size();
        if has_grown { self.listed_bytes } else { self.file.content_end() }
    }

    /// Counts the encoded bytes that wait to be sent.
    pub(in crate::pipeline) fn bytes_held(&self) -> u64 {
        let held = |step: &Step| if let Step::Read(draft) = step { draft.bytes() } else { 0 };
        self.steps.iter().map(held).sum()
    }
}
