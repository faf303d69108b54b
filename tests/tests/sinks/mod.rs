//! Topics as files (docs/sinks.md): every record in exactly one, whatever is killed, full or away.

mod audit;
mod exactly_once;
mod hdfs;
mod hdfs_full;
mod jobs;
mod objects;
mod operations;
mod parquet;
mod rolling;

use skidway_tests::{Client, Site};

/// Configures a sink `archive` of topics `app*` into the site's folder `out`, with more keys.
fn archive(site: &Site, keys: &str) -> String {
    format!("[[sinks]]\nname = \"archive\"\ntopics = [\"app*\"]\nurl = \"file://{}\"\n{keys}", site.text("out"))
}

/// Produces lines `from..to` to a topic; the answer is awaited.
fn produce(client: &Client, topic: &str, numbers: std::ops::Range<u64>) {
    let lines: String = numbers.map(|number| format!("line {number}\n")).collect();
    let answer = client.post(&format!("/v1/topics/{topic}/records"), "text/plain", lines);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Checks that lines `0..count` are there, each once.
#[track_caller]
fn each_once(mut rows: Vec<String>, count: u64) {
    let number = |row: &String| row.strip_prefix("line ").and_then(|number| number.parse::<u64>().ok());
    rows.sort_by_key(number);
    let numbers: Vec<Option<u64>> = rows.iter().map(number).collect();
    let expected: Vec<Option<u64>> = (0..count).map(Some).collect();
    if numbers != expected {
        let missing: Vec<_> =
            expected.iter().flatten().filter(|number| !numbers.contains(&Some(**number))).take(5).collect();
        let doubled: Vec<_> =
            numbers.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).take(5).collect();
        panic!("{} rows of {count}; missing {missing:?}, doubled {doubled:?}", numbers.len());
    }
}
