//! Crash points: each is one crash in one moment of a workload with one outcome, one recovery from it, and one comparison.

use skidway_disk::Moment;

use crate::crash::model::{MayGo, View};
use crate::crash::workload::{Dice, Flavour, History, open_witnessed, run};
use crate::*;

/// Of so many points one goes on writing.
const GOING_ON_ONE_IN: u64 = 40;

/// Of so many recoveries one is cut at each of its operations; the others at one.
const ALL_CUTS_ONE_IN: u64 = 60;

/// Rounds written after a recovery.
const MORE_ROUNDS: usize = 2;

/// A kind of workload with the log it runs on.
#[derive(Clone)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) config: Config,
    pub(super) flavour: Flavour,
    /// What the model still has and the log need not.
    pub(super) may_go: MayGo,
}

/// Says what happens in a moment.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    /// The power fails.
    PowerCut(u64),
    /// The process is killed.
    Kill,
    /// The operation fails, and the process ends.
    Failure(u64),
}

/// A run of a workload with every moment of the disk under it.
pub(super) struct Recorded {
    pub(super) family: Family,
    pub(super) seed: u64,
    pub(super) history: History,
    pub(super) moments: Vec<Moment>,
}

impl Recorded {
    /// Runs the workload of a seed once. A disk may be given that lies.
    pub(super) fn run(family: &Family, seed: u64, disk: &FaultyDisk) -> Result<Self, String> {
        disk.keep_moments();
        let mut dice = Dice(seed);
        let (opened, witness) = open_witnessed(disk, &family.config).map_err(|error| error.to_string())?;
        let history = run((&opened, &witness), View::default(), &family.flavour, &mut dice, 0)?;
        if !history.is_acknowledged() {
            return Err("without a fault everything is acknowledged".to_owned());
        }
        match dice.of(2) {
            true => opened.log.close().map_err(|error| error.to_string())?,
            false => drop(opened),
        }
        Ok(Self { family: family.clone(), seed, history, moments: disk.take_moments() })
    }

    /// Counts the merged segments that took their place.
    pub(super) fn merges(&self) -> u64 {
        let told = self.moments.iter().map(ToString::to_string);
        told.filter(|told| told.contains(" rename ") && told.contains(".merged.log")).count() as u64
    }

    /// Checks every moment with every outcome. Gives the number of crash points; the error says how to see the first bad one again.
    pub(super) fn check_all(&self) -> Result<u64, String> {
        let mut points = 0;
        for moment in &self.moments {
            let mut dice = Dice(self.seed << 32 ^ moment.number());
            let (first, second) = (dice.below(u64::MAX), dice.below(u64::MAX));
            for outcome in [Outcome::PowerCut(first), Outcome::PowerCut(second), Outcome::Kill, Outcome::Failure(first)]
            {
                points += self.check(moment, outcome, &mut dice).map_err(|wrong| self.told(moment, outcome, &wrong))?;
            }
        }
        Ok(points)
    }

    /// Checks one moment with one outcome, a second crash in the recovery from it, and what comes after it.
    pub(super) fn check(&self, moment: &Moment, outcome: Outcome, dice: &mut Dice) -> Result<u64, String> {
        let disk = match outcome {
            Outcome::PowerCut(seed) => moment.crashed(seed),
            Outcome::Kill => moment.killed(),
            Outcome::Failure(seed) => moment.failed(seed),
        };
        let possible: Vec<&View> = self.history.possible(moment.number()).map(|n| &self.history.views[n]).collect();
        let is_cut_again = !matches!(outcome, Outcome::PowerCut(_)) || dice.of(2);
        if is_cut_again {
            disk.keep_moments();
        }
        let opened = open_with(&disk, self.family.config.clone()).map_err(|error| error.to_string())?;
        let recovery = disk.take_moments();
        let found = View::read(&opened)?;
        let held = self.find(&found, &possible)?;
        let mut points = 1;
        if is_cut_again {
            points += self.cut_recovery(&recovery, &possible, dice)?;
        }
        if dice.of(GOING_ON_ONE_IN) {
            self.go_on(opened, &disk, held, dice)?;
            return Ok(points + 1);
        }
        if is_cut_again {
            drop(opened);
            disk.crash(dice.below(u64::MAX));
            self.reopen(&disk, &[held])
                .map_err(|wrong| format!("shown after the recovery, then power cut: {wrong}"))?;
            points += 1;
        }
        Ok(points)
    }

    /// Cuts the power in a recovery: at one of its operations, or at each.
    fn cut_recovery(&self, recovery: &[Moment], possible: &[&View], dice: &mut Dice) -> Result<u64, String> {
        let one = dice.below(recovery.len().max(1) as u64) as usize;
        let chosen = if dice.of(ALL_CUTS_ONE_IN) { recovery } else { &recovery[one..(one + 1).min(recovery.len())] };
        for moment in chosen {
            let seed = dice.below(u64::MAX);
            let told = |wrong: String| format!("power cut again in the recovery, at {moment}, outcome {seed}: {wrong}");
            self.reopen(&moment.crashed(seed), possible).map_err(told)?;
        }
        Ok(chosen.len() as u64)
    }

    fn reopen(&self, disk: &FaultyDisk, possible: &[&View]) -> Result<(), String> {
        let opened = open_with(disk, self.family.config.clone()).map_err(|error| error.to_string())?;
        self.find(&View::read(&opened)?, possible).map(|_| ())
    }

    /// Writes more, closes, cuts the power, and finds all of it.
    fn go_on(&self, opened: Opened, disk: &FaultyDisk, held: &View, dice: &mut Dice) -> Result<(), String> {
        drop(opened);
        let (opened, witness) = open_witnessed(disk, &self.family.config).map_err(|error| error.to_string())?;
        let flavour = Flavour { rounds: MORE_ROUNDS, ..self.family.flavour };
        let more = run((&opened, &witness), held.clone(), &flavour, dice, 10_000)?;
        let told = |wrong: String| format!("gone on after the recovery: {wrong}");
        if !more.is_acknowledged() {
            return Err(told("what was asked is not acknowledged".to_owned()));
        }
        self.find(&View::read(&opened)?, &[more.last()]).map_err(told)?;
        opened.log.close().map_err(|error| told(error.to_string()))?;
        disk.crash(dice.below(u64::MAX));
        self.reopen(disk, &[more.last()]).map_err(told)
    }

    /// Finds which of the possible views this is.
    pub(super) fn find<'a>(&self, found: &View, possible: &[&'a View]) -> Result<&'a View, String> {
        let mut differences = Vec::new();
        for (number, view) in possible.iter().enumerate() {
            match view.difference(found, self.family.may_go) {
                None => return Ok(view),
                Some(difference) => differences.push(format!("\n  possible view {number}: {difference}")),
            }
        }
        Err(format!("what is found is none of the {} views possible:{}", possible.len(), differences.concat()))
    }

    /// Says what is wrong with a point, how to come back to it, and what had happened before.
    pub(super) fn told(&self, moment: &Moment, outcome: Outcome, wrong: &str) -> String {
        let (family, seed) = (self.family.name, self.seed);
        let before = self.moments.iter().filter(|other| other.number() <= moment.number());
        let before: Vec<String> = before.map(|moment| format!("\n  {moment}")).collect();
        let before = before[before.len().saturating_sub(25)..].concat();
        format!(
            "{family}, seed {seed} (SKIDWAY_TEST_SEED={seed} repeats it), {outcome:?} at {moment}: {wrong}\noperations up to it:{before}"
        )
    }
}
