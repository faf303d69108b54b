//! Every example of docs/reading.md does what it says: it is run as it stands, against a collector.

use std::path::Path;
use std::process::Command;

use skidway_tests::Site;

#[test]
fn every_example_of_the_page_about_reading_runs() {
    let site = Site::new();
    let collector = site.collector().started();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reading.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks: Vec<&str> = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() > 5, "there are examples");
    for block in blocks {
        let script = format!("set -e\n{}", block.replace("http://127.0.0.1:7070", &collector.url()));
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{block}\n{said}{}", String::from_utf8_lossy(&output.stdout));
    }
}
