//! What can be seen of a process only from outside: how it ends, and what it tells the service manager.
//!
//! Each test starts this test program once more, to play a daemon: the same test runs there with `SKIDWAY_DAEMON_PLAYS` set,
//! and does what it is to be watched at.

#![expect(clippy::unwrap_used, reason = "every line here is test code; the lint knows only functions marked as tests")]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use skidway_daemon::telemetry::Logging;
use skidway_daemon::{notify, shutdown, telemetry};
use tokio_util::sync::CancellationToken;

const PLAYS: &str = "SKIDWAY_DAEMON_PLAYS";
/// Far more than any of these steps takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn plays() -> bool {
    std::env::var_os(PLAYS).is_some()
}

/// Prepares this program to play the daemon of a test.
fn daemon(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(PLAYS, "1").env_remove("RUST_LOG");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn wait_for(child: &mut Child, word: &str) {
    let output = BufReader::new(child.stderr.as_mut().unwrap());
    assert!(output.lines().any(|line| line.unwrap().contains(word)), "ended without a word of {word:?}");
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_panic_in_any_thread_is_logged_and_ends_the_process() {
    if plays() {
        telemetry::init(&Logging::default());
        shutdown::exit_on_panic();
        let _never =
            std::thread::Builder::new().name("worker".into()).spawn(|| panic!("out of {}", "luck")).unwrap().join();
        std::process::exit(0);
    }
    let output = daemon("a_panic_in_any_thread_is_logged_and_ends_the_process").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(shutdown::EXIT_PANIC), "{said}");
    assert!(said.contains("panicked: out of luck") && said.contains("worker"), "{said}");
}

#[test]
fn a_panic_in_a_task_ends_the_process_too() {
    if plays() {
        shutdown::exit_on_panic();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _never = runtime.block_on(runtime.spawn(async { panic!("in a task") }));
        std::process::exit(0);
    }
    let status = daemon("a_panic_in_a_task_ends_the_process_too").status().unwrap();
    assert_eq!(status.code(), Some(shutdown::EXIT_PANIC));
}

#[test]
fn the_first_signal_asks_and_the_second_ends_at_once() {
    if plays() {
        telemetry::init(&Logging::default());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let asked = shutdown::on_signals().unwrap();
            tracing::info!("catches signals");
            asked.cancelled().await;
            tracing::info!("was asked");
            std::future::pending::<()>().await;
        });
    }
    for (first, second) in [(Signal::TERM, Signal::INT), (Signal::INT, Signal::TERM)] {
        let mut child = daemon("the_first_signal_asks_and_the_second_ends_at_once").spawn().unwrap();
        wait_for(&mut child, "catches signals");
        send(&child, first);
        wait_for(&mut child, "was asked");
        send(&child, second);
        assert_eq!(child.wait().unwrap().code(), Some(shutdown::EXIT_AT_ONCE), "{first:?} {second:?}");
    }
}

#[test]
fn the_service_manager_hears_ready_then_life_signs_then_stopping() {
    if plays() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        notify::ready();
        let ended = CancellationToken::new();
        let two_periods = Duration::from_millis(100);
        let watched = async { tokio::time::timeout(two_periods, notify::watchdog(ended)).await };
        runtime.block_on(watched).unwrap_err();
        notify::stopping();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = daemon("the_service_manager_hears_ready_then_life_signs_then_stopping");
    let mut child =
        command.env("NOTIFY_SOCKET", folder.path().join("notify")).env("WATCHDOG_USEC", "40000").spawn().unwrap();
    let mut heard = Vec::new();
    while heard.last().is_none_or(|last| last != "STOPPING=1") {
        let mut message = [0; 256];
        let length = manager.recv(&mut message).unwrap();
        heard.push(String::from_utf8_lossy(&message[..length]).trim_end().to_owned());
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(heard[0], "READY=1");
    assert!(heard.len() >= 4 && heard[1..heard.len() - 1].iter().all(|it| it == "WATCHDOG=1"), "{heard:?}");
}

#[test]
fn without_a_service_manager_nothing_is_told_and_nothing_waits() {
    if plays() {
        notify::ready();
        notify::status("fine");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(notify::watchdog(CancellationToken::new()));
        notify::stopping();
        return;
    }
    let mut command = daemon("without_a_service_manager_nothing_is_told_and_nothing_waits");
    assert!(command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC").status().unwrap().success());
}

#[test]
fn json_logs_are_one_object_a_line() {
    if plays() {
        telemetry::init(&Logging { format: telemetry::LogFormat::Json, ..Logging::default() });
        tracing::info!(path = "/var/log/a \"b\"", "follows");
        tracing::debug!("not at this level");
        return;
    }
    let mut child = daemon("json_logs_are_one_object_a_line").spawn().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success());
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with('{')).collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(lines[0].contains(r#""message":"follows","path":"/var/log/a \"b\"""#), "{said}");
    assert!(lines[0].contains(r#""level":"INFO""#) && lines[0].contains(r#"Z""#), "{said}");
}
