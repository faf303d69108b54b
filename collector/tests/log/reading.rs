//! Fetching, finding by time, watching.

use skidway_collector::log::{LogError, TopicChange, TopicSettings};

use crate::suite::*;

/// Fills a partition with 40 batches of 3 lines, of sizes small and large.
async fn filled(
    engine: &impl Engine,
) -> (std::sync::Arc<dyn skidway_collector::log::Log>, skidway_record::TopicPartition) {
    let (log, a) = (engine.open(), partition("a", 0));
    for n in 0..40u32 {
        let long: String = (0..n % 5 * 300)
            .map(|i| char::from(b'!' + ((n * 7919 + i).wrapping_mul(2_654_435_761) >> 24) as u8 % 90))
            .collect();
        append(&log, &a, &[&format!("{n}"), &long, "end"]).await;
    }
    (log, a)
}

pub(crate) async fn a_fetch_begins_with_the_batch_that_contains_the_offset(engine: &impl Engine) {
    let (log, a) = filled(engine).await;
    for offset in 0..120 {
        let batches = log.fetch(a.clone(), at(offset), 1).await.unwrap();
        assert_eq!(batches[0].base_offset(), at(offset / 3 * 3));
        assert_eq!(records_of(&batches[0])[0].1, (offset / 3).to_string());
    }
}

pub(crate) async fn a_fetch_gives_whole_batches_and_at_least_one(engine: &impl Engine) {
    let (log, a) = filled(engine).await;
    for bytes_max in [0, 1, 500, 5_000, 1 << 20] {
        let mut from = 0;
        while from < 120 {
            let batches = log.fetch(a.clone(), at(from), bytes_max).await.unwrap();
            let bytes: usize = batches.iter().map(|batch| batch.bytes().len()).sum();
            assert!(batches.len() == 1 || bytes <= bytes_max, "{bytes} of {bytes_max}");
            for batch in &batches {
                assert_eq!((batch.base_offset(), records_of(batch).len()), (at(from), 3));
                from += 3;
            }
        }
    }
}

pub(crate) async fn a_fetch_is_empty_only_at_the_high_watermark(engine: &impl Engine) {
    let (log, a) = filled(engine).await;
    for offset in 0..=120 {
        let batches = log.fetch(a.clone(), at(offset), 100).await.unwrap();
        assert_eq!(batches.is_empty(), offset == 120);
    }
    assert!(log.fetch(partition("a", 1), at(0), 100).await.unwrap().is_empty());
}

pub(crate) async fn outside_of_what_there_is_nothing_is_fetched(engine: &impl Engine) {
    let (log, a) = filled(engine).await;
    let delete = TopicChange::DeleteRecords { partition: a.clone(), before: at(7) };
    alter(&log, delete).await.unwrap();
    for offset in [6, 121] {
        match log.fetch(a.clone(), at(offset), 100).await {
            Err(LogError::OutOfRange { at: asked, offsets }) => {
                assert_eq!((asked, offsets.log_start, offsets.high_watermark), (at(offset), at(7), at(120)));
            }
            other => panic!("{other:?}"),
        }
    }
    for nowhere in [partition("a", PARTITIONS), partition("b", 0)] {
        assert_eq!(log.fetch(nowhere.clone(), at(0), 1).await, Err(LogError::NotFound(nowhere.clone())));
        assert_eq!(log.offset_at(nowhere.clone(), 0).await, Err(LogError::NotFound(nowhere.clone())));
        assert_eq!(log.offsets(&nowhere), Err(LogError::NotFound(nowhere)));
    }
    assert!(log.topic(&topic("b")).is_none(), "reading creates nothing");
}

pub(crate) async fn a_time_finds_the_first_record_as_new(engine: &impl Engine) {
    let (log, a) = (engine.open(), partition("a", 0));
    // Times go back and forth, within batches too.
    for n in 0..30 {
        let times = [100 * n, 100 * n - 250, 100 * n + 10];
        let commit_ = skidway_collector::log::Commit {
            batches: vec![(skidway_collector::log::Target::Partition(a.clone()), batch_at(&times.map(|ms| (ms, "x"))))],
            ..Default::default()
        };
        commit(&log, commit_).await.unwrap();
    }
    let times: Vec<i64> = (0..30).flat_map(|n| [100 * n, 100 * n - 250, 100 * n + 10]).collect();
    for ms in (-300..3100).step_by(35) {
        let expected = times.iter().position(|time| *time >= ms).map(|place| at(place as u64));
        assert_eq!(log.offset_at(a.clone(), ms).await.unwrap(), expected, "{ms}");
    }
    assert_eq!(log.offset_at(partition("a", 1), 0).await.unwrap(), None);
}

pub(crate) async fn watchers_see_the_high_watermarks_grow(engine: &impl Engine) {
    let log = engine.open();
    assert!(log.watch(&topic("a")).is_none());
    append(&log, &partition("a", 0), &["1"]).await;
    let mut watch = log.watch(&topic("a")).unwrap();
    let reaches = |offsets: [u64; 2]| {
        move |progress: &skidway_collector::log::Progress| {
            progress.high_watermarks.iter().map(|offset| offset.0).eq(offsets)
        }
    };
    watch.wait_for(reaches([1, 0])).await.unwrap();
    append(&log, &partition("a", 1), &["1", "2"]).await;
    watch.wait_for(reaches([1, 2])).await.unwrap();
    let settings = TopicSettings { partitions: Some(3), ..TopicSettings::default() };
    alter(&log, TopicChange::Put(topic("a"), settings)).await.unwrap();
    watch
        .wait_for(|progress| progress.high_watermarks.len() == 3 && progress.topic.config.partitions == 3)
        .await
        .unwrap();
    append(&log, &partition("a", 2), &["1"]).await;
    watch.wait_for(|progress| progress.high_watermarks[2] == at(1)).await.unwrap();
}

pub(crate) async fn watching_ends_with_the_topic(engine: &impl Engine) {
    let log = engine.open();
    append(&log, &partition("a", 0), &["1"]).await;
    let mut old = log.watch(&topic("a")).unwrap();
    let old_id = old.borrow_and_update().topic.id;
    alter(&log, TopicChange::Delete(topic("a"))).await.unwrap();
    append(&log, &partition("a", 0), &["new"]).await;
    assert!(old.wait_for(|progress| progress.topic.id != old_id).await.is_err(), "the sender is gone");
    let new = log.watch(&topic("a")).unwrap();
    assert_ne!(new.borrow().topic.id, old_id);
}
