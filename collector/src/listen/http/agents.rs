//! Agents over HTTP: sessions, their sources, and the list of the fleet.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use skidway_record::{AgentId, SourceId};
use skidway_wire::codec::{in_version, version_of};
use skidway_wire::http::{AgentList, AgentSummary};
use skidway_wire::{SessionOpened, SourcePage, commit};

use crate::access::Caller;
use crate::clock::now_ms;
use crate::json::rfc3339;
use crate::listen::http::answers::Failure;
use crate::listen::http::body::{self, Body, media_type};
use crate::listen::http::door::{Door, Peer};
use crate::listen::http::openapi::problems::Refused;
use crate::listen::http::path::AgentPath;
use crate::listen::http::query::Query;
use crate::log::{AgentState, OpenSession};

/// Default and greatest number of sources of a page: each may carry 64 KiB.
const SOURCES: (u64, u64) = (200, 1000);

pub(super) const FRAMES: &str = commit::MEDIA_TYPE;

/// Opens an agent's session, which fences the one before. Agents' own protocol.
#[utoipa::path(
    post, path = "/v1/agents/{agent}/session", tag = "agents", params(("agent" = String, Path, description = "The agent's id")), request_body(content = Vec<u8>, content_type = FRAMES),
    responses(
        (status = 200, content_type = FRAMES, body = Vec<u8>, description = "A frame."),
        Refused<400>, Refused<409>, Refused<413>, Refused<415>, Refused<426>
    )
)]
pub(super) async fn open_session(
    State(door): State<Arc<Door>>,
    AgentPath(agent): AgentPath,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    body: axum::body::Body,
) -> Result<Response, Failure> {
    let body = read_frame(&door, &headers, body).await?;
    let version = version_of(&body.bytes);
    let asked = skidway_wire::OpenSession::decode(body.bytes)?;
    let (address, machine_id) = (peer.to_string(), asked.machine_id.clone());
    door.fleet.may_open(&agent, &machine_id, &address, Instant::now())?;
    let open =
        OpenSession { agent: agent.clone(), machine_id: asked.machine_id, host: asked.host, version: asked.version };
    let follows = match asked.follows {
        Some(follows) => follows,
        None => newest_session(&door, &agent).await?,
    };
    let session = door.ingest.open_session(open, follows).await?;
    door.fleet.opened(&agent, &machine_id, &address, Instant::now(), now_ms());
    door.fleet.speaks(&agent, version);
    tracing::info!(%agent, epoch = session.epoch, address, "session opened");
    let log = door.log.identity();
    let opened = SessionOpened {
        epoch: session.epoch,
        log_id: log.id,
        log_epoch: log.epoch,
        opened_inputs: session.opened_inputs,
    };
    Ok(frame(in_version(opened.encode(), version)))
}

/// Gives the session that an agent of version 1 means, which cannot say: the newest there is.
async fn newest_session(door: &Door, agent: &AgentId) -> Result<u64, Failure> {
    let agents = door.log.agents().await?;
    Ok(agents.iter().find(|state| state.session.agent == *agent).map_or(0, |state| state.epoch))
}

/// Pages an agent's sources. Agents' own protocol.
#[utoipa::path(
    get, path = "/v1/agents/{agent}/sources", tag = "agents",
    params(
        ("agent" = String, Path, description = "The agent's id"),
        ("after" = Option<String>, Query, description = "Id of the source before the page", pattern = "^[0-9a-f]{32}$"),
        ("limit" = Option<u64>, Query, description = "Sources of a page; 200", minimum = 1, maximum = 1000)
    ),
    responses((status = 200, content_type = FRAMES, body = Vec<u8>, description = "A frame."), Refused<400>)
)]
pub(super) async fn sources(
    State(door): State<Arc<Door>>,
    AgentPath(agent): AgentPath,
    uri: Uri,
) -> Result<Response, Failure> {
    let mut query = Query::of(&uri)?;
    let after = query.parsed::<SourceId>("after")?;
    let limit = query.within("limit", 1..=SOURCES.1)?.unwrap_or(SOURCES.0) as usize;
    query.finish()?;
    // A request without a frame: what the agent speaks is known from its session.
    let version = door.fleet.spoken_by(&agent);
    let sources = door.log.sources(agent, after, limit).await?;
    let next = sources.last().filter(|_| sources.len() == limit).map(|stored| stored.source.id);
    Ok(frame(in_version(SourcePage { sources, next }.encode(), version)))
}

/// Lists the agents that ever opened a session; to an agent itself.
#[utoipa::path(get, path = "/v1/agents", tag = "agents", responses((status = 200, body = AgentList), Refused<400>))]
pub(super) async fn list(
    State(door): State<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<AgentList>, Failure> {
    Query::of(&uri)?.finish()?;
    if caller.agent().is_none() {
        caller.administers()?;
    }
    let mut agents = door.log.agents().await?;
    agents.retain(|state| caller.is_administrator() || caller.agent() == Some(state.session.agent.as_str()));
    Ok(Json(AgentList { agents: agents.into_iter().map(|state| summary(&door, state)).collect() }))
}

/// Reads a frame of the agents' protocol.
pub(super) async fn read_frame(door: &Door, headers: &HeaderMap, body: axum::body::Body) -> Result<Body, Failure> {
    let body = body::read(door, headers, body).await?;
    match media_type(headers).as_str() {
        commit::MEDIA_TYPE | "" => Ok(body),
        other => Err(Failure::media_type(format!("frames come as {}, not as {other:?}", commit::MEDIA_TYPE))),
    }
}

/// Answers with a frame.
pub(super) fn frame(frame: Bytes) -> Response {
    ([(CONTENT_TYPE, commit::MEDIA_TYPE)], frame).into_response()
}

fn summary(door: &Door, state: AgentState) -> AgentSummary {
    let report = door.fleet.report(&state.session.agent);
    AgentSummary {
        id: state.session.agent.to_string(),
        host: state.session.host,
        version: state.session.version,
        session_epoch: state.epoch,
        last_seen: report.map(|report| rfc3339(report.at_ms)),
        bytes_behind: report.and_then(|report| report.bytes_behind),
        oldest_unacknowledged_ms: report.and_then(|report| report.oldest_unacknowledged_ms),
    }
}
