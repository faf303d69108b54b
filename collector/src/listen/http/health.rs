//! How the collector does: for load balancers, service managers, Prometheus, and clients that want to know the log.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use skidway_daemon::telemetry;
use skidway_wire::http::About;

use crate::listen::http::answers::Failure;
use crate::listen::http::door::Door;

/// `GET /healthz`: the process runs.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// `GET /readyz`: it takes requests. Not while it stops.
pub(super) async fn ready(State(door): State<Arc<Door>>) -> Result<Json<Value>, Failure> {
    if door.draining.is_cancelled() {
        return Err(Failure::new(503, "stopping", "the collector is stopping"));
    }
    Ok(Json(json!({"status": "ready"})))
}

/// `GET /metrics`
pub(super) async fn metrics() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], telemetry::metrics().render())
}

/// `GET /v1`
pub(super) async fn about(State(door): State<Arc<Door>>) -> Json<About> {
    Json(door.about.clone())
}
