//! The programs under `examples` keep what they say of themselves: whatever is killed, each record is handled, and none again that was committed.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use skidway_tests::{Client, Collector, Site, scale, wait};

const PARTITIONS: u64 = 3;

/// Holds an example: how it is started, in which folder its file lies.
struct Example {
    name: &'static str,
    start: &'static [&'static str],
}

const PYTHON: Example = Example { name: "python", start: &["python3", "python/member.py"] };
const JAVASCRIPT: Example = Example { name: "javascript", start: &["node", "javascript/member.mjs"] };
const GO: Example = Example { name: "go", start: &["./member"] };
const JAVA: Example = Example { name: "java", start: &["java", "java/Member.java"] };

impl Example {
    fn command(&self, site: &Site, collector: &Collector, words: &[&str]) -> Command {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        // What is compiled beforehand lies with the test's files.
        let of = |word: &&str| match word.strip_prefix("./") {
            Some(program) => site.text(program),
            None if word.contains('/') => folder.join(word).display().to_string(),
            None => (*word).to_owned(),
        };
        let line: Vec<String> = self.start.iter().map(of).collect();
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).args(words).env("SKIDWAY_URL", collector.url()).env("no_proxy", "127.0.0.1");
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Starts a member whose output is appended to `log`.
    fn consumes(&self, site: &Site, collector: &Collector) -> Member {
        let errors = site.open("errors");
        let mut command = self.command(site, collector, &["consume", "shop", "orders"]);
        command.stdin(Stdio::null()).stdout(site.open("handled")).stderr(errors);
        let started = command.spawn();
        Member(started.unwrap_or_else(|error| panic!("{} is installed (scripts/test does it): {error}", self.name)))
    }

    /// Starts a producer of `order FIRST` and what follows; it ends once all are stored.
    fn produces(&self, site: &Site, collector: &Collector, numbers: std::ops::Range<u64>) -> Member {
        let lines: String = numbers.map(|at| format!("order {at}\n")).collect();
        let lines = std::fs::File::open(site.write("lines", lines)).unwrap();
        let mut command = self.command(site, collector, &["produce", "orders"]);
        Member(command.stdin(lines).stderr(site.open("errors")).spawn().unwrap())
    }
}

/// Holds a running example; ends it when dropped.
struct Member(Child);

impl Member {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn ends_well(&mut self) {
        let status = wait::until("the producer ends", || self.0.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Gives the number, partition and offset of a line that tells of a record: as text, or as the record's JSON.
fn record(line: &str) -> (u64, (u64, u64)) {
    let words: Vec<String> = match serde_json::from_str::<Value>(line) {
        Ok(it) => {
            let value = it["value"].as_str().unwrap();
            format!("{} {} {} {value}", it["topic"], it["partition"], it["offset"])
        }
        Err(_) => line.to_owned(),
    }
    .split(' ')
    .map(str::to_owned)
    .collect();
    let number = |at: usize| words[at].parse().unwrap_or_else(|_| panic!("a record: {line}"));
    (number(4), (number(1), number(2)))
}

/// Watches what the group has committed, and what is handled afterwards.
struct Watch<'s> {
    site: &'s Site,
    client: Client,
    /// How many lines were there after these offsets had been committed, by partition.
    seen: Vec<(usize, HashMap<u64, u64>)>,
}

impl Watch<'_> {
    fn lines(&self) -> Vec<String> {
        let said = std::fs::read_to_string(self.site.path("handled")).unwrap();
        // The last line may be half there.
        let whole = said.rfind('\n').map_or("", |end| &said[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// Waits until this many records are handled and everything is committed.
    fn all_of(&mut self, count: u64) {
        wait::until("all is handled and committed", || {
            let group = self.client.try_get("/v1/groups/shop", &[]).filter(|answer| answer.status == 200)?.json();
            let partitions = group["partitions"].as_array().unwrap();
            let committed = |it: &Value| Some((it["partition"].as_u64()?, it["committed_offset"].as_u64()?));
            let committed: HashMap<u64, u64> = partitions.iter().filter_map(committed).collect();
            let lines = self.lines();
            let is_over = committed.values().sum::<u64>() == count;
            self.seen.push((lines.len(), committed));
            let numbers: HashSet<u64> = lines.iter().map(|line| record(line).0).collect();
            (is_over && numbers.len() as u64 == count).then_some(())
        });
    }

    /// Tells that nothing was handled after it was committed.
    fn nothing_came_again(&self) {
        let records: Vec<_> = self.lines().iter().map(|line| record(line).1).collect();
        for (lines, committed) in &self.seen {
            let again = records[*lines..].iter().find(|(partition, offset)| committed.get(partition) > Some(offset));
            assert_eq!(again, None, "it was committed before: {committed:?}");
        }
    }
}

/// Lets an example consume what it produces; kills the collector, then the member, in the middle.
fn keeps_its_promise(example: &Example, site: &Site) {
    let mut collector = site.collector().with("heartbeat_interval = \"1s\"").started();
    let client = collector.client();
    assert_eq!(client.put("/v1/topics/orders", &json!({"partitions": PARTITIONS})).status, 201);
    let part = scale::amount(5_000, 2_500);
    let mut member = example.consumes(site, &collector);
    let mut producer = example.produces(site, &collector, 0..part);
    let mut watch = Watch { site, client: collector.client(), seen: Vec::new() };
    wait::until("some are handled", || (!watch.lines().is_empty()).then_some(()));
    collector.program().kill9();
    collector.start();
    watch.all_of(part);
    producer.ends_well();
    member.kill();
    let mut producer = example.produces(site, &collector, part..2 * part);
    let _member = example.consumes(site, &collector);
    watch.all_of(2 * part);
    producer.ends_well();
    watch.nothing_came_again();
    let stored: u64 = (0..PARTITIONS)
        .map(|at| client.get("/v1/topics/orders").json()["partitions"][at as usize]["high_watermark"].as_u64().unwrap())
        .sum();
    assert_eq!(stored, 2 * part, "what was sent again is stored once");
}

#[test]
fn a_member_in_python_handles_all_and_nothing_committed_again() {
    keeps_its_promise(&PYTHON, &Site::new());
}

#[test]
fn a_member_in_javascript_handles_all_and_nothing_committed_again() {
    keeps_its_promise(&JAVASCRIPT, &Site::new());
}

#[test]
fn a_member_in_go_handles_all_and_nothing_committed_again() {
    let site = Site::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/go/member.go");
    let built = Command::new("go").args(["build", "-o", &site.text("member")]).arg(source).status();
    assert!(built.expect("Go is installed (scripts/test does it)").success());
    keeps_its_promise(&GO, &site);
}

#[test]
fn a_member_in_java_handles_all_and_nothing_committed_again() {
    keeps_its_promise(&JAVA, &Site::new());
}
