//! Reads back, in recovery, the batches that were written straight to their segments, and says how far the journal holds with them.
//!
//! A frame counts only if every batch it does not hold itself is at its place, whole. Batches of a topic that a later, valid frame
//! deletes do not matter: their folder may be gone.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::BytesMut;
use skidway_disk::{Disk, DiskFile, Open};
use skidway_record::{Batch, Offset, TopicName, TopicPartition};

use crate::effects::{Append, Change, Effects, TopicId};
use crate::error::Error;
use crate::partition::{dir_name, topic_of_dir, write_metadata_again};
use crate::replay::Tail;
use crate::segment::log_name;
use crate::state::State;

/// Finds direct batches by what the checkpoint and the journal say of topics.
#[derive(Debug)]
pub(crate) struct Direct {
    disk: Arc<dyn Disk>,
    topics_dir: PathBuf,
    names: HashMap<TopicId, TopicName>,
    /// LSN of the commit that deletes a topic.
    deleted_at: HashMap<TopicId, u64>,
    /// The last commit that a later one says was durable.
    durable_lsn: u64,
    /// Folders that are their partition's own.
    checked_dirs: HashSet<(TopicId, u32)>,
    open: Option<(PathBuf, Arc<dyn DiskFile>)>,
}

impl Direct {
    /// Begins with the topics of a checkpoint.
    pub(crate) fn new(disk: &Arc<dyn Disk>, topics_dir: PathBuf, state: &State) -> Self {
        Self {
            disk: disk.clone(),
            topics_dir,
            names: state.topics().map(|held| (held.topic.id, held.topic.name.clone())).collect(),
            deleted_at: HashMap::new(),
            durable_lsn: 0,
            checked_dirs: HashSet::new(),
            open: None,
        }
    }

    /// Finds the last commit after `lsn` that is valid with all before it.
    pub(crate) fn sound_end(&mut self, tail: &Tail, lsn: u64) -> Result<u64, Error> {
        let mut next = lsn;
        let mut end = tail.replay(lsn, u64::MAX, |frame| {
            next += 1;
            self.durable_lsn = self.durable_lsn.max(frame.header.durable_lsn);
            self.note_topics(&frame.effects, next);
            Ok(true)
        })?;
        // A deletion that turns out not to be valid makes the batches before it matter again.
        loop {
            let sound = tail.replay(lsn, end, |frame| self.are_sound(&frame.effects, end))?;
            if sound == end {
                return Ok(end);
            }
            end = sound;
        }
    }

    /// Reads the direct batches of a commit, in order.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if one that was sound is not any more (halt).
    pub(crate) fn batches_of(&mut self, effects: &Effects) -> Result<Vec<Batch>, Error> {
        let mut batches = Vec::new();
        for append in effects.appends().filter(|append| append.direct.is_some()) {
            let batch = self.read(append)?;
            let changed = || Error::corrupt(&self.topics_dir, append.position, "a batch changed while it was read");
            batches.push(batch.ok_or_else(changed)?);
        }
        Ok(batches)
    }

    /// Makes durable what says that topics are deleted, before their folders are removed for it: a killed process may have left the last
    /// commits in the page cache only, and without them the folders are still needed.
    pub(crate) fn settle_deletions(&mut self, tail: &Tail, lsn: u64, end: u64) -> Result<(), Error> {
        if !self.deleted_at.values().any(|&lsn| lsn <= end) || self.durable_lsn >= end {
            return Ok(());
        }
        let (mut next, mut dirs) = (lsn, BTreeSet::from([self.topics_dir.clone()]));
        tail.replay(lsn, end, |frame| {
            next += 1;
            if next > self.durable_lsn {
                self.write_again(&frame.effects, end, &mut dirs)?;
            }
            Ok(true)
        })?;
        for dir in dirs.iter().rev() {
            self.disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        }
        tail.write_again(lsn, self.durable_lsn, end)
    }

    /// Writes a commit's direct batches again where they are, and syncs them. Adds the folders whose names count to `dirs`.
    fn write_again(&mut self, effects: &Effects, end: u64, dirs: &mut BTreeSet<PathBuf>) -> Result<(), Error> {
        for append in effects.appends().filter(|append| append.direct.is_some()) {
            if self.deleted_at.get(&append.topic).is_some_and(|&lsn| lsn <= end) {
                continue;
            }
            let batch = self.read(append)?;
            let (Some(batch), Some((path, file))) = (batch, &self.open) else {
                let reason = "a batch changed while it was read";
                return Err(Error::corrupt(&self.topics_dir, append.position, reason));
            };
            file.write_at(batch.bytes(), append.position).map_err(Error::io("write", path))?;
            file.sync().map_err(Error::io("sync", path))?;
            if let Some(dir) = path.parent().filter(|dir| !dirs.contains(*dir)) {
                write_metadata_again(self.disk.as_ref(), dir)?;
                dirs.insert(dir.to_owned());
            }
        }
        Ok(())
    }

    fn note_topics(&mut self, effects: &Effects, lsn: u64) {
        for change in &effects.changes {
            match change {
                Change::TopicPut { topic, .. } => {
                    self.names.insert(topic.id, topic.name.clone());
                }
                Change::TopicDeleted(topic) => {
                    self.deleted_at.insert(*topic, lsn);
                }
                _ => {}
            }
        }
    }

    fn are_sound(&mut self, effects: &Effects, end: u64) -> Result<bool, Error> {
        for append in effects.appends().filter(|append| append.direct.is_some()) {
            let matters = self.deleted_at.get(&append.topic).is_none_or(|&lsn| lsn > end);
            if matters && self.read(append)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads a batch at its place; `None` if it is not there as it was written.
    fn read(&mut self, append: &Append) -> Result<Option<Batch>, Error> {
        let Some(file) = self.open(append)? else { return Ok(None) };
        let mut raw = BytesMut::zeroed(append.bytes as usize);
        let have = file.read_at(&mut raw, append.position).map_err(Error::io("read a segment in", &self.topics_dir))?;
        if have < raw.len() || append.direct != Some(crc32c::crc32c(&raw)) {
            return Ok(None);
        }
        let batch = Batch::take(&mut raw.freeze()).ok();
        let covers = (Offset(append.base_offset), Offset(append.next_offset));
        Ok(batch.filter(|batch| (batch.base_offset(), batch.next_offset()) == covers))
    }

    /// Opens the segment of an append; `None` if it is not there, or its folder is another topic's.
    fn open(&mut self, append: &Append) -> Result<Option<Arc<dyn DiskFile>>, Error> {
        let Some(name) = self.names.get(&append.topic) else { return Ok(None) };
        let dir = self.topics_dir.join(dir_name(&TopicPartition::new(name.clone(), append.partition)));
        if !self.checked_dirs.contains(&(append.topic, append.partition)) {
            if topic_of_dir(self.disk.as_ref(), &dir) != Some(append.topic) {
                return Ok(None);
            }
            self.checked_dirs.insert((append.topic, append.partition));
        }
        let path = dir.join(log_name(append.segment));
        if let Some((_, file)) = self.open.as_ref().filter(|(open, _)| *open == path) {
            return Ok(Some(file.clone()));
        }
        match self.disk.open(&path, Open::Existing) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => {
                let file = opened.map_err(Error::io("open", &path))?;
                self.open = Some((path, file.clone()));
                Ok(Some(file))
            }
        }
    }
}
