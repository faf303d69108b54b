//! Sinks over HTTP: how they stand; pause and resume; work on their files, whose findings are streamed as NDJSON.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use jiff::Timestamp;
use skidway_wire::http::{SinkList, SinkSummary};
use skidway_wire::{SinkFinding, SinkJob, SinkPlan};

use crate::listen::http::answers::Failure;
use crate::listen::http::door::Door;
use crate::listen::http::openapi::problems::Refused;
use crate::listen::http::path::UrlPath as Path;
use crate::listen::http::query::Query;

/// Greatest number of hours that a plan looks back; by default a day.
const PLAN_HOURS_MAX: u64 = 24 * 31;

/// Says how all sinks stand.
#[utoipa::path(get, path = "/v1/sinks", tag = "sinks", responses((status = 200, body = SinkList), Refused<400>))]
pub(super) async fn list(State(door): State<Arc<Door>>, uri: Uri) -> Result<Json<SinkList>, Failure> {
    Query::of(&uri)?.finish()?;
    Ok(Json(all(&door)))
}

/// Says how a sink stands.
#[utoipa::path(
    get, path = "/v1/sinks/{sink}", tag = "sinks", params(("sink" = String, Path, description = "Name, as in the configuration")),
    responses((status = 200, body = SinkSummary), Refused<400>, Refused<404>)
)]
pub(super) async fn show(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Json<SinkSummary>, Failure> {
    Query::of(&uri)?.finish()?;
    one(&door, &name)
}

/// Pauses a sink, over restarts too: what is open is closed and published, then nothing more is read.
#[utoipa::path(
    post, path = "/v1/sinks/{sink}/pause", tag = "sinks", params(("sink" = String, Path, description = "Name, as in the configuration")),
    responses((status = 200, body = SinkSummary), Refused<400>, Refused<404>, Refused<507>)
)]
pub(super) async fn pause(door: State<Arc<Door>>, name: Path<String>, uri: Uri) -> Result<Json<SinkSummary>, Failure> {
    steer(&door, &name.0, &uri, true).await
}

/// Lets a paused sink go on.
#[utoipa::path(
    post, path = "/v1/sinks/{sink}/resume", tag = "sinks", params(("sink" = String, Path, description = "Name, as in the configuration")),
    responses((status = 200, body = SinkSummary), Refused<400>, Refused<404>, Refused<507>)
)]
pub(super) async fn resume(door: State<Arc<Door>>, name: Path<String>, uri: Uri) -> Result<Json<SinkSummary>, Failure> {
    steer(&door, &name.0, &uri, false).await
}

/// Says what a sink will do in a day, by what came in the last hours.
#[utoipa::path(
    get, path = "/v1/sinks/{sink}/plan", tag = "sinks",
    params(("sink" = String, Path, description = "Name, as in the configuration"), ("hours" = Option<u64>, Query, description = "Hours to look back; 24", minimum = 1, maximum = 744)),
    responses((status = 200, body = SinkPlan), Refused<400>, Refused<404>, Refused<503>)
)]
pub(super) async fn plan(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Json<SinkPlan>, Failure> {
    let mut query = Query::of(&uri)?;
    let hours = query.within("hours", 1..=PLAN_HOURS_MAX)?.unwrap_or(24);
    query.finish()?;
    let sinks = door.sinks.as_ref().ok_or_else(|| unknown(&name))?;
    let plan = sinks.plan(&name, hours).await.ok_or_else(|| unknown(&name))?;
    plan.map(Json).map_err(|reason| Failure::new(503, "not-planned", reason))
}

/// Compares the manifest with the storage, and if deep each file's rows with the log.
#[utoipa::path(
    post, path = "/v1/sinks/{sink}/verify", tag = "sinks",
    params(("sink" = String, Path, description = "Name, as in the configuration"), ("deep" = Option<bool>, Query, description = "Reads every file; false")),
    responses((status = 200, body = SinkFinding, content_type = "application/x-ndjson", description = "A finding a line, a summary last."), Refused<400>, Refused<404>, Refused<409>)
)]
pub(super) async fn verify(door: State<Arc<Door>>, name: Path<String>, uri: Uri) -> Result<Response, Failure> {
    let mut query = Query::of(&uri)?;
    let deep = query.parsed::<bool>("deep")?.unwrap_or(false);
    query.finish()?;
    begin(&door, &name.0, SinkJob::Verify { deep })
}

/// Makes files again that are missing or damaged.
#[utoipa::path(
    post, path = "/v1/sinks/{sink}/repair", tag = "sinks", params(("sink" = String, Path, description = "Name, as in the configuration")),
    responses((status = 200, body = SinkFinding, content_type = "application/x-ndjson", description = "A finding a line, a summary last."), Refused<400>, Refused<404>, Refused<409>)
)]
pub(super) async fn repair(door: State<Arc<Door>>, name: Path<String>, uri: Uri) -> Result<Response, Failure> {
    Query::of(&uri)?.finish()?;
    begin(&door, &name.0, SinkJob::Repair)
}

/// Makes the files of a topic's time anew, as the configuration says today.
#[utoipa::path(
    post, path = "/v1/sinks/{sink}/replay", tag = "sinks",
    params(
        ("sink" = String, Path, description = "Name, as in the configuration"),
        ("topic" = String, Query, description = "Its topic"),
        ("from" = String, Query, format = DateTime, description = "From the first record of this time on"),
        ("to" = String, Query, format = DateTime, description = "Up to the first record of this time")
    ),
    responses((status = 200, body = SinkFinding, content_type = "application/x-ndjson", description = "A finding a line, a summary last."), Refused<400>, Refused<404>, Refused<409>)
)]
pub(super) async fn replay(door: State<Arc<Door>>, name: Path<String>, uri: Uri) -> Result<Response, Failure> {
    let mut query = Query::of(&uri)?;
    let topic = query.text("topic")?.ok_or_else(|| Failure::parameter("topic", "is missing"))?;
    let mut time = |name: &str| {
        let time = query.parsed::<Timestamp>(name)?;
        time.map(Timestamp::as_millisecond)
            .ok_or_else(|| Failure::parameter(name, "is missing; it is a time (RFC 3339)"))
    };
    let (from_ms, to_ms) = (time("from")?, time("to")?);
    query.finish()?;
    begin(&door, &name.0, SinkJob::Replay { topic, from_ms, to_ms })
}

/// Begins a job; its findings are lines of the answer, the last of which is a summary or says why there is none.
fn begin(door: &Door, name: &str, job: SinkJob) -> Result<Response, Failure> {
    // A name that nobody has is no sink that is busy.
    let Json(SinkSummary { name, .. }) = one(door, name)?;
    let findings = door.sinks.as_ref().and_then(|sinks| sinks.job(&name, job));
    let busy = || Failure::new(409, "sink-busy", format!("sink {name} has another job; try again when that is over"));
    let lines = stream::unfold(findings.ok_or_else(busy)?, async |mut findings| {
        let finding = findings.recv().await?;
        let mut line = serde_json::to_vec(&finding).ok()?;
        line.push(b'\n');
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(line)), findings))
    });
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(lines)).into_response())
}

async fn steer(door: &Door, name: &str, uri: &Uri, pause: bool) -> Result<Json<SinkSummary>, Failure> {
    Query::of(uri)?.finish()?;
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
    door.sinks.as_ref().map_or_else(SinkList::default, |sinks| sinks.list())
}

fn unknown(name: &str) -> Failure {
    Failure::new(
        404,
        "sink-not-found",
        format!("there is no sink {name:?}; sinks are in the collector's configuration"),
    )
}
