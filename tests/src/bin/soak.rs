//! `soak [log|agent] [--minutes N] [--seed S]`: the kill test, round after round, the log soak, or the mixer. See bench/soak.

#![expect(clippy::print_stdout, reason = "its output is its result")]

use std::time::{Duration, Instant};

use skidway_tests::arguments::number;
use skidway_tests::kill::{self, Plan};
use skidway_tests::{mixer, soak};

fn main() {
    let seed = number("--seed", rand::random::<u64>() >> 1);
    match std::env::args().nth(1).as_deref() {
        Some("log") => log(seed),
        Some("agent") => mix(seed),
        _ => kills(seed),
    }
}

/// Mixes all that can happen to files and programs for half an hour, or as long as asked.
fn mix(seed: u64) {
    let minutes: f64 = number("--minutes", 30.0);
    println!("seed {seed}");
    println!("{}", mixer::rounds(seed, Duration::from_secs_f64(60.0 * minutes), |line| println!("{line}")));
}

/// Lets the log soak run for an hour, or as long as asked.
fn log(seed: u64) {
    let length = Duration::from_secs(60 * number("--minutes", 60));
    println!("seed {seed}");
    let summary = soak::run(length, seed, |line| println!("{line}"));
    println!("{} s: {summary}\n0 lost, 0 doubled, 0 reordered", length.as_secs());
}

/// Kills agents and collectors for half an hour, or as long as asked.
fn kills(first_seed: u64) {
    let minutes: u64 = number("--minutes", 30);
    let started = Instant::now();
    let (mut rounds, mut kills, mut met, mut lines) = (0, 0, 0, 0);
    while rounds == 0 || started.elapsed() < Duration::from_secs(60 * minutes) {
        let seed = first_seed + rounds;
        let outcome = kill::run(&Plan { seed, kills_each: 10, pause_max: Duration::from_secs(2) });
        (rounds, kills, met) = (rounds + 1, kills + outcome.kills, met + outcome.kills_with_unacknowledged);
        lines += outcome.report.lines;
        let mb_per_second = outcome.bytes_per_second / 1e6;
        println!(
            "round {rounds}: seed {seed}, {} kills, {} with unacknowledged bytes, {mb_per_second:.1} MB/s, {} lines",
            outcome.kills, outcome.kills_with_unacknowledged, outcome.report.lines
        );
        assert!(outcome.report.is_perfect(), "seed {seed}: {:#?}", outcome.report);
    }
    println!(
        "{rounds} rounds in {} s: {kills} kills, {met} with unacknowledged bytes, {lines} lines: 0 lost, 0 doubled, order kept",
        started.elapsed().as_secs()
    );
}
