//! Files renamed, removed and recreated under the agent's eyes and behind its back.

use std::io::Write;
use std::time::Duration;

use skidway_tests::following::{check_lines, check_writers, check_writers_but_missed, following, following_with};
use skidway_tests::writer::Writer;
use skidway_tests::{scale, topic, wait};

#[test]
fn renamed_file_is_read_to_its_end_and_its_successor_from_its_start() {
    let (site, collector, agent) = following();
    site.write("logs/a.log", "1\n");
    topic::wait_for(&collector.client(), "app", 1);
    let mut old = site.open("logs/a.log");
    site.rename("logs/a.log", "logs/a.log.1");
    site.write("logs/a.log", "2\n");
    topic::wait_for(&collector.client(), "app", 2);
    old.write_all(b"3\n").unwrap();
    check_lines(&collector, agent, &["1", "2", "3"]);
}

#[test]
fn file_renamed_out_of_the_pattern_is_read_to_its_end() {
    let (site, collector, agent) = following();
    site.write("logs/a.log", "1\n");
    topic::wait_for(&collector.client(), "app", 1);
    let mut old = site.open("logs/a.log");
    site.rename("logs/a.log", "logs/a.old");
    old.write_all(b"2\n").unwrap();
    check_lines(&collector, agent, &["1", "2"]);
}

#[test]
fn removed_file_is_read_to_its_end() {
    let (site, collector, agent) = following();
    site.write("logs/a.log", "1\n");
    topic::wait_for(&collector.client(), "app", 1);
    let mut old = site.open("logs/a.log");
    site.remove("logs/a.log");
    old.write_all(b"2\n").unwrap();
    check_lines(&collector, agent, &["1", "2"]);
}

#[test]
fn removed_and_recreated_file_is_read_from_its_start() {
    let (site, collector, agent) = following();
    site.write("logs/a.log", "1\n");
    topic::wait_for(&collector.client(), "app", 1);
    site.remove("logs/a.log");
    site.write("logs/a.log", "2\n");
    check_lines(&collector, agent, &["1", "2"]);
}

/// Scenario 1: ten programs rotate by renaming, each 256 KB, and write on to each old file for 3 s.
#[test]
fn files_rotated_while_their_old_descriptors_are_written_to_arrive_whole_and_in_order() {
    let (site, collector, agent) = following();
    let (lines, steps) = (scale::amount(100_000, 10_000), 100);
    let writer = |at| Writer::new(&site.path("logs"), &format!("w{at}"), 256 << 10, at);
    let mut writers: Vec<Writer> = (0..10).map(|at| writer(at).writing_late(Duration::from_secs(3))).collect();
    for _ in 0..steps {
        for writer in &mut writers {
            writer.write(lines / steps);
        }
        wait::pause(Duration::from_millis(40));
    }
    check_writers(&collector, agent, &writers);
}

/// Scenario 2: a line comes to the old file 1 min and 10 min after the rotation, whatever became of its name.
#[test]
fn lines_written_long_after_the_rotation_arrive() {
    let (site, collector, agent) = following();
    let names = ["kept", "left", "removed"];
    let mut old = names.map(|name| site.open(&format!("logs/{name}.log")));
    let mut write = |line: &str| old.iter_mut().for_each(|file| file.write_all(line.as_bytes()).unwrap());
    write("1\n");
    topic::wait_for(&collector.client(), "app", 3);
    site.rename("logs/kept.log", "logs/kept.log.1");
    site.rename("logs/left.log", "elsewhere");
    site.remove("logs/removed.log");
    names.iter().for_each(|name| drop(site.write(&format!("logs/{name}.log"), "0\n")));
    let (minute, ten) = (Duration::from_secs(60), Duration::from_secs(600));
    wait::pause(scale::duration(minute, Duration::from_secs(1)));
    write("2\n");
    wait::pause(scale::duration(ten - minute, Duration::from_secs(3)));
    write("3\n");
    check_lines(&collector, agent, &["0", "0", "0", "1", "1", "1", "2", "2", "2", "3", "3", "3"]);
}

/// Scenario 3: the collector is away for 30 s, in which the file is written to and rotated.
#[test]
fn rotation_while_the_collector_is_down_loses_and_doubles_nothing() {
    let (site, mut collector, agent) = following();
    let mut writer = Writer::new(&site.path("logs"), "w", 64 << 10, 3);
    writer.write(100);
    topic::wait_for(&collector.client(), "app", 1);
    collector.program().kill9();
    let down = scale::duration(Duration::from_secs(30), Duration::from_secs(1));
    for _ in 0..50 {
        writer.write(100);
        wait::pause(down / 50);
    }
    collector.start();
    check_writers(&collector, agent, &[writer]);
}

/// Scenario 5: what was not read is in `w.log.1`; both names match.
#[test]
fn the_unread_tail_of_a_file_renamed_while_the_agent_is_stopped_arrives_and_so_does_the_new_file() {
    let (site, collector, mut agent) = following();
    let mut writer = Writer::new(&site.path("logs"), "w", u64::MAX, 5);
    writer.write(30);
    topic::wait_for(&collector.client(), "app", 30);
    assert_eq!(agent.program().stop(), Some(0));
    writer.write(30);
    writer.rename_away();
    writer.write(30);
    agent.start();
    check_writers(&collector, agent, &[writer]);
}

#[test]
fn many_rotations_while_the_agent_is_stopped_lose_and_double_nothing() {
    let (site, collector, mut agent) = following();
    let mut writer = Writer::new(&site.path("logs"), "w", 8 << 10, 2);
    writer.write(30);
    topic::wait_for(&collector.client(), "app", 30);
    assert_eq!(agent.program().stop(), Some(0));
    writer.write_times(20, 30);
    agent.start();
    check_writers(&collector, agent, &[writer]);
}

/// Scenario 6: a → .1 → .2 → .3 within a second, 10 MB each.
#[test]
fn three_rotations_within_a_moment_lose_nothing() {
    let (site, collector, agent) = following();
    let mut writer = Writer::new(&site.path("logs"), "w", u64::MAX, 1);
    for _ in 0..3 {
        let (mut bytes, enough) = (0, scale::amount(10 << 20, 2 << 20));
        while bytes < enough {
            bytes += writer.write(2000);
        }
        writer.rotate();
    }
    check_writers(&collector, agent, &[writer]);
}

/// Scenario 7: a file lives for less than 300 ms; its writer holds it 2 s more. If the agent was too late, it says so.
#[test]
fn a_file_that_lives_for_a_moment_arrives_or_is_counted_as_missed() {
    let (site, collector, agent) = following_with("renamed_follow = \"1s\"");
    let mut writers = Vec::new();
    for at in 0..scale::amount(300, 10) {
        let mut writer = Writer::new(&site.path("logs"), &format!("w{at}"), u64::MAX, at);
        writer.write_times(10, 100);
        wait::pause(Duration::from_millis(20 * (at % 10)));
        site.remove(&format!("logs/w{at}.log"));
        writers.push(writer);
    }
    wait::pause(Duration::from_secs(2));
    check_writers_but_missed(&collector, agent, writers, 1000);
}

/// Scenario 7, the agent standing still: it cannot have seen the file.
#[test]
fn a_file_gone_before_it_could_be_looked_at_is_counted_as_missed() {
    let (site, collector, mut agent) = following();
    site.write("logs/a.log", "1\n");
    topic::wait_for(&collector.client(), "app", 1);
    agent.program().freeze();
    site.write("logs/b.log", "gone\n");
    site.remove("logs/b.log");
    // These are followed, whatever their names become.
    site.rename("logs/a.log", "logs/a.log.1");
    site.write("logs/c.log", "2\n");
    site.rename("logs/c.log", "logs/c.log.1");
    site.write("logs/c.log", "3\n");
    agent.program().thaw();
    wait::until("the file is counted as missed", || (agent.missed_files() > 0).then_some(()));
    site.append("logs/a.log.1", "4\n");
    topic::wait_for(&collector.client(), "app", 4);
    assert_eq!(agent.missed_files(), 1);
    check_lines(&collector, agent, &["1", "2", "3", "4"]);
}

#[test]
fn a_removed_file_is_let_go_of_when_it_has_been_read() {
    let (site, collector, agent) = following_with("renamed_follow = \"1s\"");
    site.write("logs/a.log", "1\n");
    topic::wait_for(&collector.client(), "app", 1);
    site.remove("logs/a.log");
    agent.wait_until_let_go("/a.log");
    check_lines(&collector, agent, &["1"]);
}
