//! Tokens over HTTP: list, make, revoke, and those that agents enrol with. For administrators; a secret is in one answer and never again.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use skidway_daemon::config::parse_duration;
use skidway_record::AgentId;
use skidway_wire::access::{Grant, JoinRequest, Quotas, Scope, TokenList, TokenMade, TokenRequest, TokenSummary};

use crate::access::AccessError;
use crate::access::grants::{ALL, Grants, check_patterns};
use crate::access::registry::invalid;
use crate::access::token::{Kind, Token};
use crate::clock::now_ms;
use crate::listen::http::answers::Failure;
use crate::listen::http::body;
use crate::listen::http::door::Door;
use crate::listen::http::guard::About;
use crate::listen::http::openapi::problems::Refused;
use crate::listen::http::path::UrlPath;
use crate::listen::http::query::Query;

/// Bounds a token's name, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Bounds the life of a token: ten years. What should live longer has no end.
const EXPIRES_MAX: Duration = Duration::from_secs(3650 * 86_400);

/// Default and greatest number of agents that enrol with one token.
const USES: (u32, u32) = (1, 10_000);

/// Default and greatest life of a join token.
const JOIN_EXPIRES: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(30 * 86_400));

/// Lists the tokens, without their secrets.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", responses((status = 200, body = TokenList), Refused<400>))]
pub(super) async fn list(State(door): State<Arc<Door>>, uri: Uri) -> Result<Json<TokenList>, Failure> {
    Query::of(&uri)?.finish()?;
    Ok(Json(TokenList { tokens: door.access.list() }))
}

/// Makes a token. The answer has its secret, which is shown nowhere else.
#[utoipa::path(
    post, path = "/v1/tokens", tag = "tokens", request_body = TokenRequest,
    responses((status = 201, body = TokenMade), Refused<400>, Refused<409>, Refused<413>, Refused<415>, Refused<507>)
)]
pub(super) async fn make(
    State(door): State<Arc<Door>>,
    uri: Uri,
    headers: HeaderMap,
    body: axum::body::Body,
) -> Result<Response, Failure> {
    let asked: TokenRequest = request(&door, &uri, &headers, body).await?;
    let (name, now_ms) = (name(asked.name)?, now_ms());
    let expires = asked.expires.map(|text| expires(&text, EXPIRES_MAX)).transpose()?;
    let grants = Grants::checked(asked.grants).map_err(|reason| invalid("grants", reason))?;
    match (&asked.agent, grants.has(Scope::Commit)) {
        (None, true) => return Err(invalid("agent", "commit is for one agent: say which").into()),
        (Some(_), false) => return Err(invalid("agent", "only with the scope commit").into()),
        _ => {}
    }
    if let Some(agent) = &asked.agent {
        AgentId::new(agent).map_err(|error| invalid("agent", error.to_string()))?;
    }
    check_quotas(asked.quotas)?;
    let token = |sha256| Token {
        name,
        kind: Kind::Token,
        sha256,
        grants: grants.list().to_vec(),
        agent: asked.agent,
        created_ms: now_ms,
        expires_ms: expires.map(|after| now_ms + after),
        uses_left: None,
        joined_by: None,
        quotas: asked.quotas,
    };
    made(&door, token).await
}

/// Makes a token with which agents enrol, and nothing else can be done.
#[utoipa::path(
    post, path = "/v1/tokens/join", tag = "tokens", request_body = Option<JoinRequest>,
    responses((status = 201, body = TokenMade), Refused<400>, Refused<409>, Refused<413>, Refused<415>, Refused<507>)
)]
pub(super) async fn join(
    State(door): State<Arc<Door>>,
    uri: Uri,
    headers: HeaderMap,
    body: axum::body::Body,
) -> Result<Response, Failure> {
    let asked: JoinRequest = request(&door, &uri, &headers, body).await?;
    let (name, now_ms) = (name(asked.name.unwrap_or_else(|| "join".to_owned()))?, now_ms());
    let after = match asked.expires {
        Some(text) => expires(&text, JOIN_EXPIRES.1)?,
        None => JOIN_EXPIRES.0.as_millis() as i64,
    };
    let uses = asked.uses.unwrap_or(USES.0);
    if !(1..=USES.1).contains(&uses) {
        return Err(invalid("uses", format!("1 to {}", USES.1)).into());
    }
    let agents = asked.agents.unwrap_or_else(|| ALL.to_owned());
    if !agents.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-*?".contains(&byte)) || agents.is_empty() {
        return Err(invalid("agents", "a pattern of agents' ids, such as web-*").into());
    }
    let topics = asked.topics.unwrap_or_else(|| vec![ALL.to_owned()]);
    check_patterns(&topics).map_err(|reason| invalid("topics", reason))?;
    check_quotas(asked.quotas)?;
    let token = |sha256| Token {
        name,
        kind: Kind::Join,
        sha256,
        grants: vec![Grant { scope: Scope::Commit, topics }],
        agent: Some(agents),
        created_ms: now_ms,
        expires_ms: Some(now_ms + after),
        uses_left: Some(uses),
        joined_by: None,
        quotas: asked.quotas,
    };
    made(&door, token).await
}

/// Revokes a token: whoever holds it is not let in any more, and what it has open ends.
#[utoipa::path(
    delete, path = "/v1/tokens/{id}", tag = "tokens", params(("id" = String, Path, description = "Its public part, 16 hex digits")),
    responses((status = 200, body = TokenSummary, description = "It was this one."), Refused<400>, Refused<404>, Refused<409>, Refused<507>)
)]
pub(super) async fn revoke(
    State(door): State<Arc<Door>>,
    UrlPath(id): UrlPath<String>,
    uri: Uri,
) -> Result<Json<TokenSummary>, Failure> {
    Query::of(&uri)?.finish()?;
    Ok(Json(door.access.revoke(&id).await?))
}

async fn made(door: &Door, token: impl FnOnce([u8; 32]) -> Token) -> Result<Response, Failure> {
    let (token, summary) = door.access.make(token).await?;
    let about = About(summary.id.clone());
    let made = TokenMade { token: token.reveal(), summary };
    let mut response = (StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], Json(made)).into_response();
    response.extensions_mut().insert(about);
    Ok(response)
}

/// Reads the body of a request: a JSON object, `{}` if there is none.
pub(super) async fn request<T: DeserializeOwned>(
    door: &Door,
    uri: &Uri,
    headers: &HeaderMap,
    body: axum::body::Body,
) -> Result<T, Failure> {
    let body = body::read(door, headers, body).await?;
    Query::of(uri)?.finish()?;
    let text = if body.bytes.is_empty() { b"{}" } else { &body.bytes[..] };
    // What is wrong is said without what was sent: it may be a secret.
    let wrong = |error: serde_json::Error| {
        let reason = if error.is_data() { "a member is missing, not known, or of another type" } else { "not JSON" };
        Failure::new(
            400,
            "invalid-token-request",
            format!("line {}, column {}: {reason}", error.line(), error.column()),
        )
    };
    body::object(text, headers, "tokens are asked for in application/json", wrong)
}

fn name(name: String) -> Result<String, AccessError> {
    match (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control) {
        true => Ok(name),
        false => Err(invalid("name", format!("1 to {NAME_BYTES_MAX} bytes, no control characters"))),
    }
}

fn expires(text: &str, max: Duration) -> Result<i64, AccessError> {
    let after = parse_duration(text).filter(|after| !after.is_zero() && *after <= max);
    let days = max.as_secs() / 86_400;
    after
        .map(|after| after.as_millis() as i64)
        .ok_or_else(|| invalid("expires", format!("a duration such as 90d, at most {days}d")))
}

fn check_quotas(quotas: Quotas) -> Result<(), AccessError> {
    let all = [quotas.requests_per_second, quotas.bytes_per_second, quotas.storage_bytes, quotas.topics];
    match all.contains(&Some(0)) {
        true => Err(invalid("quotas", "at least 1; leave out what is not bounded")),
        false => Ok(()),
    }
}
