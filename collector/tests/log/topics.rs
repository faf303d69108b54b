//! Topics: created, changed, deleted, created again.

use skidway_collector::log::{LogError, Refusal, TopicChange, TopicSettings};

use crate::suite::*;

fn put(name: &str, partitions: u32) -> TopicChange {
    TopicChange::Put(topic(name), TopicSettings { partitions: Some(partitions), ..TopicSettings::default() })
}

pub(crate) async fn a_topic_is_ensured_once(engine: &impl Engine) {
    let log = engine.open();
    let first = alter(&log, TopicChange::Ensure(topic("a"))).await.unwrap();
    assert!(first.created);
    let again = alter(&log, TopicChange::Ensure(topic("a"))).await.unwrap();
    assert!(!again.created && !again.changed);
    assert_eq!((&again.topic, &log.topic(&topic("a"))), (&first.topic, &first.topic));
    assert_eq!(first.topic.unwrap().config.partitions, PARTITIONS);
}

pub(crate) async fn producing_creates_a_topic(engine: &impl Engine) {
    let log = engine.open();
    append(&log, &partition("a", 1), &["1"]).await;
    assert_eq!(log.topic(&topic("a")).unwrap().config.partitions, PARTITIONS);
    assert_eq!(offsets(&log, &partition("a", 0)).high_watermark, at(0));
}

pub(crate) async fn partitions_grow_and_never_shrink(engine: &impl Engine) {
    let log = engine.open();
    append(&log, &partition("a", 1), &["1"]).await;
    let id = log.topic(&topic("a")).unwrap().id;
    assert!(alter(&log, put("a", 4)).await.unwrap().changed);
    append(&log, &partition("a", 3), &["2"]).await;
    assert!(!alter(&log, put("a", 4)).await.unwrap().changed);
    let fewer = Refusal::FewerPartitions { topic: topic("a"), have: 4, asked: 3 };
    assert_eq!(alter(&log, put("a", 3)).await, Err(LogError::Refused(fewer)));
    assert_eq!(log.topic(&topic("a")).unwrap().id, id);
    assert_eq!(lines(&log, &partition("a", 1)).await, ["1"]);
    assert_eq!(lines(&log, &partition("a", 3)).await, ["2"]);
}

pub(crate) async fn the_number_of_partitions_has_bounds(engine: &impl Engine) {
    let log = engine.open();
    for partitions in [0, 1001] {
        let refused = LogError::Refused(Refusal::PartitionCount(partitions));
        assert_eq!(alter(&log, put("a", partitions)).await, Err(refused));
    }
    assert!(log.topics().is_empty());
    assert!(alter(&log, put("a", 1)).await.unwrap().created);
    append(&log, &partition("a", 0), &["1"]).await;
    assert!(matches!(refusal(&log, appending(&[(partition("a", 1), &["2"])])).await, Refusal::UnknownPartition { .. }));
}

pub(crate) async fn settings_change_in_what_is_said_alone(engine: &impl Engine) {
    let log = engine.open();
    let settings = |partitions, age_ms, bytes| TopicSettings {
        partitions,
        retention_age_ms: age_ms,
        retention_bytes: bytes,
        ..TopicSettings::default()
    };
    let change = |settings| alter(&log, TopicChange::Put(topic("a"), settings));
    change(settings(Some(3), Some(Some(1 << 40)), None)).await.unwrap();
    let changed = change(settings(None, None, Some(None))).await.unwrap().topic.unwrap().config;
    assert_eq!((changed.partitions, changed.retention_age_ms, changed.retention_bytes), (3, Some(1 << 40), None));
}

pub(crate) async fn a_recreated_topic_is_another_one(engine: &impl Engine) {
    let log = engine.open();
    append(&log, &partition("a", 0), &["old", "older"]).await;
    let old = log.topic(&topic("a")).unwrap();
    let deleted = alter(&log, TopicChange::Delete(topic("a"))).await.unwrap();
    assert!(deleted.changed && deleted.topic.is_none());
    assert!(log.topic(&topic("a")).is_none());
    assert_eq!(log.offsets(&partition("a", 0)), Err(LogError::NotFound(partition("a", 0))));
    assert!(!alter(&log, TopicChange::Delete(topic("a"))).await.unwrap().changed, "nothing to delete");
    assert_eq!(append(&log, &partition("a", 0), &["new"]).await.base_offset, at(0));
    assert_ne!(log.topic(&topic("a")).unwrap().id, old.id);
    assert_eq!(lines(&log, &partition("a", 0)).await, ["new"]);
}

pub(crate) async fn topics_are_listed_by_name(engine: &impl Engine) {
    let log = engine.open();
    for name in ["c", "a", "__skidway.test", "b"] {
        alter(&log, TopicChange::Ensure(topic(name))).await.unwrap();
    }
    let names: Vec<String> = log.topics().iter().map(|topic| topic.name.to_string()).collect();
    assert_eq!(names, ["__skidway.test", "a", "b", "c"]);
}

pub(crate) async fn records_are_deleted_up_to_any_offset(engine: &impl Engine) {
    let log = engine.open();
    let a = partition("a", 0);
    append(&log, &a, &["0", "1", "2"]).await;
    append(&log, &a, &["3"]).await;
    let delete = |before| alter(&log, TopicChange::DeleteRecords { partition: a.clone(), before: at(before) });
    assert!(delete(2).await.unwrap().changed);
    assert_eq!(offsets(&log, &a).log_start, at(2));
    assert_eq!(lines(&log, &a).await, ["2", "3"]);
    assert!(!delete(1).await.unwrap().changed, "what is gone is gone");
    assert_eq!(delete(5).await, Err(LogError::Refused(Refusal::BeyondEnd { current: at(4) })));
    delete(4).await.unwrap();
    assert!(log.fetch(a.clone(), at(4), 1).await.unwrap().is_empty());
    assert_eq!(append(&log, &a, &["4"]).await.base_offset, at(4), "offsets are never given twice");
    assert_eq!(lines(&log, &a).await, ["4"]);
}
