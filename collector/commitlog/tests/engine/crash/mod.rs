//! A power cut at every operation of the disk, and again during the recovery from it.
//!
//! A model runs beside the log (`model`). A workload of random actions, several in flight at once, is run a single time on a disk that
//! keeps each of its moments (`workload`); then, moment by moment, the power is cut, the process killed or the operation failed, in several
//! ways each, the log recovered, and what it holds compared (`points`): all acknowledged actions and some of those in flight, in order, each
//! whole: nothing acknowledged or shown lost, nothing half there, positions and lines in step. Every line names its place in the run.
//!
//! `SKIDWAY_TEST_SCALE` multiplies the workloads; each crash point counts once.

mod model;
mod points;
mod workload;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use skidway_commitlog::commit::Cleanup;
use skidway_commitlog::{Durability, Pins};

use crate::crash::model::{MayGo, PARTITIONS, View};
use crate::crash::points::{Family, Outcome, Recorded};
use crate::crash::workload::{Dice, Flavour, PINNED, open_witnessed, run};
use crate::*;

/// What the quick tier owes.
const POINTS_MIN: u64 = 10_000;

/// Names the family of topics that are compacted.
const COMPACTING: &str = "compacting";

/// Workloads of each family at scale 1.
const WORKLOADS: u64 = 2;

const PLAIN: Flavour = Flavour { large_line: 150, topic_changes: 8, rounds: 10, is_pinned: false, idle_looks: 0 };

fn crash_config() -> Config {
    let mut config = Config {
        checkpoint_bytes: 12 << 10,
        segment_bytes: 4 << 10,
        recent_bytes_max: 2 << 10,
        inline_batch_bytes_max: 400,
        reserve_bytes: 8 << 10,
        journal_step_bytes: 8 << 10,
        ..config()
    };
    config.topics.default.partitions = PARTITIONS;
    config
}

fn families() -> Vec<Family> {
    let family = |name, config, flavour| Family { name, config, flavour, may_go: MayGo::Nothing };
    let mut dropping = crash_config();
    dropping.retention_interval = Duration::from_millis(1);
    dropping.topics.default.retention_bytes = Some(4 << 10);
    let many_checkpoints = Config { checkpoint_bytes: 6 << 10, ..crash_config() };
    let merged = Flavour { large_line: 1500, topic_changes: 2, rounds: 12, is_pinned: false, idle_looks: 100 };
    let merging = Config {
        merge_after_ms: Some(0),
        retention_interval: Duration::from_millis(1),
        inline_batch_bytes_max: 4 << 10,
        ..crash_config()
    };
    vec![
        family("plain", crash_config(), PLAIN),
        family("large batches", crash_config(), Flavour { large_line: 1500, ..PLAIN }),
        family("topics that change", many_checkpoints, Flavour { topic_changes: 40, large_line: 500, ..PLAIN }),
        family("merging", merging, merged),
        Family { may_go: MayGo::First, ..family("retention", dropping, Flavour { large_line: 600, ..PLAIN }) },
        Family { may_go: MayGo::Superseded, ..family(COMPACTING, compacting(), Flavour { is_pinned: true, ..merged }) },
    ]
}

/// Compacts whatever can be, with little memory for keys; all of one topic is pinned.
fn compacting() -> Config {
    let pins = Pins::new(false, u64::MAX);
    pins.pin_all("sink", |name| name.as_str() == PINNED);
    let mut config = Config {
        compaction_interval: Duration::from_millis(1),
        compaction_bytes_min: 1,
        min_cleanable_dirty_percent: 10,
        compaction_map_bytes: 0,
        inline_batch_bytes_max: 2 << 10,
        segment_bytes: 8 << 10,
        pins: pins.into(),
        ..crash_config()
    };
    config.topics.default.cleanup = Cleanup::Compact;
    config.topics.default.tombstone_retention_ms = 0;
    config
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Runs workloads on all processors; gives the points checked, and the merges and compactions among the operations.
fn check_workloads(families: &[Family], workloads: u64, first_seed: u64) -> Result<(u64, u64, u64), String> {
    let (next, points) = (AtomicUsize::new(0), AtomicU64::new(0));
    let (merges, compactions) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || -> Result<(), String> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let seed = first_seed + (number / families.len()) as u64;
            if seed >= first_seed + workloads {
                return Ok(());
            }
            let family = &families[number % families.len()];
            let told = |wrong| format!("{}, seed {seed}: {wrong}", family.name);
            let recorded = Recorded::run(family, seed, &FaultyDisk::new()).map_err(told)?;
            let count = if family.name == COMPACTING { &compactions } else { &merges };
            count.fetch_add(recorded.merges(), Ordering::Relaxed);
            points.fetch_add(recorded.check_all()?, Ordering::Relaxed);
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    Ok((points.into_inner(), merges.into_inner(), compactions.into_inner()))
}

#[test]
#[allow(clippy::print_stdout, reason = "the count is the test's result")]
fn a_crash_at_every_operation_loses_and_halves_nothing() {
    let (scale, seed) = (number("SKIDWAY_TEST_SCALE", 1), number("SKIDWAY_TEST_SEED", 1));
    let checked = check_workloads(&families(), WORKLOADS * scale, seed);
    let (points, merges, compactions) = checked.unwrap_or_else(|wrong| panic!("{wrong}"));
    println!("{points} crash points, first seed {seed}, scale {scale}, {merges} merges, {compactions} compactions");
    assert!(points >= POINTS_MIN, "{points} crash points are too few");
    assert!(merges > 0 && compactions > 0, "nothing was merged, or nothing compacted");
}

/// Runs a workload on a disk that ignores some syncs; tells whether a crash showed it.
fn is_caught(ignored: skidway_disk::IgnoredSyncs) -> bool {
    let family = &families()[0];
    (1..4).any(|seed| {
        let disk = FaultyDisk::new();
        disk.ignore_syncs_of(ignored);
        let recorded = Recorded::run(family, seed, &disk).expect("nobody notices before a crash");
        recorded.moments.iter().any(|moment| {
            let outcome = Outcome::PowerCut(seed ^ moment.number());
            recorded.check(moment, outcome, &mut Dice(moment.number())).is_err()
        })
    })
}

/// The tests above would find an engine that forgets one of its syncs.
#[test]
fn a_disk_that_ignores_syncs_is_caught() {
    assert!(!is_caught(|_| false), "an honest disk is not accused");
    assert!(is_caught(|path| ends_with(path, "journal")), "journal");
    assert!(is_caught(|path| ends_with(path, "log")), "segments");
    assert!(is_caught(|path| ends_with(path, "new")), "checkpoint, before it gets its name");
    assert!(is_caught(|path| path == Path::new("/data")), "names of the data folder");
    assert!(is_caught(|path| path == Path::new("/data/topics")), "names of the partitions' folders");
    assert!(is_caught(|path| path.parent() == Some(Path::new("/data/topics"))), "names of the segments");
}

fn ends_with(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|own| own == extension)
}

/// As the recorded moments have it, but with the engine there to hear of it.
#[test]
fn a_failed_operation_halts_and_what_recovery_shows_a_later_power_cut_keeps() {
    let family = Family { flavour: Flavour { rounds: 6, ..PLAIN }, ..families().remove(1) };
    let operations = Recorded::run(&family, 41, &FaultyDisk::new()).unwrap().moments.len() as u64;
    for failing in (0..operations).step_by(3) {
        let disk = FaultyDisk::new();
        disk.fail_at(failing);
        let mut possible = vec![View::default()];
        if let Ok((opened, witness)) = open_witnessed(&disk, &family.config) {
            let history = run((&opened, &witness), View::default(), &family.flavour, &mut Dice(41), 0).unwrap();
            possible = history.views[history.possible(u64::MAX)].to_vec();
            // A checkpoint may fail beside commits that are all acknowledged.
            let halts = witness.halts();
            assert!(halts == 1 || (halts == 0 && history.is_acknowledged()), "halted {halts} times, failing {failing}");
        }
        disk.fail_at(u64::MAX);
        let read = || View::read(&open_with(&disk, family.config.clone()).unwrap()).unwrap();
        let shown = read();
        let is_shown = |view: &View| view.difference(&shown, MayGo::Nothing).is_none();
        assert!(
            possible.iter().any(is_shown),
            "failing {failing}: {:?}",
            possible[0].difference(&shown, MayGo::Nothing)
        );
        disk.crash(41 ^ failing);
        assert!(shown == read(), "failing {failing}");
    }
}

#[test]
fn a_killed_process_loses_nothing_with_either_durability() {
    for durability in [Durability::Fsync, Durability::Os] {
        let (disk, config) = (FaultyDisk::new(), Config { durability, ..crash_config() });
        let (mut view, mut dice) = (View::default(), Dice(5));
        for life in 0..6 {
            let (opened, witness) = open_witnessed(&disk, &config).unwrap();
            assert_eq!(view.difference(&View::read(&opened).unwrap(), MayGo::Nothing), None);
            view = run((&opened, &witness), view, &PLAIN, &mut dice, life * 1000).unwrap().last().clone();
        }
    }
}

/// Found by the crash points: a killed process leaves its last commits in the page cache, and a recovery that removes a topic's folder for
/// one of them must not be the only one to know of it.
#[test]
fn a_deletion_is_durable_before_a_recovery_removes_anything_for_it() {
    let (disk, a) = (FaultyDisk::new(), partition("a", 0));
    let opened = open_with(&disk, crash_config()).unwrap();
    opened.append(&a, &["kept or deleted, never damaged"]).unwrap();
    opened.log.close().unwrap();
    let opened = open_with(&disk, crash_config()).unwrap();
    disk.keep_moments();
    opened.alter(TopicChange::Delete(topic("a"))).unwrap();
    opened.append(&a, &[&noise(1, 600)]).unwrap();
    for moment in disk.take_moments() {
        let killed = moment.killed();
        killed.keep_moments();
        drop(open_with(&killed, crash_config()).unwrap());
        for (seed, second) in (0..).zip(killed.take_moments()) {
            let opened = open_with(&second.crashed(seed), crash_config());
            assert!(opened.is_ok(), "killed at {moment}, then cut at {second}: {:?}", opened.err());
        }
    }
}
