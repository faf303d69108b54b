//! When files are closed, where they go, and what is in them.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use skidway_tests::{Site, sink, wait};

use super::{archive, each_once, produce};

fn names(root: &Path) -> Vec<String> {
    let name = |path: &std::path::PathBuf| path.strip_prefix(root).unwrap().display().to_string();
    sink::published(root).iter().map(name).collect()
}

#[test]
fn an_idle_topic_rolls_by_itself_and_rows_show_what_was_asked_for() {
    let site = Site::new();
    let keys = "path = \"{topic}/p={partition}\"\ncolumns = [\"offset\", \"key\", \"value\"]\nroll = { idle = \"1s\" }";
    let collector = site.collector().with("[topics]\npartitions = 1").with(&archive(&site, keys)).started();
    let client = collector.client();
    produce(&client, "app", 0..3);
    sink::wait_for(&client, "archive", 3);
    let out = site.path("out");
    assert_eq!(names(&out), ["app/p=0/app+0+0000000000+0000000002.ndjson.gz"]);
    let expected: Vec<_> = (0..3).map(|at| json!({"offset": at, "key": null, "value": format!("line {at}")})).collect();
    assert_eq!(sink::all_objects(&out), expected);
    let stands = sink::stands(&client, "archive").unwrap();
    assert_eq!(
        (&stands["state"], &stands["files"], &stands["cuts"]["idle"]),
        (&json!("running"), &json!(1), &json!(1))
    );
    // Nothing more comes of a topic where nothing happens.
    wait::pause(Duration::from_millis(1500));
    assert_eq!(names(&out).len(), 1);
}

#[test]
fn files_roll_at_their_size_and_records_lie_in_their_hours_folder() {
    let site = Site::new();
    let keys = "format = \"raw\"\ncompression = \"none\"\npath = \"dt=%Y-%m-%d/hour=%H\"\ntimezone = \"Asia/Kolkata\"\n\
                roll = { records = 4, idle = \"1s\" }";
    let collector = site.collector().with("[topics]\npartitions = 1").with(&archive(&site, keys)).started();
    let client = collector.client();
    // Half past eight and a quarter to nine in UTC: two o'clock in Kolkata, both, and one late record of the day before.
    for (at, number) in [("08:30", 0), ("08:45", 1), ("09:45", 2), ("08:50", 3)] {
        let record = json!({"value": format!("line {number}"), "timestamp": format!("2026-11-22T{at}:00Z")});
        let answer =
            client.post("/v1/topics/app/records", "application/json", json!({"records": [record]}).to_string());
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    produce(&client, "app", 4..14);
    sink::wait_for(&client, "archive", 14);
    let out = site.path("out");
    let early: Vec<String> = names(&out).into_iter().filter(|name| name.starts_with("dt=2026-11-22")).collect();
    assert_eq!(
        early,
        [
            "dt=2026-11-22/hour=14/app+0+0000000000+0000000003.log",
            "dt=2026-11-22/hour=15/app+0+0000000002+0000000002.log"
        ]
    );
    assert_eq!(sink::rows(&out.join(&early[0])), ["line 0", "line 1", "line 3"]);
    let later: Vec<usize> = sink::published(&out)
        .iter()
        .filter(|path| !path.to_string_lossy().contains("2026-11-22"))
        .map(|path| sink::rows(path).len())
        .collect();
    assert_eq!(later.iter().sum::<usize>(), 10);
    assert!(later.iter().all(|rows| *rows <= 4), "{later:?}");
    each_once(sink::all_rows(&out), 14);
}

#[test]
fn many_folders_at_once_close_files_before_they_are_too_many() {
    let site = Site::new();
    let keys =
        "path = \"{header:user}\"\nformat = \"raw\"\ncompression = \"zstd\"\nroll = { open_files = 3, idle = \"1s\" }";
    let collector = site.collector().with("[topics]\npartitions = 1").with(&archive(&site, keys)).started();
    let client = collector.client();
    let record = |at: u64| json!({"value": format!("line {at}"), "headers": {"user": format!("../{}", at % 5)}});
    let records: Vec<_> = (0..50).map(record).collect();
    let answer = client.post("/v1/topics/app/records", "application/json", json!({"records": records}).to_string());
    assert_eq!(answer.status, 200, "{}", answer.text());
    sink::wait_for(&client, "archive", 50);
    let out = site.path("out");
    assert!(names(&out).iter().all(|name| name.starts_with("..%2F")), "{:?}", names(&out));
    each_once(sink::all_rows(&out), 50);
    assert!(sink::stands(&client, "archive").unwrap()["cuts"]["open-files"].as_u64().unwrap() > 5);
}

/// Produces records of these values, of the times that they say, and waits until all are in files.
fn produce_at(client: &skidway_tests::Client, times: &[(i64, u64)]) {
    for (ago_hours, number) in times {
        let at = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(*ago_hours);
        let value = json!({"at": at.to_string(), "number": number}).to_string();
        let records = json!({"records": [{"value": value, "partition": number % 2}]}).to_string();
        let answer = client.post("/v1/topics/app/records", "application/json", records);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[test]
fn late_records_go_where_the_configuration_says() {
    for (late, kept, aside) in [("keep", 6, 0), ("aside", 3, 3), ("drop", 3, 0)] {
        let site = Site::new();
        let keys = format!(
            "late = \"{late}\"\ntime = \"field:/at\"\npath = \"dt=%Y-%m-%d/hour=%H\"\nroll = {{ idle = \"1s\" }}\n"
        );
        let collector = site.collector().with("[topics]\npartitions = 2").with(&archive(&site, &keys)).started();
        let client = collector.client();
        produce_at(&client, &[(0, 0), (0, 1), (5, 2), (5, 3), (30, 4), (0, 5)]);
        wait::until("all is in files or dropped", || {
            let sink = sink::stands(&client, "archive")?;
            let decided = sink["records"].as_u64()? + sink["late_dropped_records"].as_u64()?;
            (decided == 6 && sink["behind"] == 0).then_some(())
        });
        let (late, own): (Vec<String>, Vec<String>) =
            names(&site.path("out")).into_iter().partition(|name| name.starts_with("late/dt="));
        let rows =
            |names: &[String]| names.iter().map(|name| sink::rows(&site.path("out").join(name)).len()).sum::<usize>();
        assert_eq!((rows(&own), rows(&late)), (kept, aside), "{own:?} {late:?}");
    }
}

#[test]
fn partitions_that_are_merged_share_their_files() {
    let site = Site::new();
    let keys = "merge_partitions = true\npath = \"{topic}\"\nroll = { idle = \"1s\" }\n";
    let mut collector = site.collector().with("[topics]\npartitions = 4").with(&archive(&site, keys)).started();
    let client = collector.client();
    let record = |at: u64| json!({"value": format!("line {at}"), "partition": at % 4});
    let some = |from: u64, to: u64| {
        let records: Vec<_> = (from..to).map(record).collect();
        let answer = client.post("/v1/topics/app/records", "application/json", json!({"records": records}).to_string());
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    some(0, 40);
    sink::wait_for(&client, "archive", 40);
    let out = site.path("out");
    assert_eq!(names(&out), ["app/app+all+0000000000+0000000039.ndjson.gz"]);
    let rows = sink::all_objects(&out);
    let place = |row: &serde_json::Value| (row["partition"].as_u64().unwrap(), row["offset"].as_u64().unwrap());
    assert!(rows.is_sorted_by_key(place), "a partition's records are together and in their order");
    // Each partition by itself again: a free change at a restart.
    collector.program().stop();
    collector.without("merge_partitions = true\n").start();
    some(40, 80);
    sink::wait_for(&client, "archive", 80);
    assert_eq!(names(&out).len(), 5);
    let lines = sink::all_objects(&out).into_iter().map(|row| row["value"].as_str().unwrap().to_owned());
    each_once(lines.collect(), 80);
    let last = sink::stands(&client, "archive").unwrap()["last_file"]["path"].as_str().unwrap().to_owned();
    assert!(names(&out).contains(&last), "{last}");
}
