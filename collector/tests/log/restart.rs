//! A restart keeps everything, whether the log was at rest or not.

use skidway_collector::log::{Commit, ProducerSequence, Refusal, TopicChange};

use crate::suite::*;

pub(crate) async fn a_restart_keeps_records_and_topics(engine: &impl Engine) {
    let log = engine.open();
    let (a, b) = (partition("a", 0), partition("b", 1));
    for n in 0..60 {
        append(&log, if n % 3 == 0 { &b } else { &a }, &[&n.to_string(), "x"]).await;
    }
    append(&log, &partition("gone", 0), &["gone"]).await;
    alter(&log, TopicChange::Delete(topic("gone"))).await.unwrap();
    alter(&log, TopicChange::DeleteRecords { partition: a.clone(), before: at(5) }).await.unwrap();
    let (identity, topics) = (log.identity(), log.topics());
    let before = (records(&log, &a).await, records(&log, &b).await);
    drop(log);
    let log = engine.open();
    assert_eq!((log.identity(), log.topics()), (identity, topics));
    assert_eq!((records(&log, &a).await, records(&log, &b).await), before);
    assert_eq!(append(&log, &a, &["next"]).await.base_offset, at(80));
    let watched = log.watch(&topic("b")).unwrap();
    assert_eq!(watched.borrow().high_watermarks, [at(0), at(40)]);
}

pub(crate) async fn a_restart_keeps_sources_and_sessions(engine: &impl Engine) {
    let log = engine.open();
    let epoch = with_source(&log, "web", 1, "a").await;
    commit(&log, Commit { opened_input: Some("in".into()), ..span("web", epoch, 1, 0..10, &["1"]) }).await.unwrap();
    let before = (stored(&log, "web", 1).await, log.agents().await.unwrap());
    drop(log);
    let log = engine.open();
    assert_eq!((stored(&log, "web", 1).await, log.agents().await.unwrap()), before);
    let doubled = span("web", epoch, 1, 0..10, &["1"]);
    assert!(matches!(refusal(&log, doubled).await, Refusal::PositionMismatch { position: 10, .. }));
    commit(&log, span("web", epoch, 1, 10..20, &["2"])).await.expect("the session goes on");
    assert_eq!(session(&log, "web").await, epoch + 1);
    assert_eq!(lines(&log, &partition_of(&log, "web", 1).await).await, ["1", "2"]);
}

pub(crate) async fn a_restart_keeps_what_producers_did(engine: &impl Engine) {
    let log = engine.open();
    let asked = |first: u64| {
        let at_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
        let (topic, producer) = (topic("a"), "p".to_owned());
        let producer = Some(ProducerSequence { topic, producer, epoch: 1, first, count: 1, at_ms });
        Commit { producer, ..appending(&[(partition("a", 0), &[&first.to_string()])]) }
    };
    let first = commit(&log, asked(0)).await.unwrap();
    drop(log);
    let log = engine.open();
    let again = commit(&log, asked(0)).await.unwrap();
    assert!(again.duplicate);
    assert_eq!(again.appended, first.appended);
    assert_eq!(refusal(&log, asked(2)).await, Refusal::SequenceMismatch { expected: 1 });
    commit(&log, asked(1)).await.unwrap();
    assert_eq!(lines(&log, &partition("a", 0)).await, ["0", "1"]);
}
