//! Packages and units: what is in them, what it may do, and how it is installed, upgraded and removed.
//!
//! They are made of the programs under test by `scripts/package`. `installed` and `image` need a clean Debian root, which `scripts/test --full
//! package` makes; the quick tier leaves them out.

mod contents;
mod image;
mod installed;
mod units;
mod wording;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use skidway_tests::program::binary;

/// What is packaged, and the folder of the repository it is described in.
const PACKAGES: [(&str, &str); 3] =
    [("skidway-agent", "agent"), ("skidway-collector", "collector"), ("skidway", "cli")];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Makes packages of the programs under test in a folder, with this version, or that of the source.
fn package(folder: &Path, version: Option<&str>) {
    let programs = binary("skidway").parent().unwrap().to_path_buf();
    let mut command = Command::new(top().join("scripts/package"));
    command.arg("--bin-dir").arg(programs).arg("--out").arg(folder);
    command.args(version.iter().flat_map(|version| ["--version", version]));
    let made = command.stdin(Stdio::null()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Gives the folder of packages that all tests look into.
fn packages() -> &'static Path {
    static PACKAGES: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = PACKAGES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        package(folder.path(), None);
        folder
    });
    folder.path()
}

/// Finds the one file of a package that ends so.
fn package_file(name: &str, ending: &str) -> PathBuf {
    let is_it = |path: &PathBuf| {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let rest = file.strip_prefix(name).filter(|rest| rest.starts_with(['-', '_']) && rest.ends_with(ending));
        rest.is_some_and(|rest| rest[1..].starts_with(|first: char| first.is_ascii_digit()))
    };
    let mut found = std::fs::read_dir(packages()).unwrap().map(|entry| entry.unwrap().path()).filter(is_it);
    found.next().unwrap_or_else(|| panic!("there is a {ending} of {name}"))
}

/// Runs a program and gives what it printed.
#[track_caller]
fn said_by(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is installed (scripts/test does it): {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {args:?}\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}
