//! Tells the compiler which commit it builds: `SKIDWAY_VERSION = "0.1.0 (commit abc1234)"`. Outside git the commit is unknown.

use std::path::Path;
use std::process::Command;

fn main() {
    let commit = git(&["rev-parse", "--short=7", "HEAD"]);
    let commit = commit.map_or_else(|| "unknown commit".to_owned(), |short| format!("commit {short}"));
    let version = std::env::var("CARGO_PKG_VERSION").expect("cargo sets it for build scripts");
    println!("cargo::rustc-env=SKIDWAY_VERSION={version} ({commit})");
    println!("cargo::rerun-if-changed=build.rs");
    watch("HEAD");
    if let Some(branch) = git(&["symbolic-ref", "-q", "HEAD"]) {
        watch(&branch);
    }
}

/// Has this script run again when one of git's own files changes. A file that is not there would make it run always.
fn watch(git_file: &str) {
    if let Some(path) = git(&["rev-parse", "--git-path", git_file])
        && Path::new(&path).exists()
    {
        println!("cargo::rerun-if-changed={path}");
    }
}

/// Runs git and gives its one line of output, if there is a git, a repository and an answer.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let line = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!line.is_empty()).then_some(line)
}
