//! Output stored with the place up to which its input was read: both or neither, whatever happens in between.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use skidway_tests::{Answer, Client, Collector, scale, wait};

use super::{Member, number, produce, serving, show, sorted};

/// Who reads, makes and stores at the same time.
const WORKERS: usize = 3;

/// Stores lines in `out`, made of what a token of `g` covers; `None` if no answer came.
fn try_store(client: &Client, token: &str, lines: &str) -> Option<Answer> {
    let headers = [("Content-Type", "text/plain"), ("Commit-Group", "g"), ("Commit-Token", token)];
    client.try_post("/v1/topics/out/records", &headers, lines)
}

fn store(client: &Client, token: &str, lines: &str) -> Answer {
    try_store(client, token, lines).expect("an answer")
}

fn kind(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["type"].as_str().unwrap_or_default().to_owned())
}

/// Gives all values of `out`.
fn stored(client: &Client) -> Vec<u64> {
    let (mut from, mut all) = ("earliest".to_owned(), Vec::new());
    loop {
        let page = client.get(&format!("/v1/topics/out/records?from={from}&max_records=10000")).json();
        let Some(records) = page["records"].as_array().filter(|records| !records.is_empty()) else { return all };
        all.extend(records.iter().map(number));
        from = page["next"].as_str().unwrap().to_owned();
    }
}

#[test]
fn output_and_token_are_stored_together_and_only_once_also_after_a_kill() {
    let (_site, mut collector, client) = serving("");
    produce(&client, 0..40);
    let (_, token) = Member::join(&client, "g", "").records(40);
    let first = store(&client, &token, "1\n2\n");
    assert_eq!((first.status, first.json()["offsets"][0]["count"].as_u64()), (200, Some(2)), "{}", first.text());
    assert_eq!(first.json()["offsets"].as_array().map(Vec::len), Some(1), "only what was sent is told of");
    assert_eq!(show(&client, "g")["lag"], 0);
    assert_eq!(kind(&store(&client, &token, "1\n2\n")), (409, "already-committed".to_owned()));
    collector.program().kill9();
    collector.start();
    assert_eq!(show(&client, "g")["lag"], 0);
    assert_eq!(stored(&client), [1, 2]);
}

#[test]
fn what_another_member_has_by_now_stores_nothing() {
    let (_site, _collector, client) = serving("rebalance_timeout = \"0s\"");
    produce(&client, 0..40);
    let one = Member::join(&client, "g", "");
    let (_, token) = one.records(40);
    let two = Member::join(&client, "g", "");
    two.reads(&[2, 3]);
    let refused = store(&client, &token, "1\n");
    assert_eq!(kind(&refused), (409, "fenced".to_owned()));
    assert_eq!(refused.json()["committed"], json!([]), "not even of the partitions that stayed");
    assert_eq!(show(&client, "g")["lag"], 40);
    assert_eq!(stored(&client), [0; 0]);
}

#[test]
fn headers_that_say_too_little_or_too_much_are_refused_and_store_nothing() {
    let (_site, _collector, client) = serving("");
    produce(&client, 0..4);
    let (_, token) = Member::join(&client, "g", "").records(4);
    let ask = |more: &[(&str, &str)]| {
        let headers = [&[("Content-Type", "text/plain")], more].concat();
        kind(&client.post_with("/v1/topics/out/records", &headers, "1\n"))
    };
    let (group, of) = (("Commit-Group", "g"), ("Commit-Token", token.as_str()));
    let invalid = (400, "invalid-header".to_owned());
    assert_eq!(ask(&[group]), invalid);
    assert_eq!(ask(&[of]), invalid);
    assert_eq!(ask(&[group, of, ("Producer-Id", "p"), ("Producer-Epoch", "1"), ("Producer-Seq", "0")]), invalid);
    assert_eq!(ask(&[group, of, ("Expected-Key-Offset", "none")]), invalid);
    assert_eq!(ask(&[group, ("Commit-Token", "t1nonsense")]), (400, "invalid-token".to_owned()));
    assert_eq!(client.get("/v1/topics/out").status, 404, "the topic is not made for it");
    assert_eq!(ask(&[("Commit-Group", "other"), of]), (404, "group-not-found".to_owned()));
    assert_eq!(show(&client, "g")["lag"], 4);
    assert_eq!(stored(&client), [0; 0]);
}

/// Makes pages into output until it is told to stop; joins anew whenever something is in the way.
fn work(client: &Client, stop: &AtomicBool) {
    let mut member = None::<String>;
    while !stop.load(Ordering::Relaxed) {
        let known = member.take().map(|member| format!("&member={member}")).unwrap_or_default();
        let path = format!("/v1/groups/g/records?topics=t&max_records=50&wait=200ms&session_timeout=1s{known}");
        let Some(page) = client.try_get(&path, &[]).filter(|page| page.status == 200).map(|page| page.json()) else {
            wait::pause(Duration::from_millis(50));
            continue;
        };
        let records = page["records"].as_array().unwrap();
        let lines: String = records.iter().map(|record| format!("{}\n", number(record) + 1_000_000)).collect();
        if records.is_empty() || is_stored(client, &page, &lines) {
            member = page["member"].as_str().map(str::to_owned);
        }
    }
}

/// Stores a page's output; asks again while no answer comes. False if somebody else has what it was made of.
fn is_stored(client: &Client, page: &Value, lines: &str) -> bool {
    wait::until("output is stored or refused", || {
        let answer = try_store(client, page["next"].as_str().unwrap(), lines)?;
        match (answer.status, answer.json()["type"].as_str()) {
            (200, _) | (409, Some("already-committed")) => Some(true),
            (409, Some("fenced")) | (404 | 410, _) => Some(false),
            _ => None,
        }
    })
}

fn kill(collector: &mut Collector, kills: u64, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..kills {
        wait::pause(Duration::from_millis(random.random_range(300..1500)));
        collector.program().kill9();
        collector.start();
    }
}

#[test]
fn a_pipeline_has_each_records_output_exactly_once_over_kills() {
    let (_site, mut collector, client) = serving("rebalance_timeout = \"1s\"");
    let records = scale::amount(100_000, 4_000);
    (0..records / 1000).for_each(|part| produce(&client, part * 1000..(part + 1) * 1000));
    let (stop, seed) = (AtomicBool::new(false), scale::seed());
    eprintln!("SKIDWAY_TEST_SEED={seed}");
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| work(&client, &stop));
        }
        kill(&mut collector, scale::amount(40, 3), seed);
        wait::until("everything is read", || (show(&client, "g")["lag"] == 0).then_some(()));
        stop.store(true, Ordering::Relaxed);
    });
    let all = sorted(stored(&client));
    assert_eq!(all.len() as u64, records);
    assert!(all.into_iter().eq((0..records).map(|at| at + 1_000_000)), "each once");
}
