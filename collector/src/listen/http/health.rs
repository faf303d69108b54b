//! How the collector does: for load balancers, service managers, Prometheus, and clients that want to know the log.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use skidway_daemon::telemetry;
use skidway_wire::http::{About, Health};

use crate::listen::http::answers::Failure;
use crate::listen::http::door::Door;
use crate::listen::http::openapi::problems::Refused;
use crate::listen::http::standing;

/// Says that the process runs.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = Health)))]
pub(super) async fn alive() -> Json<Health> {
    Json(Health { status: "ok".to_owned() })
}

/// Says whether it takes requests. Not while it stops.
#[utoipa::path(get, path = "/readyz", tag = "health", responses((status = 200, body = Health), Refused<503>))]
pub(super) async fn ready(State(door): State<Arc<Door>>) -> Result<Json<Health>, Failure> {
    if door.draining.is_cancelled() {
        return Err(Failure::new(503, "stopping", "the collector is stopping"));
    }
    Ok(Json(Health { status: "ready".to_owned() }))
}

/// Gives the metrics as Prometheus scrapes them.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, content_type = "text/plain", body = String)))]
pub(super) async fn metrics(State(door): State<Arc<Door>>) -> impl IntoResponse {
    standing::show(&door).await;
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], telemetry::render())
}

/// Says which log this is.
#[utoipa::path(get, path = "/v1", tag = "health", responses((status = 200, body = About)))]
pub(super) async fn about(State(door): State<Arc<Door>>) -> Json<About> {
    Json(door.about.clone())
}
