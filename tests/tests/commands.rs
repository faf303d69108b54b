//! `skidway tail`, `produce`, `topics` and `agents` as people and scripts use them.

use std::process::Command;

use skidway_tests::program::{Program, binary};
use skidway_tests::{Collector, Site, topic, wait};

/// Runs a command against the collector; gives exit code and standard output.
fn skidway(collector: &Collector, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary("skidway")).args(["--url", &collector.url()]).args(args).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn what_is_produced_from_a_file_is_tailed_line_for_line() {
    let site = Site::new();
    let collector = site.collector().with("[topics]\npartitions = 1").started();
    let lines: String = (0..3000).map(|at| format!("line {at}\n")).collect();
    let path = site.write("lines.txt", &lines);
    assert_eq!(skidway(&collector, &["produce", "t", &path.display().to_string()]).0, Some(0));
    assert_eq!(skidway(&collector, &["tail", "t", "--from", "earliest"]), (Some(0), lines));
    assert_eq!(skidway(&collector, &["tail", "t", "-n", "1"]).1, "line 2999\n");
}

#[test]
fn a_tail_that_follows_survives_its_collector() {
    let site = Site::new();
    let mut collector = site.collector().with("[topics]\npartitions = 1").started();
    let client = collector.client();
    client.post("/v1/topics/t/records", "text/plain", "line 0\n");
    let args =
        ["--url".into(), collector.url(), "tail".into(), "t".into(), "-f".into(), "--from".into(), "earliest".into()];
    let tail = Program::start("skidway", &args, &site.path("tail.log"));
    let lines = || tail.said().lines().filter(|line| line.starts_with("line ")).map(String::from).collect::<Vec<_>>();
    wait::until("the first line is printed", || (lines().len() == 1).then_some(()));
    collector.program().kill9();
    collector.start();
    client.post("/v1/topics/t/records", "text/plain", "line 1\nline 2\n");
    wait::until("all lines are printed", || (lines().len() >= 3).then_some(()));
    assert_eq!(lines(), ["line 0", "line 1", "line 2"]);
}

#[test]
fn topics_are_listed_made_and_removed() {
    let site = Site::new();
    let collector = site.collector().started();
    assert_eq!(skidway(&collector, &["topics", "create", "orders", "--partitions", "3"]).0, Some(0));
    assert!(skidway(&collector, &["topics"]).1.contains("orders"));
    assert_eq!(collector.client().get("/v1/topics/orders").json()["partitions"].as_array().map(Vec::len), Some(3));
    assert_eq!(skidway(&collector, &["topics", "alter", "orders", "--partitions", "2"]).0, Some(1));
    collector.client().post("/v1/topics/orders/records?partition=2", "text/plain", "a\nb\n");
    let delete = ["topics", "delete-records", "orders", "--partition", "2", "--before-offset", "1"];
    assert_eq!(skidway(&collector, &delete).1, "partition 2 of topic orders starts at offset 1\n");
    assert_eq!(skidway(&collector, &["topics", "delete", "orders", "--yes"]).0, Some(0));
    assert_eq!(collector.client().get("/v1/topics/orders").status, 404);
}

#[test]
fn agents_are_shown() {
    let site = Site::new();
    let collector = site.collector().started();
    let _agent = site.agent("web-7", &collector.url()).follows(&site.text("logs/*.log"), "app").started();
    site.write("logs/a.log", "x\n");
    topic::wait_for(&collector.client(), "app", 1);
    let (code, said) = skidway(&collector, &["agents"]);
    assert_eq!(code, Some(0));
    assert!(said.contains("web-7"), "{said}");
}

#[test]
fn a_collector_that_is_not_there_is_said_and_exits_1() {
    let output = Command::new(binary("skidway")).args(["--url", "http://127.0.0.1:1", "topics"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("127.0.0.1:1"));
}
