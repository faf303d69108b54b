//! The twin of a disk that lies as a real one may: in memory, with what is durable and what is merely written kept apart.
//!
//! [`FaultyDisk::crash`] throws away what was not synced: of each file's unsynced writes some are kept, some lost, some torn at sector
//! bounds, whatever their order; of each folder's unsynced names likewise. [`FaultyDisk::cut_power_at`] lets every operation from the
//! n-th on fail, so that a test can crash at each; [`FaultyDisk::fail_at`] lets one fail, and a failed sync of a file forgets what it
//! should have kept, as Linux does. [`FaultyDisk::keep_moments`] keeps the disk as it was before every operation, so that one run of a
//! workload serves for all its crashes. Deterministic: one seed, one outcome.

mod chance;
mod moment;
mod node;
mod state;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile, Entry, Open};
use moment::Operation;
use node::{Naming, Node, Write};
use state::{ROOT, State, components, not_found, power_cut};

pub use moment::Moment;
pub use state::IgnoredSyncs;

/// Stands for one machine's disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
}

impl FaultyDisk {
    /// Makes an empty disk of unbounded size without faults.
    pub fn new() -> Self {
        Self::default()
    }

    fn with(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Makes another disk that looks like this one and lives on by itself. Faults to come, held locks and kept moments are not copied.
    pub fn fork(&self) -> Self {
        Self::with(self.lock().fork())
    }

    /// Counts the operations so far that change something or make it durable.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Keeps the disk as it is before every operation from now on.
    pub fn keep_moments(&self) {
        self.lock().moments.get_or_insert_default();
    }

    /// Gives the moments kept so far, in order, and keeps no more.
    pub fn take_moments(&self) -> Vec<Moment> {
        self.lock().moments.take().unwrap_or_default()
    }

    /// Lets every operation from this one on fail (they count from 0), until [`FaultyDisk::crash`].
    pub fn cut_power_at(&self, operation: u64) {
        self.lock().cut_power_at = Some(operation);
    }

    /// Lets this one operation fail. If it is a sync of a file, what it should have made durable never will
    /// be, though it can be read.
    pub fn fail_at(&self, operation: u64) {
        self.lock().fail_at = Some(operation);
    }

    /// Lets syncs of certain files and folders do nothing, and say that all is well: what no log survives.
    pub fn ignore_syncs_of(&self, ignored: IgnoredSyncs) {
        self.lock().ignored_syncs = Some(ignored);
    }

    /// Bounds the bytes of all files together.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().capacity_bytes = bytes;
    }

    /// Cuts the power and switches it on again: `seed` decides what remains of what was not synced. Open files and locks are dead.
    pub fn crash(&self, seed: u64) {
        self.lock().crash(seed);
    }

    /// Flips one bit of a file, durably: damage no sync protects from.
    ///
    /// # Errors
    /// `NotFound` if there is no such file or byte.
    pub fn flip_bit(&self, path: &Path, position: u64) -> io::Result<()> {
        let mut state = self.lock();
        let node = state.find(path)?;
        state.node_mut(node).flip_bit(position as usize).ok_or_else(not_found)
    }

    /// Lists the paths of all files, in order.
    pub fn files(&self) -> Vec<PathBuf> {
        let state = self.lock();
        let files = state.paths().into_iter().filter(|(_, node)| !state.nodes[*node].is_dir());
        let mut files: Vec<PathBuf> = files.map(|(path, _)| path).collect();
        files.sort();
        files
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        let node = match state.find(path) {
            Ok(node) => {
                if how == Open::Empty {
                    state.operate(|| Operation::Write(node, Write::Len(0)))?;
                    state.node_mut(node).write(Write::Len(0))?;
                }
                node
            }
            Err(_) if how != Open::Existing => {
                state.operate(|| Operation::Create(path.to_owned()))?;
                let (dir, name) = state.place(path)?;
                state.add(dir, name, Node::file())
            }
            Err(error) => return Err(error),
        };
        if state.nodes[node].is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        }
        Ok(Arc::new(FaultyFile { disk: self.clone(), node, life: state.life, path: path.to_owned() }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let state = self.lock();
        let names = state.names(state.find(dir)?)?;
        let entry = |(name, node): (&String, &usize)| Entry { name: name.clone(), is_dir: state.nodes[*node].is_dir() };
        Ok(names.iter().map(entry).collect())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let mut at = ROOT;
        for name in components(dir) {
            at = match state.names(at)?.get(&name) {
                Some(node) => *node,
                None => {
                    state.operate(|| Operation::CreateDir(dir.to_owned()))?;
                    state.add(at, name, Node::dir())
                }
            };
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let node = state.find(from)?;
        let ((dir, from_name), (to_dir, to_name)) = (state.place(from)?, state.place(to)?);
        if dir != to_dir {
            return Err(ErrorKind::CrossesDevices.into());
        }
        state.operate(|| Operation::Rename(from.to_owned(), to.to_owned()))?;
        state.node_mut(dir).name(Naming::Rename(from_name, to_name, node));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if state.find(path).is_err() {
            return Ok(());
        }
        let (dir, name) = state.place(path)?;
        state.operate(|| Operation::Remove(path.to_owned()))?;
        state.node_mut(dir).name(Naming::Remove(name));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let node = state.find(dir)?;
        state.sync(node, dir)
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        let state = self.lock();
        let is_bounded = state.capacity_bytes != u64::MAX;
        Ok(if is_bounded { state.capacity_bytes.saturating_sub(state.used()) } else { u64::MAX / 2 })
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let mut state = self.lock();
        let (dir, _) = state.place(path)?;
        if !state.locked.insert(dir) {
            return Ok(None);
        }
        Ok(Some(Box::new(Held { disk: self.clone(), dir, life: state.life })))
    }
}

/// Holds a folder's lock.
struct Held {
    disk: FaultyDisk,
    dir: usize,
    life: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.disk.lock();
        if state.life == self.life {
            state.locked.remove(&self.dir);
        }
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    node: usize,
    life: u64,
    path: PathBuf,
}

impl FaultyFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.lock();
        if state.life == self.life { Ok(state) } else { Err(power_cut()) }
    }

    fn write(&self, write: Write) -> io::Result<()> {
        let mut state = self.state()?;
        state.operate(|| Operation::Write(self.node, write.clone()))?;
        if !state.has_room(write.end().saturating_sub(state.nodes[self.node].len())) {
            return Err(ErrorKind::StorageFull.into());
        }
        state.node_mut(self.node).write(write)
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        let state = self.state()?;
        let rest = state.nodes[self.node].content().get(position as usize..).unwrap_or_default();
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.write(Write::Bytes(position, bytes.into()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.write(Write::Len(len))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if self.len()? < len { self.write(Write::Len(len)) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        self.state()?.sync(self.node, &self.path)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state()?.nodes[self.node].len())
    }
}
