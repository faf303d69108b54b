//! Sinks that cannot write, that stand still, that are behind: what they hold, what they say, and what operators can do.

use std::fs;
use std::time::Duration;

use serde_json::json;
use skidway_tests::program::run;
use skidway_tests::{Site, sink, topic, wait};

use super::{archive, each_once, produce};

const RAW: &str = "format = \"raw\"\nroll = { idle = \"1s\" }\n";

#[test]
fn a_sink_that_cannot_write_says_so_holds_its_records_and_harms_nobody() {
    let site = Site::new();
    // A file stands where the folder should be.
    site.write("out", "in the way");
    let other =
        format!("[[sinks]]\nname = \"other\"\ntopics = [\"app\"]\nurl = \"file://{}\"\n{RAW}", site.text("other"));
    // Retention would take all but the last megabyte.
    let topics = "[topics]\npartitions = 1\nretention = { bytes = \"1MiB\" }\n[engine]\nsegment_bytes = \"1MiB\"";
    let mut collector = site.collector().with(topics).with(&archive(&site, RAW)).with(&other).started();
    let client = collector.client();
    for thousand in 0..20 {
        produce(&client, "app", thousand * 1000..(thousand + 1) * 1000);
    }
    sink::wait_for(&client, "other", 20_000);
    let failing =
        wait::until("the sink tells", || sink::stands(&client, "archive").filter(|it| it["state"] == "failing"));
    let trouble = failing["trouble"].as_str().unwrap();
    assert!(trouble.contains(&site.text("out")) && trouble.contains("cannot be used"), "{trouble}");
    let (code, said) = run("skidway", &["sinks", "--url", &collector.url()]);
    assert!(
        code == Some(0) && said.contains("archive") && said.contains("failing") && said.contains(trouble),
        "{said}"
    );

    // What it has not got can be neither deleted nor forgotten, over a restart as well.
    let refused = client.delete("/v1/topics/app/records?partition=0&before_offset=100");
    assert_eq!(
        (refused.status, refused.json()["type"].as_str().unwrap().contains("pinned")),
        (409, true),
        "{}",
        refused.text()
    );
    assert_eq!(client.delete("/v1/topics/app").status, 409);
    collector.program().kill9();
    collector.start();
    assert_eq!(client.delete("/v1/topics/app").status, 409);

    fs::remove_file(site.path("out")).unwrap();
    sink::wait_for(&client, "archive", 20_000);
    each_once(sink::all_rows(&site.path("out")), 20_000);
    let stands = sink::stands(&client, "archive").unwrap();
    assert_eq!((&stands["state"], &stands["lost_records"]), (&json!("running"), &json!(0)));
    assert_eq!(client.delete("/v1/topics/app").status, 204);
}

#[test]
fn a_paused_sink_publishes_what_is_open_and_stands_still_over_restarts() {
    let site = Site::new();
    let keys = "format = \"raw\"\nroll = { age = \"1h\", idle = \"1h\" }\n";
    let mut collector = site.collector().with("[topics]\npartitions = 2").with(&archive(&site, keys)).started();
    let client = collector.client();
    produce(&client, "app", 0..100);
    wait::until("the lines are read", || {
        let stands = sink::stands(&client, "archive")?;
        let read = |it: &serde_json::Value| it["read"].as_u64().unwrap_or(0);
        (stands["partitions"].as_array()?.iter().map(read).sum::<u64>() == 100).then_some(())
    });
    assert_eq!(sink::published(&site.path("out")).len(), 0);
    let url = collector.url();
    let (code, said) = run("skidway", &["sinks", "pause", "archive", "--url", &url]);
    assert!(code == Some(0) && said.contains("paused"), "{said}");
    sink::wait_for(&client, "archive", 100);
    each_once(sink::all_rows(&site.path("out")), 100);

    collector.program().kill9();
    collector.start();
    produce(&client, "app", 100..200);
    wait::pause(Duration::from_millis(1500));
    assert_eq!(sink::stands(&client, "archive").unwrap()["state"], "paused");
    assert_eq!(sink::all_rows(&site.path("out")).len(), 100);
    assert_eq!(run("skidway", &["sinks", "resume", "archive", "--url", &url]).0, Some(0));
    // An orderly stop publishes what is open.
    wait::until("the lines are read", || (sink::stands(&client, "archive")?["state"] == "running").then_some(()));
    wait::until("the rest is read", || {
        let stands = sink::stands(&client, "archive")?;
        let read = |it: &serde_json::Value| it["read"].as_u64().unwrap_or(0);
        (stands["partitions"].as_array()?.iter().map(read).sum::<u64>() == 200).then_some(())
    });
    assert_eq!(collector.program().stop(), Some(0));
    each_once(sink::all_rows(&site.path("out")), 200);
    let (code, said) = run("skidway", &["sinks", "pause", "none", "--url", &url]);
    assert!(code == Some(1), "{said}");
}

#[test]
fn records_that_retention_took_past_the_budget_are_a_gap_in_the_ledger() {
    let site = Site::new();
    let topics = "[topics]\npartitions = 1\nretention = { bytes = \"1MiB\" }\n[engine]\nsegment_bytes = \"1MiB\"\npinned_bytes = \"0\"";
    let keys = "format = \"raw\"\nroll = { idle = \"1s\" }\n";
    let mut collector = site.collector().with(topics).with(&archive(&site, keys)).started();
    let client = collector.client();
    produce(&client, "app", 0..10);
    sink::wait_for(&client, "archive", 10);
    assert_eq!(run("skidway", &["sinks", "pause", "archive", "--url", &collector.url()]).0, Some(0));
    wait::until("it is paused", || (sink::stands(&client, "archive")?["state"] == "paused").then_some(()));
    // Text that does not compress, so that segments fill up.
    let mut random = 1u64;
    for _ in 0..150 {
        let lines: String = (0..1000)
            .map(|_| {
                let mut word = || {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    format!("{random:016x}")
                };
                [word(), word(), word(), word()].concat() + "\n"
            })
            .collect();
        assert_eq!(client.post("/v1/topics/app/records", "text/plain", lines).status, 200);
    }
    let log_start = || client.get("/v1/topics/app").json()["partitions"][0]["log_start_offset"].as_u64().unwrap();
    // Retention is looked at every half minute.
    let start = wait::within(Duration::from_secs(90), || Some(log_start()).filter(|start| *start > 10))
        .expect("retention works");
    assert_eq!(run("skidway", &["sinks", "resume", "archive", "--url", &collector.url()]).0, Some(0));
    sink::wait_for(&client, "archive", 150_010);
    let lost = sink::stands(&client, "archive").unwrap()["lost_records"].as_u64().unwrap();
    assert!(lost >= start - 10, "{lost} {start}");
    assert_eq!(sink::all_rows(&site.path("out")).len() as u64, 150_010 - lost);
    let events: Vec<serde_json::Value> = topic::read(&client, "__skidway.events")
        .iter()
        .map(|record| serde_json::from_str(record.value.as_deref().unwrap()).unwrap())
        .collect();
    assert_eq!(
        (&events[0]["kind"], &events[0]["start"], &events[0]["records"]),
        (&json!("sink-gap"), &json!(10), &json!(lost))
    );
    collector.program().stop();
}
