//! One partition of a queue: its window, the records at hand, and the one write of it that may be under way.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use skidway_record::{Batch, Decoded, Offset, TopicName, TopicPartition};
use tokio::time::sleep;

use super::desk::{Desk, News, Place, Taken};
use super::records::{self, Look, Seen};
use super::settings::Settings;
use super::share::{Dead, Delivery, Share, Skipped};
use super::{letters, stored, window};
use crate::clock::now_ms;
use crate::log::{Commit, Log, LogError, Target, TopicChange};
use crate::metrics;

/// Looks at so many records at once.
const LOOK_RECORDS: usize = 256;

/// Keeps their JSON up to so many bytes.
const LOOK_JSON_BYTES: usize = 256 << 10;

/// Keeps no JSON while so many bytes are held for all queues.
const JSON_BYTES_MAX: usize = 64 << 20;

/// Writes dead letters of about so many bytes at once.
const LETTER_BYTES: usize = 8 << 20;

/// Tries again after a failure that may pass.
const AGAIN_MS: i64 = 1_000;

/// Says whose partition it is.
#[derive(Clone, Copy)]
pub struct Owner<'a> {
    /// The queue.
    pub queue: &'a TopicName,
    /// Its settings.
    pub settings: &'a Settings,
    /// The topic's id.
    pub topic: [u8; 16],
}

/// Holds one partition of a queue.
pub struct Partition {
    /// Its number.
    pub number: u32,
    /// The window.
    pub share: Share,
    /// First offset not yet readable.
    pub high_watermark: Offset,
    /// Answers that wait for the next write.
    pub needs: Vec<u64>,
    /// Deliveries that the next write makes durable.
    pub given: Vec<(u64, Vec<Delivery>)>,
    /// The window is not as it was written.
    pub dirty: bool,
    writing: bool,
    retry_at: i64,
    /// What goes with the next write.
    batches: Vec<(Target, Batch)>,
    letters: VecDeque<(Offset, Batch)>,
    /// Answers that wait for dead letters.
    letter_needs: HashMap<Offset, Vec<u64>>,
    content: BTreeMap<Offset, Content>,
    kept: Option<Arc<Decoded>>,
    looking: bool,
    look_at: i64,
    /// A look found nothing below this high watermark.
    looked_to: Offset,
}

struct Content {
    bytes: usize,
    json: Option<Bytes>,
}

impl Partition {
    /// Begins with a window.
    pub fn new(number: u32, share: Share) -> Self {
        Self {
            number,
            share,
            high_watermark: Offset(0),
            needs: Vec::new(),
            given: Vec::new(),
            dirty: false,
            writing: false,
            retry_at: 0,
            batches: Vec::new(),
            letters: VecDeque::new(),
            letter_needs: HashMap::new(),
            content: BTreeMap::new(),
            kept: None,
            looking: false,
            look_at: 0,
            looked_to: Offset(0),
        }
    }

    fn place(&self, owner: Owner<'_>) -> Place {
        let Owner { queue, settings, topic } = owner;
        Place { queue: queue.clone(), id: settings.id, topic, partition: self.number }
    }

    fn of(&self, owner: Owner<'_>) -> TopicPartition {
        TopicPartition::new(owner.settings.topic.clone(), self.number)
    }

    /// Tells how many bytes a record takes, as far as that is known.
    pub fn bytes_of(&self, offset: Offset) -> usize {
        self.content.get(&offset).map_or(0, |content| content.bytes)
    }

    /// Gives a record's JSON away, if it is at hand.
    pub fn take_json(&mut self, offset: Offset, desk: &mut Desk) -> Option<Bytes> {
        let json = self.content.get_mut(&offset)?.json.take()?;
        desk.json_bytes -= json.len();
        Some(json)
    }

    /// Keeps nothing of a record that is finished.
    pub fn forget(&mut self, offset: Offset, desk: &mut Desk) {
        let json = self.content.remove(&offset).and_then(|content| content.json);
        desk.json_bytes -= json.map_or(0, |json| json.len());
    }

    /// Keeps nothing of records that were finished by the way.
    pub fn forget_finished(&mut self, desk: &mut Desk) {
        if self.content.len() > self.share.len() {
            let gone: Vec<Offset> =
                self.content.keys().filter(|offset| !self.share.contains(**offset)).copied().collect();
            gone.into_iter().for_each(|offset| self.forget(offset, desk));
        }
    }

    /// Tells whether a look is under way.
    pub fn is_looking(&self) -> bool {
        self.looking
    }

    /// Keeps nothing any more.
    pub fn close(&mut self, desk: &mut Desk) {
        while let Some((&offset, _)) = self.content.first_key_value() {
            self.forget(offset, desk);
        }
    }

    /// Tells whether an answer about what is finished has to wait for a write.
    pub fn is_behind(&self) -> bool {
        self.dirty || self.writing
    }

    /// Lets an answer wait for a dead letter.
    pub fn need_letter(&mut self, offset: Offset, answer: u64) {
        self.letter_needs.entry(offset).or_default().push(answer);
    }

    /// Looks at the next records, if there are any and there is room for them.
    pub fn look(&mut self, owner: Owner<'_>, desk: &mut Desk, now: i64) {
        let unlearned = self.share.first_unlearned();
        let from = unlearned.unwrap_or(self.share.end());
        let room = (owner.settings.max_in_flight as usize).saturating_sub(self.share.len());
        let has_more = from < self.high_watermark && self.looked_to < self.high_watermark && room > 0;
        if self.looking || now < self.look_at || !(unlearned.is_some() || has_more) {
            return;
        }
        self.looking = true;
        let look = Look {
            of: self.of(owner),
            from,
            records_max: if unlearned.is_some() { LOOK_RECORDS } else { LOOK_RECORDS.min(room) },
            json_bytes_max: if desk.json_bytes < JSON_BYTES_MAX { LOOK_JSON_BYTES } else { 0 },
            delay_ms: owner.settings.delay_ms,
            kept: self.kept.take(),
        };
        let (log, place) = (desk.log.clone(), self.place(owner));
        desk.start(async move {
            let seen = records::look(&*log, look).await;
            News::Seen(place, seen)
        });
    }

    /// Takes in what a look has found.
    pub fn seen(&mut self, outcome: Result<Seen, LogError>, owner: Owner<'_>, desk: &mut Desk, now: i64) {
        self.looking = false;
        let from = self.share.first_unlearned().unwrap_or(self.share.end());
        match outcome {
            Ok(seen) => self.take_in(seen, owner, desk, now),
            Err(LogError::OutOfRange { offsets, .. }) if from < offsets.log_start => {
                let skipped = self.share.skip_range(from, offsets.log_start);
                self.skipped(skipped, "retention took them", owner, now);
            }
            Err(LogError::Damaged(damage)) => {
                let skipped = self.share.skip_range(from, damage.next.max(Offset(from.0 + 1)));
                let gone = self.share.forget_unlearned(damage.next);
                self.skipped(skipped.or(gone), &damage.to_string(), owner, now);
            }
            Err(error) => {
                tracing::debug!(queue = %owner.queue, %error, "records cannot be read now");
                self.look_at = now + AGAIN_MS;
                desk.wake_at(self.look_at);
            }
        }
        if let Some(at) = self.share.next_due() {
            desk.wake_at(at);
        }
    }

    fn take_in(&mut self, seen: Seen, owner: Owner<'_>, desk: &mut Desk, now: i64) {
        if seen.next <= self.share.end() && self.share.first_unlearned().is_none() {
            self.looked_to = self.high_watermark;
        }
        let window = owner.settings.max_in_flight as usize;
        for found in seen.found {
            if found.offset < self.share.end() {
                self.share.learn(found.offset, found.key);
                continue;
            }
            if self.share.len() >= window || self.share.first_unlearned().is_some_and(|first| first < seen.next) {
                return self.forget_gone(found.offset, owner, now);
            }
            self.share.pass(found.offset);
            self.share.offer(found.offset, found.key, found.not_before, now);
            desk.json_bytes += found.json.as_ref().map_or(0, Bytes::len);
            self.content.insert(found.offset, Content { bytes: found.json_bytes, json: found.json });
        }
        self.forget_gone(seen.next, owner, now);
        self.share.pass(seen.next);
        self.kept = seen.kept;
    }

    /// Finishes what a look should have found and did not: compaction took it.
    fn forget_gone(&mut self, below: Offset, owner: Owner<'_>, now: i64) {
        let gone = self.share.forget_unlearned(below);
        self.skipped(gone, "they are not in the log any more", owner, now);
    }

    /// Finishes what retention took.
    pub fn skip_before(&mut self, log_start: Offset, owner: Owner<'_>, now: i64) -> u64 {
        let skipped = self.share.skip_before(log_start);
        self.skipped(skipped, "retention took them", owner, now)
    }

    /// Finishes a record that cannot be had.
    pub fn missing(&mut self, offset: Offset, owner: Owner<'_>, now: i64) -> u64 {
        let skipped = self.share.skip_range(offset, Offset(offset.0 + 1));
        self.skipped(skipped, "it cannot be read any more", owner, now)
    }

    /// Tells of records that nobody received, together with the window that says so.
    fn skipped(&mut self, skipped: Option<Skipped>, reason: &str, owner: Owner<'_>, now: i64) -> u64 {
        let Some(skipped) = skipped else { return 0 };
        let of = self.of(owner);
        let (queue, records) = (owner.queue, skipped.records);
        tracing::warn!(%queue, topic = %of.topic, partition = self.number, from = %skipped.from, to = %skipped.to, records, "skipped: {reason}");
        metrics::queue_skipped(queue.as_str(), records);
        self.batches.push(letters::skipped(queue, &of, &skipped, reason, now));
        self.dirty = true;
        records
    }

    /// Begins dead letters for what died.
    pub fn bury_dead(&mut self, owner: Owner<'_>, desk: &Desk) {
        for dead in self.share.take_dead() {
            self.begin_letter(dead, owner, desk, Duration::ZERO);
        }
    }

    fn begin_letter(&self, dead: Dead, owner: Owner<'_>, desk: &Desk, after: Duration) {
        let (log, place, of, queue) = (desk.log.clone(), self.place(owner), self.of(owner), owner.queue.clone());
        desk.start(async move {
            sleep(after).await;
            let letter = letters::dead_letter(&*log, &queue, &of, &dead, now_ms()).await;
            News::Letter(place, dead, letter)
        });
    }

    /// Takes a dead letter that is ready.
    pub fn letter(
        &mut self,
        dead: Dead,
        letter: Result<Option<Batch>, LogError>,
        owner: Owner<'_>,
        desk: &Desk,
        now: i64,
    ) {
        match letter {
            Ok(Some(batch)) => self.letters.push_back((dead.offset, batch)),
            Ok(None) => {
                self.missing(dead.offset, owner, now);
                self.letter_is_written(dead.offset);
            }
            Err(_) => self.begin_letter(dead, owner, desk, Duration::from_millis(AGAIN_MS as u64)),
        }
    }

    fn letter_is_written(&mut self, offset: Offset) {
        self.needs.extend(self.letter_needs.remove(&offset).unwrap_or_default());
        self.dirty = true;
    }

    /// Writes the window with all that goes with it, unless a write is under way.
    pub fn write(&mut self, owner: Owner<'_>, desk: &mut Desk, now: i64) {
        let has_changed = self.dirty || !self.letters.is_empty();
        let is_due = now >= self.retry_at || !self.needs.is_empty() || !self.given.is_empty();
        if self.writing || !has_changed || !is_due {
            return;
        }
        self.take_letters(owner, desk);
        let taken = Taken {
            batches: std::mem::take(&mut self.batches),
            needs: std::mem::take(&mut self.needs),
            given: std::mem::take(&mut self.given),
        };
        let commit = Commit { batches: taken.batches.clone(), ..Commit::default() };
        let key = stored::window_key(owner.queue, owner.settings.id, owner.topic, self.number);
        let value = Bytes::from(window::encode(&self.share));
        (self.writing, self.dirty) = (true, false);
        let (log, state, place) = (desk.log.clone(), desk.state.clone(), self.place(owner));
        let dead_letter_topic = owner.settings.dead_letter_topic.clone();
        desk.start(async move {
            let written = async {
                ensure(&*log, &dead_letter_topic).await?;
                state.write(vec![(key, Some(value))], commit).await
            };
            let outcome = written.await.map(|_| ());
            News::Wrote(place, taken, outcome)
        });
    }

    /// Finishes records whose dead letters go with the next write.
    fn take_letters(&mut self, owner: Owner<'_>, desk: &mut Desk) {
        let mut bytes: usize = self.batches.iter().map(|(_, batch)| batch.bytes().len()).sum();
        while bytes < LETTER_BYTES
            && let Some((offset, batch)) = self.letters.pop_front()
        {
            if self.share.bury(offset) {
                bytes += batch.bytes().len();
                let to = TopicPartition::new(owner.settings.dead_letter_topic.clone(), 0);
                self.batches.push((Target::Partition(to), batch));
                metrics::queue_dead_letter(owner.queue.as_str());
                self.forget(offset, desk);
            }
            self.letter_is_written(offset);
        }
    }

    /// Takes note that a write is durable, or failed: then its deliveries never were, and what went with it goes with the next one.
    pub fn wrote(&mut self, taken: &mut Taken, outcome: &Result<(), LogError>, desk: &mut Desk, now: i64) {
        self.writing = false;
        if let Err(error) = outcome {
            tracing::warn!(partition = self.number, %error, "a queue's window is not written");
            self.dirty = true;
            self.retry_at = now + AGAIN_MS;
            desk.wake_at(self.retry_at);
            let newer = std::mem::replace(&mut self.batches, std::mem::take(&mut taken.batches));
            self.batches.extend(newer);
            for (_, deliveries) in &taken.given {
                deliveries.iter().for_each(|delivery| self.share.undo(*delivery));
            }
        }
    }
}

/// Creates a topic unless it is there: dead letters must not be lost because someone deleted it.
async fn ensure(log: &dyn Log, topic: &TopicName) -> Result<(), LogError> {
    if log.topic(topic).is_none() {
        log.alter_topic(TopicChange::Ensure(topic.clone())).await?;
    }
    Ok(())
}
