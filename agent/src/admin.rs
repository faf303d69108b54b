//! The admin port: health, readiness, metrics, status. Answers from what others tell it; knows nothing itself.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::health::Monitor;
use crate::status::Status;

/// How many may ask for the status at once; the rest wait.
const QUESTIONS_MAX: usize = 8;

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
    let metrics = || async { skidway_daemon::telemetry::metrics().render() };
    let router = Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .with_state(asker);
    let serving = axum::serve(listener, router).with_graceful_shutdown(over.cancelled_owned());
    if let Err(error) = serving.await {
        tracing::error!(%error, "the admin port is closed");
    }
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
