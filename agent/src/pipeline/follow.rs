//! The tail thread: owns every file and every source, and does all their work, one thing at a time.
//!
//! It learns from three sides: the kernel says which files grew, lanes report what the collector answered, the clock says when
//! to list folders again. Between two looks at the kernel's queue lie at least `linger` while lines keep coming, so under load
//! many lines share a turn, and a lone line waits for nothing.

mod admission;
mod archives;
mod association;
mod copies;
mod damage;
mod deleted;
mod descriptors;
mod rate;
mod reload;
mod removal;
mod shipping;
mod skipped;
mod succession;
mod troubles;
mod turns;
mod upkeep;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustc_hash::FxHashMap;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use skidway_record::SourceId;
use skidway_record::source::StoredSource;
use skidway_wire::Item;
use tokio::sync::mpsc;

use super::Exit;
use super::mailbox::{Mail, Mailbox};
use super::reading::Reading;
use super::source::Source;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::file::Encoded;
use crate::config::Config;
use crate::discover::Discovery;
use crate::discover::network::FileSystems;
use crate::discover::watch::{Change, Watcher};
use crate::flow::{Errand, FileSlot, Session};
use crate::health::Pulse;
use crate::ship::http::Doors;
use crate::status::Totals;
use crate::tail::Turns;
use copies::{Leaving, Stems};
use deleted::DeletedFiles;
use descriptors::OpenFiles;
use rate::ReadRate;
pub(super) use reload::Reloaded;
use shipping::Shipment;
use skipped::Skipped;
use succession::Successions;
use troubles::Troubles;
use upkeep::Timers;

/// Turns between two looks at mail and events: some 10 ms of work.
const TURNS_AT_ONCE: usize = 8;
/// How long a file rests that could not be read, and a source the collector rejects as a whole.
const REST: Duration = Duration::from_secs(10);

/// Holds what the thread is given.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) config: Arc<Config>,
    pub(super) doors: Arc<Doors>,
    pub(super) host: String,
    pub(super) discovery: Discovery,
    pub(super) watcher: Watcher,
    pub(super) reading: Reading,
    pub(super) mailbox: Mailbox,
    pub(super) lanes: Vec<mpsc::Sender<Errand>>,
    pub(super) checkpoint: Checkpoint,
    pub(super) checkpoints: std::sync::mpsc::SyncSender<Encoded>,
    pub(super) pulse: tokio::sync::watch::Sender<Pulse>,
    pub(super) once: bool,
}

/// Holds every followed file.
type Sources = FxHashMap<FileSlot, Box<Source>>;

/// Follows files.
pub(super) struct Follow {
    parts: Parts,
    now: Instant,
    session: Option<Session>,
    /// Epoch of the newest session of this process; 0 before the first.
    newest_epoch: u64,
    /// Inputs that the collector knows as opened.
    opened_inputs: Vec<String>,
    sources: Sources,
    by_file: HashMap<(u64, u64), FileSlot>,
    stems: Stems,
    /// Files without a source; some may have got theirs since.
    unmatched: BTreeSet<FileSlot>,
    next_slot: u64,
    /// Sources of this agent that no followed file goes on with.
    unattached: Vec<StoredSource>,
    /// Those of them that this session reported gone: late copies of the report may still come.
    reported_gone: HashSet<SourceId>,
    skipped: Skipped,
    file_systems: FileSystems,
    troubles: Troubles,
    turns: Turns,
    open_files: OpenFiles,
    deleted: DeletedFiles,
    read_rate: ReadRate,
    timers: Timers,
    /// Sources with a step to take, in the order they got it, each at most once.
    sendable: VecDeque<FileSlot>,
    /// Since when the first of them waits.
    sendable_since: Option<Instant>,
    notices: VecDeque<Item>,
    /// Files of the first scan whose creation or skip is not acknowledged; `None` once the inputs are marked as opened.
    starting: Option<Vec<FileSlot>>,
    shipments: Vec<Option<Shipment>>,
    /// Encoded bytes that wait or are under way.
    bytes_held: u64,
    /// Files that do not hold what was read of them any more.
    truncated: Vec<FileSlot>,
    /// What became of those is being looked for.
    is_settling: bool,
    /// Truncated files whose sources go on in copies, until the collector knows.
    leaving: Leaving,
    /// Copies of truncated files, with those, that hold only what was read of them.
    parts_of: Vec<(FileSlot, FileSlot)>,
    successions: Successions,
    /// The archive that is being read.
    archive: Option<FileSlot>,
    /// A file without a source may have one now.
    reassess: bool,
    /// What the kernel says, while it is being taken in.
    changes: Vec<Change>,
    next_scan: Instant,
    next_look: Instant,
    next_tally: Instant,
    checkpoint_changed: bool,
    next_checkpoint: Instant,
    oldest_waiting: Option<Instant>,
    /// Since when the collector has answered nothing, though asked.
    unanswered_since: Option<Instant>,
    /// When the collector was last told how far behind this is, and how far that was.
    told: (Instant, u64),
    /// A file is without the name it was found under.
    has_nameless: bool,
    /// No session is opened before then, so that a disagreement with the collector does not turn into a storm of sessions.
    next_opening: Instant,
    totals: Totals,
    /// The log is another one, and what the old one acknowledged is to be passed over.
    continues_old_log: bool,
    /// The log is another one, and everything is to be shipped again.
    replays: bool,
    is_stopping: bool,
    ended: Option<Exit>,
}

impl Follow {
    /// Makes the thread's state; nothing is opened or asked yet.
    pub(super) fn new(parts: Parts) -> Self {
        let now = Instant::now();
        Self {
            now,
            session: None,
            newest_epoch: 0,
            opened_inputs: Vec::new(),
            sources: Sources::default(),
            by_file: HashMap::new(),
            stems: Stems::default(),
            unmatched: BTreeSet::new(),
            next_slot: 0,
            unattached: Vec::new(),
            reported_gone: HashSet::new(),
            skipped: Skipped::new(),
            file_systems: FileSystems::default(),
            troubles: Troubles::default(),
            turns: Turns::default(),
            deleted: DeletedFiles::default(),
            read_rate: ReadRate::new(parts.config.agent.read_rate_max, now),
            open_files: OpenFiles::new(parts.config.agent.open_files_max),
            timers: Timers::default(),
            sendable: VecDeque::new(),
            sendable_since: None,
            notices: VecDeque::new(),
            starting: Some(Vec::new()),
            shipments: parts.lanes.iter().map(|_| None).collect(),
            bytes_held: 0,
            truncated: Vec::new(),
            is_settling: false,
            leaving: Leaving::new(),
            parts_of: Vec::new(),
            successions: Successions::default(),
            archive: None,
            reassess: false,
            changes: Vec::new(),
            next_scan: now,
            next_look: now,
            next_tally: now,
            checkpoint_changed: false,
            next_checkpoint: now,
            oldest_waiting: None,
            unanswered_since: None,
            told: (now, 0),
            has_nameless: false,
            next_opening: now,
            totals: Totals::default(),
            continues_old_log: false,
            replays: false,
            is_stopping: false,
            ended: None,
            parts,
        }
    }

    /// Follows until told to stop, fenced, or (once) everything is acknowledged.
    pub(super) fn run(mut self) -> Exit {
        self.open_session();
        loop {
            self.now = Instant::now();
            self.take_mail();
            if self.looks() {
                self.look_at_folders();
                self.fire_timers();
                if std::mem::take(&mut self.reassess) {
                    self.associate();
                }
            }
            let goes_on = self.take_turns();
            self.settle_truncations();
            self.settle_successions();
            self.ship();
            self.keep_up();
            self.beat();
            if let Some(exit) = self.exit() {
                self.save_last_checkpoint();
                return exit;
            }
            if !goes_on {
                self.wait();
            }
        }
    }

    fn take_mail(&mut self) {
        while let Some(mail) = self.parts.mailbox.take() {
            match mail {
                Mail::Report(report) => self.take_report(report),
                Mail::Status(asked) => {
                    self.tally();
                    // Who asked may have left.
                    let _nobody_listens = asked.send(self.status());
                }
                Mail::Reload(reloaded) => self.take_over(*reloaded),
                Mail::Stop => self.is_stopping = true,
                Mail::StopNow => self.ended = Some(Exit::Done),
            }
        }
    }

    /// Empties the kernel's queue, at most once every `linger`, and lists folders when it is time to.
    fn look_at_folders(&mut self) {
        if self.now >= self.next_look {
            let mut changes = std::mem::take(&mut self.changes);
            if let Err(error) = self.parts.watcher.drain(|change| changes.push(change)) {
                tracing::warn!(%error, "cannot read folder events; listing folders instead");
                self.next_scan = self.now;
            }
            if !changes.is_empty() {
                self.next_look = self.now + self.parts.config.collector.linger;
            }
            for change in changes.drain(..) {
                self.take_change(change);
            }
            // Kept for its room.
            self.changes = changes;
        }
        if self.now >= self.next_scan {
            self.scan();
        }
    }

    fn take_change(&mut self, change: Change) {
        match change {
            Change::Grew(slot) => self.mark_dirty(slot),
            Change::Named(path) => self.look_at(&path),
            Change::Missed(path) => self.has_missed(&path),
            Change::Unnamed(slot) => self.lost_its_name(slot, true),
            Change::ScanNeeded => self.next_scan = self.now,
        }
    }

    /// Notes that a file may have grown.
    fn mark_dirty(&mut self, slot: FileSlot) {
        let Some(source) = self.sources.get_mut(&slot) else { return };
        source.is_dirty = true;
        source.last_growth = self.now;
        source.saw_growth(self.now);
        self.reassess |= !source.is_associated;
        self.queue_turn(slot);
    }

    /// Sleeps until something happens. While lines keep coming, the kernel's queue is left to fill for a while.
    fn wait(&mut self) {
        let now = Instant::now();
        let looks = self.looks();
        let pausing = looks && self.next_look > now;
        let mut until = self.next_deadline();
        if pausing {
            until = until.min(self.next_look);
        }
        let timeout = until.saturating_duration_since(now);
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        let mail = PollFd::new(&self.parts.mailbox, PollFlags::IN);
        let events = PollFd::new(&self.parts.watcher, PollFlags::IN);
        let mut both = [mail, events];
        let heard = if looks && !pausing { &mut both[..] } else { &mut both[..1] };
        // An interrupted wait is a short one.
        let _woken = poll(heard, Some(&timeout));
        self.parts.mailbox.hush();
    }

    fn next_deadline(&self) -> Instant {
        let mut until = self.next_scan.min(self.now + Duration::from_secs(60));
        if !self.looks() {
            until = self.now + Duration::from_secs(60);
        }
        let deadlines = [
            self.timers.next(),
            self.send_deadline(),
            self.report_deadline(),
            self.upkeep_deadline(),
            self.opening_deadline(),
            self.turn_deadline(),
        ];
        for deadline in deadlines.into_iter().flatten() {
            until = until.min(deadline);
        }
        until
    }

    fn looks(&self) -> bool {
        self.session.is_some() && !self.is_stopping
    }

    fn exit(&self) -> Option<Exit> {
        if self.ended.is_some() {
            return self.ended;
        }
        let drained = || self.shipments.iter().all(Option::is_none) && self.notices.is_empty();
        // What cannot be read now may not be for days; what the collector rejects is waited for.
        let is_unreadable = |source: &Source| source.blocked.as_ref().is_some_and(|blocked| blocked.is_unreadable);
        let is_done = |source: &Source| source.is_settled() && (!source.is_dirty || is_unreadable(source));
        let idle = || self.turns.is_empty() && self.sources.values().all(|source| is_done(source));
        if self.is_stopping {
            // Without a session nothing can be sent, and no answer on its way is worth waiting for.
            let is_sent = || self.sources.values().all(|source| !source.is_sendable());
            return (self.session.is_none() || is_sent() && drained()).then_some(Exit::Done);
        }
        let is_open = self.session.is_some() && self.starting.is_none();
        let is_over = self.parts.once && is_open && idle() && drained();
        let is_whole = |source: &Source| !is_unreadable(source) && source.file.damage().is_none();
        let is_complete = || !self.troubles.hide_any() && self.sources.values().all(|source| is_whole(source));
        is_over.then(|| if is_complete() { Exit::Done } else { Exit::Incomplete })
    }
}

/// Gives the time of day as records carry it.
pub(super) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
