//! Which line of which file each record is, both read backwards: a file on disk is the end of what was shipped under its name, so that
//! the records of generations long deleted come when everything on disk has found its own. Pure.
//!
//! A record goes to the file that expects its text next; else to the nearest line with that text among those loaded. A line is missing once so
//! many lines before it (`slack`) were found that its record cannot come any more. Records that fit nowhere are kept, since the lines they
//! belong to may not be loaded yet; more of the likeliest file is loaded for each.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::ops::Range;
use std::rc::Rc;

use super::kinship::{Kinship, Order};
use super::pieces::{PathId, Piece};
use super::text::Text;

/// Lines of all files waiting for their records, at most, beyond those each file always has loaded.
const WAITING_MAX: usize = 1 << 20;
/// Of the records older than what is on disk so many are kept: they tell whether there were other files.
const LEADING_MAX: usize = 1000;
/// Records that fit nowhere, at most.
const STRAYS_MAX: usize = 200_000;

/// Holds a line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileLine {
    /// Its bytes, line end included.
    pub(super) span: Range<u64>,
    pub(super) text: Text,
}

/// Holds a record that is of no line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stray {
    pub(super) record: Piece,
    /// All lines of the files it may be of had found their records before: it is older than what is on disk.
    pub(super) is_leading: bool,
}

/// Says what became of one file's lines.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) found: u64,
    /// Lines without a record, last first.
    pub(super) missing: Vec<FileLine>,
    /// Those of them too many to be listed: where the first begins, and how many they are.
    pub(super) unlisted: Option<(u64, u64)>,
    /// Where the first line begins that was looked at; its records are not known as its before.
    pub(super) loaded_from: Option<u64>,
    /// Where the first line that found its record begins; `None` if none did.
    pub(super) first_found: Option<u64>,
    /// Why it could not be read.
    pub(super) trouble: Option<io::Error>,
}

/// Bounds the missing lines that are listed one by one.
const LISTED_MAX: usize = 100_000;

#[derive(Debug, Default)]
struct Side {
    /// Lines loaded and not done with, the last first; the first of them has no record yet.
    lines: VecDeque<(FileLine, bool)>,
    /// Number of the first of them, counted from the file's end.
    first: u64,
    /// Of those without a record: hash and number.
    waiting: BTreeSet<(u64, u64)>,
    is_read_out: bool,
    /// There are records that name its present path.
    has_own_records: bool,
    outcome: Outcome,
}

/// Finds lines for records.
#[derive(Debug)]
pub(super) struct Alignment {
    sides: Vec<Side>,
    kinship: Rc<Kinship>,
    orders: HashMap<PathId, Rc<Order>>,
    slack: usize,
    /// Lines of all files waiting for their records.
    waiting: usize,
    strays: HashMap<u64, Vec<Stray>>,
    strays_len: usize,
    leading_len: usize,
    /// Strays too many to be kept.
    pub(super) strays_dropped: u64,
}

impl Alignment {
    /// Begins with files of which nothing is loaded.
    pub(super) fn new(files: usize, kinship: Rc<Kinship>, slack: usize) -> Self {
        let sides = (0..files).map(|_| Side::default()).collect();
        let (orders, strays) = (HashMap::new(), HashMap::new());
        Self { sides, kinship, orders, slack, waiting: 0, strays, strays_len: 0, leading_len: 0, strays_dropped: 0 }
    }

    /// Takes the record before those taken so far. `load` gives lines of a file, those before what it gave last; none at the file's start.
    pub(super) fn take(
        &mut self,
        record: Piece,
        path: impl FnOnce() -> Vec<u8>,
        load: &mut impl FnMut(usize) -> io::Result<Vec<FileLine>>,
    ) {
        let order = self.order(record.path, path);
        if let Some(&own) = order.kin.first().filter(|_| order.has_own) {
            self.sides[own].has_own_records = true;
        }
        if self.place(record.text, &order.kin, true, load) || self.place(record.text, &order.strangers, false, load) {
            return;
        }
        if order.kin.is_empty() {
            return;
        }
        let is_leading = order.kin.iter().all(|&file| self.sides[file].is_done());
        if is_leading && self.leading_len == LEADING_MAX {
            return;
        }
        if self.strays_len == STRAYS_MAX {
            self.strays_dropped += 1;
            return;
        }
        self.leading_len += usize::from(is_leading);
        self.strays.entry(record.text.hash).or_default().push(Stray { record, is_leading });
        self.strays_len += 1;
        let next = order.kin.iter().find(|&&file| !self.sides[file].is_read_out);
        if let Some(&file) = next.filter(|_| self.waiting < WAITING_MAX) {
            self.load(file, load);
        }
    }

    /// Looks for a record's line, first where it is expected next. Of strangers only those are asked that no record names.
    fn place(
        &mut self,
        text: Text,
        files: &[usize],
        are_kin: bool,
        load: &mut impl FnMut(usize) -> io::Result<Vec<FileLine>>,
    ) -> bool {
        for &file in files {
            if !are_kin && self.sides[file].has_own_records {
                continue;
            }
            while self.sides[file].waiting.len() < self.slack && self.load(file, load) {}
            if self.sides[file].expects(text) {
                self.found(file, text);
                return true;
            }
        }
        let waits =
            |file: &&usize| (are_kin || !self.sides[**file].has_own_records) && self.sides[**file].is_waiting_for(text);
        let Some(&file) = files.iter().find(waits) else { return false };
        self.found(file, text);
        true
    }

    fn found(&mut self, file: usize, text: Text) {
        let before = self.sides[file].waiting.len();
        self.sides[file].found_first(text, self.slack);
        self.waiting -= before - self.sides[file].waiting.len();
    }

    /// Loads on where the last records may be of: a gap may be longer than what is loaded for them one by one.
    fn look_for_strays(&mut self, load: &mut impl FnMut(usize) -> io::Result<Vec<FileLine>>) {
        let strays = self.strays.values().flatten().filter(|stray| !stray.is_leading);
        let orders = strays.filter_map(|stray| self.orders.get(&stray.record.path));
        let files: BTreeSet<usize> = orders.flat_map(|order| order.kin.iter().copied()).collect();
        for file in files {
            while self.strays_len > self.leading_len && self.waiting < WAITING_MAX && self.load(file, load) {}
        }
    }

    fn order(&mut self, id: PathId, path: impl FnOnce() -> Vec<u8>) -> Rc<Order> {
        let kinship = &self.kinship;
        Rc::clone(self.orders.entry(id).or_insert_with(|| Rc::new(kinship.order(&path()))))
    }

    /// Loads more of a file; lines whose records came before are done with at once. False at its start.
    fn load(&mut self, file: usize, load: &mut impl FnMut(usize) -> io::Result<Vec<FileLine>>) -> bool {
        if self.sides[file].is_read_out {
            return false;
        }
        let lines = match load(file) {
            Ok(lines) => lines,
            Err(error) => {
                self.sides[file].outcome.trouble = Some(error);
                Vec::new()
            }
        };
        self.sides[file].is_read_out = lines.is_empty();
        for line in lines.into_iter().rev() {
            let text = line.text;
            self.sides[file].push(line);
            self.waiting += 1;
            if self.take_stray(file, text) {
                self.found(file, text);
            }
        }
        !self.sides[file].is_read_out
    }

    fn take_stray(&mut self, file: usize, text: Text) -> bool {
        let Some(strays) = self.strays.get_mut(&text.hash) else { return false };
        let orders = &self.orders;
        let is_kin = |stray: &Stray| {
            stray.record.text == text && orders.get(&stray.record.path).is_some_and(|order| order.kin.contains(&file))
        };
        let Some(at) = strays.iter().position(is_kin) else { return false };
        let taken = strays.remove(at);
        self.strays_len -= 1;
        self.leading_len -= usize::from(taken.is_leading);
        true
    }

    /// Tells that all that is to come is older than what is on disk.
    pub(super) fn is_over(&self) -> bool {
        self.leading_len == LEADING_MAX && self.sides.iter().all(Side::is_done)
    }

    /// Ends when there are no more records: what is left of the lines loaded is missing, unless it is before the first that was found. Gives each
    /// file's outcome and the records that are of no line, the last first.
    pub(super) fn finish(
        mut self,
        load: &mut impl FnMut(usize) -> io::Result<Vec<FileLine>>,
    ) -> (Vec<Outcome>, Vec<Stray>) {
        self.look_for_strays(load);
        for side in &mut self.sides {
            let first_found = side.outcome.first_found.unwrap_or(u64::MAX);
            while let Some((line, is_found)) = side.lines.pop_front() {
                if !is_found && line.span.start > first_found {
                    side.outcome.miss(line);
                }
            }
        }
        let mut strays: Vec<Stray> = self.strays.into_values().flatten().collect();
        strays.sort_unstable_by_key(|stray| std::cmp::Reverse((stray.record.partition, stray.record.offset)));
        (self.sides.into_iter().map(|side| side.outcome).collect(), strays)
    }
}

impl Side {
    fn push(&mut self, line: FileLine) {
        self.outcome.loaded_from = Some(line.span.start);
        self.waiting.insert((line.text.hash, self.first + self.lines.len() as u64));
        self.lines.push_back((line, false));
    }

    fn expects(&self, text: Text) -> bool {
        self.lines.front().is_some_and(|(line, _)| line.text == text)
    }

    fn nearest(&self, text: Text) -> Option<u64> {
        self.waiting.range((text.hash, 0)..=(text.hash, u64::MAX)).next().map(|(_, number)| *number)
    }

    fn is_waiting_for(&self, text: Text) -> bool {
        self.nearest(text).is_some()
    }

    fn is_done(&self) -> bool {
        self.is_read_out && self.waiting.is_empty()
    }

    /// Notes that the record of the nearest line with this text is there.
    fn found_first(&mut self, text: Text, slack: usize) {
        let Some(number) = self.nearest(text) else { return };
        self.waiting.remove(&(text.hash, number));
        let (line, is_found) = &mut self.lines[(number - self.first) as usize];
        *is_found = true;
        let start = line.span.start;
        self.outcome.found += 1;
        self.outcome.first_found = Some(self.outcome.first_found.map_or(start, |first| first.min(start)));
        loop {
            self.let_go_of_found();
            if self.lines.len() - self.waiting.len() <= slack {
                return;
            }
            // So many lines before it were found that its record will not come.
            let Some((line, _)) = self.lines.pop_front() else { return };
            self.waiting.remove(&(line.text.hash, self.first));
            self.first += 1;
            self.outcome.miss(line);
        }
    }

    fn let_go_of_found(&mut self) {
        while self.lines.front().is_some_and(|(_, is_found)| *is_found) {
            self.lines.pop_front();
            self.first += 1;
        }
    }
}

impl Outcome {
    fn miss(&mut self, line: FileLine) {
        if self.missing.len() < LISTED_MAX {
            self.missing.push(line);
        } else {
            self.unlisted = Some((line.span.start, self.unlisted.map_or(1, |(_, count)| count + 1)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::text::Hasher;

    const SLACK: usize = 4;

    /// Aligns files (path, text of one-letter lines; two lines are loaded at a time) with records (path, letter), and says per file which letters
    /// are missing, where the first found line is, and which records are stray (`!` if leading).
    fn align(files: &[(&str, &str)], records: &[(&str, char)]) -> (Vec<(String, Option<u64>)>, String) {
        let hasher = Hasher::new(7);
        let text = |letter: char| hasher.of(letter.to_string().as_bytes());
        let kinship = Kinship::of(files.iter().map(|(path, _)| path.as_bytes()));
        let mut alignment = Alignment::new(files.len(), Rc::new(kinship), SLACK);
        let mut left: Vec<usize> = files.iter().map(|(_, text)| text.len()).collect();
        let mut load = |file: usize| {
            let end = left[file];
            left[file] = end.saturating_sub(2);
            let line = |at: usize| {
                let letter = files[file].1.as_bytes()[at] as char;
                FileLine { span: at as u64 * 2..at as u64 * 2 + 2, text: text(letter) }
            };
            Ok((left[file]..end).map(line).collect())
        };
        let letters: HashMap<Text, char> = ('a'..='z').map(|letter| (text(letter), letter)).collect();
        for (offset, (path, letter)) in records.iter().enumerate().rev() {
            let id = records.iter().position(|(other, _)| other == path).unwrap() as u32;
            let (offset, text) = (offset as u64, text(*letter));
            let record = Piece { path: id, partition: 0, offset, text, begins: true, ends: true };
            alignment.take(record, || path.as_bytes().to_vec(), &mut load);
        }
        let (outcomes, strays) = alignment.finish(&mut load);
        let missing = |outcome: &Outcome| outcome.missing.iter().map(|line| letters[&line.text]).collect::<String>();
        let outcomes = outcomes.iter().map(|outcome| (missing(outcome), outcome.first_found)).collect();
        let show = |stray: &Stray| {
            format!("{}{}{}", letters[&stray.record.text], stray.record.offset, if stray.is_leading { "!" } else { "" })
        };
        (outcomes, strays.iter().map(show).collect::<Vec<_>>().join(" "))
    }

    #[track_caller]
    fn check(files: &[(&str, &str)], records: &[(&str, &str)], expected: &[(&str, u64)], strays: &str) {
        let records: Vec<(&str, char)> =
            records.iter().flat_map(|(path, letters)| letters.chars().map(|letter| (*path, letter))).collect();
        let (outcomes, found) = align(files, &records);
        let outcomes: Vec<(&str, u64)> =
            outcomes.iter().map(|(missing, first)| (missing.as_str(), first.unwrap_or(99))).collect();
        assert_eq!((&outcomes[..], &found[..]), (expected, strays));
    }

    const LETTERS: &str = "abcdefghijklmnopqrst";

    #[test]
    fn what_was_shipped_once_is_found_and_nothing_else_is_told() {
        check(&[("/a", LETTERS)], &[("/a", LETTERS)], &[("", 0)], "");
        let files = [("/a.log", "nopq"), ("/a.log.1", "abcdef")];
        check(&files, &[("/a.log", "abcde"), ("/a.log", "nofpq")], &[("", 0), ("", 0)], "");
    }

    #[test]
    fn missing_lines_are_named_and_the_rest_is_found() {
        check(&[("/a", LETTERS)], &[("/a", "abcdghijklmnopqrst")], &[("fe", 0)], "");
        check(&[("/a", LETTERS)], &[("/a", "abcnopqrst")], &[("mlkjihgfed", 0)], "");
        check(&[("/a", LETTERS)], &[("/a", "abcdefghijklmnopqrs")], &[("t", 0)], "");
    }

    #[test]
    fn an_edited_line_is_missing_and_its_record_is_stray() {
        check(&[("/a", "abcdefghijxlmnopqrst")], &[("/a", LETTERS)], &[("x", 0)], "k10");
    }

    #[test]
    fn a_doubled_record_is_stray_wherever_it_is() {
        check(&[("/a", LETTERS)], &[("/a", "abcdefghijklmnopqrstb")], &[("", 0)], "b1");
        check(&[("/a", LETTERS)], &[("/a", "abcdefghijkklmnopqrst")], &[("", 0)], "k10");
    }

    #[test]
    fn the_records_of_files_long_gone_are_leading() {
        check(&[("/a", "hhihj")], &[("/a", "uhhhv"), ("/a", "hhihj")], &[("", 0)], "v4! h3! h2! h1! u0!");
    }

    #[test]
    fn what_was_not_held_or_not_read_is_before_the_first_line_found() {
        check(&[("/a", LETTERS)], &[("/a", "mnopqrst")], &[("", 24)], "");
        check(&[("/a", LETTERS)], &[], &[("", 99)], "");
    }

    #[test]
    fn a_file_renamed_beyond_recognition_finds_the_records_of_its_old_name() {
        let files = [("/l/current", "nopq"), ("/l/@4000", LETTERS)];
        check(&files, &[("/l/current", LETTERS), ("/l/current", "nopq")], &[("", 0), ("", 0)], "");
    }

    #[test]
    fn records_of_files_named_otherwise_say_nothing() {
        check(&[("/a", "abc")], &[("/a", "abc"), ("/b", "abc")], &[("", 0)], "");
    }
}
