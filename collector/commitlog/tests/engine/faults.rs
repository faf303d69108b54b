//! A full disk refuses commits and nothing else; damage is found and named, never served or passed over.

use skidway_commitlog::commit::{Refusal, TopicChange};
use skidway_commitlog::{Config, Error};
use skidway_disk::{Disk, FaultyDisk, Open};

use crate::*;

/// Free bytes that let small commits through with `config()`.
const PLENTY: u64 = 1 << 20;

#[test]
fn a_full_disk_refuses_commits_until_there_is_room_and_reads_go_on() {
    let disk = FaultyDisk::new();
    let opened = open(&disk).unwrap();
    let (a, b) = (partition("a", 0), partition("b", 0));
    opened.append(&a, &["1"]).unwrap();
    opened.append(&b, &["kept"]).unwrap();
    disk.set_capacity(used(&disk) + (10 << 10));
    assert!(matches!(opened.append(&a, &["2"]), Err(Error::NoSpace { .. })));
    assert!(matches!(opened.alter(TopicChange::Ensure(topic("c"))), Err(Error::NoSpace { .. })));
    assert_eq!(opened.lines(&a), ["1"]);
    assert_eq!(opened.session("web").unwrap().epoch, 1, "what adds nothing may use the reserve");
    assert!(opened.alter(TopicChange::Delete(topic("b"))).unwrap().changed);
    disk.set_capacity(used(&disk) + PLENTY);
    opened.append(&a, &["2"]).unwrap();
    assert_eq!(opened.lines(&a), ["1", "2"]);
    assert!(opened.heard.halted.lock().unwrap().is_empty());
    drop(opened);
    assert_eq!(open(&disk).unwrap().lines(&a), ["1", "2"]);
}

#[test]
fn a_disk_that_others_fill_up_to_the_last_byte_stops_commits_and_nothing_else() {
    let disk = FaultyDisk::new();
    let opened = open(&disk).unwrap();
    let a = partition("a", 0);
    for n in 0..40 {
        opened.append(&a, &[&format!("{n} {}", noise(n, 400))]).unwrap();
    }
    let before = opened.lines(&a);
    disk.set_capacity(used(&disk));
    assert!(matches!(opened.append(&a, &["refused"]), Err(Error::NoSpace { .. })));
    for epoch in 1..100 {
        assert_eq!(opened.session("web").unwrap().epoch, epoch, "the ballast is there for what adds nothing");
    }
    opened.log.close().expect("the last checkpoint finds room too");
    let opened = open(&disk).expect("so does a recovery");
    assert_eq!(opened.lines(&a), before);
    assert!(matches!(opened.append(&a, &["refused"]), Err(Error::NoSpace { .. })));
    let delete = TopicChange::DeleteRecords { partition: a.clone(), before: Offset(30) };
    assert!(opened.alter(delete).unwrap().changed);
    disk.set_capacity(used(&disk) + PLENTY);
    opened.append(&a, &["taken"]).unwrap();
    assert_eq!(opened.lines(&a).len(), 11);
    let ballast = disk.open(&data("ballast"), Open::Existing).unwrap();
    assert_eq!(ballast.len().unwrap(), 64 << 10, "and the ballast is taken again");
    assert!(opened.heard.halted.lock().unwrap().is_empty());
}

#[test]
fn a_failed_sync_halts_everything_at_once() {
    let disk = FaultyDisk::new();
    let opened = open(&disk).unwrap();
    let a = partition("a", 0);
    opened.append(&a, &["1"]).unwrap();
    disk.fail_at(disk.operations() + 1);
    assert!(matches!(opened.append(&a, &["2"]), Err(Error::Halted { .. })));
    assert!(matches!(opened.append(&a, &["3"]), Err(Error::Halted { .. })));
    assert!(matches!(opened.session("web"), Err(Error::Halted { .. })));
    assert_eq!(opened.heard.halted.lock().unwrap().len(), 1);
    assert_eq!(opened.lines(&a), ["1"], "what was not durable was never shown");
    assert!(opened.log.close().is_err());
}

#[test]
fn damage_to_an_acknowledged_commit_stops_the_start() {
    let disk = FaultyDisk::new();
    let opened = open(&disk).unwrap();
    for n in 0..20 {
        opened.append(&partition("a", 0), &[&n.to_string()]).unwrap();
    }
    drop(opened);
    let journal = only_journal(&disk);
    disk.flip_bit(&journal, 1000).unwrap();
    let Err(Error::Corrupt { path, .. }) = open(&disk).map(|_| ()) else { panic!("damage must be found") };
    assert_eq!(path, journal);
    disk.flip_bit(&journal, 1000).unwrap();
    assert_eq!(open(&disk).unwrap().lines(&partition("a", 0)).len(), 20);
}

#[test]
fn a_torn_last_group_is_cut_off() {
    let disk = FaultyDisk::new();
    let opened = open(&disk).unwrap();
    for line in ["1", "2", "3"] {
        opened.append(&partition("a", 0), &[line]).unwrap();
    }
    drop(opened);
    let journal = only_journal(&disk);
    let end = written_bytes(&disk, &journal);
    disk.flip_bit(&journal, end - 1).unwrap();
    let opened = open(&disk).unwrap();
    assert_eq!(opened.lines(&partition("a", 0)), ["1", "2"]);
    opened.append(&partition("a", 0), &["again"]).unwrap();
    drop(opened);
    assert_eq!(open(&disk).unwrap().lines(&partition("a", 0)), ["1", "2", "again"]);
}

#[test]
fn a_damaged_checkpoint_or_a_missing_one_stops_the_start() {
    let disk = FaultyDisk::new();
    let opened = open(&disk).unwrap();
    opened.append(&partition("a", 0), &["1"]).unwrap();
    opened.log.close().unwrap();
    for position in [0, 9, 13, 17, 30] {
        disk.flip_bit(&data("checkpoint"), position).unwrap();
        assert!(matches!(open(&disk), Err(Error::Corrupt { .. })), "{position}");
        disk.flip_bit(&data("checkpoint"), position).unwrap();
    }
    disk.rename(&data("checkpoint"), &data("elsewhere")).unwrap();
    assert!(matches!(open(&disk), Err(Error::Corrupt { .. })));
    disk.rename(&data("elsewhere"), &data("checkpoint")).unwrap();
    disk.remove(&only_journal(&disk)).unwrap();
    assert!(matches!(open(&disk), Err(Error::Corrupt { .. })));
}

#[test]
fn a_short_segment_stops_the_start_and_a_short_index_is_rebuilt() {
    let disk = FaultyDisk::new();
    let config = Config { recent_bytes_max: 0, ..config() };
    let opened = open_with(&disk, config.clone()).unwrap();
    let a = partition("a", 0);
    let lines: Vec<String> = (0..60).map(|n| noise(n, 900)).collect();
    for line in &lines {
        opened.append(&a, &[line]).unwrap();
    }
    opened.log.close().unwrap();
    let index = data("topics/a-0/00000000000000000000.index");
    let was = disk.open(&index, Open::Existing).unwrap().len().unwrap();
    assert!(was > 0);
    for kind in ["index", "timeindex"] {
        disk.open(&data(&format!("topics/a-0/00000000000000000000.{kind}")), Open::Empty).unwrap();
    }
    let opened = open_with(&disk, config.clone()).unwrap();
    assert_eq!(disk.open(&index, Open::Existing).unwrap().len().unwrap(), was);
    assert_eq!(opened.lines(&a), lines);
    opened.log.close().unwrap();
    let file = disk.open(&data("topics/a-0/00000000000000000000.log"), Open::Existing).unwrap();
    file.set_len(file.len().unwrap() - 1).unwrap();
    assert!(matches!(open_with(&disk, config), Err(Error::Corrupt { .. })));
}

#[test]
fn what_a_crash_left_after_a_segments_end_is_cut_off() {
    let disk = FaultyDisk::new();
    let opened = open(&disk).unwrap();
    let a = partition("a", 0);
    opened.append(&a, &["1"]).unwrap();
    opened.log.close().unwrap();
    let path = data("topics/a-0/00000000000000000000.log");
    let len = disk.open(&path, Open::Existing).unwrap().len().unwrap();
    disk.open(&path, Open::Existing).unwrap().write_at(&[7; 300], len).unwrap();
    for stray in ["topics/a-0/00000000000000000099.log", "topics/a-1/partition.metadata"] {
        disk.create_dir(data(stray).parent().unwrap()).unwrap();
        disk.open(&data(stray), Open::OrCreate).unwrap();
    }
    let opened = open(&disk).unwrap();
    assert_eq!(disk.open(&path, Open::Existing).unwrap().len().unwrap(), len);
    assert_eq!(disk.list(&data("topics")).unwrap().len(), 1);
    assert_eq!(disk.list(&data("topics/a-0")).unwrap().len(), 4);
    assert_eq!(opened.lines(&a), ["1"]);
}

#[test]
fn the_folder_of_another_topic_is_never_taken_for_ones_own() {
    let disk = FaultyDisk::new();
    let opened = open(&disk).unwrap();
    for name in ["a", "b"] {
        opened.append(&partition(name, 0), &[name]).unwrap();
    }
    opened.log.close().unwrap();
    disk.remove(&data("topics/a-0")).unwrap();
    disk.rename(&data("topics/b-0"), &data("topics/a-0")).unwrap();
    assert!(open(&disk).is_err());
}

#[test]
fn a_wrong_index_only_slows_reading_down() {
    let disk = FaultyDisk::new();
    let config = Config { recent_bytes_max: 0, ..config() };
    let opened = open_with(&disk, config.clone()).unwrap();
    let a = partition("a", 0);
    let lines: Vec<String> = (0..30).map(|n| noise(n, 900)).collect();
    for line in &lines {
        opened.append(&a, &[line]).unwrap();
    }
    opened.log.close().unwrap();
    for position in 0..8 {
        disk.flip_bit(&data("topics/a-0/00000000000000000000.index"), position).unwrap();
    }
    assert_eq!(open_with(&disk, config).unwrap().lines(&a), lines);
}

#[test]
fn a_commit_beyond_all_bounds_is_refused_before_it_waits() {
    let opened = open(&FaultyDisk::new()).unwrap();
    let large = (Target::Partition(partition("a", 0)), batch(&[&noise(1, 1 << 20)]));
    let commit = Commit { batches: vec![large; 100], ..Commit::default() };
    assert!(matches!(opened.commit(commit), Err(Error::TooLarge { .. })));
    let refused = opened.commit(Commit { session: session_ref("nobody", 1), ..Commit::default() });
    assert!(matches!(refused, Err(Error::Refused(Refusal::Fenced { epoch: 1, current: None }))));
}

fn used(disk: &FaultyDisk) -> u64 {
    let bound = u64::MAX / 2;
    disk.set_capacity(bound);
    bound - disk.free_bytes(Path::new("/")).unwrap()
}

fn only_journal(disk: &FaultyDisk) -> std::path::PathBuf {
    let entries = disk.list(Path::new("/data")).unwrap();
    let names: Vec<_> = entries.into_iter().filter(|entry| entry.name.ends_with(".journal")).collect();
    assert_eq!(names.len(), 1);
    data(&names[0].name)
}

/// Gives where the zeros at a file's end begin.
fn written_bytes(disk: &FaultyDisk, path: &Path) -> u64 {
    let file = disk.open(path, Open::Existing).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    bytes.iter().rposition(|&byte| byte != 0).unwrap() as u64 + 1
}
