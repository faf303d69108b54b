//! Filters on the server: what matches, what is refused, and tokens that move though nothing matches.

use serde_json::{Value, json};
use skidway_tests::{Client, Collector, Site};

use super::{PATIENCE, number};

fn serving(records: u64) -> (Site, Collector, Client) {
    let site = Site::new();
    let collector = site.collector().with("heartbeat_interval = \"1s\"\n[topics]\npartitions = 1").started();
    let client = collector.client();
    let line = |at: u64| {
        let record = json!({"key": format!("k{}", at % 10), "value": at.to_string(), "headers": {"host": format!("web-{}", at % 3)}});
        format!("{record}\n")
    };
    for from in (0..records).step_by(10_000) {
        let body: String = (from..records.min(from + 10_000)).map(line).collect();
        assert_eq!(client.post("/v1/topics/t/records", "application/x-ndjson", body).status, 200);
    }
    (site, collector, client)
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn numbers(records: &Value) -> Vec<u64> {
    records["records"].as_array().unwrap_or_else(|| panic!("{records}")).iter().map(number).collect()
}

#[test]
fn pages_and_streams_have_only_what_matches() {
    let (_site, _collector, client) = serving(3000);
    for (filter, expected) in [
        (r#"value == "777""#, vec![777]),
        (r#"value.endsWith("999")"#, vec![999, 1999, 2999]),
        (r#"key == "k7" && headers.host == "web-1" && offset < 40"#, vec![7, 37]),
        ("json >= 2998", vec![2998, 2999]),
        (r#"value.matches("^(1|2)00$")"#, vec![100, 200]),
        ("false", vec![]),
    ] {
        let query = format!("from=earliest&filter={}", escaped(filter));
        for path in [format!("/v1/topics/t/records?{query}"), format!("/v1/records?topics=*&{query}")] {
            assert_eq!(numbers(&client.get(&path).json()), expected, "{filter}");
            let lines = client.get_with(&format!("{path}&follow=false"), &[("Accept", "application/x-ndjson")]);
            let lines: Vec<u64> =
                lines.text().lines().map(|line| number(&serde_json::from_str(line).unwrap())).collect();
            assert_eq!(lines, expected, "{filter}");
        }
        let stream = client.stream(&format!("/v1/topics/t/stream?{query}"), "text/event-stream", &[]);
        let events: Vec<u64> =
            expected.iter().map(|_| number(&stream.next_record(PATIENCE).expect("a record").json())).collect();
        assert_eq!(events, expected, "{filter}");
    }
}

#[test]
fn a_filter_that_matches_nothing_still_moves_the_token() {
    let (_site, _collector, client) = serving(1000);
    let path = format!("/v1/topics/t/records?filter={}", escaped(r#"value == "none""#));
    let page = client.get(&path).json();
    assert_eq!(numbers(&page), [0; 0]);
    let next = page["next"].as_str().unwrap();
    assert_eq!(
        numbers(&client.get(&format!("/v1/topics/t/records?from={next}")).json()),
        [0; 0],
        "it stands at the head"
    );
    let stream = client.stream(&format!("{path}&from=earliest"), "text/event-stream", &[]);
    let beat = stream.next_event(PATIENCE).expect("a heartbeat comes");
    assert_eq!((beat.name.as_deref(), beat.id.as_deref()), (Some("heartbeat"), Some(next)));
}

#[test]
fn filtered_pages_follow_their_tokens_and_give_each_match_once() {
    let (_site, _collector, client) = serving(20_000);
    let path = format!("/v1/topics/t/records?max_records=7&filter={}", escaped(r#"value.endsWith("00")"#));
    let (mut all, mut from) = (Vec::new(), "earliest".to_owned());
    loop {
        let page = client.get(&format!("{path}&from={from}")).json();
        from = page["next"].as_str().unwrap().to_owned();
        let more = numbers(&page);
        if more.is_empty() {
            break;
        }
        all.extend(more);
    }
    assert_eq!(all, (1..200).map(|at| at * 100).collect::<Vec<u64>>());
}

#[test]
fn a_wrong_filter_is_refused_with_the_place() {
    let (_site, _collector, client) = serving(1);
    for path in ["/v1/topics/t/records", "/v1/topics/t/stream", "/v1/records?topics=t", "/v1/stream?topics=t"] {
        let joint = if path.contains('?') { '&' } else { '?' };
        let answer = client.get(&format!("{path}{joint}filter={}", escaped("value.contians('a')")));
        assert_eq!((answer.status, answer.json()["position"].as_u64()), (400, Some(5)), "{}", answer.text());
        assert!(answer.text().contains("there is no function contians"), "{}", answer.text());
    }
    let raw = [("Accept", "application/vnd.kafka.recordbatch")];
    assert_eq!(client.get_with("/v1/topics/t/records?partition=0&filter=true", &raw).status, 400);
}

#[test]
fn records_that_a_filter_makes_no_sense_of_are_counted() {
    let (_site, _collector, client) = serving(10);
    client.get(&format!("/v1/topics/t/records?filter={}", escaped("headers.nothing != 'x'")));
    let metrics = client.get("/metrics").text();
    let counted = metrics.lines().find(|line| line.starts_with("skidway_collector_filter_errors_total"));
    assert_eq!(counted.and_then(|line| line.split(' ').nth(1)), Some("10"));
}
