//! The book of docs/: it builds without a warning, leaves no page out, and none of its links leads nowhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use skidway_tests::{Site, tools};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn pages() -> BTreeSet<String> {
    let names =
        std::fs::read_dir(top().join("docs")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".md")).collect()
}

/// Gives a heading's anchor, as GitHub and mdbook make it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
    kept.collect::<String>().trim().to_lowercase().replace(' ', "-")
}

fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text
        .lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
    headings.map(anchor).collect()
}

#[test]
fn no_link_leads_nowhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let mut dead = Vec::new();
    for page in pages() {
        let text = std::fs::read_to_string(top().join("docs").join(&page)).unwrap();
        for link in link.captures_iter(&text) {
            let target = &link[1];
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, place) = target.split_once('#').map_or((target, None), |(file, place)| (file, Some(place)));
            let path = top().join("docs").join(if file.is_empty() { &page } else { file });
            if !path.exists() {
                dead.push(format!("docs/{page}: {target}: there is no such file"));
            } else if let Some(place) = place
                && !anchors(&std::fs::read_to_string(&path).unwrap_or_default()).contains(place)
            {
                dead.push(format!("docs/{page}: {target}: there is no such heading"));
            }
        }
    }
    assert!(dead.is_empty(), "\n{}", dead.join("\n"));
}

#[test]
fn the_summary_names_every_page() {
    let summary = std::fs::read_to_string(top().join("docs/SUMMARY.md")).unwrap();
    for page in pages() {
        // How code looks here is for those who change it.
        let left_out = ["SUMMARY.md", "HOUSE-STYLE.md"].contains(&page.as_str());
        assert!(left_out || summary.contains(&format!("]({page})")), "docs/SUMMARY.md names {page}");
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { std::fs::copy(&path, &target).map(drop).unwrap() }
    }
}

#[test]
fn the_book_builds_without_a_warning() {
    let tools = tools::folder("SKIDWAY_BOOK_TOOLS", "book-tools", &[]);
    let site = Site::new();
    copy(&top().join("docs"), &site.path("docs"));
    copy(&top().join("configs"), &site.path("configs"));
    std::fs::copy(top().join("book.toml"), site.path("book.toml")).unwrap();
    let built = Command::new(tools.join("bin/mdbook"))
        .args(["build", "--dest-dir"])
        .arg(site.path("book"))
        .arg(site.path(""))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(built.status.success() && !said.contains("WARN") && !said.contains("ERROR"), "{said}");
    let configuration = std::fs::read_to_string(site.path("book/configuration.html")).unwrap();
    assert!(configuration.contains("deleted_files_max") && !configuration.contains("#include"), "keys are in the page");
}
