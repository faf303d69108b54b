//! Every example of docs/reading.md does what it says: it is run as it stands, against a collector.

use skidway_tests::document::shell;
use skidway_tests::{Document, Site};

#[test]
fn every_example_of_the_page_about_reading_runs() {
    let site = Site::new();
    let collector = site.collector().started();
    let blocks = Document::of("docs/reading.md").blocks("sh");
    assert!(blocks.len() > 5, "there are examples");
    for block in blocks {
        shell(&block, &collector, &site.path(""));
    }
}
