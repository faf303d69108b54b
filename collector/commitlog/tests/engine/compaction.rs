//! Compaction by key through the public door: what is gone, what stays, what readers and restarts see of it.

use skidway_commitlog::commit::{Cleanup, TopicSettings};
use skidway_commitlog::{Config, Pins};
use skidway_disk::{FaultyDisk, Open};
use skidway_record::Record;

use crate::*;

const KEYS: usize = 40;

fn compacting() -> Config {
    let mut config = Config {
        compaction_interval: Duration::from_millis(1),
        compaction_bytes_min: 1,
        recent_bytes_max: 0,
        retention_interval: Duration::from_millis(1),
        ..config()
    };
    config.topics.default.partitions = 1;
    config.topics.default.cleanup = Cleanup::Compact;
    config
}

/// Appends a record; no value is a tombstone.
fn put(opened: &Opened, key: Option<&str>, value: Option<&str>) {
    let mut builder = BatchBuilder::new();
    builder.push(1_000, key.map(str::as_bytes), value.map(str::as_bytes), &EncodedHeaders::none());
    let batch = builder.finish(&mut Compressor::new(1).unwrap()).unwrap();
    let batches = vec![(Target::Partition(partition("a", 0)), batch)];
    opened.commit(Commit { batches, ..Commit::default() }).unwrap();
}

/// Reads all records with their offsets; batches must cover all offsets.
fn records(opened: &Opened) -> Vec<(u64, Option<String>, Option<String>)> {
    let (a, mut records) = (partition("a", 0), Vec::new());
    let offsets = opened.log.offsets(&a).unwrap();
    let mut at = offsets.log_start;
    while at < offsets.high_watermark {
        for batch in opened.log.fetch(&a, at, 3_000).unwrap().batches {
            assert!(batch.base_offset() <= at && at < batch.next_offset());
            batch.verify().unwrap();
            let decoded = batch.decode().unwrap();
            let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
            let of = |record: Record<'_>| (decoded.offset_of(&record).0, text(record.key), text(record.value));
            records.extend(decoded.records().map(|record| of(record.unwrap())).filter(|(offset, ..)| *offset >= at.0));
            at = batch.next_offset();
        }
    }
    records
}

/// Overwrites keys again and again; gives the last value of each.
fn overwrite(opened: &Opened, rounds: usize) -> Vec<(String, String)> {
    for round in 0..rounds {
        for key in 0..KEYS {
            put(
                opened,
                Some(&format!("k{key}")),
                Some(&format!("{round} {}", noise((round * KEYS + key) as u64, 100))),
            );
        }
    }
    let last = |key| (format!("k{key}"), format!("{} {}", rounds - 1, noise(((rounds - 1) * KEYS + key) as u64, 100)));
    (0..KEYS).map(last).collect()
}

fn last_values(records: &[(u64, Option<String>, Option<String>)]) -> Vec<(String, String)> {
    let mut last = std::collections::BTreeMap::new();
    for (offset, key, value) in records {
        if let (Some(key), Some(value)) = (key, value) {
            last.insert(key[1..].parse::<usize>().unwrap(), (*offset, key.clone(), value.clone()));
        }
    }
    last.into_values().map(|(_, key, value)| (key, value)).collect()
}

/// Asks until it is so; every look reads all of it, while it is being compacted.
fn await_that(opened: &Opened, is_so: impl Fn(&[(u64, Option<String>, Option<String>)]) -> bool) {
    for _ in 0..100_000 {
        if is_so(&records(opened)) {
            return;
        }
        opened.agents().unwrap();
    }
    panic!("it never becomes so: {:?}", records(opened));
}

#[test]
fn a_compacted_topic_shrinks_to_its_last_values_while_it_is_read() {
    let disk = FaultyDisk::new();
    let opened = open_with(&disk, compacting()).unwrap();
    put(&opened, None, Some("without a key"));
    let last = overwrite(&opened, 20);
    let before = opened.log.offsets(&partition("a", 0)).unwrap();
    await_that(&opened, |records| records.len() < 3 * KEYS);
    assert_eq!(last_values(&records(&opened)), last);
    let after = opened.log.offsets(&partition("a", 0)).unwrap();
    assert_eq!((after.log_start, after.high_watermark), (before.log_start, before.high_watermark));
    assert_eq!(records(&opened)[0].2.as_deref(), Some("without a key"));
    assert_eq!(opened.log.offset_at(&partition("a", 0), 1_000).unwrap(), Some(Offset(0)));
    drop(opened);
    disk.crash(3);
    let opened = open_with(&disk, compacting()).unwrap();
    assert_eq!(last_values(&records(&opened)), last);
    assert!(opened.heard.halted.lock().unwrap().is_empty() && opened.heard.damaged.lock().unwrap().is_empty());
    opened.log.close().unwrap();
    let names: Vec<_> = disk.list(&data("topics/a-0")).unwrap().into_iter().map(|entry| entry.name).collect();
    assert!(names.iter().all(|name| !name.contains("merged")), "{names:?}");
    let config = compacting();
    let mut findings = Vec::new();
    let disk: Arc<dyn Disk> = Arc::new(disk);
    skidway_commitlog::inspect::verify(&config, &disk, &mut |finding| findings.push(finding)).unwrap();
    assert_eq!(findings, []);
}

#[test]
fn a_tombstone_goes_once_its_time_is_over() {
    let mut config = compacting();
    config.topics.default.tombstone_retention_ms = 0;
    let opened = open_with(&FaultyDisk::new(), config).unwrap();
    put(&opened, Some("k1000"), Some("to be deleted"));
    put(&opened, Some("k1000"), None);
    let mut last = Vec::new();
    for _ in 0..4 {
        last = overwrite(&opened, 10);
        await_that(&opened, |records| records.len() < 3 * KEYS + 1);
    }
    await_that(&opened, |records| records.iter().all(|(_, key, _)| key.as_deref() != Some("k1000")));
    assert_eq!(last_values(&records(&opened)), last);
}

#[test]
fn nothing_that_is_pinned_is_compacted_away() {
    let pins = Arc::new(Pins::new(false, u64::MAX));
    let opened = open_with(&FaultyDisk::new(), Config { pins: pins.clone(), ..compacting() }).unwrap();
    let a = opened.alter(TopicChange::Ensure(topic("a"))).unwrap().topic.unwrap();
    pins.pin("sink", (a.id, 0), 10 * KEYS as u64);
    let last = overwrite(&opened, 20);
    await_that(&opened, |records| records.len() < 14 * KEYS);
    let found = records(&opened);
    let pinned = found.iter().filter(|(offset, ..)| *offset >= 10 * KEYS as u64).count();
    assert_eq!((pinned, last_values(&found)), (10 * KEYS, last.clone()));
    pins.unpin("sink", (a.id, 0));
    await_that(&opened, |records| records.len() < 3 * KEYS);
    assert_eq!(last_values(&records(&opened)), last);
}

#[test]
fn retention_applies_to_what_is_compacted_only_if_it_is_to_delete() {
    let mut config = compacting();
    config.topics.default.retention_bytes = Some(1);
    let opened = open_with(&FaultyDisk::new(), config).unwrap();
    let last = overwrite(&opened, 10);
    await_that(&opened, |records| records.len() < 3 * KEYS);
    assert_eq!(last_values(&records(&opened)), last);
    let both = TopicSettings { cleanup: Some(Cleanup::CompactDelete), ..TopicSettings::default() };
    opened.alter(TopicChange::Put(topic("a"), both)).unwrap();
    for _ in 0..100_000 {
        if opened.log.offsets(&partition("a", 0)).unwrap().log_start > Offset(0) {
            return;
        }
        opened.agents().unwrap();
    }
    panic!("retention never applies");
}

#[test]
fn a_full_disk_merely_delays_it() {
    let disk = FaultyDisk::new();
    let opened = open_with(&disk, Config { compaction_interval: Duration::from_secs(3_600), ..compacting() }).unwrap();
    let last = overwrite(&opened, 10);
    opened.log.close().unwrap();
    let len = |path: &std::path::PathBuf| disk.open(path, Open::Existing).unwrap().len().unwrap();
    let used: u64 = disk.files().iter().map(len).sum();
    disk.set_capacity(used + (100 << 10));
    let opened = open_with(&disk, compacting()).unwrap();
    for _ in 0..200 {
        opened.agents().unwrap();
    }
    assert_eq!(records(&opened).len(), 10 * KEYS);
    disk.set_capacity(u64::MAX);
    await_that(&opened, |records| records.len() < 3 * KEYS);
    assert_eq!(last_values(&records(&opened)), last);
}

fn bytes_of(disk: &FaultyDisk, name: &str) -> Vec<u8> {
    let file = disk.open(&data(name), Open::Existing).unwrap();
    let mut raw = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut raw, 0).unwrap();
    raw
}

/// Lists the log files of the partition.
fn logs(disk: &FaultyDisk) -> Vec<String> {
    let names = disk.list(&data("topics/a-0")).unwrap().into_iter().map(|entry| entry.name);
    let mut logs: Vec<_> =
        names.filter(|name| name.ends_with(".log")).map(|name| format!("topics/a-0/{name}")).collect();
    logs.sort();
    logs
}

/// Overwrites keys, and closes before any of it is compacted.
fn overwritten(disk: &FaultyDisk) -> Vec<(String, String)> {
    let opened = open_with(disk, Config { compaction_interval: Duration::from_secs(3_600), ..compacting() }).unwrap();
    let last = overwrite(&opened, 10);
    opened.log.close().unwrap();
    last
}

#[test]
fn a_rebuild_leaves_out_what_compaction_had_joined() {
    let disk = FaultyDisk::new();
    let last = overwritten(&disk);
    let old: Vec<_> = logs(&disk).into_iter().map(|name| (bytes_of(&disk, &name), name)).collect();
    let opened = open_with(&disk, Config { segment_bytes: 64 << 10, ..compacting() }).unwrap();
    await_that(&opened, |records| records.len() < 3 * KEYS);
    opened.log.close().unwrap();
    let left = logs(&disk);
    let gone: Vec<_> = old.iter().filter(|(_, name)| !left.contains(name)).collect();
    assert!(gone.len() > 1, "{left:?}");
    for (bytes, name) in gone {
        disk.open(&data(name), Open::OrCreate).unwrap().write_at(bytes, 0).unwrap();
    }
    disk.remove(&data("checkpoint")).unwrap();
    let dyn_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    skidway_commitlog::inspect::repair(&compacting(), &dyn_disk, true).unwrap();
    let opened = open_with(&disk, compacting()).unwrap();
    assert_eq!(last_values(&records(&opened)), last);
}

#[test]
fn damage_holds_compaction_up_and_nothing_else() {
    let disk = FaultyDisk::new();
    overwritten(&disk);
    disk.flip_bit(&data(&logs(&disk)[0]), 500).unwrap();
    let opened = open_with(&disk, compacting()).unwrap();
    let failed = || *opened.heard.failed_compactions.lock().unwrap();
    for _ in 0..100_000 {
        if failed() > 0 {
            break;
        }
        opened.agents().unwrap();
    }
    assert_eq!(failed(), 1, "it is tried, and not again at once");
    put(&opened, Some("k1"), Some("more"));
    assert!(opened.log.fetch(&partition("a", 0), Offset(300), 1).is_ok());
    assert!(opened.heard.halted.lock().unwrap().is_empty());
    assert!(logs(&disk).iter().all(|name| !name.contains("merged")));
}
