//! One moment in a disk's life: how it was right before an operation, and which operation that was.
//!
//! A workload is run once and each of its moments kept; a test then cuts the power in each, as often and in as many ways as it likes.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use crate::faulty::FaultyDisk;
use crate::faulty::chance::Chance;
use crate::faulty::node::Write;
use crate::faulty::state::State;

/// Holds a disk as it was before one of its operations.
#[derive(Debug)]
pub struct Moment {
    number: u64,
    operation: Operation,
    state: State,
}

/// Says what was about to happen.
#[derive(Debug)]
pub(super) enum Operation {
    Write(usize, Write),
    Sync(usize),
    Create(PathBuf),
    CreateDir(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Moment {
    pub(super) fn new(number: u64, operation: Operation, state: State) -> Self {
        Self { number, operation, state }
    }

    /// Gives the operation's number, as [`FaultyDisk::operations`] counts them: so many had happened.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Gives a disk on which the power fails in this moment: `seed` decides what remains of what was not synced.
    pub fn crashed(&self, seed: u64) -> FaultyDisk {
        let mut state = self.state.fork();
        state.crash(seed);
        FaultyDisk::with(state)
    }

    /// Gives a disk on which the process is killed in this moment: all that was written can be read.
    pub fn killed(&self) -> FaultyDisk {
        FaultyDisk::with(self.state.fork())
    }

    /// Gives a disk on which the operation fails and the process ends, while the operating system goes on. A failed write may have written
    /// a beginning; what a failed sync should have made durable may never be, though it can be read.
    pub fn failed(&self, seed: u64) -> FaultyDisk {
        let (mut state, mut chance) = (self.state.fork(), Chance(seed));
        match &self.operation {
            Operation::Write(node, write) => {
                if let Some(beginning) = write.beginning(&mut chance) {
                    let _no_folder_is_written = state.node_mut(*node).write(beginning);
                }
            }
            Operation::Sync(node) => {
                let some_is_kept = chance.of(2);
                state.node_mut(*node).fail_to_sync(some_is_kept.then_some(&mut chance));
            }
            _ => {}
        }
        FaultyDisk::with(state)
    }
}

impl Display for Moment {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.number)?;
        match &self.operation {
            Operation::Write(node, Write::Bytes(position, bytes)) => {
                let path = self.state.path_of(*node);
                write!(f, "write {} {position}..{}", path.display(), position + bytes.len() as u64)
            }
            Operation::Write(node, Write::Len(len)) => {
                write!(f, "set length of {} to {len}", self.state.path_of(*node).display())
            }
            Operation::Sync(node) => write!(f, "sync {}", self.state.path_of(*node).display()),
            Operation::Create(path) => write!(f, "create {}", path.display()),
            Operation::CreateDir(path) => write!(f, "create folder {}", path.display()),
            Operation::Rename(from, to) => write!(f, "rename {} to {}", from.display(), to.display()),
            Operation::Remove(path) => write!(f, "remove {}", path.display()),
        }
    }
}
