//! What docs/subscribing.md and docs/compaction.md show works as it is written there.

use skidway_tests::document::shell;
use skidway_tests::{Document, Site};

/// Runs the blocks of a page in order, against one collector; gives what each printed.
fn run(page: &str) -> Vec<String> {
    let site = Site::new();
    let collector = site.collector().started();
    Document::of(page).blocks("sh").iter().map(|block| shell(block, &collector, &site.path(""))).collect()
}

#[test]
fn every_command_of_the_page_about_compaction_runs() {
    let said = run("docs/compaction.md").concat();
    assert!(said.contains("\"cleanup\":\"compact\"") && said.contains("\"offsets\":["), "{said}");
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
