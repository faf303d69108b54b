//! The agent's admin port under the same attacks: it goes on shipping, and its descriptors stay its own.

use skidway_tests::raw::Raw;
use skidway_tests::{Site, topic, wait};

use super::PATIENCE;

/// More connections than the admin port takes at once.
const SILENT: usize = 500;

#[test]
fn who_only_connects_to_an_agent_keeps_nobody_out_and_takes_no_descriptors() {
    let site = Site::new();
    let collector = site.collector().started();
    let mut agent = site.agent("web-1", &collector.url()).follows(&site.text("logs/*.log"), "app").started();
    let port = agent.admin_url().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let open = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let before = open(agent.program().pid());
    let mut silent: Vec<Raw> = (0..SILENT).filter_map(|_| Raw::try_connect(port)).collect();
    let half = silent.len() / 2;
    for raw in &mut silent[half..] {
        raw.send("GET /status HTTP/1.1\r\nX: ");
    }
    assert!(
        open(agent.program().pid()) <= before + 100,
        "{} descriptors, {before} before",
        open(agent.program().pid())
    );
    site.write("logs/a.log", "a line\n");
    topic::wait_for(&collector.client(), "app", 1);
    wait::until("the agent answers beside them", || {
        agent.admin().try_get("/healthz", &[]).filter(|answer| answer.status == 200)
    });
    for bytes in [
        "GET /status\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000)),
        format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(10_000)),
        "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n".to_owned(),
    ] {
        let mut raw = Raw::connect(port);
        raw.send(&bytes);
        let reaction = raw.reaction(PATIENCE);
        assert!(reaction.is_refusal(), "{bytes:.60}: {reaction:?}");
    }
    assert!(silent.iter_mut().all(|raw| raw.closes_within(PATIENCE)), "silent connections are closed");
    assert_eq!(agent.program().stop(), Some(0));
}
