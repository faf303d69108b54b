//! The shape of the source itself: who may import whom, how long a file may be, what it may be called, which keys are documented.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const LINES_WARN: usize = 400;
const LINES_MAX: usize = 600;
const NAMES_FORBIDDEN: [&str; 5] = ["utils", "helpers", "common", "types", "manager"];
const ROOTS: [&str; 6] = ["shared", "agent", "collector", "cli", "model", "tests"];

/// One source file: its path from the top of the repository, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The text before the inline tests.
    fn before_tests(&self) -> &str {
        self.text.split("\n#[cfg(test)]\nmod ").next().unwrap()
    }

    /// The code before the inline tests, without comments.
    fn code(&self) -> String {
        let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
        self.before_tests().lines().map(code).collect::<Vec<_>>().join("\n")
    }

    fn is_in(&self, folder: &str) -> bool {
        self.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
    }
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    ROOTS.iter().for_each(|root| collect(&top().join(root), &mut found));
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 50, "the sources are found");
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push(Source { path: path.strip_prefix(top()).unwrap().display().to_string(), text });
        }
    }
}

/// Fails with every fault at once.
#[track_caller]
fn none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_file_opens_by_saying_what_it_is() {
    let silent = sources().into_iter().filter(|source| !source.text.starts_with("//! "));
    none(silent.map(|source| format!("{}: the first line must be `//! …`", source.path)).collect());
}

#[test]
fn files_are_short() {
    let mut faults = Vec::new();
    for source in sources() {
        let lines = source.before_tests().lines().count();
        if lines > LINES_MAX {
            faults.push(format!("{}: {lines} lines before its tests, at most {LINES_MAX}", source.path));
        } else if lines > LINES_WARN {
            eprintln!("warning: {}: {lines} lines before its tests; {LINES_WARN} is long", source.path);
        }
    }
    none(faults);
}

#[test]
fn no_file_is_named_for_nothing() {
    let named = |source: &Source| {
        let parts = source.path.split(['/', '.']).any(|part| NAMES_FORBIDDEN.contains(&part));
        parts.then(|| format!("{}: name it for what it does", source.path))
    };
    none(sources().iter().filter_map(named).collect());
}

#[test]
fn crates_depend_on_those_below_alone() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("shared/record", &[][..]),
        ("shared/wire", &["record"]),
        ("shared/disk", &[]),
        ("shared/daemon", &[]),
        ("collector/commitlog", &["record", "disk"]),
        ("agent", &["record", "wire", "disk", "daemon"]),
        ("collector", &["record", "wire", "disk", "daemon", "commitlog"]),
        ("cli", &["record", "wire", "disk", "daemon", "commitlog", "agent", "collector"]),
        ("model", &[]),
        ("tests", &["record", "wire"]),
    ]);
    let mut faults = Vec::new();
    for (folder, allowed) in allowed {
        let manifest = std::fs::read_to_string(top().join(folder).join("Cargo.toml")).unwrap();
        let (_, dependencies) = manifest.split_once("[dependencies]").unwrap();
        let ours = dependencies.lines().filter_map(|line| line.strip_prefix("skidway-")?.split(['.', ' ']).next());
        faults
            .extend(ours.filter(|name| !allowed.contains(name)).map(|name| format!("{folder} must not import {name}")));
    }
    none(faults);
}

#[test]
fn shared_crates_keep_their_hands_off_the_machine() {
    let mut faults = Vec::new();
    let forbidden = [
        ("shared/record/src", &["tokio", "std::fs", "std::net", "SystemTime"][..]),
        ("shared/wire/src", &["tokio", "std::fs", "std::net", "SystemTime"]),
        ("shared/disk/src", &["tokio", "skidway_record"]),
        ("collector/commitlog/src", &["tokio", "std::net"]),
    ];
    for (folder, words) in forbidden {
        forbid(folder, words, &mut faults);
    }
    none(faults);
}

#[test]
fn agent_stages_never_import_each_other() {
    let stages = ["discover", "tail", "frame", "parse", "batch", "ship", "checkpoint"];
    let mut faults = Vec::new();
    for stage in stages {
        let others = stages.iter().filter(|&&other| other != stage).chain(["pipeline", "admin"].iter());
        let words: Vec<String> = others.map(|other| format!("crate::{other}")).collect();
        forbid(&format!("agent/src/{stage}"), &words, &mut faults);
    }
    none(faults);
}

#[test]
fn collector_rooms_never_import_what_lies_above_them() {
    let rooms = [
        ("listen", &["crate::sink", "skidway_commitlog"][..]),
        ("ingest", &["crate::listen", "crate::read", "crate::server", "crate::sink"]),
        ("read", &["crate::listen", "crate::ingest", "crate::server", "crate::sink", "crate::groups"]),
        (
            "groups",
            &["crate::listen", "crate::ingest", "crate::read", "crate::server", "crate::sink", "skidway_commitlog"],
        ),
        (
            "keys",
            &["crate::listen", "crate::ingest", "crate::read", "crate::sink", "crate::server", "skidway_commitlog"],
        ),
        ("sink", &["crate::listen", "crate::ingest", "crate::read", "crate::server", "skidway_commitlog"]),
        (
            "queues",
            &["crate::listen", "crate::ingest", "crate::read", "crate::server", "crate::sink", "skidway_commitlog"],
        ),
        (
            "access",
            &[
                "crate::listen",
                "crate::ingest",
                "crate::read",
                "crate::groups",
                "crate::queues",
                "crate::keys",
                "crate::sink",
                "crate::server",
                "skidway_commitlog",
            ],
        ),
        ("log", &["crate::listen", "crate::ingest", "crate::read", "crate::server", "crate::sink"]),
    ];
    let mut faults = Vec::new();
    for (room, words) in rooms {
        forbid(&format!("collector/src/{room}"), words, &mut faults);
    }
    none(faults);
}

/// Adds a fault for each file of a room whose code names a forbidden word.
fn forbid(room: &str, words: &[impl AsRef<str>], faults: &mut Vec<String>) {
    for source in sources().iter().filter(|source| source.is_in(room)) {
        let code = source.code();
        for word in words.iter().map(AsRef::as_ref).filter(|word| names(&code, word)) {
            faults.push(format!("{} must not use {word}", source.path));
        }
    }
}

/// Tells whether code names a path, not merely a longer one that begins alike.
fn names(code: &str, word: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    code.match_indices(word).any(|(at, _)| ends(&code[at + word.len()..]))
}

#[test]
fn agents_keys_are_documented_and_documented_keys_exist() {
    documented("configs/agent.toml", &["agent/src/config"]);
}

#[test]
fn collectors_keys_are_documented_and_documented_keys_exist() {
    documented(
        "configs/collector.toml",
        &[
            "collector/src/config",
            "collector/src/access/config",
            "collector/src/listen/http/beacon",
            "collector/src/sink/config",
            "collector/src/sink/store",
        ],
    );
}

/// Compares the keys a reference file names with those the code asks for.
#[track_caller]
fn documented(reference: &str, rooms: &[&str]) {
    let text = std::fs::read_to_string(top().join(reference)).unwrap();
    let in_reference = keys_of_reference(&text);
    let reads = |s: &Source| rooms.iter().any(|room| s.is_in(room)) || s.path == "shared/daemon/src/telemetry.rs";
    let readers = sources().into_iter().filter(reads);
    let code: String = readers.map(|source| source.before_tests().to_owned()).collect();
    let missing =
        keys_of_code(&code).difference(&in_reference).map(|key| format!("{reference} does not name {key:?}")).collect();
    none(missing);
    let read = |key: &&String| !code.contains(&format!("\"{key}\""));
    none(
        in_reference.iter().filter(read).map(|key| format!("{reference} names {key:?}, which no code reads")).collect(),
    );
}

/// Finds keys and tables, those in a comment (`#key = …`, `# key = …`) too. Labels are the user's own.
fn keys_of_reference(text: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut free = false;
    for line in text.lines() {
        let commented = line.strip_prefix('#').map(str::trim_start);
        let line = commented.filter(|rest| is_key_line(rest)).unwrap_or(line);
        if let Some(table) = line.strip_prefix('[') {
            free = table.contains("labels");
            keys.extend(table.trim_start_matches('[').split(']').next().unwrap().split('.').map(String::from));
        } else if !free && !line.starts_with('#') {
            let (keyed, _) = line.split(" # ").next().unwrap().rsplit_once(" = ").unwrap_or_default();
            keys.extend(keyed.split(" = ").filter_map(last_word));
        }
    }
    keys
}

/// Tells whether a line, its comment sign taken off, is a key or a table rather than a sentence.
fn is_key_line(line: &str) -> bool {
    let bare = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| bare(key))
}

/// Gives the bare key that ends this part of a line, if one does: `{ age`, but not `"7d"`.
fn last_word(part: &str) -> Option<String> {
    let word = part.rsplit([' ', ',', '{']).next()?;
    let bare = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    bare.then(|| word.to_owned())
}

/// Finds the keys asked for by the methods of `skidway_daemon::config::Section`, or by a function handed a section and a key.
fn keys_of_code(code: &str) -> BTreeSet<String> {
    let methods = ["get", "optional", "required", "within", "choice", "section", "sections"];
    let asks = |before: &str| {
        let callee = before.trim_end().strip_suffix('(').map(|callee| callee.split("::<").next().unwrap_or(callee));
        let by_method =
            callee.is_some_and(|callee| methods.iter().any(|method| callee.ends_with(&format!(".{method}"))));
        let by_function = before.rsplit('\n').next().is_some_and(|line| line.contains("read_") && line.ends_with(", "));
        by_method || by_function
    };
    let literals: Vec<&str> = code.split('"').collect();
    let pairs = literals.windows(2).step_by(2).filter(|pair| asks(pair[0]));
    pairs.map(|pair| pair[1].to_owned()).collect()
}

#[test]
fn the_key_finders_find_keys() {
    let reference = "[http]\nlisten = \"x\"   # why = not\n# A sentence about a = b.\n# quiet = 1\n#silent = 2\n[a.labels]\nenv = \"e\"\n[t]\nr = { age = \"7d\", bytes = 1 }\n";
    let found: Vec<String> = keys_of_reference(reference).into_iter().collect();
    assert_eq!(found, ["a", "age", "bytes", "http", "labels", "listen", "quiet", "r", "silent", "t"]);
    let code = "x.get(\"a\", 1); y.within(\n    \"b\", 2); map.get(&key); s.sections(\"c\")";
    assert_eq!(keys_of_code(code).into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
}
