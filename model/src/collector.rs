//! The collector: one sequencer over staged state, one journal. Decides, makes durable, shows, answers, in this order.

use std::collections::BTreeSet;

use crate::log::{Commit, Effect, Log, SourceId};
use crate::network::{Answer, Item, Request};
use crate::rules::Rules;

/// Holds what outlives the process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Disk {
    /// What a power cut leaves.
    pub synced: Log,
    /// Written and not synced: the page cache keeps it when the process dies, a power cut any part of it from the front.
    pub cached: Vec<Commit>,
}

/// Says what of a group has been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Requests are taken in.
    Staging,
    /// The group is durable and shown, and not yet answered.
    Synced,
}

/// Holds what dies with the process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sequencer {
    /// The state with the group's commits.
    pub staged: Log,
    /// Commits not yet durable.
    pub group: Vec<Commit>,
    /// What has been done of the group.
    pub phase: Phase,
    /// Answers that wait for it.
    pub answers: BTreeSet<(Request, Answer)>,
}

impl Sequencer {
    /// Begins with a recovered log.
    pub fn new(recovered: Log) -> Self {
        Self { staged: recovered, group: Vec::new(), phase: Phase::Staging, answers: BTreeSet::new() }
    }

    /// Decides a request and stages what it does. Gives the answer if that does not wait for the group.
    pub fn take(&mut self, request: Request, durable: &Log, rules: &Rules) -> Option<Answer> {
        let known = if rules.checks_are_against_staged_state { &self.staged } else { durable };
        let (commits, answer) = decide(known, request, rules);
        for commit in commits {
            self.stage(commit);
        }
        if let Answer::Opened(epoch) = answer {
            // Where an opening is no commit, this is all that is known of it.
            self.staged.epoch = epoch;
        }
        let is_acceptance = matches!(answer, Answer::Accepted | Answer::Opened(_));
        let waits = if is_acceptance { rules.acceptances_wait_for_the_sync } else { rules.refusals_wait_for_the_sync };
        if !waits {
            return Some(answer);
        }
        self.answers.insert((request, answer));
        None
    }

    /// Adds a commit to the group.
    pub fn stage(&mut self, commit: Commit) {
        self.staged.apply(&commit);
        self.group.push(commit);
    }
}

/// Decides a request against a state: what it commits, and the answer.
fn decide(known: &Log, request: Request, rules: &Rules) -> (Vec<Commit>, Answer) {
    match request {
        Request::Open { after, .. } if rules.an_opening_is_compare_and_set && after != known.epoch => {
            (Vec::new(), Answer::Conflict(known.epoch))
        }
        Request::Open { .. } => {
            let epoch = known.epoch + 1;
            let commit = rules.an_opening_is_a_commit.then(|| vec![Effect::Opened(epoch)]);
            (commit.into_iter().collect(), Answer::Opened(epoch))
        }
        Request::List { .. } => (Vec::new(), Answer::Listed(known.sources.clone())),
        Request::Commit { epoch, .. } if rules.a_newer_session_fences && epoch != known.epoch => {
            (Vec::new(), Answer::Fenced)
        }
        Request::Commit { item, .. } => decide_item(known, item, rules),
    }
}

fn decide_item(known: &Log, item: Item, rules: &Rules) -> (Vec<Commit>, Answer) {
    let accepted = |effect| (vec![vec![effect]], Answer::Accepted);
    let stored = |id: &SourceId| known.sources.get(id);
    match item {
        Item::Create(id) if stored(&id).is_some() => (Vec::new(), Answer::Accepted),
        Item::Create(id) => {
            let is_taken = known.sources.iter().any(|(other, held)| other.file == id.file && !held.is_gone);
            if is_taken && rules.creation_is_compare_and_set {
                return (Vec::new(), Answer::Exists);
            }
            accepted(Effect::Created(id))
        }
        Item::Span(id, start, end) => match stored(&id) {
            None => (Vec::new(), Answer::UnknownSource),
            Some(held) if rules.spans_start_at_the_position && held.position != start => {
                (Vec::new(), Answer::Conflict(held.position))
            }
            Some(_) => (span_commits(id, start, end, rules), Answer::Accepted),
        },
        Item::Gone(id) | Item::Rebind(id) => match stored(&id) {
            None => (Vec::new(), Answer::UnknownSource),
            Some(held) if held.is_gone == matches!(item, Item::Gone(_)) => (Vec::new(), Answer::Accepted),
            Some(_) if matches!(item, Item::Gone(_)) => accepted(Effect::Gone(id)),
            Some(_) => accepted(Effect::Rebound(id)),
        },
    }
}

fn span_commits(id: SourceId, start: u8, end: u8, rules: &Rules) -> Vec<Commit> {
    let (appended, advanced) = (Effect::Appended(id.file, (start..end).collect()), Effect::Advanced(id, end));
    if rules.batch_and_position_are_one_commit {
        vec![vec![appended, advanced]]
    } else {
        vec![vec![appended], vec![advanced]]
    }
}

/// Is the machine: its disk, and the process while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Collector {
    /// What outlives the process.
    pub disk: Disk,
    /// The process.
    pub running: Option<Sequencer>,
}

impl Collector {
    /// Runs on an empty log.
    pub fn new(files: usize) -> Self {
        let log = Log::new(files);
        Self { disk: Disk { synced: log.clone(), cached: Vec::new() }, running: Some(Sequencer::new(log)) }
    }

    /// Makes the group durable. `fails`: the disk says no, and keeps nothing of it.
    pub fn sync(&mut self, fails: bool) {
        let Some(sequencer) = &mut self.running else { return };
        sequencer.phase = Phase::Synced;
        let group = std::mem::take(&mut sequencer.group);
        if !fails {
            let cached = std::mem::take(&mut self.disk.cached);
            cached.iter().chain(&group).for_each(|commit| self.disk.synced.apply(commit));
        }
    }

    /// Counts the commits a crash may take or leave.
    pub fn at_risk(&self) -> usize {
        self.disk.cached.len() + self.running.as_ref().map_or(0, |sequencer| sequencer.group.len())
    }

    /// Ends the process while it writes: the first `written` commits at risk are in the page cache.
    pub fn kill(&mut self, written: usize) {
        let group = self.running.take().map_or(Vec::new(), |sequencer| sequencer.group);
        self.disk.cached.extend(group);
        self.disk.cached.truncate(written);
    }

    /// Cuts the power: the first `kept` commits at risk happen to be on the disk.
    pub fn cut_power(&mut self, kept: usize) {
        self.kill(kept);
        let cached = std::mem::take(&mut self.disk.cached);
        cached.iter().for_each(|commit| self.disk.synced.apply(commit));
    }

    /// Starts the process: what is readable is the log.
    pub fn recover(&mut self, rules: &Rules) {
        let mut log = self.disk.synced.clone();
        self.disk.cached.iter().for_each(|commit| log.apply(commit));
        if rules.recovery_syncs_before_it_shows {
            self.disk = Disk { synced: log.clone(), cached: Vec::new() };
        }
        self.running = Some(Sequencer::new(log));
    }
}
