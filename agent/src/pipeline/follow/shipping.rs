//! To the lanes and back: which steps go into one request, and what the answers change.

use std::time::{Duration, Instant};

use skidway_record::SourceId;
use skidway_wire::{CommitRequest, Item, ItemResult};

use super::{Follow, REST};
use crate::config::OnNewLog;
use crate::flow::{Errand, FileSlot, Opened, Outcome, Report};
use crate::metrics;
use crate::pipeline::Exit;
use crate::pipeline::source::{Blocked, Settled};

/// Bounds a request's items.
const ITEMS_MAX: usize = 1000;
/// Bounds a request's batches, in bytes; a single item may be larger.
const REQUEST_BYTES_MAX: u64 = 8 << 20;
/// Enough for a request of its own while others are under way.
const REQUEST_BYTES_GOAL: u64 = 1 << 20;

/// Lies at least between two sessions.
const OPENING_INTERVAL: Duration = Duration::from_secs(1);

/// An agent with nothing to ship says so this often: the collector lets another machine have its id after a minute of silence;
const REPORT_INTERVAL: Duration = Duration::from_secs(15);
/// and this soon if what it said last is not true any more.
const REPORT_SOON: Duration = Duration::from_secs(2);

/// Remembers what a lane carries.
#[derive(Debug)]
pub(super) enum Shipment {
    /// The opening of a session.
    Opening,
    /// Items of a session; nobody waits for the answers once another one is open.
    Items { epoch: u64, owners: Vec<Owner>, bytes: u64 },
}

/// Says whose an item is.
#[derive(Debug)]
pub(super) enum Owner {
    Source(FileSlot, SourceId),
    /// Of no file in particular.
    Notice(Box<Item>),
}

impl Shipment {
    fn bytes(&self) -> u64 {
        match self {
            Self::Opening => 0,
            Self::Items { bytes, .. } => *bytes,
        }
    }
}

impl Follow {
    /// Sends a lane to open a session, unless one is at it or one was opened just now.
    pub(super) fn open_session(&mut self) {
        self.session = None;
        if self.is_opening() || self.now < self.next_opening {
            return;
        }
        self.next_opening = self.now + OPENING_INTERVAL;
        let Some(lane) = self.shipments.iter().position(Option::is_none) else { return };
        let known_log = self.parts.checkpoint.log_id;
        if self.parts.lanes[lane].try_send(Errand::Open { known_log, newest: self.newest_epoch }).is_ok() {
            self.shipments[lane] = Some(Shipment::Opening);
            self.unanswered_since.get_or_insert(self.now);
        }
    }

    fn is_opening(&self) -> bool {
        self.shipments.iter().any(|it| matches!(it, Some(Shipment::Opening)))
    }

    /// Tells when a session may be opened; `None` if there is one or a lane is at it.
    pub(super) fn opening_deadline(&self) -> Option<Instant> {
        (self.session.is_none() && !self.is_stopping && !self.is_opening()).then_some(self.next_opening)
    }

    /// Sends as many requests as are due.
    pub(super) fn ship(&mut self) {
        while self.is_due() || self.report_deadline().is_some_and(|deadline| self.now >= deadline) {
            let Some(lane) = self.shipments.iter().position(Option::is_none) else { return };
            let Some((request, owners, bytes)) = self.assemble() else { return };
            let epoch = request.epoch;
            if self.parts.lanes[lane].try_send(Errand::Commit(request)).is_err() {
                // Lanes end only when the agent does.
                self.ended = Some(Exit::Done);
                return;
            }
            self.shipments[lane] = Some(Shipment::Items { epoch, owners, bytes });
            self.told = (self.now, self.totals.bytes_behind);
            self.unanswered_since.get_or_insert(self.now);
        }
    }

    /// Tells when the collector is to be told how things stand though there is nothing to ship; `None` while it is asked anyway.
    pub(super) fn report_deadline(&self) -> Option<Instant> {
        let is_quiet = self.session.is_some() && !self.is_stopping && self.shipments.iter().all(Option::is_none);
        let (at, behind) = self.told;
        is_quiet.then(|| at + if behind == self.totals.bytes_behind { REPORT_INTERVAL } else { REPORT_SOON })
    }

    /// As soon as every file has had its turn while nothing is under way; else when it is worth a request, or has waited long enough.
    fn is_due(&self) -> bool {
        let waits = !self.sendable.is_empty() || !self.notices.is_empty();
        if self.session.is_none() || !waits {
            return false;
        }
        let is_idle = self.turns.is_empty() && self.shipments.iter().all(Option::is_none);
        let has_waited = || self.send_deadline().is_some_and(|deadline| self.now >= deadline);
        is_idle || self.is_stopping || self.bytes_waiting() >= REQUEST_BYTES_GOAL || has_waited()
    }

    fn bytes_waiting(&self) -> u64 {
        let under_way: u64 = self.shipments.iter().flatten().map(Shipment::bytes).sum();
        self.bytes_held - under_way
    }

    /// Tells when what waits has waited long enough; `None` if nothing waits or no lane is free.
    pub(super) fn send_deadline(&self) -> Option<Instant> {
        let is_free = self.session.is_some() && self.shipments.iter().any(Option::is_none);
        self.sendable_since.filter(|_| is_free).map(|since| since + self.parts.config.collector.linger)
    }

    fn assemble(&mut self) -> Option<(CommitRequest, Vec<Owner>, u64)> {
        let session = self.session.clone()?;
        let count = ITEMS_MAX.min(self.notices.len() + self.sendable.len());
        let (mut items, mut owners, mut bytes) = (Vec::with_capacity(count), Vec::with_capacity(count), 0);
        while items.len() < ITEMS_MAX
            && let Some(notice) = self.notices.pop_front()
        {
            items.push(notice.clone());
            owners.push(Owner::Notice(Box::new(notice)));
        }
        while items.len() < ITEMS_MAX
            && bytes < REQUEST_BYTES_MAX
            && let Some(slot) = self.sendable.pop_front()
        {
            let Some(source) = self.sources.get_mut(&slot) else { continue };
            source.is_queued = false;
            let held_before = source.bytes_held();
            let Some(item) = source.take_step(&self.parts.config.inputs[source.input].name) else { continue };
            bytes += held_before - source.bytes_held();
            items.push(item);
            owners.push(Owner::Source(slot, source.id));
            // What it has read ahead may go on growing while this is under way.
            if source.wants_turn() {
                self.turns.add(slot);
            }
        }
        self.sendable_since = (!self.sendable.is_empty()).then_some(self.now);
        if items.is_empty() && self.report_deadline().is_none_or(|deadline| self.now < deadline) {
            return None;
        }
        let oldest = self.oldest_waiting.map_or(Duration::ZERO, |since| self.now.saturating_duration_since(since));
        let request = CommitRequest {
            agent: session.agent,
            epoch: session.epoch,
            log_id: session.log_id,
            log_epoch: session.log_epoch,
            bytes_behind: self.totals.bytes_behind,
            oldest_unacknowledged_ms: oldest.as_millis() as u64,
            items,
        };
        Some((request, owners, bytes))
    }

    /// Takes what a lane reports. Answers to another session than the present one change nothing.
    pub(super) fn take_report(&mut self, report: Report) {
        let shipment = self.shipments[report.lane].take();
        self.bytes_held -= shipment.as_ref().map_or(0, Shipment::bytes);
        self.unanswered_since = self.shipments.iter().any(Option::is_some).then_some(self.now);
        let current = self.session.as_ref().map(|session| session.epoch);
        match (report.outcome, shipment) {
            (Outcome::Opened(opened), _) => self.take_session(*opened),
            (Outcome::Committed(results), Some(Shipment::Items { epoch, owners, .. })) if current == Some(epoch) => {
                metrics::answered(report.took);
                for (owner, result) in owners.into_iter().zip(results) {
                    self.take_result(owner, result);
                }
            }
            (Outcome::Fenced { epoch }, _) if current == Some(epoch) => {
                tracing::error!("another agent with this id has opened a session; this one ends");
                self.ended = Some(Exit::Fenced);
            }
            (Outcome::LogChanged { epoch }, _) if current == Some(epoch) => {
                tracing::warn!("the collector serves another log, or another epoch of it; opening a new session");
                self.open_session();
            }
            _ => {}
        }
    }

    fn take_session(&mut self, opened: Opened) {
        let session = opened.session;
        tracing::info!(
            log = %session.log_id, log_epoch = session.log_epoch, epoch = session.epoch, sources = opened.sources.len(),
            "session is open"
        );
        (self.continues_old_log, self.replays) = match self.parts.config.collector.on_new_log {
            _ if !opened.new_log => (false, false),
            OnNewLog::Continue => (true, false),
            OnNewLog::Replay | OnNewLog::Refuse => (false, true),
        };
        self.remember();
        if !opened.new_log {
            self.notice_regressions(&opened.sources);
        }
        self.opened_inputs = opened.opened_inputs;
        self.unattached = opened.sources;
        (self.parts.checkpoint.log_id, self.parts.checkpoint.log_epoch) = (Some(session.log_id), session.log_epoch);
        self.checkpoint_changed = true;
        self.newest_epoch = session.epoch;
        self.session = Some(session);
        self.begin_again();
    }

    fn take_result(&mut self, owner: Owner, result: ItemResult) {
        if self.session.is_none() {
            return;
        }
        let slot = match owner {
            Owner::Source(slot, id) if self.sources.get(&slot).is_some_and(|source| source.id == id) => slot,
            Owner::Source(..) => return,
            Owner::Notice(notice) => {
                if !matches!(result, ItemResult::Accepted | ItemResult::UnknownSource) {
                    tracing::warn!(?notice, ?result, "the collector did not take it");
                }
                return;
            }
        };
        if matches!(result, ItemResult::Conflict { .. }) {
            metrics::conflict();
        }
        let Some(source) = self.sources.get_mut(&slot) else { return };
        let held_before = source.bytes_held();
        let settled = source.settle(result);
        self.bytes_held = self.bytes_held + source.bytes_held() - held_before;
        self.follow_up(slot, settled);
        self.has_changed(slot);
    }

    fn follow_up(&mut self, slot: FileSlot, settled: Settled) {
        let Some(source) = self.sources.get_mut(&slot) else { return };
        let path = source.path.clone();
        let path = path.display();
        match settled {
            Settled::Acknowledged(bytes) => {
                metrics::acknowledged(bytes);
                self.checkpoint_changed = true;
            }
            Settled::Rebound => {
                let id = source.id;
                self.checkpoint_changed = true;
                self.has_left(id);
            }
            Settled::Received => self.has_received(slot),
            Settled::Gone => self.drop_source(slot),
            Settled::Rewound { regressed } => {
                tracing::warn!(%path, position = source.acknowledged, "reading again from where the collector stands");
                if regressed {
                    metrics::log_regressed();
                    tracing::error!(%path, "log-regressed: the collector stands before what it had acknowledged");
                }
            }
            Settled::TakenApart => tracing::warn!(%path, "the collector rejects a span; looking for the line at fault"),
            Settled::Blocked { status, reason } => {
                tracing::error!(%path, status, reason, "the collector rejects the source; trying again later");
                let because = format!("{status}: {reason}");
                source.blocked = Some(Box::new(Blocked { until: self.now + REST, because, is_unreadable: false }));
                self.timers.set(self.now + REST, slot);
            }
            Settled::Astray(why) => {
                tracing::warn!(%path, why, "opening a new session to learn where every file stands");
                self.open_session();
            }
        }
    }
}
