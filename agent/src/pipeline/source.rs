//! One followed file as a source: what is read, what waits to be sent, what is under way, what is acknowledged.
//!
//! Everything that has to be committed is a [`Step`]; the steps of a source are taken one at a time and in order, so that at
//! most one of its items is unacknowledged. The file is read ahead of that by at most one span.

mod going_on;
mod items;
mod loss;
mod report;
mod settle;
mod step;
mod waiting;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skidway_record::source::{Fingerprint, Partitioning, PhysicalId, StoredSource};
use skidway_record::{SourceId, TopicName};

use crate::batch::FileHeaders;
use crate::discover::path_bytes;
use crate::flow::FileSlot;
use crate::frame::carry::Carry;
use crate::frame::encoding::Encoding;
use crate::frame::strands::Kept;
use crate::tail::file::OpenFile;
use step::{Draft, Mark, Step};

pub(super) use going_on::GoesOn;
pub(super) use loss::Loss;
pub(super) use settle::{Careful, Settled};
pub(super) use step::TurnRead;
use waiting::Waiting;

/// How many batches a span carries at most.
pub(super) const BATCHES_PER_SPAN: usize = 8;

/// Holds one followed file.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) id: SourceId,
    /// Whether the collector's word on this file is in: resumed or to be created.
    pub(super) is_associated: bool,
    pub(super) input: usize,
    pub(super) topic: TopicName,
    pub(super) partitioning: Partitioning,
    pub(super) partition: Option<u32>,
    /// The path as an input found it; in the headers of its records.
    pub(super) path: Arc<Path>,
    pub(super) headers: FileHeaders,
    pub(super) file: OpenFile,
    /// The framer's state at the file's position.
    pub(super) carry: Carry,
    pub(super) acknowledged: u64,
    pub(super) name: Name,
    /// There may be bytes to read.
    pub(super) is_dirty: bool,
    /// The last turn ended before the file did: worth reading ahead.
    pub(super) is_behind: bool,
    /// The last turn left a line without its end, or a record that may go on: to be shipped as it is after so long without growth.
    pub(super) flush_after: Option<Duration>,
    pub(super) last_growth: Instant,
    /// When a scan found it last.
    pub(super) last_seen: Instant,
    /// How large it was then. Not to be taken for this incarnation's size: it may have been truncated since it was read.
    pub(super) listed_bytes: u64,
    /// A timer will wake it.
    pub(super) has_timer: bool,
    waiting: Option<Waiting>,
    /// The last turn left nothing that can be shipped before the file grows.
    pub(super) is_read_out: bool,
    /// Nothing is read or sent for a while.
    pub(super) blocked: Option<Box<Blocked>>,
    /// It had a turn since it was last asked to be set aside.
    pub(super) was_read: bool,
    /// The last try to read it failed; that was told.
    pub(super) is_troubled: bool,
    /// Its file was given up before it was read.
    given_up: Option<Box<Loss>>,
    /// Set while a rejected span is taken apart.
    pub(super) careful: Option<Box<Careful>>,
    /// Of another file that this one, without a source yet, was a copy of when it had so many bytes.
    pub(super) copy_of: Option<(FileSlot, u64)>,
    /// The source of which this file, without one yet, holds only what was read.
    pub(super) part_of: Option<SourceId>,
    /// The file before this one under its name, whose end is waited for.
    pub(super) follows: Option<FileSlot>,
    /// What becomes of a record that is not whole at this file's end.
    pub(super) goes_on: GoesOn,
    /// What the last turn left.
    pub(super) kept: Kept,
    /// Known by its name without what rotation puts behind it; 0 if no record of it may go on in another file.
    pub(super) lineage: u64,
    /// This incarnation has ended; once its steps are taken the file begins again as another source.
    is_truncated: bool,
    /// What became of its bytes is settled: they are in no other file.
    has_ended: bool,
    /// Waits in the queue of sources with a step to take.
    pub(super) is_queued: bool,
    /// Of the bytes before the last acknowledgement.
    acknowledged_anchor: Fingerprint,
    path_changed: bool,
    steps: VecDeque<Step>,
    under_way: Option<Box<Step>>,
}

/// Says what became of the name under which a file was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// It has it, and an input asks for it.
    Found,
    /// It has another one, which is known, but no input asks for it.
    Renamed,
    /// It has another one, which is not known.
    Lost,
    /// It has none.
    Deleted,
}

/// Says where a new file belongs.
#[derive(Debug)]
pub(super) struct Placement {
    pub(super) input: usize,
    pub(super) topic: TopicName,
    pub(super) partitioning: Partitioning,
    pub(super) path: Arc<Path>,
    pub(super) headers: FileHeaders,
}

/// Says until when nothing is read of a file or sent, and why.
#[derive(Debug)]
pub(super) struct Blocked {
    pub(super) until: Instant,
    pub(super) because: String,
    /// The file is at fault; else the collector rejects what comes of it.
    pub(super) is_unreadable: bool,
}

impl Source {
    /// Stands at the start of a file nothing is known of.
    pub(super) fn new(file: OpenFile, found: Placement, now: Instant) -> Self {
        let waiting = (file.size() > 0).then(|| Waiting::new(now));
        let Placement { input, topic, partitioning, path, headers } = found;
        Self {
            id: mint(),
            is_associated: false,
            input,
            topic,
            partitioning,
            partition: None,
            path,
            headers,
            file,
            carry: Carry::default(),
            acknowledged: 0,
            name: Name::Found,
            is_dirty: true,
            is_behind: false,
            flush_after: None,
            last_growth: now,
            last_seen: now,
            listed_bytes: 0,
            has_timer: false,
            waiting,
            is_read_out: false,
            blocked: None,
            was_read: false,
            is_troubled: false,
            given_up: None,
            careful: None,
            copy_of: None,
            part_of: None,
            follows: None,
            goes_on: GoesOn::Here,
            kept: Kept::Nothing,
            lineage: 0,
            is_truncated: false,
            has_ended: false,
            is_queued: false,
            acknowledged_anchor: Fingerprint::default(),
            path_changed: false,
            steps: VecDeque::new(),
            under_way: None,
        }
    }

    /// Forgets what was not acknowledged; the collector's list of sources will say where to go on.
    pub(super) fn forget_standing(&mut self) {
        self.steps.clear();
        (self.under_way, self.careful, self.blocked) = (None, None, None);
        (self.follows, self.goes_on) = (None, GoesOn::Here);
        (self.is_associated, self.is_truncated, self.is_behind, self.is_dirty) = (false, false, false, true);
        self.has_ended = false;
    }

    /// Takes its place in another configuration; what is read from now on is described as that says.
    pub(super) fn put(&mut self, placement: Placement) {
        let Placement { input, topic, partitioning, path: _, headers } = placement;
        (self.input, self.topic, self.partitioning, self.headers) = (input, topic, partitioning, headers);
    }

    /// Goes on with a stored source.
    pub(super) fn resume(&mut self, stored: &StoredSource) {
        let carry = Carry::decode(&stored.carry).unwrap_or_else(|| {
            tracing::error!(source = %stored.source.id, "another version of the agent left its carry; taking it for a line's start");
            Carry::default()
        });
        self.file.resume(stored.position, stored.anchor, stored.source.head);
        (self.id, self.acknowledged) = (stored.source.id, stored.position);
        self.set_carry(carry);
        self.acknowledged_anchor = stored.anchor;
        (self.topic, self.partitioning) = (stored.source.topic.clone(), stored.source.partitioning.clone());
        self.partition = stored.partition;
        self.path_changed = stored.source.path != path_bytes(&self.path);
        self.is_associated = true;
        // A source that was reported gone is reported back: else it would be forgotten in the end, though it is followed.
        if stored.source.physical != self.file.physical() || stored.gone_at_ms.is_some() {
            self.push(Step::Rebind);
        }
    }

    /// Becomes a new source, from the file's first byte on.
    pub(super) fn create(&mut self, supersedes: Option<SourceId>) {
        self.file.begin_again();
        self.listed_bytes = 0;
        (self.id, self.carry, self.acknowledged) = (mint(), Carry::default(), 0);
        self.acknowledged_anchor = Fingerprint::default();
        (self.partition, self.careful) = (None, None);
        (self.is_associated, self.is_truncated, self.is_behind, self.is_dirty) = (true, false, false, true);
        self.has_ended = false;
        self.push(Step::Create { supersedes });
    }

    /// Passes over all before the file's position, which was just set.
    pub(super) fn skip_to_position(&mut self) {
        self.carry = Carry::default();
        self.push(Step::Skip(self.mark()));
    }

    /// Gives what is known at the file's position.
    fn mark(&self) -> Mark {
        let file = &self.file;
        Mark { position: file.position(), carry: self.carry.clone(), head: file.head(), anchor: file.anchor() }
    }

    /// Notes under which name the file goes now.
    pub(super) fn rename(&mut self, path: Arc<Path>, real_path: Arc<Path>, name: Name) {
        (self.path, self.name, self.path_changed) = (path, name, true);
        self.file.set_real_path(real_path);
    }

    /// Adds a step. As a rule there is one, and of most files none: room is made for no more.
    fn push(&mut self, step: Step) {
        if self.steps.is_empty() {
            self.steps = VecDeque::with_capacity(1);
        }
        self.steps.push_back(step);
    }

    /// Tells whether reading now would do any good.
    pub(super) fn wants_turn(&self) -> bool {
        let may_read = self.is_associated && self.is_dirty && !self.is_truncated && self.blocked.is_none();
        let is_next = self.follows.is_none() && self.goes_on != GoesOn::HandedOver;
        may_read
            && is_next
            && match self.steps.back() {
                Some(Step::Read(draft)) => self.is_behind && !draft.is_closed,
                Some(Step::Gone | Step::Lost { .. } | Step::Receive { .. }) => false,
                _ => self.under_way.is_none() || self.is_behind,
            }
    }

    /// Tells whether its descriptor may be let go of: it has a name to find it by. Of what is read ahead nothing depends on it, and of what is
    /// not read yet only what is deleted before it is opened again.
    pub(super) fn may_be_set_aside(&self, even_unread: bool) -> bool {
        let has_name = matches!(self.name, Name::Found | Name::Renamed) && !self.is_truncated;
        has_name && (even_unread || (!self.is_dirty && self.is_settled()))
    }

    /// Tells whether it was set aside and cannot be found by its name any more.
    pub(super) fn is_missing(&self) -> bool {
        let is_nameless = matches!(self.name, Name::Lost | Name::Deleted) && !self.file.is_open();
        is_nameless && self.file.is_deleted()
    }

    /// Takes what a turn read: from the draft's end, or the last step's, up to the file's position.
    pub(super) fn append(&mut self, (start, start_carry): (u64, Carry), read: TurnRead) {
        let mark = self.mark();
        let is_nothing = read.batch.is_none() && read.letter.is_none() && mark.carry == start_carry;
        if mark.position == start && is_nothing {
            return;
        }
        if !matches!(self.steps.back(), Some(Step::Read(_))) {
            self.push(Step::Read(Draft::new(start, start_carry, mark.clone())));
        }
        let Some(Step::Read(draft)) = self.steps.back_mut() else { return };
        draft.mark = mark;
        draft.lines += read.lines;
        draft.batches.extend(read.batch);
        draft.letters.extend(read.letter);
        let is_full = draft.batches.len().max(draft.letters.len()) >= BATCHES_PER_SPAN;
        draft.is_closed = self.careful.is_some() || is_full;
    }

    /// Gives the input's encoding, with the byte order that this file's mark says; `None` while the file is too short to say.
    pub(super) fn settled_encoding(&self, encoding: Encoding) -> Option<Encoding> {
        if encoding != Encoding::Utf16ByMark {
            return Some(encoding);
        }
        let mut start = [0; 2];
        let len = self.file.peek().and_then(|mut read| read(&mut start, 0)).unwrap_or(0);
        encoding.settled(&start[..len])
    }

    /// Tells whether this incarnation has ended.
    pub(super) fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    /// Reads no further: the file does not hold what was read of it any more.
    pub(super) fn stop_reading(&mut self) {
        (self.is_truncated, self.flush_after) = (true, None);
    }

    /// Reads on in another file, which holds all that was read.
    pub(super) fn go_on_in_copy(&mut self, path: Arc<Path>, now: Instant) {
        (self.is_truncated, self.is_dirty, self.path_changed) = (false, true, true);
        (self.path, self.name, self.last_growth, self.listed_bytes) = (path, Name::Found, now, 0);
        self.push(Step::Rebind);
    }

    /// Reports the file gone once all before is acknowledged.
    pub(super) fn finish(&mut self) {
        if !matches!(self.steps.back(), Some(Step::Gone)) {
            self.push(Step::Gone);
        }
    }

    fn unfinished(&self) -> impl Iterator<Item = &Step> {
        self.under_way.as_deref().into_iter().chain(&self.steps)
    }

    /// Tells whether the file was given up or let go of.
    pub(super) fn is_finishing(&self) -> bool {
        self.unfinished().any(|step| matches!(step, Step::Gone))
    }

    /// Tells whether everything read so far is acknowledged.
    pub(super) fn is_settled(&self) -> bool {
        self.steps.is_empty() && self.under_way.is_none()
    }

    /// Tells whether a creation or a skip is not acknowledged yet.
    pub(super) fn is_starting(&self) -> bool {
        let starts = |step: &Step| matches!(step, Step::Create { .. } | Step::Rebind | Step::Skip(_));
        !self.is_associated || self.unfinished().any(starts)
    }

    /// Tells whether there is a step to take now.
    pub(super) fn is_sendable(&self) -> bool {
        self.under_way.is_none() && !self.steps.is_empty() && self.blocked.is_none()
    }

    /// Gives the fingerprint of the bytes before the last acknowledgement; empty right after a resumption.
    pub(super) fn acknowledged_anchor(&self) -> Fingerprint {
        self.acknowledged_anchor
    }

    /// Gives the file's identity.
    pub(super) fn physical(&self) -> PhysicalId {
        self.file.physical()
    }
}

fn mint() -> SourceId {
    SourceId(rand::random())
}
