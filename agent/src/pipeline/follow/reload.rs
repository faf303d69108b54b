//! A configuration that was read again. Files keep their descriptors and sources; those that no input asks for any more are let go of, and a
//! new session brings all others, and what is new, to where the collector stands: as after a restart.
//!
//! So nothing is lost or doubled, whatever was under way. The collector keeps the sources of files that are there but not followed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::admission::key;
use super::copies::Stems;
use super::rate::ReadRate;
use super::{FileSlot, Follow};
use crate::config::{Config, Input};
use crate::discover::network::FileSystems;
use crate::discover::watch::Watcher;
use crate::discover::{Discovery, Found};
use crate::pipeline::reading::Reading;
use crate::pipeline::source::Name;

/// Holds a configuration and what was made for it.
#[derive(Debug)]
pub(in crate::pipeline) struct Reloaded {
    pub(in crate::pipeline) config: Config,
    pub(in crate::pipeline) discovery: Discovery,
    pub(in crate::pipeline) watcher: Watcher,
    pub(in crate::pipeline) reading: Reading,
}

impl Follow {
    /// Goes on with another configuration.
    pub(super) fn take_over(&mut self, reloaded: Reloaded) {
        let Reloaded { config, discovery, watcher, reading } = reloaded;
        let before = std::mem::replace(&mut self.parts.config, Arc::new(config));
        let config = Arc::clone(&self.parts.config);
        self.parts.reading = reading;
        self.open_files.change_max(config.agent.open_files_max);
        self.read_rate = ReadRate::new(config.agent.read_rate_max, self.now);
        tell_changes(&before.inputs, &config.inputs);
        if before.inputs == config.inputs && before.agent.labels == config.agent.labels {
            return;
        }
        (self.parts.discovery, self.parts.watcher) = (discovery, watcher);
        // Why a file is not followed may have changed.
        self.skipped.clear();
        self.file_systems = FileSystems::default();
        self.place_anew(&before.inputs);
        self.open_session();
    }

    /// Gives every file its place in the present configuration, and lets go of those that have none.
    fn place_anew(&mut self, before: &[Input]) {
        let config = Arc::clone(&self.parts.config);
        let numbers: HashMap<&str, usize> =
            config.inputs.iter().enumerate().map(|(number, input)| (input.name.as_str(), number)).collect();
        self.stems = Stems::default();
        let slots: Vec<FileSlot> = self.sources.keys().copied().collect();
        for slot in slots {
            let source = &self.sources[&slot];
            let (path, name) = (source.path.clone(), source.name);
            // A file that lost its name is none that an input asks for; it is followed to its end.
            let is_asked_for =
                |input: &usize| name != Name::Found || self.parts.discovery.input_of(&path) == Some(*input);
            match numbers.get(before[source.input].name.as_str()).copied().filter(is_asked_for) {
                Some(input) => self.put(slot, Found { path: path.to_path_buf(), input }),
                None => self.part_with(slot),
            }
        }
    }

    fn put(&mut self, slot: FileSlot, found: Found) {
        let placement = self.place(&found);
        let Some(source) = self.sources.get_mut(&slot) else { return };
        source.put(placement);
        self.stems.add(slot, source);
        if matches!(source.name, Name::Found | Name::Renamed)
            && let Some(folder) = source.file.real_path().parent()
        {
            // The scan to come says if it cannot be watched.
            let _told_later = self.parts.watcher.watch(folder);
            self.parts.watcher.bind(source.file.real_path(), slot);
        }
    }

    /// Reads a file no further, for want of an input that asks for it. Its source stays where the collector has it.
    fn part_with(&mut self, slot: FileSlot) {
        let Some(source) = self.sources.remove(&slot) else { return };
        tracing::info!(
            path = %source.path.display(), source = %source.id, position = source.acknowledged,
            "no input asks for it any more; read no further"
        );
        self.bytes_held -= source.bytes_held();
        let key = key(&source.physical());
        if self.by_file.get(&key) == Some(&slot) {
            self.by_file.remove(&key);
        }
        self.open_files.recount(slot, false);
    }
}

fn tell_changes(before: &[Input], now: &[Input]) {
    let names = |inputs: &[Input]| inputs.iter().map(|input| input.name.clone()).collect::<BTreeSet<_>>();
    let (old, new) = (names(before), names(now));
    let is_changed = |input: &&Input| before.iter().any(|it| it.name == input.name && it != *input);
    let changed: Vec<&str> = now.iter().filter(is_changed).map(|input| input.name.as_str()).collect();
    let (added, removed): (Vec<_>, Vec<_>) = (new.difference(&old).collect(), old.difference(&new).collect());
    tracing::info!(?added, ?changed, ?removed, "the configuration is reloaded");
}
