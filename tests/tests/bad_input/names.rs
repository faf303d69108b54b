//! Names of topics, groups, queues, sinks, agents, members, producers and keys that would be paths, wherever a request can say one: none
//! gets past the check of its kind, and nothing is written but what belongs to the collector.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Victim;

/// Gives names as they are meant, not as a URL spells them.
fn hostile() -> Vec<String> {
    let mut names: Vec<String> = [
        "..",
        ".",
        "../x",
        "../../etc/passwd",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "..\\..",
        "a\0b",
        "\0",
        "C:",
        "con ",
        " ",
        "a b",
        "a\nb",
        "a\r\nX: y",
        "%2e%2e",
        "%00",
        "~",
        "~root",
        "$HOME",
        "`id`",
        "*",
        "?",
        "a;b",
        "\u{202e}a",
        "\u{fc}",
        "\u{fe0f}",
        "a\u{0}",
    ]
    .map(str::to_owned)
    .to_vec();
    names.extend([250, 4096, 10_000].map(|length| "n".repeat(length)));
    names
}

/// Spells a name in a URL, each byte by its number.
fn spelled(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Gives all files below a folder, and the folders.
fn below(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
            found.insert(entry.path());
        }
    }
    found
}

#[test]
fn names_that_would_be_paths_name_nothing_anywhere() {
    let mut victim = Victim::start("");
    let before = below(&victim.site.path("."));
    for name in hostile() {
        let spelled = spelled(&name);
        // What is no topic, queue, group, sink or agent for anyone is refused in URLs,
        for (method, path) in [
            ("PUT", format!("/v1/topics/{spelled}")),
            ("POST", format!("/v1/topics/{spelled}/records")),
            ("GET", format!("/v1/topics/{spelled}/records")),
            ("DELETE", format!("/v1/topics/{spelled}")),
            ("PUT", format!("/v1/queues/{spelled}")),
            ("POST", format!("/v1/queues/{spelled}/records")),
            ("GET", format!("/v1/groups/{spelled}/records?topics=t")),
            ("DELETE", format!("/v1/groups/{spelled}")),
            ("GET", format!("/v1/groups/g/records?topics=t&member={spelled}")),
            ("GET", format!("/v1/records?topics={spelled}")),
            ("GET", format!("/v1/sinks/{spelled}")),
            ("POST", format!("/v1/sinks/{spelled}/pause")),
            ("POST", format!("/v1/agents/{spelled}/session")),
            ("POST", format!("/v1/beacons/{spelled}")),
        ] {
            let headers =
                [("Content-Type", if path.ends_with("/records") { "text/plain" } else { "application/json" })];
            let answer = victim.client.ask(method, &path, &headers, if method == "GET" { b"" } else { b"{}" });
            // A pattern is no name; it finds what there is.
            let is_pattern = path.contains("?topics=%2a") || path.contains("?topics=%3f");
            assert!(is_pattern || (400..500).contains(&answer.status), "{method} {path:.200}: {}", answer.text());
        }
        // in bodies,
        let queue = json!({"topic": name, "dead_letter_topic": name});
        assert!((400..500).contains(&victim.client.put("/v1/queues/q", &queue).status), "{name:?}");
        let offsets = json!({"offsets": [{"topic": name, "partition": 0, "offset": 0}]}).to_string();
        let answer = victim.client.post("/v1/groups/g/commit", "application/json", offsets);
        assert!((400..500).contains(&answer.status), "{name:?}: {}", answer.text());
    }
    let new: Vec<_> = below(&victim.site.path(".")).difference(&before).cloned().collect();
    let ours = victim.site.path("data");
    assert!(new.iter().all(|path| path.starts_with(&ours)), "{new:?}");
    let strange = |path: &&PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("\0");
        !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) || name.len() > 64
    };
    assert_eq!(new.iter().filter(strange).collect::<Vec<_>>(), Vec::<&PathBuf>::new());
    victim.is_well();
}

#[test]
fn the_longest_names_there_may_be_are_files_that_can_be_made() {
    let mut victim = Victim::start("");
    let name = "n".repeat(249);
    assert_eq!(victim.client.put(&format!("/v1/topics/{name}"), &json!({"partitions": 1000})).status, 201);
    let answer =
        victim.client.post(&format!("/v1/topics/{name}/records?partition=999"), "text/plain", "x".repeat(100_000));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(victim.client.delete(&format!("/v1/topics/{name}")).status, 204);
    assert_eq!(victim.client.put("/v1/topics/other", &json!({"partitions": 1})).status, 201, "the log goes on");
    victim.is_well();
    assert_eq!(victim.collector.program().stop(), Some(0));
    victim.collector.start();
    assert_eq!(victim.client.get(&format!("/v1/topics/{name}")).status, 404);
}
