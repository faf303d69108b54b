//! The agent's state: damaged, unreadable, on a full disk, behind a power loss, from yesterday, in use twice. It is a hint: whatever becomes of
//! it, every line arrives once.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skidway_tests::following::check_while;
use skidway_tests::image::Image;
use skidway_tests::verify::verify;
use skidway_tests::writer::Writer;
use skidway_tests::{Agent, Site, launch, report, scale, topic, wait};

#[test]
fn a_lost_checkpoint_costs_nothing() {
    checkpoint_test(|agent| {
        std::fs::remove_dir_all(agent.state_dir()).unwrap();
    });
}

#[test]
fn a_checkpoint_of_garbage_costs_nothing() {
    checkpoint_test(|agent| {
        for entry in std::fs::read_dir(agent.state_dir()).unwrap() {
            std::fs::write(entry.unwrap().path(), [0; 100]).unwrap();
        }
    });
}

/// Stops the agent, spoils its state with `spoil`, and starts it again.
fn checkpoint_test(spoil: impl Fn(&Agent)) {
    let site = Site::new();
    let collector = site.collector().started();
    let mut agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log*"), "app").started();
    check_while(&site, &collector, &mut agent, |step, agent| {
        if step == 30 {
            agent.program().stop();
            spoil(agent);
            agent.start();
        }
    });
}

/// Gives the checkpoint written last, and its text.
fn newest_checkpoint(agent: &Agent) -> (PathBuf, Vec<u8>) {
    let files = [0, 1].map(|turn| agent.state_dir().join(format!("checkpoint.{turn}")));
    let written =
        |path: &PathBuf| std::fs::metadata(path).and_then(|it| it.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let newest = files.into_iter().max_by_key(written).unwrap();
    let bytes = std::fs::read(&newest).unwrap();
    (newest, bytes)
}

/// Scenario 27: one file at a time, so that the previous generation is there.
#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_it_is_used() {
    type Damage = fn(&Path, Vec<u8>);
    let damages: [(&str, Damage); 6] = [
        ("empty", |path, _| std::fs::write(path, "").unwrap()),
        ("truncated", |path, bytes| std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap()),
        ("all NUL", |path, bytes| std::fs::write(path, vec![0; bytes.len()]).unwrap()),
        ("bit-flipped", |path, mut bytes| {
            bytes[20] ^= 4;
            std::fs::write(path, bytes).unwrap();
        }),
        ("of a newer version", |path, mut bytes| {
            bytes[4] += 1;
            std::fs::write(path, bytes).unwrap();
        }),
        ("unreadable", |path, _| std::fs::set_permissions(path, Permissions::from_mode(0o000)).unwrap()),
    ];
    for (name, damage) in damages {
        let site = Site::new();
        let collector = site.collector().started();
        let agent = site.agent("a", &collector.url()).under(launch::bound_by_permissions());
        let mut agent = agent.follows(&site.text("logs/*.log*"), "app").started();
        let mut writer = Writer::new(&site.path("logs"), "w", 16 << 10, 27);
        for _ in 0..2 {
            writer.write(300);
            topic::wait_for(&collector.client(), "app", writer.lines());
            assert_eq!(agent.program().stop(), Some(0));
            agent.start();
            agent.wait_ready();
        }
        assert_eq!(agent.program().stop(), Some(0));
        let (path, bytes) = newest_checkpoint(&agent);
        damage(&path, bytes);
        writer.write(300);
        agent.start();
        topic::wait_for(&collector.client(), "app", writer.lines());
        let said = agent.program().said();
        assert!(said.contains("passing over a checkpoint that cannot be read"), "{name}: {said}");
        assert_eq!(agent.program().stop(), Some(0));
        let report = verify(&[writer], &topic::read(&collector.client(), "app"));
        assert!(report.is_perfect(), "{name}: {report:#?}");
        // Another log is not shipped to: the generation before remembers which one it was.
        let (path, bytes) = newest_checkpoint(&agent);
        damage(&path, bytes);
        let other = Site::new();
        let other_collector = other.collector().started();
        let agent = site.agent("a", &other_collector.url()).under(launch::bound_by_permissions());
        let mut agent = agent.follows(&site.text("logs/*.log*"), "app");
        agent.start();
        wait::until("the agent refuses the other log", || agent.program().said().contains("on_new_log").then_some(()));
        assert_eq!(topic::count(&other_collector.client(), "app"), 0, "{name}");
    }
}

/// Scenario 27: what an agent run once by root leaves behind in the state folder of one that is not root.
#[test]
fn an_agent_that_may_not_touch_any_file_of_its_state_starts_and_goes_on() {
    let site = Site::new();
    let collector = site.collector().started();
    let agent = site.agent("a", &collector.url()).under(launch::bound_by_permissions());
    let mut agent = agent.follows(&site.text("logs/*.log*"), "app").started();
    let mut writer = Writer::new(&site.path("logs"), "w", 16 << 10, 27);
    writer.write(300);
    topic::wait_for(&collector.client(), "app", writer.lines());
    assert_eq!(agent.program().stop(), Some(0));
    for entry in std::fs::read_dir(agent.state_dir()).unwrap() {
        std::fs::set_permissions(entry.unwrap().path(), Permissions::from_mode(0o000)).unwrap();
    }
    std::fs::write(agent.state_dir().join("checkpoint.0.new"), "left behind by a crash").unwrap();
    std::fs::set_permissions(agent.state_dir().join("checkpoint.0.new"), Permissions::from_mode(0o000)).unwrap();
    writer.write(300);
    agent.start();
    topic::wait_for(&collector.client(), "app", writer.lines());
    assert_eq!(agent.program().stop(), Some(0));
    let said = agent.program().said();
    assert!(said.contains("passing over a checkpoint that cannot be read"), "{said}");
    let report = verify(&[writer], &topic::read(&collector.client(), "app"));
    assert!(report.is_perfect(), "{report:#?}");
    let readable = [0, 1].into_iter().filter(|turn| {
        std::fs::metadata(agent.state_dir().join(format!("checkpoint.{turn}")))
            .is_ok_and(|it| it.permissions().mode() & 0o400 != 0)
    });
    assert!(readable.count() > 0, "a new checkpoint took the place of an old one; the agent said:\n{said}");
}

/// Scenario 26, the agent's side. That the collector's acknowledgements survive is shown on the lying disk (`collector/commitlog`), with a
/// crash at every write and every sync.
#[test]
fn power_lost_at_random_moments_costs_no_line_and_doubles_none() {
    let site = Site::new();
    let collector = site.collector().started();
    let seed = scale::seed();
    eprintln!("seed {seed} (SKIDWAY_TEST_SEED={seed} repeats it)");
    let mut random = StdRng::seed_from_u64(seed);
    let image = Image::mount(&site, 16);
    if let Err(reason) = &image {
        report::missing(&format!(
            "no file system to lose power under ({reason}); the agent is killed and its state set back"
        ));
    }
    let state = image.as_ref().map_or(site.path("state"), |image| image.path().join("state"));
    let mut agent = site.agent("a", &collector.url()).keeping(&state);
    agent = agent.follows(&site.text("logs/*.log*"), "app").started();
    let mut writer = Writer::new(&site.path("logs"), "w", 64 << 10, seed);
    for _ in 0..scale::amount(50, 8) {
        for _ in 0..random.random_range(1..20) {
            writer.write(100);
            wait::pause(Duration::from_millis(random.random_range(0..40)));
        }
        let before = image.is_err().then(|| copy_of(&state));
        agent.program().kill9();
        match &image {
            Ok(image) => image.lose_power().unwrap(),
            Err(_) => before.into_iter().for_each(|before| restore(&state, &before)),
        }
        agent.start();
    }
    agent.wait_ready();
    topic::wait_for(&collector.client(), "app", writer.lines());
    assert_eq!(agent.program().stop(), Some(0));
    let report = verify(&[writer], &topic::read(&collector.client(), "app"));
    assert!(report.is_perfect(), "seed {seed}: {report:#?}");
}

/// Scenario 28.
#[test]
fn a_full_state_disk_stops_no_line_and_the_checkpoint_catches_up() {
    let site = Site::new();
    let collector = site.collector().started();
    let image = match Image::mount(&site, 16) {
        Ok(image) => image,
        Err(reason) => return report::missing(&format!("no disk to fill up ({reason}); nothing ran in its place")),
    };
    let agent = site.agent("a", &collector.url()).keeping(&image.path().join("state"));
    let mut agent = agent.follows(&site.text("logs/*.log*"), "app").started();
    let mut writer = Writer::new(&site.path("logs"), "w", 64 << 10, 28);
    writer.write(100);
    topic::wait_for(&collector.client(), "app", writer.lines());
    wait::until("a checkpoint is there", || agent.state_dir().join("checkpoint.1").exists().then_some(()));
    let full = image.fill();
    let until = std::time::Instant::now() + scale::duration(Duration::from_secs(120), Duration::from_secs(2));
    while std::time::Instant::now() < until {
        writer.write(10);
        topic::wait_for(&collector.client(), "app", writer.lines());
    }
    let fails = |agent: &mut Agent| agent.program().said().matches("cannot save the checkpoint").count();
    let before = fails(&mut agent);
    wait::until("the last checkpoint cannot be saved", || (fails(&mut agent) > before + 1).then_some(()));
    let (_, before) = newest_checkpoint(&agent);
    drop(full);
    // Nothing more is written: what could not be saved is saved all the same.
    wait::until("the checkpoint catches up", || (newest_checkpoint(&agent).1 != before).then_some(()));
    assert_eq!(agent.program().stop(), Some(0));
    let report = verify(&[writer], &topic::read(&collector.client(), "app"));
    assert!(report.is_perfect(), "{report:#?}");
}

/// Scenario 28, beyond its text: the disk broke down and is read-only, and the agent is started again on it.
#[test]
fn an_agent_starts_and_ships_on_a_state_disk_that_is_read_only() {
    let site = Site::new();
    let collector = site.collector().started();
    let image = match Image::mount(&site, 16) {
        Ok(image) => image,
        Err(reason) => return report::missing(&format!("no disk to break down ({reason}); nothing ran in its place")),
    };
    let agent = site.agent("a", &collector.url()).keeping(&image.path().join("state"));
    let mut agent = agent.follows(&site.text("logs/*.log*"), "app").started();
    let mut writer = Writer::new(&site.path("logs"), "w", 64 << 10, 28);
    writer.write(500);
    topic::wait_for(&collector.client(), "app", writer.lines());
    image.break_down().expect("ext4 can be made to find an error");
    writer.write(500);
    topic::wait_for(&collector.client(), "app", writer.lines());
    agent.program().kill9();
    writer.write(500);
    agent.start();
    agent.wait_ready();
    topic::wait_for(&collector.client(), "app", writer.lines());
    assert_eq!(agent.program().stop(), Some(0));
    let report = verify(&[writer], &topic::read(&collector.client(), "app"));
    assert!(report.is_perfect(), "{report:#?}");
}

fn copy_of(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter_map(|path| std::fs::read(&path).ok().map(|bytes| (path, bytes))).collect()
}

fn restore(folder: &Path, files: &[(PathBuf, Vec<u8>)]) {
    std::fs::remove_dir_all(folder).unwrap();
    std::fs::create_dir(folder).unwrap();
    files.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
}

/// Scenario 29: the collector knows better than a state that was set back.
#[test]
fn a_state_restored_from_yesterday_ships_nothing_again() {
    let site = Site::new();
    let collector = site.collector().started();
    let mut agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log*"), "app").started();
    let mut writer = Writer::new(&site.path("logs"), "w", 32 << 10, 29);
    writer.write_times(5, 100);
    topic::wait_for(&collector.client(), "app", writer.lines());
    assert_eq!(agent.program().stop(), Some(0));
    let yesterday = copy_of(agent.state_dir());
    agent.start();
    writer.write_times(10, 100);
    topic::wait_for(&collector.client(), "app", writer.lines());
    agent.program().kill9();
    restore(agent.state_dir(), &yesterday);
    writer.write_times(5, 100);
    agent.start();
    topic::wait_for(&collector.client(), "app", writer.lines());
    assert_eq!(agent.program().stop(), Some(0));
    assert!(!agent.program().said().contains("log-regressed"), "{}", agent.program().last_words());
    let report = verify(&[writer], &topic::read(&collector.client(), "app"));
    assert!(report.is_perfect(), "{report:#?}");
}

/// Scenario 30: the same state folder.
#[test]
fn a_second_agent_on_the_same_state_folder_refuses_to_start() {
    let site = Site::new();
    let collector = site.collector().started();
    let pattern = site.text("logs/*.log");
    let mut first = site.agent("a", &collector.url()).follows(&pattern, "app").started();
    let second = site.agent("b", &collector.url()).keeping(first.state_dir()).follows(&pattern, "app");
    let (code, said) = second.once();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is in use by another agent"), "{said}");
    site.write("logs/app.log", "line\n");
    topic::wait_for(&collector.client(), "app", 1);
    assert_eq!(first.program().stop(), Some(0));
}

/// Scenario 30: the same files, each with a state of its own.
#[test]
fn a_second_agent_of_the_same_id_fences_the_first() {
    let site = Site::new();
    let collector = site.collector().started();
    let pattern = site.text("logs/*.log");
    let mut first = site.agent("a", &collector.url()).follows(&pattern, "app").started();
    let other_site = Site::new();
    let mut second = other_site.agent("a", &collector.url()).follows(&pattern, "app").started();
    site.write("logs/app.log", "line\n");
    let exit = first.program().exit_within(wait::PATIENCE).expect("the fenced agent ends");
    assert_eq!(exit.code(), Some(77), "{}", first.program().last_words());
    topic::wait_for(&collector.client(), "app", 1);
    assert_eq!(second.program().stop(), Some(0));
    assert_eq!(topic::values(&collector.client(), "app"), ["line"]);
}

/// Scenario 30: two machines, cloned with their agent's id.
#[test]
fn a_second_machine_with_the_same_agent_id_is_refused_with_both_addresses() {
    let site = Site::new();
    let other_machine =
        launch::seeing(&site.write("machine-id", "0123456789abcdef0123456789abcdef\n"), "/etc/machine-id");
    if !launch::works(&other_machine) {
        return report::missing(
            "no mount namespace to give a program another machine id in; the collector's unit tests stand for it",
        );
    }
    let collector = site.collector().started();
    let pattern = site.text("logs/*.log");
    let mut first = site.agent("a", &collector.url()).follows(&pattern, "app").started();
    let other_site = Site::new();
    let mut second = other_site.agent("a", &collector.url()).follows(&pattern, "app").under(other_machine);
    second.start();
    let refused = |agent: &mut Agent| agent.program().said().contains("is in use by another machine");
    wait::until("the second machine is refused", || refused(&mut second).then_some(()));
    let said = second.program().said();
    assert!(said.matches("connects from 127.0.0.1:").count() >= 2, "{said}");
    // At full length the first is silent for longer than its id is kept for one that says nothing.
    wait::pause(scale::duration(Duration::from_secs(75), Duration::from_secs(1)));
    site.write("logs/app.log", "line\n");
    topic::wait_for(&collector.client(), "app", 1);
    assert!(first.program().runs(), "{}", first.program().last_words());
    assert_eq!(first.program().stop(), Some(0));
    assert_eq!(topic::values(&collector.client(), "app"), ["line"]);
}
