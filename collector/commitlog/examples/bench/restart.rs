//! How long a start takes: of many partitions, and of a large log that was killed just before a checkpoint.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::log::{Sender, batch, config, create, open, place};

/// Part of the checkpoint limit that is left to be replayed.
const UNREPLAYED: f64 = 0.93;

const PARTITIONS: u32 = 1000;

/// Opens a log of 10 topics with 1,000 partitions each.
pub(crate) fn many(dir: &Path) {
    let log = open(config(dir, 0));
    let record = batch(200, 1);
    for topic in 0..10 {
        let name = format!("t{topic}");
        create(&log, &name, PARTITIONS);
        let mut sender = Sender::new(&log, 1000);
        (0..PARTITIONS).for_each(|partition| sender.send(&place(&name, partition), &record));
        sender.finish();
    }
    log.close().unwrap();
    let started = Instant::now();
    let log = open(config(dir, 0));
    let took = started.elapsed().as_secs_f64();
    println!(
        "open: 10,000 partitions in {took:.2} s, peak memory of the whole case {} MiB (goal 5 s, 200 MiB)",
        peak_bytes() >> 20
    );
    log.close().unwrap();
}

/// Fills a log in a child process, kills that, and opens it.
pub(crate) fn large(dir: &Path, gib: u64, checkpoint_mib: u64) {
    let program = std::env::current_exe().unwrap();
    let args = ["fill", "--dir", &dir.display().to_string(), "--gib", &gib.to_string(), "--checkpoint-mib"];
    let mut child =
        Command::new(program).args(args).arg(checkpoint_mib.to_string()).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let started = Instant::now();
    let log = open(config(dir, checkpoint_mib));
    println!(
        "restart: {gib} GiB in {PARTITIONS} partitions, {} to replay, after kill -9: open in {:.2} s (goal 2 s)",
        ready.trim(),
        started.elapsed().as_secs_f64()
    );
    log.close().unwrap();
}

/// Fills the log, then leaves as much behind the last checkpoint as it may, half of it in small batches; says so, and waits to be killed.
pub(crate) fn fill(dir: &Path, gib: u64, checkpoint_mib: u64) {
    let config = config(dir, checkpoint_mib);
    let limit = config.checkpoint_bytes;
    let log = open(config.clone());
    create(&log, "t", PARTITIONS);
    let large = batch(1 << 20, 1);
    let mut sender = Sender::new(&log, 32);
    for number in 0..gib << 10 {
        sender.send(&place("t", (number % u64::from(PARTITIONS)) as u32), &large);
    }
    sender.finish();
    log.close().unwrap();
    let log = open(config);
    let (direct, small) = (batch(100 << 10, 2), batch(1000, 3));
    let half = (limit as f64 * UNREPLAYED / 2.0) as u64;
    let mut sender = Sender::new(&log, 64);
    for number in 0..half / (100 << 10) {
        sender.send(&place("t", (number % u64::from(PARTITIONS)) as u32), &direct);
    }
    // A frame costs some bytes beside its batch.
    for number in 0..half / 1200 {
        sender.send(&place("t", (number % u64::from(PARTITIONS)) as u32), &small);
    }
    sender.finish();
    println!("{} MiB of a limit of {} MiB", (2 * half) >> 20, limit >> 20);
    std::io::stdout().flush().unwrap();
    loop {
        std::thread::park();
    }
}

/// Gives the process's peak memory.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    peak.unwrap_or_default() << 10
}
