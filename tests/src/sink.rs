//! Reading what a sink wrote, as anyone would: walk the folders, decompress, split into rows.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::http::Client;
use crate::wait;

/// Lists all files below a folder, sorted; those that are being written included.
pub fn files(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        // A spool's folder may go away under us.
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Lists the published files.
pub fn published(root: &Path) -> Vec<PathBuf> {
    let is_hidden =
        |path: &Path| path.components().any(|part| part.as_os_str().to_string_lossy().starts_with(".skidway-"));
    files(root).into_iter().filter(|path| !is_hidden(path)).collect()
}

/// Gives a file's rows.
///
/// # Panics
/// When it is not whole, which published files always are, or not text.
pub fn rows(path: &Path) -> Vec<String> {
    let text = |row| String::from_utf8(row).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    byte_rows(path).into_iter().map(text).collect()
}

/// Gives a file's rows as they are.
///
/// # Panics
/// When it is not whole.
pub fn byte_rows(path: &Path) -> Vec<Vec<u8>> {
    let file = File::open(path).expect("a published file opens");
    let reader: Box<dyn Read> = match path.extension().and_then(|ending| ending.to_str()) {
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Some("zst") => Box::new(zstd::Decoder::new(file).expect("zstd starts")),
        _ => Box::new(file),
    };
    let rows = BufReader::new(reader).split(b'\n');
    rows.map(|row| row.unwrap_or_else(|error| panic!("{} is not whole: {error}", path.display()))).collect()
}

/// Gives the rows of all published files.
pub fn all_rows(root: &Path) -> Vec<String> {
    published(root).iter().flat_map(|path| rows(path)).collect()
}

/// Gives the objects of all published NDJSON files.
///
/// # Panics
/// When a row is no JSON.
pub fn all_objects(root: &Path) -> Vec<Value> {
    let object = |row: String| serde_json::from_str(&row).unwrap_or_else(|error| panic!("{error}: {row}"));
    all_rows(root).into_iter().map(object).collect()
}

/// Gives how a sink stands; `None` while the collector does not answer.
pub fn stands(client: &Client, sink: &str) -> Option<Value> {
    client.try_get(&format!("/v1/sinks/{sink}"), &[]).filter(|answer| answer.status == 200).map(|answer| answer.json())
}

/// Waits until all of a sink's topics that hold `records` together are in published files, as long as more and more come.
///
/// # Panics
/// When no more come and it is not all.
pub fn wait_for(client: &Client, sink: &str, records: u64) {
    let mut last = 0;
    loop {
        // What there is now, once it is more than before or all.
        let found = wait::until(&format!("{records} records are in files of {sink}, and not only {last}"), || {
            let sink = stands(client, sink)?;
            let found = sink["records"].as_u64()? + sink["lost_records"].as_u64()?;
            let is_done = found >= records && sink["behind"] == 0;
            (is_done || found > last).then_some((found, is_done))
        });
        match found {
            (_, true) => return,
            (found, false) => last = found,
        }
    }
}
