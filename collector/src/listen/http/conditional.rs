//! `POST /v1/topics/{t}/records` with `Expected-Key-Offset`: stored only if nobody else has written the key since.

use std::sync::Arc;

use axum::Json;
use axum::http::HeaderMap;
use bytes::Bytes;
use skidway_record::{Batch, Offset, PartitionId, TopicName};
use skidway_wire::http::Produced;

use crate::blocking::blocking;
use crate::ingest::encoder::Encoder;
use crate::ingest::produce::{Conditions, Producer, runs};
use crate::keys::{ConditionalWrite, Expected};
use crate::listen::http::answers::Failure;
use crate::listen::http::door::Door;
use crate::listen::http::produce::{self, INLINE_BYTES};
use crate::listen::http::produce_body::Format;
use crate::listen::http::topics;
use crate::log::ProducerSequence;
use crate::metrics;

const HEADER: &str = "Expected-Key-Offset";

/// Reads the header: an offset, or `none`.
pub(super) fn expected(headers: &HeaderMap) -> Result<Option<Expected>, Failure> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    match text {
        "none" => Ok(Some(Expected::None)),
        text => match text.parse() {
            Ok(offset) => Ok(Some(Expected::Last(Offset(offset)))),
            Err(_) => Err(Failure::header(HEADER, "the offset of the key's last record, or none")),
        },
    }
}

/// Stores the request's records, all of one key, if that key ends where it is expected to.
pub(super) async fn store(
    door: &Arc<Door>,
    name: &TopicName,
    (expected, conditions): (Expected, Conditions),
    (format, body): (Format, &Bytes),
    (partition, now_ms): (Option<u32>, i64),
) -> Result<Json<Produced>, Failure> {
    if conditions.expected_offset.is_some() {
        return Err(Failure::header(HEADER, "not together with Expected-Offset"));
    }
    let topic = door.ingest.topic(name)?.ok_or_else(|| topics::unknown(name))?;
    door.keys.indexed(name)?;
    let encoder = door.ingest.encoder(&topic, partition, now_ms);
    let encoded = encode(format, body, encoder).await?;
    let Encoded { key, partition, batches, count } = encoded;
    let producer = conditions.producer.map(|Producer { id, epoch, first }| ProducerSequence {
        topic: name.clone(),
        producer: id,
        epoch,
        first,
        count,
        at_ms: now_ms,
    });
    let bytes: usize = batches.iter().map(|batch| batch.bytes().len()).sum();
    let partition = PartitionId(partition);
    let write = ConditionalWrite { topic: name.clone(), partition, key, expected, batches, count, producer };
    let committed = door.keys.write(write).await?;
    if !committed.duplicate {
        metrics::stored("produce", count, bytes);
    }
    Ok(Json(produce::shown(&runs(&committed.appended))))
}

/// Is a request's records: of one key, in one partition.
struct Encoded {
    key: Bytes,
    partition: u32,
    batches: Vec<Batch>,
    count: u64,
}

async fn encode(format: Format, body: &Bytes, mut encoder: Encoder) -> Result<Encoded, Failure> {
    let body = body.clone();
    let small = body.len() <= INLINE_BYTES;
    let encode = move || {
        let (mut key, mut index) = (None, 0_u64);
        format.read(&body, &mut |record| {
            let its = record.key.as_deref().ok_or_else(|| other_key(index, "it has none"))?;
            if *key.get_or_insert_with(|| Bytes::copy_from_slice(its)) != *its {
                return Err(other_key(index, "it has another than the first record"));
            }
            index += 1;
            Ok(encoder.push(&record)?)
        })?;
        let (batches, count) = encoder.finish()?;
        let partition = batches.first().map_or(0, |(partition, _)| *partition);
        if batches.iter().any(|(other, _)| *other != partition) {
            let detail = format!("with {HEADER} all records go to one partition");
            return Err(Failure::new(400, "invalid-record", detail));
        }
        let batches = batches.into_iter().map(|(_, batch)| batch).collect();
        Ok(Encoded { key: key.unwrap_or_default(), partition, batches, count })
    };
    if small { encode() } else { blocking(encode).await }
}

fn other_key(index: u64, reason: &str) -> Failure {
    let detail = format!("record {index}: with {HEADER} all records have one key, {reason}");
    Failure::new(400, "invalid-record", detail).with("record", index)
}
