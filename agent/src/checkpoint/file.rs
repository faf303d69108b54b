//! The checkpoint on disk: two files written in turn, so that a torn one leaves the other.
//!
//! `checkpoint.0` and `checkpoint.1`, integers little-endian:
//!
//! ```text
//! `SKCP` | version u8 = 2 | generation u64 | log id 16, zeros: none | log epoch u64 | count u32 | sources | XXH3-128, 16
//! source = id 16 | device u64 | inode u64 | inode generation u64 | birth ns u64 | position u64 | size u64
//!          | anchor len u32, hash 16
//! ```
//!
//! The hash covers all before it. The valid file of the higher generation counts; what is damaged, cut short or of another
//! version is reported and passed over.

use std::io;
use std::path::{Path, PathBuf};

use skidway_record::source::{Fingerprint, PhysicalId};
use skidway_record::{LogId, SourceId};

use super::{Acknowledged, Checkpoint};

const MAGIC: &[u8; 4] = b"SKCP";
const VERSION: u8 = 2;
const GENERATION_AT: usize = 4 + 1;
const HEADER_BYTES: usize = 4 + 1 + 8 + 16 + 8 + 4;
const COUNT_AT: usize = HEADER_BYTES - 4;
const SOURCE_BYTES: usize = 16 + 6 * 8 + 4 + 16;
const HASH_BYTES: usize = 16;

/// Keeps the two files of one state folder.
#[derive(Debug)]
pub struct CheckpointFile {
    folder: PathBuf,
    generation: u64,
}

impl CheckpointFile {
    /// Loads the newest valid checkpoint; an empty one if there is none. Never fails: it is a hint.
    pub fn load(folder: &Path) -> (Self, Checkpoint) {
        let mut newest = (0, Checkpoint::default());
        for turn in 0..2 {
            let path = path_of(folder, turn);
            let found = match std::fs::read(&path) {
                Ok(bytes) => decode(&bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(_) => None,
            };
            match found {
                Some((generation, checkpoint)) if generation >= newest.0 => newest = (generation, checkpoint),
                Some(_) => {}
                None => tracing::warn!(path = %path.display(), "passing over a checkpoint that cannot be read"),
            }
        }
        (Self { folder: folder.to_owned(), generation: newest.0 }, newest.1)
    }

    /// Replaces the older of the two files.
    ///
    /// # Errors
    /// As the operating system says (retry: the agent goes on without).
    pub fn save(&mut self, checkpoint: &mut Encoded) -> io::Result<()> {
        let generation = self.generation + 1;
        skidway_disk::replace(&path_of(&self.folder, generation), checkpoint.finished(generation))?;
        self.generation = generation;
        Ok(())
    }
}

fn path_of(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("checkpoint.{}", generation % 2))
}

/// Holds a checkpoint as it will be on disk, but for its generation and its hash.
#[derive(Debug)]
pub struct Encoded {
    bytes: Vec<u8>,
    /// Without the hash.
    len: usize,
}

impl Encoded {
    fn finished(&mut self, generation: u64) -> &[u8] {
        self.bytes.truncate(self.len);
        self.bytes[GENERATION_AT..][..8].copy_from_slice(&generation.to_le_bytes());
        let hash = twox_hash::XxHash3_128::oneshot(&self.bytes);
        self.bytes.extend_from_slice(&hash.to_be_bytes());
        &self.bytes
    }
}

/// Encodes a checkpoint with what is `followed` beside it: smaller than a copy, where there are many sources.
pub fn encode(
    checkpoint: &Checkpoint,
    followed: impl ExactSizeIterator<Item = Option<(SourceId, Acknowledged)>>,
) -> Encoded {
    let most = checkpoint.sources.len() + followed.len();
    let mut out = Vec::with_capacity(HEADER_BYTES + most * SOURCE_BYTES + HASH_BYTES);
    out.extend_from_slice(MAGIC);
    out.push(VERSION);
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&checkpoint.log_id.map_or([0; 16], |log| log.0));
    out.extend_from_slice(&checkpoint.log_epoch.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    let (kept, mut count) = (checkpoint.sources.iter().map(|(id, it)| (*id, *it)), 0u32);
    for (id, it) in kept.chain(followed.flatten()) {
        count += 1;
        out.extend_from_slice(&id.0);
        let file = &it.physical;
        for number in [file.device, file.inode, file.generation, file.birth_ns, it.position, it.size] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&it.anchor.len.to_le_bytes());
        out.extend_from_slice(&it.anchor.hash);
    }
    out[COUNT_AT..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
    Encoded { len: out.len(), bytes: out }
}

/// Reads a checkpoint and its generation; `None` if it is damaged or another version's.
pub fn decode(bytes: &[u8]) -> Option<(u64, Checkpoint)> {
    let (mut fields, hash) = bytes.split_at_checked(bytes.len().checked_sub(HASH_BYTES)?)?;
    if twox_hash::XxHash3_128::oneshot(fields).to_be_bytes() != hash {
        return None;
    }
    let input = &mut fields;
    if take::<4>(input)? != *MAGIC || take::<1>(input)? != [VERSION] {
        return None;
    }
    let generation = u64::from_le_bytes(take(input)?);
    let log_id = Some(LogId(take(input)?)).filter(|log| log.0 != [0; 16]);
    let log_epoch = u64::from_le_bytes(take(input)?);
    let count = u32::from_le_bytes(take(input)?);
    let mut checkpoint = Checkpoint { log_id, log_epoch, ..Checkpoint::default() };
    for _ in 0..count {
        let id = SourceId(take(input)?);
        checkpoint.sources.insert(id, decode_source(input)?);
    }
    input.is_empty().then_some((generation, checkpoint))
}

fn decode_source(input: &mut &[u8]) -> Option<Acknowledged> {
    let mut number = || take(input).map(u64::from_le_bytes);
    let (device, inode, generation, birth_ns) = (number()?, number()?, number()?, number()?);
    let (position, size) = (number()?, number()?);
    let anchor = Fingerprint { len: u32::from_le_bytes(take(input)?), hash: take(input)? };
    Some(Acknowledged { physical: PhysicalId { device, inode, generation, birth_ns }, position, anchor, size })
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (field, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(*field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn checkpoint(position: u64) -> Checkpoint {
        let physical = PhysicalId { device: 1, inode: 2, generation: 3, birth_ns: 4 };
        let anchor = Fingerprint { len: 5, hash: [6; 16] };
        let sources = [(SourceId([7; 16]), Acknowledged { physical, position, anchor, size: position + 1 })].into();
        Checkpoint { log_id: Some(LogId([8; 16])), log_epoch: 9, sources }
    }

    #[test]
    fn the_last_checkpoint_saved_is_loaded_and_the_generation_goes_on() {
        let temp = tempfile::tempdir().unwrap();
        for position in 1..=5 {
            let (mut file, _) = CheckpointFile::load(temp.path());
            file.save(&mut encode(&checkpoint(position), [].into_iter())).unwrap();
            let (file, loaded) = CheckpointFile::load(temp.path());
            assert_eq!((file.generation, loaded), (position, checkpoint(position)));
        }
    }

    #[test]
    fn a_damaged_checkpoint_falls_back_to_the_one_before_and_then_to_none() {
        let good = encode(&checkpoint(2), [].into_iter()).finished(2).to_vec();
        let mut flipped = good.clone();
        flipped[60] ^= 1;
        let mut newer = good.clone();
        newer[4] = VERSION + 1;
        for damaged in [&b""[..], &good[..40], &vec![0; good.len()], &flipped, &newer] {
            let temp = tempfile::tempdir().unwrap();
            let (mut file, _) = CheckpointFile::load(temp.path());
            file.save(&mut encode(&checkpoint(1), [].into_iter())).unwrap();
            fs::write(path_of(temp.path(), 2), damaged).unwrap();
            assert_eq!(CheckpointFile::load(temp.path()).1, checkpoint(1));
            fs::write(path_of(temp.path(), 1), damaged).unwrap();
            assert_eq!(CheckpointFile::load(temp.path()).1, Checkpoint::default());
        }
    }
}
