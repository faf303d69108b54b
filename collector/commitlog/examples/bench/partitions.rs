//! 1,000 partitions active at 20,000 records a second: how long until a record is acknowledged, with checkpoints under way?

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use skidway_commitlog::commit::{Commit, Target};

use crate::log::{Sender, batch, config, create, open, place};

const PARTITIONS: u32 = 1000;
const RECORDS_PER_SECOND: u64 = 20_000;

/// Small enough for several checkpoints in a minute.
const CHECKPOINT_MIB: u64 = 64;

/// Bytes of a record.
const RECORD_BYTES: usize = 140;

/// Runs for so long.
pub(crate) fn run(dir: &Path, seconds: u64) {
    let log = open(config(dir, CHECKPOINT_MIB));
    create(&log, "t", PARTITIONS);
    let places: Vec<_> = (0..PARTITIONS).map(|partition| place("t", partition)).collect();
    let record = batch(RECORD_BYTES, 1);
    let mut warm = Sender::new(&log, 1000);
    places.iter().for_each(|place| warm.send(place, &record));
    warm.finish();
    let total = RECORDS_PER_SECOND * seconds;
    let (answered, answers) = sync_channel::<Duration>(total as usize);
    let first = newest_journal(dir);
    let started = Instant::now();
    for number in 0..total {
        let due = Duration::from_nanos(number * 1_000_000_000 / RECORDS_PER_SECOND);
        while let Some(left) = due.checked_sub(started.elapsed()).filter(|left| *left > Duration::from_micros(200)) {
            std::thread::park_timeout(left);
        }
        let place = places[number as usize % places.len()].clone();
        let (answered, sent) = (answered.clone(), Instant::now());
        let batches = vec![(Target::Partition(place), record.clone())];
        log.commit(Commit { batches, ..Commit::default() }, move |answer| {
            answer.unwrap();
            answered.send(sent.elapsed()).unwrap();
        });
    }
    drop(answered);
    let mut took: Vec<Duration> = answers.iter().collect();
    let (checkpoints, elapsed) = (newest_journal(dir) - first, started.elapsed());
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "partitions: {} records in {:.1} s over {PARTITIONS} partitions, fsync, {checkpoints} checkpoints: ack p50 {:.2} ms, p99 {:.2} ms, \
         p99.9 {:.2} ms, max {:.1} ms (goal p99 20 ms, 3 checkpoints)",
        took.len(),
        elapsed.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    log.close().unwrap();
}

/// Gives the number of the newest journal file: each checkpoint begins one.
fn newest_journal(dir: &Path) -> u64 {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(".journal")?.parse().ok()).max().unwrap()
}
