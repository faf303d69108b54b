//! A topic compacted by key stays about as large as its live set, while it is written, read and killed, and loses no last value.
//!
//! What the engine itself promises of compaction, at every crash point, is in its own tests; here the whole does it. Full size: 10 million
//! records over 100,000 keys.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use skidway_tests::program::used;
use skidway_tests::{Client, Collector, Site, scale, topic, wait};

/// Records of one request.
const REQUEST: u64 = 1_000;

/// Kills during the writing.
const KILLS: u64 = 4;

const PARTITIONS: u64 = 2;

/// What a partition may have that is not compacted yet: less is not worth it.
const NOT_WORTH_IT: u64 = 1 << 20;

/// Says what is written: `records` records, each of one of `keys` keys.
#[derive(Clone, Copy)]
struct Plan {
    records: u64,
    keys: u64,
}

impl Plan {
    /// Gives the key of a record: a keyed walk through all of them, in another order each round.
    fn key(self, n: u64) -> u64 {
        (n % self.keys + (n / self.keys) * 7_919) % self.keys
    }

    fn line(self, n: u64) -> String {
        let mut filler = n;
        let mut word = || {
            filler = filler.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (filler >> 29);
            format!("{filler:016x}")
        };
        let value = format!("{n} {}{}{}{}", word(), word(), word(), word());
        format!("{}\n", json!({"key": format!("key-{}", self.key(n)), "value": value}))
    }

    /// Gives the last record of each key.
    fn last(self) -> HashMap<u64, u64> {
        (self.records.saturating_sub(2 * self.keys)..self.records).map(|n| (self.key(n), n)).collect()
    }
}

/// Writes it all, each request until it is acknowledged.
fn write(client: &Client, plan: Plan, written: &AtomicU64) {
    for first in (0..plan.records).step_by(REQUEST as usize) {
        let body: String = (first..(first + REQUEST).min(plan.records)).map(|n| plan.line(n)).collect();
        let seq = first.to_string();
        let headers = [
            ("Content-Type", "application/x-ndjson"),
            ("Producer-Id", "writer"),
            ("Producer-Epoch", "1"),
            ("Producer-Seq", &seq),
        ];
        wait::until("a request is acknowledged", || {
            let answer = client.try_post("/v1/topics/state/records", &headers, &body)?;
            assert!(answer.status == 200 || answer.status >= 500, "{}", answer.text());
            (answer.status == 200).then_some(())
        });
        written.store(first + REQUEST, Ordering::Release);
    }
}

/// Reads pages from the beginning again and again: offsets grow, and so do the values of a key.
fn read_meanwhile(client: &Client, is_over: &AtomicBool) -> u64 {
    let mut rounds = 0;
    while !is_over.load(Ordering::Acquire) {
        let (mut from, mut offsets) = ("earliest".to_owned(), HashMap::<u64, u64>::new());
        let mut values = HashMap::<String, u64>::new();
        loop {
            let path = format!("/v1/topics/state/records?from={from}&max_records=10000&max_bytes=4MiB");
            let Some(answer) = client.try_get(&path, &[("Accept", "application/json")]) else { continue };
            if answer.status >= 500 {
                continue;
            }
            assert_eq!(answer.status, 200, "{}", answer.text());
            let page = answer.json();
            let records = page["records"].as_array().unwrap();
            for record in records {
                let (partition, offset) = (record["partition"].as_u64().unwrap(), record["offset"].as_u64().unwrap());
                let before = offsets.insert(partition, offset);
                assert!(
                    before.is_none_or(|before| before < offset),
                    "partition {partition}: {offset} after {before:?}"
                );
                let (key, number) = (record["key"].as_str().unwrap().to_owned(), number_of(record));
                let before = values.insert(key, number);
                assert!(before.is_none_or(|before| before < number), "{number} after {before:?}");
            }
            if records.is_empty() || is_over.load(Ordering::Acquire) {
                break;
            }
            from = page["next"].as_str().unwrap().to_owned();
        }
        rounds += 1;
    }
    rounds
}

fn number_of(record: &Value) -> u64 {
    let value = record["value"].as_str().unwrap();
    value.split(' ').next().unwrap().parse().unwrap()
}

fn bytes_of(client: &Client, topic: &str) -> u64 {
    let answer = client.get(&format!("/v1/topics/{topic}"));
    let partitions = answer.json()["partitions"].as_array().unwrap().clone();
    partitions.iter().map(|partition| partition["bytes"].as_u64().unwrap()).sum()
}

/// Writes every key once, and gives the bytes that takes.
fn live_bytes(client: &Client, plan: Plan) -> u64 {
    client.put("/v1/topics/once", &json!({"partitions": PARTITIONS}));
    let numbers: Vec<u64> = plan.last().into_values().collect();
    for some in numbers.chunks(20_000) {
        let body: String = some.iter().map(|n| plan.line(*n)).collect();
        let answer = client.post("/v1/topics/once/records", "application/x-ndjson", body);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    bytes_of(client, "once")
}

fn compacting(site: &Site) -> Collector {
    let settings = "[engine]\ncompaction_interval = \"100ms\"\ncompaction_bytes_per_second = \"1GiB\"\n";
    site.collector().with(settings).started()
}

#[test]
fn a_compacted_topic_stays_as_large_as_its_live_set_while_it_is_written_read_and_killed() {
    let plan = Plan { records: scale::amount(10_000_000, 200_000), keys: scale::amount(100_000, 2_000) };
    let site = Site::new();
    let mut collector = compacting(&site);
    let client = collector.client();
    let answer = client.put("/v1/topics/state", &json!({"partitions": PARTITIONS, "cleanup": "compact"}));
    assert_eq!(answer.json()["config"]["cleanup"], "compact");
    let (written, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut largest = 0;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(&client, plan, &written));
        let reader = scope.spawn(|| read_meanwhile(&client, &is_over));
        for kill in 1..=KILLS {
            while written.load(Ordering::Acquire) < kill * plan.records / (KILLS + 1) && !writer.is_finished() {
                largest = bytes_of(&client, "state").max(largest);
                wait::pause(std::time::Duration::from_millis(20));
            }
            collector.program().kill9();
            collector.start();
        }
        let outcome = writer.join();
        is_over.store(true, Ordering::Release);
        assert!(reader.join().unwrap() > 0);
        outcome.unwrap();
    });
    let live = live_bytes(&client, plan);
    let bound = 3 * live + PARTITIONS * NOT_WORTH_IT;
    wait::until("the topic is as large as its live set", || (bytes_of(&client, "state") <= bound).then_some(()));
    let mut last: HashMap<String, u64> = HashMap::new();
    let mut records = 0;
    topic::read_each(&client, "state", |record| {
        records += 1;
        let number = record.value.unwrap().split(' ').next().unwrap().parse().unwrap();
        last.insert(record.key.unwrap(), number);
    });
    let expected: HashMap<String, u64> = plan.last().into_iter().map(|(key, n)| (format!("key-{key}"), n)).collect();
    assert!(last == expected, "the last value of each key is there");
    assert_eq!(topic::count(&client, "state"), plan.records, "offsets stay");
    assert!(records < plan.records / 2, "{records} of {} records are left", plan.records);
    let (_, memory) = used(collector.program().pid());
    let bytes = bytes_of(&client, "state");
    println!(
        "{live} bytes live, {bytes} at the end, {largest} at most, {records} records left, {memory} bytes of memory"
    );
}

#[test]
fn producers_must_give_keys_to_a_compacted_topic() {
    let site = Site::new();
    let collector = compacting(&site);
    let client = collector.client();
    client.put("/v1/topics/state", &json!({"cleanup": "compact,delete", "tombstone_retention": "1h"}));
    let config = client.get("/v1/topics/state").json()["config"].clone();
    assert_eq!((&config["cleanup"], &config["tombstone_retention"]), (&json!("compact,delete"), &json!("1h")));
    let body = "{\"key\":\"a\",\"value\":\"1\"}\n{\"value\":\"2\"}\n";
    let answer = client.post("/v1/topics/state/records", "application/x-ndjson", body);
    let problem = answer.json();
    assert_eq!((answer.status, &problem["type"], &problem["record"]), (400, &json!("key-required"), &json!(1)));
    assert_eq!(topic::count(&client, "state"), 0);
    let answer = client.put("/v1/topics/state", &json!({"cleanup": "delete"}));
    assert_eq!(answer.status, 200);
    let answer = client.post("/v1/topics/state/records", "application/x-ndjson", body);
    assert_eq!(answer.status, 200, "{}", answer.text());
}
