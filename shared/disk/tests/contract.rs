//! Every disk keeps the same contract; the lying one forgets exactly what was not synced.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its set-up as well")]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use skidway_disk::{Disk, FaultyDisk, Open, RealDisk, replace, replace_on};

/// Runs a check on both disks, each with an empty folder.
fn on_each(check: impl Fn(&dyn Disk, &Path)) {
    let folder = tempfile::tempdir().unwrap();
    check(&RealDisk, folder.path());
    let faulty = FaultyDisk::new();
    faulty.create_dir(Path::new("/folder")).unwrap();
    check(&faulty, Path::new("/folder"));
}

fn content(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, Open::Existing).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize + 10];
    let have = file.read_at(&mut bytes, 0).unwrap();
    bytes.truncate(have);
    bytes
}

fn names(disk: &dyn Disk, dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = disk.list(dir).unwrap().into_iter().map(|entry| entry.name).collect();
    names.sort();
    names
}

#[test]
fn what_is_written_is_read() {
    on_each(|disk, dir| {
        let file = disk.open(&dir.join("f"), Open::OrCreate).unwrap();
        file.write_at(b"hello", 3).unwrap();
        file.write_at(b"HE", 3).unwrap();
        assert_eq!(content(disk, &dir.join("f")), b"\0\0\0HEllo");
        file.set_len(5).unwrap();
        file.allocate(4).unwrap();
        assert_eq!(file.len().unwrap(), 5);
        file.allocate(7).unwrap();
        file.sync().unwrap();
        assert_eq!(content(disk, &dir.join("f")), b"\0\0\0HE\0\0");
        assert_eq!(file.read_at(&mut [0; 4], 9).unwrap(), 0);
    });
}

#[test]
fn files_are_opened_as_asked() {
    on_each(|disk, dir| {
        let path = dir.join("f");
        assert_eq!(disk.open(&path, Open::Existing).unwrap_err().kind(), ErrorKind::NotFound);
        disk.open(&path, Open::OrCreate).unwrap().write_at(b"x", 0).unwrap();
        assert_eq!(content(disk, &path), b"x");
        disk.open(&path, Open::OrCreate).unwrap();
        assert_eq!(content(disk, &path), b"x");
        assert!(disk.open(&path, Open::Empty).unwrap().is_empty().unwrap());
    });
}

#[test]
fn folders_are_listed_renamed_and_removed() {
    on_each(|disk, dir| {
        disk.create_dir(&dir.join("a/b")).unwrap();
        disk.create_dir(&dir.join("a")).unwrap();
        disk.open(&dir.join("a/f"), Open::OrCreate).unwrap();
        assert_eq!(names(disk, &dir.join("a")), ["b", "f"]);
        disk.rename(&dir.join("a"), &dir.join("c")).unwrap();
        assert_eq!(names(disk, dir), ["c"]);
        let open = disk.open(&dir.join("c/f"), Open::Existing).unwrap();
        open.write_at(b"still there", 0).unwrap();
        disk.remove(&dir.join("c")).unwrap();
        disk.remove(&dir.join("c")).unwrap();
        assert!(names(disk, dir).is_empty());
        assert_eq!(open.read_at(&mut [0; 5], 0).unwrap(), 5);
        assert_eq!(disk.list(&dir.join("c")).unwrap_err().kind(), ErrorKind::NotFound);
        disk.sync_dir(dir).unwrap();
        assert!(disk.free_bytes(dir).unwrap() > 0);
    });
}

#[test]
fn a_lock_is_held_by_one() {
    on_each(|disk, dir| {
        let held = disk.lock(&dir.join("lock")).unwrap();
        assert!(held.is_some());
        assert!(disk.lock(&dir.join("lock")).unwrap().is_none());
        drop(held);
        assert!(disk.lock(&dir.join("lock")).unwrap().is_some());
    });
}

#[test]
fn replacing_leaves_the_file_and_nothing_else() {
    on_each(|disk, dir| {
        for bytes in [&b"first, longer"[..], b"second"] {
            replace_on(disk, &dir.join("f"), bytes).unwrap();
            assert_eq!(content(disk, &dir.join("f")), bytes);
            assert_eq!(names(disk, dir), ["f"]);
        }
    });
    let folder = tempfile::tempdir().unwrap();
    replace(&folder.path().join("f"), b"real").unwrap();
    assert_eq!(std::fs::read(folder.path().join("f")).unwrap(), b"real");
}

#[test]
fn a_crash_anywhere_in_a_replacement_leaves_the_old_or_the_new() {
    let path = PathBuf::from("/f");
    for cut in 0..6 {
        for seed in 0..50 {
            let disk = FaultyDisk::new();
            replace_on(&disk, &path, &[1; 2000]).unwrap();
            disk.cut_power_at(disk.operations() + cut);
            let replaced = replace_on(&disk, &path, &[2; 3000]).is_ok();
            disk.crash(seed);
            let found = content(&disk, &path);
            assert!(found == [2; 3000] || (!replaced && found == [1; 2000]), "cut {cut}, seed {seed}");
        }
    }
}

#[test]
fn a_crash_takes_names_that_were_not_synced() {
    let outcomes = (0..20).map(|seed| {
        let disk = FaultyDisk::new();
        let file = disk.open(Path::new("/f"), Open::OrCreate).unwrap();
        file.write_at(b"x", 0).unwrap();
        file.sync().unwrap();
        disk.crash(seed);
        assert!(file.write_at(b"y", 0).is_err(), "a file opened before the crash is dead");
        disk.open(Path::new("/f"), Open::Existing).is_ok()
    });
    let kept = outcomes.filter(|kept| *kept).count();
    assert!((1..20).contains(&kept), "{kept} of 20");
}

#[test]
fn a_failed_sync_never_becomes_durable() {
    let disk = FaultyDisk::new();
    let file = disk.open(Path::new("/f"), Open::OrCreate).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    file.write_at(b"lost", 0).unwrap();
    disk.fail_at(disk.operations());
    assert!(file.sync().is_err());
    file.sync().unwrap();
    assert_eq!(content(&disk, Path::new("/f")), b"lost");
    disk.crash(0);
    assert_eq!(content(&disk, Path::new("/f")), b"");
}

#[test]
fn a_full_disk_takes_no_more() {
    let disk = FaultyDisk::new();
    disk.set_capacity(10);
    let file = disk.open(Path::new("/f"), Open::OrCreate).unwrap();
    file.write_at(&[1; 8], 0).unwrap();
    assert_eq!(disk.free_bytes(Path::new("/")).unwrap(), 2);
    assert_eq!(file.write_at(&[1; 8], 8).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.allocate(11).unwrap_err().kind(), ErrorKind::StorageFull);
    file.write_at(&[2; 8], 0).unwrap();
    disk.remove(Path::new("/f")).unwrap();
    assert_eq!(disk.free_bytes(Path::new("/")).unwrap(), 10);
}

proptest! {
    /// Of unsynced writes any part may remain, but synced bytes stay and no byte is invented.
    #[test]
    fn after_a_crash_every_byte_was_written_at_some_time(
        synced in prop::collection::vec((0..4000u64, 1..1500usize), 1..4),
        unsynced in prop::collection::vec((0..4000u64, 1..1500usize), 0..4),
        seed in any::<u64>(),
    ) {
        let disk = FaultyDisk::new();
        let file = disk.open(Path::new("/f"), Open::OrCreate).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        for (position, len) in &synced {
            file.write_at(&vec![1; *len], *position).unwrap();
        }
        file.sync().unwrap();
        let durable = content(&disk, Path::new("/f"));
        for (position, len) in &unsynced {
            file.write_at(&vec![2; *len], *position).unwrap();
        }
        disk.crash(seed);
        let found = content(&disk, Path::new("/f"));
        prop_assert!(found.len() >= durable.len());
        for (place, byte) in found.iter().enumerate() {
            let touched = unsynced.iter().any(|(at, len)| (*at..*at + *len as u64).contains(&(place as u64)));
            let before = durable.get(place).copied().unwrap_or(0);
            prop_assert!(*byte == before || (touched && *byte == 2), "byte {place} is {byte}");
        }
    }
}

#[test]
fn a_fork_lives_by_itself() {
    let disk = FaultyDisk::new();
    let held = disk.lock(Path::new("/lock")).unwrap();
    disk.open(Path::new("/f"), Open::OrCreate).unwrap().write_at(b"both", 0).unwrap();
    let fork = disk.fork();
    assert!(fork.lock(Path::new("/lock")).unwrap().is_some(), "another machine's lock");
    disk.open(Path::new("/f"), Open::Existing).unwrap().write_at(b"this", 0).unwrap();
    fork.open(Path::new("/f"), Open::Existing).unwrap().write_at(b"that", 0).unwrap();
    assert_eq!(content(&disk, Path::new("/f")), b"this");
    assert_eq!(content(&fork, Path::new("/f")), b"that");
    assert_eq!(fork.operations(), disk.operations());
    drop(held);
}

#[test]
fn every_operation_has_its_moment() {
    let disk = FaultyDisk::new();
    disk.keep_moments();
    replace_on(&disk, Path::new("/f"), b"new").unwrap();
    disk.remove(Path::new("/f")).unwrap();
    let moments = disk.take_moments();
    let told: Vec<String> = moments.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["0 create /f.new", "1 write /f.new 0..3", "2 sync /f.new", "3 rename /f.new to /f", "4 sync /", "5 remove /f"]
    );
    assert_eq!(content(&moments[5].killed(), Path::new("/f")), b"new");
    assert!((0..20).all(|seed| content(&moments[5].crashed(seed), Path::new("/f")) == b"new"));
    assert!((0..20).any(|seed| names(&moments[2].crashed(seed), Path::new("/")).is_empty()));
    let failed = moments[2].failed(0);
    assert_eq!(content(&failed, Path::new("/f.new")), b"new");
}

#[test]
fn a_disk_that_ignores_syncs_loses_what_was_synced() {
    let lost = |seed: &u64| {
        let disk = FaultyDisk::new();
        disk.ignore_syncs_of(|path| path == Path::new("/"));
        replace_on(&disk, Path::new("/f"), b"new").unwrap();
        disk.crash(*seed);
        disk.open(Path::new("/f"), Open::Existing).is_err()
    };
    assert!((0..20).any(|seed| lost(&seed)));
}
