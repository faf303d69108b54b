//! Parquet files as others read them: pyarrow (`scripts/parquet-tools` fetches it) finds every record once, whatever columns files have.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use skidway_tests::{Client, Site, scale, sink, tools};

use super::archive;
use super::audit::{job, kinds};
use super::exactly_once::{kill_often, log_lines, real_logs};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Gives the Python that has the readers; fetches them where `scripts/test` has not.
fn python(readers: &[&str]) -> Command {
    let folder = tools::folder("SKIDWAY_PARQUET_TOOLS", "parquet-tools", readers);
    Command::new(folder.join("python/bin/python"))
}

#[track_caller]
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Reads all published files below a folder as one data set, by name; gives its columns' types and its rows.
fn read(folder: &Path) -> (BTreeMap<String, String>, Vec<Value>) {
    let files: String = sink::published(folder).iter().map(|file| format!("{}\n", file.display())).collect();
    let mut reader = python(&[]);
    reader.arg(repository().join("tests/tests/sinks/read_parquet.py"));
    let mut reader = reader.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    reader.stdin.take().unwrap().write_all(files.as_bytes()).unwrap();
    let said = said(&reader.wait_with_output().unwrap());
    let mut lines = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    (serde_json::from_value(lines.next().unwrap()).unwrap(), lines.collect())
}

/// Gives what is in a column of text or in the one beside it.
fn bytes(row: &Value, column: &str) -> Option<Vec<u8>> {
    let binary = &row[format!("{column}_binary")]["base64"];
    let text = row[column].as_str().map(|text| text.as_bytes().to_vec());
    text.or_else(|| Some(BASE64_STANDARD.decode(binary.as_str()?).unwrap()))
}

fn produce(client: &Client, topic: &str, records: &[Value]) {
    let body: String = records.iter().map(|record| format!("{record}\n")).collect();
    let answer = client.post(&format!("/v1/topics/{topic}/records"), "application/x-ndjson", body);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn every_line_of_sixteen_real_logs_is_read_by_pyarrow_once_and_in_its_order() {
    let site = Site::new();
    let data = real_logs();
    let keys = "format = \"parquet\"\ncolumns = [\"path\", \"offset\", \"value\"]\nroll = { bytes = \"64KiB\", idle = \"1s\" }";
    let collector = site.collector().with(&archive(&site, keys)).started();
    let _agent = site.agent("a", &collector.url()).follows(&format!("{}/*.log", data.display()), "app").started();
    sink::wait_for(&collector.client(), "archive", 32_000);
    let mut found: BTreeMap<String, Vec<(u64, Vec<u8>)>> = BTreeMap::new();
    for row in read(&site.path("out")).1 {
        let line = (row["offset"].as_u64().unwrap(), bytes(&row, "value").unwrap());
        found.entry(row["path"].as_str().unwrap().to_owned()).or_default().push(line);
    }
    assert_eq!(found.len(), 16);
    for (path, mut lines) in found {
        lines.sort();
        let whole = std::fs::read(&path).unwrap();
        let expected: Vec<&[u8]> = log_lines(&whole).collect();
        let lines: Vec<&[u8]> = lines.iter().map(|(_, line)| &line[..]).collect();
        assert_eq!(lines.len(), expected.len(), "{path}");
        assert!(lines == expected, "{path}: lines differ");
    }
}

#[test]
fn records_of_every_kind_are_read_as_they_were_produced() {
    let site = Site::new();
    let keys = "format = \"parquet\"\nroll = { idle = \"1s\" }";
    let collector = site.collector().with("[topics]\npartitions = 1").with(&archive(&site, keys)).started();
    let records = [
        json!({"key": "k", "value": "text ä", "headers": {"host": "web-1", "empty": null}, "timestamp": 1_700_000_000_123u64}),
        json!({"key_base64": "/w==", "value_base64": "/v8A"}),
        json!({"key": "gone", "value": null}),
        json!({"value": "", "headers": {"a": ["1", {"base64": "/w=="}, "3"], "b": "x"}}),
    ];
    produce(&collector.client(), "app", &records);
    sink::wait_for(&collector.client(), "archive", 4);
    let (types, mut rows) = read(&site.path("out"));
    rows.sort_by_key(|row| row["offset"].as_u64());
    let expected = [
        ("topic", "string"),
        ("partition", "int32"),
        ("offset", "int64"),
        ("timestamp", "timestamp[ms, tz=UTC]"),
        ("key", "string"),
        ("key_binary", "binary"),
        ("headers", "map<string, string ('headers')>"),
        ("headers_json", "string"),
        ("value", "string"),
        ("value_binary", "binary"),
    ];
    assert_eq!(types, expected.map(|(name, kind)| (name.to_owned(), kind.to_owned())).into());
    assert_eq!(rows[0]["timestamp"], "2023-11-14T22:13:20.123000+00:00");
    assert_eq!(rows[0]["headers"], json!([["empty", null], ["host", "web-1"]]));
    assert_eq!(
        (&rows[0]["topic"], &rows[0]["partition"], &rows[0]["headers_json"]),
        (&json!("app"), &json!(0), &Value::Null)
    );
    let texts: Vec<_> = rows.iter().map(|row| (bytes(row, "key"), bytes(row, "value"))).collect();
    let some = |text: &str| Some(text.as_bytes().to_vec());
    assert_eq!(texts[0], (some("k"), some("text ä")));
    assert_eq!(texts[1], (Some(vec![0xff]), Some(vec![0xfe, 0xff, 0])));
    assert_eq!((texts[2].clone(), texts[3].clone()), ((some("gone"), None), (None, some(""))));
    assert_eq!(rows[3]["headers"], json!([["a", "1"], ["b", "x"]]));
    let all: Value = serde_json::from_str(rows[3]["headers_json"].as_str().unwrap()).unwrap();
    assert_eq!(all, json!([["a", "1"], ["a", {"base64": "/w=="}], ["a", "3"], ["b", "x"]]));
}

/// Makes the value of a JSON record: members come and go, and types do not agree.
fn evolving(number: u64) -> Value {
    let mut value =
        json!({"n": number, format!("member{}", number / 500): "x", "same": {"list": [number]}, "none": null});
    match number % 4 {
        0 => value["odd"] = json!(number),
        1 => value["odd"] = json!("text"),
        2 => value["ratio"] = json!(number as f64 / 2.0),
        _ => value["timestamp"] = json!("2026-11-22"),
    }
    value
}

/// Puts an object together again: its columns are those that are not the record's own, and `_rest`.
fn whole(row: &Value) -> Value {
    let own = [
        "topic",
        "partition",
        "offset",
        "timestamp",
        "key",
        "key_binary",
        "headers",
        "headers_json",
        "value",
        "value_binary",
    ];
    let mut object: Value = row["_rest"].as_str().map_or(json!({}), |rest| serde_json::from_str(rest).unwrap());
    for (name, value) in row.as_object().unwrap() {
        if own.contains(&name.as_str()) || name == "_rest" || value.is_null() {
            continue;
        }
        let nested = value.as_str().filter(|text| text.starts_with('{'));
        let value = nested.map_or(value.clone(), |text| serde_json::from_str(text).unwrap());
        object[name.strip_prefix("value_").unwrap_or(name)] = value;
    }
    object
}

/// Checks that records `0..count` of [`evolving`] are there, each once and whole; null is as good as absent.
#[track_caller]
fn each_whole(rows: &[Value], count: u64) {
    let mut numbers = BTreeSet::new();
    for row in rows {
        let found = whole(row);
        let number = found["n"].as_u64().unwrap_or_else(|| panic!("{row}"));
        let mut expected = evolving(number);
        if found.get("none").is_none() {
            expected.as_object_mut().unwrap().remove("none");
        }
        if let Some(ratio) = expected.get_mut("ratio") {
            *ratio = json!(ratio.as_f64());
        }
        assert_eq!(found, expected);
        assert!(numbers.insert(number), "{number} is there twice");
    }
    assert_eq!((numbers.len() as u64, numbers.last()), (count, Some(&(count - 1))));
}

#[test]
fn columns_are_learned_and_all_files_are_one_table_by_name() {
    let site = Site::new();
    let keys = "format = \"parquet\"\nschema = \"infer\"\nroll = { records = 200, idle = \"1s\" }";
    let ndjson = format!(
        "[[sinks]]\nname = \"lines\"\ntopics = [\"app*\"]\nurl = \"file://{}\"\nroll = {{ idle = \"1s\" }}",
        site.text("lines")
    );
    let mut collector = site.collector().with(&archive(&site, keys)).with(&ndjson).started();
    let client = collector.client();
    let records: Vec<Value> = (0..3000).map(|number| json!({"value": evolving(number).to_string()})).collect();
    let (first, second) = records.split_at(1500);
    first.chunks(100).for_each(|some| produce(&client, "app", some));
    sink::wait_for(&client, "archive", 1500);
    // What was learned is known after a restart.
    assert_eq!(collector.program().stop(), Some(0));
    collector.start();
    second.chunks(100).for_each(|some| produce(&client, "app", some));
    sink::wait_for(&client, "archive", 3000);
    sink::wait_for(&client, "lines", 3000);
    let (types, rows) = read(&site.path("out"));
    each_whole(&rows, 3000);
    let kind = |name: &str| types.get(name).map_or("absent", String::as_str);
    assert_eq!((kind("n"), kind("ratio"), kind("same"), kind("odd")), ("int64", "double", "string", "int64"));
    assert_eq!((kind("member5"), kind("value_timestamp"), kind("none")), ("string", "string", "absent"));
    assert!(sink::published(&site.path("out")).len() > 8);
    if scale::scale() > 1 {
        spark_reads(&site);
    }
}

/// Lets Spark read what both sinks wrote.
fn spark_reads(site: &Site) {
    let script = repository().join("tests/tests/sinks/read_spark.py");
    let counted = python(&["--spark"]).arg(script).args([site.path("lines"), site.path("out")]).output().unwrap();
    let counts: Value = serde_json::from_str(said(&counted).trim()).unwrap();
    for name in ["lines", "distinct_lines", "rows", "distinct_rows"] {
        assert_eq!(counts[name], 3000, "{name} in {counts}");
    }
    assert_eq!(counts["sum"], 2999 * 3000 / 2);
    let columns = counts["columns"].to_string();
    assert!(columns.contains("[\"n\",\"bigint\"]") && columns.contains("[\"timestamp\",\"timestamp\"]"), "{columns}");
}

#[test]
fn objects_survive_a_replay_to_parquet_a_repair_and_the_way_back() {
    for schema in ["infer", "none"] {
        let site = Site::new();
        let lines = "format = \"raw\"\n";
        let keys = format!("path = \"in\"\nroll = {{ records = 200, idle = \"1s\" }}\n{lines}");
        let mut collector = site.collector().with(&archive(&site, &keys)).started();
        let records: Vec<Value> = (0..1500).map(|number| json!({"value": evolving(number).to_string()})).collect();
        records.chunks(100).for_each(|some| produce(&collector.client(), "app", some));
        sink::wait_for(&collector.client(), "archive", 1500);
        let out = site.path("out");
        let before: BTreeSet<String> = sink::all_rows(&out).into_iter().collect();
        let replay = "replay?topic=app&from=2020-01-01T00:00:00Z&to=2126-01-01T00:00:00Z";
        let table = format!("format = \"parquet\"\nschema = \"{schema}\"\n");
        let all_there = || match schema {
            "infer" => each_whole(&read(&out).1, 1500),
            _ => {
                let rows = read(&out).1;
                let found: BTreeSet<String> =
                    rows.iter().map(|row| row["value"].as_str().unwrap().to_owned()).collect();
                assert_eq!((rows.len(), found), (1500, before.clone()));
            }
        };

        collector.program().stop();
        collector.without(lines);
        collector = collector.with(&table);
        collector.start();
        job(&collector.client(), replay);
        all_there();
        let files = sink::published(&out);
        std::fs::remove_file(&files[0]).unwrap();
        let whole = std::fs::read(&files[1]).unwrap();
        std::fs::write(&files[1], &whole[..whole.len() - 9]).unwrap();
        assert_eq!(kinds(&job(&collector.client(), "verify?deep=true")), ["missing", "changed", "summary"]);
        assert_eq!(job(&collector.client(), "repair").last().unwrap()["problems"], 0);
        assert_eq!(sink::published(&out), files);
        all_there();
        assert_eq!(kinds(&job(&collector.client(), "verify?deep=true")), ["summary"]);

        collector.program().stop();
        collector.without(&table);
        collector = collector.with(lines);
        collector.start();
        job(&collector.client(), replay);
        assert_eq!(kinds(&job(&collector.client(), "verify?deep=true")), ["summary"]);
        assert_eq!(collector.program().stop(), Some(0));
        let rows = sink::all_rows(&out);
        assert_eq!((rows.len(), rows.into_iter().collect::<BTreeSet<_>>()), (1500, before));
        assert_eq!(sink::files(&out), sink::published(&out), "something temporary is left");
    }
}

#[test]
fn killing_the_collector_while_columns_change_loses_and_doubles_nothing() {
    let (site, seed, kills) = (Site::new(), scale::seed(), scale::amount(100, 8));
    eprintln!("seed {seed}");
    let keys =
        "format = \"parquet\"\nschema = \"infer\"\npath = \"{topic}/%H%M\"\nroll = { records = 100, idle = \"1s\" }";
    let engine = "[engine]\ncheckpoint_bytes = \"1MiB\"\nsegment_bytes = \"1MiB\"";
    let mut collector = site.collector().with(engine).with(&archive(&site, keys)).started();
    let enough = kill_often(&mut collector, (seed, kills, 60), |number| evolving(number).to_string());
    sink::wait_for(&collector.client(), "archive", enough);
    each_whole(&read(&site.path("out")).1, enough);
    assert_eq!(collector.program().stop(), Some(0));
    assert_eq!(sink::files(&site.path("out")), sink::published(&site.path("out")), "nothing is left in the spool");
    eprintln!("{kills} kills, {enough} lines in {} files", sink::published(&site.path("out")).len());
}
