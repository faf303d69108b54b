//! The twin of a disk that lies as a real one may: in memory, with what is durable and what is merely written kept apart.
//!
//! [`FaultyDisk::crash`] throws away what was not synced: of each file's unsynced writes some are kept, some lost, some torn at sector
//! bounds, whatever their order; of each folder's unsynced names likewise. [`FaultyDisk::cut_power_at`] lets every operation from the
//! n-th on fail, so that a test can crash at each; [`FaultyDisk::fail_at`] lets one fail, and a failed sync of a file forgets what it
//! should have kept, as Linux does. Deterministic: one seed, one outcome.

mod chance;
mod node;

use std::io::{self, ErrorKind};
use std::path::{Component, Path};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile, Entry, Open};
use chance::Chance;
use node::{Names, Naming, Node, Write};

/// Stands for one machine's disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    nodes: Vec<Node>,
    /// Counts power cuts: a handle from before the last one is dead.
    life: u64,
    operations: u64,
    cut_power_at: Option<u64>,
    fail_at: Option<u64>,
    capacity_bytes: u64,
}

const ROOT: usize = 0;

impl Default for State {
    fn default() -> Self {
        let nodes = vec![Node::dir()];
        Self { nodes, life: 0, operations: 0, cut_power_at: None, fail_at: None, capacity_bytes: u64::MAX }
    }
}

impl FaultyDisk {
    /// Makes an empty disk of unbounded size without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts the operations so far that change something or make it durable.
    pub fn operations(&self) -> u64 {
        self.lock().operations
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

    /// Bounds the bytes of all files together.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().capacity_bytes = bytes;
    }

    /// Cuts the power and switches it on again: `seed` decides what remains of what was not synced. Open files and locks are dead.
    pub fn crash(&self, seed: u64) {
        let mut state = self.lock();
        let mut chance = Chance(seed);
        state.life += 1;
        (state.cut_power_at, state.fail_at) = (None, None);
        state.nodes.iter_mut().for_each(|node| node.crash(&mut chance));
    }

    /// Flips one bit of a file, durably: damage no sync protects from.
    ///
    /// # Errors
    /// `NotFound` if there is no such file or byte.
    pub fn flip_bit(&self, path: &Path, position: u64) -> io::Result<()> {
        let mut state = self.lock();
        let node = state.find(path)?;
        let Node::File { content, durable, .. } = &mut state.nodes[node] else { return Err(not_found()) };
        let byte = content.get_mut(position as usize).ok_or_else(not_found)?;
        *byte ^= 1;
        if let Some(byte) = durable.get_mut(position as usize) {
            *byte ^= 1;
        }
        Ok(())
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
                    state.operate()?;
                    state.nodes[node].write(Write::Len(0))?;
                }
                node
            }
            Err(_) if how != Open::Existing => {
                state.operate()?;
                let (dir, name) = state.place(path)?;
                state.add(dir, name, Node::file())
            }
            Err(error) => return Err(error),
        };
        match state.nodes[node] {
            Node::File { .. } => Ok(Arc::new(FaultyFile { disk: self.clone(), node, life: state.life })),
            Node::Dir { .. } => Err(ErrorKind::IsADirectory.into()),
        }
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
                    state.operate()?;
                    state.add(at, name, Node::dir())
                }
            };
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let node = state.find(from)?;
        let ((dir, from), (to_dir, to)) = (state.place(from)?, state.place(to)?);
        if dir != to_dir {
            return Err(ErrorKind::CrossesDevices.into());
        }
        state.operate()?;
        state.nodes[dir].name(Naming::Rename(from, to, node));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if state.find(path).is_err() {
            return Ok(());
        }
        let (dir, name) = state.place(path)?;
        state.operate()?;
        state.nodes[dir].name(Naming::Remove(name));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let node = state.find(dir)?;
        state.sync(node)
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        let state = self.lock();
        Ok(state.capacity_bytes.saturating_sub(state.used()))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let mut state = self.lock();
        let (dir, _) = state.place(path)?;
        let Node::Dir { lock, .. } = &mut state.nodes[dir] else { return Err(not_found()) };
        let taken = lock.swap(true, Ordering::AcqRel);
        Ok((!taken).then(|| Box::new(Held(lock.clone())) as Box<dyn Send + Sync>))
    }
}

/// Holds a folder's lock.
struct Held(Arc<AtomicBool>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    node: usize,
    life: u64,
}

impl FaultyFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.lock();
        if state.life == self.life { Ok(state) } else { Err(power_cut()) }
    }

    fn write(&self, write: Write) -> io::Result<()> {
        let mut state = self.state()?;
        state.operate()?;
        let grown = write.end().saturating_sub(state.nodes[self.node].len());
        if grown > 0 && state.used() + grown > state.capacity_bytes {
            return Err(ErrorKind::StorageFull.into());
        }
        state.nodes[self.node].write(write)
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        let state = self.state()?;
        let Node::File { content, .. } = &state.nodes[self.node] else { return Err(not_found()) };
        let rest = content.get(position as usize..).unwrap_or_default();
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.write(Write::Bytes(position, bytes.to_vec()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.write(Write::Len(len))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if self.len()? < len { self.write(Write::Len(len)) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        self.state()?.sync(self.node)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state()?.nodes[self.node].len())
    }
}

impl State {
    /// Counts an operation; fails if it is to fail.
    fn operate(&mut self) -> io::Result<()> {
        let operation = self.operations;
        self.operations += 1;
        if self.cut_power_at.is_some_and(|cut| operation >= cut) {
            return Err(power_cut());
        }
        if self.fail_at == Some(operation) {
            return Err(io::Error::other("the disk failed, as it was told to"));
        }
        Ok(())
    }

    fn sync(&mut self, node: usize) -> io::Result<()> {
        match self.operate() {
            Ok(()) => self.nodes[node].sync(),
            Err(error) => {
                // The pages count as clean now: no later sync writes them.
                self.nodes[node].forget_unsynced();
                return Err(error);
            }
        }
        Ok(())
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        components(path).try_fold(ROOT, |at, name| self.names(at)?.get(&name).copied().ok_or_else(not_found))
    }

    /// Finds the folder that holds, or would hold, `path`, and the name in it.
    fn place(&self, path: &Path) -> io::Result<(usize, String)> {
        let name = components(path).last().ok_or_else(not_found)?;
        let dir = self.find(path.parent().ok_or_else(not_found)?)?;
        self.names(dir)?;
        Ok((dir, name))
    }

    fn names(&self, dir: usize) -> io::Result<&Names> {
        match &self.nodes[dir] {
            Node::Dir { names, .. } => Ok(names),
            Node::File { .. } => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn add(&mut self, dir: usize, name: String, node: Node) -> usize {
        self.nodes.push(node);
        let added = self.nodes.len() - 1;
        self.nodes[dir].name(Naming::Add(name, added));
        added
    }

    /// Sums the bytes of all files that have a name.
    fn used(&self) -> u64 {
        let (mut used, mut dirs) = (0, vec![ROOT]);
        while let Some(dir) = dirs.pop() {
            let Node::Dir { names, .. } = &self.nodes[dir] else { continue };
            for &node in names.values() {
                used += self.nodes[node].len();
                dirs.extend(self.nodes[node].is_dir().then_some(node));
            }
        }
        used
    }
}

fn components(path: &Path) -> impl Iterator<Item = String> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    })
}

fn not_found() -> io::Error {
    ErrorKind::NotFound.into()
}

fn power_cut() -> io::Error {
    io::Error::other("the power is cut")
}
