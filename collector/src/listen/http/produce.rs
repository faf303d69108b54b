//! `POST /v1/topics/{t}/records` and `/v1/queues/{q}/send`: a request's records become one commit.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::{Extension, Json};
use bytes::Bytes;
use skidway_record::{Batch, Offset, TopicName};
use skidway_wire::access::Scope;
use skidway_wire::http::{Produced, ProducedOffsets};

use crate::access::Caller;
use crate::blocking::blocking;
use crate::clock::now_ms;
use crate::ingest::encoder::Encoder;
use crate::ingest::produce::{Conditions, Producer, Run};
use crate::listen::http::answers::Failure;
use crate::listen::http::body::{self, media_type};
use crate::listen::http::conditional;
use crate::listen::http::door::Door;
use crate::listen::http::openapi::problems::Refused;
use crate::listen::http::openapi::reading::ProduceBody;
use crate::listen::http::output;
use crate::listen::http::path::{QueueParam, QueuePath, TopicParam, TopicPath};
use crate::listen::http::produce_body::Format;
use crate::listen::http::query::Query;
use crate::log::Topic;
use crate::queues::records::DELIVER_AT;

/// Encodes up to this many bytes of body without leaving the runtime: well under a millisecond of work.
pub(super) const INLINE_BYTES: usize = 32 << 10;

/// Bounds how long records sent to a queue wait.
const DELAY_MAX: Duration = Duration::from_secs(7 * 86_400);

/// Bounds `Producer-Id`, in bytes.
const PRODUCER_ID_BYTES_MAX: usize = 128;

/// Is a request's records: batches with their partitions, and how many records they are.
pub(super) type Encoded = (Vec<(u32, Batch)>, u64);

/// Stores the request's records, whole or not at all.
#[utoipa::path(
    post, path = "/v1/topics/{topic}/records", tag = "records",
    params(
        TopicParam,
        ("partition" = Option<u32>, Query, description = "Where all go that name none"),
        ("Producer-Id" = Option<String>, Header, description = "Makes the request idempotent, with the next two", max_length = 128),
        ("Producer-Epoch" = Option<u64>, Header, description = "Fences older ones"),
        ("Producer-Seq" = Option<u64>, Header, description = "Number of the request's first record, from 0 in each epoch"),
        ("Expected-Offset" = Option<u64>, Header, description = "The next offset that `partition` must have"),
        ("Commit-Group" = Option<String>, Header, description = "Commits `Commit-Token` for this group together with the records"),
        ("Commit-Token" = Option<String>, Header, description = "The token of a group's records that these were made of")
    ),
    request_body(content((ProduceBody = "application/json"), (String = "application/x-ndjson"), (String = "text/plain"))),
    responses(
        (status = 200, body = Produced), Refused<400>, Refused<403>, Refused<404>, Refused<409>, Refused<410>, Refused<412>,
        Refused<413>, Refused<415>, Refused<429>, Refused<507>
    )
)]
pub(super) async fn produce(
    State(door): State<Arc<Door>>,
    TopicPath(name): TopicPath,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
    body: axum::body::Body,
) -> Result<Json<Produced>, Failure> {
    let body = body::read(&door, &headers, body).await?;
    let mut query = Query::of(&uri)?;
    let partition = query.parsed::<u32>("partition")?;
    query.finish()?;
    let format = Format::of(&media_type(&headers))?;
    let conditions = conditions(&headers, partition)?;
    let expected = conditional::expected(&headers)?;
    if let Some(consumed) = output::consumed(&headers)? {
        caller.may(Scope::Consume, consumed.group())?;
        consumed.check(&conditions, expected.as_ref())?;
        return output::store(&door, &name, consumed, (format, &body.bytes), (partition, conditions)).await;
    }
    if let Some(expected) = expected {
        let (expected, body) = ((expected, conditions), (format, &body.bytes));
        return conditional::store(&door, &name, expected, body, (partition, now_ms())).await;
    }
    store(&door, &name, (format, &body.bytes), (partition, conditions), None).await
}

/// Sends records to a queue's topic; with `delay` they can be received after it.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/send", tag = "queues",
    params(QueueParam, ("delay" = Option<String>, Query, description = "Such as `5s`; 7 days at most", pattern = "^\\s*[0-9]+\\s*(ms|s|m|h|d)\\s*$")),
    request_body(content((ProduceBody = "application/json"), (String = "application/x-ndjson"), (String = "text/plain"))),
    responses((status = 200, body = Produced), Refused<400>, Refused<404>, Refused<413>, Refused<415>, Refused<507>)
)]
pub(super) async fn send(
    State(door): State<Arc<Door>>,
    QueuePath(queue): QueuePath,
    uri: Uri,
    headers: HeaderMap,
    body: axum::body::Body,
) -> Result<Json<Produced>, Failure> {
    let body = body::read(&door, &headers, body).await?;
    let mut query = Query::of(&uri)?;
    let delay = query.duration("delay", DELAY_MAX)?;
    query.finish()?;
    let format = Format::of(&media_type(&headers))?;
    let conditions = conditions(&headers, None)?;
    let name = door.queues.topic_of(queue).await?;
    let deliver_at = delay.map(|delay| (now_ms() + delay.as_millis() as i64).to_string().into_bytes());
    store(&door, &name, (format, &body.bytes), (None, conditions), deliver_at).await
}

/// Stores records; each gets a header that says when it may be received, if that is given.
async fn store(
    door: &Door,
    name: &TopicName,
    (format, body): (Format, &Bytes),
    (partition, conditions): (Option<u32>, Conditions),
    deliver_at: Option<Vec<u8>>,
) -> Result<Json<Produced>, Failure> {
    let now_ms = now_ms();
    let (topic, encoded) = prepare(door, name, (format, body), (partition, now_ms), deliver_at).await?;
    let _turn = door.keys.take_turn(&topic, encoded.0.iter().map(|(partition, _)| *partition)).await;
    let runs = door.ingest.store(name, encoded, conditions, now_ms).await?;
    Ok(Json(shown(&runs)))
}

/// Encodes a request's records for their topic, which is created if need be once the request is known to be well-formed.
pub(super) async fn prepare(
    door: &Door,
    name: &TopicName,
    (format, body): (Format, &Bytes),
    (partition, now_ms): (Option<u32>, i64),
    deliver_at: Option<Vec<u8>>,
) -> Result<(Topic, Encoded), Failure> {
    let topic = match door.ingest.topic(name)? {
        Some(topic) => topic,
        None => {
            check(format, body).await?;
            door.ingest.create(name).await?
        }
    };
    let encoder = door.ingest.encoder(&topic, partition, now_ms);
    let encoded = encode(format, body, encoder, deliver_at).await?;
    Ok((topic, encoded))
}

/// Tells where records went.
pub(super) fn shown(runs: &[Run]) -> Produced {
    let shown =
        |run: &Run| ProducedOffsets { partition: run.partition.0, base_offset: run.base_offset.0, count: run.count };
    Produced { offsets: runs.iter().map(shown).collect() }
}

/// Makes sure that a malformed request does not create its topic.
async fn check(format: Format, body: &Bytes) -> Result<(), Failure> {
    let body = body.clone();
    let check = move || {
        let mut records = 0_u64;
        format.read(&body, &mut |_| {
            records += 1;
            Ok(())
        })?;
        if records == 0 { Err(crate::ingest::IngestError::Empty.into()) } else { Ok(()) }
    };
    blocking(check).await
}

async fn encode(
    format: Format,
    body: &Bytes,
    mut encoder: Encoder,
    deliver_at: Option<Vec<u8>>,
) -> Result<Encoded, Failure> {
    let body = body.clone();
    let small = body.len() <= INLINE_BYTES;
    let encode = move || {
        format.read(&body, &mut |mut record| {
            if let Some(at) = &deliver_at {
                record.headers.push((DELIVER_AT.into(), Some(at.clone().into())));
            }
            Ok(encoder.push(&record)?)
        })?;
        Ok(encoder.finish()?)
    };
    if small { encode() } else { blocking(encode).await }
}

fn conditions(headers: &HeaderMap, partition: Option<u32>) -> Result<Conditions, Failure> {
    let expected: Option<u64> = number(headers, "Expected-Offset")?;
    let expected_offset = match (expected, partition) {
        (None, _) => None,
        (Some(offset), Some(partition)) => Some((partition, Offset(offset))),
        (Some(_), None) => return Err(Failure::header("Expected-Offset", "only together with ?partition=")),
    };
    Ok(Conditions { producer: producer(headers)?, expected_offset })
}

fn producer(headers: &HeaderMap) -> Result<Option<Producer>, Failure> {
    let epoch = number(headers, "Producer-Epoch")?;
    let first = number(headers, "Producer-Seq")?;
    let id = text(headers, "Producer-Id")?;
    match (id, epoch, first) {
        (None, None, None) => Ok(None),
        (Some(id), _, _) if id.is_empty() || id.len() > PRODUCER_ID_BYTES_MAX => {
            Err(Failure::header("Producer-Id", "1 to 128 bytes"))
        }
        (Some(id), Some(epoch), Some(first)) => Ok(Some(Producer { id: id.to_owned(), epoch, first })),
        _ => Err(Failure::header("Producer-Id", "Producer-Id, Producer-Epoch and Producer-Seq come together")),
    }
}

fn number(headers: &HeaderMap, name: &str) -> Result<Option<u64>, Failure> {
    let Some(text) = text(headers, name)? else { return Ok(None) };
    text.parse().map(Some).map_err(|error| Failure::header(name, format_args!("{text:?}: {error}")))
}

pub(super) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Failure> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    std::str::from_utf8(value.as_bytes()).map(Some).map_err(|_| Failure::header(name, "not UTF-8"))
}
