//! Compares what was written with what the topic holds: each line once, whole, in its file's order, unless its bytes were destroyed.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use skidway_wire::JsonRecord;

use super::family::{BANNER, Family};
use super::incarnation::{Destroyed, How, Incarnation};
use super::timeline::Timeline;
use crate::lines;
use crate::topic::header;

/// So long it may take until a truncated file's last lines are acknowledged.
const SETTLING: Duration = Duration::from_secs(20);

/// Counts what went wrong, and what was destroyed.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Lines written.
    pub written: u64,
    /// Records read.
    pub records: u64,
    /// Lines that did not arrive although their bytes were there.
    pub lost: u64,
    /// Lines that arrived more than once.
    pub doubled: u64,
    /// Lines that arrived after a later one of the same file.
    pub disordered: u64,
    /// Records that are no whole line.
    pub corrupted: u64,
    /// Lines that did not arrive, their bytes having been destroyed.
    pub destroyed: u64,
    /// Of those, runs of which the ledger had to tell and did not.
    pub unrecorded: u64,
    /// Of those, lines that the agent could not know of.
    pub unknowable: u64,
    /// Records of losses that were none.
    pub false_alarms: u64,
    /// Loss records.
    pub events: u64,
    /// Of those, exact ones.
    pub exact: u64,
    /// Bytes that they tell of.
    pub bytes: u64,
    /// The faults: whose, what kind of fault, how often, the first in words.
    pub faults: Vec<Fault>,
}

/// Is something that went wrong, perhaps many times.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The family.
    pub whose: String,
    /// What kind of fault, in which file.
    pub kind: String,
    /// How often.
    pub count: u64,
    /// The first one.
    pub first: String,
}

impl Report {
    /// Tells whether the promise was kept.
    pub fn is_perfect(&self) -> bool {
        self.lost + self.doubled + self.disordered + self.corrupted + self.unrecorded + self.false_alarms == 0
    }

    /// Adds another run's figures.
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.written, other.written),
            (&mut self.records, other.records),
            (&mut self.destroyed, other.destroyed),
            (&mut self.unknowable, other.unknowable),
            (&mut self.events, other.events),
            (&mut self.exact, other.exact),
            (&mut self.bytes, other.bytes),
        ] {
            *sum += more;
        }
    }

    /// Notes a fault; those of one family and kind are counted.
    pub(super) fn fault(&mut self, whose: &str, kind: String, what: String) {
        match self.faults.iter_mut().find(|fault| fault.whose == whose && fault.kind == kind) {
            Some(fault) => fault.count += 1,
            None => self.faults.push(Fault { whose: whose.to_owned(), kind, count: 1, first: what }),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { written, records, lost, doubled, disordered, corrupted, .. } = self;
        write!(
            out,
            "{written} lines written, {records} records; {lost} lost, {doubled} doubled, {disordered} reordered, {corrupted} torn; "
        )?;
        let Self { destroyed, unknowable, events, exact, bytes, unrecorded, false_alarms, .. } = self;
        write!(
            out,
            "{destroyed} lines destroyed unread, {unknowable} of them before the agent could know of them, {unrecorded} losses not told, "
        )?;
        write!(out, "{false_alarms} told that were none; {events} loss records of {bytes} bytes, {exact} of them exact")
    }
}

/// Knows which lines arrived: by family, incarnation and place among its lines.
#[derive(Debug)]
pub struct Arrived(HashMap<String, Vec<Vec<bool>>>);

impl Arrived {
    /// Tells which of an incarnation's lines arrived.
    pub fn of(&self, family: &Family, incarnation: usize) -> &[bool] {
        &self.0[&family.name][incarnation]
    }
}

/// Puts pieces of lines together: gives the values in order, each with the record that ends it.
fn whole(records: &[JsonRecord]) -> Vec<(String, &JsonRecord)> {
    let mut sorted: Vec<&JsonRecord> = records.iter().collect();
    sorted.sort_by_key(|record| (record.partition, record.offset));
    let mut open: HashMap<(u32, String), String> = HashMap::new();
    let mut values = Vec::new();
    for record in sorted {
        let key = (record.partition, header(record, "path").to_owned());
        let mut value = record.value.clone().unwrap_or_default();
        if record.headers.contains_key("skidway-continued") {
            value.insert_str(0, &open.remove(&key).unwrap_or_default());
        }
        if record.headers.contains_key("skidway-partial") {
            open.insert(key, value);
        } else {
            values.push((value, record));
        }
    }
    // What was written without its end may lack only that.
    values
}

/// Counts the faults of the topic.
pub fn verify(families: &[Family], records: &[JsonRecord], timeline: &Timeline) -> (Report, Arrived) {
    let mut report = Report { records: records.len() as u64, ..Report::default() };
    let mut places: HashMap<(&str, u64), HashMap<u64, usize>> = HashMap::new();
    let mut arrived: HashMap<String, Vec<Vec<bool>>> = HashMap::new();
    for family in families {
        report.written += family.lines();
        for (number, incarnation) in family.incarnations.iter().enumerate() {
            let by_seq = incarnation.lines.iter().enumerate().map(|(at, line)| (line.seq, at)).collect();
            places.insert((&family.name, number as u64), by_seq);
        }
        let none = family.incarnations.iter().map(|it| vec![false; it.lines.len()]).collect();
        arrived.insert(family.name.clone(), none);
    }
    let mut last: HashMap<(String, u64, u32), u64> = HashMap::new();
    let mut banners: BTreeMap<String, u64> = BTreeMap::new();
    for (value, record) in whole(records) {
        if value == BANNER {
            *banners.entry(family_of(header(record, "path"))).or_default() += 1;
            continue;
        }
        let at = format!("{}/{} from {}", record.partition, record.offset, header(record, "path"));
        let line = lines::parse(&value).filter(|line| line.whole);
        let found = line.and_then(|line| Some((*places.get(&(line.file, line.generation))?.get(&line.seq)?, line)));
        let Some((place, line)) = found else {
            report.corrupted += 1;
            let whose = family_of(header(record, "path"));
            report.fault(&whose, "torn".to_owned(), format!("{value:.80} at {at}"));
            continue;
        };
        let lines = &mut arrived.get_mut(line.file).expect("its family is known")[line.generation as usize];
        let may_be_doubled = family(families, line.file)
            .is_some_and(|it| may_be_doubled(&it.incarnations[line.generation as usize], timeline));
        if std::mem::replace(&mut lines[place], true) {
            if !may_be_doubled {
                report.doubled += 1;
                let kind = format!("doubled g{} from {}", line.generation, header(record, "path"));
                report.fault(line.file, kind, format!("line {} at {at}", line.seq));
            }
            continue;
        }
        let last = last.entry((line.file.to_owned(), line.generation, record.partition)).or_insert(line.seq);
        if line.seq < *last && !may_be_doubled {
            report.disordered += 1;
            let kind = format!("reordered g{}", line.generation);
            report.fault(line.file, kind, format!("line {} after {last} at {at}", line.seq));
        }
        *last = line.seq.max(*last);
    }
    let arrived = Arrived(arrived);
    families.iter().for_each(|family| count_missing(&mut report, family, &arrived));
    families.iter().for_each(|family| {
        check_banners(&mut report, timeline, family, banners.get(&family.name).copied().unwrap_or(0))
    });
    (report, arrived)
}

/// Tells whether lines of a file may come twice. A copy that holds less than what was read of its original is passed over once that is
/// acknowledged; an agent that dies before cannot know it again.
fn may_be_doubled(it: &Incarnation, timeline: &Timeline) -> bool {
    let window = it.destroyed.iter().filter(|destroyed| destroyed.how == How::Window);
    let died_then = |destroyed: &Destroyed| timeline.died_within(destroyed.since, SETTLING);
    it.may_be_doubled || window.into_iter().any(died_then)
}

fn family<'a>(families: &'a [Family], name: &str) -> Option<&'a Family> {
    families.iter().find(|family| family.name == name)
}

/// Gives the family that a path belongs to.
pub fn family_of(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.split(['.', '-']).next().unwrap_or_default().to_owned()
}

fn count_missing(report: &mut Report, family: &Family, arrived: &Arrived) {
    for (number, incarnation) in family.incarnations.iter().enumerate() {
        let missing = incarnation.lines.iter().zip(arrived.of(family, number)).filter(|(_, arrived)| !**arrived);
        let (mut lost, mut first, mut last) = (0, None, None);
        for (line, _) in missing {
            if incarnation.destruction_of(&line.at).is_some() {
                report.destroyed += 1;
                continue;
            }
            lost += 1;
            first.get_or_insert(line);
            last = Some(line);
        }
        if let (Some(first), Some(last)) = (first, last) {
            report.lost += lost;
            let bytes = first.at.start..last.at.end;
            let what = format!("{lost} lines, {} to {}, in {bytes:?}", first.seq, last.seq);
            report.fault(&family.name, format!("lost g{number}"), what);
        }
    }
}

/// Banners have no numbers: there are as many as files that begin with one, less those destroyed.
fn check_banners(report: &mut Report, timeline: &Timeline, family: &Family, arrived: u64) {
    let begun = || family.incarnations.iter().filter(|it| it.banner.is_some());
    let is_destroyed = |banner: &_, it: &Incarnation| it.destruction_of(banner).is_some();
    let most = begun().map(|it| 1 + u64::from(may_be_doubled(it, timeline))).sum::<u64>();
    let least = begun().filter(|it| !it.banner.as_ref().is_some_and(|banner| is_destroyed(banner, it))).count() as u64;
    report.lost += least.saturating_sub(arrived);
    report.doubled += arrived.saturating_sub(most);
    if arrived < least || arrived > most {
        let what = format!("{arrived} first lines that all files share came of {least} to {most}");
        report.fault(&family.name, "banner".to_owned(), what);
    }
}
