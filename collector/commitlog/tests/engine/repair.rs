//! `verify` finds what is wrong and changes nothing; `repair` gives a log that opens, holds all the rest, and verifies clean.

use std::sync::Arc;

use skidway_commitlog::inspect::{self, Checked, Dump, Finding, Repaired};
use skidway_commitlog::{Config, Error};
use skidway_disk::{Disk, FaultyDisk, Open};
use skidway_record::TopicPartition;

use crate::*;

const SEGMENT: &str = "topics/a-0/00000000000000000000.log";

fn unbuffered() -> Config {
    Config { recent_bytes_max: 0, ..config() }
}

fn verify(disk: &FaultyDisk) -> (Checked, Vec<Finding>) {
    let (mut findings, disk): (Vec<Finding>, Arc<dyn Disk>) = (Vec::new(), Arc::new(disk.clone()));
    let checked = inspect::verify(&unbuffered(), &disk, &mut |finding| findings.push(finding)).unwrap();
    assert_eq!(checked.findings, findings.len() as u64);
    (checked, findings)
}

fn repair(disk: &FaultyDisk) -> Result<Repaired, Error> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    inspect::repair(&unbuffered(), &disk, false)
}

#[track_caller]
fn is_clean(disk: &FaultyDisk) {
    assert_eq!(verify(disk).1, []);
}

/// A log of one partition with a batch a line, closed.
fn written(lines: &[String]) -> (FaultyDisk, TopicPartition) {
    let disk = FaultyDisk::new();
    let opened = open_with(&disk, unbuffered()).unwrap();
    let a = partition("a", 0);
    for line in lines {
        opened.append(&a, &[line]).unwrap();
    }
    opened.log.close().unwrap();
    (disk, a)
}

fn some_lines() -> Vec<String> {
    (0..24).map(|n| noise(n, 300 + 50 * (n as usize % 5))).collect()
}

fn bytes_of(disk: &FaultyDisk, name: &str) -> Vec<u8> {
    let file = disk.open(&data(name), Open::Existing).unwrap();
    let mut raw = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut raw, 0).unwrap();
    raw
}

/// Reads lines with their offsets, whatever is missing between them.
fn kept(disk: &FaultyDisk, of: &TopicPartition) -> Vec<(u64, String)> {
    let opened = open_with(disk, unbuffered()).unwrap();
    let offsets = opened.log.offsets(of).unwrap();
    let (mut lines, mut at) = (Vec::new(), offsets.log_start);
    while at < offsets.high_watermark {
        let fetched = opened.log.fetch(of, at, 1000).unwrap();
        for batch in &fetched.batches {
            batch.verify().unwrap();
            lines.extend((batch.base_offset().0..).zip(values(batch)));
        }
        let Some(last) = fetched.batches.last() else { break };
        at = last.next_offset();
    }
    opened.log.close().unwrap();
    lines
}

fn numbered(lines: &[String]) -> Vec<(u64, String)> {
    (0..).zip(lines.iter().cloned()).collect()
}

#[test]
fn a_sound_log_verifies_clean_closed_or_killed_and_a_repair_changes_no_record() {
    let (disk, a) = written(&some_lines());
    let (checked, findings) = verify(&disk);
    assert_eq!((findings, checked.records), (Vec::new(), 24));
    let opened = open_with(&disk, unbuffered()).unwrap();
    assert!(matches!(inspect::verify(&unbuffered(), &dyn_disk(&disk), &mut |_| ()), Err(Error::InUse(_))));
    opened.append(&a, &["more"]).unwrap();
    drop(opened);
    let (checked, findings) = verify(&disk);
    assert_eq!((findings, checked.commits), (Vec::new(), 1));
    let repaired = repair(&disk).unwrap();
    assert_eq!((repaired.identity.epoch, repaired.losses.len(), repaired.aside), (1, 0, None));
    assert_eq!(kept(&disk, &a).len(), 25);
    is_clean(&disk);
}

fn dyn_disk(disk: &FaultyDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

#[test]
fn verify_finds_a_bit_flipped_in_any_byte_of_segment_index_and_checkpoint() {
    let (disk, _) = written(&some_lines());
    for kind in ["log", "index", "timeindex"] {
        let name = format!("topics/a-0/00000000000000000000.{kind}");
        for position in 0..bytes_of(&disk, &name).len() as u64 {
            disk.flip_bit(&data(&name), position).unwrap();
            assert_eq!(verify(&disk).1.len(), 1, "{kind} byte {position}");
            disk.flip_bit(&data(&name), position).unwrap();
        }
    }
    for position in 0..bytes_of(&disk, "checkpoint").len() as u64 {
        disk.flip_bit(&data("checkpoint"), position).unwrap();
        assert_eq!(verify(&disk).1.len(), 1, "checkpoint byte {position}");
        disk.flip_bit(&data("checkpoint"), position).unwrap();
    }
    is_clean(&disk);
}

#[test]
fn repair_takes_the_damaged_batch_out_and_nothing_else() {
    let lines = some_lines();
    let len = bytes_of(&written(&lines).0, SEGMENT).len() as u64;
    for position in (0..len).step_by(53) {
        let (disk, a) = written(&lines);
        disk.flip_bit(&data(SEGMENT), position).unwrap();
        let damaged = bytes_of(&disk, SEGMENT);
        let repaired = repair(&disk).unwrap();
        is_clean(&disk);
        let kept = kept(&disk, &a);
        match &repaired.losses[..] {
            [] => assert_eq!(kept, numbered(&lines), "byte {position}"),
            [loss] => {
                assert_eq!((loss.next.0 - loss.from.0, &loss.partition, &loss.file), (1, &a, &data(SEGMENT)));
                let rest: Vec<_> = numbered(&lines).into_iter().filter(|(offset, _)| *offset != loss.from.0).collect();
                assert_eq!(kept, rest, "byte {position}");
            }
            more => panic!("byte {position}: {more:?}"),
        }
        assert_eq!(bytes_of(&disk, &format!("damaged/0001/{SEGMENT}")), damaged, "the damaged file is kept");
        assert_eq!(repaired.identity.epoch, 1, "what is left is the same log");
    }
}

#[test]
fn what_the_neighbours_of_a_batch_tell_of_it_is_restored() {
    let lines: Vec<String> = (0..5).map(|n| format!("line {n}")).collect();
    let (disk, _) = written(&lines);
    let sound = bytes_of(&disk, SEGMENT);
    let batch_bytes = sound.len() as u64 / 5;
    for position in (0..5).flat_map(|batch| (0..17).map(move |byte| batch * batch_bytes + byte)) {
        disk.flip_bit(&data(SEGMENT), position).unwrap();
        assert_eq!(verify(&disk).1.len(), 1, "byte {position}");
        assert_eq!(repair(&disk).unwrap().losses, [], "byte {position}");
        assert_eq!(bytes_of(&disk, SEGMENT), sound, "byte {position}");
        is_clean(&disk);
    }
}

#[test]
fn a_repaired_partition_takes_more_and_tells_of_its_losses_until_they_were_told() {
    let lines = some_lines();
    let (disk, a) = written(&lines);
    let newest = disk.list(&data("topics/a-0")).unwrap().into_iter().map(|entry| entry.name);
    let newest = format!("topics/a-0/{}", newest.filter(|name| name.ends_with(".log")).max().unwrap());
    disk.flip_bit(&data(&newest), bytes_of(&disk, &newest).len() as u64 - 1).unwrap();
    assert_eq!(repair(&disk).unwrap().losses.len(), 1);
    let opened = open_with(&disk, unbuffered()).unwrap();
    assert_eq!(
        opened.append(&a, &["after"]).unwrap().appended[0].base_offset,
        Offset(24),
        "offsets are never given again"
    );
    drop(opened);
    let mut expected = numbered(&lines);
    (expected[23].0, expected[23].1) = (24, "after".to_owned());
    assert_eq!(kept(&disk, &a), expected);
    assert_eq!(repair(&disk).unwrap().losses.len(), 1, "nobody was told yet");
    inspect::told(&unbuffered(), &dyn_disk(&disk)).unwrap();
    assert_eq!(repair(&disk).unwrap().losses, []);
    is_clean(&disk);
}

#[test]
fn indexes_are_made_again_and_cost_nothing() {
    let lines = some_lines();
    for kind in ["index", "timeindex"] {
        let (disk, a) = written(&lines);
        let name = format!("topics/a-0/00000000000000000000.{kind}");
        let was = bytes_of(&disk, &name);
        disk.flip_bit(&data(&name), 3).unwrap();
        assert_eq!(repair(&disk).unwrap().losses, []);
        assert_eq!(bytes_of(&disk, &name), was);
        is_clean(&disk);
        assert_eq!(kept(&disk, &a), numbered(&lines));
    }
}

#[test]
fn files_that_are_short_or_gone_cost_what_was_in_them() {
    let lines = some_lines();
    let segments = |disk: &FaultyDisk| {
        let names = disk.list(&data("topics/a-0")).unwrap().into_iter().map(|entry| entry.name);
        let mut bases: Vec<u64> = names.filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
        bases.sort_unstable();
        bases
    };
    let second = segments(&written(&lines).0)[1];
    for (name, lost) in [
        (SEGMENT.to_owned(), 0..second),
        ("topics/a-0/partition.metadata".to_owned(), 0..0),
        ("topics/a-0".to_owned(), 0..24),
    ] {
        let (disk, a) = written(&lines);
        disk.remove(&data(&name)).unwrap();
        assert!(!verify(&disk).1.is_empty(), "{name}");
        let losses = repair(&disk).unwrap().losses;
        let offsets: Vec<u64> = losses.iter().flat_map(|loss| loss.from.0..loss.next.0).collect();
        assert_eq!(offsets, lost.clone().collect::<Vec<_>>(), "{name}");
        is_clean(&disk);
        let rest: Vec<_> = numbered(&lines).into_iter().filter(|(offset, _)| !lost.contains(offset)).collect();
        assert_eq!(kept(&disk, &a), rest, "{name}");
    }
    let (disk, a) = written(&lines);
    let file = disk.open(&data(SEGMENT), Open::Existing).unwrap();
    file.set_len(file.len().unwrap() - 10).unwrap();
    assert_eq!(verify(&disk).1.len(), 2);
    let losses = repair(&disk).unwrap().losses;
    assert_eq!((losses.len(), losses[0].from.0, losses[0].next.0), (1, second - 1, second));
    is_clean(&disk);
    assert_eq!(kept(&disk, &a).len(), 23);
}

#[test]
fn a_damaged_journal_is_cut_and_the_log_gets_another_epoch() {
    let disk = FaultyDisk::new();
    let opened = open_with(&disk, unbuffered()).unwrap();
    let a = partition("a", 0);
    for n in 0..20 {
        opened.append(&a, &[&format!("line {n}")]).unwrap();
    }
    drop(opened);
    let journal =
        disk.list(&data("")).unwrap().into_iter().find(|entry| entry.name.ends_with(".journal")).unwrap().name;
    disk.flip_bit(&data(&journal), 1000).unwrap();
    let (_, findings) = verify(&disk);
    assert_eq!((findings.len(), &findings[0].path), (1, &data(&journal)));
    let repaired = repair(&disk).unwrap();
    assert_eq!(repaired.identity.epoch, 2);
    let kept = kept(&disk, &a);
    assert!((1..20).contains(&kept.len()) && kept.iter().map(|(offset, _)| *offset).eq(0..kept.len() as u64));
    let [loss] = &repaired.losses[..] else { panic!("{:?}", repaired.losses) };
    assert_eq!((loss.from.0, loss.next.0), (kept.len() as u64, 20));
    assert!(disk.open(&data(&format!("damaged/0001/{journal}")), Open::Existing).is_ok());
    is_clean(&disk);
}

#[test]
fn a_damaged_header_of_a_journal_is_written_again_and_costs_nothing() {
    for position in 0..40 {
        let (disk, a) = written(&some_lines());
        let opened = open_with(&disk, unbuffered()).unwrap();
        opened.append(&a, &["in the journal alone"]).unwrap();
        drop(opened);
        let journal = newest_journal(&disk);
        disk.flip_bit(&data(&journal), position).unwrap();
        assert_eq!(verify(&disk).1.len(), 1, "byte {position}");
        let repaired = repair(&disk).unwrap();
        assert_eq!((repaired.identity.epoch, repaired.losses.len()), (1, 0), "byte {position}");
        is_clean(&disk);
        assert_eq!(kept(&disk, &a).len(), 25);
    }
}

#[test]
fn a_cut_of_the_journal_that_is_interrupted_tells_the_same_losses_in_the_end() {
    let damaged = || {
        let (disk, a) = written(&some_lines());
        let opened = open_with(&disk, Config { inline_batch_bytes_max: 500, ..unbuffered() }).unwrap();
        for n in 0..6 {
            opened.append(&a, &[&noise(90 + n, 100 + 200 * n as usize)]).unwrap();
        }
        drop(opened);
        disk.flip_bit(&data(&newest_journal(&disk)), 300).unwrap();
        (disk, a)
    };
    let (disk, _) = damaged();
    let before = disk.operations();
    let whole = repair(&disk).unwrap();
    let operations = disk.operations() - before;
    assert!(operations > 15 && !whole.losses.is_empty());
    for cut in 0..operations {
        let (disk, a) = damaged();
        disk.cut_power_at(disk.operations() + cut);
        repair(&disk).unwrap_err();
        disk.crash(cut);
        let repaired = repair(&disk).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        let ranges =
            |repaired: &Repaired| repaired.losses.iter().map(|loss| (loss.from, loss.next)).collect::<Vec<_>>();
        assert_eq!(ranges(&repaired), ranges(&whole), "cut at {cut}");
        assert_eq!(repaired.identity.epoch, 2, "cut at {cut}");
        is_clean(&disk);
        assert_eq!(kept(&disk, &a).len() as u64, whole.losses[0].from.0);
    }
}

fn newest_journal(disk: &FaultyDisk) -> String {
    let names = disk.list(&data("")).unwrap().into_iter().map(|entry| entry.name);
    names.filter(|name| name.ends_with(".journal")).max().unwrap()
}

#[test]
fn a_lost_checkpoint_is_rebuilt_only_if_duplicates_are_accepted() {
    for is_gone in [false, true] {
        let lines = some_lines();
        let (disk, a) = written(&lines);
        let was = open_with(&disk, unbuffered()).unwrap();
        let (identity, id) = (was.log.identity(), was.log.topic(&topic("a")).unwrap().id);
        was.log.close().unwrap();
        disk.flip_bit(&data(SEGMENT), 700).unwrap();
        disk.flip_bit(&data("checkpoint"), 40).unwrap();
        if is_gone {
            disk.remove(&data("checkpoint")).unwrap();
        }
        assert_eq!(verify(&disk).1.len(), 1);
        let Err(error @ Error::Corrupt { .. }) = repair(&disk) else { panic!("it has to be decided") };
        assert!(error.to_string().contains("--accept-duplicates"), "{error}");
        let repaired = inspect::repair(&unbuffered(), &dyn_disk(&disk), true).unwrap();
        assert!(repaired.identity.id != identity.id && repaired.identity.epoch > 1_000_000);
        assert_eq!(repaired.losses.len(), 1);
        is_clean(&disk);
        assert_eq!(kept(&disk, &a).len(), 23);
        let opened = open_with(&disk, unbuffered()).unwrap();
        assert_eq!(opened.log.topic(&topic("a")).unwrap().id, id);
        assert_eq!(opened.append(&a, &["after"]).unwrap().appended[0].base_offset, Offset(24));
    }
}

#[test]
fn a_repair_cut_short_anywhere_is_done_by_the_next_one() {
    let lines = some_lines();
    let damaged = || {
        let (disk, a) = written(&lines);
        disk.flip_bit(&data(SEGMENT), 700).unwrap();
        disk.remove(&data("topics/a-0/partition.metadata")).unwrap();
        (disk, a)
    };
    let (disk, _) = damaged();
    let before = disk.operations();
    let lost = repair(&disk).unwrap().losses[0].from.0;
    let operations = disk.operations() - before;
    let rest: Vec<_> = numbered(&lines).into_iter().filter(|(offset, _)| *offset != lost).collect();
    for cut in 0..operations {
        let (disk, a) = damaged();
        disk.cut_power_at(disk.operations() + cut);
        repair(&disk).unwrap_err();
        disk.crash(cut);
        let repaired = repair(&disk).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        assert!(!repaired.losses.is_empty(), "cut at {cut}");
        assert!(repaired.losses.iter().all(|loss| loss.from.0 == lost && loss.next.0 == lost + 1), "cut at {cut}");
        is_clean(&disk);
        assert_eq!(kept(&disk, &a), rest, "cut at {cut}");
    }
    assert!(operations > 20);
}

#[test]
fn what_a_power_cut_leaves_is_not_damage() {
    for cut in 0..80 {
        let disk = FaultyDisk::new();
        let merging = Config {
            merge_after_ms: Some(0),
            retention_interval: Duration::from_millis(1),
            checkpoint_bytes: 8 << 10,
            inline_batch_bytes_max: 1000,
            ..unbuffered()
        };
        let opened = open_with(&disk, merging).unwrap();
        disk.cut_power_at(disk.operations() + 7 * cut);
        let mut line = 0;
        while opened.append(&partition("a", 0), &[&noise(line, 200 + 90 * (line as usize % 11))]).is_ok() {
            line += 1;
        }
        drop(opened);
        disk.crash(cut);
        assert_eq!(verify(&disk).1, [], "cut at {cut}");
    }
}

#[test]
fn every_kind_of_file_can_be_shown() {
    let (disk, _) = written(&["one".to_owned(), "two".to_owned()]);
    let opened = open_with(&disk, unbuffered()).unwrap();
    opened.append(&partition("b", 0), &["three"]).unwrap();
    drop(opened);
    let journal =
        disk.list(&data("")).unwrap().into_iter().find(|entry| entry.name.ends_with(".journal")).unwrap().name;
    let shown = |name: &str, json| {
        let mut out = Vec::new();
        inspect::dump(&disk, &data(name), Dump { json, records: true }, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let segment = shown(SEGMENT, true);
    let lines: Vec<serde_json::Value> = segment.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[2]["batch"]["offset"], &lines[3]["record"]["value"]), (&1.into(), &"two".into()), "{segment}");
    for (name, words) in [("checkpoint", "name=\"a\""), (journal.as_str(), "lsn=3"), (SEGMENT, "value=\"one\"")] {
        assert!(shown(name, false).contains(words), "{name}: {}", shown(name, false));
        assert!(
            shown(name, true).lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
            "{name}"
        );
    }
    assert!(inspect::dump(&disk, &data("lock"), Dump::default(), &mut Vec::new()).is_err());
}
