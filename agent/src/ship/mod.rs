//! Lanes to the collector. A lane runs one errand at a time and reports only when the collector has answered: it retries by
//! fate, waits as asked, splits what is too large. What the answers mean for the files is not its business.

mod connections;
mod credential;
pub mod http;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use skidway_daemon::backoff::Backoff;
use skidway_record::{AgentId, Fate, LogId};
use skidway_wire::{CommitRequest, ItemResult, OpenSession};

use crate::config::OnNewLog;
use crate::error::RequestError;
use crate::flow::{Errand, Opened, Outcome, Session};
use crate::metrics;
use http::Doors;

/// How many requests may be under way; each source is in at most one of them.
pub const LANES: usize = 4;

const BACKOFF_BASE: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A collector may ask to wait longer, but not for ever.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// How often an unbroken row of failures is logged.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(30);

/// Runs errands.
#[derive(Debug, Clone)]
pub struct Lane {
    /// Where to.
    pub doors: Arc<Doors>,
    /// Who ships.
    pub agent: AgentId,
    /// What a session is opened with, but for the one it follows.
    pub introduction: OpenSession,
    /// What to do when the log is another one.
    pub on_new_log: OnNewLog,
}

impl Lane {
    /// Runs one errand to its end, however long the collector is away.
    pub async fn run(&self, errand: Errand) -> Outcome {
        match errand {
            Errand::Open { known_log, newest } => self.open(known_log, newest).await,
            Errand::Commit(request) => self.commit(request).await,
        }
    }

    async fn open(&self, known_log: Option<LogId>, mut newest: u64) -> Outcome {
        let (mut patience, mut has_learnt) = (Patience::new("open a session"), false);
        loop {
            match self.try_open(known_log, newest).await {
                Ok(opened) => {
                    patience.over();
                    return Outcome::Opened(Box::new(opened));
                }
                Err(RequestError::Superseded { current, .. }) if !has_learnt => (newest, has_learnt) = (current, true),
                Err(error) => {
                    if let RequestError::Superseded { current, .. } = &error {
                        newest = *current;
                    }
                    patience.wait(&error).await;
                }
            }
        }
    }

    async fn try_open(&self, known_log: Option<LogId>, newest: u64) -> Result<Opened, RequestError> {
        let new_log = self.is_new_log(known_log).await?;
        let introduction = OpenSession { follows: Some(newest), ..self.introduction.clone() };
        let opened = self.doors.open_session(self.agent.as_str(), &introduction).await?;
        let (mut sources, mut after) = (Vec::new(), None);
        loop {
            let page = self.doors.sources(self.agent.as_str(), after).await?;
            sources.extend(page.sources);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let (epoch, log_id, log_epoch) = (opened.epoch, opened.log_id, opened.log_epoch);
        let session = Session { agent: self.agent.clone(), epoch, log_id, log_epoch };
        Ok(Opened { session, opened_inputs: opened.opened_inputs, sources, new_log })
    }

    /// Looks before it opens: on a log that may not be shipped to, not even a session is left behind.
    async fn is_new_log(&self, known_log: Option<LogId>) -> Result<bool, RequestError> {
        let Some(known) = known_log.map(|log| log.to_string()) else { return Ok(false) };
        let about = self.doors.about().await?;
        match self.on_new_log {
            _ if about.log_id == known => Ok(false),
            OnNewLog::Continue | OnNewLog::Replay => Ok(true),
            OnNewLog::Refuse => {
                let url = self.doors.turn_away();
                Err(RequestError::OtherLog { url, found: about.log_id, known })
            }
        }
    }

    /// Keeps the encoded request only: it holds the batches, and retries send the very same bytes.
    async fn commit(&self, request: CommitRequest) -> Outcome {
        let (epoch, items) = (request.epoch, request.items.len());
        let body = request.encode();
        drop(request);
        metrics::request_sent(body.len());
        let mut patience = Patience::new("commit");
        loop {
            let error = match self.doors.commit(body.clone()).await {
                Ok(answer) if answer.results.len() == items => {
                    patience.over();
                    return Outcome::Committed(answer.results);
                }
                Ok(answer) => {
                    let reason = format!("{} results for {items} items", answer.results.len());
                    RequestError::Nonsense { url: "the collector".into(), reason }
                }
                Err(error) => error,
            };
            if error.fate() != Fate::Retry {
                metrics::request_failed(error.fate());
            }
            match error.fate() {
                Fate::Retry => patience.wait(&error).await,
                Fate::Halt if error.kind() == "fenced" => return Outcome::Fenced { epoch },
                Fate::Halt => return Outcome::LogChanged { epoch },
                Fate::Reject => return self.split(body, &error).await,
            }
        }
    }

    /// Sends a refused request in halves; an item refused alone is itself to blame.
    async fn split(&self, body: Bytes, error: &RequestError) -> Outcome {
        let mut first = CommitRequest::decode(body).expect("this lane encoded it");
        if first.items.len() <= 1 {
            tracing::warn!(%error, "the collector refuses a single item");
            let (status, reason) = (u32::from(error.status().unwrap_or(400)), error.to_string());
            return Outcome::Committed(vec![ItemResult::Rejected { batch: None, status, reason }; first.items.len()]);
        }
        let items = first.items.split_off(first.items.len() / 2);
        let second = CommitRequest { items, agent: first.agent.clone(), ..first };
        let mut results = Vec::new();
        for half in [first, second] {
            match Box::pin(self.commit(half)).await {
                Outcome::Committed(more) => results.extend(more),
                // What the first half brought, the next session's list of sources tells.
                other => return other,
            }
        }
        Outcome::Committed(results)
    }
}

/// Waits between tries, longer each time, and complains now and then.
struct Patience {
    doing: &'static str,
    backoff: Backoff,
    since: Instant,
    tries: u32,
    complained: Option<Instant>,
}

impl Patience {
    fn new(doing: &'static str) -> Self {
        let backoff = Backoff::new(BACKOFF_BASE, BACKOFF_MAX);
        Self { doing, backoff, since: Instant::now(), tries: 0, complained: None }
    }

    async fn wait(&mut self, error: &RequestError) {
        self.tries += 1;
        metrics::request_failed(Fate::Retry);
        let asked = error.retry_after().unwrap_or_default().min(RETRY_AFTER_MAX);
        let wait = self.backoff.next(rand::random()).max(asked);
        if self.complained.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
            self.complained = Some(Instant::now());
            let (tries, wait) = (self.tries, tracing::field::debug(wait));
            tracing::warn!(%error, tries, wait, "cannot {} yet; trying again", self.doing);
        }
        tokio::time::sleep(wait).await;
    }

    fn over(&self) {
        if self.complained.is_some() {
            tracing::info!(tries = self.tries, took = ?self.since.elapsed(), "could {} at last", self.doing);
        }
    }
}
