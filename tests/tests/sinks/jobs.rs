//! Jobs on a sink's files, and what comes between: the sink itself, a kill, another topic of the name, a listener that goes away.

use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use skidway_tests::stores::{Cloud, Stores};
use skidway_tests::{Client, Collector, Site, sink, topic, wait};

use super::audit::{job, kinds};
use super::{archive, each_once, produce};

const REPLAY: &str = "replay?topic=app&from=2026-01-01T00:00:00Z&to=2126-01-01T00:00:00Z";
const ONE: &str = "[topics]\npartitions = 1";
const OLD: &str = "path = \"old\"\n";
const NEW: &str = "path = \"new\"\nformat = \"raw\"\n";

#[test]
fn a_verification_while_files_roll_finds_nothing_wrong() {
    let site = Site::new();
    let keys = "format = \"raw\"\npath = \"in\"\nroll = { records = 5, idle = \"1s\" }\n";
    // Files of others, so that listing takes its time.
    for at in 0..10_000 {
        site.write(&format!("out/{}/{at}", at % 20), "");
    }
    let collector = site.collector().with(&archive(&site, keys)).started();
    let (client, produced, is_over) = (collector.client(), AtomicU64::new(0), AtomicBool::new(false));
    let mut all = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                let from = produced.fetch_add(20, Ordering::SeqCst);
                produce(&client, "app", from..from + 20);
                let keeps_up = || sink::stands(&client, "archive")?["behind"].as_u64().filter(|behind| *behind < 100);
                wait::until("the sink keeps up", keeps_up);
            }
        });
        // One may take two seconds, as it has to look at new files again, or no time.
        let _enough = wait::within(wait::PATIENCE, || {
            let found = job(&client, "verify");
            let is_enough = found.last()?["files"].as_u64()? > 300;
            all.extend(found);
            is_enough.then_some(())
        });
        is_over.store(true, Ordering::SeqCst);
    });
    let (summaries, odd): (Vec<_>, Vec<_>) = all.iter().partition(|finding| finding["kind"] == "summary");
    assert!(summaries.len() > 1 && odd.is_empty(), "{odd:?}");
    sink::wait_for(&client, "archive", produced.into_inner());
    assert_eq!(kinds(&job(&client, "verify?deep=true")), ["summary"]);
}

#[test]
fn what_another_topic_of_the_name_left_is_never_taken_for_a_damaged_file() {
    let site = Site::new();
    // Of one name but for the second's end, and of one size.
    let keys = "format = \"raw\"\ncompression = \"none\"\npath = \"in\"\nroll = { records = 50, idle = \"1s\" }\n";
    let collector = site.collector().with(ONE).with(&archive(&site, keys)).started();
    let (client, out) = (collector.client(), site.path("out"));
    let there = |count| wait::until("files are there", || Some(sink::published(&out)).filter(|it| it.len() == count));
    produce(&client, "app", 100..150);
    let first = there(1).remove(0);
    wait::until("it is known", || (client.delete("/v1/topics/app").status == 204).then_some(()));
    produce(&client, "app", 150..200);
    let both = there(2);
    sink::wait_for(&client, "archive", 50);
    let second = both.iter().find(|path| **path != first).unwrap();
    assert_eq!(kinds(&job(&client, "verify")), ["summary"]);

    std::fs::remove_file(second).unwrap();
    for how in ["verify", "verify?deep=true"] {
        let found = job(&client, how);
        assert_eq!(kinds(&found), ["missing", "summary"], "{how}: {found:?}");
    }
    assert_eq!(kinds(&job(&client, "repair")), ["missing", "repaired", "summary"]);
    std::fs::write(second, "damaged\n").unwrap();
    assert_eq!(kinds(&job(&client, "repair")), ["changed", "repaired", "summary"]);
    assert_eq!(sink::published(&out), both);
    let mut rows = sink::all_rows(&out);
    rows.sort();
    assert_eq!(rows, (100..200).map(|number| format!("line {number}")).collect::<Vec<_>>());

    // The log has nothing of the first one any more: whatever is left of it stays.
    std::fs::write(&first, "line 100\ndam").unwrap();
    let found = job(&client, "repair");
    assert_eq!(kinds(&found), ["changed", "beyond", "summary"], "{found:?}");
    assert_eq!(std::fs::read_to_string(&first).unwrap(), "line 100\ndam");
}

#[test]
fn a_merged_file_of_which_the_log_has_only_a_part_is_left_as_it_is() {
    let site = Site::new();
    let keys = "format = \"raw\"\ncompression = \"none\"\nmerge_partitions = true\nroll = { idle = \"1s\" }\n";
    let collector = site.collector().with("[topics]\npartitions = 2").with(&archive(&site, keys)).started();
    let (client, out) = (collector.client(), site.path("out"));
    for partition in 0..2 {
        let lines: String = (0..5).map(|number| format!("line {}\n", partition * 5 + number)).collect();
        let path = format!("/v1/topics/app/records?partition={partition}");
        assert_eq!(client.post(&path, "text/plain", lines).status, 200);
    }
    sink::wait_for(&client, "archive", 10);
    wait::until("the log forgets a part", || {
        (client.delete("/v1/topics/app/records?partition=1&before_offset=5").status < 300).then_some(())
    });
    let file = sink::published(&out).remove(0);
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 3]).unwrap();
    let found = job(&client, "repair");
    assert_eq!(kinds(&found), ["changed", "beyond", "summary"], "{found:?}");
    assert_eq!(std::fs::read(&file).unwrap(), &whole[..whole.len() - 3]);
    let replayed = job(&client, REPLAY);
    assert!(kinds(&replayed).iter().all(|kind| ["not-replayed", "summary"].contains(kind)), "{replayed:?}");
}

#[test]
fn files_from_before_a_compaction_are_left_as_they_are() {
    let site = Site::new();
    let keys = "format = \"raw\"\ncompression = \"none\"\nroll = { records = 50, idle = \"1s\" }\n";
    let engine = "[engine]\nsegment_bytes = \"1MiB\"\ncompaction_interval = \"100ms\"\n";
    let collector = site.collector().with(ONE).with(engine).with(&archive(&site, keys)).started();
    let (client, out) = (collector.client(), site.path("out"));
    assert_eq!(client.put("/v1/topics/app", &json!({"cleanup": "compact"})).status, 201);
    // Two segments are closed by their size: zstd takes only half of such text.
    let mut noise = StdRng::seed_from_u64(1);
    for round in 0..15 {
        let mut value = || (0..4_000).map(|_| format!("{:02x}", noise.random::<u8>())).collect::<String>();
        // One key of each round is never written again, so that no file's records are all gone.
        let mut line = |at: u32| {
            let key = if at == 0 { format!("only {round}") } else { at.to_string() };
            format!("{{\"key\":\"{key}\",\"value\":\"{round} {}\"}}\n", value())
        };
        let lines: String = (0..50).map(&mut line).collect();
        assert_eq!(client.post("/v1/topics/app/records", "application/x-ndjson", lines).status, 200);
    }
    sink::wait_for(&client, "archive", 750);
    let contents = || sink::published(&out).iter().map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>();
    let (before, lines) = (contents(), |file: &Vec<u8>| file.iter().filter(|byte| **byte == b'\n').count());
    assert_eq!(before.iter().map(lines).sum::<usize>(), 750, "what the sink had not got was not compacted");
    wait::until("records are compacted", || (topic::read(&client, "app").len() < 750).then_some(()));
    let replayed = job(&client, REPLAY);
    let (summary, others) = replayed.split_last().unwrap();
    assert!(!others.is_empty() && others.iter().all(|it| it["kind"] == "not-replayed"), "{replayed:?}");
    assert!(others.iter().all(|it| it["reason"].as_str().unwrap().contains("compacted")), "{replayed:?}");
    assert_eq!((summary["kind"].as_str(), contents() == before), (Some("summary"), true));
}

#[test]
fn a_replay_that_is_killed_or_stopped_on_s3_loses_and_doubles_nothing() {
    let site = Site::new();
    let stores = Stores::start(&site, Cloud::S3);
    let keys = format!("{}roll = {{ records = 20, idle = \"1s\" }}\n{OLD}", stores.keys(&site, "in", stores.port()));
    let sink = format!("[[sinks]]\nname = \"archive\"\ntopics = [\"app*\"]\n{keys}");
    let mut collector = site.collector().with(ONE).with(&sink).started();
    (0..40).for_each(|at| produce(&collector.client(), "app", at * 20..(at + 1) * 20));
    sink::wait_for(&collector.client(), "archive", 800);
    collector.program().stop();
    collector.without(OLD);
    collector = collector.with(NEW);
    collector.start();
    let sent = || stores.program().said().lines().filter(|line| line.contains("PUT /logs/in/new/")).count();
    for round in 0..3 {
        let (client, before) = (collector.client(), sent());
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| client.try_post(&format!("/v1/sinks/archive/{REPLAY}"), &[], ""));
            wait::until("some files are made anew", || (sent() > before + 2).then_some(()));
            match round {
                1 => assert_eq!(collector.program().stop(), Some(0)),
                _ => collector.program().kill9(),
            }
            let _cut_off = asked.join();
        });
        collector.start();
    }
    let replayed = job(&collector.client(), REPLAY);
    assert!(kinds(&replayed).contains(&"replayed"), "it was over before: {replayed:?}");
    assert_eq!(kinds(&job(&collector.client(), "verify?deep=true")), ["summary"]);
    assert_eq!(collector.program().stop(), Some(0));
    let out = site.path("out");
    stores.mirror_clean(&out);
    assert!(sink::files(&out).iter().all(|path| path.starts_with(out.join("in/new"))));
    each_once(sink::all_rows(&out), 800);
}

#[test]
fn a_sink_has_one_job_at_a_time_and_none_that_nobody_hears() {
    let site = Site::new();
    let stores = Stores::start(&site, Cloud::S3);
    let keys = "format = \"raw\"\npath = \"in\"\nroll = { records = 10, idle = \"1s\" }\n";
    let keys = format!("{keys}{}", stores.keys(&site, "logs", stores.port()).replace("2s", "60s"));
    let sink = format!("[[sinks]]\nname = \"archive\"\ntopics = [\"app\"]\n{keys}");
    let collector = site.collector().with(ONE).with(&sink).started();
    let client = collector.client();
    (0..40).for_each(|at| produce(&client, "app", at * 10..(at + 1) * 10));
    sink::wait_for(&client, "archive", 400);
    let ask = || client.try_post("/v1/sinks/archive/verify", &[], "").unwrap();

    stores.program().freeze();
    let mut listener = TcpStream::connect(("127.0.0.1", collector.port())).unwrap();
    listener
        .write_all(b"POST /v1/sinks/archive/verify?deep=true HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
        .unwrap();
    // Its answer begins as soon as it is begun.
    let mut begun = [0; 12];
    std::io::Read::read_exact(&mut listener, &mut begun).unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");
    let busy = ask();
    assert_eq!((busy.status, busy.text().contains("sink-busy")), (409, true), "{}", busy.text());
    drop(listener);
    let read = || stores.program().said().lines().filter(|line| line.contains("GET /logs/logs/in/app")).count();
    let before = read();
    stores.program().thaw();
    let answer = wait::until("it is over", || Some(ask()).filter(|answer| answer.status == 200));
    assert_eq!(answer.text().lines().count(), 1, "{}", answer.text());
    // All forty, had it gone on.
    assert!(read() - before < 10, "{} files were read for nobody", read() - before);
}

/// Lets a sink write, and a replay fail between the removal of an old file and the coming of the new one. Gives what is in its way.
fn cut_short(site: &Site, sink: &str) -> (Collector, PathBuf) {
    let mut collector = site.collector().with(ONE).with(sink).with(OLD).started();
    (0..4).for_each(|at| produce(&collector.client(), "app", at * 50..(at + 1) * 50));
    sink::wait_for(&collector.client(), "archive", 200);
    collector.program().stop();
    collector.without(OLD);
    collector = collector.with(NEW);
    collector.start();
    let in_the_way = site.write("out/new", "a file where a folder should be");
    let found = job(&collector.client(), REPLAY);
    let why = found.last().unwrap()["reason"].as_str().unwrap();
    assert!(why.contains("new/app"), "{why}");
    (collector, in_the_way)
}

fn often(site: &Site) -> String {
    archive(site, "roll = { records = 50, idle = \"1s\" }\n")
}

#[test]
fn an_exchange_that_could_not_be_finished_is_by_the_next_job() {
    let site = Site::new();
    let (mut collector, in_the_way) = cut_short(&site, &often(&site));
    let client = collector.client();
    assert_eq!(kinds(&job(&client, "verify")), ["failed"], "what is there is neither old nor new");
    std::fs::remove_file(in_the_way).unwrap();
    assert_eq!(kinds(&job(&client, "verify?deep=true")), ["summary"]);
    job(&client, REPLAY);
    assert_eq!(kinds(&job(&client, "verify?deep=true")), ["summary"]);
    assert_eq!(collector.program().stop(), Some(0));
    let out = site.path("out");
    assert!(sink::files(&out).iter().all(|path| path.starts_with(out.join("new"))));
    each_once(sink::all_rows(&out), 200);
}

#[test]
fn an_exchange_whose_records_are_gone_keeps_no_sink_from_its_start() {
    let site = Site::new();
    let sink = often(&site);
    let (mut collector, in_the_way) = cut_short(&site, &sink);
    std::fs::remove_file(in_the_way).unwrap();
    collector.program().kill9();
    // While it is not configured, nothing is kept for it.
    collector.without(&sink).without(NEW);
    collector.start();
    assert_eq!(collector.client().delete("/v1/topics/app").status, 204);
    collector.program().stop();
    collector = collector.with(&sink).with(NEW);
    collector.start();
    produce(&collector.client(), "app2", 0..10);
    let rows = || sink::published(&site.path("out/new")).iter().flat_map(|path| sink::rows(path)).collect::<Vec<_>>();
    wait::until("the sink goes on", || (rows().len() == 10).then_some(()));
    // What the exchange took away is told, once it is asked for.
    assert!(kinds(&job(&collector.client(), "verify")).contains(&"missing"));
}

#[test]
fn a_replay_that_fails_keeps_nothing_in_the_log() {
    let site = Site::new();
    let mut collector = site.collector().with(ONE).with(&often(&site)).with(OLD).started();
    produce(&collector.client(), "app", 0..50);
    sink::wait_for(&collector.client(), "archive", 50);
    collector.program().stop();
    collector.without(OLD);
    collector = collector.with(NEW);
    collector.start();
    let client = collector.client();
    assert_eq!(kinds(&job(&client, "verify")), ["summary"], "the spool is there");
    let in_the_way = site.write("out/.skidway-archive/audit", "a file where a folder should be");
    assert_eq!(kinds(&job(&client, REPLAY)), ["failed"]);
    let forgotten = client.delete("/v1/topics/app/records?partition=0&before_offset=50");
    assert!(forgotten.status < 300, "{}", forgotten.text());
    std::fs::remove_file(in_the_way).unwrap();
}

#[test]
fn plans_of_a_sink_wait_for_one_another() {
    let site = Site::new();
    let collector = site.collector().with(ONE).with(&often(&site)).started();
    let client = collector.client();
    (0..40).for_each(|at| produce(&client, "app", at * 500..(at + 1) * 500));
    sink::wait_for(&client, "archive", 20_000);
    let plan = |client: &Client| client.get("/v1/sinks/archive/plan");
    let plans = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..4).map(|_| scope.spawn(|| plan(&client))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect::<Vec<_>>()
    });
    for answer in plans {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["sample_records"], Value::from(20_000));
    }
}
