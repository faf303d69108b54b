//! Files that share a partition, compared with its records.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;

use skidway_record::source::StoredSource;

use super::alignment::{Alignment, FileLine, Outcome, Stray};
use super::kinship::Kinship;
use super::ledger::{Excuse, Excuses, Letter};
use super::lines::{FileLines, Scratch};
use super::pieces::Joiner;
use super::report::{Doubled, FileReport, RecordPlace};
use super::topic::{Backward, Extent, Paths, Wanted, previous};
use crate::config::Input;
use crate::discover::path_bytes;
use crate::error::VerifyError;
use crate::ship::http::Doors;
use crate::tail::file::OpenFile;

/// A source's records come in its lines' order; so many lines of room are for what its lines have in common with others'.
const SLACK: usize = 256;
/// Batches that go to any partition are ordered by their times alone: several are of one millisecond.
const SLACK_UNORDERED: usize = 100_000;
/// How often it is asked whether reading on is of any use.
const RECORDS_AT_ONCE: u64 = 4096;

/// Holds a file that was shipped in part at least.
#[derive(Debug)]
pub(super) struct Member<'m> {
    pub(super) report: FileReport,
    pub(super) path: PathBuf,
    pub(super) input: &'m Input,
    pub(super) source: &'m StoredSource,
    pub(super) file: Option<OpenFile>,
    /// Bytes that were shipped before the log's extent was asked for.
    pub(super) settled: u64,
    /// Lines at its start may have been passed over on purpose.
    pub(super) may_skip: bool,
    /// Some of its bytes are not those that were read.
    pub(super) is_altered: bool,
    pub(super) lost: Vec<Range<u64>>,
}

/// Holds what the members of a group have in common.
#[derive(Debug)]
pub(super) struct Common<'c> {
    pub(super) doors: &'c Doors,
    pub(super) host: &'c str,
    pub(super) topic: &'c str,
    /// Of the partitions their records are in, by number.
    pub(super) extents: BTreeMap<u32, Extent>,
    pub(super) is_ordered: bool,
    pub(super) letters: &'c [Letter],
    /// Paths of sources of this topic whose files are gone.
    pub(super) gone: &'c [Vec<u8>],
}

/// Compares the members with the records, and fills in their reports.
pub(super) async fn compare(
    common: &Common<'_>,
    members: &mut [Member<'_>],
    scratch: &mut Scratch,
) -> Result<(), VerifyError> {
    let mut files: Vec<Option<FileLines>> = members.iter_mut().map(|member| member.open(scratch)).collect();
    let kinship = Rc::new(Kinship::of(members.iter().map(|member| path_bytes(&member.path))));
    let mut paths = Paths::default();
    let aligned = align(common, members, &mut files, Rc::clone(&kinship), &mut paths, scratch).await?;
    let loaded_from: Vec<u64> =
        aligned.outcomes.iter().map(|outcome| outcome.loaded_from.unwrap_or(u64::MAX)).collect();
    let mut letters: Vec<Vec<Letter>> = vec![Vec::new(); members.len()];
    for letter in common.letters {
        kinship.order(&letter.path).kin.into_iter().for_each(|file| letters[file].push(letter.clone()));
    }
    let has_log_start = common.extents.values().any(|extent| extent.log_start > 0) || common.extents.is_empty();
    for ((member, outcome), letters) in members.iter_mut().zip(aligned.outcomes).zip(letters) {
        let excuses = Excuses { letters, lost: std::mem::take(&mut member.lost) };
        member.judge(outcome, &excuses, has_log_start);
    }
    if aligned.strays_dropped > 0 {
        let note = format!("{} more records fit no line; whether any is doubled is not known", aligned.strays_dropped);
        members.iter_mut().for_each(|member| member.report.note = Some(note.clone()));
    }
    let strays = Strays { found: aligned.strays, kinship: &kinship, paths: &paths, loaded_from: &loaded_from };
    strays.explain(common, members, &mut files, scratch);
    members.iter_mut().for_each(|member| member.report.tidy());
    Ok(())
}

struct Aligned {
    outcomes: Vec<Outcome>,
    strays: Vec<Stray>,
    strays_dropped: u64,
}

async fn align(
    common: &Common<'_>,
    members: &[Member<'_>],
    files: &mut [Option<FileLines>],
    kinship: Rc<Kinship>,
    paths: &mut Paths,
    scratch: &mut Scratch,
) -> Result<Aligned, VerifyError> {
    let slack = if common.is_ordered { SLACK } else { SLACK_UNORDERED };
    let mut alignment = Alignment::new(members.len(), kinship, slack);
    let keep_cr = members.iter().any(|member| member.input.keep_cr);
    let wanted = Wanted { topic: common.topic, host: common.host, keep_cr };
    let mut readers: Vec<Backward> =
        common.extents.iter().map(|(partition, extent)| Backward::new(*partition, *extent)).collect();
    let (mut joiner, hasher, mut count) = (Joiner::default(), scratch.hasher.clone(), 0u64);
    let mut load = |file: usize| match &mut files[file] {
        Some(lines) => lines.previous(scratch),
        None => Ok(Vec::new()),
    };
    while let Some(piece) = previous(&mut readers, common.doors, &wanted, paths, &hasher).await? {
        joiner.take(&hasher, piece, |line| alignment.take(line, || paths.path(line.path).to_vec(), &mut load));
        count += 1;
        if count.is_multiple_of(RECORDS_AT_ONCE) && alignment.is_over() {
            break;
        }
    }
    let strays_dropped = alignment.strays_dropped;
    let (outcomes, strays) = alignment.finish(&mut load);
    Ok(Aligned { outcomes, strays, strays_dropped })
}

impl Member<'_> {
    fn open(&mut self, scratch: &mut Scratch) -> Option<FileLines> {
        let file = self.file.take()?;
        match FileLines::open(file, self.input, self.source.position, scratch) {
            Ok(lines) => {
                self.report.lines = lines.lines;
                Some(lines)
            }
            Err(error) => {
                self.report.trouble = Some(error.to_string());
                None
            }
        }
    }

    fn judge(&mut self, outcome: Outcome, excuses: &Excuses, has_log_start: bool) {
        if let Some(error) = outcome.trouble {
            self.report.trouble = Some(error.to_string());
            return;
        }
        if self.report.trouble.is_some() {
            return;
        }
        if self.is_altered && outcome.found == 0 {
            self.report.note = Some("it was written anew since it was read; not shipped yet".to_owned());
            self.report.lines = 0;
            return;
        }
        let told = outcome.missing.len() as u64 + outcome.unlisted.map_or(0, |(_, count)| count);
        let leading = self.report.lines.saturating_sub(outcome.found + told);
        for line in &outcome.missing {
            self.miss(line, excuses);
        }
        outcome.unlisted.into_iter().for_each(|unlisted| self.report.miss_unlisted(unlisted));
        let end = outcome.first_found.unwrap_or(self.source.position);
        match leading {
            0 => {}
            _ if has_log_start => self.report.lines_no_longer_held = leading,
            _ if self.may_skip => self.report.lines_skipped = leading,
            // Nobody knows them one by one: either all are told of or none.
            _ if excuses.lost.iter().any(|lost| lost.start == 0 && lost.end >= end) => {
                self.report.lines_lost += leading
            }
            _ => self.miss_start(leading, end),
        }
    }

    fn miss(&mut self, line: &FileLine, excuses: &Excuses) {
        match excuses.of(line) {
            Some(Excuse::Dead) => self.report.lines_dead += 1,
            Some(Excuse::Lost) => self.report.lines_lost += 1,
            // Shipped after the log's extent was asked for.
            None if line.span.end > self.settled => self.report.lines -= 1,
            None => self.report.miss(line),
        }
    }

    fn miss_start(&mut self, lines: u64, end: u64) {
        if self.settled == 0 {
            self.report.lines -= lines;
            return;
        }
        self.report.lines_missing += lines;
        self.report.missing.push(super::report::ByteRange { start: 0, end, lines });
    }
}

/// Holds the records that are of no line, and what tells where they may belong.
struct Strays<'s> {
    found: Vec<Stray>,
    kinship: &'s Kinship,
    paths: &'s Paths,
    /// Where each file's first line begins that was compared.
    loaded_from: &'s [u64],
}

impl Strays<'_> {
    /// Finds out which of them are doubled ones.
    fn explain(
        self,
        common: &Common<'_>,
        members: &mut [Member<'_>],
        files: &mut [Option<FileLines>],
        scratch: &mut Scratch,
    ) {
        if self.found.is_empty() {
            return;
        }
        let order = |stray: &Stray| self.kinship.order(self.paths.path(stray.record.path)).kin;
        let orders: Vec<Vec<usize>> = self.found.iter().map(order).collect();
        let homes = self.homes(&orders, members, files, scratch);
        // Of files that are gone nobody knows which lines they had in common with those that are here.
        let mut is_older = vec![false; members.len()];
        let gone = common.gone.iter().flat_map(|path| self.kinship.order(path).kin);
        let others = self.found.iter().zip(&orders).zip(&homes);
        let older = others.filter(|((stray, _), home)| stray.is_leading && home.is_none());
        gone.chain(older.flat_map(|((_, order), _)| order.clone())).for_each(|file| is_older[file] = true);
        for ((stray, order), home) in self.found.iter().zip(orders).zip(homes) {
            let (partition, offset) = (stray.record.partition, stray.record.offset);
            match home {
                Some((file, _)) if stray.is_leading && is_older[file] => {}
                Some((file, span)) if span.start < self.loaded_from[file] => {}
                Some((file, Range { start, end })) => {
                    members[file].report.double(Doubled { partition, offset, start, end });
                }
                None if stray.is_leading => {}
                None => {
                    let missing = order.into_iter().find(|&file| members[file].report.lines_missing > 0);
                    missing.into_iter().for_each(|file| members[file].report.differ(RecordPlace { partition, offset }));
                }
            }
        }
    }

    /// Finds a line on disk with each one's text.
    fn homes(
        &self,
        orders: &[Vec<usize>],
        members: &mut [Member<'_>],
        files: &mut [Option<FileLines>],
        scratch: &mut Scratch,
    ) -> Vec<Option<(usize, Range<u64>)>> {
        let mut by_hash: HashMap<u64, Vec<usize>> = HashMap::new();
        for (index, stray) in self.found.iter().enumerate() {
            by_hash.entry(stray.record.text.hash).or_default().push(index);
        }
        let mut homes = vec![None; self.found.len()];
        for (file, lines) in files.iter_mut().enumerate() {
            let Some(lines) = lines else { continue };
            let read = lines.all(scratch, |line| {
                for &index in by_hash.get(&line.text.hash).into_iter().flatten() {
                    let is_home = self.found[index].record.text == line.text && orders[index].contains(&file);
                    if is_home && homes[index].is_none() {
                        homes[index] = Some((file, line.span.clone()));
                    }
                }
            });
            if let Err(error) = read {
                members[file].report.trouble = Some(error.to_string());
            }
        }
        homes
    }
}
