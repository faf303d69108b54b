//! Which files are followed, and as which sources: listing folders, opening what is new, matching it with what the collector
//! knows. Also who has which name by now.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use skidway_record::SourceId;
use skidway_record::source::{Partitioning, PhysicalId, StoredSource};
use skidway_wire::Item;

use super::Follow;
use super::association::unseen_loss;
use super::skipped::reason_to_skip;
use crate::batch::FileHeaders;
use crate::config::template::Facts;
use crate::config::{Input, PartitionBy};
use crate::discover::matching::path_of;
use crate::discover::{Found, path_bytes};
use crate::flow::FileSlot;
use crate::flow::physical::{self, Stat, stat_file, stat_path};
use crate::metrics;
use crate::pipeline::source::{Name, Placement, Source};
use crate::tail::file::OpenFile;
use crate::tail::start::start_of;

/// Scans take at most one part in so many of the time: of very many files they come less often,
const SCANS_APART: u32 = 100;
/// but not by more than this factor.
const STRETCH_MAX: u32 = 6;

const VANISHED: &str =
    "the file vanished while no agent held it, before it was read to its end as far as that is known";

impl Follow {
    /// Starts over with a fresh session: every file is matched anew with what the collector knows.
    pub(super) fn begin_again(&mut self) {
        for source in self.sources.values_mut() {
            self.bytes_held -= source.bytes_held();
            source.forget_standing();
        }
        self.notices.clear();
        self.reported_gone.clear();
        self.leaving.clear();
        self.parts_of.clear();
        self.successions.clear();
        self.archive = None;
        self.truncated.clear();
        self.starting = Some(Vec::new());
        self.unmatched = self.sources.keys().copied().collect();
        self.give_up_again();
        self.scan();
        self.starting = Some(self.sources.keys().copied().collect());
        self.report_missing();
        let unattached: HashSet<SourceId> = self.unattached.iter().map(|stored| stored.source.id).collect();
        self.parts.checkpoint.sources.retain(|id, _| unattached.contains(id));
        self.parts.checkpoint.sources.shrink_to_fit();
        self.parts.pulse.send_modify(|pulse| pulse.had_session = true);
    }

    /// Lists every folder, takes in what is new, and looks at every known file's size and name.
    pub(super) fn scan(&mut self) {
        let started = Instant::now();
        self.troubles.begin_scan();
        self.skipped.begin_scan();
        let (discovery, watcher) = (&self.parts.discovery, &mut self.parts.watcher);
        let (mut unwatched, mut unlisted) = (Vec::new(), Vec::new());
        let found = discovery.scan(
            |folder| {
                if let Err(error) = watcher.watch_or_await(folder) {
                    unwatched.push((folder.to_owned(), error));
                }
            },
            |folder, error| match error.kind() {
                io::ErrorKind::NotFound => tracing::debug!(folder = %folder.display(), "not there yet"),
                _ => unlisted.push((folder.to_owned(), error.to_string())),
            },
        );
        for (folder, error) in unwatched {
            self.troubles.is_unwatched(&folder, error);
        }
        for (folder, error) in unlisted {
            self.troubles.hides_files(&folder, format!("the folder cannot be listed: {error}"));
        }
        for file in &found {
            self.take_in(file);
        }
        self.skipped.end_scan(&found);
        // Of very many files the names take as much as what comes next.
        drop(found);
        self.remove_read_files();
        self.troubles.end_scan();
        self.look_for_lost_names();
        self.bind_names();
        self.associate();
        let (took, interval) = (started.elapsed(), self.parts.config.agent.scan_interval);
        self.next_scan = self.now + took + (took * SCANS_APART).clamp(interval, interval * STRETCH_MAX);
    }

    /// Looks at a name that appeared or changed hands.
    pub(super) fn look_at(&mut self, path: &Path) {
        match self.parts.discovery.input_of(path) {
            Some(input) => {
                if self.take_in(&Found { path: path.to_owned(), input }) {
                    self.parts.watcher.saw(path);
                }
                // Soon, together with what else is new.
                self.reassess = true;
            }
            // A followed file under a name that no input asks for is followed for a while.
            None => {
                self.parts.watcher.saw(path);
                if let Ok(stat) = stat_path(path)
                    && let Some(&slot) = self.by_file.get(&key(&stat.physical))
                    && self.sources.get(&slot).is_some_and(|source| source.physical() == stat.physical)
                {
                    self.rename(slot, path, Name::Renamed);
                }
            }
        }
    }

    /// Counts a file that was gone before anyone could look at it: what was in it is not known.
    pub(super) fn has_missed(&mut self, path: &Path) {
        if self.parts.discovery.input_of(path).is_some() {
            tracing::warn!(path = %path.display(), "missed: deleted or replaced before it could be looked at");
            self.totals.missed_files += 1;
            metrics::missed();
        }
    }

    /// Takes a file in; false if there is none of that name.
    fn take_in(&mut self, found: &Found) -> bool {
        match self.try_take_in(found) {
            Ok(()) => self.troubles.is_fine(&found.path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.troubles.is_fine(&found.path);
                return false;
            }
            Err(error) => self.troubles.hides_files(&found.path, format!("the file cannot be followed: {error}")),
        }
        true
    }

    fn try_take_in(&mut self, found: &Found) -> io::Result<()> {
        let stat = stat_path(&found.path)?;
        if !stat.is_regular || self.skipped.knows(&found.path, &stat.physical) {
            return Ok(());
        }
        if let Some(&slot) = self.by_file.get(&key(&stat.physical)) {
            if self.sources.get(&slot).is_some_and(|source| source.physical() == stat.physical) {
                self.see_again(slot, &found.path, &stat);
                return Ok(());
            }
            // It was set aside, then deleted, and its inode went to a new file.
            self.by_file.remove(&key(&stat.physical));
            self.lost_its_name(slot, true);
        }
        if let Some(reason) = self.reason_not_to_open(found, &stat)? {
            self.skipped.note(&found.path, stat.physical, reason);
            return Ok(());
        }
        self.make_room()?;
        let file = physical::open(&found.path)?;
        let stat = stat_file(&file)?;
        let mut start = [0; 1024];
        // What is not known yet is looked at again when it was written to.
        let Some(read) = start_of(&found.path, &file, &mut start)? else { return Ok(()) };
        let input = &self.parts.config.inputs[found.input];
        if let Some(reason) = reason_to_skip(&found.path, input.encoding, &start[..read], &stat) {
            self.skipped.note(&found.path, stat.physical, reason);
            return Ok(());
        }
        self.skipped.remove(&found.path);
        let real_path = found.path.canonicalize()?;
        let path = self.own_name(&found.path, &real_path, found.input).to_owned();
        self.follow(&Found { path, input: found.input }, &real_path, file)
    }

    /// Prefers a file's own name to that of a link to it, if an input asks for both: copies and archives are named after the file.
    fn own_name<'p>(&self, path: &'p Path, real_path: &'p Path, input: usize) -> &'p Path {
        let is_wanted = real_path != path && self.parts.discovery.input_of(real_path) == Some(input);
        if is_wanted { real_path } else { path }
    }

    /// Keeps the name that the collector knows a file by, if it has that still: of hard links any may be found first.
    pub(super) fn keep_name(&mut self, slot: FileSlot, known: &Path) {
        let Some(source) = self.sources.get(&slot).filter(|source| *source.path != *known) else { return };
        let is_wanted = self.parts.discovery.input_of(known) == Some(source.input);
        if is_wanted && stat_path(known).is_ok_and(|stat| stat.physical == source.physical()) {
            self.rename(slot, known, Name::Found);
        }
    }

    fn follow(&mut self, found: &Found, real_path: &Path, file: File) -> io::Result<()> {
        let placement = self.place(found);
        // Of very many files most have one path only: it is kept once.
        let is_found = path_bytes(real_path) == path_bytes(&placement.path);
        let file = OpenFile::new(file, if is_found { Arc::clone(&placement.path) } else { real_path.into() })?;
        let source = Source::new(file, placement, self.now);
        let slot = FileSlot(self.next_slot);
        self.next_slot += 1;
        self.was_opened(slot);
        if let Some(folder) = real_path.parent()
            && let Err(error) = self.parts.watcher.watch(folder)
        {
            self.troubles.is_unwatched(folder, error);
        }
        let before = self.parts.watcher.bind(real_path, slot);
        self.by_file.insert(key(&source.physical()), slot);
        self.stems.add(slot, &source);
        self.unmatched.insert(slot);
        self.sources.insert(slot, Box::new(source));
        self.has_lineage(slot, &found.path);
        if let Some(before) = before {
            self.lost_its_name(before, true);
        }
        Ok(())
    }

    pub(super) fn place(&self, found: &Found) -> Placement {
        let (agent, input) = (&self.parts.config.agent, &self.parts.config.inputs[found.input]);
        let path = found.path.to_string_lossy();
        let facts = Facts { host: &self.parts.host, path: &path, labels: &agent.labels };
        let (partitioning, key) = partitioning(input, facts);
        let labels = agent.labels.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let fields =
            [("host", self.parts.host.as_bytes()), ("path", path_bytes(&found.path))].into_iter().chain(labels);
        Placement {
            input: found.input,
            topic: input.topic.topic(facts),
            partitioning,
            path: found.path.as_path().into(),
            headers: FileHeaders::new(fields, key),
        }
    }

    /// Looks at a known file that was found again: it may have grown, shrunk, or come back under another name.
    fn see_again(&mut self, slot: FileSlot, path: &Path, stat: &Stat) {
        let Some(source) = self.sources.get_mut(&slot) else { return };
        source.last_seen = self.now;
        // One without a source was not read: what it holds is no growth.
        let has_changed = source.is_associated && source.file.has_changed(stat);
        source.file.saw(stat);
        source.listed_bytes = stat.size;
        // It was found under several names, by each of which it may be written to, or a folder above it was renamed.
        let is_another = path_bytes(&source.path) != path_bytes(path);
        if is_another {
            self.parts.watcher.bind_if_free(path, slot);
        }
        let has_moved = is_another && !has_its_name(source);
        if source.name != Name::Found || has_moved {
            self.rename(slot, path, Name::Found);
        }
        if has_changed {
            self.mark_dirty(slot);
        }
    }

    fn rename(&mut self, slot: FileSlot, path: &Path, name: Name) {
        let Ok(real_path) = path.canonicalize() else { return };
        let Some(input) = self.sources.get(&slot).map(|source| source.input) else { return };
        let path =
            if name == Name::Found { self.own_name(path, &real_path, input).to_owned() } else { path.to_owned() };
        let Some(source) = self.sources.get_mut(&slot) else { return };
        tracing::info!(from = %source.path.display(), to = %path.display(), source = %source.id, "renamed");
        self.parts.watcher.unbind(source.file.real_path(), slot);
        let before = self.parts.watcher.bind(&real_path, slot);
        self.stems.remove(slot, source);
        source.rename(path.into(), real_path.into(), name);
        self.stems.add(slot, source);
        // It may be readable now.
        source.blocked.take_if(|blocked| blocked.is_unreadable);
        self.has_nameless |= name != Name::Found;
        // It was renamed over another, which has no name now.
        if let Some(before) = before {
            self.lost_its_name(before, true);
        }
    }

    /// Notes that a followed file is no longer under its name. Whether it has another is seen soon. `is_event`: the kernel told, after all
    /// that was written before; else something may have been written that nobody saw.
    pub(super) fn lost_its_name(&mut self, slot: FileSlot, is_event: bool) {
        let Some(source) = self.sources.get_mut(&slot) else { return };
        // It may have been another of its names.
        if is_event && source.name == Name::Found && has_its_name(source) {
            return self.mark_dirty(slot);
        }
        let links = source.file.stat().map_or(1, |stat| stat.links);
        source.name = if links == 0 { Name::Deleted } else { Name::Lost };
        self.has_nameless = true;
        tracing::debug!(path = %source.path.display(), source = %source.id, links, "lost its name");
        if source.file.is_open() || !is_event {
            self.mark_dirty(slot);
        }
    }

    /// Finds files whose name was taken without an event (another machine, a lost queue).
    fn look_for_lost_names(&mut self) {
        let lost = |source: &Source| source.name == Name::Found && source.last_seen < self.now && !has_its_name(source);
        let lost: Vec<FileSlot> =
            self.sources.iter().filter(|(_, source)| lost(source)).map(|(slot, _)| *slot).collect();
        for slot in lost {
            self.lost_its_name(slot, false);
        }
    }

    /// Lets the kernel's word on names in folders that are watched anew be understood.
    fn bind_names(&mut self) {
        if !self.parts.watcher.take_new_folders() {
            return;
        }
        for (slot, source) in &self.sources {
            if matches!(source.name, Name::Found | Name::Renamed) {
                self.parts.watcher.bind_if_free(source.file.real_path(), *slot);
            }
        }
    }

    /// Tells the collector which of its sources have no file any more; it forgets them in time unless they come back. What was known of one and
    /// not read is lost unless it does; without a checkpoint nobody knows how much that was.
    fn report_missing(&mut self) {
        let is_gone = |stored: &&StoredSource| stored.gone_at_ms.is_none() && !self.is_there(stored);
        let gone: Vec<StoredSource> = self.unattached.iter().filter(is_gone).cloned().collect();
        for stored in gone {
            let size = self.parts.checkpoint.sources.get(&stored.source.id).map(|known| known.size);
            self.report_gone(&stored, size);
        }
    }

    pub(super) fn report_gone(&mut self, stored: &StoredSource, size: Option<u64>) {
        let path = String::from_utf8_lossy(&stored.source.path).into_owned();
        tracing::info!(path, source = %stored.source.id, position = stored.position, size, "its file is gone");
        // If nothing of it was read, all of it may come from a copy or an archive.
        let may_be_elsewhere = || stored.position == 0 && self.named_after(path_of(stored)).next().is_some();
        if size.map_or_else(|| !may_be_elsewhere(), |size| size > stored.position) {
            self.notices.push_back(unseen_loss(stored, VANISHED));
        }
        self.notices.push_back(Item::Gone { source: stored.source.id });
        self.reported_gone.insert(stored.source.id);
        if !stored.carry.is_empty() {
            self.place_orphan(stored);
        }
    }

    /// Tells whether a source's file is where it was and merely not followed: left out by the configuration, too old, not to be looked at.
    fn is_there(&self, stored: &StoredSource) -> bool {
        match stat_path(path_of(stored)) {
            Ok(stat) => stat.physical == stored.source.physical && !self.by_file.contains_key(&key(&stat.physical)),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Compares what the collector knows with what it had acknowledged.
    pub(super) fn notice_regressions(&mut self, stored: &[StoredSource]) {
        for it in stored {
            let Some(known) = self.parts.checkpoint.sources.get(&it.source.id) else { continue };
            if it.position < known.position {
                metrics::log_regressed();
                let path = String::from_utf8_lossy(&it.source.path).into_owned();
                tracing::error!(
                    path,
                    position = it.position,
                    acknowledged = known.position,
                    "log-regressed: the collector stands before what it had acknowledged"
                );
            }
        }
    }
}

fn has_its_name(source: &Source) -> bool {
    stat_path(source.file.real_path()).is_ok_and(|stat| stat.physical == source.physical())
}

/// Gives what tells two open files apart for as long as one of them is held open.
pub(super) fn key(physical: &PhysicalId) -> (u64, u64) {
    (physical.device, physical.inode)
}

fn partitioning(input: &Input, facts: Facts<'_>) -> (Partitioning, Option<Bytes>) {
    match &input.partition_by {
        PartitionBy::File => (Partitioning::File, None),
        PartitionBy::RoundRobin => (Partitioning::RoundRobin, None),
        PartitionBy::Key(template) => {
            let key = Bytes::from(template.fill(facts));
            (Partitioning::Key(key.clone()), Some(key))
        }
    }
}
