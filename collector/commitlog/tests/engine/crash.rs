//! A power cut at every operation of the disk, and again during the recovery from it.
//!
//! A model runs beside the log. Commits go out several at a time; those answered before the cut are *acknowledged*, the others in flight.
//! After recovery the log must be the model after all acknowledged commits and some of those in flight, in order, each whole: nothing
//! acknowledged or published lost, nothing half there, positions and lines in step. Every line names its place in the run.

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;

use skidway_commitlog::commit::{Commit, Target, TopicChange};
use skidway_commitlog::{Config, Durability};
use skidway_disk::FaultyDisk;
use skidway_record::{TopicName, murmur2};

use crate::*;

const AGENT: &str = "web-1";
const TOPICS: [&str; 3] = ["a", "b", "c"];
const SOURCES: u8 = 4;
const PARTITIONS: u32 = 2;
const ROUNDS: usize = 12;
const DROPPED: &str = "(dropped)";

/// What the log holds, or should hold.
#[derive(Debug, Clone, PartialEq, Default)]
struct View {
    /// Lines of each topic's partitions.
    topics: BTreeMap<TopicName, Vec<Vec<String>>>,
    /// Positions of the sources.
    positions: BTreeMap<u8, u64>,
    epoch: u64,
}

#[derive(Debug, Clone)]
enum Action {
    Append(Vec<(TopicPartition, Vec<String>)>),
    Delete(TopicName),
    Session,
    Create(u8),
    Span(u8, Vec<String>),
}

/// Draws from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }

    fn topic(&mut self) -> TopicName {
        topic(TOPICS[self.below(3) as usize])
    }

    fn action(&mut self, view: &View, number: usize) -> Action {
        if view.epoch == 0 {
            return Action::Session;
        }
        let line = |part: u64| format!("line {number} part {part} {}", "x".repeat(part as usize * 40));
        match self.below(20) {
            0 => Action::Session,
            1 => Action::Delete(self.topic()),
            2..=8 => {
                let parts = 1 + self.below(4);
                let place =
                    |dice: &mut Self| TopicPartition::new(dice.topic(), dice.below(u64::from(PARTITIONS)) as u32);
                Action::Append((0..parts).map(|part| (place(self), vec![line(part), line(part + 10)])).collect())
            }
            _ => {
                let n = self.below(u64::from(SOURCES)) as u8;
                let lines = (0..self.below(4)).map(line).collect();
                if view.positions.contains_key(&n) { Action::Span(n, lines) } else { Action::Create(n) }
            }
        }
    }
}

impl View {
    fn of(opened: &Opened) -> Self {
        let mut view = Self::default();
        for topic in opened.log.topics() {
            let names = (0..topic.config.partitions).map(|n| TopicPartition::new(topic.name.clone(), n));
            view.topics.insert(topic.name.clone(), names.map(|name| all_lines(opened, &name)).collect());
        }
        for stored in opened.sources(AGENT).unwrap() {
            let carry = if stored.position == 0 { String::new() } else { stored.position.to_string() };
            assert_eq!(stored.carry, carry, "position and carry move together");
            view.positions.insert(stored.source.id.0[0], stored.position);
        }
        view.epoch = opened.agents().unwrap().first().map_or(0, |agent| agent.epoch);
        view
    }

    fn apply(&mut self, action: &Action) {
        match action {
            Action::Append(parts) => parts.iter().for_each(|(place, lines)| self.append(place, lines)),
            Action::Delete(name) => {
                self.topics.remove(name);
            }
            Action::Session => self.epoch += 1,
            Action::Create(n) => {
                self.topic(&source_topic(*n));
                self.positions.insert(*n, 0);
            }
            Action::Span(n, lines) => {
                *self.positions.get_mut(n).unwrap() += 100;
                if !lines.is_empty() {
                    self.append(&source_partition(*n), lines);
                }
            }
        }
    }

    /// Tells whether `found` is this, but for lines that retention has dropped.
    fn covers(&self, found: &Self) -> bool {
        let with_dropped = |(own, found): (&Vec<String>, &Vec<String>)| {
            own.len() == found.len() && own.iter().zip(found).all(|(own, found)| found == DROPPED || own == found)
        };
        let partitions = |(own, found): (&Vec<Vec<String>>, &Vec<Vec<String>>)| own.iter().zip(found).all(with_dropped);
        self.topics.keys().eq(found.topics.keys())
            && self.topics.values().zip(found.topics.values()).all(partitions)
            && (&self.positions, self.epoch) == (&found.positions, found.epoch)
    }

    fn topic(&mut self, name: &TopicName) -> &mut Vec<Vec<String>> {
        self.topics.entry(name.clone()).or_insert_with(|| vec![Vec::new(); PARTITIONS as usize])
    }

    fn append(&mut self, place: &TopicPartition, lines: &[String]) {
        self.topic(&place.topic)[place.partition.0 as usize].extend_from_slice(lines);
    }
}

/// Reads a partition from offset 0 on, as far as retention has left it.
fn all_lines(opened: &Opened, name: &TopicPartition) -> Vec<String> {
    let kept = opened.lines(name);
    let offsets = opened.log.offsets(name).unwrap();
    let dropped = offsets.high_watermark.0 as usize - kept.len();
    std::iter::repeat_n(DROPPED.to_owned(), dropped).chain(kept).collect()
}

fn source_topic(n: u8) -> TopicName {
    topic(TOPICS[n as usize % 2])
}

fn source_partition(n: u8) -> TopicPartition {
    let file = format!("{AGENT}\0/var/log/{n}.log");
    TopicPartition::new(source_topic(n), murmur2::partition_of(file.as_bytes(), PARTITIONS))
}

/// Asks for an action; the sender gets whether it was acknowledged.
fn submit(opened: &Opened, view: &View, action: &Action, answer: std::sync::mpsc::SyncSender<bool>) {
    let done = move |acknowledged: bool| answer.send(acknowledged).expect("the channel is wide enough");
    let texts = |lines: &[String]| batch(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    let commit = match action {
        Action::Delete(name) => {
            return opened.log.alter_topic(TopicChange::Delete(name.clone()), move |result| done(result.is_ok()));
        }
        Action::Session => return opened.log.open_session(session_of(AGENT), move |result| done(result.is_ok())),
        Action::Append(parts) => {
            let batches = parts.iter().map(|(place, lines)| (Target::Partition(place.clone()), texts(lines)));
            Commit { batches: batches.collect(), ..Commit::default() }
        }
        Action::Create(n) => create(AGENT, view.epoch, source(*n, source_topic(*n).as_str())),
        Action::Span(n, lines) => {
            let start = view.positions[n];
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            span(AGENT, view.epoch, *n, start..start + 100, &lines)
        }
    };
    opened.log.commit(commit, move |result| {
        assert!(!matches!(result, Err(Error::Refused(_))), "the model and the log disagree: {result:?}");
        done(result.is_ok());
    });
}

/// Runs rounds of actions until the power fails. Gives what the log may hold then: after all acknowledged actions, and after each one
/// in flight.
fn run(opened: &Opened, start: View, dice: &mut Dice, first_number: usize) -> Vec<View> {
    let mut view = start;
    for round in 0..ROUNDS {
        let (send, receive) = sync_channel(8);
        let mut possible = vec![view.clone()];
        for place in 0..1 + dice.below(8) {
            let latest = possible.last().unwrap();
            let action = dice.action(latest, first_number + round * 10 + place as usize);
            submit(opened, latest, &action, send.clone());
            let mut next = latest.clone();
            next.apply(&action);
            possible.push(next);
        }
        drop(send);
        let acknowledged = receive.iter().filter(|acknowledged| *acknowledged).count();
        if acknowledged + 1 < possible.len() {
            return possible.split_off(acknowledged);
        }
        view = possible.pop().unwrap();
    }
    vec![view]
}

fn crash_config() -> Config {
    let mut config =
        Config { checkpoint_bytes: 12 << 10, segment_bytes: 4 << 10, recent_bytes_max: 2 << 10, ..config() };
    config.inline_batch_bytes_max = 200;
    config.topics.default.partitions = PARTITIONS;
    config
}

/// Opens, with the power failing `cut` operations into the recovery if given, as often as it takes.
fn reopen(disk: &FaultyDisk, config: &Config, cut: Option<u64>, seed: u64) -> Opened {
    if let Some(cut) = cut {
        disk.cut_power_at(disk.operations() + cut);
        if let Ok(opened) = open_with(disk, config.clone()) {
            drop(opened);
        }
        disk.crash(seed ^ 0xabcd);
    }
    open_with(disk, config.clone()).unwrap_or_else(|error| panic!("seed {seed}: {error}"))
}

/// Runs, cuts the power at an operation, recovers with another cut, and checks; then goes on and closes, and checks again.
fn check(config: &Config, seed: u64, cut: u64, recovery_cut: Option<u64>) {
    let (disk, mut dice) = (FaultyDisk::new(), Dice(seed));
    disk.cut_power_at(cut);
    let mut possible = vec![View::default()];
    let mut published = Vec::new();
    if let Ok(opened) = open_with(&disk, config.clone()) {
        possible = run(&opened, View::default(), &mut dice, 0);
        published = std::mem::take(&mut *opened.heard.published.lock().unwrap());
    }
    disk.crash(seed ^ cut);
    let opened = reopen(&disk, config, recovery_cut, seed ^ cut);
    let found = View::of(&opened);
    assert!(
        possible.iter().any(|view| view.covers(&found)),
        "seed {seed}, cut {cut}, {recovery_cut:?}: {found:#?} is none of {possible:#?}"
    );
    check_published(&opened, &published, &possible);
    let after = run(&opened, found, &mut dice, 1000).pop().unwrap();
    assert!(after.covers(&View::of(&opened)), "seed {seed}, cut {cut}: going on");
    opened.log.close().unwrap();
    disk.crash(seed);
    assert!(after.covers(&View::of(&reopen(&disk, config, None, seed))), "seed {seed}, cut {cut}: closed and opened");
}

/// What was readable before the cut is readable after it, unless its topic was deleted in this very run.
fn check_published(opened: &Opened, published: &[(TopicPartition, Offset)], possible: &[View]) {
    let last: BTreeMap<_, _> = published.iter().cloned().collect();
    for (place, high_watermark) in last {
        let kept = |view: &View| {
            view.topics
                .get(&place.topic)
                .is_some_and(|lines| lines[place.partition.0 as usize].len() as u64 >= high_watermark.0)
        };
        if possible.iter().all(kept) {
            assert!(opened.log.offsets(&place).unwrap().high_watermark >= high_watermark, "{place} went back");
        }
    }
}

/// Counts the operations of a run without a cut.
fn operations(config: &Config, seed: u64) -> u64 {
    let disk = FaultyDisk::new();
    let opened = open_with(&disk, config.clone()).unwrap();
    run(&opened, View::default(), &mut Dice(seed), 0);
    drop(opened);
    disk.operations()
}

#[test]
fn a_power_cut_at_every_operation_loses_and_halves_nothing() {
    let config = crash_config();
    for seed in [11, 12] {
        for cut in 0..operations(&config, seed) {
            check(&config, seed, cut, None);
        }
    }
}

#[test]
fn a_second_power_cut_during_recovery_changes_nothing() {
    let (config, mut dice) = (crash_config(), Dice(99));
    for seed in 21..25 {
        let operations = operations(&config, seed);
        for _ in 0..100 {
            check(&config, seed, dice.below(operations), Some(dice.below(60)));
        }
    }
}

#[test]
fn a_power_cut_while_retention_drops_segments_loses_nothing_else() {
    let (mut config, mut dice) = (crash_config(), Dice(7));
    config.retention_interval = Duration::from_millis(1);
    config.topics.default.retention_bytes = Some(4 << 10);
    config.merge_after_ms = Some(0);
    for seed in 31..33 {
        let operations = operations(&config, seed);
        for _ in 0..100 {
            let recovery_cut = (dice.below(2) == 0).then(|| dice.below(60));
            check(&config, seed, dice.below(operations), recovery_cut);
        }
    }
}

/// The operating system goes on: what was written can be read, though the device never got it.
#[test]
fn a_failed_operation_halts_and_what_recovery_shows_a_later_power_cut_keeps() {
    let config = crash_config();
    for seed in [41, 42] {
        for failing in 0..operations(&config, seed) {
            let (disk, mut dice) = (FaultyDisk::new(), Dice(seed));
            disk.fail_at(failing);
            let mut possible = vec![View::default()];
            if let Ok(opened) = open_with(&disk, config.clone()) {
                possible = run(&opened, View::default(), &mut dice, 0);
                let halted = opened.heard.halted.lock().unwrap().len();
                // A checkpoint may fail beside commits that are all acknowledged.
                assert!(halted == 1 || (halted == 0 && possible.len() == 1), "heard {halted} times");
            }
            disk.fail_at(u64::MAX);
            let shown = View::of(&reopen(&disk, &config, None, seed));
            assert!(possible.contains(&shown), "seed {seed}, failing {failing}: {shown:#?} is none of {possible:#?}");
            disk.crash(seed ^ failing);
            assert_eq!(View::of(&reopen(&disk, &config, None, seed)), shown, "seed {seed}, failing {failing}");
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_with_either_durability() {
    for durability in [Durability::Fsync, Durability::Os] {
        let (disk, config) = (FaultyDisk::new(), Config { durability, ..crash_config() });
        let (mut view, mut dice) = (View::default(), Dice(5));
        for life in 0..6 {
            let opened = open_with(&disk, config.clone()).unwrap();
            assert_eq!(View::of(&opened), view);
            view = run(&opened, view, &mut dice, life * 1000).pop().unwrap();
        }
    }
}
