//! What agents send: items in, one commit each, all of a request in the sequencer's queue before the first is awaited.
//!
//! Each item stands alone. An item that is bad in itself is rejected without the log hearing of it.

use bytes::Bytes;
use skidway_record::{AgentId, Batch, SourceId};

use crate::blocking::blocking;
use crate::ingest::loss::{Loss, events};
use crate::ingest::validate::{self, BadBatch};
use crate::ingest::{Ingest, IngestError, Validation};
use crate::log::{
    Advance, Commit, Committed, LogError, OpenSession, Pending, Refusal, Session, SessionRef, SourceChange, Target,
};
use crate::metrics;

/// Checks up to this many bytes of batches without leaving the runtime: about 0.1 ms of work.
const INLINE_CHECK_BYTES: usize = 32 << 10;

/// Holds one thing an agent wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentItem {
    /// Creates or rebinds a source, hands its framer's state over, or reports it gone.
    Change(SourceChange),
    /// Moves a source over bytes that were read or skipped, with what came of them.
    Span {
        /// The move.
        advance: Advance,
        /// Encoded batches for the source's topic.
        batches: Vec<Bytes>,
        /// Encoded batches for its dead-letter topic.
        dead: Vec<Bytes>,
        /// The framer's state the source must have, for a span that moves no position.
        expected_carry: Option<Bytes>,
    },
    /// Moves a source over bytes that are gone, and says so in the log.
    Lost {
        /// The move.
        advance: Advance,
        /// Why.
        reason: String,
        /// False if the span is only a bound.
        exact: bool,
    },
    /// Marks an input as opened.
    Opened(String),
}

/// Tells what became of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable.
    Stored,
    /// The log refuses it as it stands; what the refusal reveals is durable.
    Refused(Refusal),
    /// It is bad in itself.
    Rejected {
        /// Which batch is to blame, if it is one of the source's topic.
        batch: Option<u32>,
        /// It is too large, not malformed.
        too_large: bool,
        /// In words.
        reason: String,
    },
}

impl Ingest {
    /// Opens the session of an agent that comes after session `follows`.
    ///
    /// # Errors
    /// [`IngestError::Log`]; a refusal if `follows` is not the newest.
    pub async fn open_session(&self, open: OpenSession, follows: u64) -> Result<Session, IngestError> {
        Ok(self.log.open_session(open, follows).await?)
    }

    /// Commits the items of one session, one outcome each, in order. A request without items only proves the session.
    ///
    /// # Errors
    /// [`IngestError::Fenced`] if the session is not the current one, [`IngestError::Log`] if the log cannot store now. Items before the failing one may be stored even so.
    pub async fn commit(
        &self,
        session: SessionRef,
        items: Vec<AgentItem>,
        now_ms: i64,
    ) -> Result<Vec<Outcome>, IngestError> {
        if items.is_empty() {
            let proof = Commit { session: Some(session.clone()), ..Commit::default() };
            outcome(self.log.submit(proof).await.await)?;
        }
        let mut submitted = Vec::with_capacity(items.len());
        for checked in self.check(items).await {
            submitted.push(match checked {
                Err(bad) => Err(bad),
                Ok(item) => {
                    let commit = self.commit_of(&session, item, now_ms).await?;
                    let records = commit.batches.iter().map(|(_, batch)| u64::from(batch.header().record_count)).sum();
                    let bytes = commit.batches.iter().map(|(_, batch)| batch.bytes().len()).sum();
                    Ok(Submitted { pending: self.log.submit(commit).await, records, bytes })
                }
            });
        }
        collect(submitted).await
    }

    async fn check(&self, items: Vec<AgentItem>) -> Vec<Result<CheckedItem, Outcome>> {
        let validation = self.validation;
        let bytes: usize = items.iter().map(batch_bytes).sum();
        let check = move || items.into_iter().map(|item| check(item, validation)).collect();
        if bytes <= INLINE_CHECK_BYTES { check() } else { blocking(check).await }
    }

    async fn commit_of(&self, session: &SessionRef, item: CheckedItem, now_ms: i64) -> Result<Commit, IngestError> {
        let mut commit = Commit { session: Some(session.clone()), ..Commit::default() };
        match item {
            CheckedItem::Change(change) => commit.source = Some(change),
            CheckedItem::Opened(input) => commit.opened_input = Some(input),
            CheckedItem::Span { advance, batches, dead, expected_carry } => {
                commit.expected_carry = expected_carry;
                commit.source = Some(SourceChange::Advance(advance));
                commit.batches = batches.into_iter().map(|batch| (Target::Source, batch)).collect();
                commit.batches.extend(dead.into_iter().map(|batch| (Target::DeadLetter, batch)));
            }
            CheckedItem::Lost { advance, reason, exact } => {
                let path = match &advance.path {
                    Some(path) => path.clone(),
                    None => self.path_of(&session.agent, advance.source).await?,
                };
                let (agent, reason) = (&session.agent, reason.as_str());
                let loss = Loss { agent, path: &path, advance: &advance, reason, exact, at_ms: now_ms };
                loss.log();
                metrics::lost(advance.span.end - advance.span.start);
                commit.batches = vec![(Target::Partition(events()), loss.batch(&self.compressors))];
                commit.source = Some(SourceChange::Advance(advance));
            }
        }
        Ok(commit)
    }

    /// Looks up a source's last path; empty if the source is unknown, which the sequencer will refuse.
    async fn path_of(&self, agent: &AgentId, source: SourceId) -> Result<Bytes, IngestError> {
        let before = u128::from_be_bytes(source.0).checked_sub(1).map(|id| SourceId(id.to_be_bytes()));
        let found = self.log.sources(agent.clone(), before, 1).await?;
        let found = found.into_iter().find(|stored| stored.source.id == source);
        Ok(found.map(|stored| stored.source.path).unwrap_or_default())
    }
}

/// Holds an item the sequencer has, and what it weighs.
struct Submitted {
    pending: Pending<Committed>,
    records: u64,
    bytes: usize,
}

/// Is an item whose batches may enter the log.
enum CheckedItem {
    Change(SourceChange),
    Span { advance: Advance, batches: Vec<Batch>, dead: Vec<Batch>, expected_carry: Option<Bytes> },
    Lost { advance: Advance, reason: String, exact: bool },
    Opened(String),
}

/// Waits for every item, so that nothing of the request is in the queue any more when its answer is known.
async fn collect(submitted: Vec<Result<Submitted, Outcome>>) -> Result<Vec<Outcome>, IngestError> {
    let mut outcomes = Vec::with_capacity(submitted.len());
    for item in submitted {
        outcomes.push(match item {
            Err(rejected) => Ok(rejected),
            Ok(item) => outcome(item.pending.await).inspect(|outcome| {
                if *outcome == Outcome::Stored {
                    metrics::stored("agent", item.records, item.bytes);
                }
            }),
        });
    }
    outcomes.into_iter().collect()
}

/// Tells refusals of one item from those of the whole request.
fn outcome(answer: Result<Committed, LogError>) -> Result<Outcome, IngestError> {
    match answer {
        Ok(_) => Ok(Outcome::Stored),
        Err(LogError::Refused(Refusal::Fenced { epoch, current })) => Err(IngestError::Fenced { epoch, current }),
        Err(LogError::Refused(refusal)) => Ok(Outcome::Refused(refusal)),
        Err(LogError::TooLarge { bytes, max }) => {
            let reason = format!("the item's batches take {bytes} bytes, at most {max}");
            Ok(Outcome::Rejected { batch: None, too_large: true, reason })
        }
        Err(error) => Err(error.into()),
    }
}

fn batch_bytes(item: &AgentItem) -> usize {
    match item {
        AgentItem::Span { batches, dead, .. } => batches.iter().chain(dead).map(Bytes::len).sum(),
        _ => 0,
    }
}

fn check(item: AgentItem, validation: Validation) -> Result<CheckedItem, Outcome> {
    Ok(match item {
        AgentItem::Change(change) => CheckedItem::Change(change),
        AgentItem::Opened(input) => CheckedItem::Opened(input),
        AgentItem::Lost { advance, reason, exact } => CheckedItem::Lost { advance, reason, exact },
        AgentItem::Span { advance, batches, dead, expected_carry } => CheckedItem::Span {
            advance,
            expected_carry,
            batches: validate::check(batches, validation).map_err(|bad| rejected(Some(bad.index), bad))?,
            dead: validate::check(dead, validation).map_err(|bad| rejected(None, bad))?,
        },
    })
}

fn rejected(batch: Option<u32>, bad: BadBatch) -> Outcome {
    Outcome::Rejected { batch, too_large: bad.too_large, reason: bad.reason }
}
