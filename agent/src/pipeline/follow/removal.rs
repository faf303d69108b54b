//! Removing files that were read to their end, where an input asks for it (`remove_after`): only what is acknowledged, byte for byte.

use std::io;

use super::{FileSlot, Follow};
use crate::flow::physical::stat_path;
use crate::metrics;
use crate::pipeline::source::{Name, Source};

impl Follow {
    /// Removes the files whose time has come; called in the middle of a scan, which has just looked at each.
    pub(super) fn remove_read_files(&mut self) {
        let inputs = &self.parts.config.inputs;
        if self.session.is_none() || self.is_stopping || inputs.iter().all(|input| input.remove_after.is_none()) {
            return;
        }
        let is_due = |source: &Source| {
            let quiet = self.now.saturating_duration_since(source.last_growth);
            inputs[source.input].remove_after.is_some_and(|after| quiet >= after) && source.is_all_acknowledged()
        };
        let due: Vec<FileSlot> =
            self.sources.iter().filter(|(_, source)| is_due(source)).map(|(slot, _)| *slot).collect();
        for slot in due {
            if let Err(error) = self.remove(slot) {
                let Some(source) = self.sources.get(&slot) else { continue };
                self.troubles.stays(source.file.real_path(), &error);
            }
        }
    }

    fn remove(&mut self, slot: FileSlot) -> io::Result<()> {
        // Held open, so that what somebody writes at the last moment can still be read.
        self.hold_open(slot)?;
        let Some(source) = self.sources.get_mut(&slot) else { return Ok(()) };
        let (path, stat) = (source.file.real_path().to_owned(), source.file.stat()?);
        if stat_path(&path)?.physical != stat.physical {
            return Ok(());
        }
        if !source.file.is_read_out(&stat) || !source.file.is_intact()? {
            self.mark_dirty(slot);
            return Ok(());
        }
        std::fs::remove_file(&path)?;
        tracing::info!(
            path = %path.display(), source = %source.id, bytes = stat.size,
            "removed: read to its end, acknowledged and quiet (remove_after)"
        );
        metrics::removed();
        source.name = Name::Deleted;
        self.parts.watcher.unbind(&path, slot);
        match self.sources.get(&slot).map(|source| source.file.stat_now()) {
            Some(Ok(after)) if after.size == stat.size => self.finish(slot),
            _ => {
                self.has_nameless = true;
                self.mark_dirty(slot);
            }
        }
        Ok(())
    }
}

impl Source {
    /// Tells whether the file has its name, was read to its end, and all of it is acknowledged. An empty file has shown nothing yet.
    fn is_all_acknowledged(&self) -> bool {
        let is_at_rest = self.name == Name::Found && !self.is_dirty && !self.is_truncated() && self.blocked.is_none();
        let is_done = self.is_associated && self.is_settled() && self.flush_after.is_none();
        is_at_rest && is_done && self.acknowledged > 0 && self.acknowledged == self.file.position()
    }
}
