//! Records that go on in another file, or wait in the carry, against the stub collector.

use std::fs;
use std::time::Duration;

use regex::bytes::Regex;

use super::{World, rotate};
use crate::frame::container::Container;
use crate::frame::multiline::{Multiline, Rule};
use crate::pipeline::Exit;
use crate::pipeline::stub::{Fault, Inner};

/// Follows `*.log*`, joining indented lines; they are waited for.
async fn joining_world() -> World {
    let mut world = World::new().await;
    let rule = Rule::Continue(Regex::new(r"^\s").unwrap());
    world.config.inputs[0].multiline = Some(Multiline::new(rule, Duration::from_secs(60), 1000));
    world.config.inputs[0].include[0].push('*');
    world
}

#[tokio::test]
async fn a_record_goes_on_through_several_files() {
    let world = joining_world().await;
    let running = world.start().await;
    world.write("a.log", "zero\none\n");
    world.expect(&["t: zero"]).await;
    for (number, text) in [(1, " two\n three\n"), (2, " four\nfive\nsix\n")] {
        rotate(&world.path("a.log"), &world.path(&format!("a.log.{number}")));
        world.write("a.log", text);
        let sources = |inner: &Inner| inner.sources.iter().filter(|it| !it.carry.is_empty()).count();
        if number == 1 {
            // The first file's lines are in the carry of the second.
            world.stub.wait(|inner| inner.sources.len() == 2 && sources(inner) == 1).await;
        }
    }
    world.expect(&["t: zero", "t: one\n two\n three\n four", "t: five"]).await;
    assert_eq!(running.stop().await, Exit::Done);
}

#[tokio::test]
async fn several_generations_found_at_once_are_read_one_after_the_other() {
    let world = joining_world().await;
    world.write("a.log", "zero\none\n");
    rotate(&world.path("a.log"), &world.path("a.log.2"));
    world.write_younger("a.log", " two\n", "a.log.2");
    rotate(&world.path("a.log"), &world.path("a.log.1"));
    world.write_younger("a.log", " three\nfour\n", "a.log.1");
    world.once().await;
    world.expect(&["t: zero", "t: one\n two\n three", "t: four"]).await;
}

#[tokio::test]
async fn a_record_too_long_to_be_handed_over_goes_on_in_a_piece() {
    let world = joining_world().await;
    let running = world.start().await;
    let long = format!("one\n {}\n", "x".repeat(70_000));
    world.write("a.log", &format!("zero\n{long}"));
    world.expect(&["t: zero"]).await;
    rotate(&world.path("a.log"), &world.path("a.log.1"));
    world.write("a.log", " two\nthree\nfour\n");
    world.expect(&["t: zero", &format!("t: {long}…"), "t: … two", "t: three"]).await;
    assert_eq!(running.stop().await, Exit::Done);
}

/// The span of what is flushed from the carry has no bytes: its answer is lost, and it is not stored again.
#[tokio::test]
async fn what_is_flushed_from_the_carry_is_stored_once() {
    for fault in [Fault::CutAfterCommit, Fault::HangAfterCommit] {
        let mut world = World::new().await;
        world.config.inputs[0].container = Some(Container::Cri);
        let running = world.start().await;
        let line = |text: &str| format!("2026-01-31T10:11:12Z stdout {text}\n");
        world.write("a.log", &(line("F zero") + &line("P half")));
        world.stub.wait(|inner| inner.sources.iter().any(|it| !it.carry.is_empty())).await;
        world.stub.set(|inner| inner.faults.push_back(fault));
        world.expect(&["t: zero", "t: half…"]).await;
        world.write("a.log", &(line("F , whole") + &line("F last")));
        world.expect(&["t: zero", "t: half…", "t: …, whole", "t: last"]).await;
        assert_eq!(running.stop().await, Exit::Done);
    }
}

#[tokio::test]
async fn what_is_carried_of_a_file_that_is_gone_is_shipped() {
    let mut world = World::new().await;
    world.config.inputs[0].container = Some(Container::Cri);
    world.config.inputs[0].partial_flush = Duration::from_secs(3600);
    let running = world.start().await;
    world.write("a.log", "2026-01-31T10:11:12Z stdout P half\n");
    world.stub.wait(|inner| inner.sources.iter().any(|it| !it.carry.is_empty())).await;
    assert_eq!(running.stop().await, Exit::Done);
    fs::remove_file(world.path("a.log")).unwrap();
    world.once().await;
    world.expect(&["t: half…"]).await;
    world.once().await;
    world.expect(&["t: half…"]).await;
}
