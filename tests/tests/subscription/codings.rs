//! Answers compressed as the client accepts it, and streams whose events are not held back by it.

use std::io::Read;

use skidway_tests::{Client, Collector, Site, wait};

use super::{PATIENCE, number, produce, serving, sorted};

fn get(client: &Client, path: &str, accept: &str, coding: &str) -> (String, Vec<u8>) {
    let answer = client.get_with(path, &[("Accept", accept), ("Accept-Encoding", coding)]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut plain = Vec::new();
    match answer.content_encoding.as_str() {
        "gzip" => flate2::read::GzDecoder::new(&*answer.body).read_to_end(&mut plain).unwrap(),
        "zstd" => zstd::stream::read::Decoder::new(&*answer.body).unwrap().read_to_end(&mut plain).unwrap(),
        _ => answer.body.as_slice().read_to_end(&mut plain).unwrap(),
    };
    (answer.content_encoding, plain)
}

#[test]
fn pages_and_streams_are_the_same_in_every_coding() {
    let (_site, _collector, client) = serving();
    produce(&client, 0..30_000);
    for accept in ["application/json", "application/x-ndjson"] {
        let path = "/v1/topics/t/records?from=earliest&follow=false&partition=1";
        let (_, plain) = get(&client, path, accept, "identity");
        for (asked, coding) in [("gzip", "gzip"), ("zstd", "zstd"), ("gzip;q=0.5, zstd;q=0.1", "gzip"), ("br", "")] {
            let (actual, same) = get(&client, path, accept, asked);
            assert_eq!(actual, coding, "{accept} {asked}");
            assert!(same == plain, "{accept} {asked}: {} and {} bytes", same.len(), plain.len());
        }
    }
}

#[test]
fn tiny_pages_and_stored_batches_are_not_compressed() {
    let (_site, _collector, client) = serving();
    produce(&client, 0..3);
    assert_eq!(get(&client, "/v1/topics/t/records?max_records=1", "application/json", "gzip, zstd").0, "");
    produce(&client, 3..3000);
    let raw = "application/vnd.kafka.recordbatch";
    assert_eq!(get(&client, "/v1/topics/t/records?partition=0&from=earliest&follow=false", raw, "gzip, zstd").0, "");
}

#[test]
fn an_event_comes_through_a_coding_at_once() {
    let (_site, _collector, client): (Site, Collector, Client) = serving();
    for (round, coding) in [(0, "gzip"), (1, "zstd")] {
        let stream = client.stream_coded("/v1/topics/t/stream?from=latest", "text/event-stream", coding);
        // A heartbeat shows that the stream stands where it should.
        assert!(stream.next_event(PATIENCE).is_some());
        for at in 0..5 {
            // The next is produced only once this one is there: an event held back is never heard of.
            produce(&client, 100 * round + at..100 * round + at + 1);
            let event = wait::until("the event comes", || stream.next_record(PATIENCE));
            assert_eq!(number(&event.json()), 100 * round + at, "{coding}");
        }
    }
    let lines = client.stream_coded("/v1/topics/t/records?from=earliest", "application/x-ndjson", "gzip");
    let numbers = (0..10).map(|_| number(&serde_json::from_str(&lines.next_within(PATIENCE).unwrap()).unwrap()));
    assert_eq!(sorted(numbers.collect()), [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]);
}
