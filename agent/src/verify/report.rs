//! What came out: an object for programs, a line a file for people.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use super::alignment::FileLine;
use super::ledger::Loss;
use crate::status::{SkippedFile, Trouble};

/// Ranges and offsets of one file listed, at most; all are counted.
const LISTED_MAX: usize = 1000;
/// Of them shown to people.
const SHOWN_MAX: usize = 8;

/// Tells how the files on disk compare with what the collector holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The agent's id.
    pub agent: String,
    /// The log compared with.
    pub log_id: String,
    /// Every file the configuration follows, by path.
    pub files: Vec<FileReport>,
    /// Losses on record, of these files and of others.
    pub losses: Vec<Loss>,
    /// Files an input asks for that are not followed.
    pub skipped: Vec<SkippedFile>,
    /// What could not be looked at.
    pub troubles: Vec<Trouble>,
    /// Sums over the files.
    pub totals: Totals,
}

/// Tells how one file compares.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FileReport {
    /// Its path.
    pub path: String,
    /// Its source's id; null if the collector knows none.
    pub source: Option<String>,
    /// Where its lines go.
    pub topic: String,
    /// Its partition; null if it has none or is not known yet.
    pub partition: Option<u32>,
    /// Lines shipped, pieces put together.
    pub lines: u64,
    /// Bytes shipped; of an archive, decompressed.
    pub position: u64,
    /// Bytes on disk not shipped yet; unknown (0) for an archive.
    pub bytes_not_shipped: u64,
    /// Lines shipped that the collector does not have.
    pub lines_missing: u64,
    /// Where they are, in bytes of the file. Of more than a thousand ranges the first stands for the rest, what is not missing in between included.
    pub missing: Vec<ByteRange>,
    /// Records that there are once too often, by their offsets; the first of them if they are many.
    pub doubled: Vec<Doubled>,
    /// How many such records there are.
    pub records_doubled: u64,
    /// Records that are in none of these files, beside lines that are missing: what was read there is not what is there now.
    pub differing: Vec<RecordPlace>,
    /// Lines rejected and kept as dead letters.
    pub lines_dead: u64,
    /// Lines whose loss is on record.
    pub lines_lost: u64,
    /// Lines that the topic's retention, or a deletion of records, took from the log.
    pub lines_no_longer_held: u64,
    /// Lines passed over on purpose (`start_at = "end"`).
    pub lines_skipped: u64,
    /// What else there is to say.
    pub note: Option<String>,
    /// Why it could not be compared.
    pub trouble: Option<String>,
}

/// Names bytes of a file, end exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteRange {
    /// The first.
    pub start: u64,
    /// The end.
    pub end: u64,
    /// Missing lines in it.
    pub lines: u64,
}

/// Names a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordPlace {
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
}

/// Names a record of a line that another record holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubled {
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// Where its line begins in the file.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
}

/// Sums over all files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Files compared or not.
    pub files: u64,
    /// Lines shipped.
    pub lines: u64,
    /// Bytes on disk not shipped yet.
    pub bytes_not_shipped: u64,
    /// Lines shipped that the collector does not have, and nobody told why.
    pub lines_missing: u64,
    /// Records that there are once too often.
    pub records_doubled: u64,
    /// Lines kept as dead letters.
    pub lines_dead: u64,
    /// Lines whose loss is on record.
    pub lines_lost: u64,
    /// Lines that are no longer held.
    pub lines_no_longer_held: u64,
    /// Lines passed over on purpose.
    pub lines_skipped: u64,
    /// Files and folders that could not be looked at.
    pub unreadable: u64,
}

impl Report {
    /// Tells whether everything shipped is there once, and everything could be looked at.
    pub fn is_clean(&self) -> bool {
        let totals = &self.totals;
        totals.lines_missing == 0 && totals.records_doubled == 0 && totals.unreadable == 0
    }

    /// Makes the sums.
    pub(super) fn sum_up(&mut self) {
        let mut totals = Totals { files: self.files.len() as u64, ..Totals::default() };
        for file in &self.files {
            totals.lines += file.lines;
            totals.bytes_not_shipped += file.bytes_not_shipped;
            totals.lines_missing += file.lines_missing;
            totals.records_doubled += file.records_doubled;
            totals.lines_dead += file.lines_dead;
            totals.lines_lost += file.lines_lost;
            totals.lines_no_longer_held += file.lines_no_longer_held;
            totals.lines_skipped += file.lines_skipped;
            totals.unreadable += u64::from(file.trouble.is_some());
        }
        totals.unreadable += self.troubles.len() as u64;
        self.totals = totals;
    }
}

impl FileReport {
    /// Notes missing lines, which come last first.
    pub(super) fn miss(&mut self, line: &FileLine) {
        self.lines_missing += 1;
        let is_full = self.missing.len() == LISTED_MAX;
        match self.missing.last_mut() {
            Some(next) if next.start == line.span.end => (next.start, next.lines) = (line.span.start, next.lines + 1),
            Some(first) if is_full => (first.start, first.lines) = (line.span.start, first.lines + 1),
            _ => self.missing.push(ByteRange { start: line.span.start, end: line.span.end, lines: 1 }),
        }
    }

    /// Notes further missing lines, all before those noted so far.
    pub(super) fn miss_unlisted(&mut self, (start, lines): (u64, u64)) {
        self.lines_missing += lines;
        self.missing.last_mut().into_iter().for_each(|first| (first.start, first.lines) = (start, first.lines + lines));
    }

    /// Notes a record that is there once too often.
    pub(super) fn double(&mut self, doubled: Doubled) {
        self.records_doubled += 1;
        if self.doubled.len() < LISTED_MAX {
            self.doubled.push(doubled);
        }
    }

    /// Notes a record that is in none of these files.
    pub(super) fn differ(&mut self, place: RecordPlace) {
        if self.differing.len() < LISTED_MAX {
            self.differing.push(place);
        }
    }

    /// Puts what was noted in order.
    pub(super) fn tidy(&mut self) {
        self.missing.sort_unstable_by_key(|range| range.start);
        self.doubled.sort_unstable_by_key(|doubled| (doubled.partition, doubled.offset));
        self.differing.sort_unstable_by_key(|place| (place.partition, place.offset));
    }

    fn verdict(&self) -> String {
        let mut words = Vec::new();
        if self.lines_missing > 0 {
            let shown = self.missing.iter().map(|range| format!("{}..{}", range.start, range.end));
            words.push(format!("MISSING {}: bytes {}", lines(self.lines_missing), listed(shown, self.missing.len())));
        }
        if self.records_doubled > 0 {
            let shown = self
                .doubled
                .iter()
                .map(|it| format!("{}/{} (bytes {}..{})", it.partition, it.offset, it.start, it.end));
            words.push(format!("DOUBLED {}: {}", records(self.records_doubled), listed(shown, self.doubled.len())));
        }
        if !self.differing.is_empty() {
            let shown = self.differing.iter().map(|it| format!("{}/{}", it.partition, it.offset));
            words.push(format!("what was read is not what is there: {}", listed(shown, self.differing.len())));
        }
        words.extend(self.trouble.as_ref().map(|trouble| format!("UNREADABLE {trouble}")));
        let is_fine = words.is_empty() && self.source.is_some();
        words.extend(is_fine.then(|| "ok".to_owned()));
        for (count, what) in [
            (self.lines_dead, "dead letters"),
            (self.lines_lost, "lost, as is on record"),
            (self.lines_no_longer_held, "no longer held"),
            (self.lines_skipped, "skipped on purpose"),
        ] {
            words.extend((count > 0).then(|| format!("{} {what}", lines(count))));
        }
        words.extend((self.bytes_not_shipped > 0).then(|| format!("{} bytes not yet shipped", self.bytes_not_shipped)));
        words.extend(self.note.clone());
        words.join("; ")
    }
}

fn lines(count: u64) -> String {
    format!("{count} line{}", if count == 1 { "" } else { "s" })
}

fn records(count: u64) -> String {
    format!("{count} record{}", if count == 1 { "" } else { "s" })
}

fn listed(shown: impl Iterator<Item = String>, count: usize) -> String {
    let shown: Vec<String> = shown.take(SHOWN_MAX).collect();
    let more = if count > SHOWN_MAX { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Shows a line a file, and a sum.
impl Display for Report {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            writeln!(out, "{}  {}  {}", file.path, lines(file.lines), file.verdict())?;
        }
        for loss in &self.losses {
            let bound = if loss.exact { "" } else { " or more" };
            let (start, end, at) = (loss.start, loss.end, &loss.at);
            writeln!(out, "loss on record: {}  bytes {start}..{end}{bound}, {at}: {}", loss.path, loss.reason)?;
        }
        for skipped in &self.skipped {
            writeln!(out, "skipped: {} ({})", skipped.path, skipped.reason)?;
        }
        for trouble in &self.troubles {
            writeln!(out, "UNREADABLE {}: {}", trouble.path, trouble.what)?;
        }
        let totals = &self.totals;
        let told = [(totals.lines_dead, "dead letters"), (totals.lines_lost, "lost on record")];
        let kept = [(totals.lines_no_longer_held, "no longer held"), (totals.lines_skipped, "skipped")];
        let mut sum = vec![format!("{} files", totals.files), lines(totals.lines)];
        sum.push(format!("{} missing", totals.lines_missing));
        sum.push(format!("{} doubled", totals.records_doubled));
        for (count, what) in told.into_iter().chain(kept) {
            sum.extend((count > 0).then(|| format!("{count} {what}")));
        }
        sum.push(format!("{} bytes not yet shipped", totals.bytes_not_shipped));
        sum.extend((totals.unreadable > 0).then(|| format!("{} unreadable", totals.unreadable)));
        writeln!(out, "{}", sum.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::text::Text;

    #[test]
    fn a_file_says_in_one_line_what_is_wrong_with_it() {
        let mut file =
            FileReport { path: "/a.log".into(), source: Some("01".into()), lines: 10, ..FileReport::default() };
        assert_eq!(file.verdict(), "ok");
        for start in [40, 30, 10] {
            file.miss(&FileLine { span: start..start + 10, text: Text::default() });
        }
        file.double(Doubled { partition: 1, offset: 7, start: 0, end: 10 });
        file.differ(RecordPlace { partition: 1, offset: 3 });
        (file.lines_dead, file.bytes_not_shipped) = (1, 5);
        file.tidy();
        let expected = "MISSING 3 lines: bytes 10..20, 30..50; DOUBLED 1 record: 1/7 (bytes 0..10); \
                        what was read is not what is there: 1/3; 1 line dead letters; 5 bytes not yet shipped";
        assert_eq!(file.verdict(), expected);
    }

    #[test]
    fn of_very_many_ranges_the_first_stands_for_the_rest() {
        let mut file = FileReport::default();
        for start in (0..1500).rev() {
            file.miss(&FileLine { span: start * 20 + 100..start * 20 + 110, text: Text::default() });
        }
        file.miss_unlisted((40, 3));
        file.tidy();
        assert_eq!((file.lines_missing, file.missing.len()), (1503, LISTED_MAX));
        assert_eq!(file.missing[0], ByteRange { start: 40, end: 500 * 20 + 110, lines: 504 });
    }
}
