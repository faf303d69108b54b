//! Random actions, several in flight at once, and the history of a run: what had been asked and answered when.
//!
//! A new kind of action is a variant of [`Action`] with its place in [`Dice::action`], [`submit`] and `View::apply`.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use skidway_commitlog::commit::{ProducerSequence, TopicSettings};

use crate::crash::model::{AGENT, PARTITIONS, View, is_tombstone, key_of, source_topic};
use crate::*;

const TOPICS: [&str; 3] = ["a", "b", "c"];
/// Is pinned where topics are compacted.
pub(super) const PINNED: &str = "c";

const SOURCES: u8 = 4;
const PARTITIONS_MAX: u32 = 4;

#[derive(Debug, Clone)]
pub(super) enum Action {
    Append(Vec<(TopicPartition, Vec<Arc<str>>)>),
    /// An idempotent producer's next request.
    Produce(u8, TopicPartition, Vec<Arc<str>>),
    /// Its last request once more, by its first sequence number.
    ProduceAgain(u8, TopicPartition, Vec<Arc<str>>, u64),
    Ensure(TopicName),
    Put(TopicName, u32),
    Delete(TopicName),
    DeleteRecords(TopicPartition, usize),
    Session,
    OpenInput(String),
    Create(u8),
    /// Lines of a source, and refused ones of it.
    Span(u8, Vec<Arc<str>>, Vec<Arc<str>>),
    /// Changes nothing.
    Look,
}

impl Action {
    fn deletes_pinned(&self) -> bool {
        match self {
            Self::Delete(name) => name.as_str() == PINNED,
            Self::DeleteRecords(place, _) => place.topic.as_str() == PINNED,
            _ => false,
        }
    }
}

/// Says what a workload is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flavour {
    /// Letters of a large line; every fourth batch has one.
    pub(super) large_line: usize,
    /// Of 100 actions so many change topics.
    pub(super) topic_changes: u64,
    pub(super) rounds: usize,
    /// One topic is pinned: nothing of it is deleted.
    pub(super) is_pinned: bool,
    /// Questions asked after each round, which give the log time for what it does on its own.
    pub(super) idle_looks: usize,
}

/// Draws from a seed.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    pub(super) fn of(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    fn topic(&mut self) -> TopicName {
        topic(TOPICS[self.below(3) as usize])
    }

    /// Makes lines that name their place in the run.
    fn lines(&mut self, flavour: &Flavour, number: usize, part: u64) -> Vec<Arc<str>> {
        let is_large = self.of(4);
        let lines = (0..1 + self.below(3)).map(|line| {
            let len = if is_large && line == 0 { flavour.large_line } else { self.below(60) as usize };
            Arc::from(format!("{number}.{part}.{line} {}", noise(self.0, len)))
        });
        lines.collect()
    }

    fn partition(&mut self, view: &View) -> TopicPartition {
        let name = self.topic();
        let partitions = view.topics.get(&name).map_or(PARTITIONS as usize, Vec::len);
        TopicPartition::new(name, self.below(partitions as u64) as u32)
    }

    fn action(&mut self, flavour: &Flavour, view: &View, number: usize) -> Action {
        if view.epoch == 0 {
            return Action::Session;
        }
        if self.below(100) < flavour.topic_changes {
            let change = self.topic_change(view);
            return if flavour.is_pinned && change.deletes_pinned() { Action::Look } else { change };
        }
        match self.below(20) {
            0 => Action::Session,
            1 => Action::OpenInput(format!("input {}", self.below(3))),
            2 => Action::Look,
            3..=5 => self.produce(flavour, view, number),
            6..=10 => {
                let parts = 1 + self.below(4);
                Action::Append((0..parts).map(|n| (self.partition(view), self.lines(flavour, number, n))).collect())
            }
            _ => self.span(flavour, view, number),
        }
    }

    fn topic_change(&mut self, view: &View) -> Action {
        match self.below(5) {
            0 => Action::Ensure(self.topic()),
            1 => Action::Delete(self.topic()),
            2 => {
                let name = self.topic();
                let least = view.topics.get(&name).map_or(1, Vec::len) as u64;
                let more = self.below(u64::from(PARTITIONS_MAX) + 1 - least);
                Action::Put(name, (least + more) as u32)
            }
            _ => match view.some_partition(self) {
                Some(place) => {
                    let lines = view.lines(&place).map_or(0, |lines| lines.lines.len());
                    Action::DeleteRecords(place, self.below(lines as u64 + 1) as usize)
                }
                None => Action::Look,
            },
        }
    }

    fn produce(&mut self, flavour: &Flavour, view: &View, number: usize) -> Action {
        let (producer, place) = (self.below(2) as u8, self.partition(view));
        match view.producers.get(&(place.topic.clone(), producer)) {
            Some(produced) if self.of(3) => {
                let (place, lines) = produced.last.clone();
                let first = produced.next - lines.len() as u64;
                Action::ProduceAgain(producer, place, lines, first)
            }
            _ => Action::Produce(producer, place, self.lines(flavour, number, 0)),
        }
    }

    fn span(&mut self, flavour: &Flavour, view: &View, number: usize) -> Action {
        let n = self.below(u64::from(SOURCES)) as u8;
        if !view.sources.contains_key(&n) {
            return Action::Create(n);
        }
        let lines = if self.of(5) { Vec::new() } else { self.lines(flavour, number, 0) };
        let dead = if self.of(5) { self.lines(flavour, number, 1) } else { Vec::new() };
        Action::Span(n, lines, dead)
    }
}

/// Tells how a run went: what the log would hold after each action, and how many of the disk's operations had happened when.
pub(super) struct History {
    /// What the log holds before the first action, and after each one.
    pub(super) views: Vec<View>,
    /// Operations before each action was asked for.
    submitted: Vec<u64>,
    /// Operations before each acknowledgement; as many as there were.
    acknowledged: Vec<u64>,
    /// Operations before each publication, and the first view that has all it shows.
    published: Vec<(u64, usize)>,
}

impl History {
    pub(super) fn new(start: View) -> Self {
        Self { views: vec![start], submitted: Vec::new(), acknowledged: Vec::new(), published: Vec::new() }
    }

    /// Gives the views that the log may hold when `operations` had happened: all that was acknowledged or shown is in the first of them,
    /// all that was asked for in the last.
    pub(super) fn possible(&self, operations: u64) -> std::ops::RangeInclusive<usize> {
        let before = |counts: &[u64]| counts.partition_point(|&at| at <= operations);
        let shown = self.published.iter().take_while(|(at, _)| *at <= operations).map(|(_, view)| *view).max();
        before(&self.acknowledged).max(shown.unwrap_or(0))..=before(&self.submitted)
    }

    pub(super) fn last(&self) -> &View {
        self.views.last().expect("there is the one before the first action")
    }

    pub(super) fn is_acknowledged(&self) -> bool {
        self.acknowledged.len() == self.submitted.len()
    }

    /// Notes what was shown: the first view, not before the acknowledged ones, that reaches as far.
    fn note_published(&mut self, published: Vec<Publication>) {
        for (at, advanced) in published {
            let acknowledged = self.acknowledged.partition_point(|&ack| ack <= at);
            let reaches = |view: &View, (place, high_watermark): &(TopicPartition, Offset)| {
                view.lines(place).is_some_and(|lines| lines.lines.len() as u64 >= high_watermark.0)
            };
            let shown = advanced.iter().filter_map(|shown| {
                (acknowledged..self.views.len()).find(|&number| reaches(&self.views[number], shown))
            });
            if let Some(view) = shown.max() {
                self.published.push((at, view));
            }
        }
    }
}

/// What was shown at once, after how many operations.
type Publication = (u64, Vec<(TopicPartition, Offset)>);

/// Hears when what was shown, in the disk's operations.
pub(super) struct Witness {
    disk: FaultyDisk,
    published: Mutex<Vec<Publication>>,
    halted: Mutex<usize>,
}

impl Observer for Witness {
    fn published(&self, advanced: &[(TopicPartition, Offset)]) {
        self.published.lock().unwrap().push((self.disk.operations(), advanced.to_vec()));
    }

    fn topics_changed(&self, _topics: &[Topic]) {}

    fn halted(&self, _error: &Error) {
        *self.halted.lock().unwrap() += 1;
    }

    fn synced(&self, _took: Duration, _commits: usize) {}
}

impl Witness {
    pub(super) fn halts(&self) -> usize {
        *self.halted.lock().unwrap()
    }
}

/// Opens a log under the eyes of a witness.
pub(super) fn open_witnessed(disk: &FaultyDisk, config: &Config) -> Result<(Opened, Arc<Witness>), Error> {
    let witness = Arc::new(Witness { disk: disk.clone(), published: Mutex::default(), halted: Mutex::default() });
    let log = CommitLog::open(config.clone(), Arc::new(disk.clone()), witness.clone())?;
    Ok((Opened { log, heard: Arc::default() }, witness))
}

/// Runs rounds of actions until one is not acknowledged. The actions of a round are decided as one group.
pub(super) fn run(
    (opened, witness): (&Opened, &Witness),
    start: View,
    flavour: &Flavour,
    dice: &mut Dice,
    first_number: usize,
) -> Result<History, String> {
    let (mut history, mut number) = (History::new(start), first_number);
    for _ in 0..flavour.rounds {
        let (send, receive) = sync_channel(16);
        let gate = hold_the_sequencer(opened);
        let first_place = history.submitted.len();
        for _ in 0..1 + dice.below(8) {
            let latest = history.last();
            let action = dice.action(flavour, latest, number);
            let mut next = latest.clone();
            next.apply(&action);
            let submitted = witness.disk.operations();
            submit(opened, latest, &action, answer_to(&witness.disk, history.views.len(), &send));
            history.submitted.push(submitted);
            history.views.push(next);
            number += 1;
        }
        drop((send, gate));
        collect(&mut history, first_place, &receive)?;
        if !history.is_acknowledged() {
            break;
        }
        for _ in 0..flavour.idle_looks {
            opened.agents().map_err(|error| error.to_string())?;
        }
    }
    history.note_published(std::mem::take(&mut witness.published.lock().unwrap()));
    Ok(history)
}

/// Lets the sequencer wait in an answer until the sender is dropped: what is asked meanwhile becomes one group.
fn hold_the_sequencer(opened: &Opened) -> SyncSender<()> {
    let (gate, opens) = sync_channel::<()>(1);
    opened.log.agents(move |result| {
        if result.is_ok() {
            let _the_gate_is_dropped = opens.recv();
        }
    });
    gate
}

/// Says how an action ended: its number, when, and what was wrong if the log refused it.
type Ended = (usize, Option<u64>, Option<String>);

/// Acknowledged is what was asked first, in the order it was asked. What fails may fail in any order: a log that halts answers from two threads.
fn collect(history: &mut History, first_place: usize, receive: &Receiver<Ended>) -> Result<(), String> {
    let mut expected = first_place + 1;
    for (number, at, refused) in receive {
        if let Some(refused) = refused {
            return Err(format!("the model and the log disagree: {refused}"));
        }
        let Some(at) = at else { continue };
        if number != expected {
            return Err(format!("action {number} is acknowledged out of turn"));
        }
        expected += 1;
        history.acknowledged.push(at);
    }
    Ok(())
}

/// Is called with an action's answer.
type Answered = Box<dyn FnOnce(Result<(), Error>) + Send>;

fn answer_to(disk: &FaultyDisk, number: usize, send: &SyncSender<Ended>) -> Answered {
    let (disk, send) = (disk.clone(), send.clone());
    Box::new(move |result| {
        let refused = match &result {
            Err(Error::Halted { .. } | Error::Closed) | Ok(()) => None,
            Err(error) => Some(error.to_string()),
        };
        let at = result.is_ok().then(|| disk.operations());
        send.send((number, at, refused)).expect("the channel is wide enough");
    })
}

fn batch_of(lines: &[Arc<str>]) -> Batch {
    let mut builder = BatchBuilder::new();
    for line in lines {
        let (key, value) = (key_of(line).map(|key| [key]), (!is_tombstone(line)).then_some(line.as_bytes()));
        // A tombstone's line is in a header, for the model to know it by.
        let header = value.is_none().then_some((&b"line"[..], Some(line.as_bytes())));
        builder.push(1_000, key.as_ref().map(<[u8; 1]>::as_slice), value, &EncodedHeaders::new(header));
    }
    builder.finish(&mut Compressor::new(1).unwrap()).expect("a batch has lines")
}

fn sequence(topic: &TopicName, producer: u8, first: u64, lines: &[Arc<str>]) -> Option<ProducerSequence> {
    let at_ms = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as i64);
    let count = lines.len() as u64;
    Some(ProducerSequence { topic: topic.clone(), producer: producer.to_string(), epoch: 1, first, count, at_ms })
}

/// Asks the log for an action.
fn submit(opened: &Opened, view: &View, action: &Action, done: Answered) {
    let log = &opened.log;
    let alter = |change, done: Answered| log.alter_topic(change, move |result| done(result.map(|_| ())));
    let commit = |commit, done: Answered| log.commit(commit, move |result| done(result.map(|_| ())));
    let session = session_ref(AGENT, view.epoch);
    match action {
        Action::Look => log.agents(move |result| done(result.map(|_| ()))),
        Action::Session => log.open_session(session_of(AGENT), view.epoch, move |result| done(result.map(|_| ()))),
        Action::Ensure(name) => alter(TopicChange::Ensure(name.clone()), done),
        Action::Delete(name) => alter(TopicChange::Delete(name.clone()), done),
        Action::Put(name, partitions) => {
            let settings = TopicSettings { partitions: Some(*partitions), ..TopicSettings::default() };
            alter(TopicChange::Put(name.clone(), settings), done);
        }
        Action::DeleteRecords(place, before) => {
            alter(TopicChange::DeleteRecords { partition: place.clone(), before: Offset(*before as u64) }, done);
        }
        Action::OpenInput(input) => {
            commit(Commit { session, opened_input: Some(input.clone()), ..Commit::default() }, done);
        }
        Action::Append(parts) => {
            let batches = parts.iter().map(|(place, lines)| (Target::Partition(place.clone()), batch_of(lines)));
            commit(Commit { batches: batches.collect(), ..Commit::default() }, done);
        }
        Action::Produce(producer, place, lines) => {
            let known = view.producers.get(&(place.topic.clone(), *producer));
            let producer = sequence(&place.topic, *producer, known.map_or(0, |known| known.next), lines);
            let batches = vec![(Target::Partition(place.clone()), batch_of(lines))];
            commit(Commit { producer, batches, ..Commit::default() }, done);
        }
        Action::ProduceAgain(producer, place, lines, first) => {
            let producer = sequence(&place.topic, *producer, *first, lines);
            let batches = vec![(Target::Partition(place.clone()), batch_of(lines))];
            commit(Commit { producer, batches, ..Commit::default() }, done);
        }
        Action::Create(n) => commit(create(AGENT, view.epoch, source(*n, source_topic(*n).as_str())), done),
        Action::Span(n, lines, dead) => {
            let start = view.sources[n].position;
            let mut asked = span(AGENT, view.epoch, *n, start..start + 100, &[]);
            let dead_letters = (!dead.is_empty()).then(|| (Target::DeadLetter, batch_of(dead)));
            let own = (!lines.is_empty()).then(|| (Target::Source, batch_of(lines)));
            asked.batches = own.into_iter().chain(dead_letters).collect();
            commit(asked, done);
        }
    }
}
