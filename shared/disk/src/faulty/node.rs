//! What a lying disk keeps of one file or folder: how it looks now, what is durable, and what lies between.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use crate::faulty::chance::Chance;

/// Bytes that a torn write keeps or loses together.
const SECTOR_BYTES: usize = 512;

/// A file or folder. What is durable is what a power cut cannot take. Cheap to clone: bytes are shared until written.
#[derive(Debug, Clone)]
pub(super) enum Node {
    File(FileNode),
    Dir { names: Names, durable: Names, unsynced: Vec<Naming> },
}

#[derive(Debug, Clone, Default)]
pub(super) struct FileNode {
    content: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    unsynced: Vec<Write>,
    /// A sync failed: what it should have kept can be read, and no later sync keeps it.
    forgotten: bool,
}

pub(super) type Names = BTreeMap<String, usize>;

#[derive(Debug, Clone)]
pub(super) enum Write {
    Bytes(u64, Arc<[u8]>),
    Len(u64),
}

#[derive(Debug, Clone)]
pub(super) enum Naming {
    Add(String, usize),
    Remove(String),
    Rename(String, String, usize),
}

impl Node {
    pub(super) fn file() -> Self {
        Self::File(FileNode::default())
    }

    pub(super) fn dir() -> Self {
        Self::Dir { names: Names::new(), durable: Names::new(), unsynced: Vec::new() }
    }

    pub(super) fn is_dir(&self) -> bool {
        matches!(self, Self::Dir { .. })
    }

    pub(super) fn len(&self) -> u64 {
        self.content().len() as u64
    }

    pub(super) fn content(&self) -> &[u8] {
        match self {
            Self::File(file) => &file.content,
            Self::Dir { .. } => &[],
        }
    }

    pub(super) fn write(&mut self, write: Write) -> io::Result<()> {
        let Self::File(file) = self else { return Err(ErrorKind::IsADirectory.into()) };
        write.apply(Arc::make_mut(&mut file.content));
        file.unsynced.push(write);
        Ok(())
    }

    pub(super) fn name(&mut self, naming: Naming) {
        if let Self::Dir { names, unsynced, .. } = self {
            naming.apply(names);
            unsynced.push(naming);
        }
    }

    pub(super) fn sync(&mut self) {
        match self {
            Self::File(file) if !file.forgotten => {
                file.unsynced.clear();
                file.durable = file.content.clone();
            }
            Self::File(file) => {
                let durable = Arc::make_mut(&mut file.durable);
                file.unsynced.drain(..).for_each(|write| write.apply(durable));
            }
            Self::Dir { durable, unsynced, .. } => unsynced.drain(..).for_each(|naming| naming.apply(durable)),
        }
    }

    /// Lets a file look as it does, though only some of it, or nothing, will ever be durable. Names are kept: a file system that fails
    /// there stops altogether.
    pub(super) fn fail_to_sync(&mut self, mut chance: Option<&mut Chance>) {
        let Self::File(file) = self else { return };
        for write in file.unsynced.drain(..) {
            if let Some(chance) = &mut chance {
                write.apply_torn(Arc::make_mut(&mut file.durable), chance);
            }
            file.forgotten = true;
        }
    }

    /// Flips a bit of what can be read and of what is durable.
    pub(super) fn flip_bit(&mut self, position: usize) -> Option<()> {
        let Self::File(file) = self else { return None };
        *Arc::make_mut(&mut file.content).get_mut(position)? ^= 1;
        if let Some(byte) = Arc::make_mut(&mut file.durable).get_mut(position) {
            *byte ^= 1;
        }
        Some(())
    }

    /// Tells whether a power cut changes nothing.
    pub(super) fn is_durable(&self) -> bool {
        match self {
            Self::File(file) => file.unsynced.is_empty() && !file.forgotten,
            Self::Dir { unsynced, .. } => unsynced.is_empty(),
        }
    }

    pub(super) fn crash(&mut self, chance: &mut Chance, fate: Fate) {
        match self {
            Self::File(file) => {
                let durable = Arc::make_mut(&mut file.durable);
                for write in file.unsynced.drain(..) {
                    match fate {
                        Fate::Lost => {}
                        Fate::Kept => write.apply(durable),
                        Fate::Mixed => write.apply_torn(durable, chance),
                    }
                }
                (file.content, file.forgotten) = (file.durable.clone(), false);
            }
            Self::Dir { names, durable, unsynced } => {
                for naming in unsynced.drain(..) {
                    if fate == Fate::Kept || (fate == Fate::Mixed && chance.of(2)) {
                        naming.apply(durable);
                    }
                }
                names.clone_from(durable);
            }
        }
    }
}

/// Says what a power cut does to what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// All of it is gone.
    Lost,
    /// All of it had reached the device.
    Kept,
    /// Each write and name is kept, lost or torn on its own.
    Mixed,
}

impl Write {
    pub(super) fn end(&self) -> u64 {
        match self {
            Self::Bytes(position, bytes) => position + bytes.len() as u64,
            Self::Len(len) => *len,
        }
    }

    pub(super) fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Bytes(position, bytes) => put(content, *position, bytes),
            Self::Len(len) => content.resize(*len as usize, 0),
        }
    }

    /// Applies all, nothing, a beginning, or any sectors of it.
    pub(super) fn apply_torn(&self, content: &mut Vec<u8>, chance: &mut Chance) {
        let Self::Bytes(position, bytes) = self else {
            return if chance.of(2) {
                self.apply(content)
            };
        };
        match chance.below(4) {
            0 => self.apply(content),
            1 => {}
            2 => {
                let kept = chance.below(bytes.len() as u64 + 1) as usize;
                put(content, *position, &bytes[..kept]);
            }
            _ => {
                let mut at = *position;
                for sector in sectors(*position, bytes) {
                    if chance.of(2) {
                        put(content, at, sector);
                    }
                    at += sector.len() as u64;
                }
            }
        }
    }

    /// Gives a beginning of it, as a failed write may leave.
    pub(super) fn beginning(&self, chance: &mut Chance) -> Option<Self> {
        match self {
            Self::Bytes(position, bytes) if chance.of(2) => {
                let kept = chance.below(bytes.len() as u64 + 1) as usize;
                Some(Self::Bytes(*position, bytes[..kept].into()))
            }
            _ => None,
        }
    }
}

impl Naming {
    pub(super) fn apply(&self, names: &mut Names) {
        match self {
            Self::Add(name, node) => {
                names.insert(name.clone(), *node);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

fn put(content: &mut Vec<u8>, position: u64, bytes: &[u8]) {
    let start = position as usize;
    content.resize(content.len().max(start + bytes.len()), 0);
    content[start..start + bytes.len()].copy_from_slice(bytes);
}

/// Cuts a write where the device's sectors end.
fn sectors(position: u64, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let first = (SECTOR_BYTES - position as usize % SECTOR_BYTES).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    std::iter::once(head).chain(rest.chunks(SECTOR_BYTES))
}
