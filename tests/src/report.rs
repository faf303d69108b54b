//! What became of each test, for the list at the end of `./scripts/test`: lines appended to the file that `SKIDWAY_TEST_REPORT` names.
//!
//! ```text
//! test TAB <name> TAB ok|FAILED TAB <seconds>
//! missing TAB <name> TAB <what this machine lacks, and what ran in its place>
//! ```

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

/// Notes how the running test ended.
pub fn ended(passed: bool, took: Duration) {
    let result = if passed { "ok" } else { "FAILED" };
    note(format_args!("test\t{}\t{result}\t{:.1}", name(), took.as_secs_f64()));
}

/// Notes that the running test goes without something, and what it does instead.
pub fn missing(what: &str) {
    eprintln!("{}: {what}", name());
    note(format_args!("missing\t{}\t{what}", name()));
}

fn name() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

fn note(line: std::fmt::Arguments<'_>) {
    let Some(path) = std::env::var_os("SKIDWAY_TEST_REPORT") else { return };
    // One write a line: tests run side by side.
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    if let Err(error) = written {
        eprintln!("{}: {error}", path.display());
    }
}
