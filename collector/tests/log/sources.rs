//! Agents' sessions and sources: one position each, moved with the lines of its span or not at all.

use bytes::Bytes;
use skidway_collector::log::{Refusal, SessionRef, SourceChange, Target};
use skidway_record::SourceId;
use skidway_record::source::NewSource;

use crate::suite::*;

pub(crate) async fn a_newer_session_fences_the_older_one(engine: &impl Engine) {
    let log = engine.open();
    let unknown = in_session("web", 1, SourceChange::Create(source(1, "a")));
    assert_eq!(refusal(&log, unknown).await, Refusal::Fenced { epoch: 1, current: None });
    let epoch = with_source(&log, "web", 1, "a").await;
    assert_eq!(session(&log, "web").await, epoch + 1);
    assert_eq!(session(&log, "other").await, epoch, "agents fence themselves alone");
    let fenced = span("web", epoch, 1, 0..10, &["x"]);
    assert_eq!(refusal(&log, fenced).await, Refusal::Fenced { epoch, current: Some(epoch + 1) });
    assert_eq!(stored(&log, "web", 1).await.position, 0);
    commit(&log, span("web", epoch + 1, 1, 0..10, &["1"])).await.unwrap();
    assert_eq!(lines(&log, &partition_of(&log, "web", 1).await).await, ["1"]);
}

pub(crate) async fn a_span_moves_the_position_and_adds_its_lines_at_once(engine: &impl Engine) {
    let log = engine.open();
    let epoch = with_source(&log, "web", 1, "a").await;
    let of_one = partition_of(&log, "web", 1).await;
    let committed = commit(&log, span("web", epoch, 1, 0..10, &["1", "2"])).await.unwrap();
    assert_eq!((&committed.appended[0].partition, committed.appended[0].count), (&of_one, 2));
    commit(&log, span("web", epoch, 1, 10..30, &[])).await.unwrap();
    commit(&log, span("web", epoch, 1, 30..30, &["3"])).await.unwrap();
    let stored = stored(&log, "web", 1).await;
    assert_eq!((stored.position, &stored.carry[..]), (30, &b"30"[..]));
    assert_eq!(lines(&log, &of_one).await, ["1", "2", "3"]);
}

pub(crate) async fn a_span_that_does_not_start_at_the_position_changes_nothing(engine: &impl Engine) {
    let log = engine.open();
    let epoch = with_source(&log, "web", 1, "a").await;
    commit(&log, span("web", epoch, 1, 0..10, &["1"])).await.unwrap();
    for range in [0..10, 5..20, 11..20] {
        let mismatch = Refusal::PositionMismatch { position: 10, carry: Bytes::from("10") };
        assert_eq!(refusal(&log, span("web", epoch, 1, range, &["x"])).await, mismatch);
    }
    assert_eq!(stored(&log, "web", 1).await.position, 10);
    assert_eq!(lines(&log, &partition_of(&log, "web", 1).await).await, ["1"]);
}

pub(crate) async fn a_source_is_created_once(engine: &impl Engine) {
    let log = engine.open();
    let epoch = with_source(&log, "web", 1, "a").await;
    commit(&log, span("web", epoch, 1, 0..10, &[])).await.unwrap();
    let again = in_session("web", epoch, SourceChange::Create(source(1, "a")));
    commit(&log, again).await.expect("a creation whose answer was lost is accepted again");
    assert_eq!(stored(&log, "web", 1).await.position, 10, "and changes nothing");
    let same_file = NewSource { id: SourceId([2; 16]), ..source(1, "a") };
    let asked = in_session("web", epoch, SourceChange::Create(same_file));
    assert_eq!(refusal(&log, asked).await, Refusal::SourceExists { source_id: SourceId([1; 16]) });
    let same_id = NewSource { physical: physical(9), ..source(1, "a") };
    let asked = in_session("web", epoch, SourceChange::Create(same_id));
    assert_eq!(refusal(&log, asked).await, Refusal::SourceExists { source_id: SourceId([1; 16]) });
    assert_eq!(log.sources(agent("web"), None, 10).await.unwrap().len(), 1);
}

pub(crate) async fn sources_belong_to_their_agent(engine: &impl Engine) {
    let log = engine.open();
    with_source(&log, "web", 1, "a").await;
    let other = session(&log, "other").await;
    assert_eq!(refusal(&log, span("other", other, 1, 0..10, &["x"])).await, Refusal::UnknownSource);
    assert_eq!(refusal(&log, span("other", other, 7, 0..10, &["x"])).await, Refusal::UnknownSource);
    assert!(log.sources(agent("other"), None, 10).await.unwrap().is_empty());
    assert!(log.sources(agent("nobody"), None, 10).await.unwrap().is_empty());
    let agents = log.agents().await.unwrap();
    assert!(agents.iter().map(|agent| agent.session.agent.as_str()).eq(["other", "web"]));
}

pub(crate) async fn a_superseded_source_gives_its_file_to_the_next(engine: &impl Engine) {
    let log = engine.open();
    let epoch = with_source(&log, "web", 1, "a").await;
    let truncated = NewSource { id: SourceId([2; 16]), supersedes: Some(SourceId([1; 16])), ..source(1, "a") };
    commit(&log, in_session("web", epoch, SourceChange::Create(truncated))).await.unwrap();
    assert!(stored(&log, "web", 1).await.gone_at_ms.is_some());
    assert_eq!(stored(&log, "web", 2).await.position, 0);
}

pub(crate) async fn sources_are_paged_in_order(engine: &impl Engine) {
    let log = engine.open();
    let epoch = session(&log, "web").await;
    for n in [5, 1, 3, 4, 2] {
        commit(&log, in_session("web", epoch, SourceChange::Create(source(n, "a")))).await.unwrap();
    }
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let page = log.sources(agent("web"), after, 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = Some(last.source.id);
        found.extend(page.iter().map(|stored| stored.source.id.0[0]));
    }
    assert_eq!(found, [1, 2, 3, 4, 5]);
}

pub(crate) async fn a_source_continues_in_a_copy_and_can_be_gone(engine: &impl Engine) {
    let log = engine.open();
    let epoch = with_source(&log, "web", 1, "a").await;
    commit(&log, in_session("web", epoch, SourceChange::Create(source(2, "a")))).await.unwrap();
    let id = SourceId([1; 16]);
    let rebind = |n| SourceChange::Rebind { source: id, physical: physical(n), path: Bytes::from("/copy") };
    let taken = in_session("web", epoch, rebind(2));
    assert_eq!(refusal(&log, taken).await, Refusal::SourceExists { source_id: SourceId([2; 16]) });
    commit(&log, in_session("web", epoch, rebind(8))).await.unwrap();
    let rebound = stored(&log, "web", 1).await.source;
    assert_eq!((rebound.physical, &rebound.path[..]), (physical(8), &b"/copy"[..]));
    let gone = SourceChange::Gone { source: id, at_ms: 77 };
    commit(&log, in_session("web", epoch, gone)).await.unwrap();
    assert_eq!(stored(&log, "web", 1).await.gone_at_ms, Some(77));
}

pub(crate) async fn refused_lines_go_to_the_dead_letter_topic(engine: &impl Engine) {
    let log = engine.open();
    let epoch = with_source(&log, "web", 1, "a").await;
    let mut asked = span("web", epoch, 1, 0..10, &["good"]);
    asked.batches.push((Target::DeadLetter, batch(&["bad"])));
    let appended = commit(&log, asked).await.unwrap().appended;
    assert_eq!(appended[1].partition, partition("a.dead", 0));
    assert_eq!(lines(&log, &partition("a.dead", 0)).await, ["bad"]);
    assert_eq!(lines(&log, &appended[0].partition).await, ["good"]);
}

pub(crate) async fn opened_inputs_are_remembered(engine: &impl Engine) {
    let log = engine.open();
    let epoch = session(&log, "web").await;
    for input in ["second", "first", "second"] {
        let session = Some(SessionRef { agent: agent("web"), epoch });
        let asked = skidway_collector::log::Commit { session, opened_input: Some(input.into()), ..Default::default() };
        commit(&log, asked).await.unwrap();
    }
    assert_eq!(open_session(&log, "web").await.opened_inputs, ["first", "second"]);
    assert!(open_session(&log, "other").await.opened_inputs.is_empty());
}
