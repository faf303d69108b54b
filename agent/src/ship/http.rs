//! Requests to the collector, one at a time: through the door that worked last, never retried here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, Url};
use skidway_daemon::tls::{self, Trouble};
use skidway_record::SourceId;
use skidway_wire::access::enrol_path;
use skidway_wire::commit::MEDIA_TYPE;
use skidway_wire::http::{About, COMMITS_PATH, TopicDescription, records_path, session_path, sources_path};
use skidway_wire::{CommitAnswer, OpenSession, Problem, SessionOpened, SourcePage};

use super::connections::{Connections, KNOBS};
use super::credential::Credential;
use crate::config::Config;
use crate::error::{AgentError, RequestError};

/// How many sources a page holds.
const PAGE_LEN: usize = 1000;
/// Bounds an answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Asks for batches as they are stored.
const BATCHES_MEDIA_TYPE: &str = "application/vnd.kafka.recordbatch";

/// Leads to the log, by one of its doors. Shared by all lanes, so that they use one door.
#[derive(Debug)]
pub struct Doors {
    connections: Connections,
    urls: Vec<Url>,
    current: AtomicUsize,
    agent: String,
    credential: Credential,
    /// Held by the lane that has the agent enrolled, if one may.
    enrolling: Option<tokio::sync::Mutex<()>>,
}

impl Doors {
    /// Prepares a client; connects nowhere yet. One that is not `enrols` shows what credential there is, and never has the agent enrolled.
    ///
    /// # Errors
    /// A certificate, key or token file cannot be used (halt).
    pub fn new(config: &Config, enrols: bool) -> Result<Arc<Self>, AgentError> {
        tls::use_ring();
        let doors = Self {
            connections: Connections::new(&config.collector)?,
            urls: config.collector.urls.clone(),
            current: AtomicUsize::new(0),
            agent: config.agent.id.as_str().to_owned(),
            credential: Credential::open(config)?,
            enrolling: enrols.then(tokio::sync::Mutex::default),
        };
        Ok(Arc::new(doors))
    }

    /// Asks whether anybody is behind the door, showing no credential; gives the date of the answer, which is by the collector's clock.
    ///
    /// # Errors
    /// See [`RequestError::fate`].
    pub async fn knock(&self) -> Result<Option<String>, RequestError> {
        let base = &self.urls[self.current.load(Ordering::Relaxed) % self.urls.len()];
        let url = base.join("/healthz").map_err(|error| nonsense(base, error))?;
        let response = self.connections.client().get(url).send().await.map_err(|error| unanswered(base, &error))?;
        if !response.status().is_success() {
            return Err(refusal(base, response).await);
        }
        Ok(response.headers().get(DATE).and_then(|date| date.to_str().ok()).map(str::to_owned))
    }

    /// Asks which log is behind the door.
    ///
    /// # Errors
    /// See [`RequestError::fate`].
    pub async fn about(&self) -> Result<About, RequestError> {
        let (url, body) = self.request(Method::GET, "/v1", None).await?;
        serde_json::from_slice(&body).map_err(|error| nonsense(&url, error))
    }

    /// Leaves the door used now for the next one, and says which was left.
    pub fn turn_away(&self) -> String {
        let door = self.current.fetch_add(1, Ordering::Relaxed);
        self.urls[door % self.urls.len()].to_string()
    }

    /// Opens a session; [`RequestError::Superseded`] tells the newest if `open` names another.
    ///
    /// # Errors
    /// See [`RequestError::fate`].
    pub async fn open_session(&self, agent: &str, open: &OpenSession) -> Result<SessionOpened, RequestError> {
        let (url, body) = self.request(Method::POST, &session_path(agent), Some(open.encode())).await?;
        SessionOpened::decode(body).map_err(|error| nonsense(&url, error))
    }

    /// Gets one page of the agent's sources.
    ///
    /// # Errors
    /// See [`RequestError::fate`].
    pub async fn sources(&self, agent: &str, after: Option<SourceId>) -> Result<SourcePage, RequestError> {
        let after = after.map_or_else(String::new, |id| format!("&after={id}"));
        let path = format!("{}?limit={PAGE_LEN}{after}", sources_path(agent));
        let (url, body) = self.request(Method::GET, &path, None).await?;
        SourcePage::decode(body).map_err(|error| nonsense(&url, error))
    }

    /// Posts an encoded commit request.
    ///
    /// # Errors
    /// See [`RequestError::fate`].
    pub async fn commit(&self, request: Bytes) -> Result<CommitAnswer, RequestError> {
        let (url, body) = self.request(Method::POST, COMMITS_PATH, Some(request)).await?;
        CommitAnswer::decode(body).map_err(|error| nonsense(&url, error))
    }

    /// Describes a topic.
    ///
    /// # Errors
    /// See [`RequestError::fate`]; 404 if there is none of that name.
    pub async fn topic(&self, name: &str) -> Result<TopicDescription, RequestError> {
        let (url, body) = self.request(Method::GET, &format!("/v1/topics/{name}"), None).await?;
        serde_json::from_slice(&body).map_err(|error| nonsense(&url, error))
    }

    /// Gets stored batches from the one that holds `offset` on, as they are: at least one, and no further one past `bytes_max`; none at the
    /// partition's end.
    ///
    /// # Errors
    /// See [`RequestError::fate`]; 410 if the offset was deleted.
    pub async fn batches(
        &self,
        topic: &str,
        partition: u32,
        offset: u64,
        bytes_max: u64,
    ) -> Result<Bytes, RequestError> {
        let (path, page) =
            (records_path(topic), format!("partition={partition}&offset={offset}&max_bytes={bytes_max}"));
        self.request(Method::GET, &format!("{path}?follow=false&{page}"), None).await.map(|(_, body)| body)
    }

    async fn request(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<(Url, Bytes), RequestError> {
        let door = self.current.load(Ordering::Relaxed);
        let base = &self.urls[door % self.urls.len()];
        let shown = self.credential.shown();
        let mut answer = self.request_at(base, (method.clone(), path), body.clone(), shown.clone()).await;
        if matches!(answer, Err(RequestError::Refused { status: 401, .. })) && self.enrol(base, shown).await {
            answer = self.request_at(base, (method, path), body, self.credential.shown()).await;
        }
        match &answer {
            Ok(_) => self.credential.is_let_in(),
            Err(error) => self.learn_from(door, error),
        }
        answer.map(|body| (base.clone(), body))
    }

    async fn request_at(
        &self,
        base: &Url,
        (method, path): (Method, &str),
        body: Option<Bytes>,
        shown: Option<HeaderValue>,
    ) -> Result<Bytes, RequestError> {
        let url = base.join(path).map_err(|error| nonsense(base, error))?;
        let mut request = self.connections.client().request(method, url);
        if let Some(token) = shown {
            request = request.header(AUTHORIZATION, token);
        }
        if let Some(body) = body {
            let media_type = if path.ends_with("/enrol") { "application/json" } else { MEDIA_TYPE };
            request = request.header(CONTENT_TYPE, media_type).body(body);
        } else if path.contains("/records?") {
            request = request.header(ACCEPT, BATCHES_MEDIA_TYPE);
        }
        let response = request.send().await.map_err(|error| unanswered(base, &error))?;
        if response.content_length().is_some_and(|length| length > ANSWER_BYTES_MAX as u64) {
            return Err(nonsense(base, "the answer is too long"));
        }
        if !response.status().is_success() {
            return Err(refusal(base, response).await);
        }
        response.bytes().await.map_err(|error| unanswered(base, &error))
    }

    /// Turns to the next door after a failure, unless another lane did; reads the token again if it was refused.
    fn learn_from(&self, door: usize, error: &RequestError) {
        if error.fate() == skidway_record::Fate::Retry && error.is_the_doors_fault() && self.urls.len() > 1 {
            let _another_lane_did = self.current.compare_exchange(door, door + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
        let is_refused = matches!(error, RequestError::Refused { status: 401 | 403, .. });
        if is_refused || matches!(error, RequestError::Unanswered { .. }) {
            self.connections.has_failed();
        }
        if is_refused {
            self.credential.is_refused(&error.to_string());
        }
        if matches!(error, RequestError::Refused { status: 401, .. })
            && let Err(error) = self.credential.read_token()
        {
            tracing::error!(%error, "keeping the old token");
        }
    }

    /// Tells whether there is anything to show to a collector.
    pub fn has_credential(&self) -> bool {
        self.credential.shown().is_some()
    }

    /// Says why the collector does not let the agent in, if it does not.
    pub fn refused(&self) -> Option<String> {
        self.credential.refused()
    }

    /// Has the agent enrolled, unless another lane just did; tells whether there is a credential that was not refused yet.
    async fn enrol(&self, base: &Url, refused: Option<HeaderValue>) -> bool {
        let Some(enrolling) = &self.enrolling else { return false };
        let _one_lane = enrolling.lock().await;
        if self.credential.shown() != refused {
            return true;
        }
        let (join, request) = match self.credential.to_enrol() {
            Ok(Some(offer)) => offer,
            Ok(None) => return false,
            Err(error) => {
                tracing::error!(%error, "the agent cannot enrol");
                return false;
            }
        };
        let body = serde_json::to_vec(&request).expect("a request is plain JSON");
        let path = enrol_path(&self.agent);
        match self.request_at(base, (Method::POST, &path), Some(body.into()), Some(join)).await {
            Ok(_) => {
                tracing::info!(credential = request.id, "the agent has enrolled");
                true
            }
            Err(error) => {
                self.credential.is_refused(&error.to_string());
                tracing::debug!(%error, "the agent has not enrolled");
                false
            }
        }
    }
}

fn nonsense(url: &Url, reason: impl ToString) -> RequestError {
    RequestError::Nonsense { url: url.to_string(), reason: reason.to_string() }
}

/// Keeps the innermost cause, which alone says something ("Connection refused"), and what to do where that is known.
fn unanswered(url: &Url, error: &reqwest::Error) -> RequestError {
    let advice = Trouble::of(error).map(|trouble| trouble.advice(&KNOBS));
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    RequestError::Unanswered { url: url.to_string(), reason: cause.to_string(), advice }
}

async fn refusal(url: &Url, response: Response) -> RequestError {
    let status = response.status().as_u16();
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = response.bytes().await.unwrap_or_default();
    let problem: Option<Problem> = serde_json::from_slice(&body).ok();
    let superseded = problem.as_ref().filter(|problem| problem.kind == "session-superseded");
    if let Some(current) = superseded.and_then(|problem| problem.extra.get("current_epoch")?.as_u64()) {
        return RequestError::Superseded { url: url.to_string(), current };
    }
    let text = || String::from_utf8_lossy(crate::flow::cut(&body, 200)).into_owned();
    let (kind, detail) = problem.map_or_else(|| (String::new(), text()), |problem| (problem.kind, problem.detail));
    RequestError::Refused { url: url.to_string(), status, kind, detail, retry_after: seconds.map(Duration::from_secs) }
}
