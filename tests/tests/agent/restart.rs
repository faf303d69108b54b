//! Programs killed, frozen and cut off. Nothing is lost, nothing comes twice.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skidway_tests::following::check_while;
use skidway_tests::gate::{Deed, Gate};
use skidway_tests::kill::{self, Plan};
use skidway_tests::proxy::Proxy;
use skidway_tests::verify::{verify, verify_topic};
use skidway_tests::writer::Writer;
use skidway_tests::{Agent, Collector, Site, scale, topic, wait};

/// Says something even if the test passes: the seed must be known when the machine, not the test, fails.
fn say(words: &str) {
    // Not `eprintln`, which the test runner captures.
    std::io::stderr().write_all(format!("{words}\n").as_bytes()).unwrap();
}

#[test]
fn killing_agent_and_collector_loses_and_doubles_nothing() {
    let seed = scale::seed();
    say(&format!("seed {seed} (SKIDWAY_TEST_SEED={seed} repeats it)"));
    let outcome =
        kill::run(&Plan { seed, kills_each: 10 * scale::scale() as u32, pause_max: Duration::from_millis(1500) });
    let (kills, met) = (outcome.kills, outcome.kills_with_unacknowledged);
    let (mb_per_second, lines) = (outcome.bytes_per_second / 1e6, outcome.report.lines);
    say(&format!("{kills} kills, {met} with unacknowledged bytes, {mb_per_second:.1} MB/s written, {lines} lines"));
    assert!(outcome.report.is_perfect(), "seed {seed}: {:#?}", outcome.report);
    assert!(2 * outcome.kills_with_unacknowledged >= outcome.kills, "seed {seed}: the kills came at quiet moments");
    assert!(outcome.bytes_per_second >= 5e6, "seed {seed}: the writers were too slow for the test to count");
}

/// Scenario 24: what the agent sees of it, over and over.
#[test]
fn a_stored_commit_whose_answer_is_cut_off_is_not_stored_again() {
    let site = Site::new();
    let collector = site.collector().started();
    let proxy = Proxy::start(collector.port(), 5);
    let mut agent = site.agent("a", &proxy.url()).follows(&site.text("logs/*.log*"), "app").started();
    check_while(&site, &collector, &mut agent, |_, _| wait::pause(Duration::from_millis(20)));
    assert!(proxy.cut_answers() >= 3, "only {} answers were cut", proxy.cut_answers());
}

/// Scenario 24.
#[test]
fn a_collector_killed_between_its_sync_and_its_answer_stores_once() {
    let site = Site::new();
    let mut collector = site.collector().started();
    let (is_due, is_hit) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (due, hit) = (is_due.clone(), is_hit.clone());
    let gate = Gate::open(collector.port(), move |request| match request.is_commit() {
        _ if hit.load(Ordering::SeqCst) => Deed::Cut,
        true if due.swap(false, Ordering::SeqCst) => {
            hit.store(true, Ordering::SeqCst);
            Deed::Swallow
        }
        _ => Deed::Pass,
    });
    let mut agent = site.agent("a", &gate.url()).follows(&site.text("logs/*.log*"), "app").started();
    let mut writer = Writer::new(&site.path("logs"), "w", 64 << 10, 24);
    for _ in 0..5 {
        writer.write_times(10, 50);
        topic::wait_for(&collector.client(), "app", writer.lines());
        is_due.store(true, Ordering::SeqCst);
        writer.write(50);
        // The collector has stored it when all of it is readable: nobody else may have told the agent.
        wait::until("an answer is swallowed", || is_hit.load(Ordering::SeqCst).then_some(()));
        topic::wait_for(&collector.client(), "app", writer.lines());
        collector.program().kill9();
        collector.start();
        is_hit.store(false, Ordering::SeqCst);
    }
    writer.write(50);
    check_writer(&collector, &mut agent, writer);
}

/// Scenario 23.
#[test]
fn an_agent_killed_at_fifty_moments_while_its_collector_is_slow_delivers_each_line_once() {
    let (lines, kills) = (scale::amount(5_000_000, 80_000), scale::amount(50, 15));
    let seed = scale::seed();
    say(&format!("seed {seed} (SKIDWAY_TEST_SEED={seed} repeats it)"));
    let site = Site::new();
    let collector = site.collector().started();
    let gate = Gate::open(collector.port(), |request| {
        wait::pause(Duration::from_millis(if request.is_commit() { 40 } else { 0 }));
        Deed::Pass
    });
    let mut agent = site.agent("a", &gate.url()).follows(&site.text("logs/*.log*"), "app").started();
    let (folder, is_over) = (site.path("logs"), Arc::new(AtomicBool::new(false)));
    let over = is_over.clone();
    let writing = std::thread::spawn(move || {
        let mut writer = Writer::new(&folder, "w", 8 << 20, seed);
        while writer.lines() < lines || !over.load(Ordering::SeqCst) {
            writer.write(500);
            wait::pause(Duration::from_millis(10));
        }
        writer
    });
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..kills {
        wait::pause(Duration::from_millis(random.random_range(0..400)));
        agent.program().kill9();
        agent.start();
    }
    is_over.store(true, Ordering::SeqCst);
    let writer = writing.join().unwrap();
    agent.wait_ready();
    check_writer(&collector, &mut agent, writer);
}

/// Waits for every line of a writer, stops the agent and checks them.
#[track_caller]
fn check_writer(collector: &Collector, agent: &mut Agent, writer: Writer) {
    // Of many lines and a slow collector, as long as more of them come.
    let mut seen = 0;
    while topic::count(&collector.client(), "app") < writer.lines() {
        topic::wait_for(&collector.client(), "app", seen + 1);
        seen = topic::count(&collector.client(), "app");
    }
    assert_eq!(agent.program().stop(), Some(0));
    let report = verify_topic(&[writer], &collector.client(), "app");
    assert!(report.is_perfect(), "{report:#?}");
}

#[test]
fn a_collector_that_stands_still_past_the_agents_patience_stores_nothing_twice() {
    let site = Site::new();
    let mut collector = site.collector().started();
    let agent = site.agent("a", &collector.url()).with("request_timeout = \"1s\"");
    let mut agent = agent.follows(&site.text("logs/*.log*"), "app").started();
    let mut writer = Writer::new(&site.path("logs"), "w", 256 << 10, 9);
    for _ in 0..3 {
        writer.write(2000);
        collector.program().freeze();
        writer.write(2000);
        wait::until("the agent has waited in vain", || oldest_unacknowledged_ms(&agent).filter(|&ms| ms > 1500));
        collector.program().thaw();
        topic::wait_for(&collector.client(), "app", writer.lines());
    }
    assert_eq!(agent.program().stop(), Some(0));
    let report = verify(&[writer], &topic::read(&collector.client(), "app"));
    assert!(report.is_perfect(), "{report:#?}");
}

fn oldest_unacknowledged_ms(agent: &Agent) -> Option<u64> {
    let status = agent.status()?;
    status["files"].as_array()?.iter().filter_map(|file| file["oldest_unacknowledged_ms"].as_u64()).max()
}

#[test]
fn an_agent_restarted_in_mid_line_ships_one_record() {
    let site = Site::new();
    let collector = site.collector().started();
    let mut agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log"), "app").started();
    site.write("logs/app.log", "one\nhal");
    topic::wait_for(&collector.client(), "app", 1);
    assert_eq!(agent.program().stop(), Some(0));
    site.append("logs/app.log", "f\ntwo\n");
    agent.start();
    topic::wait_for(&collector.client(), "app", 3);
    assert_eq!(topic::values(&collector.client(), "app"), ["one", "half", "two"]);
}

#[test]
fn a_killed_collector_serves_what_it_acknowledged() {
    let site = Site::new();
    let mut collector = site.collector().started();
    let client = collector.client();
    for at in 0..5 {
        let body = format!("{{\"value\":\"{at}\",\"partition\":0}}\n");
        let answer = client.post("/v1/topics/kept/records", "application/x-ndjson", body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        collector.program().kill9();
        collector.start();
    }
    assert_eq!(topic::values(&client, "kept"), ["0", "1", "2", "3", "4"]);
}

#[test]
fn a_stopped_collector_exits_cleanly_and_starts_again() {
    let site = Site::new();
    let mut collector = site.collector().started();
    let before = collector.client().get("/v1").json();
    collector.client().post("/v1/topics/t/records", "text/plain", "a\nb\n");
    assert_eq!(collector.program().stop(), Some(0));
    collector.start();
    assert_eq!(collector.client().get("/v1").json()["log_id"], before["log_id"]);
    assert_eq!(topic::count(&collector.client(), "t"), 2);
}

/// Scenario 25.
#[test]
fn an_agent_asked_to_stop_while_its_collector_hangs_stops_in_time_and_goes_on_later() {
    let site = Site::new();
    let mut collector = site.collector().started();
    let agent = site.agent("a", &collector.url()).with_agent("shutdown_timeout = \"2s\"");
    let mut agent = agent.follows(&site.text("logs/*.log*"), "app").started();
    let mut writer = Writer::new(&site.path("logs"), "w", 256 << 10, 11);
    writer.write_times(20, 100);
    topic::wait_for(&collector.client(), "app", 1);
    collector.program().freeze();
    writer.write_times(20, 100);
    let asked = std::time::Instant::now();
    agent.program().stop();
    assert!(asked.elapsed() < Duration::from_secs(10), "it took {:?}", asked.elapsed());
    collector.program().thaw();
    agent.start();
    topic::wait_for(&collector.client(), "app", writer.lines());
    assert_eq!(agent.program().stop(), Some(0));
    let report = verify(&[writer], &topic::read(&collector.client(), "app"));
    assert!(report.is_perfect(), "{report:#?}");
}
