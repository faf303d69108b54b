//! Files renamed, truncated, removed and recreated under the agent's eyes and behind its back.

use skidway_tests::verify::verify;
use skidway_tests::writer::Writer;
use skidway_tests::{Agent, Collector, Site, topic, wait};
use std::io::Write;

/// A site with a collector and an agent that follows `logs/*.log*` into topic `app`.
fn following() -> (Site, Collector, Agent) {
    let site = Site::new();
    let collector = site.collector().started();
    let agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log*"), "app").started();
    (site, collector, agent)
}

/// Waits for as many records as are expected, stops the agent and compares, order aside.
#[track_caller]
fn check(collector: &Collector, mut agent: Agent, expected: &[&str]) {
    topic::wait_for(&collector.client(), "app", expected.len() as u64);
    assert_eq!(agent.program().stop(), Some(0));
    let mut values = topic::values(&collector.client(), "app");
    values.sort();
    assert_eq!(values, expected);
}

#[test]
fn renamed_file_is_read_to_its_end_and_its_successor_from_its_start() {
    let (site, collector, agent) = following();
    site.write("logs/a.log", "1\n");
    topic::wait_for(&collector.client(), "app", 1);
    let mut old = std::fs::OpenOptions::new().append(true).open(site.path("logs/a.log")).unwrap();
    site.rename("logs/a.log", "logs/a.log.1");
    site.write("logs/a.log", "2\n");
    topic::wait_for(&collector.client(), "app", 2);
    old.write_all(b"3\n").unwrap();
    check(&collector, agent, &["1", "2", "3"]);
}

#[test]
fn file_renamed_out_of_the_pattern_is_read_to_its_end() {
    let (site, collector, agent) = following();
    site.write("logs/a.log", "1\n");
    topic::wait_for(&collector.client(), "app", 1);
    let mut old = std::fs::OpenOptions::new().append(true).open(site.path("logs/a.log")).unwrap();
    site.rename("logs/a.log", "logs/a.old");
    old.write_all(b"2\n").unwrap();
    check(&collector, agent, &["1", "2"]);
}

#[test]
fn removed_file_is_read_to_its_end() {
    let (site, collector, agent) = following();
    site.write("logs/a.log", "1\n");
    topic::wait_for(&collector.client(), "app", 1);
    let mut old = std::fs::OpenOptions::new().append(true).open(site.path("logs/a.log")).unwrap();
    site.remove("logs/a.log");
    old.write_all(b"2\n").unwrap();
    check(&collector, agent, &["1", "2"]);
}

#[test]
fn removed_and_recreated_file_is_read_from_its_start() {
    let (site, collector, agent) = following();
    site.write("logs/a.log", "1\n");
    topic::wait_for(&collector.client(), "app", 1);
    site.remove("logs/a.log");
    site.write("logs/a.log", "2\n");
    check(&collector, agent, &["1", "2"]);
}

#[test]
fn truncated_file_is_read_again_from_its_start() {
    let (site, collector, agent) = following();
    site.write("logs/a.log", "1\n2\n");
    topic::wait_for(&collector.client(), "app", 2);
    std::fs::File::options().write(true).open(site.path("logs/a.log")).unwrap().set_len(0).unwrap();
    site.append("logs/a.log", "3\n");
    check(&collector, agent, &["1", "2", "3"]);
}

#[test]
fn file_truncated_and_refilled_past_its_old_length_is_read_again_from_its_start() {
    let (site, collector, agent) = following();
    site.write("logs/a.log", "1\n");
    topic::wait_for(&collector.client(), "app", 1);
    let mut file = std::fs::File::options().write(true).truncate(true).open(site.path("logs/a.log")).unwrap();
    file.write_all(b"2\n3\n4\n5\n").unwrap();
    check(&collector, agent, &["1", "2", "3", "4", "5"]);
}

#[test]
fn files_with_the_same_beginning_are_both_complete() {
    let (site, collector, agent) = following();
    let banner = format!("{}\n", "#".repeat(2000));
    site.write("logs/a.log", format!("{banner}a\n"));
    site.write("logs/b.log", format!("{banner}b\n"));
    check(&collector, agent, &[banner.trim(), banner.trim(), "a", "b"]);
}

#[test]
fn three_rotations_within_a_moment_lose_nothing() {
    let (site, collector, mut agent) = following();
    let mut writer = Writer::new(&site.path("logs"), "w", u64::MAX, 1);
    for _ in 0..3 {
        writer.write_times(50, 200);
        writer.rotate();
    }
    topic::wait_for(&collector.client(), "app", writer.lines());
    assert_eq!(agent.program().stop(), Some(0));
    let report = verify(&[writer], &topic::read(&collector.client(), "app"));
    assert!(report.is_perfect(), "{report:#?}");
}

#[test]
fn rotation_while_the_agent_is_stopped_loses_and_doubles_nothing() {
    let (site, collector, mut agent) = following();
    let mut writer = Writer::new(&site.path("logs"), "w", 8 << 10, 2);
    writer.write(30);
    topic::wait_for(&collector.client(), "app", 30);
    assert_eq!(agent.program().stop(), Some(0));
    writer.write_times(20, 30);
    agent.start();
    topic::wait_for(&collector.client(), "app", writer.lines());
    assert_eq!(agent.program().stop(), Some(0));
    let report = verify(&[writer], &topic::read(&collector.client(), "app"));
    assert!(report.is_perfect(), "{report:#?}");
}

#[test]
fn rotation_while_the_collector_is_down_loses_and_doubles_nothing() {
    let (site, mut collector, mut agent) = following();
    let mut writer = Writer::new(&site.path("logs"), "w", 64 << 10, 3);
    writer.write(100);
    collector.program().kill9();
    writer.write_times(50, 100);
    collector.start();
    topic::wait_for(&collector.client(), "app", writer.lines());
    assert_eq!(agent.program().stop(), Some(0));
    let report = verify(&[writer], &topic::read(&collector.client(), "app"));
    assert!(report.is_perfect(), "{report:#?}");
}

#[test]
fn file_recreated_while_the_agent_is_stopped_is_another_file() {
    let (site, collector, mut agent) = following();
    site.write("logs/a.log", "1 the first file\n");
    topic::wait_for(&collector.client(), "app", 1);
    assert_eq!(agent.program().stop(), Some(0));
    // File systems like to give the inode number just freed to the next file.
    site.remove("logs/a.log");
    site.write("logs/a.log", "2 the second file, which is longer\n");
    agent.start();
    check(&collector, agent, &["1 the first file", "2 the second file, which is longer"]);
}

#[test]
fn file_truncated_while_the_agent_is_stopped_is_read_again_from_its_start() {
    let (site, collector, mut agent) = following();
    site.write("logs/a.log", "1 before\n");
    topic::wait_for(&collector.client(), "app", 1);
    assert_eq!(agent.program().stop(), Some(0));
    let mut file = std::fs::File::options().write(true).truncate(true).open(site.path("logs/a.log")).unwrap();
    file.write_all(b"2 after, and longer than before\n3 more\n").unwrap();
    agent.start();
    check(&collector, agent, &["1 before", "2 after, and longer than before", "3 more"]);
}

#[test]
fn file_that_leaves_the_pattern_and_returns_is_not_read_twice() {
    let (site, collector, agent) = following();
    site.write("logs/a.log", "1\n");
    topic::wait_for(&collector.client(), "app", 1);
    site.rename("logs/a.log", "away");
    site.write("logs/b.log", "2\n");
    topic::wait_for(&collector.client(), "app", 2);
    site.rename("away", "logs/a.log");
    site.append("logs/a.log", "3\n");
    check(&collector, agent, &["1", "2", "3"]);
}

#[test]
fn a_removed_file_is_let_go_of_when_it_has_been_read() {
    let site = Site::new();
    let collector = site.collector().started();
    let agent = site.agent("a", &collector.url()).with_agent("renamed_follow = \"1s\"");
    let agent = agent.follows(&site.text("logs/*.log*"), "app").started();
    site.write("logs/a.log", "1\n");
    topic::wait_for(&collector.client(), "app", 1);
    site.remove("logs/a.log");
    let follows = |status: &serde_json::Value| {
        let files = status["files"].as_array().cloned().unwrap_or_default();
        files.iter().any(|file| file["path"].as_str().is_some_and(|path| path.ends_with("/a.log")))
    };
    wait::until("the removed file is let go", || agent.status().filter(|status| !follows(status)));
    check(&collector, agent, &["1"]);
}

/// Stops the agent once everything has arrived and checks every line of a writer.
#[track_caller]
fn check_writer(collector: &Collector, mut agent: Agent, writer: Writer) {
    topic::wait_for(&collector.client(), "app", writer.lines());
    assert_eq!(agent.program().stop(), Some(0));
    let report = verify(&[writer], &topic::read(&collector.client(), "app"));
    assert!(report.is_perfect(), "{report:#?}");
}

/// Scenario 8: the copies match the input's globs.
#[test]
fn files_rotated_by_copying_and_truncating_lose_and_double_nothing() {
    let (site, collector, agent) = following();
    let mut writer = Writer::new(&site.path("logs"), "w", u64::MAX, 8);
    for lines in [1, 40, 400, 3, 2000, 30, 1, 500] {
        writer.write_times(3, lines);
        writer.copy_and_truncate();
        writer.write(lines);
    }
    check_writer(&collector, agent, writer);
}

/// Scenario 8 with a collector that is away: nothing is acknowledged when the file is truncated.
#[test]
fn a_copy_is_adopted_while_the_collector_is_down() {
    let (site, mut collector, agent) = following();
    let mut writer = Writer::new(&site.path("logs"), "w", u64::MAX, 9);
    writer.write(100);
    topic::wait_for(&collector.client(), "app", 100);
    collector.program().kill9();
    writer.write(3000);
    writer.copy_and_truncate();
    writer.write(1000);
    collector.start();
    check_writer(&collector, agent, writer);
}

/// Scenario 12: the file is copied and truncated while the agent is stopped, and is longer than before or shorter.
#[test]
fn a_file_copied_and_truncated_while_the_agent_is_stopped_loses_and_doubles_nothing() {
    for (before, after) in [(5, 400), (400, 5), (4000, 4000)] {
        let (site, collector, mut agent) = following();
        let mut writer = Writer::new(&site.path("logs"), "w", u64::MAX, before);
        writer.write(before);
        topic::wait_for(&collector.client(), "app", before);
        assert_eq!(agent.program().stop(), Some(0));
        writer.write(before);
        writer.copy_and_truncate();
        writer.write(after);
        agent.start();
        check_writer(&collector, agent, writer);
    }
}

/// Scenario 11: the writer goes on at its old place, so the file begins with a hole.
#[test]
fn a_file_truncated_under_a_writer_that_does_not_append_keeps_its_lines_whole() {
    let (site, collector, agent) = following();
    site.write("logs/a.log", "");
    let mut file = std::fs::File::options().write(true).open(site.path("logs/a.log")).unwrap();
    for round in 0..3 {
        let line = format!("{round} {}\n", "x".repeat(100_000));
        file.write_all(line.as_bytes()).unwrap();
        topic::wait_for(&collector.client(), "app", round + 1);
        file.set_len(0).unwrap();
    }
    file.write_all(b"last\n").unwrap();
    let long = |round| format!("{round} {}", "x".repeat(100_000));
    check(&collector, agent, &[&long(0), &long(1), &long(2), "last"]);
}
