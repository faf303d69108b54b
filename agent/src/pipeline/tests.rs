//! The agent against a stub collector: what is stored in the end, whatever happened on the way.

mod copies;
mod joining;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regex::bytes::Regex;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::stub::{Fault, Stub};
use super::{Agent, Exit};
use crate::config::{Config, Input, StartAt};
use crate::frame::encoding::Encoding;
use crate::frame::multiline::{Multiline, Rule};

/// Holds a collector, a folder of logs, and what it takes to start agents.
struct World {
    stub: Stub,
    tasks: TaskTracker,
    temp: TempDir,
    config: Config,
}

struct Running {
    shutdown: CancellationToken,
    exit: JoinHandle<Exit>,
}

impl World {
    async fn new() -> Self {
        let (tasks, temp) = (TaskTracker::new(), tempfile::tempdir().unwrap());
        let stub = Stub::start(&tasks).await;
        let mut config = Config::default();
        config.agent.state_dir = temp.path().join("state");
        config.agent.admin_listen = None;
        config.agent.scan_interval = Duration::from_millis(200);
        config.collector.urls = vec![format!("http://{}", stub.address).parse().unwrap()];
        config.collector.request_timeout = Duration::from_millis(500);
        let include = vec![temp.path().join("*.log").display().to_string()];
        config.inputs = vec![Input { include, partial_flush: Duration::from_millis(100), ..Input::new("t") }];
        Self { stub, tasks, temp, config }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        append(&self.path(name), text);
    }

    /// Writes a file anew whose birth time is later than another's: clocks of file systems are coarse.
    fn write_younger(&self, name: &str, text: &str, than: &str) {
        let birth = |name: &str| crate::flow::physical::stat_path(&self.path(name)).unwrap().physical.birth_ns;
        self.write(name, text);
        while birth(name) <= birth(than) {
            fs::remove_file(self.path(name)).unwrap();
            self.write(name, text);
        }
    }

    /// Ships what is there and ends.
    async fn once(&self) {
        let agent = Agent::start(self.config.clone()).await.unwrap();
        let run = agent.run(CancellationToken::new(), true);
        let exit = tokio::time::timeout(Duration::from_secs(30), run).await;
        assert_eq!(exit.expect("ends in time").unwrap(), Exit::Done);
    }

    async fn start(&self) -> Running {
        let agent = Agent::start(self.config.clone()).await.unwrap();
        let shutdown = CancellationToken::new();
        let run = agent.run(shutdown.clone(), false);
        Running { shutdown, exit: self.tasks.spawn(async move { run.await.unwrap() }) }
    }

    /// Waits for exactly these records; more would show up later as a difference, so a marker line follows in every test.
    async fn expect(&self, records: &[&str]) {
        let found = self.stub.records(|found| found.len() >= records.len()).await;
        assert_eq!(found, records);
    }
}

impl Running {
    async fn stop(self) -> Exit {
        self.shutdown.cancel();
        self.exit.await.unwrap()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is how log files are rotated")]
fn rotate(from: &Path, to: &Path) {
    fs::rename(from, to).unwrap();
}

fn append(path: &Path, text: &str) {
    File::options().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn every_line_is_shipped_once_and_a_restart_goes_on_where_it_ended() {
    let world = World::new().await;
    world.write("a.log", "one\ntwo\r\n\nlast without end");
    world.once().await;
    world.expect(&["t: one", "t: two", "t: ", "t: last without end…"]).await;
    world.write("a.log", " and its rest\nthree\n");
    world.once().await;
    world.expect(&["t: one", "t: two", "t: ", "t: last without end…", "t: … and its rest", "t: three"]).await;
}

#[tokio::test]
async fn lines_written_while_it_runs_arrive_and_a_quiet_half_line_is_flushed() {
    let world = World::new().await;
    let running = world.start().await;
    world.stub.wait(|inner| inner.opened_inputs == ["t"]).await;
    world.write("a.log", "one\nhalf");
    world.expect(&["t: one", "t: half…"]).await;
    world.write("a.log", "\ntwo\n");
    world.expect(&["t: one", "t: half…", "t: two"]).await;
    assert_eq!(running.stop().await, Exit::Done);
}

#[tokio::test]
async fn no_fault_on_the_way_loses_or_doubles_a_line() {
    // Three at a time: each waits longer than the one before.
    let rows = [
        [Fault::Refuse(503), Fault::CutAfterCommit, Fault::Refuse(429)],
        [Fault::Refuse(401), Fault::HangAfterCommit, Fault::Refuse(507)],
        [Fault::CutAfterCommit, Fault::LogChanged, Fault::CutAfterCommit],
    ];
    for faults in rows {
        let world = World::new().await;
        world.stub.set(|inner| inner.faults = faults.into());
        for file in 0..3 {
            world.write(&format!("{file}.log"), &(0..1000).map(|line| format!("{file} {line}\n")).collect::<String>());
        }
        world.once().await;
        let mut records = world.stub.records(|_| true).await;
        records.sort_by_key(|record| record[3..].split(' ').map(|it| it.parse::<u32>().unwrap()).collect::<Vec<_>>());
        let expected: Vec<String> =
            (0..3).flat_map(|file| (0..1000).map(move |line| format!("t: {file} {line}"))).collect();
        assert_eq!(records, expected, "{faults:?}");
    }
}

#[tokio::test]
async fn a_large_file_arrives_whole_and_in_order() {
    let world = World::new().await;
    let line = |number: u32| format!("{number} {}", "x".repeat((number % 300) as usize));
    let text: String = (0..200_000).map(|number| line(number) + "\n").collect();
    world.write("a.log", &text);
    world.once().await;
    let records = world.stub.records(|_| true).await;
    assert_eq!(records.len(), 200_000);
    for (number, record) in records.iter().enumerate() {
        assert_eq!(record[3..], line(number as u32));
    }
}

#[tokio::test]
async fn a_rotated_file_is_read_to_its_end_and_its_successor_from_its_start() {
    let world = World::new().await;
    let running = world.start().await;
    world.write("a.log", "one\n");
    world.expect(&["t: one"]).await;
    let mut old = File::options().append(true).open(world.path("a.log")).unwrap();
    rotate(&world.path("a.log"), &world.path("a.log.1"));
    old.write_all(b"two, by the late writer\n").unwrap();
    world.expect(&["t: one", "t: two, by the late writer"]).await;
    world.write("a.log", "one\n");
    world.expect(&["t: one", "t: two, by the late writer", "t: one"]).await;
    fs::remove_file(world.path("a.log.1")).unwrap();
    old.write_all(b"three, into the deleted file\n").unwrap();
    world.stub.records(|found| found.last().is_some_and(|last| last.contains("three"))).await;
    assert_eq!(running.stop().await, Exit::Done);
    assert_eq!(world.stub.inner.lock().unwrap().sources.len(), 2);
}

#[tokio::test]
async fn a_rotation_while_it_was_stopped_is_recognised() {
    let mut world = World::new().await;
    let rotated = world.path("*.log.*").display().to_string();
    world.config.inputs[0].include.push(rotated);
    world.write("a.log", "one\n");
    world.once().await;
    world.write("a.log", "two\n");
    rotate(&world.path("a.log"), &world.path("a.log.1"));
    world.write("a.log", "one\nthree\n");
    world.once().await;
    let mut records = world.stub.records(|_| true).await;
    records.sort();
    assert_eq!(records, ["t: one", "t: one", "t: three", "t: two"]);
}

#[tokio::test]
async fn a_truncated_file_is_read_again_from_the_start_even_if_it_has_outgrown_its_old_self() {
    let world = World::new().await;
    let running = world.start().await;
    world.write("a.log", "header\nold\n");
    world.expect(&["t: header", "t: old"]).await;
    let file = File::options().write(true).open(world.path("a.log")).unwrap();
    file.set_len(0).unwrap();
    world.write("a.log", "header\nnew\nand longer\n");
    world.expect(&["t: header", "t: old", "lost 11..11 exact=false", "t: header", "t: new", "t: and longer"]).await;
    assert_eq!(running.stop().await, Exit::Done);
    let inner = world.stub.inner.lock().unwrap();
    assert_eq!(inner.sources[1].source.supersedes, Some(inner.sources[0].source.id));
}

#[tokio::test]
async fn bytes_that_were_seen_and_then_truncated_are_recorded_as_lost() {
    let mut world = World::new().await;
    world.config.inputs[0].partial_flush = Duration::from_secs(3600);
    let running = world.start().await;
    world.write("a.log", "one\nhalf a line");
    world.expect(&["t: one"]).await;
    File::options().write(true).open(world.path("a.log")).unwrap().set_len(0).unwrap();
    world.write("a.log", "new\n");
    world.expect(&["t: one", "lost 4..15 exact=false", "t: new"]).await;
    assert_eq!(running.stop().await, Exit::Done);
}

#[tokio::test]
async fn at_the_first_start_old_lines_are_skipped_if_asked_and_never_later() {
    let mut world = World::new().await;
    world.config.inputs[0].start_at = StartAt::End;
    world.config.inputs[0].partial_flush = Duration::from_secs(3600);
    world.write("a.log", "old\nalso old\nhalf");
    let running = world.start().await;
    world.stub.wait(|inner| inner.opened_inputs == ["t"]).await;
    world.write("a.log", " new\n");
    world.expect(&["skipped 0..13", "t: half new"]).await;
    world.write("b.log", "from its start\n");
    world.expect(&["skipped 0..13", "t: half new", "t: from its start"]).await;
    running.stop().await;
    world.write("c.log", "found at the second start\n");
    world.once().await;
    world.stub.records(|found| found.last().is_some_and(|last| last.ends_with("second start"))).await;
}

#[tokio::test]
async fn a_poisoned_line_alone_becomes_a_dead_letter() {
    let world = World::new().await;
    world.stub.set(|inner| inner.poison = Some("poison"));
    let text: String = (0..50).map(|line| if line == 31 { "poison\n".into() } else { format!("{line}\n") }).collect();
    world.write("a.log", &text);
    world.once().await;
    let records = world.stub.records(|_| true).await;
    let expected: Vec<String> =
        (0..50).map(|line| if line == 31 { "t.dead: poison".into() } else { format!("t: {line}") }).collect();
    assert_eq!(records, expected);
}

#[tokio::test]
async fn a_request_too_large_is_sent_in_halves() {
    let world = World::new().await;
    for file in 0..4 {
        world.write(&format!("{file}.log"), &format!("{file}\n"));
    }
    world.stub.set(|inner| inner.faults = [Fault::Refuse(413), Fault::Refuse(413)].into());
    world.once().await;
    let mut records = world.stub.records(|_| true).await;
    records.sort();
    assert_eq!(records, ["t: 0", "t: 1", "t: 2", "t: 3"]);
}

#[tokio::test]
async fn a_collector_that_was_set_back_gets_the_lines_again() {
    let world = World::new().await;
    let running = world.start().await;
    world.write("a.log", "one\ntwo\n");
    world.expect(&["t: one", "t: two"]).await;
    world.stub.set(|inner| {
        let id = inner.sources[0].source.id;
        inner.set_back.insert(id, 4);
    });
    world.write("a.log", "three\n");
    world.expect(&["t: one", "t: two", "t: two", "t: three"]).await;
    running.stop().await;
}

/// Else the collector would forget it in thirty days, and the file would be shipped again (docs/adr/0007).
#[tokio::test]
async fn a_file_reported_gone_that_returns_is_reported_back_in_a_new_session() {
    let world = World::new().await;
    world.write("a.log", "one\n");
    world.once().await;
    rotate(&world.path("a.log"), &world.path("aside"));
    let running = world.start().await;
    world.stub.wait(|inner| inner.sources[0].gone_at_ms.is_some()).await;
    rotate(&world.path("aside"), &world.path("a.log"));
    world.write("a.log", "two\n");
    world.stub.wait(|inner| inner.sources[0].gone_at_ms.is_none() && inner.epoch == 3).await;
    world.expect(&["t: one", "t: two"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_stack_trace_is_one_record_also_over_a_restart() {
    let mut world = World::new().await;
    let rule = Rule::Continue(Regex::new(r"^\s").unwrap());
    world.config.inputs[0].multiline = Some(Multiline::new(rule, Duration::from_millis(300), 1000));
    let running = world.start().await;
    world.write("a.log", "one\nError: no\n  at f\n");
    world.expect(&["t: one"]).await;
    assert_eq!(running.stop().await, Exit::Done);
    let running = world.start().await;
    world.write("a.log", "  at g\n  at h");
    world.write("a.log", "(7)\n");
    world.expect(&["t: one", "t: Error: no\n  at f\n  at g\n  at h(7)"]).await;
    world.write("a.log", "two\n");
    world.expect(&["t: one", "t: Error: no\n  at f\n  at g\n  at h(7)", "t: two"]).await;
    running.stop().await;
}

#[tokio::test]
async fn other_encodings_become_utf_8_also_over_a_restart() {
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    let cases = [
        ("utf-16", utf16("\u{feff}größe\r\n上\n"), utf16("Ċ\n")),
        ("latin1", b"gr\xf6\xdfe\n\xe4\n".to_vec(), b"\xfc\n".to_vec()),
    ];
    for (name, first, second) in cases {
        let mut world = World::new().await;
        world.config.inputs[0].encoding = Encoding::named(name).unwrap();
        fs::write(world.path("a.log"), &first).unwrap();
        world.once().await;
        File::options().append(true).open(world.path("a.log")).unwrap().write_all(&second).unwrap();
        world.once().await;
        let found = world.stub.records(|found| found.len() == 3).await;
        let expected =
            if name == "utf-16" { ["t: größe", "t: 上", "t: Ċ"] } else { ["t: größe", "t: ä", "t: ü"] };
        assert_eq!(found, expected);
    }
}

/// A writer that does not append goes on where it was when its file is truncated under it.
#[tokio::test]
async fn the_hole_before_a_line_is_no_part_of_it_and_reserved_room_is_waited_for() {
    let world = World::new().await;
    let running = world.start().await;
    let mut file = File::create(world.path("a.log")).unwrap();
    file.write_all("x".repeat(3_000_000).as_bytes()).unwrap();
    file.write_all(b"\n").unwrap();
    world.stub.records(|found| found.last().is_some_and(|last| !last.ends_with('…'))).await;
    file.set_len(0).unwrap();
    file.write_all(b"one\n").unwrap();
    world.stub.records(|found| found.last().is_some_and(|last| last == "t: one")).await;
    let mut reserved = File::create(world.path("b.log")).unwrap();
    reserved.set_len(1 << 20).unwrap();
    reserved.write_all(b"two\n").unwrap();
    world.stub.records(|found| found.last().is_some_and(|last| last == "t: two")).await;
    reserved.write_all(b"three\n").unwrap();
    world.stub.records(|found| found.last().is_some_and(|last| last == "t: three")).await;
    running.stop().await;
}

#[tokio::test]
async fn a_newer_session_ends_the_older_agent() {
    let world = World::new().await;
    let running = world.start().await;
    world.stub.wait(|inner| inner.opened_inputs == ["t"]).await;
    world.stub.set(|inner| inner.epoch += 1);
    world.write("a.log", "one\n");
    assert_eq!(running.exit.await.unwrap(), Exit::Fenced);
}

#[tokio::test]
async fn two_agents_cannot_share_a_state_folder() {
    let world = World::new().await;
    let _first = Agent::start(world.config.clone()).await.unwrap();
    let second = Agent::start(world.config.clone()).await.unwrap_err();
    assert!(second.to_string().ends_with("is in use by another agent"), "{second}");
}

#[tokio::test]
async fn a_stop_never_flushes_half_a_line_and_ends_in_time_without_a_collector() {
    let mut world = World::new().await;
    world.config.inputs[0].partial_flush = Duration::from_secs(3600);
    world.config.agent.shutdown_timeout = Duration::from_millis(200);
    let running = world.start().await;
    world.write("a.log", "one\nhalf");
    world.expect(&["t: one"]).await;
    world.stub.set(|inner| inner.faults = vec![Fault::Refuse(503); 1000].into());
    world.write("a.log", " done\n");
    world.stub.wait(|inner| inner.faults.len() < 1000).await;
    assert_eq!(running.stop().await, Exit::Undrained);
    world.stub.set(|inner| inner.faults.clear());
    world.once().await;
    world.expect(&["t: one", "t: half done"]).await;
}

#[tokio::test]
async fn links_and_several_inputs_make_one_copy() {
    let mut world = World::new().await;
    world.config.inputs.push(Input { include: world.config.inputs[0].include.clone(), ..Input::new("u") });
    world.write("a.log", "one\n");
    fs::hard_link(world.path("a.log"), world.path("b.log")).unwrap();
    std::os::unix::fs::symlink(world.path("a.log"), world.path("c.log")).unwrap();
    world.once().await;
    world.expect(&["t: one"]).await;
}

#[tokio::test]
async fn another_log_is_refused_until_it_is_meant() {
    let mut world = World::new().await;
    world.write("a.log", "one\n");
    world.once().await;
    world.stub.set(|inner| {
        inner.log = 2;
        inner.sources.clear();
        inner.opened_inputs.clear();
    });
    world.write("a.log", "two\n");
    let running = world.start().await;
    assert_eq!(running.stop().await, Exit::Done);
    world.expect(&["t: one"]).await;
    world.config.collector.on_new_log = crate::config::OnNewLog::Continue;
    world.once().await;
    world.expect(&["t: one", "skipped 0..4", "t: two"]).await;
}

#[tokio::test]
async fn a_file_that_is_there_but_followed_no_more_is_not_reported_gone_and_goes_on_later() {
    let mut world = World::new().await;
    world.config.inputs.push(Input { include: vec![world.path("b").display().to_string()], ..Input::new("b") });
    world.write("a.log", "one\n");
    world.write("b", "one\n");
    world.once().await;
    let elsewhere = world.path("c").display().to_string();
    let all = std::mem::replace(&mut world.config.inputs[1].include[0], elsewhere);
    world.write("b", "two\n");
    world.once().await;
    assert!(world.stub.inner.lock().unwrap().sources.iter().all(|stored| stored.gone_at_ms.is_none()));
    world.config.inputs[1].include[0] = all;
    world.once().await;
    let mut found = world.stub.records(|found| found.len() == 3).await;
    found.sort();
    assert_eq!(found, ["b: one", "b: two", "t: one"]);
}
