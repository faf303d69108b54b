//! An agent in daily use: its configuration read again, files removed once they are read, limits of what it reads and keeps.

use std::time::Duration;

use serde_json::Value;
use skidway_tests::verify::verify;
use skidway_tests::writer::Writer;
use skidway_tests::{Agent, Collector, Site, scale, topic, wait};

/// Writes an input that follows the files of a folder below `logs` into a topic of that name.
fn input(site: &Site, folder: &str, more: &str) -> String {
    format!("[[inputs]]\ninclude = [{:?}]\ntopic = {folder:?}\n{more}\n", site.text(&format!("logs/{folder}/*.log*")))
}

/// Waits until the agent has said this at least so many times.
#[track_caller]
fn wait_said(agent: &mut Agent, words: &str, times: usize) {
    let program = agent.program();
    wait::until(&format!("the agent says {words:?}"), || {
        (program.said().matches(words).count() >= times).then_some(())
    });
}

/// Scenario 40, of a reload: inputs come and go while all files grow and are rotated.
#[test]
fn a_reload_under_load_loses_and_doubles_nothing() {
    let site = Site::new();
    let collector = site.collector().started();
    let folders = ["kept", "paused", "added"];
    let mut writers: Vec<Writer> = folders
        .iter()
        .zip(1..)
        .map(|(name, seed)| Writer::new(&site.path("logs").join(name), name, 128 << 10, seed))
        .collect();
    let inputs = |names: &[&str]| names.iter().map(|name| input(&site, name, "")).collect::<String>();
    let mut agent = site.agent("a", &collector.url()).with(&inputs(&["kept", "paused"])).started();
    for step in 0..60 {
        writers.iter_mut().for_each(|writer| {
            writer.write(40);
        });
        wait::pause(Duration::from_millis(10));
        match step {
            15 => agent.reload(&inputs(&["added", "kept"])),
            25 => agent.reload("[[inputs]]\ninclude = []\ntopic = \"{nothing}\"\n"),
            35 => agent.reload(&inputs(&["kept", "paused", "added"])),
            _ => continue,
        }
        // Signals that come at once are one.
        wait_said(&mut agent, if step == 25 { "is not reloaded" } else { "is reloaded" }, 1 + step / 35);
    }
    for writer in &writers {
        topic::wait_for(&collector.client(), writer.name(), writer.lines());
    }
    assert_eq!(agent.program().stop(), Some(0));
    for (name, writer) in folders.iter().zip(writers) {
        let report = verify(&[writer], &topic::read(&collector.client(), name));
        assert!(report.is_perfect(), "{name}: {report:#?}");
    }
    let said = agent.program().said();
    assert!(!said.contains("its file is gone"), "files that are there were reported gone:\n{said}");
}

/// Scenario 40, of a bad configuration: each mistake is named, and the one before goes on.
#[test]
fn a_bad_configuration_is_named_and_the_old_one_goes_on() {
    let site = Site::new();
    let collector = site.collector().started();
    let mut agent = site.agent("a", &collector.url()).with(&input(&site, "app", "")).started();
    agent.reload("lingger = \"1s\"\n[[inputs]]\ninclude = [\"/x[\"]\ntopic = \"app\"\npartial_flush = \"1ms\"\n");
    for mistake in ["collector.lingger: unknown key", "inputs.0.include: ", "inputs.0.partial_flush: expected"] {
        wait_said(&mut agent, mistake, 1);
    }
    site.write("logs/app/a.log", "still followed\n");
    topic::wait_for(&collector.client(), "app", 1);
    assert_eq!(agent.program().stop(), Some(0));
    assert!(!agent.program().said().contains("is reloaded"));
}

/// Scenario 40, of changed inputs: other patterns, other files, other labels, each from where the file stands.
#[test]
fn what_a_reload_changes_holds_for_what_is_read_from_then_on() {
    let site = Site::new();
    let collector = site.collector().started();
    let multiline = |pattern| format!("multiline = {{ mode = \"start\", pattern = '{pattern}', flush = \"300ms\" }}");
    let mut agent = site.agent("a", &collector.url()).with(&input(&site, "app", &multiline("^A"))).started();
    site.write("logs/app/a.log", "A one\n more\nA two\n");
    site.write("logs/app/b.log", "A of b\n");
    topic::wait_for(&collector.client(), "app", 3);
    let excluding = format!("exclude = [\"b.log\"]\n{}", multiline("^B"));
    let labels = "[agent.labels]\nenv = \"prod\"\n";
    agent.reload(&format!("request_timeout = \"7s\"\n{}{labels}", input(&site, "app", &excluding)));
    wait_said(&mut agent, "the configuration is reloaded", 1);
    wait_said(&mut agent, "key=\"collector.request_timeout\"", 1);
    site.append("logs/app/a.log", "B three\nA four\nB five\n");
    site.append("logs/app/b.log", "A while b is left out\n");
    topic::wait_for(&collector.client(), "app", 5);
    agent.reload(&input(&site, "app", &multiline("^A")));
    topic::wait_for(&collector.client(), "app", 6);
    assert_eq!(agent.program().stop(), Some(0));
    let records = topic::read(&collector.client(), "app");
    let mut found: Vec<(&str, &str)> =
        records.iter().map(|record| (record.value.as_deref().unwrap(), topic::header(record, "env"))).collect();
    found.sort_unstable();
    let expected = [
        ("A of b", ""),
        ("A one\n more", ""),
        ("A two", ""),
        ("A while b is left out", ""),
        ("B five", "prod"),
        ("B three\nA four", "prod"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn room_that_was_reserved_is_not_behind() {
    let site = Site::new();
    let collector = site.collector().started();
    let mut agent = site.agent("a", &collector.url()).with(&input(&site, "app", "")).started();
    let path = site.write("logs/app/a.log", "one\n");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 4 << 20).unwrap();
    topic::wait_for(&collector.client(), "app", 1);
    let is_at = |position: u64| {
        wait::until("all that was written is acknowledged", || {
            let status = agent.status()?;
            let file = &status["files"][0];
            let figure = |name: &str| file[name].as_u64();
            let figures = (figure("position")?, figure("bytes_behind")?, figure("oldest_unacknowledged_ms")?);
            (figures == (position, 0, 0)).then_some(())
        });
    };
    is_at(4);
    std::os::unix::fs::FileExt::write_all_at(&file, b"two\n", 4).unwrap();
    is_at(8);
    // What is written behind a gap is found all the same, and the gap is a hole.
    std::os::unix::fs::FileExt::write_all_at(&file, b"three\n", 2 << 20).unwrap();
    is_at((2 << 20) + 6);
    assert_eq!(agent.program().stop(), Some(0));
    assert_eq!(topic::values(&collector.client(), "app"), ["one", "two", "three"]);
}

/// Sets when a file was written to last.
fn set_age(path: &std::path::Path, age: Duration) {
    let file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    file.set_modified(std::time::SystemTime::now() - age).unwrap();
}

/// Extra: ignore_older, then the file touched. One that was shipped in part before goes on there.
#[test]
fn a_file_too_old_to_be_opened_is_read_once_it_is_written_to() {
    let site = Site::new();
    let collector = site.collector().started();
    let mut agent = site.agent("a", &collector.url()).with_agent("scan_interval = \"100ms\"");
    agent = agent.with(&input(&site, "app", "ignore_older = \"1h\""));
    let known = site.write("logs/app/known.log", "known one\n");
    assert_eq!(agent.once().0, Some(0));
    let [touched, grown] = ["touched", "grown"].map(|name| site.write(&format!("logs/app/{name}.log"), "old\n"));
    for path in [&known, &touched, &grown] {
        set_age(path, Duration::from_secs(2 * 3600));
    }
    agent.start();
    agent.wait_ready();
    let skipped = |agent: &Agent| agent.status()?["skipped"].as_array().map(Vec::len);
    wait::until("three are skipped", || (skipped(&agent)? == 3).then_some(()));
    site.append("logs/app/known.log", "known two\n");
    site.append("logs/app/grown.log", "new\n");
    set_age(&touched, Duration::ZERO);
    topic::wait_for(&collector.client(), "app", 5);
    wait::until("none is skipped", || (skipped(&agent)? == 0).then_some(()));
    assert_eq!(agent.program().stop(), Some(0));
    assert!(!agent.program().said().contains("its file is gone"));
    let mut values = topic::values(&collector.client(), "app");
    values.sort();
    assert_eq!(values, ["known one", "known two", "new", "old", "old"]);
}

/// Extra: own logs never followed. The agent's output is appended to a file that its input asks for, rotated by renaming and by copying.
#[test]
fn an_agent_never_follows_its_own_output() {
    let site = Site::new();
    let collector = site.collector().started();
    let own = format!(
        "[[inputs]]\ninclude = [{:?}]\nexclude = [\"collector.log\"]\ntopic = \"all\"\n[log]\nlevel = \"debug\"",
        site.text("*.log*")
    );
    let mut agent = site.agent("a", &collector.url()).with_agent("scan_interval = \"100ms\"").with(&own).started();
    site.write("app.log", "one\n");
    topic::wait_for(&collector.client(), "all", 1);
    site.rename("a.log", "a.log.1");
    std::fs::copy(site.path("a.log.1"), site.path("a.log-20260131")).unwrap();
    site.write("a.log", "");
    let names = |agent: &Agent| {
        let skipped = agent.status()?["skipped"].as_array()?.iter().map(|file| file["path"].to_string()).collect();
        Some::<Vec<String>>(skipped)
    };
    wait::until("all three are skipped", || (names(&agent)?.len() == 3).then_some(()));
    site.append("app.log", "two\n");
    topic::wait_for(&collector.client(), "all", 2);
    assert_eq!(agent.program().stop(), Some(0));
    assert_eq!(topic::values(&collector.client(), "all"), ["one", "two"]);
}

#[test]
fn agent_and_collector_in_one_process_follow_neither_their_output_nor_their_data() {
    let site = Site::new();
    site.write("app.log", "one\n");
    let mut up = skidway_tests::up::Up::start(&site, &[site.text("")]);
    topic::wait_for(&up.client(), "app", 1);
    site.append("app.log", "two\n");
    topic::wait_for(&up.client(), "app", 2);
    let topics = up.client().get("/v1/topics").json();
    let of_users: Vec<String> = topics["topics"].as_array().unwrap().iter().map(|it| it["name"].to_string()).collect();
    assert_eq!(of_users, ["\"app\""], "{topics}");
    assert_eq!(up.program.stop(), Some(0));
}

/// Adds up the loss records; each must say that it is exact.
#[track_caller]
fn recorded_loss(collector: &Collector) -> u64 {
    let events = topic::values(&collector.client(), "__skidway.events");
    let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let lost = events.iter().filter(|event| event["kind"] == "lost");
    lost.map(|event| {
        assert_eq!(event["exact"], true, "{event}");
        event["bytes"].as_u64().unwrap()
    })
    .sum()
}

/// Thousands of lines, each some 120 bytes.
fn writes_a_file() -> u64 {
    scale::amount(100, 60)
}

/// Rotates five times while the collector is down, each time over the file rotated before, which is deleted by that. Gives the bytes written.
fn rotate_and_delete(agent: &Agent, writer: &mut Writer) -> u64 {
    let mut bytes = 0;
    for round in 0..5 {
        bytes += writer.write_times(writes_a_file(), 1000);
        let known = |status: Value| status["totals"]["files"].as_u64() > Some(round);
        wait::until("the agent has found the file", || agent.status().filter(|status| known(status.clone())));
        writer.rename_away();
    }
    bytes + writer.write(10)
}

/// Scenario 4, within the limits: deleted files are held until they are read.
#[test]
fn files_deleted_while_the_collector_is_down_are_read_to_their_end() {
    let site = Site::new();
    let mut collector = site.collector().started();
    let agent = site.agent("a", &collector.url()).with_agent("memory_bytes_max = \"2MiB\"");
    let mut agent = agent.with(&input(&site, "w", "")).started();
    collector.program().kill9();
    let mut writer = Writer::new(&site.path("logs/w"), "w", u64::MAX, 4);
    rotate_and_delete(&agent, &mut writer);
    collector.start();
    topic::wait_for(&collector.client(), "w", writer.lines());
    assert_eq!(agent.program().stop(), Some(0));
    let report = verify(&[writer], &topic::read(&collector.client(), "w"));
    assert!(report.is_perfect(), "{report:#?}");
    assert_eq!(topic::count(&collector.client(), "__skidway.events"), 0);
}

/// Scenario 4, beyond the limits: the disk has its room back at once, and what is lost is recorded to the byte; a new session changes nothing.
#[test]
fn what_is_lost_of_deleted_files_past_the_limit_is_recorded_to_the_byte() {
    for reloads in [false, true] {
        let site = Site::new();
        let mut collector = site.collector().started();
        let agent = site.agent("a", &collector.url());
        // Room for two of the files.
        let room = writes_a_file() * (256 << 10);
        let agent = agent.with_agent(&format!("memory_bytes_max = \"2MiB\"\ndeleted_files_max = {room}"));
        let mut agent = agent.with(&input(&site, "w", "")).started();
        collector.program().kill9();
        let mut writer = Writer::new(&site.path("logs/w"), "w", u64::MAX, 4);
        let written = rotate_and_delete(&agent, &mut writer);
        let limits = wait::until("deleted files are given up", || {
            let status = agent.status()?;
            let (lost, limits) = (status["totals"]["lost_bytes"].as_u64()?, status["limits"].clone());
            (lost > 0 && limits["deleted_bytes"].as_u64()? <= room).then_some(limits)
        });
        assert_eq!(limits["deleted_bytes_max"], room);
        let held = agent.program().deleted_files_held();
        assert!(held < 4, "{held} deleted files are held open");
        if reloads {
            agent.reload(&input(&site, "w", "[agent.labels]\nnew = \"yes\""));
            wait_said(&mut agent, "is reloaded", 1);
        }
        collector.start();
        let lost = wait::until("all that is left is shipped", || {
            let totals = agent.status()?["totals"].clone();
            (totals["bytes_behind"] == 0).then_some(totals["lost_bytes"].as_u64()?)
        });
        assert_eq!(agent.program().stop(), Some(0));
        let records = topic::read(&collector.client(), "w");
        let shipped: usize = records.iter().map(|record| record.value.as_deref().unwrap().len() + 1).sum();
        assert_eq!((recorded_loss(&collector), shipped as u64 + lost), (lost, written), "reloads: {reloads}");
        let report = verify(&[writer], &records);
        assert_eq!((report.doubled, report.disordered, report.corrupted), (0, 0, 0), "{report:#?}");
        assert!(agent.program().said().contains("will be given up soon"), "no warning came first");
    }
}

/// Scenario 40, of removal: a file is there until all of it is acknowledged, whatever is killed before.
#[test]
fn a_file_to_be_removed_stays_until_it_is_acknowledged() {
    let site = Site::new();
    let mut collector = site.collector().started();
    let agent = site.agent("a", &collector.url()).with_agent("scan_interval = \"100ms\"");
    let mut agent = agent.with(&input(&site, "app", "remove_after = \"200ms\"")).started();
    // Every line is read, none is acknowledged: crash.
    collector.program().freeze();
    for name in ["a", "b"] {
        site.write(&format!("logs/app/{name}.log"), format!("{name}\n"));
    }
    site.write("logs/app/half.log", "a line without its end");
    site.write("logs/app/empty.log", "");
    wait::until("all is read", || (agent.status()?["totals"]["bytes_behind"].as_u64()? == 26).then_some(()));
    wait::pause(Duration::from_millis(500));
    agent.program().kill9();
    collector.program().kill9();
    let is_there = |name: &str| site.path(&format!("logs/app/{name}.log")).exists();
    assert!(is_there("a") && is_there("b"), "it was removed before it was acknowledged");
    agent.start();
    collector.start();
    wait::until("both are removed", || (!is_there("a") && !is_there("b")).then_some(()));
    topic::wait_for(&collector.client(), "app", 2);
    assert!(is_there("half") && is_there("empty"));
    site.append("logs/app/half.log", " and its end\n");
    wait::until("the third is removed", || (!is_there("half")).then_some(()));
    wait::until("they are let go of", || {
        (agent.status()?["totals"]["files"] == 1 && agent.program().deleted_files_held() == 0).then_some(())
    });
    assert_eq!(agent.program().stop(), Some(0));
    let mut values = topic::values(&collector.client(), "app");
    values.sort();
    assert_eq!(values, ["a", "a line without its end and its end", "b"]);
}

/// Keeps everybody, root too, from removing files of a folder, until it is dropped.
struct Sealed(std::path::PathBuf);

impl Sealed {
    /// Seals a folder; `None` if the file system or a missing privilege does not allow it.
    fn seal(folder: &std::path::Path) -> Option<Self> {
        set_sealed(folder, true).then(|| Self(folder.to_owned()))
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        set_sealed(&self.0, false);
    }
}

fn set_sealed(folder: &std::path::Path, sealed: bool) -> bool {
    use rustix::fs::{IFlags, ioctl_setflags};
    if rustix::process::geteuid().is_root() {
        let flags = if sealed { IFlags::IMMUTABLE } else { IFlags::empty() };
        return std::fs::File::open(folder).is_ok_and(|folder| ioctl_setflags(&folder, flags).is_ok());
    }
    let mode = if sealed { 0o555 } else { 0o755 };
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(mode)).is_ok()
}

#[test]
fn a_file_that_goes_on_growing_is_not_removed_and_one_that_cannot_be_is_named() {
    let site = Site::new();
    let collector = site.collector().started();
    let agent = site.agent("a", &collector.url()).with_agent("scan_interval = \"100ms\"");
    let mut agent = agent.with(&input(&site, "app", "remove_after = \"3s\"")).started();
    for at in 0..15 {
        site.append("logs/app/a.log", format!("{at}\n"));
        wait::pause(Duration::from_millis(100));
    }
    topic::wait_for(&collector.client(), "app", 15);
    assert_eq!(agent.program().said().matches("removed:").count(), 0, "it was removed while it grew");
    let folder = site.path("logs/app");
    if let Some(_sealed) = Sealed::seal(&folder) {
        wait::until("the trouble is told", || {
            let troubles = agent.status()?["troubles"].to_string();
            troubles.contains("cannot be removed").then_some(())
        });
    } else {
        skidway_tests::report::missing(
            "no folder can be sealed here; that a file that cannot be removed is named was not tried",
        );
    }
    wait::until("it is removed", || (!site.path("logs/app/a.log").exists()).then_some(()));
    assert_eq!(agent.program().stop(), Some(0));
}

/// Extra: read rate. A large file takes as long as it may; a small one does not wait for it.
#[test]
fn no_more_is_read_per_second_than_allowed_and_files_share_it() {
    let site = Site::new();
    let collector = site.collector().started();
    let mut writer = Writer::new(&site.path("logs/app"), "w", u64::MAX, 7);
    let bytes = writer.write_times(6, 1500);
    let agent = site.agent("a", &collector.url()).with_agent("read_rate_max = \"256KiB\"");
    site.write("logs/quiet/q.log", "quiet\n");
    let since = std::time::Instant::now();
    let mut agent = agent.with(&input(&site, "app", "")).with(&input(&site, "quiet", "")).started();
    let limits = wait::until("the rate is measured", || {
        let limits = agent.status()?["limits"].clone();
        (limits["read_rate"].as_u64()? > 0).then_some(limits)
    });
    assert_eq!(limits["read_rate_max"], 256 << 10);
    topic::wait_for(&collector.client(), "app", writer.lines());
    let least = Duration::from_secs_f64(bytes as f64 / f64::from(256 << 10) * 0.8);
    assert!(since.elapsed() >= least, "{bytes} bytes were read in {:?}", since.elapsed());
    assert_eq!(agent.program().stop(), Some(0));
    let (records, quiet) = (topic::read(&collector.client(), "app"), topic::read(&collector.client(), "quiet"));
    let last = records.iter().map(|record| &record.timestamp).max();
    assert!(Some(&quiet[0].timestamp) < last, "the quiet file waited until the large one was read");
    let report = verify(&[writer], &records);
    assert!(report.is_perfect(), "{report:#?}");
}
