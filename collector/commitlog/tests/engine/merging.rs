//! Small batches of cold segments become large ones: the same records at the same offsets, readable all the while.

use skidway_commitlog::Config;
use skidway_disk::{Disk, FaultyDisk, Open};

use crate::*;

const LINES: usize = 400;

fn merging() -> Config {
    Config { merge_after_ms: Some(0), retention_interval: Duration::from_millis(1), recent_bytes_max: 0, ..config() }
}

fn log_bytes(disk: &FaultyDisk) -> u64 {
    let entries = disk.list(&data("topics/a-0")).unwrap();
    let logs = entries.iter().filter(|entry| entry.name.ends_with(".log") && !entry.name.contains("merged"));
    let len = |name: &str| disk.open(&data("topics/a-0").join(name), Open::Existing).unwrap().len().unwrap();
    logs.map(|entry| len(&entry.name)).sum()
}

/// Appends a line a batch, and reads all of it now and then, until merging has made the log a third as large.
fn merged(disk: &FaultyDisk) -> (Opened, Vec<String>) {
    let unmerged = Config { merge_after_ms: None, ..merging() };
    let opened = open_with(disk, unmerged).unwrap();
    let lines: Vec<String> = (0..LINES).map(|n| format!("{n} GET /index.html 200 from the same old browser")).collect();
    for line in &lines {
        opened.append(&partition("a", 0), &[line]).unwrap();
    }
    opened.log.close().unwrap();
    let before = log_bytes(disk);
    let opened = open_with(disk, merging()).unwrap();
    let mut reads = 0;
    while log_bytes(disk) > before / 3 {
        assert_eq!(opened.lines(&partition("a", 0)), lines, "read {reads}");
        opened.session("web").unwrap();
        reads += 1;
        assert!(reads < 1_000_000, "it is never merged");
    }
    (opened, lines)
}

#[test]
fn merged_segments_hold_the_same_records_at_the_same_offsets() {
    let disk = FaultyDisk::new();
    let (opened, lines) = merged(&disk);
    let a = partition("a", 0);
    for at in [0, 1, 57, 200, LINES as u64 - 1] {
        let fetched = opened.log.fetch(&a, Offset(at), 1).unwrap();
        let first = &fetched.batches[0];
        assert!(first.base_offset().0 <= at && at < first.next_offset().0, "{at}");
    }
    assert_eq!(opened.log.offset_at(&a, 1_000).unwrap(), Some(Offset(0)));
    opened.append(&a, &["after"]).unwrap();
    drop(opened);
    disk.crash(3);
    let opened = open_with(&disk, config()).unwrap();
    let expected: Vec<String> = lines.into_iter().chain(["after".to_owned()]).collect();
    assert_eq!(opened.lines(&a), expected);
    opened.log.close().unwrap();
    let names: Vec<_> = disk.list(&data("topics/a-0")).unwrap().into_iter().map(|entry| entry.name).collect();
    assert!(names.iter().all(|name| !name.contains("merged")), "{names:?}");
}

#[test]
fn a_topic_deleted_while_it_is_merged_leaves_nothing_behind() {
    let disk = FaultyDisk::new();
    let opened = open_with(&disk, merging()).unwrap();
    let a = partition("a", 0);
    for round in 0..20 {
        for n in 0..150 {
            opened.append(&a, &[&format!("{round} {n} the same words again and again")]).unwrap();
        }
        opened.alter(TopicChange::Delete(topic("a"))).unwrap();
    }
    opened.append(&a, &["last"]).unwrap();
    opened.log.close().unwrap();
    let opened = open_with(&disk, merging()).unwrap();
    assert_eq!(opened.lines(&a), ["last"]);
    assert_eq!(disk.list(&data("topics")).unwrap().len(), 1);
    assert!(opened.heard.halted.lock().unwrap().is_empty());
}
