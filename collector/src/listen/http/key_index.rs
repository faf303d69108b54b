//! `"key_index"` of a topic, asked for with `PUT`: whether it may be, and that it is.

use skidway_record::TopicName;

use crate::listen::http::answers::Failure;
use crate::listen::http::door::Door;
use crate::log::{Topic, TopicSettings};

/// Refuses more partitions for a topic that has an index: its keys would go elsewhere, and what is expected of them would never be true.
pub(super) fn check(
    door: &Door,
    name: &TopicName,
    settings: &TopicSettings,
    asked: Option<bool>,
) -> Result<(), Failure> {
    let Some(topic) = door.log.topic(name) else { return Ok(()) };
    let more = settings.partitions.is_some_and(|partitions| partitions > topic.config.partitions);
    if !more || asked == Some(false) || !door.keys.has_index(&topic) {
        return Ok(());
    }
    let detail = format!(
        "topic {name} has a key index: with more partitions its keys would move to others, and their records would not be \
         in one order any more. If that is meant, take the index away first (\"key_index\": false)"
    );
    Err(Failure::new(409, "key-index", detail).with("partitions", topic.config.partitions))
}

/// Gives the topic an index or takes it away, if that was asked for.
pub(super) async fn set(door: &Door, topic: &Topic, asked: Option<bool>) -> Result<(), Failure> {
    if let Some(indexed) = asked {
        door.keys.set_index(topic, indexed).await?;
    }
    Ok(())
}
