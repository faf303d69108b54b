//! The state of a lying disk: its files and folders, its faults, and the moments it has kept.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::faulty::chance::Chance;
use crate::faulty::moment::{Moment, Operation};
use crate::faulty::node::{Fate, Names, Naming, Node};

/// Tells of which files and folders syncs do nothing, though they say they did.
pub type IgnoredSyncs = fn(&Path) -> bool;

pub(super) const ROOT: usize = 0;

/// Is shared with the forks of the disk, node by node, until one of them changes it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) nodes: Vec<Arc<Node>>,
    /// Folders whose lock is held.
    pub(super) locked: BTreeSet<usize>,
    /// Counts restarts: a handle from before the last one is dead.
    pub(super) life: u64,
    pub(super) operations: u64,
    pub(super) cut_power_at: Option<u64>,
    pub(super) fail_at: Option<u64>,
    pub(super) capacity_bytes: u64,
    pub(super) ignored_syncs: Option<IgnoredSyncs>,
    pub(super) moments: Option<Vec<Moment>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            nodes: vec![Arc::new(Node::dir())],
            locked: BTreeSet::new(),
            life: 0,
            operations: 0,
            cut_power_at: None,
            fail_at: None,
            capacity_bytes: u64::MAX,
            ignored_syncs: None,
            moments: None,
        }
    }
}

impl State {
    /// Copies files, folders and bounds; faults to come, locks and kept moments stay behind.
    pub(super) fn fork(&self) -> Self {
        Self {
            nodes: self.nodes.clone(),
            operations: self.operations,
            capacity_bytes: self.capacity_bytes,
            ignored_syncs: self.ignored_syncs,
            ..Self::default()
        }
    }

    /// Counts an operation; fails if it is to fail.
    pub(super) fn operate(&mut self, operation: impl FnOnce() -> Operation) -> io::Result<()> {
        let number = self.operations;
        if self.moments.is_some() {
            let moment = Moment::new(number, operation(), self.fork());
            self.moments.get_or_insert_default().push(moment);
        }
        self.operations += 1;
        if self.cut_power_at.is_some_and(|cut| number >= cut) {
            return Err(power_cut());
        }
        if self.fail_at == Some(number) {
            return Err(io::Error::other("the disk failed, as it was told to"));
        }
        Ok(())
    }

    pub(super) fn sync(&mut self, node: usize, path: &Path) -> io::Result<()> {
        if let Err(error) = self.operate(|| Operation::Sync(node)) {
            // The pages count as clean now: no later sync writes them.
            self.node_mut(node).fail_to_sync(None);
            return Err(error);
        }
        if self.ignored_syncs.is_none_or(|ignores| !ignores(path)) && !self.nodes[node].is_durable() {
            self.node_mut(node).sync();
        }
        Ok(())
    }

    pub(super) fn crash(&mut self, seed: u64) {
        let mut chance = Chance(seed);
        let fate = match chance.below(8) {
            0 => Fate::Lost,
            1 => Fate::Kept,
            _ => Fate::Mixed,
        };
        self.restart();
        for node in self.nodes.iter_mut().filter(|node| !node.is_durable()) {
            Arc::make_mut(node).crash(&mut chance, fate);
        }
    }

    pub(super) fn restart(&mut self) {
        self.life += 1;
        self.locked.clear();
        (self.cut_power_at, self.fail_at) = (None, None);
    }

    pub(super) fn node_mut(&mut self, node: usize) -> &mut Node {
        Arc::make_mut(&mut self.nodes[node])
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<usize> {
        components(path).try_fold(ROOT, |at, name| self.names(at)?.get(&name).copied().ok_or_else(not_found))
    }

    /// Finds the folder that holds, or would hold, `path`, and the name in it.
    pub(super) fn place(&self, path: &Path) -> io::Result<(usize, String)> {
        let name = components(path).last().ok_or_else(not_found)?;
        let dir = self.find(path.parent().ok_or_else(not_found)?)?;
        self.names(dir)?;
        Ok((dir, name))
    }

    pub(super) fn names(&self, dir: usize) -> io::Result<&Names> {
        match &*self.nodes[dir] {
            Node::Dir { names, .. } => Ok(names),
            Node::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn add(&mut self, dir: usize, name: String, node: Node) -> usize {
        self.nodes.push(Arc::new(node));
        let added = self.nodes.len() - 1;
        self.node_mut(dir).name(Naming::Add(name, added));
        added
    }

    /// Tells whether `more` bytes find room.
    pub(super) fn has_room(&self, more: u64) -> bool {
        more == 0 || self.capacity_bytes == u64::MAX || self.used() + more <= self.capacity_bytes
    }

    /// Sums the bytes of all files that have a name.
    pub(super) fn used(&self) -> u64 {
        self.paths().iter().map(|(_, node)| self.nodes[*node].len()).sum()
    }

    /// Finds a path of a node; the root's if it has no name.
    pub(super) fn path_of(&self, node: usize) -> PathBuf {
        let found = self.paths().into_iter().find(|(_, other)| *other == node);
        found.map_or_else(|| PathBuf::from("/"), |(path, _)| path)
    }

    /// Lists all that has a name.
    pub(super) fn paths(&self) -> Vec<(PathBuf, usize)> {
        let (mut found, mut dirs) = (Vec::new(), vec![(PathBuf::from("/"), ROOT)]);
        while let Some((path, dir)) = dirs.pop() {
            let Node::Dir { names, .. } = &*self.nodes[dir] else { continue };
            for (name, &node) in names {
                found.push((path.join(name), node));
                dirs.extend(self.nodes[node].is_dir().then(|| (path.join(name), node)));
            }
        }
        found
    }
}

pub(super) fn components(path: &Path) -> impl Iterator<Item = String> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    })
}

pub(super) fn not_found() -> io::Error {
    ErrorKind::NotFound.into()
}

pub(super) fn power_cut() -> io::Error {
    io::Error::other("the power is cut")
}
