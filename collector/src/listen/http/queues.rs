//! Queues over HTTP (docs/queues.md): put, show, delete; receive, ack, nack, extend, redrive.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::BytesMut;
use serde::de::DeserializeOwned;
use skidway_record::{Offset, TopicName};
use skidway_wire::queues::{
    AckRequest, ExtendRequest, NackRequest, QueueChange, QueueDescription, QueueList, ReceiveRequest, RedriveRequest,
    Redriven, SettleResult, Settlement, Settlements,
};

use skidway_wire::access::Scope;

use crate::access::Caller;
use crate::clock::now_ms;
use crate::json::rfc3339;
use crate::listen::http::answers::Failure;
use crate::listen::http::body;
use crate::listen::http::door::{Door, Peer};
use crate::listen::http::guard::may_add;
use crate::listen::http::openapi::problems::Refused;
use crate::listen::http::openapi::reading::Received;
use crate::listen::http::path::{QueueParam, QueuePath};
use crate::listen::http::query::Query;
use crate::metrics;
use crate::queues::settings::{BACKOFF, LEASE, duration, invalid};
use crate::queues::{How, Message, QueueError, Receipt, Receive, Redrive};

/// Default and greatest number of records of one answer.
const MAX: (u32, u32) = (1, 1_000);

/// Default and greatest number of bytes of one answer, about.
const BYTES: (u64, u64) = (1 << 20, 16 << 20);

/// How long an empty answer may wait: proxies cut what is silent for longer.
const WAIT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(300);

/// Bounds the receipts of one request.
const RECEIPTS_MAX: usize = 10_000;

/// Bounds `consumer`, in bytes.
const CONSUMER_BYTES_MAX: usize = 128;

/// Bounds `reason`, in bytes.
const REASON_BYTES_MAX: usize = 1_024;

/// Default and greatest number of dead letters brought back at once.
const REDRIVE_MAX: (u64, u64) = (1_000, 10_000);

/// Bounds the offsets that a redrive may name.
const OFFSETS_MAX: usize = 1_000;

/// Lists the queues and how they stand; to a token those whose names and topics it may consume.
#[utoipa::path(get, path = "/v1/queues", tag = "queues", responses((status = 200, body = QueueList), Refused<400>))]
pub(super) async fn list(
    State(door): State<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<QueueList>, Failure> {
    Query::of(&uri)?.finish()?;
    let mut queues = door.queues.list().await?;
    let may = |name: &str| caller.may(Scope::Consume, name).is_ok();
    queues.retain(|queue| may(&queue.name) && may(&queue.settings.topic));
    queues.iter_mut().for_each(|queue| hide_dead_letters(&caller, queue));
    Ok(Json(QueueList { queues }))
}

/// Shows a queue.
#[utoipa::path(
    get, path = "/v1/queues/{queue}", tag = "queues", params(QueueParam),
    responses((status = 200, body = QueueDescription), Refused<400>, Refused<404>)
)]
pub(super) async fn show(
    State(door): State<Arc<Door>>,
    QueuePath(name): QueuePath,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<QueueDescription>, Failure> {
    Query::of(&uri)?.finish()?;
    let mut queue = door.queues.show(name).await?;
    hide_dead_letters(&caller, &mut queue);
    Ok(Json(queue))
}

/// Does not name the topic of dead letters to a caller who may do nothing with it: an administrator may have attached any.
fn hide_dead_letters(caller: &Caller, queue: &mut QueueDescription) {
    let topic = queue.settings.dead_letter_topic.as_deref().and_then(|name| TopicName::new(name).ok());
    if topic.is_none_or(|topic| !caller.sees(&topic)) {
        queue.settings.dead_letter_topic = None;
    }
}

/// Creates a queue over a topic, or changes it.
#[utoipa::path(
    put, path = "/v1/queues/{queue}", tag = "queues", params(QueueParam), request_body = Option<QueueChange>,
    responses((status = 200, body = QueueDescription, description = "It was there."), (status = 201, body = QueueDescription, description = "It was created."), Refused<400>, Refused<403>, Refused<409>, Refused<413>, Refused<415>, Refused<507>)
)]
pub(super) async fn put(
    State(door): State<Arc<Door>>,
    QueuePath(name): QueuePath,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<QueueDescription>), Failure> {
    let change: QueueChange = request(&door, &uri, &headers, body).await?;
    let topic = change.topic.as_deref().unwrap_or(name.as_str());
    caller.may(Scope::Consume, topic)?;
    if let Some(dead_letters) = &change.dead_letter_topic {
        caller.may(Scope::Produce, dead_letters)?;
    }
    if let Ok(topic) = TopicName::new(topic) {
        may_add(&door, &caller, &topic)?;
    }
    let (created, mut description) = door.queues.put(name, change).await?;
    hide_dead_letters(&caller, &mut description);
    Ok((if created { StatusCode::CREATED } else { StatusCode::OK }, Json(description)))
}

/// Deletes a queue; its topics stay.
#[utoipa::path(
    delete, path = "/v1/queues/{queue}", tag = "queues", params(QueueParam),
    responses((status = 204, description = "It is gone; its topics stay."), Refused<400>, Refused<404>)
)]
pub(super) async fn delete(
    State(door): State<Arc<Door>>,
    QueuePath(name): QueuePath,
    uri: Uri,
) -> Result<StatusCode, Failure> {
    Query::of(&uri)?.finish()?;
    door.queues.delete(name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Receives records: nobody else gets them until their leases end.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/receive", tag = "queues", params(QueueParam), request_body = Option<ReceiveRequest>,
    responses((status = 200, body = Received), Refused<400>, Refused<404>, Refused<413>, Refused<415>, Refused<429>)
)]
pub(super) async fn receive(
    State(door): State<Arc<Door>>,
    QueuePath(name): QueuePath,
    peer: Option<Extension<Peer>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let asked: ReceiveRequest = request(&door, &uri, &headers, body).await?;
    let consumer = match asked.consumer {
        Some(name) if name.is_empty() || name.len() > CONSUMER_BYTES_MAX => {
            return Err(invalid("consumer", "1 to 128 bytes").into());
        }
        Some(name) => name,
        None => peer.map(|Extension(Peer(address))| address.ip().to_string()).unwrap_or_default(),
    };
    let wait_ms = asked.wait.map_or(Ok(0), |wait| duration("wait", &wait, WAIT))?;
    let receive = Receive {
        max: within("max", asked.max.map(u64::from), (MAX.0.into(), MAX.1.into()))? as usize,
        deadline: now_ms() + wait_ms as i64,
        lease_ms: asked.lease.map(|lease| duration("lease", &lease, LEASE)).transpose()?,
        bytes_max: within("max_bytes", asked.max_bytes, BYTES)? as usize,
        consumer,
    };
    let messages = door.queues.receive(name, receive).await?;
    let shown = show_messages(&messages);
    metrics::sent("queue", shown.len());
    Ok(([(CONTENT_TYPE, "application/json")], shown.freeze()).into_response())
}

/// Finishes records that were received.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/ack", tag = "queues", params(QueueParam), request_body = AckRequest,
    responses((status = 200, body = Settlements), Refused<400>, Refused<404>, Refused<409>, Refused<413>, Refused<415>)
)]
pub(super) async fn ack(
    State(door): State<Arc<Door>>,
    QueuePath(name): QueuePath,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Settlements>, Failure> {
    let asked: AckRequest = request(&door, &uri, &headers, body).await?;
    settle(&door, name, asked.receipts, How::Ack).await
}

/// Gives records back, to be received again after a while or to go to the dead letters.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/nack", tag = "queues", params(QueueParam), request_body = NackRequest,
    responses((status = 200, body = Settlements), Refused<400>, Refused<404>, Refused<409>, Refused<413>, Refused<415>)
)]
pub(super) async fn nack(
    State(door): State<Arc<Door>>,
    QueuePath(name): QueuePath,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Settlements>, Failure> {
    let asked: NackRequest = request(&door, &uri, &headers, body).await?;
    let delay_ms = asked.delay.map(|delay| duration("delay", &delay, BACKOFF)).transpose()?;
    let reason = asked.reason.unwrap_or_else(|| "given back".to_owned());
    if reason.len() > REASON_BYTES_MAX {
        return Err(invalid("reason", "at most 1024 bytes").into());
    }
    settle(&door, name, asked.receipts, How::Nack { delay_ms, dead: asked.dead, reason }).await
}

/// Keeps records longer.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/extend", tag = "queues", params(QueueParam), request_body = ExtendRequest,
    responses((status = 200, body = Settlements), Refused<400>, Refused<404>, Refused<409>, Refused<413>, Refused<415>)
)]
pub(super) async fn extend(
    State(door): State<Arc<Door>>,
    QueuePath(name): QueuePath,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Settlements>, Failure> {
    let asked: ExtendRequest = request(&door, &uri, &headers, body).await?;
    let lease_ms = asked.lease.map(|lease| duration("lease", &lease, LEASE)).transpose()?;
    settle(&door, name, asked.receipts, How::Extend { lease_ms }).await
}

/// Brings dead letters back.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/redrive", tag = "queues", params(QueueParam), request_body = Option<RedriveRequest>,
    responses((status = 200, body = Redriven), Refused<400>, Refused<404>, Refused<413>, Refused<415>)
)]
pub(super) async fn redrive(
    State(door): State<Arc<Door>>,
    QueuePath(name): QueuePath,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Redriven>, Failure> {
    let asked: RedriveRequest = request(&door, &uri, &headers, body).await?;
    let mut offsets = asked.offsets;
    if offsets.as_ref().is_some_and(|offsets| offsets.len() > OFFSETS_MAX) {
        return Err(invalid("offsets", format_args!("at most {OFFSETS_MAX}")).into());
    }
    offsets.as_mut().into_iter().for_each(|offsets| offsets.sort_unstable());
    let offsets = offsets.map(|offsets| offsets.into_iter().map(Offset).collect());
    let max = within("max", asked.max, REDRIVE_MAX)?;
    let (redriven, dead_letters) = door.queues.redrive(name, Redrive { max, offsets }).await?;
    Ok(Json(Redriven { redriven, dead_letters }))
}

/// Settles receipts. 409 if nobody has any of them any more, else what became of each.
async fn settle(door: &Door, name: TopicName, texts: Vec<String>, how: How) -> Result<Json<Settlements>, Failure> {
    if texts.is_empty() || texts.len() > RECEIPTS_MAX {
        return Err(invalid("receipts", format_args!("1 to {RECEIPTS_MAX}")).into());
    }
    let read = |(index, text): (usize, &String)| {
        Receipt::decode(text).ok_or_else(|| QueueError::InvalidReceipt { index, queue: name.clone() })
    };
    let receipts = texts.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    let results = door.queues.settle(name, receipts, how).await?;
    let all_lost = results.iter().all(|result| *result == SettleResult::LeaseExpired);
    let shown = |(receipt, result)| Settlement { receipt, result };
    let settlements = Settlements { results: texts.into_iter().zip(results).map(shown).collect() };
    match all_lost {
        true => Err(Failure::lease_expired(&settlements)),
        false => Ok(Json(settlements)),
    }
}

/// Reads the body of a request: a JSON object, `{}` if there is none.
async fn request<T: DeserializeOwned + Default>(
    door: &Door,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Failure> {
    let body = body::read(door, headers, body).await?;
    Query::of(uri)?.finish()?;
    let instead = "a queue is asked in application/json";
    let wrong = |error: serde_json::Error| Failure::new(400, "invalid-queue-request", error.to_string());
    match &body.bytes[..] {
        b"" => body::must_be_json(headers, instead).map(|()| T::default()),
        text => body::object(text, headers, instead, wrong),
    }
}

fn within(member: &'static str, asked: Option<u64>, (default, max): (u64, u64)) -> Result<u64, QueueError> {
    match asked.unwrap_or(default) {
        number if (1..=max).contains(&number) => Ok(number),
        _ => Err(invalid(member, format_args!("1 to {max}"))),
    }
}

/// Writes `{"messages":[…]}`: each a record, with what is known of its delivery before it.
fn show_messages(messages: &[Message]) -> BytesMut {
    let bytes: usize = messages.iter().map(|message| message.json.len() + 160).sum();
    let mut out = BytesMut::with_capacity(bytes + 16);
    out.extend_from_slice(b"{\"messages\":[");
    for (index, message) in messages.iter().enumerate() {
        let (receipt, deliveries) = (message.receipt.encode(), message.receipt.delivery.number);
        let until = rfc3339(message.until);
        let comma = if index == 0 { "" } else { "," };
        let opening =
            format!("{comma}{{\"receipt\":\"{receipt}\",\"deliveries\":{deliveries},\"lease_until\":\"{until}\",");
        out.extend_from_slice(opening.as_bytes());
        out.extend_from_slice(&message.json);
    }
    out.extend_from_slice(b"]}");
    out
}
