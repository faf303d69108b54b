//! How errors look from outside: one place that maps each to a status, a stable kind and what to do (RFC 9457).

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, UPGRADE, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use skidway_wire::{Problem, WireError, problem};

use crate::access::quota::OverQuota;
use crate::access::{AccessError, Denied, NotIdentified};
use crate::groups::{GroupError, Shard};
use crate::ingest::IngestError;
use crate::keys::KeysError;
use crate::log::{Damage, LogError, Refusal};
use crate::read::ReadError;

/// Is a refusal on its way out.
#[derive(Debug, Clone)]
pub struct Failure {
    problem: Box<Problem>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Failure {
    /// Makes a failure of a stable kind.
    pub(super) fn new(status: u16, kind: &str, detail: impl Into<String>) -> Self {
        Self { problem: Box::new(Problem::new(status, kind, detail)), header: None }
    }

    /// Says that a query parameter is wrong.
    pub(super) fn parameter(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::new(400, "invalid-parameter", format!("{name}: {reason}")).with("parameter", name)
    }

    /// Says that a request header is wrong.
    pub(super) fn header(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::new(400, "invalid-header", format!("{name}: {reason}")).with("header", name)
    }

    /// Says that the body is of the wrong type.
    pub(super) fn media_type(detail: impl Into<String>) -> Self {
        Self::new(415, "unsupported-media-type", detail)
    }

    /// Says that records cannot be read any more: another try does not help, going on after them does.
    fn damaged(damage: &Damage) -> Self {
        let failure = Self::new(422, "damaged", damage.to_string());
        let Ok(Value::Object(members)) = serde_json::to_value(damage) else { return failure };
        members.into_iter().fold(failure, |failure, (name, value)| failure.with(&name, value))
    }

    /// Adds a member to the problem.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        *self.problem = self.problem.with(name, value);
        self
    }

    /// Says when to try again.
    pub(super) fn retry_after(mut self, delay: Duration) -> Self {
        self.header = Some((RETRY_AFTER, HeaderValue::from(delay.as_secs().max(1))));
        self
    }

    /// Says it in other words.
    pub(super) fn saying(mut self, detail: String) -> Self {
        self.problem.detail = detail;
        self
    }

    /// Gives the problem document.
    pub(super) fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(kind = self.problem.kind, status = status.as_u16(), "refused: {}", self.problem.detail);
        }
        let body = serde_json::to_vec(&self.problem).expect("a problem is plain JSON");
        let mut response = (status, [(CONTENT_TYPE, problem::MEDIA_TYPE)], body).into_response();
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response.extensions_mut().insert(ProblemKind(self.problem.kind));
        response
    }
}

/// Tells whoever hands a refusal on which kind it is of.
#[derive(Debug, Clone)]
pub(super) struct ProblemKind(pub(super) String);

/// Refuses a connection past `http.connections_max`.
pub fn too_many_connections() -> Failure {
    Failure::new(503, "too-many-connections", "the collector has as many connections as http.connections_max allows")
        .retry_after(Duration::from_secs(1))
}

/// Refuses a connection of an address that has as many as it may.
pub fn too_many_of_address() -> Failure {
    let detail = "there are as many connections of this address as http.connections_per_address_max allows";
    Failure::new(503, "too-many-connections", detail).retry_after(Duration::from_secs(1))
}

/// Refuses plain HTTP where TLS is spoken.
pub fn wants_tls() -> Failure {
    Failure::new(
        400,
        "tls-required",
        "this port speaks TLS, and plain HTTP was sent to it; use https:// in the address",
    )
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        let detail = error.to_string();
        match error {
            LogError::Refused(refusal) => refusal.into(),
            LogError::OutOfRange { .. } => Self::new(410, "offset-gone", detail),
            LogError::NotFound(_) => Self::new(404, "partition-not-found", detail),
            LogError::TooLarge { .. } => Self::new(413, "too-large", detail),
            LogError::NoSpace(_) => Self::new(507, "no-space", detail).retry_after(Duration::from_secs(5)),
            LogError::Damaged(damage) => Self::damaged(&damage),
            LogError::Closing => Self::new(503, "closing", detail).retry_after(Duration::from_secs(1)),
            LogError::Failed(_) => Self::new(500, "log-failed", detail),
        }
    }
}

/// A topic's producers are forgotten days after their last request: nobody should ask every second.
const PRODUCERS_RETRY: Duration = Duration::from_secs(60);

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::UnknownTopic(_) => Self::new(404, "topic-not-found", detail),
            Refusal::UnknownPartition { .. } => Self::new(400, "partition-not-found", detail),
            Refusal::FewerPartitions { have, .. } => {
                Self::new(409, "fewer-partitions", detail).with("partitions", have)
            }
            Refusal::PartitionCount(_) => Self::new(400, "partition-count", detail),
            Refusal::SequenceMismatch { expected } => {
                Self::new(409, "sequence-mismatch", detail).with("expected_seq", expected)
            }
            Refusal::ProducerFenced { current, .. } => {
                Self::new(403, "producer-fenced", detail).with("current_epoch", current)
            }
            Refusal::OffsetMismatch { current } => {
                Self::new(412, "offset-mismatch", detail).with("current_offset", current.0)
            }
            Refusal::BeyondEnd { current } => Self::new(400, "offset-beyond-end", detail)
                .with("parameter", "before_offset")
                .with("high_watermark", current.0),
            Refusal::TooManyProducers { .. } => {
                Self::new(429, "too-many-producers", detail).retry_after(PRODUCERS_RETRY)
            }
            Refusal::Pinned { from, .. } => Self::new(409, "pinned-by-sink", detail).with("from_offset", from.0),
            Refusal::Fenced { .. } => Self::new(409, "fenced", detail),
            Refusal::SessionSuperseded { current, .. } => {
                Self::new(409, "session-superseded", detail).with("current_epoch", current)
            }
            Refusal::PositionMismatch { .. } | Refusal::UnknownSource | Refusal::SourceExists { .. } => {
                Self::new(409, "source-conflict", detail)
            }
        }
    }
}

impl From<IngestError> for Failure {
    fn from(error: IngestError) -> Self {
        let detail = error.to_string();
        match error {
            IngestError::Log(error) => error.into(),
            IngestError::UnknownTopic(_) => Self::new(404, "topic-not-found", detail),
            IngestError::InternalTopic(_) => Self::new(403, "internal-topic", detail),
            IngestError::RecordTooLarge { index, .. } => {
                Self::new(413, "record-too-large", detail).with("record", index)
            }
            IngestError::UnknownPartition { index, .. } | IngestError::OtherPartition { index, .. } => {
                Self::new(400, "invalid-record", detail).with("record", index)
            }
            IngestError::KeyRequired { index } => Self::new(400, "key-required", detail).with("record", index),
            IngestError::Empty => Self::new(400, "empty-request", detail),
            IngestError::Fenced { current, .. } => Self::new(409, "fenced", detail).with("current_epoch", current),
            IngestError::AgentIdInUse { holder, asker, retry_after, .. } => Self::new(409, "agent-id-in-use", detail)
                .with("holder", holder)
                .with("asker", asker)
                .retry_after(retry_after),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let detail = error.to_string();
        match error {
            ReadError::UnknownTopic(_) => Self::new(404, "topic-not-found", detail),
            ReadError::UnknownPartition { .. } => {
                Self::new(404, "partition-not-found", detail).with("parameter", "partition")
            }
            ReadError::TooMany { .. } => Self::new(400, "too-many-partitions", detail).with("parameter", "topics"),
            ReadError::BadToken(_) => Self::parameter("from", detail),
            ReadError::Gone { earliest, .. } => Self::new(410, "offset-gone", detail).with("earliest", earliest),
            ReadError::PastEnd { high_watermark, .. } => {
                Self::parameter("offset", detail).with("high_watermark", high_watermark.0)
            }
            ReadError::Damaged { damage, next } => {
                let failure = Self::damaged(&damage);
                next.into_iter().fold(failure, |failure, next| failure.with("next", next))
            }
            ReadError::Log(error) => error.into(),
        }
    }
}

impl From<GroupError> for Failure {
    fn from(error: GroupError) -> Self {
        let detail = error.to_string();
        match error {
            GroupError::BadName { .. } => Self::new(400, "invalid-group", detail),
            GroupError::UnknownGroup(_) => Self::new(404, "group-not-found", detail),
            GroupError::MemberGone { member, .. } => Self::new(410, "member-gone", detail).with("member", member),
            GroupError::HasMembers { members, .. } => {
                Self::new(409, "group-has-members", detail).with("members", members as u64)
            }
            GroupError::Fenced { committed, refused } => {
                let committed: Vec<Value> = committed.iter().map(|(shard, at)| shown(shard, Some(at.0))).collect();
                let refused: Vec<Value> = refused.iter().map(|shard| shown(shard, None)).collect();
                Self::new(409, "fenced", detail).with("committed", committed).with("refused", refused)
            }
            GroupError::AlreadyCommitted { .. } => Self::new(409, "already-committed", detail),
            GroupError::Superseded(_) => Self::new(409, "superseded", detail),
            GroupError::StalePage { .. } => Self::new(409, "stale-page", detail),
            GroupError::BadToken(_) => Self::new(400, "invalid-token", detail),
            GroupError::OtherEpoch { now, .. } => Self::new(410, "epoch-gone", detail).with("log_epoch", now),
            GroupError::BeyondEnd { high_watermark, .. } => {
                Self::new(400, "offset-beyond-end", detail).with("high_watermark", high_watermark.0)
            }
            GroupError::UnknownTopic(_) => Self::new(404, "topic-not-found", detail),
            GroupError::UnknownPartition(_) => Self::new(404, "partition-not-found", detail),
            GroupError::TooMany { .. } => Self::new(429, "too-many", detail).retry_after(GROUPS_RETRY),
            GroupError::Log(error) => error.into(),
        }
    }
}

impl From<KeysError> for Failure {
    fn from(error: KeysError) -> Self {
        let (detail, soon) = (error.to_string(), Duration::from_secs(1));
        match error {
            KeysError::UnknownTopic(_) => Self::new(404, "topic-not-found", detail),
            KeysError::UnknownPartition(_) => {
                Self::new(404, "partition-not-found", detail).with("parameter", "partition")
            }
            KeysError::NoIndex(_) => Self::new(409, "no-key-index", detail),
            KeysError::Behind { behind, .. } => {
                Self::new(503, "key-index-behind", detail).with("behind", behind).retry_after(soon)
            }
            KeysError::OtherOffset { current } => {
                Self::new(412, "key-offset-mismatch", detail).with("current_offset", current.map(|(_, offset)| offset))
            }
            KeysError::Contended(_) => Self::new(503, "contended", detail).retry_after(soon),
            KeysError::BadPlace(_) => Self::parameter("from", detail),
            KeysError::TooManyKeys { keys, .. } => Self::new(413, "table-too-large", detail).with("keys", keys),
            KeysError::Busy => Self::new(429, "tables-busy", detail).retry_after(soon),
            KeysError::Full => Self::new(503, "busy", detail).retry_after(soon),
            KeysError::Log(error) => error.into(),
            KeysError::Store(_) => Self::new(503, "key-index-broken", detail).retry_after(soon),
        }
    }
}

/// Retention makes room now and then.
const STORAGE_RETRY: Duration = Duration::from_secs(30);

impl From<NotIdentified> for Failure {
    /// Says the same of a token that is not known, is over, or has another secret.
    fn from(error: NotIdentified) -> Self {
        let mut failure = match error {
            NotIdentified::NoToken => {
                let detail = "this collector asks for a token: Authorization: Bearer sk1_...; `skidway --token-file FILE` sends one";
                Self::new(401, "token-required", detail)
            }
            _ => Self::new(401, "token-not-valid", "the token is not valid: not known, revoked, or its time is over"),
        };
        failure.header = Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"skidway\"")));
        failure
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        let detail = denied.to_string();
        match denied {
            Denied::Scope { scope, object, .. } => {
                let failure = Self::new(403, "missing-scope", detail).with("scope", scope.name());
                if object.is_empty() { failure } else { failure.with("on", object) }
            }
            Denied::Kind(_) => Self::new(403, "wrong-kind-of-token", detail),
            Denied::OtherAgent { .. } => Self::new(403, "other-agent", detail),
            Denied::OverQuota(OverQuota::Requests(wait) | OverQuota::Bytes(wait)) => {
                Self::new(429, "over-quota", detail).retry_after(wait + Duration::from_millis(999))
            }
            Denied::OverQuota(OverQuota::Storage { max }) => {
                Self::new(507, "storage-quota", detail).with("storage_bytes", max).retry_after(STORAGE_RETRY)
            }
            Denied::OverQuota(OverQuota::Topics { max }) => Self::new(403, "topic-quota", detail).with("topics", max),
        }
    }
}

impl From<AccessError> for Failure {
    fn from(error: AccessError) -> Self {
        let detail = error.to_string();
        match error {
            AccessError::Open => Self::new(409, "access-is-open", detail),
            AccessError::Invalid { member, .. } => {
                Self::new(400, "invalid-token-request", detail).with("member", member)
            }
            AccessError::UnknownToken(_) => Self::new(404, "token-not-found", detail),
            AccessError::OfFile(_) => Self::new(409, "token-of-file", detail),
            AccessError::TooMany { .. } => Self::new(409, "too-many-tokens", detail),
            AccessError::UsedUp => Self::new(403, "join-token-used-up", detail),
            AccessError::AgentEnrolled { .. } => Self::new(409, "agent-enrolled", detail),
            AccessError::Log(error) => error.into(),
        }
    }
}

/// Room comes when someone leaves, or something is deleted or expires.
const GROUPS_RETRY: Duration = Duration::from_secs(10);

fn shown(shard: &Shard, offset: Option<u64>) -> Value {
    let mut shown = serde_json::json!({ "topic": shard.topic.as_str(), "partition": shard.partition.0 });
    if let (Some(offset), Some(members)) = (offset, shown.as_object_mut()) {
        members.insert("offset".to_owned(), offset.into());
    }
    shown
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        let detail = error.to_string();
        match error {
            WireError::Version { supported, .. } => {
                let mut failure = Self::new(426, "unsupported-version", detail).with("supported", supported);
                failure.header = Some((UPGRADE, HeaderValue::from_static("skidway/1")));
                failure
            }
            _ => Self::new(400, "malformed-frame", detail),
        }
    }
}
