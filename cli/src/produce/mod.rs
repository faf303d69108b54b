//! `skidway produce`: lines to records, each stored once however often a request has to be repeated.
//!
//! Every request carries a producer id of this run and the number of its first record. A request whose answer got lost is
//! sent again as it was; the collector knows its number and answers with the offsets it gave the first time.

mod lines;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Map, Value, json};
use skidway_daemon::backoff::Backoff;
use skidway_record::{Fate, TopicName};
use skidway_wire::http::{Produced, ProducedOffsets, records_path};
use tokio::time::Instant;

use crate::args;
use crate::client::Client;
use crate::error::Error;
use crate::output::{Form, note};
use lines::Lines;
use skidway_daemon::human::{Align, Table, count, counted};

const RETRY_BASE: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long one request is repeated before the command gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends every line of the input and prints where the records went.
///
/// # Errors
/// An input that cannot be read; what the collector refuses; a collector that stays away for a minute.
pub async fn run(client: Client, args: args::Produce, form: Form, out: &mut impl Write) -> Result<(), Error> {
    let mut lines = Lines::open(&args.file).map_err(|source| Error::Input { path: args.file.clone(), source })?;
    let mut producer = Producer::new(client, args.topic, args.key, args.expect_key_offset);
    let outcome = produce(&mut producer, &mut lines, &args.file).await;
    producer.stored.print(form, out)?;
    outcome.map_err(|source| match producer.stored.total {
        0 => source,
        total => Error::Partly { stored: counted(total, "record"), source: Box::new(source) },
    })
}

async fn produce(producer: &mut Producer, lines: &mut Lines, file: &Path) -> Result<(), Error> {
    loop {
        let batch = lines.batch().await.map_err(|source| Error::Input { path: file.to_owned(), source })?;
        if batch.is_empty() {
            return Ok(());
        }
        producer.send(&batch).await?;
    }
}

struct Producer {
    client: Client,
    topic: TopicName,
    key: Option<String>,
    /// Where the key has to end for the next request to be stored: an offset, or `none`.
    expected: Option<String>,
    /// Random, so that two runs are two producers.
    id: String,
    stored: Stored,
}

impl Producer {
    fn new(client: Client, topic: TopicName, key: Option<String>, expected: Option<String>) -> Self {
        let id = format!("skidway-produce-{:032x}", rand::random::<u128>());
        Self { client, topic, key, expected, id, stored: Stored::default() }
    }

    /// Stores a batch, repeating the request for as long as patience lasts.
    async fn send(&mut self, lines: &[Vec<u8>]) -> Result<(), Error> {
        let body = Bytes::from(ndjson(lines, self.key.as_deref()));
        let mut backoff = Backoff::new(RETRY_BASE, RETRY_MAX);
        let give_up_at = Instant::now() + PATIENCE;
        let mut complained = false;
        loop {
            let error = match self.attempt(body.clone()).await {
                Ok(produced) => {
                    self.stored.add(lines.len() as u64, &produced.offsets);
                    if let (Some(expected), Some(run)) = (&mut self.expected, produced.offsets.last()) {
                        // The next request follows this one.
                        *expected = (run.base_offset + run.count - 1).to_string();
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            let wait = backoff.next(rand::random());
            if error.fate() != Fate::Retry || Instant::now() + wait >= give_up_at {
                return Err(error);
            }
            if !std::mem::replace(&mut complained, true) {
                note(format_args!("{error}\nTrying again for {} s.", PATIENCE.as_secs()));
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(&self, body: Bytes) -> Result<Produced, Error> {
        let request = self.client.request(Method::POST, &records_path(self.topic.as_str()), &[]);
        let request = request
            .header(CONTENT_TYPE, "application/x-ndjson")
            .header("Producer-Id", &self.id)
            .header("Producer-Epoch", "0")
            .header("Producer-Seq", self.stored.total.to_string())
            .body(body);
        let request = match &self.expected {
            Some(expected) => request.header("Expected-Key-Offset", expected),
            None => request,
        };
        self.client.fetch(request).await
    }
}

/// Writes a record object a line.
fn ndjson(lines: &[Vec<u8>], key: Option<&str>) -> Vec<u8> {
    let mut body = Vec::new();
    for line in lines {
        let mut record = Map::new();
        if let Some(key) = key {
            record.insert("key".to_owned(), key.into());
        }
        let (name, value) = match std::str::from_utf8(line) {
            Ok(text) => ("value", text.to_owned()),
            Err(_) => ("value_base64", BASE64.encode(line)),
        };
        record.insert(name.to_owned(), value.into());
        body.extend_from_slice(Value::Object(record).to_string().as_bytes());
        body.push(b'\n');
    }
    body
}

/// Sums up where records went, by partition.
#[derive(Debug, Default)]
struct Stored {
    total: u64,
    partitions: BTreeMap<u32, Extent>,
}

/// Holds the first and last offset given in a partition, and how many. Others may have written in between.
#[derive(Debug, Clone, Copy)]
struct Extent {
    first: u64,
    last: u64,
    count: u64,
}

impl Stored {
    fn add(&mut self, records: u64, offsets: &[ProducedOffsets]) {
        self.total += records;
        for run in offsets.iter().filter(|run| run.count > 0) {
            let extent =
                self.partitions.entry(run.partition).or_insert(Extent { first: run.base_offset, last: 0, count: 0 });
            extent.last = run.base_offset + run.count - 1;
            extent.count += run.count;
        }
    }

    fn print(&self, form: Form, out: &mut impl Write) -> Result<(), Error> {
        if form.json {
            let partition = |(partition, extent): (&u32, &Extent)| json!({"partition": partition, "first_offset": extent.first, "last_offset": extent.last, "count": extent.count});
            let partitions: Vec<Value> = self.partitions.iter().map(partition).collect();
            writeln!(out, "{}", json!({"count": self.total, "partitions": partitions}))?;
            return Ok(());
        }
        writeln!(out, "{} stored", counted(self.total, "record"))?;
        if self.total > 0 {
            let columns = ["PARTITION", "RECORDS", "FIRST OFFSET", "LAST OFFSET"];
            let mut table = Table::new(columns.map(|heading| (heading, Align::Right)));
            for (partition, extent) in &self.partitions {
                let numbers = [extent.count, extent.first, extent.last];
                table.row(std::iter::once(partition.to_string()).chain(numbers.map(count)));
            }
            write!(out, "{table}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::{Stub, problem, silence, success};

    const PLAIN: Form = Form { json: false, terminal: false, colours: false };

    fn stored(base_offset: u64, count: u64) -> String {
        success(&format!(r#"{{"offsets":[{{"partition":0,"base_offset":{base_offset},"count":{count}}}]}}"#))
    }

    /// Produces the lines of a text; gives the output, the outcome, and the number and lines of each request.
    async fn produced(text: &str, answers: Vec<String>) -> (String, Result<(), Error>, Vec<(String, usize)>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let stub = Stub::start(answers);
        let args = args::Produce {
            topic: TopicName::new("t").unwrap(),
            file: file.path().to_owned(),
            key: None,
            expect_key_offset: None,
        };
        let mut out = Vec::new();
        let outcome = run(stub.client(), args, PLAIN, &mut out).await;
        let asked = stub.asked();
        let number =
            |request: &str| request.lines().find_map(|line| line.strip_prefix("producer-seq: ").map(str::to_owned));
        let request = |request: &String| (number(request).unwrap(), request.matches("{\"value\"").count());
        (String::from_utf8(out).unwrap(), outcome, asked.iter().map(request).collect())
    }

    #[tokio::test]
    async fn a_request_without_an_answer_is_sent_again_with_its_number() {
        let answers = vec![silence(), problem(503, "busy", "try later"), stored(7, 1)];
        let (out, outcome, asked) = produced("a\n", answers).await;
        outcome.unwrap();
        assert_eq!(asked, vec![("0".to_owned(), 1); 3]);
        assert!(out.starts_with("1 record stored\n"), "{out}");
    }

    #[tokio::test]
    async fn a_refusal_is_final() {
        let (out, outcome, asked) = produced("a\n", vec![problem(403, "internal-topic", "t is ours")]).await;
        assert_eq!(outcome.unwrap_err().to_string(), "Internal topic: t is ours");
        assert_eq!((out.as_str(), asked.len()), ("0 records stored\n", 1));
    }

    #[tokio::test]
    async fn an_empty_input_asks_for_nothing() {
        let (out, outcome, asked) = produced("", vec![]).await;
        outcome.unwrap();
        assert_eq!((out.as_str(), asked.len()), ("0 records stored\n", 0));
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_named() {
        let args = args::Produce {
            topic: TopicName::new("t").unwrap(),
            file: "/no/such/file".into(),
            key: None,
            expect_key_offset: None,
        };
        let client = Client::new("http://127.0.0.1:1").unwrap();
        let error = run(client, args, PLAIN, &mut Vec::new()).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot read /no/such/file: No such file or directory (os error 2)");
    }

    #[test]
    fn lines_become_record_objects() {
        let lines = [b"plain \"quoted\"".to_vec(), b"\xff".to_vec(), Vec::new()];
        let expected = "{\"value\":\"plain \\\"quoted\\\"\"}\n{\"value_base64\":\"/w==\"}\n{\"value\":\"\"}\n";
        assert_eq!(String::from_utf8(ndjson(&lines, None)).unwrap(), expected);
        assert_eq!(ndjson(&[b"v".to_vec()], Some("k")), b"{\"key\":\"k\",\"value\":\"v\"}\n");
    }

    #[test]
    fn where_records_went_is_summed_up_by_partition() {
        let mut stored = Stored::default();
        let run = |partition, base_offset, count| ProducedOffsets { partition, base_offset, count };
        stored.add(1_000, &[run(2, 0, 1_000)]);
        stored.add(1_500, &[run(0, 7, 500), run(2, 4_000, 1_000)]);
        let mut text = Vec::new();
        stored.print(PLAIN, &mut text).unwrap();
        let expected = "\
2,500 records stored
PARTITION  RECORDS  FIRST OFFSET  LAST OFFSET
        0      500             7          506
        2    2,000             0        4,999
";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
