//! Work on files that are published: verified, repaired, made anew, and predicted.

use std::time::Duration;

use serde_json::{Value, json};
use skidway_tests::program::run;
use skidway_tests::stores::{Cloud, Stores};
use skidway_tests::{Client, Hdfs, Site, sink, wait};

use super::{archive, each_once, produce};

/// Lets a job run to its end and gives its findings.
pub(super) fn job(client: &Client, path: &str) -> Vec<Value> {
    let answer = client.post(&format!("/v1/sinks/archive/{path}"), "application/json", "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(super) fn kinds(findings: &[Value]) -> Vec<&str> {
    findings.iter().map(|finding| finding["kind"].as_str().unwrap()).collect()
}

#[test]
fn what_is_missing_damaged_or_foreign_is_found_and_made_again() {
    for keys in ["compression = \"zstd\"\n", "merge_partitions = true\n"] {
        let site = Site::new();
        let keys = format!("{keys}roll = {{ records = 50, idle = \"1s\" }}\n");
        let collector = site.collector().with("[topics]\npartitions = 2").with(&archive(&site, &keys)).started();
        let client = collector.client();
        for at in 0..6 {
            produce(&client, "app", at * 100..(at + 1) * 100);
        }
        sink::wait_for(&client, "archive", 600);
        let out = site.path("out");
        let before = sink::published(&out);
        let findings = job(&client, "verify?deep=true");
        assert_eq!(kinds(&findings), ["summary"], "{findings:?}");
        let (files, summary) = (before.len() as u64, &findings[0]);
        assert_eq!(
            (summary["files"].as_u64(), summary["read"].as_u64(), summary["compared_records"].as_u64()),
            (Some(files), Some(files), Some(600))
        );

        std::fs::remove_file(&before[0]).unwrap();
        let mut bytes = std::fs::read(&before[1]).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        std::fs::write(&before[1], bytes).unwrap();
        let foreign = before[2].with_file_name("app+0+0000000000+0000000007.ndjson.gz");
        std::fs::write(&foreign, "of somebody else").unwrap();
        std::fs::write(before[2].with_file_name("README"), "a file that is no sink's").unwrap();

        assert_eq!(kinds(&job(&client, "verify")), ["missing", "unknown", "summary"], "sizes alone");
        let found = job(&client, "verify?deep=true");
        assert_eq!(kinds(&found), ["missing", "changed", "unknown", "summary"]);
        assert_eq!(found[3]["problems"], 3);
        let (code, said) = run("skidway", &["sinks", "verify", "archive", "--deep", "--url", &collector.url()]);
        assert!(code == Some(1) && said.contains("missing: ") && said.contains("3 problems"), "{said}");

        let repaired = job(&client, "repair");
        assert_eq!(kinds(&repaired).iter().filter(|kind| **kind == "repaired").count(), 2, "{repaired:?}");
        std::fs::remove_file(&foreign).unwrap();
        std::fs::remove_file(before[2].with_file_name("README")).unwrap();
        assert_eq!(sink::published(&out), before);
        let rows = sink::all_objects(&out).into_iter().map(|row| row["value"].as_str().unwrap().to_owned());
        each_once(rows.collect(), 600);
        let (code, said) = run("skidway", &["sinks", "verify", "archive", "--deep", "--url", &collector.url()]);
        assert!(code == Some(0) && said.contains("all well"), "{said}");
    }
}

#[test]
fn files_are_made_anew_as_the_configuration_says_today() {
    for keys in ["", "merge_partitions = true\n"] {
        let site = Site::new();
        let keys = format!("{keys}path = \"old\"\nroll = {{ records = 50, idle = \"1s\" }}\n");
        let mut collector = site.collector().with("[topics]\npartitions = 2").with(&archive(&site, &keys)).started();
        let client = collector.client();
        (0..4).for_each(|at| produce(&client, "app", at * 100..(at + 1) * 100));
        sink::wait_for(&client, "archive", 400);
        let out = site.path("out");
        let before = sink::published(&out).len();
        collector.program().stop();
        collector.without("path = \"old\"\n");
        collector = collector.with("path = \"new\"\nformat = \"raw\"\n");
        collector.start();

        let client = collector.client();
        let url = collector.url();
        let span = ["--topic", "app", "--from", "2026-01-01T00:00:00Z", "--to", "2126-01-01T00:00:00Z"];
        let replay = [&["sinks", "replay", "archive", "--url", &url][..], &span].concat();
        let (code, said) = run("skidway", &replay);
        assert!(code == Some(0) && said.contains("made anew: new/app+"), "{said}");
        let after = sink::published(&out);
        assert!(after.iter().all(|path| path.starts_with(out.join("new"))), "{after:?}");
        assert_eq!(after.len(), before);
        each_once(sink::all_rows(&out), 400);
        assert_eq!(kinds(&job(&client, "verify?deep=true")), ["summary"]);
        // A second time there is nothing to do.
        let (code, said) = run("skidway", &replay);
        assert!(code == Some(0) && !said.contains("made anew") && said.contains("0 files written"), "{said}");
        // The sink goes on where it was.
        produce(&client, "app", 400..500);
        sink::wait_for(&client, "archive", 500);
        each_once(sink::all_rows(&out), 500);
    }
}

#[test]
fn killing_the_collector_while_files_are_made_anew_loses_and_doubles_nothing() {
    let site = Site::new();
    let keys = "path = \"old\"\nroll = { records = 10, idle = \"1s\" }\n";
    let mut collector = site.collector().with("[topics]\npartitions = 2").with(&archive(&site, keys)).started();
    (0..60).for_each(|at| produce(&collector.client(), "app", at * 20..(at + 1) * 20));
    sink::wait_for(&collector.client(), "archive", 1200);
    let out = site.path("out");
    collector.program().stop();
    collector.without("path = \"old\"\n");
    collector = collector.with("path = \"new\"\nformat = \"raw\"\n");
    collector.start();
    let replay = "replay?topic=app&from=2026-01-01T00:00:00Z&to=2126-01-01T00:00:00Z";
    for kill in 1..=5 {
        let client = collector.client();
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| client.try_post(&format!("/v1/sinks/archive/{replay}"), &[], ""));
            wait::until("some files are made anew", || {
                let moved = sink::published(&out).iter().filter(|path| path.starts_with(out.join("new"))).count();
                (moved > kill * 3).then_some(())
            });
            collector.program().kill9();
            let _cut_off = asked.join();
        });
        collector.start();
    }
    let client = collector.client();
    // Until what was cut short is finished, a verification may find it in the making.
    wait::within(Duration::from_secs(30), || (kinds(&job(&client, "verify?deep=true")) == ["summary"]).then_some(()))
        .expect("what was cut short is finished");
    assert!(kinds(&job(&client, replay)).iter().all(|kind| ["replayed", "summary"].contains(kind)));
    assert_eq!(collector.program().stop(), Some(0));
    let rows = sink::published(&out);
    assert!(rows.iter().all(|path| path.starts_with(out.join("new"))));
    each_once(sink::all_rows(&out), 1200);
    assert_eq!(sink::files(&out), rows, "nothing is left in the spool");
}

#[test]
fn a_plan_says_what_will_come_of_what_came() {
    let site = Site::new();
    let keys = "path = \"{topic}\"\nroll = { records = 50, age = \"7d\", idle = \"7d\" }\n";
    let collector = site.collector().with("[topics]\npartitions = 1").with(&archive(&site, keys)).started();
    let client = collector.client();
    let record = |at: u64| {
        let time = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(720 - i64::try_from(at).unwrap());
        json!({"value": format!("line {at}"), "timestamp": time.to_string()})
    };
    // A record a minute for twelve hours: 1,440 a day, and as 50 are a file, 28.8 files; the last one, of 20, counts as two fifths.
    for from in (0..720).step_by(10) {
        let records: Vec<Value> = (from..from + 10).map(record).collect();
        let answer = client.post("/v1/topics/app/records", "application/json", json!({"records": records}).to_string());
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let plan = client.get("/v1/sinks/archive/plan?hours=24").json();
    assert_eq!((&plan["sample_records"], &plan["sample_files"]), (&json!(720), &json!(15)), "{plan}");
    let files = plan["files_per_day"].as_u64().unwrap();
    assert_eq!(files, 29, "{plan}");
    let (code, said) = run("skidway", &["sinks", "plan", "archive", "--url", &collector.url()]);
    assert!(code == Some(0) && said.contains("files a day: 29") && said.contains("closed by records"), "{said}");
    let (code, said) = run("skidway", &["sinks", "plan", "none", "--url", &collector.url()]);
    assert!(code == Some(1) && said.contains("there is no sink"), "{said}");
}

#[test]
fn a_plan_counts_a_file_of_several_partitions_once() {
    let site = Site::new();
    let keys = "merge_partitions = true\npath = \"{topic}\"\nroll = { age = \"7d\", idle = \"7d\" }\n";
    let collector = site.collector().with("[topics]\npartitions = 3").with(&archive(&site, keys)).started();
    let client = collector.client();
    let keyed = |at: u64| json!({"key": at.to_string(), "value": "line"});
    let records: Vec<Value> = (0..100).map(keyed).collect();
    let answer = client.post("/v1/topics/app/records", "application/json", json!({"records": records}).to_string());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let plan = client.get("/v1/sinks/archive/plan?hours=24").json();
    assert_eq!((&plan["sample_records"], &plan["sample_files"]), (&json!(100), &json!(1)), "{plan}");
}

/// Lets a sink of these keys write, `harm` take away its first file and put another in the second's place, and the sink mend that.
fn found_and_mended(site: &Site, keys: &str, harm: impl FnOnce(), rows: impl FnOnce() -> Vec<String>) {
    let keys = format!("{keys}\nformat = \"raw\"\npath = \"in\"\nroll = {{ records = 50, idle = \"1s\" }}\n");
    let sink = format!("[[sinks]]\nname = \"archive\"\ntopics = [\"app\"]\n{keys}");
    let mut collector = site.collector().with("[topics]\npartitions = 1").with(&sink).started();
    let client = collector.client();
    (0..4).for_each(|at| produce(&client, "app", at * 100..(at + 1) * 100));
    sink::wait_for(&client, "archive", 400);
    assert_eq!(kinds(&job(&client, "verify?deep=true")), ["summary"]);
    harm();
    let found = job(&client, "verify?deep=true");
    assert_eq!(kinds(&found), ["missing", "changed", "summary"], "{found:?}");
    let repaired = job(&client, "repair");
    assert_eq!(repaired.last().unwrap()["problems"], 0, "{repaired:?}");
    assert_eq!(kinds(&job(&client, "verify?deep=true")), ["summary"]);
    assert_eq!(collector.program().stop(), Some(0));
    each_once(rows(), 400);
}

#[test]
fn what_is_missing_or_damaged_in_a_bucket_is_found_and_made_again() {
    for cloud in [Cloud::S3, Cloud::Azure] {
        let site = Site::new();
        let stores = Stores::start(&site, cloud);
        let rows = || {
            stores.mirror_clean(&site.path("out"));
            sink::all_rows(&site.path("out"))
        };
        found_and_mended(&site, &stores.keys(&site, "logs", stores.port()), || stores.harm("logs"), rows);
    }
}

#[test]
fn what_is_missing_or_damaged_in_hdfs_is_found_and_made_again() {
    let site = Site::new();
    let hdfs = Hdfs::started(&site);
    let keys = format!("url = {:?}\nhdfs = {{ user = \"skidway\" }}\n", hdfs.url("/logs/out"));
    let harm = || {
        let mut files = hdfs.hadoop.files("/logs/out");
        files.sort();
        hdfs.hadoop.shell("hdfs", &["-rm", "-skipTrash", &files[0]]);
        hdfs.hadoop.shell("hdfs", &["-cp", "-f", &files[2], &files[1]]);
    };
    found_and_mended(&site, &keys, harm, || hdfs.hadoop.rows("/logs/out"));
}

#[test]
fn parquet_files_are_replayed_to_and_a_damaged_one_is_made_again() {
    let site = Site::new();
    let first = "format = \"raw\"\n";
    let keys = format!("path = \"in\"\nroll = {{ records = 50, idle = \"1s\" }}\n{first}");
    let mut collector = site.collector().with("[topics]\npartitions = 1").with(&archive(&site, &keys)).started();
    let client = collector.client();
    let lines: String = (0..200).map(|n| format!("{{\"n\":{n},\"text\":\"x{}\"}}\n", n % 7)).collect();
    assert_eq!(client.post("/v1/topics/app/records", "text/plain", &lines).status, 200);
    sink::wait_for(&client, "archive", 200);
    let replay = "replay?topic=app&from=2026-01-01T00:00:00Z&to=2126-01-01T00:00:00Z";
    let parquet = "format = \"parquet\"\nschema = \"infer\"\n";
    let out = site.path("out");
    collector.program().stop();
    collector.without(first);
    collector = collector.with(parquet);
    collector.start();
    let replayed = job(&collector.client(), replay);
    assert!(kinds(&replayed)[..replayed.len() - 1].iter().all(|kind| *kind == "replayed"), "{replayed:?}");
    let files = sink::published(&out);
    assert!(files.len() >= 4 && files.iter().all(|path| path.extension().unwrap() == "parquet"), "{files:?}");
    assert_eq!(kinds(&job(&collector.client(), "verify?deep=true")), ["summary"]);

    // A reader of Parquet may panic at odd bytes; the collector lives.
    let whole = std::fs::read(&files[0]).unwrap();
    for at in (8..whole.len()).step_by(whole.len() / 25) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        std::fs::write(&files[0], bytes).unwrap();
        let found = job(&collector.client(), "verify?deep=true");
        assert!(kinds(&found) == ["summary"] || kinds(&found) == ["changed", "summary"], "{found:?}");
    }
    std::fs::write(&files[0], &whole[..whole.len() / 2]).unwrap();
    assert!(kinds(&job(&collector.client(), "repair")).contains(&"repaired"));
    assert_eq!(kinds(&job(&collector.client(), "verify?deep=true")), ["summary"]);

    collector.program().stop();
    collector.without(parquet);
    collector = collector.with(first);
    collector.start();
    job(&collector.client(), replay);
    assert_eq!(collector.program().stop(), Some(0));
    assert_eq!(sink::all_rows(&out).join("\n") + "\n", lines);
}
