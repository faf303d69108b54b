//! The level of the collector's own log over HTTP: shown, set, set back. For administrators.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use skidway_daemon::log_level::{self, LogLevelError};
use skidway_wire::http::{LogLevel, LogLevelRequest};

use crate::listen::http::answers::Failure;
use crate::listen::http::body;
use crate::listen::http::door::Door;
use crate::listen::http::openapi::problems::Refused;
use crate::listen::http::query::Query;

type Answer = Result<Json<LogLevel>, Failure>;

/// Says which lines the collector logs.
#[utoipa::path(get, path = "/v1/log-level", tag = "health", responses((status = 200, body = LogLevel), Refused<400>, Refused<503>))]
pub(super) async fn show(uri: Uri) -> Answer {
    Query::of(&uri)?.finish()?;
    answer(log_level::current())
}

/// Has the collector log other lines from now on: until it ends, or for a while.
#[utoipa::path(
    put, path = "/v1/log-level", tag = "health", request_body = LogLevelRequest,
    responses((status = 200, body = LogLevel), Refused<400>, Refused<413>, Refused<415>, Refused<503>)
)]
pub(super) async fn set(State(door): State<Arc<Door>>, uri: Uri, headers: HeaderMap, body: axum::body::Body) -> Answer {
    let body = body::read(&door, &headers, body).await?;
    Query::of(&uri)?.finish()?;
    let wrong = |error: serde_json::Error| invalid(error.to_string());
    let asked: LogLevelRequest = body::object(&body.bytes, &headers, "a log level is application/json", wrong)?;
    answer(log_level::set(&asked.level, asked.lent.as_deref()))
}

/// Has the collector log the lines of its configuration again.
#[utoipa::path(delete, path = "/v1/log-level", tag = "health", responses((status = 200, body = LogLevel), Refused<400>, Refused<503>))]
pub(super) async fn reset(uri: Uri) -> Answer {
    Query::of(&uri)?.finish()?;
    answer(log_level::reset())
}

fn answer(level: Result<log_level::LogLevel, LogLevelError>) -> Answer {
    match level {
        Ok(log_level::LogLevel { level, configured, ends_in_seconds }) => {
            Ok(Json(LogLevel { level, configured, ends_in_seconds }))
        }
        Err(error @ LogLevelError::NotOurs) => Err(Failure::new(503, "log-level-unchangeable", error.to_string())),
        Err(error) => Err(invalid(error.to_string())),
    }
}

fn invalid(reason: String) -> Failure {
    Failure::new(400, "invalid-log-level", reason)
}
