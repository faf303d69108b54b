//! Topics over HTTP: list, describe, create or change, delete.
#![expect(unused_qualifications, reason = "utoipa writes out paths of types that are imported")]

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::{Extension, Json};
use serde::Deserialize;
use skidway_daemon::config::{Bounded, ByteSize, parse_duration};
use skidway_record::{Offset, TopicName, TopicPartition};
use skidway_wire::http::{self, PartitionDescription, RecordsDeleted, TopicDescription, TopicList, TopicSummary};
use utoipa::ToSchema;
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, Schema, Type};

use crate::access::Caller;
use crate::listen::http::answers::Failure;
use crate::listen::http::body::{self, media_type};
use crate::listen::http::door::Door;
use crate::listen::http::key_index;
use crate::listen::http::object::Object;
use crate::listen::http::openapi::problems::Refused;
use crate::listen::http::path::{TopicParam, TopicPath};
use crate::listen::http::query::Query;
use crate::log::{Cleanup, Topic, TopicChange, TopicConfig, TopicSettings};

/// Lists the topics by name, our own (`__…`) included; to a token those that it may do something with.
#[utoipa::path(get, path = "/v1/topics", tag = "topics", responses((status = 200, body = TopicList), Refused<400>))]
pub(super) async fn list(
    State(door): State<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<TopicList>, Failure> {
    Query::of(&uri)?.finish()?;
    let summary = |topic: Topic| TopicSummary { name: topic.name.to_string(), partitions: topic.config.partitions };
    Ok(Json(TopicList {
        topics: door.log.topics().into_iter().filter(|topic| caller.sees(&topic.name)).map(summary).collect(),
    }))
}

/// Describes a topic: its settings in force and how far each partition reaches.
#[utoipa::path(
    get, path = "/v1/topics/{topic}", tag = "topics", params(TopicParam),
    responses((status = 200, body = TopicDescription), Refused<400>, Refused<404>)
)]
pub(super) async fn describe(
    State(door): State<Arc<Door>>,
    TopicPath(name): TopicPath,
    uri: Uri,
) -> Result<Json<TopicDescription>, Failure> {
    Query::of(&uri)?.finish()?;
    let topic = door.log.topic(&name).ok_or_else(|| unknown(&name))?;
    Ok(Json(description(&door, &topic)?))
}

/// Creates a topic, or changes it; what is absent stays as it is, null lifts a bound. Partitions can only grow.
#[utoipa::path(
    put, path = "/v1/topics/{topic}", tag = "topics", params(TopicParam), request_body = Option<TopicBody>,
    responses(
        (status = 200, body = TopicDescription, description = "It was there."),
        (status = 201, body = TopicDescription, description = "It was created."),
        Refused<400>, Refused<403>, Refused<409>, Refused<413>, Refused<415>, Refused<507>
    )
)]
pub(super) async fn put(
    State(door): State<Arc<Door>>,
    TopicPath(name): TopicPath,
    uri: Uri,
    headers: HeaderMap,
    body: axum::body::Body,
) -> Result<(StatusCode, Json<TopicDescription>), Failure> {
    let body = body::read(&door, &headers, body).await?;
    Query::of(&uri)?.finish()?;
    refuse_internal(&name)?;
    if !matches!(media_type(&headers).as_str(), "" | "application/json") {
        return Err(Failure::media_type("a topic is described as application/json"));
    }
    let (settings, key_index) = settings(&body.bytes)?;
    key_index::check(&door, &name, &settings, key_index)?;
    let altered = door.log.alter_topic(TopicChange::Put(name.clone(), settings)).await?;
    let topic = altered.topic.ok_or_else(|| unknown(&name))?;
    key_index::set(&door, &topic, key_index).await?;
    let status = if altered.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(description(&door, &topic)?)))
}

/// Deletes a topic with all its records.
#[utoipa::path(
    delete, path = "/v1/topics/{topic}", tag = "topics", params(TopicParam),
    responses((status = 204, description = "It is gone."), Refused<400>, Refused<403>, Refused<404>, Refused<409>)
)]
pub(super) async fn delete(
    State(door): State<Arc<Door>>,
    TopicPath(name): TopicPath,
    uri: Uri,
) -> Result<StatusCode, Failure> {
    Query::of(&uri)?.finish()?;
    refuse_internal(&name)?;
    let altered = door.log.alter_topic(TopicChange::Delete(name.clone())).await?;
    if altered.changed { Ok(StatusCode::NO_CONTENT) } else { Err(unknown(&name)) }
}

/// Deletes a partition's records before an offset: it starts there then, or further on if it did already.
#[utoipa::path(
    delete, path = "/v1/topics/{topic}/records", tag = "topics",
    params(
        TopicParam,
        ("partition" = u32, Query, description = "Number, from 0"),
        ("before_offset" = String, Query, description = "First offset to keep, or `latest`", pattern = "^([0-9]{1,19}|latest)$")
    ),
    responses((status = 200, body = RecordsDeleted), Refused<400>, Refused<403>, Refused<404>, Refused<409>)
)]
pub(super) async fn delete_records(
    State(door): State<Arc<Door>>,
    TopicPath(name): TopicPath,
    uri: Uri,
) -> Result<Json<RecordsDeleted>, Failure> {
    let mut query = Query::of(&uri)?;
    let required = |name: &'static str| move || Failure::parameter(name, "required");
    let partition = query.within("partition", 0..=u64::from(u32::MAX))?.ok_or_else(required("partition"))? as u32;
    let before = query.text("before_offset")?.ok_or_else(required("before_offset"))?;
    query.finish()?;
    refuse_internal(&name)?;
    let of = TopicPartition::new(name, partition);
    let before = match before.as_str() {
        "latest" => door.log.offsets(&of)?.high_watermark,
        number => {
            number.parse().map(Offset).map_err(|_| Failure::parameter("before_offset", "an offset, or latest"))?
        }
    };
    door.log.alter_topic(TopicChange::DeleteRecords { partition: of.clone(), before }).await?;
    Ok(Json(RecordsDeleted { partition, log_start_offset: door.log.offsets(&of)?.log_start.0 }))
}

/// Says that there is no such topic.
pub(super) fn unknown(name: &TopicName) -> Failure {
    Failure::new(404, "topic-not-found", format!("topic {name} does not exist"))
}

fn refuse_internal(name: &TopicName) -> Result<(), Failure> {
    match name.is_internal() {
        true => Err(Failure::new(403, "internal-topic", format!("topic {name} is Skidway's own"))),
        false => Ok(()),
    }
}

fn description(door: &Door, topic: &Topic) -> Result<TopicDescription, Failure> {
    let mut partitions = Vec::with_capacity(topic.config.partitions as usize);
    for partition in 0..topic.config.partitions {
        let offsets = door.log.offsets(&TopicPartition::new(topic.name.clone(), partition))?;
        partitions.push(PartitionDescription {
            partition,
            log_start_offset: offsets.log_start.0,
            high_watermark: offsets.high_watermark.0,
            bytes: offsets.bytes,
        });
    }
    let config = shown_config(&topic.config, door.keys.has_index(topic));
    Ok(TopicDescription { name: topic.name.to_string(), config, partitions })
}

/// Shows settings as `PUT` takes them.
fn shown_config(config: &TopicConfig, key_index: bool) -> http::TopicSettings {
    let shown = |ms| Duration::from_millis(ms).show();
    http::TopicSettings {
        partitions: config.partitions,
        retention: http::Retention {
            age: config.retention_age_ms.map(shown),
            bytes: config.retention_bytes.map(|bytes| ByteSize(bytes).to_string()),
        },
        cleanup: config.cleanup.name().to_owned(),
        tombstone_retention: shown(config.tombstone_retention_ms),
        min_compaction_lag: shown(config.min_compaction_lag_ms),
        key_index,
    }
}

/// Is the body of `PUT`: what is absent stays as it is, null lifts a bound.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicBody {
    #[schema(minimum = 1, maximum = 1000)]
    partitions: Option<u32>,
    #[schema(value_type = Option<RetentionBody>)]
    retention: Option<Object<RetentionBody>>,
    /// `delete`, `compact` or `compact,delete`.
    #[schema(pattern = "^(delete|compact|compact,delete)$")]
    cleanup: Option<String>,
    /// How long the tombstones of a compacted topic stay, `24h`.
    #[schema(pattern = "^\\s*[0-9]+\\s*(ms|s|m|h|d)\\s*$")]
    tombstone_retention: Option<String>,
    /// How long records are not compacted, `0s`.
    #[schema(pattern = "^\\s*[0-9]+\\s*(ms|s|m|h|d)\\s*$")]
    min_compaction_lag: Option<String>,
    /// Whether an index of keys is kept; false.
    key_index: Option<bool>,
}

#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
struct RetentionBody {
    /// Time since the append, `7d`; null: for ever.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, pattern = "^\\s*[0-9]+\\s*(ms|s|m|h|d)\\s*$")]
    age: Option<Option<String>>,
    /// Of one partition, `10GiB` or a number of bytes; null: no bound.
    #[serde(default, deserialize_with = "present")]
    #[schema(schema_with = size_schema)]
    bytes: Option<Option<Size>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Size {
    Number(u64),
    Text(String),
}

/// Describes a size, or null.
fn size_schema() -> Schema {
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0_u64)).maximum(Some(u64::MAX));
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^\\s*[0-9]+\\s*[A-Za-z]*\\s*$"));
    OneOfBuilder::new().item(number).item(text).item(ObjectBuilder::new().schema_type(Type::Null)).build().into()
}

/// Tells a member that is null from one that is not there.
fn present<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(member: D) -> Result<Option<T>, D::Error> {
    T::deserialize(member).map(Some)
}

/// Reads the settings that a body asks for, and whether it asks for an index of keys.
fn settings(body: &[u8]) -> Result<(TopicSettings, Option<bool>), Failure> {
    let invalid = |reason: String| Failure::new(400, "invalid-topic-settings", reason);
    let body = match body {
        b"" | b"null" => TopicBody::default(),
        body => serde_json::from_slice::<Object<TopicBody>>(body).map_err(|error| invalid(error.to_string()))?.0,
    };
    let RetentionBody { age, bytes } = body.retention.map(|Object(retention)| retention).unwrap_or_default();
    let settings = TopicSettings {
        partitions: body.partitions,
        cleanup: body.cleanup.map(cleanup).transpose().map_err(invalid)?,
        tombstone_retention_ms: millis("tombstone_retention", body.tombstone_retention).map_err(invalid)?,
        min_compaction_lag_ms: millis("min_compaction_lag", body.min_compaction_lag).map_err(invalid)?,
        retention_age_ms: age.map(|age| age.map(age_ms).transpose()).transpose().map_err(invalid)?,
        retention_bytes: bytes.map(|bytes| bytes.map(size).transpose()).transpose().map_err(invalid)?,
    };
    Ok((settings, body.key_index))
}

fn age_ms(text: String) -> Result<u64, String> {
    let age = parse_duration(&text).filter(|age| !age.is_zero());
    age.map(|age| age.as_millis() as u64)
        .ok_or_else(|| format!("retention.age: {text:?} is not a duration such as \"7d\""))
}

fn cleanup(text: String) -> Result<Cleanup, String> {
    Cleanup::parse(&text)
        .ok_or_else(|| format!("cleanup: {text:?} is not \"delete\", \"compact\" or \"compact,delete\""))
}

fn millis(name: &str, text: Option<String>) -> Result<Option<u64>, String> {
    let read = |text: String| match parse_duration(&text) {
        Some(time) => Ok(time.as_millis() as u64),
        None => Err(format!("{name}: {text:?} is not a duration such as \"24h\"")),
    };
    text.map(read).transpose()
}

fn size(size: Size) -> Result<u64, String> {
    match size {
        Size::Number(bytes) => Ok(bytes),
        Size::Text(text) => ByteSize::parse(&text)
            .map(|ByteSize(bytes)| bytes)
            .ok_or_else(|| format!("retention.bytes: {text:?} is not a size such as \"10GiB\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_tell_absent_from_unbounded() {
        let read = |body: &str| {
            settings(body.as_bytes()).map(|(settings, _)| settings).map_err(|failure| failure.problem().detail.clone())
        };
        assert_eq!(read(""), Ok(TopicSettings::default()));
        assert_eq!(read("{}"), Ok(TopicSettings::default()));
        let all = r#"{"partitions":4,"retention":{"age":"7d","bytes":"10GiB"},"cleanup":"delete"}"#;
        let expected = TopicSettings {
            partitions: Some(4),
            retention_age_ms: Some(Some(604_800_000)),
            retention_bytes: Some(Some(10 << 30)),
            cleanup: Some(Cleanup::Delete),
            ..TopicSettings::default()
        };
        assert_eq!(read(all), Ok(expected));
        let lifted = TopicSettings { retention_age_ms: Some(None), ..TopicSettings::default() };
        assert_eq!(read(r#"{"retention":{"age":null}}"#), Ok(lifted));
        let compacted = r#"{"cleanup":"delete,compact","tombstone_retention":"0s","min_compaction_lag":"1h"}"#;
        let expected = TopicSettings {
            cleanup: Some(Cleanup::CompactDelete),
            tombstone_retention_ms: Some(0),
            min_compaction_lag_ms: Some(3_600_000),
            ..TopicSettings::default()
        };
        assert_eq!(read(compacted), Ok(expected));
        for bad in [
            r#"{"partition":4}"#,
            r#"{"retention":{"aged":"7d"}}"#,
            r#"{"retention":{"age":"7"}}"#,
            r#"{"retention":{"age":"0s"}}"#,
            r#"{"retention":[null,null]}"#,
            r#"{"cleanup":"compacted"}"#,
            r#"{"tombstone_retention":"24"}"#,
            "[4]",
            "{",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
