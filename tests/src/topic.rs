//! Reading a topic as any client would: its extent, its records to the head, a subscription.

use std::io::{BufRead, BufReader};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use skidway_wire::JsonRecord;

use crate::http::Client;
use crate::wait;

/// Counts the records of a topic, all partitions together; 0 while there is no such topic or no answer.
pub fn count(client: &Client, topic: &str) -> u64 {
    let Some(answer) = client.try_get(&format!("/v1/topics/{topic}"), &[]).filter(|answer| answer.status == 200) else {
        return 0;
    };
    let number = |partition: &Value, field: &str| partition[field].as_u64().unwrap_or(0);
    let partitions = answer.json()["partitions"].as_array().cloned().unwrap_or_default();
    partitions.iter().map(|p| number(p, "high_watermark") - number(p, "log_start_offset")).sum()
}

/// Waits until a topic holds at least `records`.
///
/// # Panics
/// When it never does.
pub fn wait_for(client: &Client, topic: &str, records: u64) {
    wait::until(&format!("topic {topic} holds {records} records"), || (count(client, topic) >= records).then_some(()));
}

/// Reads all records of a topic up to its head, each partition in its order.
///
/// # Panics
/// When the answer is no stream of records, or is cut.
pub fn read(client: &Client, topic: &str) -> Vec<JsonRecord> {
    let path = format!("/v1/topics/{topic}/records?from=earliest&follow=false");
    let answer = client.get_with(&path, &[("Accept", "application/x-ndjson")]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let lines = answer.body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.filter_map(record).collect()
}

/// Reads all records of a topic up to its head, one at a time: of one too long for memory.
///
/// # Panics
/// As [`read`].
pub fn read_each(client: &Client, topic: &str, take: impl FnMut(JsonRecord)) {
    let path = format!("/v1/topics/{topic}/records?from=earliest&follow=false");
    let body = client.body(&path, "application/x-ndjson").expect("a stream of records");
    let lines = BufReader::with_capacity(256 << 10, body).split(b'\n').map(|line| line.expect("a whole stream"));
    lines.filter(|line| !line.is_empty()).filter_map(|line| record(&line)).for_each(take);
}

/// Reads one NDJSON line; `None` for a control line.
fn record(line: &[u8]) -> Option<JsonRecord> {
    if line.starts_with(b"{\"heartbeat\"") {
        return None;
    }
    let record = serde_json::from_slice(line);
    Some(record.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(line))))
}

/// Reads the events of the log (topic `__skidway.events`) of one kind, such as `lost`; none while there is no such topic.
///
/// # Panics
/// As [`read`]; and when an event is no JSON.
pub fn events(client: &Client, kind: &str) -> Vec<Value> {
    let topic = "__skidway.events";
    let records = if count(client, topic) == 0 { Vec::new() } else { read(client, topic) };
    let events = records.iter().map(|record| record.value.as_deref().expect("an event is text"));
    let events = events.map(|text| serde_json::from_str(text).expect("an event is JSON"));
    events.filter(|event: &Value| event["kind"] == kind).collect()
}

/// Reads the values of a topic, partition by partition, as text.
///
/// # Panics
/// As [`read`]; and when a value is not text.
pub fn values(client: &Client, topic: &str) -> Vec<String> {
    let mut records = read(client, topic);
    records.sort_by_key(|record| (record.partition, record.offset));
    records.into_iter().map(|record| record.value.expect("the value is text")).collect()
}

/// Gives one header of a record as text; empty if it has none of that name.
pub fn header<'a>(record: &'a JsonRecord, name: &str) -> &'a str {
    record.headers.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Gives one header of a record, whatever its bytes; empty if it has none of that name.
pub fn header_bytes(record: &JsonRecord, name: &str) -> Vec<u8> {
    let binary =
        || record.headers.get(name)?.get("base64")?.as_str().and_then(|text| BASE64_STANDARD.decode(text).ok());
    binary().unwrap_or_else(|| header(record, name).as_bytes().to_vec())
}
