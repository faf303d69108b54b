//! `POST /v1/agents/{agent}/enrol`: an agent shows a join token and says what its own credential will be.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::{Extension, Json};
use skidway_wire::access::{EnrolRequest, Enrolled, TokenId};

use crate::access::grants::covers;
use crate::access::registry::invalid;
use crate::access::token::hash_of;
use crate::access::{AccessError, Caller, Denied};
use crate::listen::http::answers::Failure;
use crate::listen::http::door::Door;
use crate::listen::http::openapi::problems::Refused;
use crate::listen::http::path::AgentPath;
use crate::listen::http::tokens::request;

/// Enrols an agent, whose credential is known by the hash of its secret from then on. The same request again is answered the same.
#[utoipa::path(
    post, path = "/v1/agents/{agent}/enrol", tag = "agents", params(("agent" = String, Path, description = "The agent's id")), request_body = EnrolRequest,
    responses((status = 200, body = Enrolled), Refused<400>, Refused<409>, Refused<413>, Refused<415>, Refused<507>)
)]
pub(super) async fn enrol(
    State(door): State<Arc<Door>>,
    AgentPath(agent): AgentPath,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
    body: axum::body::Body,
) -> Result<Json<Enrolled>, Failure> {
    let asked: EnrolRequest = request(&door, &uri, &headers, body).await?;
    let id: TokenId = asked.id.parse().map_err(|_| invalid("id", "16 hex digits"))?;
    let sha256 = hash_of(&asked.sha256).ok_or_else(|| invalid("sha256", "64 hex digits"))?;
    let join = caller.held().ok_or(AccessError::Open)?;
    let pattern = join.token.agent.as_deref().unwrap_or_default();
    if !covers(pattern.as_bytes(), agent.as_str().as_bytes()) {
        return Err(Denied::OtherAgent { asked: agent.to_string(), own: format!("those that match {pattern}") }.into());
    }
    door.access.enrol(join, agent.as_str(), (id, sha256)).await?;
    tracing::info!(%agent, credential = %id, "an agent has enrolled");
    Ok(Json(Enrolled { agent: agent.to_string(), id: id.to_string() }))
}
