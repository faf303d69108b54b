//! Upgrades one program at a time: agents older and newer than their collector, and what the build before has stored.
//!
//! `tests/fixtures` holds what older builds kept on disk (`make-stored` wrote it) and frames of every version of the agents' protocol: those of
//! the newest were accepted by the build that stored it, the older ones are laid out as that version's code was.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use skidway_tests::{Collector, Site, topic, wait};

const FRAMES: &str = "application/vnd.skidway.frame";
const LINES: u64 = 100;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// Starts a collector on what a build of this version has stored. Its records are older than any retention.
fn upgraded(site: &Site, version: &str) -> Collector {
    let archive = fixture(&format!("stored-{version}.tar.gz"));
    let unpacked = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(site.path("")).status();
    assert!(unpacked.unwrap().success());
    let settings = "[engine]\nreserve_bytes = \"1MiB\"\n[topics]\npartitions = 1\nretention = { age = \"unlimited\", bytes = \"unlimited\" }\n\
                    [groups]\noffsets_retention = \"3650d\"";
    site.collector().keeping(&site.path("collector")).with(settings).started()
}

/// Gives the values of a topic, in the order of partitions and offsets.
fn values(collector: &Collector, path: &str) -> Vec<String> {
    let answer = collector.client().get(path).json();
    let records = answer["records"].as_array().cloned().unwrap_or_default();
    records.iter().filter_map(|record| record["value"].as_str().map(str::to_owned)).collect()
}

#[test]
fn what_the_build_before_has_stored_is_read() {
    let site = Site::new();
    let collector = upgraded(&site, "0.1.0");
    let client = collector.client();
    topic::wait_for(&client, "app", LINES);
    let orders = ["order 1", "order 2", "order 3", "order 4"];
    assert_eq!(values(&collector, "/v1/topics/orders/records"), orders);
    assert_eq!(values(&collector, "/v1/topics/orders/records?key=k1"), ["order 1", "order 3"]);
    assert_eq!(values(&collector, "/v1/topics/latest/table"), ["value 3", "value 4"]);
    let group = client.get("/v1/groups/readers").json();
    assert_eq!(group["partitions"][0]["committed_offset"], 2, "{group}");
    let agents = client.get("/v1/agents").json();
    assert_eq!((&agents["agents"][0]["id"], &agents["agents"][0]["session_epoch"]), (&"web-1".into(), &1.into()));
}

#[test]
fn what_the_build_before_has_begun_goes_on() {
    let site = Site::new();
    let collector = upgraded(&site, "0.1.0");
    let client = collector.client();
    // One of three jobs was acknowledged, and never comes again.
    let mut jobs = Vec::new();
    wait::until("both jobs that are left are given away", || {
        let answer = client.post("/v1/queues/jobs/receive", "application/json", r#"{"max":10}"#).json();
        let messages: Vec<Value> = answer["messages"].as_array().cloned().unwrap_or_default();
        jobs.extend(messages.iter().filter_map(|job| job["value"].as_str().map(str::to_owned)));
        (jobs.len() >= 2).then_some(())
    });
    jobs.sort();
    assert_eq!(jobs, ["job 2", "job 3"]);
    let answer = client.post("/v1/topics/orders/records", "text/plain", "order 5\n");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(values(&collector, "/v1/topics/orders/records").last().map(String::as_str), Some("order 5"));
}

#[test]
fn agents_of_every_version_of_the_protocol_are_served_in_their_own() {
    let site = Site::new();
    let collector = upgraded(&site, "0.1.0");
    let client = collector.client();
    for version in 1..=3_u8 {
        let frame = |name: &str| std::fs::read(fixture(&format!("frames/{version}-{name}"))).unwrap();
        let opened = client.post(&format!("/v1/agents/old-{version}/session"), FRAMES, frame("session"));
        assert_eq!(opened.status, 200, "{}", opened.text());
        let committed = client.post("/v1/commits", FRAMES, frame("commit"));
        assert_eq!(committed.status, 200, "{}", committed.text());
        // Two items, both accepted.
        assert_eq!(committed.body[6..], [2, 0, 0, 0, 0, 0]);
        let sources = client.get(&format!("/v1/agents/old-{version}/sources"));
        for answer in [opened, committed, sources] {
            assert_eq!((&answer.body[..4], answer.body[4]), (&b"SKWY"[..], version));
        }
    }
    topic::wait_for(&client, "old", 3 * LINES);
    assert_eq!(topic::count(&client, "old"), 3 * LINES, "each once");
}

#[test]
fn a_frame_of_a_version_to_come_is_refused_with_the_newest_that_is_spoken() {
    let site = Site::new();
    let collector = site.collector().started();
    let mut frame = std::fs::read(fixture("frames/3-session")).unwrap();
    frame[4] = 4;
    let answer = collector.client().post("/v1/agents/new/session", FRAMES, frame);
    assert_eq!(answer.status, 426);
    assert_eq!((&answer.json()["type"], &answer.json()["supported"]), (&"unsupported-version".into(), &3.into()));
}

#[test]
fn an_agent_newer_than_its_collector_waits_for_its_upgrade_and_loses_nothing() {
    let site = Site::new();
    let mut collector = site.collector();
    site.write("logs/a.log", "1\n2\n3\n");
    let old = OldCollector::at(&collector.url());
    let mut agent = site.agent("web-1", &collector.url()).follows(&site.text("logs/*.log"), "app");
    agent.start();
    wait::until("the agent says why it waits", || agent.program().said().contains("is not supported").then_some(()));
    site.append("logs/a.log", "4\n");
    old.stop();
    collector.start();
    topic::wait_for(&collector.client(), "app", 4);
}

/// A collector that speaks no version of the agents' protocol that there is now.
struct OldCollector {
    address: String,
    stops: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl OldCollector {
    fn at(url: &str) -> Self {
        let address = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind(&address).unwrap();
        let stops = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stops);
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let mut connection = connection.unwrap();
                let _request = connection.read(&mut [0; 4096]);
                let body = r#"{"type":"unsupported-version","title":"Unsupported version","status":426,"detail":"protocol version 3 is not supported, this build speaks 2"}"#;
                let head =
                    "HTTP/1.1 426 Upgrade Required\r\nconnection: close\r\ncontent-type: application/problem+json";
                let _gone = write!(connection, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            }
        });
        Self { address, stops, thread }
    }

    fn stop(self) {
        self.stops.store(true, Ordering::SeqCst);
        let _wakes_it = std::net::TcpStream::connect(&self.address);
        self.thread.join().unwrap();
    }
}
