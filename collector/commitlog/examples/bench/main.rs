//! The engine against its bounds, in process: `bench/log CASE [--dir D]`. One line a case: figure, bound, ratio, goal.
//!
//! `ingest`: ready 1 MiB batches, durable, against a bare loop of `write` + `fdatasync`. `partitions`: acknowledgements with 1,000 partitions
//! active and checkpoints under way. `open`: 10,000 partitions. `restart`: 10 GiB, killed just before a checkpoint.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "its output is its result, and a failure ends it")]

mod ingest;
mod log;
mod partitions;
mod restart;

use std::path::{Path, PathBuf};

fn main() {
    let mut args = std::env::args().skip(1);
    let case = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let option = |name: &str| rest.iter().skip_while(|arg| *arg != name).nth(1).cloned();
    let dir = PathBuf::from(option("--dir").unwrap_or_else(|| "bench/work".to_owned()));
    let number = |name: &str, default: u64| option(name).map_or(default, |text| text.parse().unwrap());
    match case.as_str() {
        "ingest" => ingest::run(&fresh(&dir), number("--mib", 512), number("--rounds", 3)),
        "partitions" => partitions::run(&fresh(&dir), number("--seconds", 60)),
        "open" => restart::many(&fresh(&dir)),
        "restart" => restart::large(&fresh(&dir), number("--gib", 10), number("--checkpoint-mib", 0)),
        // A child of `restart`: fills the log and waits to be killed.
        "fill" => restart::fill(&dir, number("--gib", 10), number("--checkpoint-mib", 0)),
        _ => {
            println!("usage: bench/log ingest|partitions|open|restart [--dir D]");
            std::process::exit(64);
        }
    }
    let _nothing_may_be_there = std::fs::remove_dir_all(dir.join("log-bench"));
}

/// Empties the folder that a case works in.
fn fresh(dir: &Path) -> PathBuf {
    let folder = dir.join("log-bench");
    let _nothing_may_be_there = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
