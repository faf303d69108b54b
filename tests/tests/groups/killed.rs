//! The collector killed again and again under fifty subscribers in five groups, who come and go: each group sees every record at least once,
//! none whose commit was acknowledged, and does each exactly once when it keeps the offset where it keeps the effect.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};
use skidway_tests::{Client, Collector, Site, scale, wait};

const GROUPS: u64 = 5;
const MEMBERS_EACH: u64 = 10;
const PARTITIONS: u64 = 16;
const RECORDS_EACH_TIME: u64 = 50;

/// Is what a group did: a database of its own, which its members share as the processes of an application would.
struct Deeds {
    database: Mutex<Connection>,
    /// By partition and the generation that the committing member knew of: the greatest offset whose commit was acknowledged.
    acknowledged: Mutex<HashMap<u64, BTreeMap<u64, u64>>>,
    /// Records that came, again ones included.
    came: AtomicU64,
    faults: Mutex<Vec<String>>,
}

impl Deeds {
    fn new(path: &Path) -> Self {
        let database = Connection::open(path).unwrap();
        database
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
                 CREATE TABLE deeds (record INTEGER NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL);
                 CREATE TABLE offsets (partition INTEGER PRIMARY KEY, next INTEGER NOT NULL);",
            )
            .unwrap();
        Self {
            database: Mutex::new(database),
            acknowledged: Mutex::default(),
            came: AtomicU64::new(0),
            faults: Mutex::default(),
        }
    }

    /// Does a record, and keeps its offset, in one transaction; nothing if it was done before.
    fn take(&self, record: &Value) {
        let number = |name: &str| record[name].as_u64().unwrap();
        let (partition, offset) = (number("partition"), number("offset"));
        self.came.fetch_add(1, Ordering::Relaxed);
        let mut database = self.database.lock().unwrap();
        let transaction = database.transaction().unwrap();
        let next: Option<u64> = transaction
            .query_row("SELECT next FROM offsets WHERE partition = ?1", [partition], |row| row.get(0))
            .optional()
            .unwrap();
        if offset < next.unwrap_or(0) {
            return;
        }
        if offset > next.unwrap_or(0) {
            self.faults.lock().unwrap().push(format!("{partition}: {offset} came where {next:?} is next"));
        }
        let value: u64 = record["value"].as_str().unwrap().parse().unwrap();
        transaction.execute("INSERT INTO deeds VALUES (?1, ?2, ?3)", params![value, partition, offset]).unwrap();
        let keep = "INSERT INTO offsets VALUES (?1, ?2) ON CONFLICT (partition) DO UPDATE SET next = ?2";
        transaction.execute(keep, params![partition, offset + 1]).unwrap();
        transaction.commit().unwrap();
    }

    /// Notes what an acknowledged commit covers.
    fn acknowledge(&self, committed: &Value, generation: u64) {
        let mut acknowledged = self.acknowledged.lock().unwrap();
        for it in committed.as_array().into_iter().flatten() {
            let (partition, offset) = (it["partition"].as_u64().unwrap(), it["offset"].as_u64().unwrap());
            let known = acknowledged.entry(partition).or_default().entry(generation).or_default();
            *known = offset.max(*known);
        }
    }

    /// Gives what members acknowledged who knew of no later generation than this.
    fn acknowledged(&self, generation: u64) -> HashMap<u64, u64> {
        let acknowledged = self.acknowledged.lock().unwrap();
        let last = |by: &BTreeMap<u64, u64>| by.range(..=generation).map(|(_, offset)| *offset).max();
        acknowledged.iter().filter_map(|(partition, by)| Some((*partition, last(by)?))).collect()
    }

    fn done(&self) -> u64 {
        let database = self.database.lock().unwrap();
        database.query_row("SELECT count(DISTINCT record) FROM deeds", [], |row| row.get(0)).unwrap()
    }

    fn doubles(&self) -> u64 {
        let database = self.database.lock().unwrap();
        database.query_row("SELECT count(*) - count(DISTINCT record) FROM deeds", [], |row| row.get(0)).unwrap()
    }
}

/// Is what all subscribers know of the test.
struct Scene {
    client: Client,
    stop: AtomicBool,
    seed: u64,
}

/// Reads as a member of a group, again and again: a random number of lines, then away, by what kind of answer the number says.
fn subscribe(scene: &Scene, group: u64, member: u64, deeds: &Deeds) {
    let mut random = StdRng::seed_from_u64(scene.seed ^ (group << 32) ^ member);
    while !scene.stop.load(Ordering::Relaxed) {
        match member % 3 {
            0 => poll(scene, group, &mut random, deeds),
            kind => follow(scene, group, kind == 1, &mut random, deeds),
        }
        wait::pause(Duration::from_millis(random.random_range(0..200)));
    }
}

/// Follows a stream, and commits its last token now and then.
fn follow(scene: &Scene, group: u64, as_events: bool, random: &mut StdRng, deeds: &Deeds) {
    let mut known = KnownCommits(deeds.acknowledged(u64::MAX));
    let accept = if as_events { "text/event-stream" } else { "application/x-ndjson" };
    let path = format!("/v1/groups/g{group}/records?topics=tasks&tokens=true");
    let Some(stream) = scene.client.try_stream(&path, accept, &[]) else { return };
    let (mut token, mut since, mut generation) = (None, 0, 0);
    let life = random.random_range(50..3000);
    for _ in 0..life {
        if scene.stop.load(Ordering::Relaxed) {
            break;
        }
        let Some((line, next)) = next_line(&stream, as_events) else { break };
        token = next.or(token);
        let assignment = if as_events { &line } else { &line["assignment"] };
        let is_told = assignment["added"].is_array();
        generation = assignment["generation"].as_u64().unwrap_or(generation);
        known.add(assignment, deeds);
        if line["offset"].is_u64() && line["value"].is_string() {
            known.check(&line, deeds);
            deeds.take(&line);
            since += 1;
        }
        if (since >= 40 || is_told)
            && let Some(token) = &token
        {
            commit(scene, group, (token, generation), deeds);
            since = 0;
        }
    }
    // Half of them go without a word about what they did last.
    if let Some(token) = token.filter(|_| random.random_bool(0.5)) {
        commit(scene, group, (&token, generation), deeds);
    }
}

/// Reads the next record or control line of a stream with its token; `None` when it ends.
fn next_line(stream: &skidway_tests::http::Stream, as_events: bool) -> Option<(Value, Option<String>)> {
    let patience = Duration::from_secs(20);
    if as_events {
        let event = stream.next_event(patience)?;
        let next = event.id.clone();
        return Some((event.json(), next));
    }
    let line: Value = serde_json::from_str(&stream.next_within(patience)?).ok()?;
    let next = line["next"].as_str().map(str::to_owned);
    Some((line, next))
}

/// Asks for pages, each of which commits the one before.
fn poll(scene: &Scene, group: u64, random: &mut StdRng, deeds: &Deeds) {
    let known = KnownCommits(deeds.acknowledged(u64::MAX));
    let mut member = String::new();
    for _ in 0..random.random_range(2..30) {
        let query = "topics=tasks&max_records=100&wait=1s&session_timeout=5s&commit=next";
        let path = format!("/v1/groups/g{group}/records?{query}{member}");
        let Some(answer) = scene.client.try_get(&path, &[]) else { return };
        if answer.status != 200 || scene.stop.load(Ordering::Relaxed) {
            return;
        }
        let page = answer.json();
        for record in page["records"].as_array().into_iter().flatten() {
            known.check(record, deeds);
            deeds.take(record);
        }
        member = format!("&member={}", page["member"].as_str().unwrap());
    }
}

fn commit(scene: &Scene, group: u64, (token, generation): (&str, u64), deeds: &Deeds) {
    let (path, body) = (format!("/v1/groups/g{group}/commit"), json!({ "token": token }).to_string());
    let headers = [("Content-Type", "application/json")];
    let Some(answer) = scene.client.try_post(&path, &headers, body) else { return };
    match answer.status {
        // What of a fenced commit is committed is told as well.
        200 | 409 => deeds.acknowledge(&answer.json()["committed"], generation),
        503 => {}
        status => deeds.faults.lock().unwrap().push(format!("a commit is answered {status}: {}", answer.text())),
    }
}

/// Is what was acknowledged as committed, by partition, before a member got it: nothing of it may come.
struct KnownCommits(HashMap<u64, u64>);

impl KnownCommits {
    fn check(&self, record: &Value, deeds: &Deeds) {
        let (partition, offset) = (record["partition"].as_u64().unwrap(), record["offset"].as_u64().unwrap());
        if let Some(committed) = self.0.get(&partition).filter(|committed| offset < **committed) {
            let fault = format!("{partition}: {offset} came again, committed up to {committed}");
            deeds.faults.lock().unwrap().push(fault);
        }
    }

    /// Takes in what was committed in partitions before the member got them. The line may be read so late that others have had them since:
    /// what those committed does not count, and their generations are later ones.
    fn add(&mut self, assignment: &Value, deeds: &Deeds) {
        let Some(generation) = assignment["generation"].as_u64() else { return };
        let acknowledged = deeds.acknowledged(generation);
        for it in assignment["added"].as_array().into_iter().flatten() {
            let partition = it["partition"].as_u64().unwrap();
            self.0.extend(acknowledged.get(&partition).map(|committed| (partition, *committed)));
        }
    }
}

/// Produces numbers, exactly once each, over kills; gives how many.
fn produce(client: &Client, stop: &AtomicBool) -> u64 {
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) || next < 2_000 {
        let lines: String = (next..next + RECORDS_EACH_TIME)
            .map(|at| format!("{{\"value\":\"{at}\",\"partition\":{}}}\n", at % PARTITIONS))
            .collect();
        let sequence = next.to_string();
        let headers = [
            ("Content-Type", "application/x-ndjson"),
            ("Producer-Id", "p"),
            ("Producer-Epoch", "1"),
            ("Producer-Seq", sequence.as_str()),
        ];
        match client.try_post("/v1/topics/tasks/records", &headers, lines) {
            Some(answer) if answer.status == 200 => next += RECORDS_EACH_TIME,
            _ => wait::pause(Duration::from_millis(20)),
        }
        wait::pause(Duration::from_millis(5));
    }
    next
}

fn kill(collector: &mut Collector, kills: u64, random: &mut StdRng) {
    for _ in 0..kills {
        wait::pause(Duration::from_millis(random.random_range(500..2500)));
        collector.program().kill9();
        collector.start();
    }
}

#[test]
fn fifty_subscribers_in_five_groups_miss_nothing_and_get_nothing_committed_again() {
    let site = Site::new();
    let config = "heartbeat_interval = \"1s\"\n[groups]\nrebalance_timeout = \"1s\"\n";
    let mut collector = site.collector().with(config).started();
    let client = collector.client();
    assert_eq!(client.put("/v1/topics/tasks", &json!({ "partitions": PARTITIONS })).status, 201);
    let seed = scale::seed();
    eprintln!("SKIDWAY_TEST_SEED={seed}");
    let scene = Arc::new(Scene { client: client.clone(), stop: AtomicBool::new(false), seed });
    let deeds: Vec<Arc<Deeds>> =
        (0..GROUPS).map(|group| Arc::new(Deeds::new(&site.path(&format!("group{group}.db"))))).collect();
    let mut subscribers: Vec<JoinHandle<()>> = Vec::new();
    for (group, deeds) in deeds.iter().enumerate() {
        for member in 0..MEMBERS_EACH {
            let (scene, deeds) = (scene.clone(), deeds.clone());
            subscribers.push(std::thread::spawn(move || subscribe(&scene, group as u64, member, &deeds)));
        }
    }
    let killed = Arc::new(AtomicBool::new(false));
    let producer = std::thread::spawn({
        let (client, killed) = (client.clone(), killed.clone());
        move || produce(&client, &killed)
    });
    kill(&mut collector, scale::amount(40, 4), &mut StdRng::seed_from_u64(seed));
    killed.store(true, Ordering::Relaxed);
    let produced = producer.join().unwrap();
    for deeds in &deeds {
        wait::until("each group did every record", || (deeds.done() >= produced).then_some(()));
    }
    scene.stop.store(true, Ordering::Relaxed);
    subscribers.into_iter().for_each(|subscriber| subscriber.join().unwrap());
    for (group, deeds) in deeds.iter().enumerate() {
        let came = deeds.came.load(Ordering::Relaxed);
        eprintln!("group {group}: {produced} records, {came} came");
        let faults = deeds.faults.lock().unwrap();
        assert!(faults.is_empty(), "group {group}, seed {seed}: {faults:#?}");
        assert_eq!((deeds.done(), deeds.doubles()), (produced, 0), "group {group} did each exactly once");
    }
}
