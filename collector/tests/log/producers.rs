//! Idempotent producers (DESIGN §7, `Producer-Id` and friends).

use skidway_collector::log::{Commit, ProducerSequence, Refusal};

use crate::suite::*;

fn producing(name: &str, producer: &str, epoch: u64, first: u64, lines: &[&str]) -> Commit {
    let at_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    let (topic, producer, count) = (topic(name), producer.to_owned(), lines.len() as u64);
    let sequence = ProducerSequence { topic, producer, epoch, first, count, at_ms };
    Commit { producer: Some(sequence), ..appending(&[(partition(name, 0), lines)]) }
}

pub(crate) async fn a_duplicate_is_answered_as_the_first_time_and_stored_once(engine: &impl Engine) {
    let log = engine.open();
    append(&log, &partition("a", 0), &["before"]).await;
    let first = commit(&log, producing("a", "p", 1, 0, &["0", "1"])).await.unwrap();
    let second = commit(&log, producing("a", "p", 1, 2, &["2"])).await.unwrap();
    assert!(!first.duplicate && !second.duplicate);
    for (asked, first_answer) in
        [(producing("a", "p", 1, 0, &["0", "1"]), &first), (producing("a", "p", 1, 2, &["2"]), &second)]
    {
        let again = commit(&log, asked).await.unwrap();
        assert!(again.duplicate);
        assert_eq!(again.appended, first_answer.appended);
    }
    assert_eq!(lines(&log, &partition("a", 0)).await, ["before", "0", "1", "2"]);
}

pub(crate) async fn a_gap_is_refused_and_says_what_would_fit(engine: &impl Engine) {
    let log = engine.open();
    let begins_late = producing("a", "p", 1, 5, &["5"]);
    assert_eq!(refusal(&log, begins_late).await, Refusal::SequenceMismatch { expected: 0 });
    commit(&log, producing("a", "p", 1, 0, &["0", "1"])).await.unwrap();
    for first in [1, 3] {
        let asked = producing("a", "p", 1, first, &["x"]);
        assert_eq!(refusal(&log, asked).await, Refusal::SequenceMismatch { expected: 2 });
    }
    assert_eq!(lines(&log, &partition("a", 0)).await, ["0", "1"]);
}

pub(crate) async fn a_newer_epoch_fences_the_older_one_and_begins_anew(engine: &impl Engine) {
    let log = engine.open();
    commit(&log, producing("a", "p", 1, 0, &["old"])).await.unwrap();
    let late = producing("a", "p", 2, 1, &["x"]);
    assert_eq!(refusal(&log, late).await, Refusal::SequenceMismatch { expected: 0 });
    commit(&log, producing("a", "p", 2, 0, &["new"])).await.unwrap();
    let fenced = producing("a", "p", 1, 1, &["x"]);
    assert_eq!(refusal(&log, fenced).await, Refusal::ProducerFenced { epoch: 1, current: 2 });
    assert_eq!(lines(&log, &partition("a", 0)).await, ["old", "new"]);
}

pub(crate) async fn producers_and_topics_have_sequences_of_their_own(engine: &impl Engine) {
    let log = engine.open();
    for (name, producer) in [("a", "p"), ("a", "q"), ("b", "p")] {
        assert!(!commit(&log, producing(name, producer, 1, 0, &[producer])).await.unwrap().duplicate);
    }
    assert_eq!(lines(&log, &partition("a", 0)).await, ["p", "q"]);
    assert_eq!(lines(&log, &partition("b", 0)).await, ["p"]);
}
