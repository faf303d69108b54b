//! No record is missing in the files and none is in two, whatever happens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use skidway_tests::{Client, Collector, Site, scale, sink, wait};

use super::{archive, each_once, produce};

#[test]
fn every_line_of_sixteen_real_logs_is_in_one_file_in_its_order() {
    let site = Site::new();
    let data = real_logs();
    let keys = "columns = [\"path\", \"offset\", \"value\"]\nroll = { bytes = \"64KiB\", idle = \"1s\" }";
    let collector = site.collector().with(&archive(&site, keys)).started();
    let agent = site.agent("a", &collector.url()).follows(&format!("{}/*.log", data.display()), "app");
    let _agent = agent.started();
    sink::wait_for(&collector.client(), "archive", 32_000);
    every_line_of_its_file(sink::all_objects(&site.path("out")));
}

/// Gives the folder of sixteen real logs.
pub(super) fn real_logs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/data").canonicalize().unwrap()
}

/// Gives a log's lines as an agent ships them.
pub(super) fn log_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    text.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// Checks that rows with `path`, `offset` and `value` are the lines of sixteen real logs, each once and in its order.
#[track_caller]
pub(super) fn every_line_of_its_file(rows: Vec<Value>) {
    let mut found: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
    for row in rows {
        let Some(value) = row["value"].as_str() else { continue };
        let line = (row["offset"].as_u64().unwrap(), value.to_owned());
        found.entry(row["path"].as_str().unwrap().to_owned()).or_default().push(line);
    }
    assert_eq!(found.len(), 16);
    for (path, mut lines) in found {
        lines.sort();
        let bytes = std::fs::read(&path).unwrap();
        // Lines that are not UTF-8 are shown as base64, elsewhere.
        let expected: Vec<&str> = log_lines(&bytes).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let lines: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
        assert_eq!(lines.len(), expected.len(), "{path}");
        assert!(lines == expected, "{path}: lines differ");
    }
}

/// Produces until told how many is enough, over restarts of the collector; each request is sent again until it is answered.
pub(super) fn keep_producing(client: &Client, produced: &AtomicU64, enough: u64, line: impl Fn(u64) -> String) {
    let mut seq = 0;
    while produced.load(Ordering::SeqCst) < enough {
        let from = produced.load(Ordering::SeqCst);
        let to = (from + 50).min(enough);
        let lines: String = (from..to).map(|number| line(number) + "\n").collect();
        let headers = [
            ("Content-Type", "text/plain"),
            ("Producer-Id", "p"),
            ("Producer-Epoch", "1"),
            ("Producer-Seq", &seq.to_string()),
        ];
        let answer = client.try_post("/v1/topics/app/records", &headers, lines);
        if answer.is_some_and(|answer| answer.status == 200) {
            seq += to - from;
            produced.store(to, Ordering::SeqCst);
        } else {
            wait::pause(Duration::from_millis(20));
        }
    }
}

/// Kills the collector so often while lines come, each time at a random moment within so many ms; gives how many lines there are in the end.
pub(super) fn kill_often(
    collector: &mut Collector,
    (seed, kills, within_ms): (u64, u64, u64),
    line: impl Fn(u64) -> String + Sync,
) -> u64 {
    let enough = kills * 1500;
    let mut random = StdRng::seed_from_u64(seed);
    let (client, produced) = (collector.client(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| keep_producing(&client, &produced, enough, &line));
        for kill in 0..kills {
            // Each time a little further on, at a moment of its own.
            wait::until("lines come", || (produced.load(Ordering::SeqCst) >= kill * 1400).then_some(()));
            wait::pause(Duration::from_millis(random.random_range(0..within_ms)));
            collector.program().kill9();
            collector.start();
        }
    });
    enough
}

/// Kills the collector so often while 4 partitions come into small files, and checks that each line is in them once. Tells what it did.
fn kill_and_count(keys: &str, kills: u64, seed: u64) -> String {
    let site = Site::new();
    let keys = format!("{keys}format = \"raw\"\npath = \"{{topic}}/%H%M\"\nroll = {{ records = 100, idle = \"1s\" }}");
    let engine = "[engine]\ncheckpoint_bytes = \"1MiB\"\nsegment_bytes = \"1MiB\"";
    let mut collector = site.collector().with(engine).with(&archive(&site, &keys)).started();
    let enough = kill_often(&mut collector, (seed, kills, 60), |number| format!("line {number}"));
    let client = collector.client();
    sink::wait_for(&client, "archive", enough);
    each_once(sink::all_rows(&site.path("out")), enough);
    assert_eq!(collector.program().stop(), Some(0));
    assert_eq!(sink::files(&site.path("out")), sink::published(&site.path("out")), "nothing is left in the spool");
    format!("{kills} kills, {enough} lines in {} files", sink::published(&site.path("out")).len())
}

#[test]
fn killing_the_collector_while_files_roll_loses_and_doubles_nothing() {
    let seed = scale::seed();
    eprintln!("seed {seed}");
    eprintln!("{}", kill_and_count("", scale::amount(200, 20), seed));
}

#[test]
fn killing_the_collector_while_partitions_are_merged_loses_and_doubles_nothing() {
    let seed = scale::seed();
    eprintln!("seed {seed}");
    let keys = "merge_partitions = true\ncompression = \"zstd\"\n";
    eprintln!("{}", kill_and_count(keys, scale::amount(200, 10), seed));
}

#[test]
fn a_topic_of_the_same_name_gets_files_of_its_own() {
    let site = Site::new();
    let keys = "format = \"raw\"\npath = \"\"\nroll = { idle = \"1s\" }";
    let collector = site.collector().with("[topics]\npartitions = 1").with(&archive(&site, keys)).started();
    let client = collector.client();
    produce(&client, "app", 0..5);
    sink::wait_for(&client, "archive", 5);
    assert_eq!(client.delete("/v1/topics/app").status, 204);
    produce(&client, "app", 5..10);
    wait::until("the second topic's files are there", || (sink::all_rows(&site.path("out")).len() == 10).then_some(()));
    each_once(sink::all_rows(&site.path("out")), 10);
    assert_eq!(sink::published(&site.path("out")).len(), 2);
}
