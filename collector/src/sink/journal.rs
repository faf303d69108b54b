//! Our own topics: the decisions, read at the start and written whenever something is decided, and with them the manifest and the ledger.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use skidway_record::{Batch, BatchBuilder, Compressor, EncodedHeaders, Offset, TopicName, TopicPartition};

use super::FETCH_BYTES;
use super::decisions::{DECISIONS_TOPIC, Decision, State};
use super::manifest::{Entry, FILES_TOPIC};
use crate::clock::now_ms;
use crate::json::rfc3339;
use crate::log::{Commit, EVENTS_TOPIC, Log, LogError, Target, TopicChange, TopicSettings};

/// Past so many records the topic begins anew with how things stand.
const RECORDS_MAX: u64 = 5_000;

/// The manifest is kept for 90 days, unless its topic is changed.
const FILES_KEPT_MS: u64 = 90 * 86_400_000;

/// Writes decisions.
pub(super) struct Journal {
    log: Arc<dyn Log>,
    compressor: Mutex<Compressor>,
}

/// Tells why our own topics cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The log did not do what it was asked.
    #[error("the topics of sinks: {0}")]
    Log(#[from] LogError),
    /// A record is not one of ours, or another version's.
    #[error("offset {offset} of the topic {topic} cannot be understood: {reason}")]
    Record {
        /// Which topic.
        topic: TopicName,
        /// Where.
        offset: Offset,
        /// What is wrong with it.
        reason: String,
    },
}

impl Journal {
    /// Opens the topics, creating them if need be, and reads what was decided.
    ///
    /// # Errors
    /// [`JournalError`] (halt): without its decisions a sink would write everything again.
    pub(super) async fn open(log: Arc<dyn Log>) -> Result<(Self, State), JournalError> {
        let for_ever = TopicSettings { partitions: Some(1), retention_age_ms: Some(None), retention_bytes: Some(None) };
        log.alter_topic(TopicChange::Put(topic(DECISIONS_TOPIC), for_ever)).await?;
        let manifest = topic(FILES_TOPIC);
        if log.topic(&manifest).is_none() {
            let kept = TopicSettings {
                partitions: Some(1),
                retention_age_ms: Some(Some(FILES_KEPT_MS)),
                retention_bytes: Some(None),
            };
            log.alter_topic(TopicChange::Put(manifest, kept)).await?;
        }
        let compressor = Compressor::new(1).map_err(|error| LogError::Failed(error.to_string()))?;
        let journal = Self { log, compressor: Mutex::new(compressor) };
        let (mut state, records) = journal.read().await?;
        if records > RECORDS_MAX {
            journal.begin_anew(&mut state).await?;
        }
        Ok((journal, state))
    }

    async fn read(&self) -> Result<(State, u64), JournalError> {
        let mut state = State::default();
        let records = read_topic(&*self.log, &decisions(), |value| state.take(value)).await?;
        Ok((state, records))
    }

    /// Writes how things stand as one batch, and deletes all before it.
    async fn begin_anew(&self, state: &mut State) -> Result<(), JournalError> {
        let topics: BTreeSet<[u8; 16]> = self.log.topics().iter().map(|topic| topic.id).collect();
        state.forget(&topics);
        let standing: Vec<(String, Vec<u8>)> =
            state.standing().map(|(sink, decision)| (sink.to_owned(), decision.encode(sink))).collect();
        let Some(batch) = self.batch(&standing, now_ms()) else { return Ok(()) };
        let commit = Commit { batches: vec![(Target::Partition(decisions()), batch)], ..Commit::default() };
        let committed = self.log.submit(commit).await.await?;
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

/// Hands over the values of all records of one of our topics, and tells how many there are.
///
/// # Errors
/// [`JournalError`] (halt); what `take` finds wrong with a value is told with its place.
pub(super) async fn read_topic(
    log: &dyn Log,
    of: &TopicPartition,
    mut take: impl FnMut(&[u8]) -> Result<(), String>,
) -> Result<u64, JournalError> {
    let offsets = log.offsets(of)?;
    let mut at = offsets.log_start;
    while at < offsets.high_watermark {
        for batch in log.fetch(of.clone(), at, FETCH_BYTES).await? {
            let broken = |offset, reason| JournalError::Record { topic: of.topic.clone(), offset, reason };
            let decoded = batch.decode().map_err(|error| broken(batch.base_offset(), error.to_string()))?;
            for record in decoded.records() {
                let record = record.map_err(|error| broken(batch.base_offset(), error.to_string()))?;
                let offset = decoded.offset_of(&record);
                if offset >= at {
                    take(record.value.unwrap_or_default()).map_err(|reason| broken(offset, reason))?;
                }
            }
            at = batch.next_offset();
        }
    }
    Ok(offsets.high_watermark.0 - offsets.log_start.0)
}

fn decisions() -> TopicPartition {
    TopicPartition::new(topic(DECISIONS_TOPIC), 0)
}

pub(super) fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("our own topics' names are valid")
}
