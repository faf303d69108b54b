//! What queues write into topics: dead letters with their causes, dead letters on their way back, and events. Decides nothing.

use bytes::Bytes;
use serde_json::json;
use skidway_record::{Batch, BatchBuilder, Compressor, EncodedHeaders, Record, TopicName, TopicPartition};

use super::records;
use super::share::{Dead, Skipped};
use crate::json::rfc3339;
use crate::log::{EVENTS_TOPIC, LogError, LogReader, Target};

/// Header: the queue whose dead letter it is.
pub const QUEUE: &str = "skidway-queue";
/// Header: the topic the record was in.
pub const TOPIC: &str = "skidway-topic";
/// Header: its partition there.
pub const PARTITION: &str = "skidway-partition";
/// Header: its offset there.
pub const OFFSET: &str = "skidway-offset";
/// Header: how often it was given away.
pub const DELIVERIES: &str = "skidway-deliveries";
/// Header: why it died.
pub const REASON: &str = "skidway-reason";
/// Header: when it died.
pub const DEAD_AT: &str = "skidway-dead-at";
/// Header of a redriven record: how often it was redriven.
pub const REDRIVES: &str = "skidway-redrives";

const CAUSES: [&str; 7] = [QUEUE, TOPIC, PARTITION, OFFSET, DELIVERIES, REASON, DEAD_AT];

type NewHeaders = Vec<(Bytes, Option<Bytes>)>;

/// Makes the dead letter of a record; `None` if the record cannot be had any more.
///
/// # Errors
/// [`LogError`] (retry).
pub async fn dead_letter(
    log: &dyn LogReader,
    queue: &TopicName,
    of: &TopicPartition,
    dead: &Dead,
    now: i64,
) -> Result<Option<Batch>, LogError> {
    let causes = [
        (QUEUE, queue.to_string()),
        (TOPIC, of.topic.to_string()),
        (PARTITION, of.partition.0.to_string()),
        (OFFSET, dead.offset.to_string()),
        (DELIVERIES, dead.deliveries.to_string()),
        (REASON, dead.reason.clone()),
        (DEAD_AT, rfc3339(now)),
    ];
    let mut batch = None;
    let mut take = |_, record: &Record<'_>| {
        let mut headers = headers_but(record, &CAUSES);
        headers.extend(
            causes.iter().map(|(name, value)| (Bytes::from_static(name.as_bytes()), Some(value.clone().into()))),
        );
        let mut builder = BatchBuilder::new();
        builder.push(record.timestamp_ms, record.key, record.value, &encoded(&headers));
        batch = builder.finish(&mut compressor());
    };
    records::each(log, of, &[dead.offset], &mut take).await?;
    Ok(batch)
}

/// Adds a dead letter to a batch as the record it was, and counts the redrive in a header.
pub fn push_redriven(builder: &mut BatchBuilder, record: &Record<'_>) {
    let before = number(record, REDRIVES).unwrap_or(0);
    let mut headers = headers_but(record, &CAUSES);
    headers.retain(|(name, _)| name != REDRIVES.as_bytes());
    headers.push((Bytes::from_static(REDRIVES.as_bytes()), Some((before + 1).to_string().into())));
    builder.push(record.timestamp_ms, record.key, record.value, &encoded(&headers));
}

/// Gives the number in a header.
pub fn number(record: &Record<'_>, name: &str) -> Option<u64> {
    std::str::from_utf8(crate::json::header(record, name.as_bytes())?).ok()?.parse().ok()
}

/// Makes the event that tells of records nobody received.
pub fn skipped(queue: &TopicName, of: &TopicPartition, skipped: &Skipped, reason: &str, now: i64) -> (Target, Batch) {
    let event = json!({
        "kind": "queue-skipped",
        "queue": queue.as_str(),
        "topic": of.topic.as_str(),
        "partition": of.partition.0,
        "from_offset": skipped.from.0,
        "to_offset": skipped.to.0,
        "records": skipped.records,
        "reason": reason,
        "at": rfc3339(now),
    });
    let mut builder = BatchBuilder::new();
    builder.push(now, None, Some(event.to_string().as_bytes()), &EncodedHeaders::none());
    let events = TopicName::new(EVENTS_TOPIC).expect("our own topic's name is valid");
    let batch = builder.finish(&mut compressor()).expect("there is one record in it");
    (Target::Partition(TopicPartition::new(events, 0)), batch)
}

/// Makes a compressor of zstd level 1.
pub fn compressor() -> Compressor {
    Compressor::new(1).expect("zstd has a level 1 and memory for its context")
}

/// Tells whether an offset of a dead-letter topic was written by this queue.
pub fn is_of(record: &Record<'_>, queue: &TopicName) -> bool {
    crate::json::header(record, QUEUE.as_bytes()) == Some(queue.as_str().as_bytes())
}

/// Gives the partition that a dead letter came from.
pub fn partition_of(record: &Record<'_>) -> Option<u32> {
    number(record, PARTITION).and_then(|number| u32::try_from(number).ok())
}

fn headers_but(record: &Record<'_>, without: &[&str]) -> NewHeaders {
    let kept = record.headers().filter(|header| !without.iter().any(|name| name.as_bytes() == header.key));
    kept.map(|header| (Bytes::copy_from_slice(header.key), header.value.map(Bytes::copy_from_slice))).collect()
}

fn encoded(headers: &NewHeaders) -> EncodedHeaders {
    EncodedHeaders::new(headers.iter().map(|(name, value)| (&name[..], value.as_deref())))
}
