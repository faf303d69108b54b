//! Durable ingest of ready 1 MiB batches, against writing the same bytes to one file with an `fdatasync` after each.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use crate::log::{Sender, batch, config, create, open, place};

/// Commits under way at once.
const IN_FLIGHT: usize = 16;

/// Measures both in turn.
pub(crate) fn run(dir: &Path, mib: u64, rounds: u64) {
    let batches: Vec<_> = (0..16).map(|seed| batch((1 << 20) - 200, seed)).collect();
    let (mut ratios, mut best) = (Vec::new(), (0.0, 0.0));
    for round in 0..rounds {
        let bare = bare(dir, &batches, mib);
        let folder = dir.join(format!("round-{round}"));
        let log = open(config(&folder, 0));
        create(&log, "t", 4);
        // The first batch of a partition makes its folder.
        let mut sender = Sender::new(&log, IN_FLIGHT);
        (0..4).for_each(|partition| sender.send(&place("t", partition), &batches[0]));
        sender.finish();
        let started = Instant::now();
        let mut sender = Sender::new(&log, IN_FLIGHT);
        for number in 0..mib {
            sender.send(&place("t", (number % 4) as u32), &batches[number as usize % batches.len()]);
        }
        sender.finish();
        let engine = mib as f64 * 1.048_576 / started.elapsed().as_secs_f64();
        log.close().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        println!("round {round}: bare {bare:.0} MB/s, engine {engine:.0} MB/s, {:.0} %", 100.0 * engine / bare);
        ratios.push(engine / bare);
        best = (engine, bare);
    }
    ratios.sort_by(f64::total_cmp);
    let ratio = 100.0 * ratios[ratios.len() / 2];
    println!(
        "ingest: 1 MiB batches, fsync: {:.0} MB/s, bare write + fdatasync {:.0} MB/s (last round); median {ratio:.0} % (goal 60 %)",
        best.0, best.1
    );
}

fn bare(dir: &Path, batches: &[skidway_record::Batch], mib: u64) -> f64 {
    let path = dir.join("bare");
    let mut file = File::create(&path).unwrap();
    let started = Instant::now();
    for number in 0..mib {
        file.write_all(batches[number as usize % batches.len()].bytes()).unwrap();
        file.sync_data().unwrap();
    }
    let speed = mib as f64 * 1.048_576 / started.elapsed().as_secs_f64();
    std::fs::remove_file(&path).unwrap();
    speed
}
