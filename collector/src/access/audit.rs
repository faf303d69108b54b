//! The audit topic `__skidway.audit`: who was refused, and what administrators and agents that enrol did.
//!
//! What was done is written before it is answered. Refusals are counted for a second and written together, so that no flood of them fills the
//! log: of one kind a record, of too many kinds one for all others. Objects are names from URLs; a token among them is cut down to its
//! public part.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skidway_record::{Batch, BatchBuilder, Compressor, EncodedHeaders, TopicName, TopicPartition};
use skidway_wire::access::{AuditRecord, AuditWho};
use tokio::sync::OnceCell;

use crate::json::rfc3339;
use crate::log::{Commit, Log, LogError, Target, TopicChange, TopicSettings};

/// Names the audit topic, our own.
pub const AUDIT_TOPIC: &str = "__skidway.audit";

/// How long it is kept.
const RETENTION_MS: u64 = 365 * 86_400_000;

/// How much of it is kept.
const RETENTION_BYTES: u64 = 4 << 30;

/// Bounds the kinds of refusals that are told apart within a second.
const KINDS_MAX: usize = 256;

/// Bounds an object's name, in characters.
const OBJECT_CHARS_MAX: usize = 256;

/// Is one thing that was asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// By whom.
    pub who: AuditWho,
    /// What, such as `topics.delete`.
    pub action: &'static str,
    /// Of what.
    pub object: String,
    /// What was answered; 0 if nothing was, of a handshake.
    pub status: u16,
    /// The problem's type; empty if it was done.
    pub reason: String,
}

impl Asked {
    /// Makes a record of what somebody who was let in asked for.
    fn outcome(self, at_ms: i64) -> AuditRecord {
        let outcome = match self.status {
            401 | 403 | 429 | 507 => "refused",
            status if status < 400 => "done",
            _ => "failed",
        };
        self.record(outcome, at_ms, 1)
    }

    fn record(self, outcome: &str, at_ms: i64, count: u64) -> AuditRecord {
        let (who, object) = (self.who, shown(&self.object));
        let (action, outcome) = (self.action.to_owned(), outcome.to_owned());
        AuditRecord {
            time: rfc3339(at_ms),
            who,
            action,
            object,
            outcome,
            status: self.status,
            reason: self.reason,
            count,
        }
    }
}

/// Shows a name from a URL: bounded, and without the secret of a token that somebody put there.
pub fn shown(object: &str) -> String {
    let cut: String = object.chars().take(OBJECT_CHARS_MAX).collect();
    match cut.find("sk1_") {
        Some(at) => format!("{}***", cut.chars().take(cut[..at].chars().count() + 20).collect::<String>()),
        None => cut,
    }
}

/// Counts refusals of the same kind. Pure.
#[derive(Debug, Default)]
struct Tally {
    kinds: BTreeMap<Asked, u64>,
    others: u64,
}

impl Tally {
    fn add(&mut self, asked: Asked) {
        if self.kinds.len() >= KINDS_MAX && !self.kinds.contains_key(&asked) {
            self.others += 1;
        } else {
            *self.kinds.entry(asked).or_default() += 1;
        }
    }

    /// Gives what was counted, and begins anew.
    fn take(&mut self, at_ms: i64) -> Vec<AuditRecord> {
        let Self { kinds, others } = std::mem::take(self);
        let mut records: Vec<_> =
            kinds.into_iter().map(|(asked, count)| asked.record("refused", at_ms, count)).collect();
        if others > 0 {
            let who = AuditWho::default();
            let (object, reason) = (String::new(), "too-many-kinds".to_owned());
            records.push(Asked { who, action: "others", object, status: 403, reason }.record("refused", at_ms, others));
        }
        records
    }
}

/// Writes the audit topic.
pub struct Audit {
    log: Arc<dyn Log>,
    of: TopicPartition,
    made: OnceCell<()>,
    compressor: Mutex<Compressor>,
    tally: Mutex<Tally>,
}

impl Audit {
    /// Writes to this log.
    ///
    /// # Errors
    /// [`LogError::Failed`] if zstd cannot be set up (halt).
    pub fn new(log: Arc<dyn Log>) -> Result<Self, LogError> {
        let name = TopicName::new(AUDIT_TOPIC).expect("our own topics' names are valid");
        let compressor = Compressor::new(1).map_err(|error| LogError::Failed(error.to_string()))?;
        Ok(Self {
            log,
            of: TopicPartition::new(name, 0),
            made: OnceCell::new(),
            compressor: Mutex::new(compressor),
            tally: Mutex::new(Tally::default()),
        })
    }

    /// Counts a refusal; it is in the topic within seconds.
    pub fn refused(&self, asked: Asked) {
        self.tally().add(asked);
    }

    /// Writes down what was done or failed, durably.
    ///
    /// # Errors
    /// [`LogError`], with its own fate.
    pub async fn done(&self, asked: Asked, now_ms: i64) -> Result<(), LogError> {
        self.write(&[asked.outcome(now_ms)], now_ms).await
    }

    /// Writes the refusals that were counted. What cannot be written is said in the log of the collector itself.
    pub async fn flush(&self, now_ms: i64) {
        let records = self.tally().take(now_ms);
        if records.is_empty() {
            return;
        }
        if let Err(error) = self.write(&records, now_ms).await {
            let refusals: u64 = records.iter().map(|record| record.count).sum();
            tracing::error!(%error, refusals, "refusals are missing in the audit topic");
        }
    }

    async fn write(&self, records: &[AuditRecord], now_ms: i64) -> Result<(), LogError> {
        self.made.get_or_try_init(|| self.make()).await?;
        let batch = self.batch(records, now_ms);
        let batches = vec![(Target::Partition(self.of.clone()), batch)];
        self.log.submit(Commit { batches, ..Commit::default() }).await.await.map(drop)
    }

    async fn make(&self) -> Result<(), LogError> {
        let settings = TopicSettings {
            partitions: Some(1),
            retention_age_ms: Some(Some(RETENTION_MS)),
            retention_bytes: Some(Some(RETENTION_BYTES)),
            ..TopicSettings::default()
        };
        self.log.alter_topic(TopicChange::Put(self.of.topic.clone(), settings)).await.map(drop)
    }

    fn batch(&self, records: &[AuditRecord], now_ms: i64) -> Batch {
        let (mut builder, none) = (BatchBuilder::new(), EncodedHeaders::none());
        for record in records {
            let value = serde_json::to_vec(record).expect("a record is plain JSON");
            builder.push(now_ms, None, Some(&value), &none);
        }
        let mut compressor = self.compressor.lock().unwrap_or_else(PoisonError::into_inner);
        builder.finish(&mut compressor).expect("there is a record in it")
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(object: &str, status: u16) -> Asked {
        let who = AuditWho { peer: Some("10.0.0.1".into()), ..AuditWho::default() };
        Asked { who, action: "records.produce", object: object.into(), status, reason: "no-token".into() }
    }

    #[test]
    fn a_flood_of_refusals_is_a_few_records() {
        let mut tally = Tally::default();
        (0..100_000).for_each(|_| tally.add(asked("web", 401)));
        (0..10_000).for_each(|at| tally.add(asked(&format!("t{at}"), 403)));
        let records = tally.take(1_000);
        assert_eq!(records.len(), KINDS_MAX + 1);
        assert_eq!(records.iter().map(|record| record.count).sum::<u64>(), 110_000);
        assert!(records.iter().any(|record| record.count == 100_000 && record.object == "web"));
        assert_eq!(tally.take(2_000), []);
    }

    #[test]
    fn an_outcome_is_told_by_the_status() {
        let outcome = |status| asked("web", status).outcome(0).outcome;
        assert_eq!(
            [200, 204, 401, 403, 404, 429].map(outcome),
            ["done", "done", "refused", "refused", "failed", "refused"]
        );
    }

    #[test]
    fn a_token_in_a_url_is_cut_down_to_its_public_part() {
        let token = format!("é/sk1_0123456789abcdef_{}", "s".repeat(43));
        assert_eq!(asked(&token, 403).outcome(0).object, "é/sk1_0123456789abcdef***");
        assert_eq!(asked(&"x".repeat(1_000), 403).outcome(0).object.len(), OBJECT_CHARS_MAX);
    }
}
