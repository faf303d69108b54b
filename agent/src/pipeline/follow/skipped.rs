//! Which of the files that inputs ask for are not followed, and why: what is told before a file is opened, and what its content tells.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use skidway_record::source::PhysicalId;

use super::{Follow, now_ms};
use crate::config::template::without_generation;
use crate::discover::content::{self, Skip};
use crate::discover::network;
use crate::discover::{Found, path_bytes};
use crate::flow::physical::{Stat, stat_file};
use crate::frame::encoding::Encoding;
use crate::status::SkippedFile;

/// So many files that are merely too old are named; the others are counted.
const OLD_NAMED_MAX: usize = 10_000;

const OWN_OUTPUT: &str = "it is this agent's own output";
/// The only reason that passes without anything else having its name.
const TOO_OLD: &str = "it was written to last longer ago than ignore_older";

/// Knows the files that are not followed, and this agent's own output.
#[derive(Debug)]
pub(super) struct Skipped {
    files: BTreeMap<PathBuf, (PhysicalId, &'static str)>,
    /// Old files that are not named, as of the last scan.
    unnamed: usize,
    /// Where standard output and standard error went when the agent started.
    own_outputs: Vec<PathBuf>,
}

impl Skipped {
    /// Looks where this process writes to.
    pub(super) fn new() -> Self {
        let own = |number| std::fs::read_link(format!("/proc/self/fd/{number}")).ok().filter(|path| path.is_file());
        Self { files: BTreeMap::new(), unnamed: 0, own_outputs: [1, 2].into_iter().filter_map(own).collect() }
    }

    /// Judges every file anew from now on.
    pub(super) fn clear(&mut self) {
        self.files.clear();
    }

    /// Counts from the start again what is not named.
    pub(super) fn begin_scan(&mut self) {
        self.unnamed = 0;
    }

    /// Forgets the files that are not there any more. `found` is sorted.
    pub(super) fn end_scan(&mut self, found: &[Found]) {
        let is_there =
            |path: &PathBuf| found.binary_search_by(|file| path_bytes(&file.path).cmp(path_bytes(path))).is_ok();
        self.files.retain(|path, _| is_there(path));
    }

    /// Tells whether a file was judged and need not be again.
    pub(super) fn knows(&self, path: &Path, physical: &PhysicalId) -> bool {
        self.files.get(path).is_some_and(|(known, reason)| known == physical && *reason != TOO_OLD)
    }

    /// Notes why a file is not followed.
    pub(super) fn note(&mut self, path: &Path, physical: PhysicalId, reason: &'static str) {
        if reason == TOO_OLD && self.files.len() >= OLD_NAMED_MAX && !self.files.contains_key(path) {
            self.unnamed += 1;
            return;
        }
        if self.files.insert(path.to_owned(), (physical, reason)) != Some((physical, reason)) {
            tracing::info!(path = %path.display(), reason, "not followed");
        }
    }

    /// Notes that a file is followed.
    pub(super) fn remove(&mut self, path: &Path) {
        self.files.remove(path);
    }

    /// Lists them, by path; how many more there are that are too old.
    pub(super) fn list(&self) -> (Vec<SkippedFile>, usize) {
        let named = |(path, (_, reason)): (&PathBuf, &(PhysicalId, &'static str))| SkippedFile {
            path: path.display().to_string(),
            reason: (*reason).to_owned(),
        };
        (self.files.iter().map(named).collect(), self.unnamed)
    }

    /// Tells whether a path is where this agent writes to, or a rotated copy of that.
    fn is_own(&self, path: &Path) -> bool {
        is_one_of(&self.own_outputs, path)
    }
}

fn is_one_of(outputs: &[PathBuf], path: &Path) -> bool {
    let Some(name) = path.file_name().map(|name| name.to_string_lossy()) else { return false };
    let unpacked = [".gz", ".zst"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
    let current = path.with_file_name(without_generation(unpacked));
    outputs.iter().any(|own| *own == path || *own == current)
}

impl Follow {
    /// Says why a file is not even opened, if so.
    pub(super) fn reason_not_to_open(&mut self, found: &Found, stat: &Stat) -> io::Result<Option<&'static str>> {
        let input = &self.parts.config.inputs[found.input];
        let age_ms = i128::from(now_ms()) - stat.modified_ns / 1_000_000;
        if input.ignore_older.is_some_and(|older| age_ms > older.as_millis() as i128) {
            return Ok(Some(TOO_OLD));
        }
        if self.skipped.is_own(&found.path) {
            return Ok(Some(OWN_OUTPUT));
        }
        let network = self.file_systems.network_of(&found.path, stat.physical.device)?;
        let reason = || network::reason_to_skip(input.network_owner.as_deref(), self.parts.config.agent.id.as_str());
        Ok(network.and_then(|_| reason()))
    }
}

/// Says why a file is not followed, by what it is and begins with.
pub(super) fn reason_to_skip(path: &Path, encoding: Encoding, start: &[u8], stat: &Stat) -> Option<&'static str> {
    let own_outputs = [stat_file(io::stdout()), stat_file(io::stderr())];
    if own_outputs.into_iter().flatten().any(|own| own.physical == stat.physical) {
        return Some(OWN_OUTPUT);
    }
    // Text of two bytes a unit is full of NULs.
    let is_wide = encoding.unit_len() > 1;
    content::judge(path, start).filter(|skip| !(is_wide && *skip == Skip::Binary)).map(Skip::words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_output_is_known_by_its_name_also_after_it_was_rotated() {
        let own = [PathBuf::from("/l/agent.log")];
        for name in ["agent.log", "agent.log.1", "agent.log.2.gz", "agent.log-20260131", "agent.log-20260131.zst"] {
            assert!(is_one_of(&own, &Path::new("/l").join(name)), "{name}");
        }
        for name in ["agent-app.log", "agent.log.bak", "agent.log2", "my-agent.log"] {
            assert!(!is_one_of(&own, &Path::new("/l").join(name)), "{name}");
        }
        assert!(!is_one_of(&own, Path::new("/m/agent.log")));
    }
}
