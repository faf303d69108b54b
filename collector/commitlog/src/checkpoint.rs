//! Saves the state at a place in the journal, so that a start replays only what follows, and removes what is then superfluous.
//!
//! The order is everything: (1) all segment bytes that the state knows are synced, and the folders that name them; (2) the checkpoint file
//! is replaced; (3) new segments take the places of those they were made of (`replacement.rs`); (4) older journal files go, and the files of
//! deleted topics and dropped segments. The journal after the checkpoint is a new file, begun before (1). A crash anywhere leaves the old
//! checkpoint with its journals, or the new one with its own; what of (3) is missing then, a start does.
//!
//! The file `checkpoint`, integers little-endian:
//!
//! ```text
//!  at  width  field
//!   0    8    magic "SKIDCKPT"
//!   8    4    version = 3; of version 2 it is read as well: topics without cleanup (state/v2.rs)
//!  12    4    CRC-32C of the snapshot
//!  16    8    length of the snapshot
//!  24         snapshot, postcard
//! ```

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skidway_disk::{Disk, DiskFile, Open, replace_on};

use crate::effects::TopicId;
use crate::error::Error;
use crate::extent::Extent;
use crate::files::Files;
use crate::frame::serialize_into;
use crate::journal;
use crate::partition::Metadata;
use crate::replacement::{Replacement, Swap, SwapV2};
use crate::segment::Segment;
use crate::state::State;
use crate::state::v2::StateV2;
use crate::unsynced::in_parallel;

const NAME: &str = "checkpoint";
const MAGIC: &[u8; 8] = b"SKIDCKPT";
const VERSION: u32 = 3;
const VERSION_BEFORE_CLEANUP: u32 = 2;
const HEADER_BYTES: usize = 24;

/// Bounds a segment's bytes: its index counts them with 32 bits.
const SEGMENT_BYTES_MAX: u64 = u32::MAX as u64;

/// Threads that sync files for a checkpoint beside commits. Nobody waits for it, and more would hold up the syncs that commits wait for.
pub(crate) const SYNC_THREADS_BESIDE: usize = 1;

/// Threads that sync files while nothing else happens: a device takes many syncs together in little more time than one.
pub(crate) const SYNC_THREADS_ALONE: usize = 8;

/// Describes the segments of partitions: topic, partition, segments in order.
pub(crate) type Extents = Vec<(TopicId, u32, Vec<Extent>)>;

/// Holds what a checkpoint saves. Encoded from a borrowed state, read back to an owned one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot<S> {
    /// The state.
    pub(crate) state: S,
    /// The journal file that begins after it.
    pub(crate) journal: u64,
    /// The segments of each partition that has any.
    pub(crate) extents: Extents,
    /// Segments whose merged files are to take the place of their own.
    pub(crate) swaps: Vec<Swap>,
}

/// Collects what was written and not synced since the last checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    segments: HashMap<u64, Arc<Segment>>,
    metadata: Vec<Arc<Metadata>>,
    dirs: BTreeSet<PathBuf>,
}

/// Holds all that is left to do for a checkpoint once its moment is past. May run beside new commits.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The data folder.
    pub(crate) dir: PathBuf,
    /// The encoded snapshot.
    pub(crate) snapshot: Vec<u8>,
    /// The journal file that begins after it; those of lower numbers go.
    pub(crate) journal: u64,
    /// What must be synced before.
    pub(crate) dirty: Dirty,
    /// On how many threads.
    pub(crate) sync_threads: usize,
    /// Segments that take their places after.
    pub(crate) replacements: Vec<Replacement>,
    /// What is removed after.
    pub(crate) garbage: Vec<PathBuf>,
}

impl Plan {
    /// Does it. Durable when it returns.
    pub(crate) fn run(self, files: &Files) -> Result<(), Error> {
        let disk = files.disk().as_ref();
        self.dirty.sync(disk, self.sync_threads)?;
        let path = self.dir.join(NAME);
        replace_on(disk, &path, &self.snapshot).map_err(Error::io("replace", &path))?;
        self.replacements.iter().try_for_each(|new| new.partition().swap_in(files, new))?;
        let older = journal::numbers(disk, &self.dir)?.into_iter().filter(|&number| number < self.journal);
        for path in older.map(|number| journal::path_of(&self.dir, number)).chain(self.garbage) {
            disk.remove(&path).map_err(Error::io("remove", &path))?;
        }
        Ok(())
    }
}

impl Dirty {
    /// Notes that a segment was written to.
    pub(crate) fn add(&mut self, segment: &Arc<Segment>) {
        self.segments.entry(segment.id()).or_insert_with(|| segment.clone());
    }

    /// Notes that a partition's folder was given its topic.
    pub(crate) fn add_metadata(&mut self, metadata: &Arc<Metadata>) {
        self.metadata.push(metadata.clone());
    }

    /// Notes that names in a folder changed.
    pub(crate) fn add_dir(&mut self, dir: &Path) {
        if !self.dirs.contains(dir) {
            self.dirs.insert(dir.to_owned());
        }
    }

    /// Forgets what lies in a folder that is going away.
    pub(crate) fn forget(&mut self, dir: &Path) {
        self.segments.retain(|_, segment| !segment.path().starts_with(dir));
        self.metadata.retain(|metadata| !metadata.path().starts_with(dir));
        self.dirs.remove(dir);
    }

    /// Writes the index entries that wait in memory, so that the extents taken now describe files.
    pub(crate) fn flush_indexes(&self, disk: &dyn Disk) -> Result<(), Error> {
        self.segments.values().try_for_each(|segment| segment.flush_indexes(disk))
    }

    fn sync(&self, disk: &dyn Disk, threads: usize) -> Result<(), Error> {
        let segments: Vec<&Arc<Segment>> = self.segments.values().collect();
        in_parallel(&segments, threads, |segment| {
            segment.sync(open(disk, segment.path())?.as_ref())?;
            segment.index_paths().iter().try_for_each(|path| open(disk, path)?.sync().map_err(Error::io("sync", path)))
        })?;
        self.metadata.iter().try_for_each(|metadata| metadata.sync(disk))?;
        // Deepest first: a folder's name counts only once what is in it does.
        for dir in self.dirs.iter().rev() {
            disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        }
        self.segments.values().for_each(|segment| segment.set_named());
        Ok(())
    }
}

fn open(disk: &dyn Disk, path: &Path) -> Result<Arc<dyn DiskFile>, Error> {
    disk.open(path, Open::Existing).map_err(Error::io("open", path))
}

impl Snapshot<&State> {
    /// Encodes it as the file is stored.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; HEADER_BYTES];
        serialize_into(&mut out, self);
        let (header, snapshot) = out.split_at_mut(HEADER_BYTES);
        header[0..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&crc32c::crc32c(snapshot).to_le_bytes());
        header[16..24].copy_from_slice(&(snapshot.len() as u64).to_le_bytes());
        out
    }
}

impl Snapshot<State> {
    fn decode(raw: &[u8]) -> Result<Self, String> {
        let (header, snapshot) = raw.split_at_checked(HEADER_BYTES).ok_or("its header is cut short")?;
        if !header.starts_with(MAGIC) {
            return Err("it does not begin as a checkpoint does".to_owned());
        }
        let version = [VERSION, VERSION_BEFORE_CLEANUP].into_iter().find(|it| header[8..12] == it.to_le_bytes());
        let version = version.ok_or("it was written by another version")?;
        if header[16..24] != (snapshot.len() as u64).to_le_bytes() {
            return Err("its length is not what it says".to_owned());
        }
        if header[12..16] != crc32c::crc32c(snapshot).to_le_bytes() {
            return Err("its checksum does not match".to_owned());
        }
        let decoded = match version {
            VERSION => postcard::from_bytes(snapshot),
            _ => postcard::from_bytes::<SnapshotV2>(snapshot).map(Self::from),
        };
        let mut decoded = decoded.map_err(|error| error.to_string())?;
        decoded.state.reindex();
        decoded.state.check()?;
        check_extents(&decoded.extents)?;
        Ok(decoded)
    }
}

/// Is a snapshot of version 2.
#[derive(Debug, Deserialize)]
struct SnapshotV2 {
    state: StateV2,
    journal: u64,
    extents: Extents,
    swaps: Vec<SwapV2>,
}

impl From<SnapshotV2> for Snapshot<State> {
    fn from(SnapshotV2 { state, journal, extents, swaps }: SnapshotV2) -> Self {
        Self { state: state.into(), journal, extents, swaps: swaps.into_iter().map(Swap::from).collect() }
    }
}

/// Checks that segments follow each other and could have the index entries they are said to have.
fn check_extents(extents: &Extents) -> Result<(), String> {
    for (_, partition, extents) in extents {
        let is_ordered = extents.is_sorted_by(|one, next| one.base_offset < next.base_offset);
        let is_sound = |extent: &Extent| {
            let entries = extent.offset_entries.max(extent.time_entries);
            extent.bytes <= SEGMENT_BYTES_MAX && entries <= extent.bytes && extent.base_offset <= i64::MAX as u64
        };
        if !is_ordered || !extents.iter().all(is_sound) {
            return Err(format!("the segments of a partition {partition} cannot be as they are described"));
        }
    }
    Ok(())
}

/// Reads the checkpoint in a data folder; `None` if there is none.
pub(crate) fn load(disk: &dyn Disk, dir: &Path) -> Result<Option<Snapshot<State>>, Error> {
    let path = dir.join(NAME);
    let file = match disk.open(&path, Open::Existing) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(Error::io("open", &path))?,
    };
    let mut raw = vec![0; file.len().map_err(Error::io("measure", &path))? as usize];
    let have = file.read_at(&mut raw, 0).map_err(Error::io("read", &path))?;
    Snapshot::decode(&raw[..have]).map(Some).map_err(|reason| Error::corrupt(&path, 0, reason))
}
