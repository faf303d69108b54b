//! Very many connections: silent, with half a head, asking for answers that nobody reads. Others are answered meanwhile, memory is bounded.

use std::time::{Duration, Instant};

use serde_json::json;
use skidway_tests::raw::{Raw, Reaction};
use skidway_tests::scale::amount;
use skidway_tests::wait;

use super::{PATIENCE, Victim, memory};

/// Memory that one connection may cost that says nothing, its share of the allocator's waste included.
const BYTES_OF_ONE: u64 = 48 << 10;

/// What measuring a process's memory is wrong by.
const SLACK_BYTES: u64 = 16 << 20;

fn gauge(victim: &Victim, name: &str) -> u64 {
    let metrics = victim.client.get("/metrics").text();
    let line = metrics.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or_default() as u64
}

/// Opens so many connections and says a little on each; in a few threads, for they wait for each other.
fn open(victim: &Victim, count: u64, saying: &str) -> Vec<Raw> {
    let port = victim.collector.port();
    let connect = || {
        Raw::try_connect(port).map(|mut raw| {
            raw.send(saying);
            raw
        })
    };
    (0..count).filter_map(|_| connect()).collect()
}

#[test]
fn very_many_silent_and_half_open_connections_keep_nobody_out() {
    let mut victim = Victim::start("header_timeout = \"10m\"\n");
    let count = amount(10_000, 2_000);
    let mut cost = || {
        let since = Instant::now();
        let silent = open(&victim, count / 2, "");
        let half = open(&victim, count / 2, "GET /v1 HTTP/1.1\r\nHost: x\r\nX-Half: ");
        assert!(silent.len() + half.len() >= count as usize * 9 / 10);
        victim.serves_others();
        let grown = memory(victim.collector.program().pid()).saturating_sub(victim.memory_before);
        eprintln!("{count} connections, {:?} until others were answered, {} KiB", since.elapsed(), grown >> 10);
        drop((silent, half));
        wait::until("they are forgotten", || (gauge(&victim, "skidway_collector_connections") <= 4).then_some(()));
        grown
    };
    let (first, second) = (cost(), cost());
    let bound = super::GROWTH_BYTES_MAX / 2 + count * BYTES_OF_ONE;
    assert!(second <= bound, "{count} connections cost {} MiB, more than {}", second >> 20, bound >> 20);
    assert!(second <= first + first / 2 + SLACK_BYTES, "it grows with every round: {first}, {second}");
    // What the allocator keeps of the first ones went to the second ones, and will go to others.
    victim.memory_before += second;
    victim.is_unharmed();
}

#[test]
fn past_the_bound_the_connection_that_was_silent_longest_makes_room() {
    let mut victim = Victim::start("connections_max = 50\nheader_timeout = \"10m\"\n");
    let mut stream = victim.connect();
    stream.send("GET /v1/topics/t/stream HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n");
    assert!(stream.take(12, PATIENCE).is_some(), "the stream is open");
    let mut silent = open(&victim, 200, "GET /v1 HTTP/1.1\r\nX: ");
    for _ in 0..20 {
        let mut other = victim.connect();
        other.send("GET /v1 HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(other.reaction(PATIENCE).status(), 200, "a newcomer is answered");
    }
    assert!(silent[..100].iter_mut().all(|raw| raw.closes_within(PATIENCE)), "who came first goes first");
    drop(silent);
    victim.client.post("/v1/topics/t/records", "text/plain", "another\n");
    assert!(stream.take(1 << 10, PATIENCE).is_some(), "the stream was never cut");
    let described = victim.client.get("/v1/topics/t").json();
    assert_eq!(described["partitions"][0]["high_watermark"], 2);
    victim.is_well();
}

#[test]
fn an_address_that_has_as_many_connections_as_it_may_keeps_out_no_other() {
    let mut victim = Victim::start("connections_per_address_max = 20\n");
    let ask = "GET /v1/topics/t/stream HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n";
    let mut streams = open(&victim, 30, ask);
    let answers: Vec<u16> = streams.iter_mut().map(|raw| raw.reaction(PATIENCE).status()).collect();
    let refused = answers.iter().filter(|status| **status == 503).count();
    assert!((10..20).contains(&refused), "{answers:?}");
    let other = || {
        let mut other = Raw::connect_from([127, 0, 0, 2], victim.collector.port());
        other.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        other.reaction(PATIENCE)
    };
    let Reaction::Answer(metrics) = other() else { panic!("another address is answered") };
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(
        metrics.contains(&format!("skidway_collector_connections_of_address_refused_total {refused}")),
        "{metrics}"
    );
    drop(streams);
    wait::until("there is room again", || {
        let mut raw = victim.connect();
        raw.send("GET /v1 HTTP/1.1\r\nHost: x\r\n\r\n");
        (raw.reaction(PATIENCE).status() == 200).then_some(())
    });
    victim.is_well();
}

/// Fills a topic with so many MiB that no compression makes smaller.
fn fill(victim: &Victim, mib: usize) {
    let line: String =
        (0..1000_u32).map(|n| char::from(b'a' + (n.wrapping_mul(2_654_435_761) >> 27) as u8 % 26)).collect();
    let body = format!("{line}\n").repeat(1000);
    for _ in 0..mib {
        assert_eq!(victim.client.post("/v1/topics/t/records", "text/plain", &body).status, 200);
    }
}

#[test]
fn who_never_reads_an_answer_is_cut_off_and_who_reads_slowly_is_not() {
    let mut victim = Victim::start("send_timeout = \"2s\"\n");
    fill(&victim, 32);
    let ask = "GET /v1/topics/t/stream?from=earliest HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n";
    let mut slow = victim.connect();
    slow.send(ask);
    let never = open(&victim, 20, ask);
    wait::until("the streams are open", || (gauge(&victim, "skidway_collector_subscribers") >= 21).then_some(()));
    // Reads a little, again and again, for longer than those may stand still that take nothing.
    wait::until("those who take nothing are cut off", || {
        assert!(slow.take(64 << 10, PATIENCE).is_some(), "who reads slowly is not cut off");
        wait::pause(Duration::from_millis(100));
        (gauge(&victim, "skidway_collector_subscribers") <= 1).then_some(())
    });
    for _ in 0..20 {
        assert!(slow.take(64 << 10, PATIENCE).is_some(), "who reads slowly is not cut off");
    }
    drop(never);
    victim.serves_others();
    assert!(victim.collector.program().runs());
}

#[test]
fn answers_that_nobody_reads_take_bounded_memory() {
    let mut victim = Victim::start("");
    fill(&victim, 24);
    let before = memory(victim.collector.program().pid());
    let ask = "GET /v1/topics/t/records?from=earliest&max_bytes=16777216&max_records=10000 HTTP/1.1\r\nHost: x\r\n\r\n";
    let unread = open(&victim, 100, ask);
    wait::pause(Duration::from_secs(3));
    victim.serves_others();
    let grown = memory(victim.collector.program().pid()).saturating_sub(before);
    // http.answer_bytes_max, and what is being read for the next ones.
    assert!(grown <= 512 << 20, "{} answers cost {} MiB", unread.len(), grown >> 20);
    drop(unread);
    let next = victim.client.get("/v1/topics/t/records?from=earliest&max_records=1").json();
    assert_eq!(next["records"].as_array().map(Vec::len), Some(1));
    let _not_needed_more = json!({});
}
