//! What the log holds, or should hold. The model's views come of applying actions; a found one is read from an open log.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use skidway_record::murmur2;

use crate::crash::workload::{Action, Dice, PINNED};
use crate::*;

pub(super) const AGENT: &str = "web-1";
pub(super) const PARTITIONS: u32 = 2;

/// All that can be seen of a log; the model also knows what it would answer producers.
#[derive(Clone, Default, PartialEq)]
pub(super) struct View {
    pub(super) topics: BTreeMap<TopicName, Vec<Arc<Lines>>>,
    pub(super) sources: BTreeMap<u8, SourceView>,
    pub(super) epoch: u64,
    pub(super) inputs: Vec<String>,
    pub(super) producers: BTreeMap<(TopicName, u8), Produced>,
}

/// Lines of a partition, by offset; those below the log start are gone.
#[derive(Clone, Default, PartialEq, Debug)]
pub(super) struct Lines {
    pub(super) log_start: usize,
    /// What is gone from between is empty.
    pub(super) lines: Vec<Arc<str>>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct SourceView {
    pub(super) position: u64,
    pub(super) partition: u32,
}

/// An idempotent producer's last request.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Produced {
    pub(super) next: u64,
    pub(super) last: (TopicPartition, Vec<Arc<str>>),
}

impl View {
    /// Applies an action, which the log must accept.
    pub(super) fn apply(&mut self, action: &Action) {
        match action {
            Action::Append(parts) => parts.iter().for_each(|(place, lines)| self.append(place, lines)),
            Action::Produce(producer, place, lines) => self.produce(*producer, place, lines),
            Action::ProduceAgain(..) | Action::Look => {}
            Action::Ensure(name) => {
                self.topic(name, PARTITIONS);
            }
            Action::Put(name, partitions) => {
                let held = self.topic(name, *partitions);
                held.resize_with(held.len().max(*partitions as usize), Arc::default);
            }
            Action::Delete(name) => {
                self.topics.remove(name);
                self.producers.retain(|(topic, _), _| topic != name);
            }
            Action::DeleteRecords(place, before) => {
                let lines = self.lines_mut(place);
                lines.log_start = lines.log_start.max(*before);
            }
            Action::Session => self.epoch += 1,
            Action::OpenInput(input) => {
                if let Err(place) = self.inputs.binary_search(input) {
                    self.inputs.insert(place, input.clone());
                }
            }
            Action::Create(n) => {
                let partitions = self.topic(&source_topic(*n), PARTITIONS).len() as u32;
                let file = format!("{AGENT}\0/var/log/{n}.log");
                let partition = murmur2::partition_of(file.as_bytes(), partitions);
                self.sources.insert(*n, SourceView { position: 0, partition });
            }
            Action::Span(n, lines, dead) => self.advance(*n, lines, dead),
        }
    }

    /// Says in what `found` differs from this, but for lines that may be gone.
    pub(super) fn difference(&self, found: &Self, may_go: MayGo) -> Option<String> {
        if !self.topics.keys().eq(found.topics.keys()) {
            return Some(format!("topics {:?}, not {:?}", found.topics.keys(), self.topics.keys()));
        }
        for (name, own) in &self.topics {
            let found = &found.topics[name];
            if own.len() != found.len() {
                return Some(format!("{name} has {} partitions, not {}", found.len(), own.len()));
            }
            for (partition, (own, found)) in own.iter().zip(found).enumerate() {
                if let Some(difference) = own.difference(found, may_go.of(name)) {
                    return Some(format!("{name}-{partition} {difference}"));
                }
            }
        }
        if self.sources != found.sources {
            return Some(format!("sources {:?}, not {:?}", found.sources, self.sources));
        }
        let (own, found) = ((self.epoch, &self.inputs), (found.epoch, &found.inputs));
        (own != found).then(|| format!("session {found:?}, not {own:?}"))
    }

    /// Draws a partition that exists.
    pub(super) fn some_partition(&self, dice: &mut Dice) -> Option<TopicPartition> {
        let name = self.topics.keys().nth(dice.below(self.topics.len().max(1) as u64) as usize)?;
        Some(TopicPartition::new(name.clone(), dice.below(self.topics[name].len() as u64) as u32))
    }

    /// Gives a partition's lines; `None` if it is not there.
    pub(super) fn lines(&self, place: &TopicPartition) -> Option<&Lines> {
        self.topics.get(&place.topic)?.get(place.partition.0 as usize).map(Arc::as_ref)
    }

    fn lines_mut(&mut self, place: &TopicPartition) -> &mut Lines {
        Arc::make_mut(&mut self.topic(&place.topic, PARTITIONS)[place.partition.0 as usize])
    }

    fn topic(&mut self, name: &TopicName, partitions: u32) -> &mut Vec<Arc<Lines>> {
        self.topics.entry(name.clone()).or_insert_with(|| vec![Arc::default(); partitions as usize])
    }

    fn append(&mut self, place: &TopicPartition, lines: &[Arc<str>]) {
        self.lines_mut(place).lines.extend_from_slice(lines);
    }

    fn produce(&mut self, producer: u8, place: &TopicPartition, lines: &[Arc<str>]) {
        self.append(place, lines);
        let key = (place.topic.clone(), producer);
        let next = self.producers.get(&key).map_or(0, |produced| produced.next) + lines.len() as u64;
        self.producers.insert(key, Produced { next, last: (place.clone(), lines.to_vec()) });
    }

    fn advance(&mut self, n: u8, lines: &[Arc<str>], dead: &[Arc<str>]) {
        let name = source_topic(n);
        let partitions = self.partitions(&name) as u32;
        let source = self.sources.get_mut(&n).expect("only a source that is there moves");
        // Its topic may have been created again with fewer partitions.
        source.partition %= partitions;
        source.position += 100;
        let own = TopicPartition::new(name.clone(), source.partition);
        if !lines.is_empty() {
            self.append(&own, lines);
        }
        if !dead.is_empty() {
            self.append(&partition(&format!("{name}.dead"), 0), dead);
        }
    }

    /// Counts the partitions a topic has, or would have.
    fn partitions(&self, name: &TopicName) -> usize {
        self.topics.get(name).map_or(PARTITIONS as usize, Vec::len)
    }
}

impl Lines {
    fn difference(&self, found: &Self, may_go: MayGo) -> Option<String> {
        let is_further = may_go == MayGo::First && found.log_start >= self.log_start;
        let start_fits = found.log_start == self.log_start || is_further;
        if !start_fits || found.log_start > self.lines.len() {
            return Some(format!("starts at {}, not at {} of {}", found.log_start, self.log_start, self.lines.len()));
        }
        let kept = &self.lines[found.log_start..];
        let is_same = match may_go {
            MayGo::Superseded => kept.len() == found.lines.len() && (0..kept.len()).all(|n| may_be(kept, found, n)),
            _ => kept == found.lines,
        };
        (!is_same).then(|| format!("from {} on holds {:?}, not {kept:?}", found.log_start, found.lines))
    }
}

/// Says which lines may be gone though they were not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MayGo {
    /// None.
    Nothing,
    /// The first ones.
    First,
    /// Those that a later one of the same key supersedes, and tombstones.
    Superseded,
}

impl MayGo {
    /// Says so of a topic: one is pinned.
    fn of(self, name: &TopicName) -> Self {
        if self == Self::Superseded && name.as_str() == PINNED { Self::Nothing } else { self }
    }
}

/// Tells whether line `n` is there, or gone as it may be: a later one of its key is there, or it was a tombstone and no earlier one of
/// its key is there any more.
fn may_be(kept: &[Arc<str>], found: &Lines, n: usize) -> bool {
    if found.lines[n] == kept[n] {
        return true;
    }
    let (is_gone, key) = (found.lines[n].is_empty(), key_of(&kept[n]));
    let is_superseded = || kept[n + 1..].iter().any(|later| key_of(later) == key);
    let is_obeyed = || (0..n).all(|before| key_of(&kept[before]) != key || found.lines[before].is_empty());
    is_gone && key.is_some() && (is_superseded() || (is_tombstone(&kept[n]) && is_obeyed()))
}

/// Gives the key of a line's record: one of few, or none.
pub(super) fn key_of(line: &str) -> Option<u8> {
    let sum = sum_of(line);
    (!sum.is_multiple_of(5)).then_some((sum % 7) as u8)
}

/// Tells whether a line's record has no value.
pub(super) fn is_tombstone(line: &str) -> bool {
    key_of(line).is_some() && sum_of(line) % 11 < 3
}

/// Adds up the numbers that a line begins with.
fn sum_of(line: &str) -> u32 {
    let place = line.split(' ').next().unwrap_or_default();
    place.split('.').filter_map(|number| number.parse::<u32>().ok()).sum()
}

/// Gives the topic of a source.
pub(super) fn source_topic(n: u8) -> TopicName {
    topic(["a", "b"][n as usize % 2])
}

impl View {
    /// Reads an open log; of each partition only the lines that are kept. The error says what is unsound in it.
    pub(super) fn read(opened: &Opened) -> Result<Self, String> {
        let mut view = Self::default();
        for topic in opened.log.topics() {
            let places = (0..topic.config.partitions).map(|n| TopicPartition::new(topic.name.clone(), n));
            let lines: Result<_, String> = places.map(|place| read_lines(opened, &place).map(Arc::new)).collect();
            view.topics.insert(topic.name.clone(), lines?);
        }
        for stored in opened.sources(AGENT).map_err(|error| error.to_string())? {
            let carry = if stored.position == 0 { String::new() } else { stored.position.to_string() };
            if stored.carry != carry {
                return Err(format!("position {} and carry {carry:?} must move together", stored.position));
            }
            let partition = stored.partition.ok_or("a file's source has its partition")?;
            let n = stored.source.id.0[0];
            view.sources.insert(n, SourceView { position: stored.position, partition });
        }
        if let Some(agent) = opened.agents().map_err(|error| error.to_string())?.first() {
            (view.epoch, view.inputs) = (agent.epoch, agent.opened_inputs.clone());
        }
        Ok(view)
    }
}

/// Reads a partition from its log start on. Every offset up to the high watermark must be covered once, in order.
fn read_lines(opened: &Opened, place: &TopicPartition) -> Result<Lines, String> {
    let unsound = |what: String| format!("{place}: {what}");
    let offsets = opened.log.offsets(place).map_err(|error| unsound(error.to_string()))?;
    let mut lines = Lines { log_start: offsets.log_start.0 as usize, lines: Vec::new() };
    let mut at = offsets.log_start;
    while at < offsets.high_watermark {
        let fetched = opened.log.fetch(place, at, 1 << 20).map_err(|error| unsound(error.to_string()))?;
        if !fetched.batches.first().is_some_and(|first| (first.base_offset()..first.next_offset()).contains(&at)) {
            return Err(unsound(format!("what is fetched at {at} does not contain it")));
        }
        for batch in fetched.batches {
            for (delta, line) in decoded(&batch).map_err(unsound)?.iter() {
                let offset = batch.base_offset().0 + u64::from(*delta);
                if offset < at.0 {
                    continue;
                }
                lines.lines.extend((at.0..offset).map(|_gone| Arc::from("")));
                lines.lines.push(line.clone());
                at = Offset(offset + 1);
            }
            lines.lines.extend((at.0..batch.next_offset().0).map(|_gone| Arc::from("")));
            at = batch.next_offset();
        }
    }
    Ok(lines)
}

/// Lines of a batch by their offset's delta.
type DecodedLines = Arc<Vec<(u32, Arc<str>)>>;

/// Decodes and checks a batch; the same bytes are decoded once, for they are read at thousands of crash points.
fn decoded(batch: &Batch) -> Result<DecodedLines, String> {
    thread_local! {
        static KNOWN: RefCell<HashMap<(u32, usize), DecodedLines>> = RefCell::default();
    }
    batch.verify_crc().map_err(|error| error.to_string())?;
    let key = (batch.header().crc, batch.bytes().len());
    if let Some(known) = KNOWN.with_borrow(|known| known.get(&key).cloned()) {
        return Ok(known);
    }
    batch.verify().map_err(|error| error.to_string())?;
    let records = batch.decode().map_err(|error| error.to_string())?;
    let line = |record: skidway_record::Record<'_>| {
        let bytes = record.value.or_else(|| record.headers().next()?.value).unwrap_or_default();
        (record.offset_delta, Arc::from(String::from_utf8_lossy(bytes)))
    };
    let lines: DecodedLines = Arc::new(records.records().map(|record| line(record.unwrap())).collect());
    KNOWN.with_borrow_mut(|known| {
        if known.len() > 10_000 {
            known.clear();
        }
        known.insert(key, lines.clone());
    });
    Ok(lines)
}
