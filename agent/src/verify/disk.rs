//! The files that the configuration follows, and which source each of them is, found as a starting agent finds them.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use skidway_record::source::{PhysicalId, StoredSource};

use crate::config::template::Facts;
use crate::config::{Config, Input};
use crate::discover::content::{self, Skip};
use crate::discover::matching::{self, Candidate, Reason, Verdict};
use crate::discover::{Discovery, Found};
use crate::error::{AgentError, VerifyError};
use crate::flow::physical::{stat_file, stat_path};
use crate::pipeline::Looks;
use crate::status::{SkippedFile, Trouble};
use crate::tail::file::OpenFile;
use crate::tail::start::start_of;

/// Holds one file.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) path: PathBuf,
    pub(super) input: usize,
    /// Where its lines go by the configuration.
    pub(super) topic: String,
    /// Its size; of an archive, packed.
    pub(super) size: u64,
    pub(super) file: OpenFile,
    pub(super) standing: Standing,
}

/// Says what the collector knows of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It goes on with this source, by its index.
    Source(usize),
    /// It is this source's file, by its index, but some of its bytes are not those that were read.
    Altered(usize),
    /// Nobody could look.
    Unreadable,
    /// It is nobody's, as far as the collector knows.
    Unknown(&'static str),
}

/// Holds what was found on disk.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) files: Vec<Followed>,
    pub(super) troubles: Vec<Trouble>,
    pub(super) skipped: Vec<SkippedFile>,
}

/// Lists the files of all inputs and matches them with the sources.
pub(super) fn find(config: &Config, host: &str, stored: &[StoredSource]) -> Result<Disk, VerifyError> {
    let working = std::env::current_dir().map_err(|error| AgentError::setup("the working folder", error))?;
    let state_dir = &config.agent.state_dir;
    let excluded = state_dir.canonicalize().unwrap_or_else(|_| state_dir.clone());
    let discovery = Discovery::new(&config.inputs, &working, &excluded)
        .map_err(|error| AgentError::setup("the inputs' globs", error))?;
    let mut disk = Disk::default();
    let mut unlisted = Vec::new();
    let found = discovery.scan(
        |_| {},
        |folder, error| {
            if error.kind() != io::ErrorKind::NotFound {
                unlisted.push(trouble(folder, format!("the folder cannot be listed: {error}")));
            }
        },
    );
    disk.troubles = unlisted;
    let mut seen = HashSet::new();
    for found in found {
        match look_at(&found, config, host, &mut seen) {
            Ok(Look::Followed(file)) => disk.files.push(*file),
            Ok(Look::Skipped(reason)) => {
                disk.skipped.push(SkippedFile { path: found.path.display().to_string(), reason: reason.to_owned() });
            }
            Ok(Look::Nothing) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => disk.troubles.push(trouble(&found.path, format!("the file cannot be read: {error}"))),
        }
    }
    associate(&mut disk, &config.inputs, stored);
    Ok(disk)
}

enum Look {
    Followed(Box<Followed>),
    Skipped(&'static str),
    Nothing,
}

fn look_at(found: &Found, config: &Config, host: &str, seen: &mut HashSet<PhysicalId>) -> io::Result<Look> {
    if !stat_path(&found.path)?.is_regular {
        return Ok(Look::Nothing);
    }
    let file = File::open(&found.path)?;
    let stat = stat_file(&file)?;
    if !seen.insert(stat.physical) {
        return Ok(Look::Nothing);
    }
    let mut start = [0; 1024];
    let Some(read) = start_of(&found.path, &file, &mut start)? else { return Ok(Look::Nothing) };
    if let Some(reason) = content::judge(&found.path, &start[..read]).map(Skip::words) {
        return Ok(Look::Skipped(reason));
    }
    let mut file = OpenFile::new(file, found.path.canonicalize()?.into())?;
    // There may be more of them than may be open at once.
    file.set_aside();
    let path = found.path.to_string_lossy();
    let facts = Facts { host, path: &path, labels: &config.agent.labels };
    Ok(Look::Followed(Box::new(Followed {
        path: found.path.clone(),
        input: found.input,
        topic: config.inputs[found.input].topic.topic(facts).as_str().to_owned(),
        size: stat.size,
        file,
        standing: Standing::Unknown("not shipped yet"),
    })))
}

fn trouble(path: &Path, what: String) -> Trouble {
    Trouble { path: path.display().to_string(), what }
}

fn associate(disk: &mut Disk, inputs: &[Input], stored: &[StoredSource]) {
    let candidate = |file: &Followed| (file.file.physical(), inputs[file.input].name.clone(), file.path.clone());
    let known: Vec<_> = disk.files.iter().map(candidate).collect();
    let candidates: Vec<Candidate<'_>> = known
        .iter()
        .map(|(physical, input, path)| Candidate { physical: *physical, input, path, before: None })
        .collect();
    let mut looks = Looks::new(|file: usize| &disk.files[file].file);
    let verdicts = matching::associate(stored, &candidates, &mut looks);
    let unreadable = looks.unreadable;
    let told = unreadable.iter().map(|(file, error)| (&disk.files[*file].path, error));
    let told = told.map(|(path, error)| trouble(path, format!("the file cannot be read: {error}")));
    disk.troubles.extend(told.collect::<Vec<_>>());
    for (index, (file, verdict)) in disk.files.iter_mut().zip(verdicts).enumerate() {
        file.standing = match verdict {
            _ if inputs[file.input].container.is_some() => {
                Standing::Unknown("what a container runtime writes is not compared")
            }
            _ if unreadable.contains_key(&index) => Standing::Unreadable,
            Verdict::Resume(index, _) => Standing::Source(index),
            Verdict::Create { supersedes: Some(id), reason: Reason::Rewritten } => {
                let index = stored.iter().position(|it| it.source.id == id);
                index.map_or(Standing::Unknown("not shipped yet"), Standing::Altered)
            }
            Verdict::Create { reason: Reason::Truncated, .. } => {
                Standing::Unknown("it was truncated since it was read; not shipped yet")
            }
            Verdict::Create { .. } => Standing::Unknown("not shipped yet"),
        };
    }
    disk.files.retain(|file| file.standing != Standing::Unreadable);
}
