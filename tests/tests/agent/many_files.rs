//! More files than can be open, more folders than can be watched, more events than the kernel keeps. All are followed; what is short makes the
//! agent slower to notice, never forgetful.

use std::process::Command;
use std::time::Duration;

use skidway_tests::program::used;
use skidway_tests::verify::verify;
use skidway_tests::writer::Writer;
use skidway_tests::{Agent, Collector, Site, launch, report, scale, topic, wait};

/// Waits for every line of the writers, stops the agent and checks them.
#[track_caller]
fn check(collector: &Collector, agent: &mut Agent, writers: &[Writer]) {
    topic::wait_for(&collector.client(), "app", writers.iter().map(Writer::lines).sum());
    assert_eq!(agent.program().stop(), Some(0));
    let report = verify(writers, &topic::read(&collector.client(), "app"));
    assert!(report.is_perfect(), "{report:#?}");
}

fn writers(site: &Site, count: u64, rotate_bytes: u64) -> Vec<Writer> {
    let writer = |at| Writer::new(&site.path("logs"), &format!("w{at}"), rotate_bytes, at);
    (0..count).map(writer).collect()
}

fn write_all(writers: &mut [Writer], lines: u64) {
    for writer in writers {
        writer.write(lines);
    }
}

/// Scenario 39: how many files there are. What idling costs is measured by `bench/latency --idle`, too; here it is only bounded.
#[test]
fn many_times_more_files_than_can_be_open_are_all_followed() {
    const ACTIVE: u64 = 100;
    let files = scale::amount(50_000, 3_000);
    let site = Site::new();
    let collector = site.collector().started();
    let path = |file: u64| format!("logs/{}/{file}.log", file % 50);
    for file in 0..files {
        site.write(&path(file), format!("{file} first\n"));
    }
    let agent = site.agent("a", &collector.url()).under(["prlimit", "--nofile=1024"]);
    let mut agent = agent.follows(&site.text("logs/*/*.log"), "app");
    agent.start();
    let mut expected = files;
    wait_for_many(&collector, expected);
    agent.wait_ready();
    let (before, _) = used(agent.program().pid());
    let quiet = Duration::from_secs(3);
    wait::pause(quiet);
    let (after, rss) = used(agent.program().pid());
    let share = (after - before) / quiet.as_secs_f64() * 100.0;
    eprintln!("{files} files: {share:.2} % of a core while nothing happens, peak RSS {} MiB", rss >> 20);
    assert!(share < 20.0, "{share:.1} % of a core");
    for round in 0..5 {
        for file in (0..ACTIVE).map(|at| (at * (files / ACTIVE) + round) % files) {
            site.append(&path(file), format!("{file} round {round}\n"));
        }
        expected += ACTIVE;
        topic::wait_for(&collector.client(), "app", expected);
    }
    let status = agent.status().expect("the agent answers");
    let number = |field: &str| status["limits"][field].as_u64().unwrap_or(u64::MAX);
    assert!(
        number("open_files") <= number("open_files_max") && number("open_files_max") < 1024,
        "{}",
        status["limits"]
    );
    assert_eq!(agent.program().stop(), Some(0));
    let mut values = topic::values(&collector.client(), "app");
    values.sort();
    values.dedup();
    assert_eq!(values.len() as u64, expected);
    assert_eq!(topic::count(&collector.client(), "app"), expected);
}

/// Waits as long as there is progress.
fn wait_for_many(collector: &Collector, records: u64) {
    let mut arrived = 0;
    while arrived < records {
        topic::wait_for(&collector.client(), "app", arrived + 1);
        arrived = topic::count(&collector.client(), "app");
        wait::pause(Duration::from_millis(100));
    }
}

/// Scenario 39: EMFILE, for everything that needs a descriptor.
#[test]
fn an_agent_out_of_descriptors_forgets_nothing() {
    let site = Site::new();
    let collector = site.collector().started();
    let agent = site.agent("a", &collector.url()).with_agent("scan_interval = \"200ms\"");
    let mut agent = agent.follows(&site.text("logs/*.log*"), "app").started();
    let mut all = writers(&site, 20, 8 << 10);
    write_all(&mut all, 20);
    topic::wait_for(&collector.client(), "app", 400);
    let pid = agent.program().pid().to_string();
    let limit = |count: &str| {
        let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={count}:")]).status();
        assert!(limited.unwrap().success());
    };
    limit("8");
    for _ in 0..10 {
        write_all(&mut all, 20);
        wait::pause(Duration::from_millis(20));
    }
    all.push(Writer::new(&site.path("logs"), "late", 8 << 10, 99));
    write_all(&mut all, 20);
    let is_told = |agent: &mut Agent| agent.program().said().contains("os error 24");
    wait::until("it says that descriptors are short", || is_told(&mut agent).then_some(()));
    limit("500");
    write_all(&mut all, 20);
    check(&collector, &mut agent, &all);
}

/// Scenario 39: files set aside are renamed and deleted meanwhile. Deleted is only what was read: of the rest nobody can know.
#[test]
fn files_set_aside_may_be_renamed_and_once_read_deleted() {
    let site = Site::new();
    let collector = site.collector().started();
    let agent = site.agent("a", &collector.url()).with_agent("open_files_max = 8");
    let mut agent = agent.follows(&site.text("logs/*.log*"), "app").started();
    let mut all = writers(&site, 40, u64::MAX);
    for round in 0..8 {
        for writer in &mut all {
            writer.write(20);
            if round % 2 == 0 {
                writer.rotate();
            }
            writer.write(20);
        }
        topic::wait_for(&collector.client(), "app", all.iter().map(Writer::lines).sum());
    }
    // The oldest ones; no writer goes on with them.
    for at in 0..40 {
        site.remove(&format!("logs/w{at}.log.4"));
        site.remove(&format!("logs/w{at}.log.3"));
    }
    write_all(&mut all, 20);
    write_all(&mut all, 20);
    check(&collector, &mut agent, &all);
}

/// Scenario 39: deleted files are held open for a while, but not while others wait for a descriptor.
#[test]
fn deleted_files_make_room_for_new_ones() {
    let site = Site::new();
    let collector = site.collector().started();
    let agent = site.agent("a", &collector.url()).with_agent("open_files_max = 8\nscan_interval = \"500ms\"");
    let mut agent = agent.follows(&site.text("logs/*.log"), "app").started();
    for at in 0..14 {
        site.write(&format!("logs/{at}.log"), format!("{at}\n"));
        topic::wait_for(&collector.client(), "app", at + 1);
        site.remove(&format!("logs/{at}.log"));
    }
    assert_eq!(agent.program().stop(), Some(0));
    let mut values: Vec<u64> =
        topic::values(&collector.client(), "app").iter().map(|value| value.parse().unwrap()).collect();
    values.sort_unstable();
    assert_eq!(values, (0..14).collect::<Vec<u64>>());
}

/// Extra: inotify queue overflow.
#[test]
fn more_events_than_the_kernel_keeps_cost_no_line() {
    let kept = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap_or_default();
    let kept: u64 = kept.trim().parse().unwrap_or(16_384);
    let site = Site::new();
    let collector = site.collector().started();
    let mut agent = site.agent("a", &collector.url()).follows(&site.text("logs/**/*.log*"), "app").started();
    let mut all = writers(&site, 20, u64::MAX);
    write_all(&mut all, 1);
    topic::wait_for(&collector.client(), "app", 20);
    agent.program().freeze();
    // Two events in a row about one file are one; these are not.
    for _ in 0..=kept / all.len() as u64 {
        write_all(&mut all, 1);
    }
    // The kernel tells of none of these.
    for writer in &mut all {
        writer.rename_away();
        writer.write(1);
    }
    let late = |at: u64| Writer::new(&site.path(&format!("logs/new{}", at % 3)), &format!("late{at}"), u64::MAX, at);
    all.extend((0..20).map(late));
    write_all(&mut all, 5);
    agent.program().thaw();
    check(&collector, &mut agent, &all);
}

/// Scenario 39: inotify watches are scarce.
#[test]
fn folders_that_cannot_be_watched_are_listed_instead() {
    const FOLDERS: u64 = 30;
    let launcher = launch::with_inotify_watches(4);
    if !launch::works(&launcher) {
        return report::missing("no user namespace to take inotify watches away in; nothing ran in its place");
    }
    let site = Site::new();
    let collector = site.collector().started();
    let agent = site.agent("a", &collector.url()).under(launcher).with_agent("scan_interval = \"200ms\"");
    let mut agent = agent.follows(&site.text("logs/*/*.log*"), "app");
    let writer = |at: u64| Writer::new(&site.path(&format!("logs/{at}")), &format!("w{at}"), 2 << 10, at);
    let mut all: Vec<Writer> = (0..FOLDERS).map(writer).collect();
    write_all(&mut all, 5);
    agent.start();
    agent.wait_ready();
    for _ in 0..5 {
        topic::wait_for(&collector.client(), "app", all.iter().map(Writer::lines).sum());
        write_all(&mut all, 10);
    }
    let status = agent.status().expect("the agent answers");
    let troubles = status["troubles"].as_array().cloned().unwrap_or_default();
    let unwatched =
        troubles.iter().filter(|it| it["what"].as_str().is_some_and(|what| what.contains("cannot be watched")));
    assert!(unwatched.count() as u64 > FOLDERS / 2, "{troubles:?}");
    check(&collector, &mut agent, &all);
}
