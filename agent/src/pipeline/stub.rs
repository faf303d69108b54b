//! A collector of a few lines, for tests: keeps the agents' protocol, remembers every record, misbehaves when told to.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use skidway_record::source::StoredSource;
use skidway_record::{AgentId, Batch, LogId, SourceId};
use skidway_wire::{
    CommitAnswer, CommitRequest, Item, ItemResult, OpenSession, Problem, SessionOpened, SourcePage, SpanKind,
};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What the collector does with the next commit request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Does as it should.
    Nothing,
    /// Answers this status and stores nothing.
    Refuse(u16),
    /// Stores it all and cuts the connection.
    CutAfterCommit,
    /// Stores it all and never answers.
    HangAfterCommit,
    /// Says it serves another log.
    LogChanged,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) log: u8,
    pub(super) epoch: u64,
    pub(super) sources: Vec<StoredSource>,
    pub(super) opened_inputs: Vec<String>,
    /// `topic: value`, in the order they were stored; `lost start..end` and `skipped …` for spans without records.
    pub(super) records: Vec<String>,
    pub(super) faults: VecDeque<Fault>,
    /// Rejects every batch that holds this.
    pub(super) poison: Option<&'static str>,
    /// Positions to fall back to at the next request, without telling.
    pub(super) set_back: HashMap<SourceId, u64>,
}

/// Serves on loopback until dropped.
#[derive(Debug, Clone)]
pub(super) struct Stub {
    pub(super) inner: Arc<Mutex<Inner>>,
    changed: watch::Sender<u64>,
    pub(super) address: SocketAddr,
}

impl Stub {
    pub(super) async fn start(tasks: &tokio_util::task::TaskTracker) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inner = Arc::new(Mutex::new(Inner { log: 1, ..Inner::default() }));
        let stub = Self { inner, changed: watch::Sender::new(0), address: listener.local_addr().unwrap() };
        let router = Router::new()
            .route("/v1", get(about))
            .route("/v1/agents/{id}/session", post(open))
            .route("/v1/agents/{id}/sources", get(sources))
            .route("/v1/commits", post(commit))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(stub.clone());
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        stub
    }

    /// Waits until the records satisfy `enough`, and gives them.
    pub(super) async fn records(&self, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
        self.wait(|inner| enough(&inner.records)).await;
        self.inner.lock().unwrap().records.clone()
    }

    /// Waits until the state satisfies `enough`.
    pub(super) async fn wait(&self, enough: impl Fn(&Inner) -> bool) {
        let mut changes = self.changed.subscribe();
        let wait = async {
            while !enough(&self.inner.lock().unwrap()) {
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(Duration::from_secs(30), wait).await.is_err() {
            panic!("not in time: {:#?}", self.inner.lock().unwrap());
        }
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.inner.lock().unwrap());
    }
}

async fn about(State(stub): State<Stub>) -> Response {
    let log = LogId([stub.inner.lock().unwrap().log; 16]);
    axum::Json(serde_json::json!({"log_id": log, "log_epoch": 1, "engine": "stub", "version": "0"})).into_response()
}

async fn open(State(stub): State<Stub>, body: Bytes) -> Response {
    let mut inner = stub.inner.lock().unwrap();
    if OpenSession::decode(body).unwrap().follows != Some(inner.epoch) {
        let problem = Problem::new(409, "session-superseded", "as always").with("current_epoch", inner.epoch);
        return (StatusCode::CONFLICT, serde_json::to_vec(&problem).unwrap()).into_response();
    }
    inner.epoch += 1;
    let opened = SessionOpened {
        epoch: inner.epoch,
        log_id: LogId([inner.log; 16]),
        log_epoch: 1,
        opened_inputs: inner.opened_inputs.clone(),
    };
    opened.encode().into_response()
}

async fn sources(State(stub): State<Stub>) -> Response {
    SourcePage { sources: stub.inner.lock().unwrap().sources.clone(), next: None }.encode().into_response()
}

async fn commit(State(stub): State<Stub>, body: Bytes) -> Response {
    let request = CommitRequest::decode(body).unwrap();
    let (answer, hang) = stub.inner.lock().unwrap().commit(request);
    stub.changed.send_modify(|count| *count += 1);
    if hang {
        std::future::pending::<()>().await;
    }
    answer
}

fn problem(status: u16, kind: &str) -> Response {
    let problem = serde_json::to_vec(&Problem::new(status, kind, "as the test asked")).unwrap();
    (StatusCode::from_u16(status).unwrap(), [("retry-after", "0")], problem).into_response()
}

impl Inner {
    fn commit(&mut self, request: CommitRequest) -> (Response, bool) {
        if request.epoch != self.epoch {
            return (problem(409, "fenced"), false);
        }
        if request.items.is_empty() {
            // A sign of life; faults are for what is shipped.
            return (CommitAnswer { results: Vec::new() }.encode().into_response(), false);
        }
        let fault = self.faults.pop_front();
        match fault {
            Some(Fault::Refuse(status)) => return (problem(status, "test"), false),
            Some(Fault::LogChanged) => return (problem(409, "log-changed"), false),
            _ => {}
        }
        for (id, position) in std::mem::take(&mut self.set_back) {
            let source = self.sources.iter_mut().find(|it| it.source.id == id).unwrap();
            (source.position, source.carry, source.anchor) = (position, Bytes::new(), Default::default());
        }
        let results = request.items.into_iter().map(|item| self.take(item, &request.agent)).collect();
        match fault {
            // A body shorter than it says it is: the connection breaks in the middle of the answer.
            Some(Fault::CutAfterCommit) => {
                ((StatusCode::OK, [("content-length", "999")], "cut").into_response(), false)
            }
            Some(Fault::HangAfterCommit) => (StatusCode::OK.into_response(), true),
            _ => (CommitAnswer { results }.encode().into_response(), false),
        }
    }

    fn take(&mut self, item: Item, agent: &AgentId) -> ItemResult {
        match item {
            Item::Create(source) => {
                let same = |it: &&StoredSource| {
                    it.source.id == source.id
                        || it.source.physical == source.physical
                            && Some(it.source.id) != source.supersedes
                            && !self.sources.iter().any(|newer| newer.source.supersedes == Some(it.source.id))
                };
                if let Some(known) = self.sources.iter().find(same) {
                    return ItemResult::Exists { source: known.source.id };
                }
                self.sources.push(StoredSource {
                    source,
                    agent: agent.clone(),
                    partition: Some(0),
                    position: 0,
                    carry: Bytes::new(),
                    anchor: Default::default(),
                    gone_at_ms: None,
                });
            }
            Item::Span { source, span, kind, expected_carry, carry, head, anchor, batches, dead, .. } => {
                let Some(known) = self.sources.iter_mut().find(|it| it.source.id == source) else {
                    return ItemResult::UnknownSource;
                };
                if known.position != span.start || expected_carry.is_some_and(|expected| expected != known.carry) {
                    return ItemResult::Conflict { position: known.position, carry: known.carry.clone() };
                }
                let topic = known.source.topic.as_str();
                let mut stored = Vec::new();
                for (index, batch) in batches.into_iter().enumerate() {
                    let lines = lines(batch, topic);
                    if self.poison.is_some_and(|poison| lines.iter().any(|line| line.contains(poison))) {
                        let reason = "poison".to_owned();
                        return ItemResult::Rejected { batch: Some(index as u32), status: 400, reason };
                    }
                    stored.extend(lines);
                }
                stored.extend(dead.into_iter().flat_map(|batch| lines(batch, &format!("{topic}.dead"))));
                match kind {
                    SpanKind::Read => {}
                    SpanKind::Skipped => stored.push(format!("skipped {span:?}")),
                    SpanKind::Lost { exact, .. } => stored.push(format!("lost {span:?} exact={exact}")),
                }
                (known.position, known.carry, known.anchor, known.source.head) = (span.end, carry, anchor, head);
                self.records.extend(stored);
            }
            Item::Rebind { source, physical, path } => {
                let known = self.sources.iter_mut().find(|it| it.source.id == source).unwrap();
                (known.source.physical, known.source.path, known.gone_at_ms) = (physical, path, None);
            }
            Item::HandOver { from, position, carry, to } => {
                let of = |id| self.sources.iter().position(|it| it.source.id == id).unwrap();
                let (from, to) = (of(from), of(to));
                let known = &self.sources[from];
                if (known.position, &known.carry) != (position, &carry) || self.sources[to].position != 0 {
                    return ItemResult::Conflict { position: known.position, carry: known.carry.clone() };
                }
                self.sources[from].carry.clear();
                self.sources[to].carry = carry;
            }
            Item::Gone { source } => {
                self.sources.iter_mut().filter(|it| it.source.id == source).for_each(|it| it.gone_at_ms = Some(1));
            }
            Item::Opened { input } => self.opened_inputs.push(input),
        }
        ItemResult::Accepted
    }
}

/// Shows each record of an encoded batch; pieces of lines end or begin with `…`.
fn lines(batch: Bytes, topic: &str) -> Vec<String> {
    let batch = Batch::take(&mut batch.clone()).unwrap();
    batch.verify().unwrap();
    let decoded = batch.decode().unwrap();
    let show = |record: skidway_record::Record<'_>| {
        let has = |name: &[u8]| if record.headers().any(|header| header.key == name) { "…" } else { "" };
        let value = String::from_utf8_lossy(record.value.unwrap()).into_owned();
        format!("{topic}: {}{value}{}", has(b"skidway-continued"), has(b"skidway-partial"))
    };
    decoded.records().map(|record| show(record.unwrap())).collect()
}
