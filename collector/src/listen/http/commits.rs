//! `POST /v1/commits`: the agents' frames, translated into items for `ingest` and back.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use skidway_record::SourceId;
use skidway_wire::access::Scope;
use skidway_wire::codec::{in_version, version_of};
use skidway_wire::{CommitAnswer, CommitRequest, Item, ItemResult, SpanKind};

use crate::access::Caller;
use crate::access::audit::Asked;
use crate::clock::now_ms;
use crate::ingest::agent::{AgentItem, Outcome};
use crate::ingest::fleet::Report;
use crate::listen::http::agents::{FRAMES, frame, read_frame};
use crate::listen::http::answers::Failure;
use crate::listen::http::door::Door;
use crate::listen::http::guard::may_add;
use crate::listen::http::openapi::problems::Refused;
use crate::log::{Advance, HandOver, Refusal, SessionRef, SourceChange};

/// Commits the items of an agent's request; each has its own result. Agents' own protocol.
#[utoipa::path(
    post, path = "/v1/commits", tag = "agents", request_body(content = Vec<u8>, content_type = FRAMES),
    responses(
        (status = 200, content_type = FRAMES, body = Vec<u8>, description = "A frame."),
        Refused<400>, Refused<409>, Refused<413>, Refused<415>, Refused<426>, Refused<507>
    )
)]
pub(super) async fn commit(
    State(door): State<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: axum::body::Body,
) -> Result<Response, Failure> {
    let body = read_frame(&door, &headers, body).await?;
    let request = CommitRequest::decode(body.bytes.clone())?;
    caller.is_agent(&request.agent)?;
    check_log(&door, &request)?;
    let now_ms = now_ms();
    let session = SessionRef { agent: request.agent.clone(), epoch: request.epoch };
    let denied: Vec<Option<ItemResult>> = request.items.iter().map(|item| denied(&door, &caller, item)).collect();
    let allowed = request.items.into_iter().zip(&denied).filter(|(_, denied)| denied.is_none());
    let items = allowed.map(|(item, _)| translate(item, now_ms)).collect::<Result<_, _>>()?;
    let mut outcomes = door.ingest.commit(session, items, now_ms).await?.into_iter().map(|outcome| {
        let result = result(outcome);
        // A batch that is none, such as one of a wrong checksum; the lines of a sound agent never are.
        if let ItemResult::Rejected { status, .. } = result
            && let Ok(status @ (400 | 413)) = u16::try_from(status)
        {
            note(&door, &caller, request.agent.to_string(), (status, "rejected-batch"));
        }
        result
    });
    let report = Report {
        at_ms: now_ms,
        bytes_behind: Some(request.bytes_behind),
        oldest_unacknowledged_ms: Some(request.oldest_unacknowledged_ms),
    };
    door.fleet.reported(&request.agent, report, Instant::now());
    let results = denied.into_iter().map(|denied| denied.or_else(|| outcomes.next()));
    let answer = CommitAnswer { results: results.map(|it| it.expect("each item has its outcome")).collect() };
    Ok(frame(in_version(answer.encode(), version_of(&body.bytes))))
}

/// Refuses a new source whose topic the agent may not ship to, and it alone: the agent keeps the file's lines and asks again. What a source's
/// topic is was decided when it was created. The answer is 200, so that it is written down here.
fn denied(door: &Door, caller: &Caller, item: &Item) -> Option<ItemResult> {
    let Item::Create(source) = item else { return None };
    let may = caller.may(Scope::Commit, source.topic.as_str());
    let denied = may.and_then(|()| may_add(door, caller, &source.topic)).err()?;
    let reason = denied.to_string();
    note(door, caller, source.topic.to_string(), (403, &Failure::from(denied).problem().kind));
    Some(ItemResult::Rejected { batch: None, status: 403, reason })
}

/// Writes down that an item was refused.
fn note(door: &Door, caller: &Caller, object: String, (status, reason): (u16, &str)) {
    let (who, reason) = (caller.who(), reason.to_owned());
    door.access.refused(Asked { who, action: "agents.commit", object, status, reason });
}

/// Makes sure that the agent means this log, and not one it was before a restore.
fn check_log(door: &Door, request: &CommitRequest) -> Result<(), Failure> {
    let log = door.log.identity();
    if (request.log_id, request.log_epoch) == (log.id, log.epoch) {
        return Ok(());
    }
    let (meant, epoch) = (request.log_id, request.log_epoch);
    let detail =
        format!("this is log {} of epoch {}, the commit is for log {meant} of epoch {epoch}", log.id, log.epoch);
    Err(Failure::new(409, "log-changed", detail).with("log_id", log.id.to_string()).with("log_epoch", log.epoch))
}

fn translate(item: Item, now_ms: i64) -> Result<AgentItem, Failure> {
    Ok(match item {
        Item::Create(source) => AgentItem::Change(SourceChange::Create(source)),
        Item::Rebind { source, physical, path } => AgentItem::Change(SourceChange::Rebind { source, physical, path }),
        Item::HandOver { from, position, carry, to } => {
            AgentItem::Change(SourceChange::HandOver(HandOver { from, position, carry, to }))
        }
        Item::Gone { source } => AgentItem::Change(SourceChange::Gone { source, at_ms: now_ms }),
        Item::Opened { input } => AgentItem::Opened(input),
        Item::Span { source, span, kind, expected_carry, carry, head, anchor, path, batches, dead } => {
            let advance = Advance { source, span, carry, head, anchor, path };
            match kind {
                SpanKind::Read => AgentItem::Span { advance, batches, dead, expected_carry },
                _ if !batches.is_empty() || !dead.is_empty() => return Err(unread_with_batches(source)),
                SpanKind::Skipped => AgentItem::Span { advance, batches, dead, expected_carry },
                SpanKind::Lost { reason, exact } => AgentItem::Lost { advance, reason, exact },
            }
        }
    })
}

fn unread_with_batches(source: SourceId) -> Failure {
    Failure::new(400, "malformed-frame", format!("a skipped or lost span of source {source} has batches"))
}

fn result(outcome: Outcome) -> ItemResult {
    match outcome {
        Outcome::Stored => ItemResult::Accepted,
        Outcome::Refused(Refusal::PositionMismatch { position, carry }) => ItemResult::Conflict { position, carry },
        Outcome::Refused(Refusal::UnknownSource) => ItemResult::UnknownSource,
        Outcome::Refused(Refusal::SourceExists { source_id }) => ItemResult::Exists { source: source_id },
        // Not the lines' fault, such as a topic that may not be created: the agent keeps them and asks again.
        Outcome::Refused(other) => ItemResult::Rejected { batch: None, status: 404, reason: other.to_string() },
        Outcome::Rejected { batch, too_large, reason } => {
            ItemResult::Rejected { batch, status: if too_large { 413 } else { 400 }, reason }
        }
    }
}
