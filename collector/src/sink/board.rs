//! How sinks stand, for people: kept by the sinks, shown by whoever is asked.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use skidway_wire::http::{SinkError, SinkFile, SinkList, SinkShard, SinkSummary};
use tokio::sync::watch;

use super::budget::Standing as Budget;
use super::decisions::{Intent, Shard};
use super::lane::Cause;
use super::state::Standing;
use crate::json::rfc3339;

/// Shows all sinks, and pauses and resumes them.
#[derive(Debug, Default)]
pub struct Board {
    sinks: BTreeMap<String, Desk>,
    budget: Mutex<Budget>,
}

/// Is one sink's place on the board.
#[derive(Debug)]
pub struct Desk {
    url: String,
    format: String,
    wants_pause: watch::Sender<bool>,
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    shards: BTreeMap<Shard, (Standing, u64, u64)>,
    cuts: BTreeMap<&'static str, u64>,
    /// By what is tried.
    troubles: BTreeMap<String, (String, i64)>,
    last_error: Option<(String, i64)>,
}

impl Board {
    /// Adds a sink.
    pub fn add(&mut self, name: &str, (url, format): (String, String), is_paused: bool) {
        let desk = Desk { url, format, wants_pause: watch::Sender::new(is_paused), shown: Mutex::default() };
        self.sinks.insert(name.to_owned(), desk);
    }

    /// Gives a sink's place.
    pub fn desk(&self, name: &str) -> Option<&Desk> {
        self.sinks.get(name)
    }

    /// Lists all.
    pub fn list(&self) -> SinkList {
        let budget = *self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        SinkList {
            sinks: self.sinks.iter().map(|(name, desk)| desk.summary(name)).collect(),
            pinned_bytes: budget.pinned,
            pinned_bytes_max: budget.most,
            full_in_seconds: budget.full_in.map(|it| it.as_secs()),
        }
    }

    /// Shows how much the log keeps for sinks.
    pub(super) fn show_budget(&self, standing: Budget) {
        *self.budget.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }
}

impl Desk {
    /// Follows whether it is to stand still.
    pub fn pauses(&self) -> watch::Receiver<bool> {
        self.wants_pause.subscribe()
    }

    /// Lets it stand still, or go on.
    pub fn pause(&self, pause: bool) {
        self.wants_pause.send_replace(pause);
    }

    /// Shows how a partition stands: what is decided, what was read, what there is.
    pub(super) fn stands(&self, shard: &Shard, standing: &Standing, next: u64, high_watermark: u64) {
        self.shown().shards.insert(shard.clone(), (standing.clone(), next, high_watermark));
    }

    /// Gives the files that are decided and not published.
    pub(super) fn pending(&self) -> Vec<Intent> {
        let shown = self.shown();
        let pending = shown.shards.values().flat_map(|(standing, ..)| &standing.pending);
        pending.flat_map(|cut| cut.files.clone()).collect()
    }

    /// Forgets a partition.
    pub(super) fn left(&self, shard: &Shard) {
        self.shown().shards.remove(shard);
    }

    /// Counts a cut.
    pub(super) fn cut(&self, cause: Cause) {
        *self.shown().cuts.entry(cause.as_str()).or_default() += 1;
    }

    /// Shows what is wrong with what is tried, or that nothing is any more.
    pub(super) fn trouble(&self, what: &str, trouble: Option<&str>, now_ms: i64) {
        let mut shown = self.shown();
        match trouble {
            Some(text) => {
                shown.troubles.entry(what.to_owned()).or_insert((String::new(), now_ms)).0 = text.to_owned();
                shown.last_error = Some((text.to_owned(), now_ms));
            }
            None => _ = shown.troubles.remove(what),
        }
    }

    fn summary(&self, name: &str) -> SinkSummary {
        let (shown, is_paused) = (self.shown(), *self.wants_pause.borrow());
        let oldest = shown.troubles.values().min_by_key(|(_, since)| *since);
        let state = match () {
            () if is_paused => "paused",
            () if !shown.troubles.is_empty() => "failing",
            () => "running",
        };
        let shard = |(shard, (standing, next, high_watermark)): (&Shard, &(Standing, u64, u64))| SinkShard {
            topic: shard.topic.as_str().to_owned(),
            partition: shard.partition,
            frontier: standing.frontier,
            read: *next,
            high_watermark: *high_watermark,
            pending_files: standing.pending.iter().map(|cut| cut.files.len() as u64).sum(),
        };
        let sum = |of: fn(&Standing) -> u64| shown.shards.values().map(|(standing, ..)| of(standing)).sum();
        let last_file = shown.shards.values().filter_map(|(standing, ..)| standing.last_file.as_ref());
        let last_file = last_file.max_by_key(|file| file.at_ms);
        SinkSummary {
            name: name.to_owned(),
            url: self.url.clone(),
            format: self.format.clone(),
            state: state.to_owned(),
            trouble: oldest.map(|(text, _)| text.clone()),
            trouble_since: oldest.map(|(_, since)| rfc3339(*since)),
            last_error: shown.last_error.clone().map(|(detail, at)| SinkError { at: rfc3339(at), detail }),
            last_file: last_file.map(|file| SinkFile { at: rfc3339(file.at_ms), path: file.path.clone() }),
            late_dropped_records: sum(|standing| standing.late_dropped),
            files: sum(|standing| standing.files),
            records: sum(|standing| standing.records),
            bytes: sum(|standing| standing.bytes),
            lost_records: sum(|standing| standing.lost),
            behind: shown.shards.values().map(|(standing, _, end)| end.saturating_sub(standing.frontier)).sum(),
            cuts: shown.cuts.iter().map(|(cause, count)| ((*cause).to_owned(), *count)).collect(),
            partitions: shown.shards.iter().map(shard).collect(),
        }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
