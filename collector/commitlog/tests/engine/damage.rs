//! Damage on disk: found whatever byte it is in, named, kept to the batch it is in, and never served.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skidway_commitlog::{Config, Error};
use skidway_disk::{Disk, DiskFile, Entry, FaultyDisk, Open};
use skidway_record::{Offset, TopicPartition};

use crate::*;

const SEGMENT: &str = "topics/a-0/00000000000000000000.log";

/// Reads every batch from files.
fn unbuffered() -> Config {
    Config { recent_bytes_max: 0, ..config() }
}

/// A closed log of one partition, `lines` batches of one line each; gives where each begins in the first segment.
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

fn few_lines() -> Vec<String> {
    (0..7).map(|n| format!("line {n}")).collect()
}

fn length(disk: &FaultyDisk, name: &str) -> u64 {
    disk.open(&data(name), Open::Existing).unwrap().len().unwrap()
}

/// Flips one bit of a file.
fn flip(disk: &FaultyDisk, name: &str, position: u64, bit: u32) {
    let file = disk.open(&data(name), Open::Existing).unwrap();
    let mut byte = [0];
    assert_eq!(file.read_at(&mut byte, position).unwrap(), 1);
    file.write_at(&[byte[0] ^ (1 << bit)], position).unwrap();
}

/// Is what a reader gets that passes over damage: lines by offset, and the ranges passed over.
type Read = (Vec<(u64, String)>, Vec<(u64, u64)>);

/// Reads a partition from its start, as a reader that passes over damage would.
fn read_over(opened: &Opened, of: &TopicPartition) -> Read {
    let offsets = opened.log.offsets(of).unwrap();
    let (mut lines, mut passed) = (Vec::new(), Vec::new());
    let mut at = offsets.log_start;
    while at < offsets.high_watermark {
        match opened.log.fetch(of, at, 1000) {
            Ok(fetched) if fetched.batches.is_empty() => break,
            Ok(fetched) => {
                for batch in fetched.batches {
                    batch.verify().expect("what is served is sound");
                    assert_eq!(batch.header().leader_epoch, 0);
                    assert!(batch.base_offset() >= at, "offsets only grow");
                    lines.extend((batch.base_offset().0..).zip(values(&batch)));
                    at = batch.next_offset();
                }
            }
            Err(Error::Damaged { from, next, path, .. }) => {
                assert_eq!((from, path.extension().unwrap().to_str()), (at, Some("log")));
                assert!(next > at, "there is a way on");
                passed.push((from.0, next.0));
                at = next;
            }
            Err(error) => panic!("{error}"),
        }
    }
    (lines, passed)
}

fn numbered(lines: &[String]) -> Vec<(u64, String)> {
    (0..).zip(lines.iter().cloned()).collect()
}

#[test]
fn a_bit_flipped_in_any_byte_of_a_segment_costs_its_batch_and_no_other() {
    let lines = few_lines();
    let (disk, a) = written(&lines);
    let bytes = length(&disk, SEGMENT);
    assert_eq!(bytes % lines.len() as u64, 0, "all batches are of one length");
    let (batch_bytes, mut harmless) = (bytes / lines.len() as u64, 0);
    let opened = open_with(&disk, unbuffered()).unwrap();
    for (position, bit) in (0..bytes).flat_map(|position| (0..8).map(move |bit| (position, bit))) {
        flip(&disk, SEGMENT, position, bit);
        let hit = position / batch_bytes;
        let (read, passed) = read_over(&opened, &a);
        if passed.is_empty() {
            // The leader epoch is always 0: whatever stands there, 0 is given.
            assert!((12..16).contains(&(position % batch_bytes)), "byte {position} was not found");
            assert_eq!(read, numbered(&lines), "byte {position} bit {bit}");
            harmless += 1;
        } else {
            assert_eq!(passed, [(hit, hit + 1)], "byte {position} bit {bit}");
            let rest: Vec<_> = numbered(&lines).into_iter().filter(|(offset, _)| *offset != hit).collect();
            assert_eq!(read, rest, "byte {position} bit {bit}");
        }
        flip(&disk, SEGMENT, position, bit);
    }
    assert_eq!(harmless, 4 * 8 * lines.len());
}

#[test]
fn damage_is_reported_with_its_place_to_whoever_asks_for_it_first() {
    let (disk, a) = written(&few_lines());
    let batch_bytes = length(&disk, SEGMENT) / 7;
    disk.flip_bit(&data(SEGMENT), 3 * batch_bytes + 70).unwrap();
    let opened = open_with(&disk, unbuffered()).unwrap();
    let before = opened.log.fetch(&a, Offset(0), 100_000).unwrap().batches;
    assert_eq!(before.len(), 3, "what precedes the damage is read");
    let Err(error @ Error::Damaged { .. }) = opened.log.fetch(&a, Offset(3), 100_000) else { panic!("it is damaged") };
    let Error::Damaged { path, position, from, next, .. } = &error else { unreachable!() };
    assert_eq!((path, *position, *from, *next), (&data(SEGMENT), 3 * batch_bytes, Offset(3), Offset(4)));
    assert_eq!(error.fate(), skidway_record::Fate::Reject);
    assert_eq!(opened.log.fetch(&a, Offset(4), 100_000).unwrap().batches.len(), 3);
    opened.log.fetch(&a, Offset(3), 1).unwrap_err();
    assert_eq!(opened.heard.damaged.lock().unwrap().len(), 1, "each place is told of once");
    assert!(opened.heard.halted.lock().unwrap().is_empty());
    opened.append(&a, &["the log goes on"]).unwrap();
}

#[test]
fn damage_among_many_batches_and_segments_is_found_by_index_and_without() {
    let lines: Vec<String> = (0..60).map(|n| noise(n, 300 + 37 * (n as usize % 11))).collect();
    let (disk, a) = written(&lines);
    let opened = open_with(&disk, unbuffered()).unwrap();
    let bytes = length(&disk, SEGMENT);
    for position in (0..bytes).step_by(61) {
        disk.flip_bit(&data(SEGMENT), position).unwrap();
        let (read, passed) = read_over(&opened, &a);
        assert!(passed.len() <= 1 && passed.iter().all(|(from, next)| from + 1 == *next), "{position}: {passed:?}");
        let lost = |offset: u64| passed.iter().any(|(from, _)| *from == offset);
        let rest: Vec<_> = numbered(&lines).into_iter().filter(|(offset, _)| !lost(*offset)).collect();
        assert_eq!(read, rest, "byte {position}");
        disk.flip_bit(&data(SEGMENT), position).unwrap();
    }
}

#[test]
fn a_damaged_segment_does_not_keep_the_log_from_starting_even_if_its_index_is_gone() {
    let lines: Vec<String> = (0..40).map(|n| noise(n, 700)).collect();
    let (disk, a) = written(&lines);
    disk.flip_bit(&data(SEGMENT), 3000).unwrap();
    for kind in ["index", "timeindex"] {
        disk.remove(&data(&format!("topics/a-0/00000000000000000000.{kind}"))).unwrap();
    }
    let opened = open_with(&disk, unbuffered()).unwrap();
    let (read, passed) = read_over(&opened, &a);
    assert_eq!((read.len(), passed.len()), (39, 1));
    assert!(length(&disk, "topics/a-0/00000000000000000000.index") > 0);
}

#[test]
fn a_time_leads_to_damage_that_may_be_as_new_and_past_what_is_older() {
    let disk = FaultyDisk::new();
    let opened = open_with(&disk, unbuffered()).unwrap();
    let a = partition("a", 0);
    for n in 0..5 {
        let batch = (Target::Partition(a.clone()), batch_at(1000 * n, &["line"]));
        opened.commit(Commit { batches: vec![batch], ..Commit::default() }).unwrap();
    }
    opened.log.close().unwrap();
    let batch_bytes = length(&disk, SEGMENT) / 5;
    disk.flip_bit(&data(SEGMENT), 2 * batch_bytes + 70).unwrap();
    let opened = open_with(&disk, unbuffered()).unwrap();
    let at = |ms| opened.log.offset_at(&a, ms).unwrap();
    assert_eq!([at(0), at(1000), at(1500), at(2000)], [0, 1, 2, 2].map(|offset| Some(Offset(offset))));
    assert_eq!(at(4001), None, "nothing in the segment is as new");
}

#[test]
fn what_the_disk_cannot_read_is_damage_and_nothing_else_suffers() {
    let lines: Vec<String> = (0..40).map(|n| noise(n, 700)).collect();
    let (disk, a) = written(&lines);
    let scratched = Scratched { disk: disk.clone(), path: data(SEGMENT), unreadable: 4096..4097 };
    let heard = Arc::new(Heard::default());
    let log = CommitLog::open(unbuffered(), Arc::new(scratched), heard.clone()).unwrap();
    let opened = Opened { log, heard };
    let (read, passed) = read_over(&opened, &a);
    // The block of 4 KiB that cannot be read holds parts of 5 to 7 batches.
    assert!(passed.len() == 1 && (5..=7).contains(&(passed[0].1 - passed[0].0)), "{passed:?}");
    let rest: Vec<_> =
        numbered(&lines).into_iter().filter(|(offset, _)| !(passed[0].0..passed[0].1).contains(offset)).collect();
    assert_eq!(read, rest);
    let reason = opened.log.fetch(&a, Offset(passed[0].0), 1).unwrap_err().to_string();
    assert!(reason.contains("cannot be read: scratched"), "{reason}");
    opened.append(&a, &["the writer goes on"]).unwrap();
    assert!(opened.heard.halted.lock().unwrap().is_empty());
}

/// A disk that cannot read some bytes of one file.
#[derive(Debug)]
struct Scratched {
    disk: FaultyDisk,
    path: PathBuf,
    unreadable: std::ops::Range<u64>,
}

#[derive(Debug)]
struct ScratchedFile {
    file: Arc<dyn DiskFile>,
    unreadable: std::ops::Range<u64>,
}

impl Disk for Scratched {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, how)?;
        if path != self.path {
            return Ok(file);
        }
        Ok(Arc::new(ScratchedFile { file, unreadable: self.unreadable.clone() }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free_bytes(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        self.disk.lock(path)
    }
}

impl DiskFile for ScratchedFile {
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        if position < self.unreadable.end && self.unreadable.start < position + into.len() as u64 {
            return Err(io::Error::other("scratched"));
        }
        self.file.read_at(into, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.file.write_at(bytes, position)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
