//! Compares the files on disk with what the collector holds: `skidway-agent verify`. Asks only; opens no session, so that an agent that runs is not
//! disturbed.
//!
//! Positions are asked for, then how far the topics go, then the positions once more: every record found is of a line before the later
//! position, and every line before the earlier one has its record. What an agent ships meanwhile is neither missing nor doubled.
//!
//! Files and partitions are read in parts, the last first (`alignment.rs` says why); of a line only its hash is kept, and not for long. Memory
//! stays within some 150 MiB, whatever the files' sizes.

mod alignment;
mod comparison;
mod disk;
mod kinship;
mod ledger;
mod lines;
mod pieces;
mod report;
mod text;
mod topic;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use skidway_record::SourceId;
use skidway_record::source::StoredSource;

use crate::config::{Config, OnNewLog, StartAt};
use crate::discover::path_bytes;
use crate::error::{RequestError, VerifyError};
use crate::ship::http::Doors;
use comparison::{Common, Member, compare};
use disk::{Followed, Standing};
use ledger::Loss;
use lines::Scratch;
use text::Hasher;
use topic::{Extent, extents, patiently};

pub use report::{ByteRange, Doubled, FileReport, RecordPlace, Report, Totals};

/// Bytes of files whose lines are at hand at once, roughly: each has at most [`FILE_BYTES`] of them.
const GROUP_BYTES: u64 = 128 << 20;
const FILE_BYTES: u64 = 128 << 10;

/// Compares the files of a configuration with what the collector holds of them.
///
/// # Errors
/// [`VerifyError`]: they could not be compared (retry).
pub async fn verify(config: &Config) -> Result<Report, VerifyError> {
    let doors = Doors::new(config, false)?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let about = patiently(async || doors.about().await).await?;
    let agent = config.agent.id.as_str();
    let before = sources(&doors, agent).await?;
    let mut log = HashMap::new();
    for name in before.iter().map(|stored| stored.source.topic.as_str()).collect::<BTreeSet<_>>() {
        log.insert(name.to_owned(), extents(&doors, name).await?);
    }
    let settled = before.into_iter().map(|stored| (stored.source.id, stored.position)).collect();
    let stored = sources(&doors, agent).await?;
    let losses = ledger::losses(&doors, agent).await?;
    let disk = disk::find(config, &host, &stored)?;
    let mut run = Run { config, doors: &doors, host: &host, log, settled, stored: &stored, losses: &losses };
    let files = run.files(disk.files).await?;
    let (agent, log_id) = (agent.to_owned(), about.log_id);
    let (skipped, troubles) = (disk.skipped, disk.troubles);
    let mut report = Report { agent, log_id, files, losses, skipped, troubles, totals: Totals::default() };
    report.sum_up();
    Ok(report)
}

async fn sources(doors: &Doors, agent: &str) -> Result<Vec<StoredSource>, RequestError> {
    let (mut sources, mut after) = (Vec::new(), None);
    loop {
        let page = patiently(async || doors.sources(agent, after).await).await?;
        sources.extend(page.sources);
        after = page.next;
        if after.is_none() {
            return Ok(sources);
        }
    }
}

struct Run<'r> {
    config: &'r Config,
    doors: &'r Doors,
    host: &'r str,
    /// Extents of the topics' partitions.
    log: HashMap<String, Vec<Extent>>,
    /// Positions known before the extents.
    settled: HashMap<SourceId, u64>,
    stored: &'r [StoredSource],
    losses: &'r [Loss],
}

impl Run<'_> {
    /// Compares all files, those of a partition together.
    async fn files(&mut self, files: Vec<Followed>) -> Result<Vec<FileReport>, VerifyError> {
        let attached: HashSet<usize> = files.iter().filter_map(Followed::source).collect();
        let mut scratch = Scratch::new(Hasher::new(rand::random()));
        let (mut reports, mut groups) = (Vec::new(), BTreeMap::<_, Vec<Followed>>::new());
        for file in files {
            match file.source().map(|index| &self.stored[index]).filter(|stored| stored.position > 0) {
                None => reports.push(unknown(&file)),
                Some(stored) => {
                    groups.entry((stored.source.topic.clone(), stored.partition)).or_default().push(file);
                }
            }
        }
        for ((topic, partition), files) in groups {
            let letters = ledger::letters(self.doors, topic.as_str(), self.host, &scratch.hasher).await?;
            let is_gone = |(index, stored): &(usize, &StoredSource)| {
                stored.source.topic == topic && stored.position > 0 && !attached.contains(index)
            };
            let gone = self.stored.iter().enumerate().filter(is_gone);
            let gone: Vec<_> = gone.map(|(_, stored)| stored.source.path.to_vec()).collect();
            let known = self.log.get(topic.as_str()).into_iter().flatten().copied().enumerate();
            let extents = known.map(|(number, extent)| (number as u32, extent));
            let common = Common {
                doors: self.doors,
                host: self.host,
                topic: topic.as_str(),
                extents: extents.filter(|(number, _)| partition.is_none_or(|partition| partition == *number)).collect(),
                is_ordered: partition.is_some(),
                letters: &letters,
                gone: &gone,
            };
            for files in portions(files) {
                let mut members: Vec<Member<'_>> = files.into_iter().filter_map(|file| self.member(file)).collect();
                compare(&common, &mut members, &mut scratch).await?;
                reports.extend(members.into_iter().map(|member| member.report));
            }
        }
        reports.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(reports)
    }

    fn member(&self, file: Followed) -> Option<Member<'_>> {
        let source = &self.stored[file.source()?];
        let input = &self.config.inputs[file.input];
        let id = source.source.id.to_string();
        let is_archive = file.file.is_archive();
        let report = FileReport {
            path: file.path.display().to_string(),
            topic: source.source.topic.as_str().to_owned(),
            partition: source.partition,
            position: source.position,
            bytes_not_shipped: if is_archive { 0 } else { file.size.saturating_sub(source.position) },
            source: Some(id.clone()),
            ..FileReport::default()
        };
        let lost = self.losses.iter().filter(|loss| loss.source == id).map(|loss| loss.start..loss.end);
        Some(Member {
            report,
            path: file.path,
            input,
            source,
            file: Some(file.file),
            settled: self.settled.get(&source.source.id).copied().unwrap_or(0),
            may_skip: input.start_at == StartAt::End || self.config.collector.on_new_log == OnNewLog::Continue,
            is_altered: matches!(file.standing, Standing::Altered(_)),
            lost: lost.collect(),
        })
    }
}

impl Followed {
    fn source(&self) -> Option<usize> {
        match self.standing {
            Standing::Source(index) | Standing::Altered(index) => Some(index),
            Standing::Unreadable | Standing::Unknown(_) => None,
        }
    }
}

/// Reports a file of which nothing was shipped.
fn unknown(file: &Followed) -> FileReport {
    let note = if let Standing::Unknown(why) = file.standing { why } else { "not shipped yet" };
    FileReport {
        path: file.path.display().to_string(),
        topic: file.topic.clone(),
        bytes_not_shipped: if file.file.is_archive() { 0 } else { file.size },
        note: Some(note.to_owned()),
        ..FileReport::default()
    }
}

/// Divides files so that the lines at hand at once are not too many; those that may be taken for each other stay together.
fn portions(mut files: Vec<Followed>) -> Vec<Vec<Followed>> {
    files.sort_by_cached_key(|file| (kinship::family(&file.path), path_bytes(&file.path).to_vec()));
    let (mut portions, mut bytes, mut family) = (vec![Vec::new()], 0, String::new());
    for file in files {
        let own = kinship::family(&file.path);
        if bytes >= GROUP_BYTES && own != family {
            portions.push(Vec::new());
            bytes = 0;
        }
        bytes += file.size.min(FILE_BYTES);
        family = own;
        portions.last_mut().expect("there is a first one").push(file);
    }
    portions
}
