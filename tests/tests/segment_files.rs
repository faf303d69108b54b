//! Segment files as others read them: PyPI's kafka-python and Apache Kafka's own dump-log tool find the records that HTTP answers with.
//!
//! The readers are fetched by `scripts/kafka-tools`, which `scripts/test` runs; without them these tests fail.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use skidway_tests::{Client, Collector, Site, topic, wait};
use skidway_wire::JsonRecord;

const TOPICS: [&str; 4] = ["lines", "bulk", "records", "state"];

/// Finds the folder that `scripts/kafka-tools` filled.
fn tools() -> PathBuf {
    let folder = std::env::var_os("SKIDWAY_KAFKA_TOOLS").map(PathBuf::from).unwrap_or_else(|| {
        let home = || Path::new(&std::env::var_os("HOME").unwrap()).join(".cache");
        std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("skidway/kafka-tools")
    });
    assert!(folder.join("jars").exists(), "{} lacks the readers: run scripts/kafka-tools", folder.display());
    folder
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn logs() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repository().join("bench/data")).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
    logs.sort();
    logs
}

/// Runs a reader and gives what it printed.
#[track_caller]
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    assert!(!errors.contains("Exception"), "{command:?}:\n{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs Kafka's tool over files.
fn dump(options: &[&str], files: &[PathBuf]) -> String {
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let class_path = format!("{}/*", tools().join("jars").display());
    said(
        Command::new("java")
            .args(["-cp", &class_path, "kafka.tools.DumpLogSegments"])
            .args(options)
            .args(["--files", &files.join(",")]),
    )
}

/// Fills a log: real lines through an agent in small and large batches, then records of every kind through HTTP.
fn fill(site: &Site, collector: &Collector) {
    for path in logs() {
        let (name, lines) = (path.file_name().unwrap().to_string_lossy(), std::fs::read(&path).unwrap());
        site.append(&format!("logs/{name}"), &lines);
        site.append("logs/all.log", &lines);
    }
    let agent = site.agent("web-1", &collector.url()).follows(&site.text("logs/*.log"), "lines");
    let (exit, output) = agent.once();
    assert_eq!(exit, Some(0), "{output}");
    produce_lines(&collector.client());
    produce_kinds(&collector.client());
    compact(&collector.client());
}

/// Overwrites keys until compaction has removed most of it, and deletes some.
fn compact(client: &Client) {
    client.put("/v1/topics/state", &json!({"partitions": 1, "cleanup": "compact"}));
    let mut random = 1_u64;
    let mut word = || {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        format!("{random:016x}")
    };
    for round in 0..40 {
        let mut line = |key: u64| {
            let value = match (key + round) % 9 {
                0 => Value::Null,
                _ => json!(format!("{round} {}{}{}", word(), word(), word())),
            };
            format!("{}\n", json!({"key": format!("k{key}"), "value": value}))
        };
        let body: String = (0..2_000).map(&mut line).collect();
        let answer = client.post("/v1/topics/state/records", "application/x-ndjson", body);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    wait::until("most of what is superseded is gone", || (topic::read(client, "state").len() < 30_000).then_some(()));
}

/// Sends each log's lines as many small requests and one large one, to one partition, more than a segment of them.
fn produce_lines(client: &Client) {
    for path in logs() {
        let text = std::fs::read(&path).unwrap();
        let lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
        for request in lines.chunks(100).chain([&lines[..]]) {
            let answer = client.post("/v1/topics/bulk/records?partition=1", "text/plain", request.concat());
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }
}

fn produce_kinds(client: &Client) {
    let large = "x y z ".repeat(40_000);
    let records = [
        json!({"key": "k1", "value": "v 1 | payload: x", "headers": {"a": "1", "b": ["x", "y"], "c": {"base64": "/w=="}}}),
        json!({"key": "k1", "value": null}),
        json!({"value": "", "timestamp": "2001-02-03T04:05:06.789Z"}),
        json!({"key": "", "value": "empty key"}),
        json!({"key_base64": "//4=", "value_base64": "//79"}),
        json!({"key": "größe", "value": large, "headers": {"ü": "€", "none": null}}),
        json!({"key": "old", "value": "the first moment", "timestamp": 0}),
    ];
    for round in 0..40 {
        let lines: String = records.iter().map(|record| with_partition(record, round % 3)).collect();
        let answer = client.post("/v1/topics/records/records", "application/x-ndjson", lines);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

fn with_partition(record: &Value, partition: u64) -> String {
    let mut record = record.clone();
    record["partition"] = json!(partition);
    format!("{record}\n")
}

/// Fills a log, reads it through HTTP, and stops the collector. Gives the records by topic and partition, and the partitions' folders.
fn filled() -> (Site, BTreeMap<String, Vec<JsonRecord>>, PathBuf) {
    let site = Site::new();
    let settings = "[engine]\nsegment_bytes = \"1MiB\"\ncompaction_interval = \"100ms\"\n[topics]\npartitions = 3";
    let mut collector = site.collector().with(settings).started();
    fill(&site, &collector);
    let mut records: BTreeMap<String, Vec<JsonRecord>> = BTreeMap::new();
    for record in TOPICS.iter().flat_map(|topic| topic::read(&collector.client(), topic)) {
        records.entry(format!("{}-{}", record.topic, record.partition)).or_default().push(record);
    }
    assert_eq!(collector.program().stop(), Some(0));
    let folders = site.path("data/topics");
    (site, records, folders)
}

/// Lists a partition's files with one of these extensions, by base offset.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let has = |path: &PathBuf| path.extension().is_some_and(|it| extensions.iter().any(|extension| it == *extension));
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(has).collect();
    files.sort();
    files
}

#[test]
fn independent_readers_find_the_records_that_http_answers_with() {
    let (_site, records, folders) = filled();
    assert!(records.len() >= 7, "partitions of all topics: {:?}", records.keys());
    // All partitions at once, in one order everywhere: a Java program takes its time to start.
    let in_partitions = |extensions: &[&str]| -> Vec<Vec<PathBuf>> {
        records.keys().map(|partition| files(&folders.join(partition), extensions)).collect()
    };
    let (logs, indexes) = (in_partitions(&["log"]), in_partitions(&["index", "timeindex"]).concat());
    let segments = logs.iter().map(Vec::len).max().unwrap();
    let (logs, expected) = (logs.concat(), records.into_values().flatten().collect::<Vec<_>>());
    kafka_python_agrees(&logs, &expected);
    let batch_bytes = kafka_agrees(&logs, &expected);
    assert_eq!(indexes.len(), 2 * logs.len());
    indexes_agree(&indexes);
    let index_bytes: u64 = indexes.iter().map(|path| path.metadata().unwrap().len()).sum();
    let (small, large) = (batch_bytes.iter().min().unwrap(), batch_bytes.iter().max().unwrap());
    let (has_segments, has_indexes) = (segments > 1, index_bytes > 0);
    assert!(
        has_segments && has_indexes && *small < 64 << 10 && *large > 64 << 10,
        "{segments} {index_bytes} {small} {large}"
    );
}

#[track_caller]
fn kafka_python_agrees(logs: &[PathBuf], expected: &[JsonRecord]) {
    let reader = repository().join("scripts/segment-records");
    let found = said(Command::new(tools().join("python/bin/python")).arg(reader).args(logs));
    let found: Vec<JsonRecord> = found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
}

/// Compares what Kafka's tool prints of every record. Gives the batches' sizes.
#[track_caller]
fn kafka_agrees(logs: &[PathBuf], expected: &[JsonRecord]) -> Vec<u64> {
    let text = dump(&["--print-data-log"], logs);
    let mut expected_records = expected.iter();
    let mut sizes = Vec::new();
    for line in text.lines() {
        assert!(!line.starts_with("Found "), "{line}");
        if let Some(found) = line.strip_prefix("| offset: ") {
            let expected = expected_records.next().expect("Kafka finds no more records than HTTP answers with");
            is_shown_as(expected, found);
        } else if line.starts_with("baseOffset: ") {
            assert!(line.contains(" magic: 2 "), "{line}");
            sizes.push(line.split_once(" size: ").unwrap().1.split(' ').next().unwrap().parse().unwrap());
        }
    }
    assert_eq!(expected_records.len(), 0, "Kafka finds as many records as HTTP answers with");
    sizes
}

/// Compares one line of Kafka's tool with a record: offset, time, sizes, header names, and texts.
#[track_caller]
fn is_shown_as(record: &JsonRecord, line: &str) {
    let binary = |text: &Option<String>| text.as_ref().map(|text| text.trim_end_matches('=').len() * 3 / 4);
    let size = |text: &Option<String>, base64: &Option<String>| {
        text.as_ref().map(String::len).or_else(|| binary(base64)).map_or("-1".to_owned(), |bytes| bytes.to_string())
    };
    let (key_size, value_size) = (size(&record.key, &record.key_base64), size(&record.value, &record.value_base64));
    let repeated = |(name, value): (&String, &Value)| vec![name.clone(); value.as_array().map_or(1, Vec::len)];
    let names = record.headers.iter().flat_map(repeated).collect::<Vec<_>>().join(",");
    let (offset, rest) = line.split_once(" CreateTime: ").unwrap();
    let (time, rest) = rest.split_once(' ').unwrap();
    assert_eq!(offset, record.offset.to_string());
    assert_eq!(time.parse::<i64>().unwrap(), milliseconds(&record.timestamp), "{line}");
    let mut expected = format!("keySize: {key_size} valueSize: {value_size} sequence: -1 headerKeys: [{names}]");
    if record.key_base64.is_some() || record.value_base64.is_some() {
        assert!(rest.starts_with(&expected), "{line}");
        return;
    }
    expected.extend(record.key.iter().map(|key| format!(" key: {key}")));
    expected.extend(record.value.iter().map(|value| format!(" payload: {value}")));
    assert_eq!(rest, expected);
}

/// Reads `YYYY-MM-DDThh:mm:ss.mmmZ` as ms since 1970.
fn milliseconds(rfc3339: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| rfc3339[range].parse::<i64>().unwrap();
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    // Days since 1970 of the civil calendar, years beginning in March (H. Hinnant, "chrono-compatible date algorithms").
    let (year, shifted) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * shifted + 2) / 5 + day - 1 - 719_468;
    ((days * 24 + number(11..13)) * 60 + number(14..16)) * 60_000 + number(17..19) * 1000 + number(20..23)
}

/// Kafka's tool finds every index sound, and every entry of it true of its segment.
#[track_caller]
fn indexes_agree(indexes: &[PathBuf]) {
    let sane = dump(&["--index-sanity-check"], indexes);
    let verdicts = sane.lines().filter(|line| line.ends_with(" passed sanity check.") || line.ends_with(" is empty."));
    assert_eq!(verdicts.count(), indexes.len(), "{sane}");
    let verified = dump(&["--verify-index-only"], indexes);
    // Whatever else it says is a fault found.
    let faults: Vec<&str> =
        verified.lines().filter(|line| !line.starts_with("Dumping ") && !line.ends_with(" is empty.")).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}
