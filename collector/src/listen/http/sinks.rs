//! Sinks over HTTP: how they stand; pause and resume.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Uri;
use skidway_wire::http::{SinkList, SinkSummary};

use crate::listen::http::answers::Failure;
use crate::listen::http::door::Door;
use crate::listen::http::query::Query;

/// `GET /v1/sinks`
pub(super) async fn list(State(door): State<Arc<Door>>, uri: Uri) -> Result<Json<SinkList>, Failure> {
    Query::of(&uri)?.finish()?;
    Ok(Json(all(&door)))
}

/// `GET /v1/sinks/{sink}`
pub(super) async fn show(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Json<SinkSummary>, Failure> {
    Query::of(&uri)?.finish()?;
    one(&door, &name)
}

/// `POST /v1/sinks/{sink}/pause`: what is open is closed and published, then nothing more is read.
pub(super) async fn pause(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Json<SinkSummary>, Failure> {
    Query::of(&uri)?.finish()?;
    steer(&door, &name, true).await
}

/// `POST /v1/sinks/{sink}/resume`
pub(super) async fn resume(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Json<SinkSummary>, Failure> {
    Query::of(&uri)?.finish()?;
    steer(&door, &name, false).await
}

async fn steer(door: &Door, name: &str, pause: bool) -> Result<Json<SinkSummary>, Failure> {
    match &door.sinks {
        Some(sinks) if sinks.pause(name, pause).await? => one(door, name),
        _ => Err(unknown(name)),
    }
}

fn one(door: &Door, name: &str) -> Result<Json<SinkSummary>, Failure> {
    let found = all(door).sinks.into_iter().find(|sink| sink.name == name);
    found.map(Json).ok_or_else(|| unknown(name))
}

fn all(door: &Door) -> SinkList {
    door.sinks.as_ref().map_or(SinkList { sinks: Vec::new() }, |sinks| sinks.list())
}

fn unknown(name: &str) -> Failure {
    Failure::new(
        404,
        "sink-not-found",
        format!("there is no sink {name:?}; sinks are in the collector's configuration"),
    )
}
