//! What happens around a program: clocks jump, permissions come and go, it is frozen or starved, certificates and addresses change. Nothing is
//! lost, nothing comes twice, and nobody has to restart it.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use skidway_tests::cgroup::CpuShare;
use skidway_tests::gate::{Deed, Gate};
use skidway_tests::tls::{Authority, Terminator};
use skidway_tests::verify::assert_delivered;
use skidway_tests::writer::Writer;
use skidway_tests::{Site, launch, report, scale, topic, wait};

/// Extra: clock jump.
#[test]
fn a_clock_that_jumps_an_hour_either_way_loses_and_doubles_nothing() {
    let site = Site::new();
    let clock = site.write("clock", "+0s");
    let Some(launcher) = launch::with_clock_of(&clock).filter(|launcher| launch::works(launcher)) else {
        return report::missing("no libfaketime to shift a clock with (apt: faketime); nothing ran in its place");
    };
    let collector = site.collector().started();
    let agent = site.agent("a", &collector.url()).under(launcher).with_agent("scan_interval = \"200ms\"");
    let mut agent = agent.follows(&site.text("logs/*.log*"), "app").started();
    let mut writer = Writer::new(&site.path("logs"), "w", 32 << 10, 1);
    for (round, shift) in ["+1h", "+0s", "-1h", "+1h", "-1h", "+0s"].into_iter().enumerate() {
        writer.write_times(3, 100);
        site.write("clock", shift);
        writer.write_times(3, 100);
        // A copy is judged by the time it was written.
        writer.copy_and_truncate();
        writer.write(100);
        if round % 2 == 1 {
            agent.program().kill9();
            agent.start();
        }
        topic::wait_for(&collector.client(), "app", writer.lines());
    }
    agent.wait_ready();
    assert_delivered(&collector, &mut agent, writer);
    let records = topic::read(&collector.client(), "app");
    let hours: BTreeSet<&str> = records.iter().filter_map(|record| record.timestamp.get(..13)).collect();
    assert!(hours.len() >= 3, "the clock did not jump: {hours:?}");
}

/// Extra: clock jump. The copy is an hour old by its own time, as it is when the clock has just jumped, or when `cp -p` made it.
#[test]
fn a_copy_that_seems_old_is_held_for_its_original_to_be_truncated() {
    let site = Site::new();
    let collector = site.collector().started();
    let mut agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log*"), "app").started();
    site.write("logs/a.log", "1\n2\n");
    topic::wait_for(&collector.client(), "app", 2);
    site.write("copy", "1\n2\n");
    let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::options().append(true).open(site.path("copy")).unwrap().set_modified(an_hour_ago).unwrap();
    site.rename("copy", "logs/a.log.1");
    let knows_copy = |status: &serde_json::Value| {
        let files = status["files"].as_array().cloned().unwrap_or_default();
        files.iter().any(|file| file["path"].as_str().is_some_and(|path| path.ends_with("a.log.1")))
    };
    wait::until("the copy is seen", || agent.status().filter(knows_copy));
    site.write("logs/other.log", "3\n");
    topic::wait_for(&collector.client(), "app", 3);
    std::fs::File::options().write(true).open(site.path("logs/a.log")).unwrap().set_len(0).unwrap();
    site.append("logs/a.log", "4\n");
    topic::wait_for(&collector.client(), "app", 4);
    assert_eq!(agent.program().stop(), Some(0));
    let mut values = topic::values(&collector.client(), "app");
    values.sort();
    assert_eq!(values, ["1", "2", "3", "4"]);
}

/// As packages leave out `/var/log/private/`, which is of root alone.
#[test]
fn a_folder_that_may_not_be_read_is_no_trouble_where_it_is_excluded() {
    let launcher = launch::bound_by_permissions();
    let site = Site::new();
    if !launch::works(&launcher) {
        return report::missing("no way to bind root by permissions (setpriv); nothing ran in its place");
    }
    let collector = site.collector().started();
    site.write("logs/app/a.log", "1\n");
    site.write("logs/private/b.log", "2\n");
    let set = |mode| std::fs::set_permissions(site.path("logs/private"), Permissions::from_mode(mode)).unwrap();
    set(0o000);
    let (include, exclude) = (site.text("logs/*/*.log"), site.text("logs/private/"));
    let input = format!("[[inputs]]\ninclude = [{include:?}]\nexclude = [{exclude:?}]\ntopic = \"app\"");
    let agent = site.agent("a", &collector.url()).under(launcher).with(&input).started();
    topic::wait_for(&collector.client(), "app", 1);
    assert_eq!(agent.status().unwrap()["troubles"].as_array().map(Vec::len), Some(0));
    set(0o755);
    assert_eq!(topic::values(&collector.client(), "app"), ["1"]);
}

/// Extra: chmod 000 then restored.
#[test]
fn files_and_folders_that_may_not_be_read_for_a_while_lose_nothing() {
    let launcher = launch::bound_by_permissions();
    let site = Site::new();
    if !launch::works(&launcher) {
        return report::missing("no way to bind root by permissions (setpriv); nothing ran in its place");
    }
    let collector = site.collector().started();
    let agent = site.agent("a", &collector.url()).under(launcher).with_agent("scan_interval = \"200ms\"");
    let mut agent = agent.follows(&site.text("logs/**/*.log"), "app");
    let set = |name: &str, mode| std::fs::set_permissions(site.path(name), Permissions::from_mode(mode)).unwrap();
    for name in ["logs/live.log", "logs/closed.log", "logs/sub/inner.log"] {
        site.write(name, format!("1 {name}\n"));
    }
    set("logs/closed.log", 0o000);
    agent.start();
    agent.wait_ready();
    topic::wait_for(&collector.client(), "app", 2);
    set("logs/live.log", 0o000);
    set("logs/sub", 0o000);
    let troubled = |name: &str| {
        let troubles = agent.status().map(|status| status["troubles"].as_array().cloned().unwrap_or_default());
        troubles.is_some_and(|all| all.iter().any(|it| it["path"].as_str().is_some_and(|path| path.ends_with(name))))
    };
    for name in ["closed.log", "sub"] {
        wait::until("the status names what may not be read", || troubled(name).then_some(()));
    }
    // What is open already is read on.
    site.append("logs/live.log", "2 logs/live.log\n");
    topic::wait_for(&collector.client(), "app", 3);
    for (name, mode) in [("logs/live.log", 0o644), ("logs/closed.log", 0o644), ("logs/sub", 0o755)] {
        set(name, mode);
    }
    for name in ["logs/live.log", "logs/closed.log", "logs/sub/inner.log"] {
        site.append(name, format!("3 {name}\n"));
    }
    topic::wait_for(&collector.client(), "app", 7);
    wait::until("the status names nothing any more", || (!troubled("closed.log") && !troubled("sub")).then_some(()));
    assert_eq!(agent.program().stop(), Some(0));
    let mut values = topic::values(&collector.client(), "app");
    values.sort();
    let expected = [
        "1 logs/closed.log",
        "1 logs/live.log",
        "1 logs/sub/inner.log",
        "2 logs/live.log",
        "3 logs/closed.log",
        "3 logs/live.log",
        "3 logs/sub/inner.log",
    ];
    assert_eq!(values, expected);
}

/// Extra: ignore_older then file touched. There is no such key: an old file is read once, and its time is of no account.
#[test]
fn an_old_file_that_is_touched_is_not_read_again() {
    let site = Site::new();
    let collector = site.collector().started();
    let path = site.write("logs/old.log", "once\n");
    let touch = |time| std::fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
    touch(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    let agent = site.agent("a", &collector.url()).with_agent("scan_interval = \"200ms\"");
    let mut agent = agent.follows(&site.text("logs/*.log"), "app").started();
    topic::wait_for(&collector.client(), "app", 1);
    touch(SystemTime::now());
    site.write("logs/new.log", "after\n");
    topic::wait_for(&collector.client(), "app", 2);
    assert_eq!(agent.program().stop(), Some(0));
    touch(SystemTime::now());
    site.append("logs/old.log", "later\n");
    agent.start();
    topic::wait_for(&collector.client(), "app", 3);
    let mut values = topic::values(&collector.client(), "app");
    values.sort();
    assert_eq!(values, ["after", "later", "once"]);
}

/// Extra: agent SIGSTOP 5 min.
#[test]
fn an_agent_that_stands_still_for_minutes_goes_on_where_it_was() {
    let site = Site::new();
    let collector = site.collector().started();
    let agent = site.agent("a", &collector.url()).with("request_timeout = \"1s\"");
    let mut agent = agent.follows(&site.text("logs/*.log*"), "app").started();
    let mut writer = Writer::new(&site.path("logs"), "w", 64 << 10, 2);
    writer.write_times(5, 200);
    agent.program().freeze();
    let until = std::time::Instant::now() + scale::duration(Duration::from_secs(300), Duration::from_secs(5));
    while std::time::Instant::now() < until {
        writer.write(50);
        wait::pause(Duration::from_millis(50));
    }
    agent.program().thaw();
    writer.write(50);
    assert_delivered(&collector, &mut agent, writer);
}

/// Extra: cgroup CPU of one tenth.
#[test]
fn an_agent_with_a_tenth_of_a_core_loses_and_doubles_nothing() {
    let site = Site::new();
    let collector = site.collector().started();
    let mut agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log*"), "app").started();
    let pid = agent.program().pid();
    let share = CpuShare::hold(pid, 10);
    if let Err(reason) = &share {
        report::missing(&format!("no control group ({reason}); the agent is stopped nine tenths of the time"));
    }
    let mut writer = Writer::new(&site.path("logs"), "w", 1 << 20, 3);
    let mut written = 0;
    while topic::count(&collector.client(), "app") < writer.lines() || written < 100 {
        if written < 100 {
            writer.write(300);
            written += 1;
        }
        if share.is_err() {
            agent.program().freeze();
            wait::pause(Duration::from_millis(90));
            agent.program().thaw();
        }
        wait::pause(Duration::from_millis(10));
    }
    assert_delivered(&collector, &mut agent, writer);
}

/// Extra: TLS cert rotated on disk. Also that the agent shows its own, and takes no other authority's for the collector's.
#[test]
fn certificates_exchanged_on_disk_are_used_without_a_restart() {
    let site = Site::new();
    let collector = site.collector().started();
    let (old, new) = (Authority::new(), Authority::new());
    let terminator = Terminator::new(&old);
    let gate = Gate::at("127.0.0.1:0", collector.port(), Some(Arc::clone(&terminator)), |_| Deed::Pass);
    let [ca, cert, key] = old.equip(&site);
    let tls = format!("[collector.tls]\nca_file = {ca:?}\ncert_file = {cert:?}\nkey_file = {key:?}");
    let agent = site.agent("a", &format!("https://localhost:{}", gate.address().port())).with(&tls);
    let mut agent = agent.follows(&site.text("logs/*.log*"), "app").started();
    let mut writer = Writer::new(&site.path("logs"), "w", 64 << 10, 4);
    writer.write(500);
    topic::wait_for(&collector.client(), "app", writer.lines());
    terminator.exchange(&new);
    gate.cut_all();
    writer.write(500);
    wait::until("the agent does not trust it", || agent.program().said().contains("trying again").then_some(()));
    assert_eq!(topic::count(&collector.client(), "app"), 500);
    // One file after the other, as tools write them: for a moment they do not belong together.
    new.equip(&site);
    topic::wait_for(&collector.client(), "app", writer.lines());
    writer.write(500);
    assert_delivered(&collector, &mut agent, writer);
}

/// Extra: DNS change.
#[test]
fn a_collector_whose_name_leads_elsewhere_is_followed() {
    let site = Site::new();
    let hosts = site.write("hosts", "127.0.0.1 localhost\n127.0.0.2 collector.test\n");
    let launcher = launch::seeing(&hosts, "/etc/hosts");
    if !launch::works(&launcher) {
        return report::missing("no mount namespace to give a program another /etc/hosts in; nothing ran in its place");
    }
    let collector = site.collector().started();
    let was_used = Arc::new(AtomicBool::new(false));
    let used = was_used.clone();
    let first = Gate::at("127.0.0.2:0", collector.port(), None, |_| Deed::Pass);
    let port = first.address().port();
    let second = Gate::at(&format!("127.0.0.3:{port}"), collector.port(), None, move |_| {
        used.store(true, Ordering::SeqCst);
        Deed::Pass
    });
    let agent = site.agent("a", &format!("http://collector.test:{port}")).under(launcher);
    let mut agent = agent.follows(&site.text("logs/*.log*"), "app").started();
    let mut writer = Writer::new(&site.path("logs"), "w", 64 << 10, 5);
    writer.write(500);
    topic::wait_for(&collector.client(), "app", writer.lines());
    assert!(!was_used.load(Ordering::SeqCst) && first.accepted() > 0);
    site.write("hosts", "127.0.0.1 localhost\n127.0.0.3 collector.test\n");
    first.close();
    writer.write(500);
    assert_delivered(&collector, &mut agent, writer);
    assert!(second.accepted() > 0);
}

/// Extra: IPv6.
#[test]
fn a_collector_may_have_an_ipv6_address() {
    if TcpListener::bind("[::1]:0").is_err() {
        return report::missing("no IPv6 on the loopback interface; nothing ran in its place");
    }
    let site = Site::new();
    let collector = site.collector().started();
    let gate = Gate::at("[::1]:0", collector.port(), None, |_| Deed::Pass);
    assert!(gate.url().starts_with("http://[::1]:"), "{}", gate.url());
    let mut agent = site.agent("a", &gate.url()).follows(&site.text("logs/*.log*"), "app").started();
    let mut writer = Writer::new(&site.path("logs"), "w", 64 << 10, 6);
    writer.write(500);
    assert_delivered(&collector, &mut agent, writer);
}
