//! Event sourcing (docs/event-sourcing.md): one key's events in order, writes that expect a key's last offset, tables and what comes after them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use skidway_tests::document::shell;
use skidway_tests::http::Answer;
use skidway_tests::program::{Program, binary};
use skidway_tests::scale::amount;
use skidway_tests::{Client, Collector, Document, Site, topic, wait};
use skidway_wire::TablePage;

const PATIENCE: Duration = Duration::from_secs(30);

/// A collector with topic `t` of three partitions, with a key index.
fn indexed() -> (Site, Collector, Client) {
    let site = Site::new();
    let collector = site.collector().with("heartbeat_interval = \"1s\"").started();
    let client = collector.client();
    assert_eq!(client.put("/v1/topics/t", &json!({"partitions": 3, "key_index": true})).status, 201);
    (site, collector, client)
}

fn lines(records: impl IntoIterator<Item = (String, Option<String>)>) -> String {
    records.into_iter().map(|(key, value)| json!({"key": key, "value": value}).to_string() + "\n").collect()
}

fn produce(client: &Client, records: impl IntoIterator<Item = (String, Option<String>)>) {
    let answer = client.post("/v1/topics/t/records", "application/x-ndjson", lines(records));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Writes one record of a key if its last offset is the expected one; `None` if the collector is away.
fn try_write(client: &Client, key: &str, value: &str, expected: Option<u64>) -> Option<Answer> {
    let expected = expected.map_or("none".to_owned(), |offset| offset.to_string());
    let headers = [("Content-Type", "application/x-ndjson"), ("Expected-Key-Offset", expected.as_str())];
    client.try_post("/v1/topics/t/records", &headers, lines([(key.to_owned(), Some(value.to_owned()))]))
}

fn offset(answer: &Answer) -> u64 {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["offsets"][0]["base_offset"].as_u64().unwrap()
}

/// Reads pages until one is empty.
fn pages(client: &Client, query: &str) -> Vec<Value> {
    let (mut records, mut from) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/v1/topics/t/records?{query}{from}"));
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.json();
        let more = page["records"].as_array().unwrap();
        if more.is_empty() {
            return records;
        }
        records.extend(more.iter().cloned());
        from = format!("&from={}", page["next"].as_str().unwrap());
    }
}

#[test]
fn a_key_is_written_by_whoever_knows_its_last_offset() {
    let (_site, _collector, client) = indexed();
    let first = offset(&try_write(&client, "a", "1", None).unwrap());
    let refused = try_write(&client, "a", "2", None).unwrap();
    assert_eq!((refused.status, &refused.json()["current_offset"]), (412, &json!(first)));
    assert!(refused.json()["type"].as_str().unwrap().ends_with("key-offset-mismatch"), "{}", refused.text());
    produce(&client, [("a".into(), Some("plain".into())), ("b".into(), Some("plain".into()))]);
    let refused = try_write(&client, "a", "2", Some(first)).unwrap();
    let current = refused.json()["current_offset"].as_u64().unwrap();
    let second = offset(&try_write(&client, "a", "2", Some(current)).unwrap());
    assert!(first < current && current < second);
    let refused = try_write(&client, "c", "1", Some(7)).unwrap();
    assert_eq!((refused.status, &refused.json()["current_offset"]), (412, &Value::Null));
    let values: Vec<Value> =
        pages(&client, "key=a&max_records=1").iter().map(|record| record["value"].clone()).collect();
    assert_eq!(values, ["1", "plain", "2"]);
}

#[test]
fn a_table_and_its_tail_are_the_whole() {
    let (_site, _collector, client) = indexed();
    produce(&client, (0..3000).map(|at| (format!("k{}", at % 100), Some(at.to_string()))));
    produce(&client, (0..10).map(|at| (format!("k{at}"), None)));
    let stream = client.stream("/v1/topics/t/table", "application/x-ndjson", &[]);
    let mut table = BTreeMap::new();
    let watermark = loop {
        let line: Value = serde_json::from_str(&stream.next_within(PATIENCE).expect("the table goes on")).unwrap();
        if line.get("watermark").is_some() {
            break line;
        }
        assert!(table.insert(line["key"].as_str().unwrap().to_owned(), line["value"].clone()).is_none());
    };
    let expected: BTreeMap<_, _> = (2910..3000).map(|at| (format!("k{}", at % 100), json!(at.to_string()))).collect();
    assert_eq!(table, expected);
    assert_eq!(watermark["watermark"].as_object().unwrap().len(), 3);
    produce(&client, [("k5".into(), Some("new".into()))]);
    let tail = wait::until("the tail comes", || {
        let line: Value = serde_json::from_str(&stream.next_within(PATIENCE)?).unwrap();
        line.get("key").is_some().then_some(line)
    });
    assert_eq!((&tail["key"], &tail["value"]), (&json!("k5"), &json!("new")));
    let one = client.get("/v1/topics/t/table/k5");
    assert_eq!((one.status, &one.json()["value"]), (200, &json!("new")));
    assert_eq!(client.get("/v1/topics/t/table/k1").status, 404);
}

/// Writes keys that all writers share, and tells of each write that was acknowledged: key, offset, the offset before, its number.
fn write_keys(client: &Client, writer: u64, writes: u64, keys: u64) -> Vec<(String, u64, Option<u64>, String)> {
    let mut last = BTreeMap::new();
    let mut acknowledged = Vec::new();
    for at in 0.. {
        if acknowledged.len() as u64 == writes {
            break;
        }
        let key = format!("account-{}", (at + writer) % keys);
        let expected: Option<u64> = last.get(&key).copied();
        let number = format!("{writer}-{at}");
        let value = json!({"number": number, "follows": expected}).to_string();
        let Some(answer) = try_write(client, &key, &value, expected) else {
            // Killed: whether it was written is what the next try tells.
            wait::pause(Duration::from_millis(20));
            continue;
        };
        match answer.status {
            200 => {
                last.insert(key.clone(), offset(&answer));
                acknowledged.push((key, offset(&answer), expected, number));
            }
            412 => match answer.json()["current_offset"].as_u64() {
                Some(current) => _ = last.insert(key, current),
                None => _ = last.remove(&key),
            },
            // The index is being opened after a kill, or the collector is ending.
            503 => wait::pause(Duration::from_millis(20)),
            other => panic!("{other}: {}", answer.text()),
        }
    }
    acknowledged
}

#[test]
fn the_writes_of_each_key_are_a_chain_whoever_writes_beside_and_whatever_is_killed() {
    const KEYS: u64 = 5;
    let (_site, mut collector, client) = indexed();
    let writes = amount(20_000, 400);
    let stop = AtomicBool::new(false);
    let acknowledged: Vec<_> = std::thread::scope(|scope| {
        let plain = scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let body = lines((0..20).map(|at| (format!("other-{at}"), Some("x".repeat(100)))));
                let _away = client.try_post("/v1/topics/t/records", &[("Content-Type", "application/x-ndjson")], body);
                wait::pause(Duration::from_millis(2));
            }
        });
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                scope.spawn({
                    let client = client.clone();
                    move || write_keys(&client, writer, writes / 8, KEYS)
                })
            })
            .collect();
        for _ in 0..amount(20, 3) {
            wait::pause(Duration::from_millis(700));
            collector.program().kill9();
            collector.start();
        }
        let all = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        stop.store(true, Ordering::SeqCst);
        plain.join().unwrap();
        all
    });
    let mut stored = BTreeMap::new();
    for key in 0..KEYS {
        let (key, mut last) = (format!("account-{key}"), None);
        for record in events(&client, &key) {
            let (offset, value) = (record["offset"].as_u64(), record["value"].as_str().unwrap());
            let value: Value = serde_json::from_str(value).unwrap();
            assert_eq!(value["follows"].as_u64(), last, "{key}: {record}");
            let number = value["number"].as_str().unwrap().to_owned();
            assert!(stored.insert(number, (key.clone(), offset.unwrap())).is_none(), "written twice: {record}");
            last = offset;
        }
    }
    for (key, offset, _, number) in acknowledged {
        assert_eq!(stored.get(&number), Some(&(key, offset)), "{number} was acknowledged");
    }
}

/// Reads one key's records, waiting for its index if need be.
fn events(client: &Client, key: &str) -> Vec<Value> {
    wait::until("the index is there", || {
        let page = client.get(&format!("/v1/topics/t/records?key={key}&max_records=1"));
        assert!(matches!(page.status, 200 | 503), "{}", page.text());
        (page.status == 200).then_some(())
    });
    pages(client, &format!("key={key}&max_records=100"))
}

#[test]
fn a_key_has_its_records_in_order_among_many_others() {
    let (_site, _collector, client) = indexed();
    let count = amount(1_000_000, 20_000);
    for round in 0..count / 2000 {
        produce(
            &client,
            (0..2000).map(|at| (format!("k{}", (round * 2000 + at) % 997), Some((round * 2000 + at).to_string()))),
        );
    }
    let expected: Vec<Value> = (0..count).filter(|at| at % 997 == 42).map(|at| json!(at.to_string())).collect();
    let values = |records: &[Value]| records.iter().map(|record| record["value"].clone()).collect::<Vec<_>>();
    assert_eq!(values(&pages(&client, "key=k42&max_records=7")), expected);
    let stream = client.stream("/v1/topics/t/records?key_base64=azQy", "text/event-stream", &[]);
    let seen: Vec<_> = (0..expected.len()).map(|_| stream.next_record(PATIENCE).unwrap()).collect();
    assert_eq!(values(&seen.iter().map(|event| event.json()).collect::<Vec<_>>()), expected);
    produce(&client, [("k42".into(), Some("new".into())), ("k43".into(), Some("other".into()))]);
    assert_eq!(stream.next_record(PATIENCE).unwrap().json()["value"], "new");
    let id = seen[2].id.clone().unwrap();
    let again = client.stream("/v1/topics/t/records?key=k42", "text/event-stream", &[("Last-Event-ID", &id)]);
    assert_eq!(again.next_record(PATIENCE).unwrap().json()["value"], expected[3]);
}

#[test]
fn a_request_that_is_sent_again_is_answered_as_the_first_time() {
    let (_site, _collector, client) = indexed();
    let headers = [
        ("Content-Type", "application/x-ndjson"),
        ("Expected-Key-Offset", "none"),
        ("Producer-Id", "p"),
        ("Producer-Epoch", "0"),
        ("Producer-Seq", "0"),
    ];
    let body = lines([("a".to_owned(), Some("1".to_owned()))]);
    let first = client.post_with("/v1/topics/t/records", &headers, &body);
    assert_eq!(first.status, 200, "{}", first.text());
    let again = client.post_with("/v1/topics/t/records", &headers, &body);
    assert_eq!((again.status, again.json()), (200, first.json()));
    let other = client.post_with("/v1/topics/t/records", &[headers[0], headers[1]], &body);
    assert_eq!(other.status, 412);
    assert_eq!(pages(&client, "key=a").len(), 1);
}

/// Begins the id of an event before the table's watermark.
const PLACE: &str = "k1.";

/// Follows a table by its events: puts what has a value, removes what has none, over cut connections.
fn follow_table(client: &Client, stop: &AtomicBool, connections: &AtomicU64) -> BTreeMap<String, Value> {
    let (mut table, mut last_id) = (BTreeMap::new(), String::new());
    let mut quiet = 0;
    while quiet < 3 {
        let stream = client.try_stream("/v1/topics/t/table", "text/event-stream", &[("Last-Event-ID", &last_id)]);
        let Some(stream) = stream else {
            wait::pause(Duration::from_millis(20));
            continue;
        };
        let mut is_new = true;
        while let Some(event) = stream.next_event(PATIENCE) {
            connections.fetch_add(u64::from(std::mem::take(&mut is_new)), Ordering::SeqCst);
            last_id = event.id.clone().unwrap_or(last_id);
            let record = event.json();
            // Heartbeats of a table that is still being read say nothing of what comes after it.
            let is_tail = !last_id.starts_with(PLACE);
            quiet = if event.name.is_none() { 0 } else { quiet };
            match event.name.as_deref() {
                None if record["value"].is_null() => _ = table.remove(record["key"].as_str().unwrap()),
                None => _ = table.insert(record["key"].as_str().unwrap().to_owned(), record["value"].clone()),
                Some("heartbeat") if stop.load(Ordering::SeqCst) && is_tail => quiet += 1,
                _ => {}
            }
            if quiet >= 3 {
                break;
            }
        }
    }
    table
}

#[test]
fn a_node_is_in_sync_by_one_call_while_all_is_written_and_killed() {
    for key_index in [false, true] {
        let (_site, mut collector, client) = indexed();
        assert_eq!(client.put("/v1/topics/t", &json!({"key_index": key_index})).status, 200);
        let keys = amount(100_000, 2000);
        for round in 0..5 {
            produce(&client, (0..keys).map(|at| (format!("k{at}"), Some(format!("{round}.{at}")))));
        }
        let (stop, connections, mut kills) = (AtomicBool::new(false), AtomicU64::new(0), 0);
        let table = std::thread::scope(|scope| {
            let node = scope.spawn(|| follow_table(&client, &stop, &connections));
            for round in 0..200 {
                let changes = (0..20).map(|at| {
                    let key = (round * 7 + at) % keys;
                    (format!("k{key}"), (at % 5 > 0).then(|| format!("changed {round}.{at}")))
                });
                let body = lines(changes);
                // Once it was answered it is written; what was not answered may be, and is written again.
                wait::until("it is written", || {
                    let written =
                        client.try_post("/v1/topics/t/records", &[("Content-Type", "application/x-ndjson")], &body)?;
                    (written.status == 200).then_some(())
                });
                if round % 70 == 10 {
                    kills += 1;
                    let reads = || (connections.load(Ordering::SeqCst) >= kills).then_some(());
                    wait::until("the node reads what it is to be cut off from", reads);
                    collector.program().kill9();
                    collector.start();
                }
            }
            stop.store(true, Ordering::SeqCst);
            node.join().unwrap()
        });
        assert_eq!(table, model(&client), "with an index: {key_index}");
        assert_eq!(table, table_by_pages(&client), "with an index: {key_index}");
    }
}

/// Reads the whole topic: the last value of each key.
fn model(client: &Client) -> BTreeMap<String, Value> {
    let mut records = topic::read(client, "t");
    records.sort_by_key(|record| record.offset);
    let mut table = BTreeMap::new();
    for record in records {
        match record.value {
            Some(value) => _ = table.insert(record.key.unwrap(), json!(value)),
            None => _ = table.remove(&record.key.unwrap()),
        }
    }
    table
}

/// Reads the table page by page; nothing comes twice.
fn table_by_pages(client: &Client) -> BTreeMap<String, Value> {
    let (mut table, mut from) = (BTreeMap::new(), String::new());
    loop {
        let page = wait::until("the table is there", || {
            let page = client.get(&format!("/v1/topics/t/table?max_records=321{from}"));
            assert!(matches!(page.status, 200 | 503), "{}", page.text());
            (page.status == 200).then(|| serde_json::from_slice::<TablePage>(&page.body).unwrap())
        });
        for record in page.records {
            let value = json!(record.value.unwrap());
            assert!(table.insert(record.key.clone().unwrap(), value).is_none(), "{:?} comes twice", record.key);
        }
        if page.end {
            let rest = client.get(&format!("/v1/topics/t/records?from={}", page.next));
            assert_eq!(rest.json()["records"], json!([]), "nothing was written since");
            return table;
        }
        from = format!("&from={}", page.next);
    }
}

#[test]
fn an_index_that_is_deleted_or_damaged_is_made_anew() {
    let (site, mut collector, client) = indexed();
    produce(&client, (0..3000).map(|at| (format!("k{}", at % 10), Some(at.to_string()))));
    let expected = events(&client, "k3");
    assert_eq!(expected.len(), 300);
    let file = site.path("data/keys/index.redb");
    wait::until("the index is on the disk", || file.exists().then_some(()));
    let damages: [fn(&Path); 4] = [
        |file| std::fs::remove_file(file).unwrap(),
        |file| std::fs::write(file, "not an index").unwrap(),
        |file| {
            let bytes = std::fs::read(file).unwrap();
            std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
        },
        |file| {
            let mut bytes = std::fs::read(file).unwrap();
            for byte in bytes.iter_mut().skip(4096).step_by(512) {
                *byte ^= 0x55;
            }
            std::fs::write(file, bytes).unwrap();
        },
    ];
    for (round, damage) in damages.into_iter().enumerate() {
        assert_eq!(collector.program().stop(), Some(0));
        damage(&file);
        collector.start();
        assert_eq!(events(&client, "k3"), expected, "damage {round}");
        assert_eq!(try_write(&client, "k3", "x", None).unwrap().status, 412);
    }
}

#[test]
fn what_needs_an_index_says_so_and_a_table_needs_none() {
    let site = Site::new();
    let collector = site.collector().started();
    let client = collector.client();
    assert_eq!(client.put("/v1/topics/t", &json!({"partitions": 2})).status, 201);
    produce(&client, (0..100).map(|at| (format!("k{}", at % 10), Some(at.to_string()))));
    let kind =
        |answer: &Answer| answer.json()["type"].as_str().unwrap_or_default().rsplit('/').next().unwrap().to_owned();
    for refused in [client.get("/v1/topics/t/records?key=k1"), try_write(&client, "k1", "x", None).unwrap()] {
        assert_eq!(refused.status, 409, "{}", refused.text());
        assert!(kind(&refused).ends_with("no-key-index") && refused.text().contains("key_index"), "{}", refused.text());
    }
    assert_eq!(client.get("/v1/topics/none/table").status, 404);
    assert_eq!(client.get("/v1/topics/t/table?from=earliest").status, 400);
    assert_eq!(client.get("/v1/topics/t/table?colour=red").status, 400);
    assert_eq!(client.get("/v1/topics/t/table/k1").json()["value"], "91");
    assert_eq!(client.get("/v1/topics/t/table?key_base64=azE=").json()["value"], "91");
    assert_eq!(client.get("/v1/topics/t/table/none").status, 404);
    let some = client.get("/v1/topics/t/table?prefix=k1").json();
    assert_eq!((some["records"].as_array().unwrap().len(), &some["end"]), (1, &json!(true)));
    assert_eq!(client.put("/v1/topics/t", &json!({"key_index": true})).json()["config"]["key_index"], json!(true));
    assert_eq!(client.put("/v1/topics/t", &json!({"partitions": 3})).status, 409);
    assert_eq!(events(&client, "k1").len(), 10);
    assert_eq!(client.put("/v1/topics/t", &json!({"partitions": 3, "key_index": false})).status, 200);
    assert_eq!(client.get("/v1/topics/t/records?key=k1").status, 409);
}

#[test]
fn a_table_of_too_many_keys_is_refused_and_an_index_makes_it_fit() {
    let site = Site::new();
    let collector = site.collector().with("[keys]\ntable_bytes = \"1MiB\"").started();
    let client = collector.client();
    assert_eq!(client.put("/v1/topics/t", &json!({"partitions": 1})).status, 201);
    for round in 0..20 {
        produce(&client, (0..1000).map(|at| (format!("k{}", round * 1000 + at), Some("1".into()))));
    }
    let refused = client.get("/v1/topics/t/table");
    assert_eq!(refused.status, 413, "{}", refused.text());
    assert!(client.put("/v1/topics/t", &json!({"key_index": true})).status == 200);
    assert_eq!(table_by_pages(&client).len(), 20_000);
}

/// Runs what stands in the `sh` blocks of the page, in order, against a collector of its own.
#[test]
fn every_command_of_the_page_works() {
    let site = Site::new();
    let collector = site.collector().started();
    site.write("deposit.txt", "deposited 5\n");
    let blocks = Document::of("docs/event-sourcing.md").blocks("sh");
    assert!(blocks.len() >= 6, "{blocks:?}");
    for block in blocks {
        let said = shell(&block, &collector, &site.path(""));
        assert!(!said.is_empty(), "{block}");
    }
}

#[test]
fn a_table_is_printed_and_followed_by_the_command() {
    let (site, mut collector, client) = indexed();
    produce(&client, (0..100).map(|at| (format!("k{}", at % 4), Some(at.to_string()))));
    let skidway = |args: &[&str]| {
        let output = Command::new(binary("skidway")).args(["--url", &collector.url()]).args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, table) = skidway(&["table", "t"]);
    let mut rows: Vec<&str> = table.lines().collect();
    rows.sort_unstable();
    assert_eq!((code, rows), (Some(0), vec!["k0\t96", "k1\t97", "k2\t98", "k3\t99"]));
    assert_eq!(skidway(&["table", "t", "--key", "k2"]), (Some(0), "k2\t98\n".into()));
    assert_eq!(skidway(&["table", "t", "--key", "none"]).0, Some(1));
    let lines = site.write("lines.txt", "a\nb\n").display().to_string();
    assert_eq!(skidway(&["produce", "t", "--key", "new", "--expect-key-offset", "none", &lines]).0, Some(0));
    assert_eq!(skidway(&["produce", "t", "--key", "new", "--expect-key-offset", "none", &lines]).0, Some(1));
    let args = ["--url".into(), collector.url(), "table".into(), "t".into(), "--follow".into()];
    let follower = Program::start("skidway", &args, &site.path("table.log"));
    let has =
        |row: &str| wait::until("the row is printed", || follower.said().lines().any(|line| line == row).then_some(()));
    has("new\tb");
    collector.program().kill9();
    collector.start();
    produce(&client, [("k1".into(), Some("changed".into())), ("k2".into(), None)]);
    has("k1\tchanged");
    has("k2");
}

#[test]
fn deleted_records_of_a_key_are_forgotten() {
    let (_site, _collector, client) = indexed();
    produce(&client, (0..3000).map(|at| (format!("k{}", at % 100), Some(at.to_string()))));
    assert_eq!(events(&client, "k7").len(), 30);
    let last = client.get("/v1/topics/t/table/k7").json()["offset"].as_u64().unwrap();
    for partition in 0..3 {
        let path = format!("/v1/topics/t/records?partition={partition}&before_offset=latest");
        assert_eq!(client.delete(&path).status, 200);
    }
    assert_eq!(pages(&client, "key=k7").len(), 0);
    assert_eq!(client.get("/v1/topics/t/table/k7").status, 404);
    let refused = try_write(&client, "k7", "new", Some(last)).unwrap();
    assert_eq!((refused.status, &refused.json()["current_offset"]), (412, &Value::Null));
    assert!(offset(&try_write(&client, "k7", "new", None).unwrap()) > last);
    assert_eq!(pages(&client, "key=k7").len(), 1);
    wait::until("their entries are swept away", || {
        let metrics = client.get("/metrics").text();
        metrics.lines().any(|line| line == "skidway_key_index_entries{topic=\"t\"} 1").then_some(())
    });
}

#[test]
fn a_topic_that_is_made_again_has_no_index_and_no_old_keys() {
    let (_site, _collector, client) = indexed();
    produce(&client, [("a".into(), Some("old".into()))]);
    assert_eq!(events(&client, "a").len(), 1);
    assert_eq!(client.delete("/v1/topics/t").status, 204);
    assert_eq!(client.put("/v1/topics/t", &json!({"partitions": 3})).json()["config"]["key_index"], json!(false));
    assert_eq!(client.get("/v1/topics/t/records?key=a").status, 409);
    assert_eq!(client.put("/v1/topics/t", &json!({"key_index": true})).status, 200);
    assert_eq!(events(&client, "a").len(), 0);
    assert_eq!(offset(&try_write(&client, "a", "new", None).unwrap()), 0);
}
