//! Sixteen real logs through `skidway up`: every line of every file, as framed, in the file's order, once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use skidway_tests::topic::{count, header, read};
use skidway_tests::up::Up;
use skidway_tests::{Site, wait};

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/data").canonicalize().unwrap();
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
    logs.sort();
    assert_eq!(logs.len(), 16);
    logs
}

/// Cuts a file into its lines as the agent frames them: at LF, one CR before it stripped, the rest at the end a line too.
fn framed(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let whole = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    whole.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec()).collect()
}

/// Hashes lines so that any difference shows, be it a byte, a line's end, or the order.
fn hash(lines: &[Vec<u8>]) -> u32 {
    lines.iter().fold(0, |hash, line| crc32c::crc32c_append(crc32c::crc32c_append(hash, line), b"\n"))
}

fn topics(up: &Up) -> Vec<String> {
    let list = up.client().get("/v1/topics").json();
    let names = list["topics"].as_array().unwrap().iter().map(|topic| topic["name"].as_str().unwrap().to_owned());
    names.filter(|name| !name.starts_with("__")).collect()
}

/// Reads every topic and gives the lines by the path each came from.
fn lines_by_path(up: &Up) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut lines: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for topic in topics(up) {
        for record in read(&up.client(), &topic) {
            let path = header(&record, "path").to_owned();
            let value = record.value.map(String::into_bytes).unwrap_or_else(|| base64(&record.value_base64.unwrap()));
            lines.entry(path).or_default().push(value);
        }
    }
    lines
}

fn base64(text: &str) -> Vec<u8> {
    let digit =
        |byte: u8| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".iter().position(|&d| d == byte);
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for value in text.bytes().filter_map(digit) {
        (bits, count) = (bits << 6 | value as u32, count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

#[test]
fn every_line_of_sixteen_real_logs_is_served_once_and_in_order() {
    let site = Site::new();
    let args: Vec<String> = files().iter().map(|path| path.display().to_string()).collect();
    let mut up = Up::start(&site, &args);
    let expected: BTreeMap<String, Vec<Vec<u8>>> =
        files().iter().map(|path| (path.display().to_string(), framed(path))).collect();
    let total: usize = expected.values().map(Vec::len).sum();
    assert_eq!(total, 32_000);
    wait::until("all lines are in their topics", || {
        let client = up.client();
        let there: u64 = topics(&up).iter().map(|topic| count(&client, topic)).sum();
        (there >= total as u64).then_some(())
    });
    let served = lines_by_path(&up);
    assert_eq!(topics(&up).len(), 16, "one topic a file");
    for (path, lines) in &expected {
        let served = served.get(path).unwrap_or_else(|| panic!("{path} is not served"));
        assert_eq!(served.len(), lines.len(), "lines of {path}");
        assert_eq!(hash(served), hash(lines), "hash of the lines of {path}");
    }
    assert_eq!(served.len(), 16);
    assert_eq!(up.program.stop(), Some(0));
}

#[test]
fn a_line_appended_while_up_runs_is_served() {
    let site = Site::new();
    let path = site.write("app.log", "before\n");
    let up = Up::start(&site, &[path.display().to_string()]);
    wait::until("the first line is there", || (count(&up.client(), "app") == 1).then_some(()));
    site.append("app.log", "after\n");
    wait::until("the second line is there", || (count(&up.client(), "app") == 2).then_some(()));
}

#[test]
fn the_demo_writes_a_growing_log() {
    let site = Site::new();
    let mut up = Up::start(&site, &["--demo".into()]);
    let lines = |up: &Up| topics(up).iter().map(|topic| count(&up.client(), topic)).sum::<u64>();
    let first = wait::until("lines flow", || Some(lines(&up)).filter(|&lines| lines > 0));
    wait::until("more lines flow", || Some(lines(&up)).filter(|&lines| lines > first));
    assert_eq!(up.program.stop(), Some(0));
}
