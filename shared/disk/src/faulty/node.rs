//! What a lying disk keeps of one file or folder: how it looks now, what is durable, and what lies between.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::faulty::chance::Chance;

/// Bytes that a torn write keeps or loses together.
const SECTOR_BYTES: usize = 512;

/// A file or folder. What is durable is what a power cut cannot take.
#[derive(Debug)]
pub(super) enum Node {
    File { content: Vec<u8>, durable: Vec<u8>, unsynced: Vec<Write> },
    Dir { names: Names, durable: Names, unsynced: Vec<Naming>, lock: Arc<AtomicBool> },
}

pub(super) type Names = BTreeMap<String, usize>;

#[derive(Debug, Clone)]
pub(super) enum Write {
    Bytes(u64, Vec<u8>),
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
        Self::File { content: Vec::new(), durable: Vec::new(), unsynced: Vec::new() }
    }

    pub(super) fn dir() -> Self {
        Self::Dir { names: Names::new(), durable: Names::new(), unsynced: Vec::new(), lock: Arc::default() }
    }

    pub(super) fn is_dir(&self) -> bool {
        matches!(self, Self::Dir { .. })
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::File { content, .. } => content.len() as u64,
            Self::Dir { .. } => 0,
        }
    }

    pub(super) fn write(&mut self, write: Write) -> io::Result<()> {
        let Self::File { content, unsynced, .. } = self else { return Err(ErrorKind::IsADirectory.into()) };
        write.apply(content);
        unsynced.push(write);
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
            Self::File { durable, unsynced, .. } => unsynced.drain(..).for_each(|write| write.apply(durable)),
            Self::Dir { durable, unsynced, .. } => unsynced.drain(..).for_each(|naming| naming.apply(durable)),
        }
    }

    /// Lets a file look as it does without ever becoming durable so. Names are kept: a file system that fails there stops altogether.
    pub(super) fn forget_unsynced(&mut self) {
        if let Self::File { unsynced, .. } = self {
            unsynced.clear();
        }
    }

    pub(super) fn crash(&mut self, chance: &mut Chance) {
        match self {
            Self::File { content, durable, unsynced } => {
                for write in unsynced.drain(..) {
                    write.apply_torn(durable, chance);
                }
                content.clone_from(durable);
            }
            Self::Dir { names, durable, unsynced, lock } => {
                for naming in unsynced.drain(..) {
                    if chance.of(2) {
                        naming.apply(durable);
                    }
                }
                names.clone_from(durable);
                *lock = Arc::default();
            }
        }
    }
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
            Self::Bytes(position, bytes) => {
                let start = *position as usize;
                content.resize(content.len().max(start + bytes.len()), 0);
                content[start..start + bytes.len()].copy_from_slice(bytes);
            }
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
                Self::Bytes(*position, bytes[..kept].to_vec()).apply(content);
            }
            _ => {
                let mut at = *position;
                for sector in sectors(*position, bytes) {
                    if chance.of(2) {
                        Self::Bytes(at, sector.to_vec()).apply(content);
                    }
                    at += sector.len() as u64;
                }
            }
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

/// Cuts a write where the device's sectors end.
fn sectors(position: u64, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let first = (SECTOR_BYTES - position as usize % SECTOR_BYTES).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    std::iter::once(head).chain(rest.chunks(SECTOR_BYTES))
}
