//! What docs/subscribing.md, docs/compaction.md and docs/sinks.md show works as it is written there; and no page shows what no test runs.

mod book;
mod commands;
mod dashboards;
mod metrics;
mod reference;

use std::path::Path;

use skidway_tests::document::shell;
use skidway_tests::{Document, Site};

/// Runs the blocks of a page in order, against one collector; gives what each printed.
fn run(page: &str) -> Vec<String> {
    let site = Site::new();
    let folder = site.text("files");
    // The page about sinks follows the files of one.
    let sink = format!(
        "[[sinks]]\nname = \"archive\"\ntopics = [\"nginx\"]\nurl = \"file://{folder}\"\nroll = {{ records = 1 }}"
    );
    let collector = site.collector().with(&sink).started();
    Document::of(page).blocks("sh").iter().map(|block| shell(block, &collector, &site.path(""))).collect()
}

#[test]
fn every_command_of_the_page_about_compaction_runs() {
    let said = run("docs/compaction.md").concat();
    assert!(said.contains("\"cleanup\":\"compact\"") && said.contains("\"offsets\":["), "{said}");
}

#[test]
fn every_command_of_the_page_about_sinks_runs() {
    assert_eq!(run("docs/sinks.md").len(), 1);
}

#[test]
fn ten_minutes_go_as_they_are_written() {
    let said = run("docs/tour.md");
    let shows: [&[&str]; 5] = [
        &["ready"],
        &["hello\nworld\n", "\"next\":\""],
        &["request 1\nrequest 2\nrequest 3\n", "tour"],
        &["request 4"],
        &["looked at the collector", "looked at the agent's configuration"],
    ];
    assert_eq!(said.len(), shows.len(), "a block for each step");
    for (said, shows) in said.iter().zip(shows) {
        shows.iter().for_each(|words| assert!(said.contains(words), "{words} in {said}"));
    }
}

#[test]
fn every_command_of_the_page_about_operations_runs() {
    let said = run("docs/operations.md").concat();
    assert!(said.contains("verbose") && said.contains("skidway-support/doctor.txt"), "{said}");
}

#[test]
fn every_command_of_the_page_about_troubleshooting_runs() {
    assert_eq!(run("docs/troubleshooting.md").len(), 1);
}

#[test]
fn every_command_of_the_tour_runs_and_shows_what_it_says() {
    let said = run("docs/subscribing.md");
    let shows: [&[&str]; 7] = [
        &["\"offsets\":[{\"partition\":"],
        &["\"next\":\"", "\"value\":\"{\\\"item\\\":\\\"nut\\\""],
        &["data: {\"topic\":\"orders\"", "\"next\":\"", "\"value\":\"first\""],
        &["\"assignment\"", "\"committed\":[", "\"lag\":0"],
        &["\"result\":\"done\"", "\"max_deliveries\":5"],
        &["\"end\":true", "\"watermark\"", "\"key\":\"alice\""],
        &["COMMITTED", "alice\t"],
    ];
    assert_eq!(said.len(), shows.len(), "a block for each step");
    for (said, shows) in said.iter().zip(shows) {
        for words in shows {
            assert!(said.contains(words), "{words} in {said}");
        }
    }
}

/// Names the pages: `docs/tour.md`.
fn pages() -> Vec<String> {
    let entries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")).collect()
}

#[test]
fn each_page_that_shows_commands_is_run_by_a_test() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let tests: String = [
        "documentation.rs",
        "access/keeping.rs",
        "event_sourcing.rs",
        "groups/documented.rs",
        "package/installed.rs",
        "queues/documentation.rs",
        "subscription/examples.rs",
        "tls.rs",
    ]
    .map(|test| std::fs::read_to_string(top.join("tests/tests").join(test)).unwrap())
    .concat();
    for name in pages() {
        if Document::of(&name).text().contains("```sh") {
            assert!(tests.contains(&format!("{name}\"")), "{name}: no test runs its commands");
        }
    }
}
