//! Commits: atomic, in order, without overlap.

use skidway_collector::log::{Commit, Refusal};

use crate::suite::*;

pub(crate) async fn a_commit_over_partitions_is_all_there_or_not_at_all(engine: &impl Engine) {
    let log = engine.open();
    let places = [partition("a", 0), partition("a", 1), partition("b", 0)];
    commit(&log, appending(&places.clone().map(|place| (place, &["1", "2"][..])))).await.unwrap();
    for place in &places {
        assert_eq!(lines(&log, place).await, ["1", "2"]);
    }
    let nowhere = partition("b", PARTITIONS);
    let half = appending(&[(places[0].clone(), &["3"]), (partition("c", 0), &["3"]), (nowhere, &["3"])]);
    assert!(matches!(refusal(&log, half).await, Refusal::UnknownPartition { partitions: PARTITIONS, .. }));
    for place in &places {
        assert_eq!(lines(&log, place).await, ["1", "2"]);
    }
    assert!(log.topic(&topic("c")).is_none(), "nor is a topic created");
}

pub(crate) async fn offsets_follow_each_other_without_overlap(engine: &impl Engine) {
    let log = engine.open();
    let a = partition("a", 0);
    let writers = (0..8).map(|writer| {
        let (log, a) = (log.clone(), a.clone());
        async move {
            let mut placed = Vec::new();
            for n in 0..20 {
                let mine: Vec<String> = (0..=n % 3).map(|line| format!("{writer} {n} {line}")).collect();
                let appended = append(&log, &a, &mine.iter().map(String::as_str).collect::<Vec<_>>()).await;
                placed.push((appended.base_offset.0, mine));
            }
            placed
        }
    });
    let mut placed = futures::future::join_all(writers).await.concat();
    placed.sort();
    let expected: Vec<(u64, String)> =
        placed.into_iter().flat_map(|(base, mine)| (base..).zip(mine).collect::<Vec<_>>()).collect();
    assert!(expected.iter().map(|(offset, _)| *offset).eq(0..expected.len() as u64), "no gap, no overlap");
    assert_eq!(records(&log, &a).await, expected);
}

pub(crate) async fn commits_are_decided_in_the_order_they_were_submitted(engine: &impl Engine) {
    let log = engine.open();
    let a = partition("a", 0);
    let mut pending = Vec::new();
    for n in 0..50 {
        pending.push(log.submit(appending(&[(a.clone(), &[&n.to_string()])])).await);
    }
    for (n, pending) in (0..).zip(pending) {
        assert_eq!(pending.await.unwrap().appended[0].base_offset, at(n));
    }
    assert!(lines(&log, &a).await.into_iter().eq((0..50).map(|n: u64| n.to_string())));
}

pub(crate) async fn what_is_acknowledged_can_be_read(engine: &impl Engine) {
    let log = engine.open();
    let a = partition("a", 0);
    for n in 0..20 {
        let appended = append(&log, &a, &["1", "2"]).await;
        assert_eq!((appended.partition, appended.base_offset, appended.count), (a.clone(), at(2 * n), 2));
        assert_eq!(offsets(&log, &a).high_watermark, at(2 * n + 2));
        let fetched = log.fetch(a.clone(), at(2 * n), 1).await.unwrap();
        assert_eq!(records_of(&fetched[0]).len(), 2);
    }
    assert_eq!(offsets(&log, &partition("a", 1)).high_watermark, at(0));
}

pub(crate) async fn batches_are_stored_as_they_came(engine: &impl Engine) {
    let log = engine.open();
    let a = partition("a", 0);
    let large = "a line that is long enough not to be called small ".repeat(100);
    let noise: String =
        (0..3000u32).map(|n| char::from(b'!' + (n.wrapping_mul(2_654_435_761) >> 24) as u8 % 90)).collect();
    append(&log, &a, &["first"]).await;
    for lines in [&["small"][..], &[&large, &noise], &[&noise]] {
        let came = batch(lines);
        let appended = append(&log, &a, lines).await;
        let fetched = log.fetch(a.clone(), appended.base_offset, 1).await.unwrap().remove(0);
        assert_eq!(fetched.bytes(), came.with_base_offset(appended.base_offset).bytes());
    }
}

pub(crate) async fn an_expected_offset_lets_one_writer_through(engine: &impl Engine) {
    let log = engine.open();
    let a = partition("a", 0);
    let expecting = |offset: u64, line: &str| Commit {
        expected_offset: Some((a.clone(), at(offset))),
        ..appending(&[(a.clone(), &[line])])
    };
    commit(&log, expecting(0, "a new topic is at 0")).await.unwrap();
    let (one, other) = (log.submit(expecting(1, "one")).await, log.submit(expecting(1, "other")).await);
    assert!(one.await.is_ok());
    assert!(other.await.is_err());
    assert_eq!(refusal(&log, expecting(7, "no")).await, Refusal::OffsetMismatch { current: at(2) });
    assert_eq!(lines(&log, &a).await, ["a new topic is at 0", "one"]);
}
