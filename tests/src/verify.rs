//! The promise, checked: every line once, whole, and in its file's order.

use std::collections::BTreeMap;

use skidway_wire::JsonRecord;

use crate::agent::Agent;
use crate::collector::Collector;
use crate::http::Client;
use crate::writer::Writer;
use crate::{lines, topic};

/// Counts what went wrong; all zero is the promise kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines read.
    pub lines: u64,
    /// Lines written but not read.
    pub lost: u64,
    /// Lines read more than once.
    pub doubled: u64,
    /// Lines read after a later line of the same file.
    pub disordered: u64,
    /// Lines that are torn or damaged.
    pub corrupted: u64,
    /// Lines nobody wrote.
    pub unknown: u64,
    /// The first few faults in words.
    pub examples: Vec<String>,
}

impl Report {
    /// Tells whether the promise was kept.
    pub fn is_perfect(&self) -> bool {
        self.lost + self.doubled + self.disordered + self.corrupted + self.unknown == 0
    }

    fn example(&mut self, fault: &str, record: &JsonRecord) {
        if self.examples.len() < 20 {
            let (partition, offset) = (record.partition, record.offset);
            let value = record.value.as_deref().unwrap_or_default();
            let value = value.get(..60).unwrap_or(value);
            let path = topic::header(record, "path");
            self.examples.push(format!("{fault} at {partition}/{offset} from {path}: {value}"));
        }
    }
}

/// Compares what `writers` wrote with `records`, which come partition by partition in offset order or interleaved.
pub fn verify(writers: &[Writer], records: &[JsonRecord]) -> Report {
    let mut checked = Checked::new(writers);
    records.iter().for_each(|record| checked.take(record));
    checked.report()
}

/// Waits until every line of a writer is in topic `app`, stops the agent, and makes sure that each is there once and in order.
///
/// # Panics
/// When that is not so.
#[track_caller]
pub fn assert_delivered(collector: &Collector, agent: &mut Agent, writer: Writer) {
    topic::wait_for(&collector.client(), "app", writer.lines());
    assert_eq!(agent.program().stop(), Some(0));
    let report = verify(&[writer], &topic::read(&collector.client(), "app"));
    assert!(report.is_perfect(), "{report:#?}");
}

/// Does the same with a topic of any length, up to its head.
///
/// # Panics
/// When the answer is no stream of records, or is cut.
pub fn verify_topic(writers: &[Writer], client: &Client, topic: &str) -> Report {
    let mut checked = Checked::new(writers);
    topic::read_each(client, topic, |record| checked.take(&record));
    checked.report()
}

/// Holds what was read so far.
struct Checked<'w> {
    report: Report,
    seen: BTreeMap<&'w str, Vec<bool>>,
    last: BTreeMap<(String, u64), u64>,
}

impl<'w> Checked<'w> {
    fn new(writers: &'w [Writer]) -> Self {
        let seen = writers.iter().map(|writer| (writer.name(), vec![false; writer.lines() as usize])).collect();
        Self { report: Report::default(), seen, last: BTreeMap::new() }
    }

    fn take(&mut self, record: &JsonRecord) {
        let report = &mut self.report;
        report.lines += 1;
        let Some(line) = record.value.as_deref().and_then(lines::parse).filter(|line| line.whole) else {
            report.corrupted += 1;
            return report.example("corrupted", record);
        };
        let Some(place) = self.seen.get_mut(line.file).and_then(|lines| lines.get_mut(line.seq as usize)) else {
            report.unknown += 1;
            return report.example("unknown", record);
        };
        if std::mem::replace(place, true) {
            report.doubled += 1;
            return report.example("doubled", record);
        }
        let last = self.last.entry((line.file.into(), line.generation)).or_insert(line.seq);
        if line.seq < *last {
            report.disordered += 1;
            report.example("disordered", record);
        }
        *last = line.seq.max(*last);
    }

    fn report(mut self) -> Report {
        for (name, lines) in &self.seen {
            let missing: Vec<usize> = (0..lines.len()).filter(|&seq| !lines[seq]).collect();
            self.report.lost += missing.len() as u64;
            if let (Some(first), Some(last)) = (missing.first(), missing.last()) {
                let lost = format!("{name} lost {} lines between {first} and {last}", missing.len());
                self.report.examples.push(lost);
            }
        }
        self.report
    }
}
