//! A small data folder of the log, one file of which is damaged by the fuzzer, and what is then asked of the engine: an error or a log that
//! can be read, never a panic. Goes through the engine's public door alone.
//!
//! An input is one byte of flags and patches of what the file holds: position (u16), length (u8), bytes. Flags: 1 puts the checksums right
//! afterwards, so that what lies behind them is reached; 2 cuts the file first, at the u16 that follows; 4 begins with an empty file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use skidway_commitlog::commit::{Commit, OpenSession, Target, Topic};
use skidway_commitlog::{CommitLog, Config, Error, Observer};
use skidway_disk::{Disk, DiskFile, FaultyDisk, Open};
use skidway_record::{AgentId, Batch, BatchBuilder, Compressor, EncodedHeaders, Offset, TopicName, TopicPartition};

/// Bounds what a damaged file may be cut or written to.
const FILE_BYTES_MAX: usize = 64 << 10;

/// Puts a file's checksums right.
pub type Seal = fn(&mut [u8]);

struct Deaf;

impl Observer for Deaf {
    fn published(&self, _advanced: &[(TopicPartition, Offset)]) {}
    fn topics_changed(&self, _topics: &[Topic]) {}
    fn halted(&self, _error: &Error) {}
    fn synced(&self, _took: Duration, _commits: usize) {}
}

fn config() -> Config {
    Config {
        segment_bytes: 4 << 10,
        inline_batch_bytes_max: 512,
        checkpoint_bytes: 16 << 10,
        journal_step_bytes: 4 << 10,
        reserve_bytes: 4 << 10,
        open_files_max: 4,
        recent_bytes_max: 0,
        ..Config::new("/data")
    }
}

fn open(disk: &FaultyDisk) -> Result<CommitLog, Error> {
    CommitLog::open(config(), Arc::new(disk.clone()), Arc::new(Deaf))
}

fn answered<T: Send + 'static>(ask: impl FnOnce(Box<dyn FnOnce(T) + Send>)) -> T {
    let (send, receive) = sync_channel(1);
    ask(Box::new(move |answer| drop(send.send(answer))));
    receive.recv().expect("the engine answers")
}

fn append(log: &CommitLog, topic: &str, partition: u32, len: usize) -> Result<(), Error> {
    let place = TopicPartition::new(TopicName::new(topic).expect("a valid name"), partition);
    let commit = Commit { batches: vec![(Target::Partition(place), batch(len))], ..Commit::default() };
    answered(|done| log.commit(commit, done)).map(|_| ())
}

fn batch(len: usize) -> Batch {
    let noise: Vec<u8> = (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut builder = BatchBuilder::new();
    for line in [&b"first"[..], &noise] {
        builder.push(1_000, None, Some(line), &EncodedHeaders::none());
    }
    builder.finish(&mut Compressor::new(1).expect("a level")).expect("a batch has lines")
}

/// Makes a folder with a checkpoint, segments with indexes, and a journal of a few commits after it.
pub fn folder() -> FaultyDisk {
    let disk = FaultyDisk::new();
    let log = open(&disk).expect("an empty folder");
    let agent = AgentId::new("web").expect("a valid id");
    let session = OpenSession { agent, machine_id: "m".into(), host: "h".into(), version: "v".into() };
    answered(|done| log.open_session(session, 0, done)).expect("a session");
    for n in 0..12 {
        append(&log, "a", n % 2, 900).expect("room");
    }
    log.close().expect("a sound log");
    let log = open(&disk).expect("a sound folder");
    for (topic, len) in [("a", 30), ("a", 900), ("b", 700), ("b", 30)] {
        append(&log, topic, 0, len).expect("room");
    }
    drop(log);
    disk
}

/// Damages one file of a folder as `data` says, opens the log and uses it.
pub fn check(folder: &FaultyDisk, path: &PathBuf, seal: Seal, data: &[u8]) {
    let disk = folder.fork();
    let file = disk.open(path, Open::Existing).expect("the file is there");
    let mut content = read(file.as_ref());
    damage(&mut content, seal, data);
    file.set_len(0).expect("room");
    file.write_at(&content, 0).expect("room");
    if let Ok(log) = open(&disk) {
        use_it(&log);
        let _may_have_halted = log.close();
        let _damage_may_show_late = open(&disk);
    }
}

/// Finds the file of a kind, the newest if there are several.
pub fn file(folder: &FaultyDisk, ending: &str) -> PathBuf {
    let files = folder.files();
    files.into_iter().rfind(|path| path.to_string_lossy().ends_with(ending)).expect("a folder has one of each kind")
}

fn read(file: &dyn DiskFile) -> Vec<u8> {
    let mut content = vec![0; file.len().expect("a length") as usize];
    let have = file.read_at(&mut content, 0).expect("no fault was asked for");
    content.truncate(have);
    content
}

fn damage(content: &mut Vec<u8>, seal: Seal, mut data: &[u8]) {
    let Some((flags, rest)) = data.split_first() else { return };
    data = rest;
    if flags & 4 != 0 {
        content.clear();
    }
    if flags & 2 != 0
        && let Some((len, rest)) = data.split_first_chunk()
    {
        content.truncate(usize::from(u16::from_le_bytes(*len)));
        data = rest;
    }
    while let Some((head, rest)) = data.split_first_chunk::<3>() {
        let position = usize::from(u16::from_le_bytes([head[0], head[1]]));
        let (bytes, rest) = rest.split_at(usize::from(head[2]).min(rest.len()));
        let end = (position + bytes.len()).min(FILE_BYTES_MAX);
        content.resize(content.len().max(end), 0);
        content[position.min(end)..end].copy_from_slice(&bytes[..end.saturating_sub(position)]);
        data = rest;
    }
    if flags & 1 != 0 {
        seal(content);
    }
}

fn use_it(log: &CommitLog) {
    for topic in log.topics() {
        for partition in 0..topic.config.partitions.min(4) {
            let place = TopicPartition::new(topic.name.clone(), partition);
            read_all(log, &place);
            for timestamp_ms in [i64::MIN, 1_000, i64::MAX] {
                let _damage_is_an_error = log.offset_at(&place, timestamp_ms);
            }
        }
    }
    for agent in answered(|done| log.agents(done)).unwrap_or_default() {
        let _halted_is_an_error = answered(|done| log.sources(agent.session.agent, None, 10, done));
    }
    for (topic, len) in [("a", 30), ("a", 900), ("new", 900)] {
        let _refused_or_halted = append(log, topic, 0, len);
    }
}

fn read_all(log: &CommitLog, place: &TopicPartition) {
    let Ok(offsets) = log.offsets(place) else { return };
    let mut at = offsets.log_start;
    while at < offsets.high_watermark {
        let Ok(fetched) = log.fetch(place, at, 1 << 16) else { return };
        let next = fetched.batches.last().map_or(at, Batch::next_offset);
        if next <= at {
            return;
        }
        at = next;
    }
}

/// Seals the frames of a journal.
pub fn seal_journal(content: &mut [u8]) {
    let mut at = 64;
    while let Some(rest) = content.get_mut(at..).filter(|rest| rest.len() >= 48 && rest.starts_with(b"SKF")) {
        let length = u32::from_le_bytes([rest[8], rest[9], rest[10], rest[11]]) as usize;
        let Some(frame) = rest.get_mut(..48 + length) else { return };
        let crc = crc32c::crc32c(&frame[8..]);
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
        at += frame.len();
    }
}

/// Seals the batches of a segment.
pub fn seal_segment(content: &mut [u8]) {
    let mut at = 0;
    while let Some(rest) = content.get_mut(at..).filter(|rest| rest.len() >= 61) {
        let length = i32::from_be_bytes([rest[8], rest[9], rest[10], rest[11]]);
        let Some(batch) = usize::try_from(length).ok().and_then(|length| rest.get_mut(..12 + length)) else { return };
        if batch.len() < 61 {
            return;
        }
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        at += batch.len();
    }
}

/// Seals a checkpoint.
pub fn seal_checkpoint(content: &mut [u8]) {
    let Some((header, snapshot)) = content.split_at_mut_checked(24) else { return };
    header[12..16].copy_from_slice(&crc32c::crc32c(snapshot).to_le_bytes());
    header[16..24].copy_from_slice(&(snapshot.len() as u64).to_le_bytes());
}

/// Leaves a file as it is: it has no checksum.
pub fn leave(_content: &mut [u8]) {}
