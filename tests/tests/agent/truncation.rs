//! Files truncated, copied first or not: what was there arrives once, what comes then arrives once, and what is lost is told.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use skidway_tests::following::{check_lines, check_writers, following, following_with};
use skidway_tests::verify::{Report, verify};
use skidway_tests::writer::Writer;
use skidway_tests::{Site, scale, topic, wait};

#[test]
fn truncated_file_is_read_again_from_its_start() {
    let (site, collector, agent) = following();
    site.write("logs/a.log", "1\n2\n");
    topic::wait_for(&collector.client(), "app", 2);
    std::fs::File::options().write(true).open(site.path("logs/a.log")).unwrap().set_len(0).unwrap();
    site.append("logs/a.log", "3\n");
    check_lines(&collector, agent, &["1", "2", "3"]);
}

/// Scenario 10: ten times as much is there at once.
#[test]
fn a_file_truncated_and_refilled_past_its_old_length_is_read_again_from_its_start() {
    let (site, collector, agent) = following();
    let mut writer = Writer::new(&site.path("logs"), "w", u64::MAX, 10);
    for round in 1..6 {
        writer.write(100);
        topic::wait_for(&collector.client(), "app", round * 1100 - 1000);
        writer.truncate();
        writer.write(1000);
        topic::wait_for(&collector.client(), "app", round * 1100);
        writer.truncate();
    }
    check_writers(&collector, agent, &[writer]);
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
    check_lines(&collector, agent, &["1 before", "2 after, and longer than before", "3 more"]);
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
    check_writers(&collector, agent, &[writer]);
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
    check_writers(&collector, agent, &[writer]);
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
        check_writers(&collector, agent, &[writer]);
    }
}

/// Scenario 12, more than once, the files beginning alike; the agent is stopped, or stands still.
#[test]
fn a_file_copied_and_truncated_more_than_once_unseen_loses_and_doubles_nothing() {
    for is_stopped in [true, false] {
        for (header, before, after) in [(1, 0, 5), (1, 0, 0), (1, 3, 5), (100, 3, 5), (0, 3, 0)] {
            let (site, collector, mut agent) = following_with("copy_wait = \"1s\"");
            let mut file = Numbered { site: &site, header: "name,time\n".repeat(header), lines: Vec::new() };
            file.write_anew(before);
            topic::wait_for(&collector.client(), "app", file.lines.len() as u64);
            if is_stopped {
                assert_eq!(agent.program().stop(), Some(0));
            } else {
                agent.program().freeze();
            }
            file.write(5);
            for after in [0, 10, after] {
                site.rename_if_there("logs/a.log.2", "logs/a.log.3");
                site.rename_if_there("logs/a.log.1", "logs/a.log.2");
                copy_and_truncate(&site.path("logs/a.log"), &site.path("logs/a.log.1"));
                if after > 0 {
                    file.write_anew(after);
                }
            }
            if is_stopped {
                agent.start();
            } else {
                agent.program().thaw();
            }
            let mut lines: Vec<&str> = file.lines.iter().map(String::as_str).collect();
            lines.sort_unstable();
            check_lines(&collector, agent, &lines);
        }
    }
}

/// Writes `logs/a.log`: headers, and lines that are numbered on and on.
struct Numbered<'s> {
    site: &'s Site,
    header: String,
    lines: Vec<String>,
}

impl Numbered<'_> {
    /// Appends the header and so many lines.
    fn write_anew(&mut self, count: usize) {
        self.site.append("logs/a.log", &self.header);
        self.lines.extend(self.header.lines().map(str::to_owned));
        self.write(count);
    }

    fn write(&mut self, count: usize) {
        for _ in 0..count {
            let line = (1000 + self.lines.len()).to_string();
            self.site.append("logs/a.log", format!("{line}\n"));
            self.lines.push(line);
        }
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
    check_lines(&collector, agent, &[&long(0), &long(1), &long(2), "last"]);
}

/// Scenario 8 with a program that writes 5,000 lines/s all the while: what it writes between copy and truncation is lost to everyone.
#[test]
fn what_is_written_between_copying_and_truncating_is_recorded_as_lost() {
    let report = copy_and_truncate_under_way("logs");
    assert!(report.lost < report.lines / 5, "{report:#?}");
}

/// Scenario 8, the agent standing still while the program writes between copy and truncation: neither file has that.
#[test]
fn lines_that_neither_the_copy_nor_the_file_holds_are_recorded_as_lost() {
    let (site, collector, mut agent) = following();
    site.write("logs/a.log", "1\n");
    topic::wait_for(&collector.client(), "app", 1);
    agent.program().freeze();
    site.append("logs/a.log", "2\n");
    std::fs::copy(site.path("logs/a.log"), site.path("logs/a.log.1")).unwrap();
    site.append("logs/a.log", "lost to everyone\n");
    truncate(&site.path("logs/a.log"));
    site.append("logs/a.log", "3\n");
    agent.program().thaw();
    topic::wait_for(&collector.client(), "app", 3);
    let told = topic::events(&collector.client(), "lost");
    assert_eq!((told.len(), &told[0]["exact"]), (1, &false.into()), "{told:#?}");
    check_lines(&collector, agent, &["1", "2", "3"]);
}

/// Scenario 8, the copies where nobody looks: what was not read when the file was truncated is lost.
#[test]
fn what_a_truncation_takes_that_was_not_read_is_recorded_as_lost() {
    let report = copy_and_truncate_under_way("elsewhere");
    assert!(report.lost < report.lines / 5, "{report:#?}");
}

/// Copies `logs/w.log` to `folder` and truncates it, again and again, while it is written to. Checks all but how much was lost.
#[track_caller]
fn copy_and_truncate_under_way(folder: &str) -> Report {
    let (site, collector, mut agent) = following();
    let folder = site.path(folder);
    std::fs::create_dir_all(&folder).unwrap();
    let mut writer = Writer::new(&site.path("logs"), "w", u64::MAX, 88);
    let rotations = scale::amount(60, 5) as u32;
    let end = Instant::now() + Duration::from_millis(600) * (rotations + 1);
    let writing = std::thread::spawn(move || {
        while Instant::now() < end {
            writer.write(25);
            wait::pause(Duration::from_millis(5));
        }
        writer
    });
    let log = site.path("logs/w.log");
    for rotation in 0..rotations {
        wait::pause(Duration::from_millis(600));
        copy_and_truncate(&log, &folder.join(format!("w.log.{:03}", 999 - rotation)));
    }
    let writer = writing.join().unwrap();
    let client = collector.client();
    let arrived = || topic::values(&client, "app").last().is_some_and(|line| is_line(line, writer.lines() - 1));
    wait::until("the last line has arrived", || arrived().then_some(()));
    wait::until("nothing waits", || (!agent.has_unacknowledged()).then_some(()));
    assert_eq!(agent.program().stop(), Some(0));
    let records = topic::read(&client, "app");
    // A copy may end within a line that was being written.
    let (torn, whole): (Vec<_>, Vec<_>) =
        records.into_iter().partition(|record| record.headers.contains_key("skidway-partial"));
    let report = verify(&[writer], &whole);
    let told = topic::events(&client, "lost");
    assert!(report.doubled + report.disordered + report.corrupted + report.unknown == 0, "{report:#?}");
    assert!(torn.len() <= rotations as usize, "{torn:#?}");
    assert!(told.len() as u32 >= rotations, "each truncation is told of: {told:#?}");
    assert!(told.iter().all(|event| event["exact"] == false), "{told:#?}");
    report
}

fn is_line(line: &str, seq: u64) -> bool {
    line.starts_with(&format!("w {seq} "))
}

fn copy_and_truncate(log: &Path, copy: &PathBuf) {
    std::fs::copy(log, copy).unwrap();
    truncate(log);
}

fn truncate(log: &Path) {
    std::fs::File::options().write(true).open(log).unwrap().set_len(0).unwrap();
}

/// Scenario 9: a header of 2 KB opens each file; the agent stands still until the file is longer than before.
#[test]
fn a_file_that_begins_as_before_it_was_truncated_is_read_from_its_start() {
    for is_copied in [true, false] {
        let (site, collector, mut agent) = following();
        let header = "#".repeat(2047);
        site.write("logs/a.log", format!("{header}\n1\n2\n"));
        topic::wait_for(&collector.client(), "app", 3);
        agent.program().freeze();
        if is_copied {
            site.append("logs/a.log", "3\n");
            copy_and_truncate(&site.path("logs/a.log"), &site.path("logs/a.log.1"));
        }
        let mut file = std::fs::File::options().write(true).truncate(true).open(site.path("logs/a.log")).unwrap();
        file.write_all(format!("{header}\n4\n5\n6\n").as_bytes()).unwrap();
        agent.program().thaw();
        let lines = [&header, &header, "1", "2", "3", "4", "5", "6"];
        let lines: Vec<&str> = lines.into_iter().filter(|line| is_copied || *line != "3").collect();
        check_lines(&collector, agent, &lines);
    }
}
