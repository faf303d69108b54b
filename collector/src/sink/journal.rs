//! Our own topics: the decisions, read at the start and written whenever something is decided, and with them the manifest and the ledger.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use skidway_record::{Batch, BatchBuilder, Compressor, EncodedHeaders, Record, TopicName, TopicPartition};

use tokio::sync::RwLock;

use super::decisions::{DECISIONS_TOPIC, Decision};
use super::manifest::{Entry, FILES_TOPIC};
use super::state::State;
use crate::clock::now_ms;
use crate::json::rfc3339;
use crate::log::{Commit, EVENTS_TOPIC, Log, LogError, StateError, Target, TopicChange, TopicSettings, each_record};

/// Past so many records the topic begins anew with how things stand.
const RECORDS_MAX: u64 = 5_000;

/// Values of one batch, in bytes.
const BATCH_BYTES_MAX: usize = 256 << 10;

/// The manifest is kept for 90 days, unless its topic is changed.
const FILES_KEPT_MS: u64 = 90 * 86_400_000;

/// Writes decisions.
pub(super) struct Journal {
    log: Arc<dyn Log>,
    compressor: Mutex<Compressor>,
    /// Whoever decides is a reader; who begins the topic anew writes: nothing may be decided in between.
    deciding: RwLock<()>,
    records_max: AtomicU64,
}

impl Journal {
    /// Opens the topics, creating them if need be, and reads what was decided.
    ///
    /// # Errors
    /// [`StateError`] (halt): without its decisions a sink would write everything again.
    pub(super) async fn open(log: Arc<dyn Log>) -> Result<(Self, State), StateError> {
        let for_ever = TopicSettings {
            partitions: Some(1),
            retention_age_ms: Some(None),
            retention_bytes: Some(None),
            ..TopicSettings::default()
        };
        log.alter_topic(TopicChange::Put(topic(DECISIONS_TOPIC), for_ever)).await?;
        let manifest = topic(FILES_TOPIC);
        if log.topic(&manifest).is_none() {
            let kept = TopicSettings {
                partitions: Some(1),
                retention_age_ms: Some(Some(FILES_KEPT_MS)),
                retention_bytes: Some(None),
                ..TopicSettings::default()
            };
            log.alter_topic(TopicChange::Put(manifest, kept)).await?;
        }
        let compressor = Compressor::new(1).map_err(|error| LogError::Failed(error.to_string()))?;
        let journal = Self {
            log,
            compressor: Mutex::new(compressor),
            deciding: RwLock::new(()),
            records_max: RECORDS_MAX.into(),
        };
        let state = journal.read().await?;
        Ok((journal, state))
    }

    async fn read(&self) -> Result<State, StateError> {
        let mut state = State::default();
        let take = |_, record: &Record<'_>| state.take(record.value.unwrap_or_default());
        each_record(&*self.log, &decisions(), take).await?;
        Ok(state)
    }

    /// Lets the topic begin anew with how things stand if it has grown long. Not before sinks have told what they pin: nothing can be deleted
    /// until then.
    ///
    /// # Errors
    /// [`StateError`] (retry): the topic is as long as it was, or says the same twice, which does no harm.
    pub(super) async fn keep_short(&self) -> Result<(), StateError> {
        let records = || self.log.offsets(&decisions()).map(|offsets| offsets.high_watermark.0 - offsets.log_start.0);
        if records()? <= self.records_max.load(Ordering::Relaxed) {
            return Ok(());
        }
        let _nobody_decides = self.deciding.write().await;
        self.begin_anew(self.read().await?).await?;
        // With very many partitions that is long itself.
        self.records_max.store(RECORDS_MAX.max(2 * records()?), Ordering::Relaxed);
        Ok(())
    }

    /// Writes how things stand, all at once, and deletes what comes before it.
    async fn begin_anew(&self, mut state: State) -> Result<(), StateError> {
        let topics: BTreeSet<[u8; 16]> = self.log.topics().iter().map(|topic| topic.id).collect();
        state.forget(&topics);
        let standing: Vec<(String, Vec<u8>)> =
            state.standing().map(|(sink, decision)| (sink.to_owned(), decision.encode(sink))).collect();
        let now_ms = now_ms();
        let mut bytes = 0;
        let pieces = standing.chunk_by(|_, (_, next)| {
            bytes += next.len();
            let has_room = bytes < BATCH_BYTES_MAX;
            bytes *= usize::from(has_room);
            has_room
        });
        let pieces = pieces.filter_map(|piece| self.batch(piece, now_ms));
        let batches: Vec<_> = pieces.map(|batch| (Target::Partition(decisions()), batch)).collect();
        let committed = self.log.submit(Commit { batches, ..Commit::default() }).await.await?;
        let Some(appended) = committed.appended.first() else { return Ok(()) };
        let delete = TopicChange::DeleteRecords { partition: decisions(), before: appended.base_offset };
        self.log.alter_topic(delete).await?;
        Ok(())
    }

    /// Writes decisions, all or none; they count once this returns.
    ///
    /// # Errors
    /// [`LogError`], with its own fate; nothing is decided then.
    pub(super) async fn decide(&self, sink: &str, decided: &[Decision]) -> Result<(), LogError> {
        self.publish(sink, decided, &[]).await
    }

    /// Writes decisions, and into the manifest the files that they make public.
    ///
    /// # Errors
    /// As [`Journal::decide`].
    pub(super) async fn publish(&self, sink: &str, decided: &[Decision], files: &[Entry]) -> Result<(), LogError> {
        let now_ms = now_ms();
        let key = || sink.to_owned();
        let values: Vec<_> = decided.iter().map(|decision| (key(), decision.encode(sink))).collect();
        // What is in no file is in the ledger and the manifest, with the decision and not without it.
        let events: Vec<_> =
            decided.iter().filter_map(|decision| Some((key(), event(sink, decision, now_ms)?))).collect();
        let gaps: Vec<Entry> = decided.iter().filter_map(|decision| Entry::of_gap(sink, decision, now_ms)).collect();
        let files: Vec<_> = files.iter().chain(&gaps).map(|entry| (key(), entry.encode())).collect();
        let batch = |topic_name, values: &[_]| {
            let to = Target::Partition(TopicPartition::new(topic(topic_name), 0));
            self.batch(values, now_ms).map(|batch| (to, batch))
        };
        let batches = [batch(DECISIONS_TOPIC, &values), batch(EVENTS_TOPIC, &events), batch(FILES_TOPIC, &files)];
        let batches = batches.into_iter().flatten().collect();
        let _not_anew = self.deciding.read().await;
        self.log.submit(Commit { batches, ..Commit::default() }).await.await?;
        Ok(())
    }

    fn batch(&self, records: &[(String, Vec<u8>)], now_ms: i64) -> Option<Batch> {
        let mut builder = BatchBuilder::new();
        let none = EncodedHeaders::none();
        for (key, value) in records {
            builder.push(now_ms, Some(key.as_bytes()), Some(value), &none);
        }
        builder.finish(&mut self.compressor.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Describes records that a sink could not have.
fn event(sink: &str, decision: &Decision, at_ms: i64) -> Option<Vec<u8>> {
    let Decision::Gap { shard, from, to, reason } = decision else { return None };
    let event = json!({
        "kind": "sink-gap",
        "sink": sink,
        "topic": shard.topic.as_str(),
        "partition": shard.partition,
        "start": from,
        "end": to,
        "records": to - from,
        "reason": reason,
        "at": rfc3339(at_ms),
    });
    Some(event.to_string().into_bytes())
}

fn decisions() -> TopicPartition {
    TopicPartition::new(topic(DECISIONS_TOPIC), 0)
}

pub(super) fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("our own topics' names are valid")
}

#[cfg(test)]
mod tests {
    use super::super::decisions::Shard;
    use super::*;
    use crate::log::Pins;
    use crate::log::embedded::EmbeddedLog;
    use skidway_disk::RealDisk;

    #[tokio::test]
    async fn a_long_topic_of_decisions_begins_anew_once_sinks_have_told_what_they_pin() {
        let temp = tempfile::tempdir().unwrap();
        let pins = Arc::new(Pins::new(true, u64::MAX));
        pins.pin_all("sink archive", |topic| topic.as_str() == "app");
        let config = skidway_commitlog::Config { pins: pins.clone(), ..skidway_commitlog::Config::new(temp.path()) };
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(config, Arc::new(RealDisk)).unwrap());
        let (journal, _) = Journal::open(log.clone()).await.unwrap();
        let name = TopicName::new("app").unwrap();
        log.alter_topic(TopicChange::Put(name.clone(), TopicSettings::default())).await.unwrap();
        let topic_id = log.topic(&name).unwrap().id;
        let gap = |partition: u32, from| {
            let shard = Shard { topic: name.clone(), topic_id, partition };
            Decision::Gap { shard, from, to: from + 1, reason: "a test's, long enough to need batches ".repeat(20) }
        };
        for round in 0..=RECORDS_MAX / 500 {
            let decisions: Vec<Decision> = (0..500).map(|at| gap(at, round)).collect();
            journal.decide("archive", &decisions).await.unwrap();
        }
        let before = journal.read().await.unwrap();
        journal.keep_short().await.unwrap_err();
        pins.is_told();
        journal.keep_short().await.unwrap();
        let offsets = log.offsets(&decisions()).unwrap();
        assert!(offsets.log_start.0 > RECORDS_MAX, "{offsets:?}");
        assert!(journal.read().await.unwrap() == before, "it says the same");
        // Nothing to do a second time.
        journal.keep_short().await.unwrap();
        assert_eq!(log.offsets(&decisions()).unwrap().high_watermark, offsets.high_watermark);
    }
}
