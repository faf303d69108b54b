//! Documentation that is run: the blocks of a page, and a shell that runs them as they stand, against a collector under test.
//!
//! The one way in which tests run what the pages under `docs` show.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Collector;
use crate::program::binary;

/// What stands in the pages for the collector's address, plain and in TLS.
const ADDRESSES: [&str; 2] = ["http://127.0.0.1:7070", "https://collector.example.com:7070"];

/// Makes failures fail, and ends after a while what follows for ever: that it still ran is what is expected of it.
const SHIMS: &str = r#"
curl() {
    case " $* " in
        *" -N "*|*" -sN "*|*" -fsSN "*) command curl -sS --max-time 4 "$@" || [ $? -eq 28 ] ;;
        *" -fsS "*) command curl "$@" ;;
        *) command curl -sS --fail-with-body "$@" ;;
    esac
}
skidway() {
    case " $* " in
        *" --follow "*|*" -f "*) timeout 4 skidway "$@" || [ $? -eq 124 ] ;;
        *) command skidway "$@" ;;
    esac
}
"#;

/// Holds the text of a page.
#[derive(Debug)]
pub struct Document {
    path: PathBuf,
    text: String,
}

impl Document {
    /// Reads a page, named from the top of the repository: `docs/reading.md`.
    ///
    /// # Panics
    /// When there is none.
    pub fn of(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, text }
    }

    /// Gives all of it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Gives its fenced blocks of a language, in order.
    ///
    /// # Panics
    /// When it has none: a page that is tested shows something.
    pub fn blocks(&self, language: &str) -> Vec<String> {
        let fence = format!("```{language}\n");
        let rests = self.text.split(&fence).skip(1);
        let blocks: Vec<_> = rests.map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect();
        assert!(!blocks.is_empty(), "{} shows {language}", self.path.display());
        blocks
    }
}

/// Runs a script of a page in `folder` and gives what it printed. Commands find our programs and the collector; the first that fails ends it.
///
/// # Panics
/// When a command fails.
pub fn shell(script: &str, collector: &Collector, folder: &Path) -> String {
    let programs = binary("skidway").parent().map(|folder| folder.display().to_string()).unwrap_or_default();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    let script = ADDRESSES.iter().fold(script.to_owned(), |script, address| script.replace(address, &collector.url()));
    let script = format!("set -e{SHIMS}{script}");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(folder).stdin(Stdio::null());
    command.env("SKIDWAY_URL", collector.url()).env("PATH", path).env("no_proxy", "127.0.0.1");
    let output = command.output().expect("there is a shell");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{script}\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}
