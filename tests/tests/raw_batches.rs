//! Stored batches as they are, and many readers of the same ones.

use std::io::Read;
use std::time::Duration;

use serde_json::json;
use skidway_tests::{Client, Collector, Site};

const RAW: &str = "application/vnd.kafka.recordbatch";
const PATIENCE: Duration = Duration::from_secs(30);
const READERS: usize = 100;

fn serving() -> (Site, Collector, Client) {
    let site = Site::new();
    let collector = site.collector().with("[engine]\nrecent_bytes = \"0B\"").started();
    let client = collector.client();
    assert_eq!(client.put("/v1/topics/t", &json!({"partitions": 2})).status, 201);
    (site, collector, client)
}

fn produce(client: &Client, body: &str) {
    assert_eq!(client.post("/v1/topics/t/records?partition=1", "text/plain", body).status, 200);
}

/// Splits batches by their lengths; gives each one's base offset and bytes.
fn batches(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let number = |at: usize, len: usize| bytes[at..at + len].iter().fold(0, |sum, &b| (sum << 8) | u64::from(b));
        let (batch, rest) = bytes.split_at(12 + number(8, 4) as usize);
        assert_eq!(batch[16], 2, "magic");
        let crc = crc32c::crc32c(&batch[21..]);
        assert_eq!(batch[17..21], crc.to_be_bytes(), "every batch is whole");
        found.push((number(0, 8), batch.to_vec()));
        bytes = rest;
    }
    found
}

/// Text that stays large however it is compressed: hash after hash.
fn noise(bytes: usize) -> String {
    let hash = |n: usize| format!("{:08x}", crc32c::crc32c(&n.to_le_bytes()));
    (0..bytes / 8).map(hash).collect()
}

#[test]
fn stored_batches_are_answered_byte_for_byte() {
    let (site, mut collector, client) = serving();
    produce(&client, "a\nb\n");
    produce(&client, &format!("{}\n", noise(300 << 10)));
    produce(&client, "c\n");
    let get = |query: &str| client.get_with(&format!("/v1/topics/t/records?{query}"), &[("Accept", RAW)]);
    let all = get("partition=1&from=earliest&follow=false");
    assert_eq!((all.status, all.content_type.as_str()), (200, RAW));
    let found = batches(&all.body);
    assert_eq!(found.iter().map(|(base, _)| *base).collect::<Vec<_>>(), [0, 2, 3]);
    // The batch that holds an offset comes whole.
    assert_eq!(get("partition=1&offset=1&follow=false").body, all.body);
    assert_eq!(batches(&get("partition=1&offset=2&follow=false").body), found[1..]);
    // At least one batch, then as many whole ones as fit.
    assert_eq!(batches(&get("partition=1&from=earliest&max_bytes=1").body), found[..1]);
    assert!(get("partition=1&from=latest&follow=false").body.is_empty());
    assert_eq!(get("from=earliest&follow=false").status, 400, "of one partition only");
    assert_eq!(get("partition=1&offset=5&follow=false").status, 400);
    assert_eq!(get("partition=9").status, 404);

    assert_eq!(collector.program().stop(), Some(0));
    let stored = std::fs::read(site.path("data/topics/t-1/00000000000000000000.log")).unwrap();
    assert_eq!(stored, all.body);
}

#[test]
fn a_stream_of_batches_follows_the_topic() {
    let (_site, _collector, client) = serving();
    let mut body = client.body("/v1/topics/t/records?partition=1&from=earliest", RAW).unwrap();
    for round in 0..3 {
        produce(&client, "one\ntwo\n");
        let mut head = [0; 12];
        body.read_exact(&mut head).unwrap();
        assert_eq!(head[..8], (2_u64 * round).to_be_bytes());
        let mut rest = vec![0; u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize];
        body.read_exact(&mut rest).unwrap();
    }
}

fn decoded(client: &Client) -> u64 {
    let text = client.get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix("skidway_collector_batches_decoded_total "));
    line.map_or(0, |count| count.parse().unwrap())
}

#[test]
fn a_hundred_readers_at_the_head_share_each_batch() {
    let site = Site::new();
    let collector = site.collector().started();
    let client = collector.client();
    client.put("/v1/topics/t", &json!({"partitions": 2}));
    let forms = [("application/x-ndjson", "records"), ("text/event-stream", "stream")];
    let streams: Vec<_> = (0..READERS)
        .map(|reader| {
            let (accept, path) = forms[reader % 2];
            client.stream(&format!("/v1/topics/t/{path}?from=earliest"), accept, &[])
        })
        .collect();
    for batch in 0..50 {
        produce(&client, &format!("first of {batch}\nlast of {batch}\n"));
        for stream in &streams {
            let last = format!("last of {batch}");
            while !stream.next_within(PATIENCE).expect("the reader has the batch").contains(&last) {}
        }
    }
    assert_eq!(decoded(&client), 50, "each batch is decoded once, however many read it");
}
