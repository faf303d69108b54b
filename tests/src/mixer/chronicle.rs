//! What was done and when: kept in the site's folder, so that a failing run can be read afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::program::create;

/// Writes down each operation as it happens, and counts them by kind.
#[derive(Debug)]
pub struct Chronicle {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    counts: BTreeMap<&'static str, u64>,
}

impl Chronicle {
    /// Begins with an empty file.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn new(path: PathBuf) -> Self {
        let file = create(&path);
        Self { path, inner: Mutex::new(Inner { file, counts: BTreeMap::new() }) }
    }

    /// Notes that something of a kind was done to, or by, somebody.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn note(&self, who: &str, kind: &'static str, what: impl fmt::Display) {
        let at = time_of_day();
        let mut inner = self.inner.lock().expect("nobody panics while writing down");
        *inner.counts.entry(kind).or_default() += 1;
        writeln!(inner.file, "{at} {who} {kind} {what}").expect("the chronicle is written");
    }

    /// Counts the operations by kind.
    ///
    /// # Panics
    /// Never: nobody panics while writing down.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.inner.lock().expect("nobody panics while writing down").counts.clone()
    }

    /// Gives the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the last entries about somebody.
    pub fn last_of(&self, who: &str, count: usize) -> String {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let is_about = |line: &&str| line.split_whitespace().nth(1) == Some(who);
        let lines: Vec<&str> = text.lines().filter(is_about).collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }
}

/// Gives the time of day (UTC) as the programs' own logs have it, so that all can be sorted together.
fn time_of_day() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, micros) = (since.as_secs() % 86_400, since.subsec_micros());
    format!("{:02}:{:02}:{:02}.{micros:06}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
