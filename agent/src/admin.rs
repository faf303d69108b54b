//! The admin port: health, readiness, metrics, status, the log level. Answers from what others tell it; knows nothing itself.
//!
//! Bounded, so that nobody who only connects takes the agent's descriptors, which its files need.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use skidway_daemon::log_level::{self, LogLevelError};
use skidway_wire::http::{AGENT_LOG_LEVEL_PATH, LogLevel, LogLevelRequest};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::health::Monitor;
use crate::status::Status;

/// How many may ask for the status at once; the rest wait.
const QUESTIONS_MAX: usize = 8;

/// Connections open at once; more wait until one of them is answered or has had its time.
const CONNECTIONS_MAX: usize = 64;

/// Time a client has for the head of its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);

/// Time a connection has altogether; it asks for one thing.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);

/// Bounds the head of a request; hyper takes no less.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// Bounds the body of a request.
const BODY_BYTES_MAX: usize = 4 << 10;

/// Waits this long after the system refused to accept, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Asks the one who knows.
#[derive(Clone)]
pub struct Asker {
    monitor: Monitor,
    ask: Arc<dyn Fn() -> oneshot::Receiver<Status> + Send + Sync>,
    questions: Arc<Semaphore>,
}

impl Asker {
    /// Takes what tells health and how to ask for the status.
    pub fn new(monitor: Monitor, ask: impl Fn() -> oneshot::Receiver<Status> + Send + Sync + 'static) -> Self {
        Self { monitor, ask: Arc::new(ask), questions: Arc::new(Semaphore::new(QUESTIONS_MAX)) }
    }
}

/// Serves until `over`.
pub async fn serve(listener: TcpListener, asker: Asker, over: CancellationToken) {
    let metrics = || async { skidway_daemon::telemetry::render() };
    let router = Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route(AGENT_LOG_LEVEL_PATH, get(show_level).put(set_level).delete(reset_level))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(asker);
    let mut open = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = over.cancelled() => break,
            Some(()) = open.next() => {}
            accepted = listener.accept(), if open.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => open.push(connection(stream, router.clone())),
                Err(error) => {
                    tracing::warn!(%error, "a connection to the admin port cannot be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    let _whoever_is_slow_is_cut_off = timeout(HEAD_TIMEOUT, async { while open.next().await.is_some() {} }).await;
}

/// Answers one request.
async fn connection(stream: TcpStream, router: Router) {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let _whatever_the_client_did = timeout(CONNECTION_TIMEOUT, serving).await;
}

async fn readiness(State(asker): State<Asker>) -> Response {
    verdict(asker.monitor.readiness())
}

async fn health(State(asker): State<Asker>) -> Response {
    verdict(asker.monitor.health().await)
}

fn verdict(found: Result<(), String>) -> Response {
    match found {
        Ok(()) => "ok\n".into_response(),
        Err(words) => (StatusCode::SERVICE_UNAVAILABLE, format!("{words}\n")).into_response(),
    }
}

async fn status(State(asker): State<Asker>) -> Response {
    let Ok(_turn) = asker.questions.acquire().await else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    match (asker.ask)().await {
        Ok(status) => Json(status).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping\n").into_response(),
    }
}

async fn show_level() -> Response {
    level(log_level::current())
}

async fn set_level(headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refused) = from_a_page(&headers) {
        return refused;
    }
    let asked = match serde_json::from_slice::<LogLevelRequest>(&body) {
        Ok(asked) => asked,
        Err(error) => return refused(format!("expected {{\"level\": \"debug\", \"for\": \"10m\"}}: {error}")),
    };
    level(log_level::set(&asked.level, asked.lent.as_deref()))
}

async fn reset_level(headers: HeaderMap) -> Response {
    from_a_page(&headers).unwrap_or_else(|| level(log_level::reset()))
}

/// Refuses what a web page in this machine's browser asks for: nobody told it to.
fn from_a_page(headers: &HeaderMap) -> Option<Response> {
    headers.contains_key(ORIGIN).then(|| (StatusCode::FORBIDDEN, "not for web pages\n").into_response())
}

fn refused(words: impl std::fmt::Display) -> Response {
    (StatusCode::BAD_REQUEST, format!("{words}\n")).into_response()
}

fn level(found: Result<log_level::LogLevel, LogLevelError>) -> Response {
    match found {
        Ok(log_level::LogLevel { level, configured, ends_in_seconds }) => {
            Json(LogLevel { level, configured, ends_in_seconds }).into_response()
        }
        Err(error @ LogLevelError::NotOurs) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
        Err(error) => refused(error),
    }
}
