//! Bodies: malformed, encoded, nested, too large, in strange chunks, cut off, slow. Nothing of any of them is stored.

use std::time::{Duration, Instant};

use skidway_tests::raw::Raw;
use skidway_tests::wait;

use super::{PATIENCE, Victim, produce, produce_body};

const NDJSON: &str = "application/x-ndjson";
const JSON: &str = "application/json";

/// Gives bodies that are refused whole: media type, body and status. Each that is made of records begins with a good one.
fn malformed() -> Vec<(&'static str, &'static str, Vec<u8>, u16)> {
    let after_a_good_one = |bad: &str| format!("{{\"value\":\"good\"}}\n{bad}\n").into_bytes();
    let list = |record: &str| format!("{{\"records\":[{{\"value\":\"good\"}},{record}]}}").into_bytes();
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let zeros = vec![0; 64 << 20];
    vec![
        ("a JSON array 1,000,000 deep", NDJSON, after_a_good_one(&deep(1_000_000)), 400),
        ("a JSON object 100,000 deep", NDJSON, after_a_good_one(&"{\"a\":".repeat(100_000)), 400),
        ("headers 100,000 deep", NDJSON, after_a_good_one(&format!("{{\"headers\":{}}}", deep(100_000))), 400),
        ("records 100,000 deep", JSON, list(&deep(100_000)), 400),
        ("a number of 1 MiB", NDJSON, after_a_good_one(&format!("{{\"timestamp\":{}}}", "9".repeat(1 << 20))), 400),
        ("a number past all numbers", NDJSON, after_a_good_one("{\"timestamp\":1e999999999}"), 400),
        (
            "a timestamp past all time",
            NDJSON,
            after_a_good_one("{\"value\":\"a\",\"timestamp\":9223372036854775807}"),
            400,
        ),
        ("a partition past all", NDJSON, after_a_good_one("{\"value\":\"a\",\"partition\":4294967295}"), 400),
        ("a partition past 32 bits", NDJSON, after_a_good_one("{\"value\":\"a\",\"partition\":4294967296}"), 400),
        ("a key of JSON of 1 MiB", NDJSON, after_a_good_one(&format!("{{\"{}\":1}}", "k".repeat(1 << 20))), 400),
        ("a key of JSON twice", NDJSON, after_a_good_one("{\"value\":\"a\",\"value\":\"b\"}"), 400),
        ("records twice", JSON, b"{\"records\":[{\"value\":\"a\"}],\"records\":[]}".to_vec(), 400),
        ("bytes that are not UTF-8", NDJSON, [b"{\"value\":\"", &[0xff, 0xfe][..], b"\"}\n"].concat(), 400),
        ("half a surrogate", NDJSON, after_a_good_one("{\"value\":\"\\ud800\"}"), 400),
        ("a NUL between records", NDJSON, after_a_good_one("\0"), 400),
        ("a byte order mark of UTF-16", NDJSON, vec![0xff, 0xfe, b'{', 0, b'}', 0], 400),
        ("base64 that is none", NDJSON, after_a_good_one("{\"value_base64\":\"====\"}"), 400),
        (
            "a record past what a batch holds",
            NDJSON,
            after_a_good_one(&format!("{{\"value\":\"{}\"}}", "x".repeat(20 << 20))),
            413,
        ),
        ("a text line past what a batch holds", "text/plain", vec![b'x'; 20 << 20], 413),
        ("nothing", NDJSON, Vec::new(), 400),
        ("64 MiB of NUL bytes", NDJSON, zeros, 400),
        ("64 MiB of opening brackets", JSON, vec![b'['; 64 << 20], 400),
        ("64 MiB of empty lines", NDJSON, vec![b'\n'; 64 << 20], 400),
    ]
}

#[test]
fn malformed_bodies_are_refused_whole() {
    let mut victim = Victim::start("");
    for (name, media_type, body, status) in malformed() {
        let reaction = victim.reaction_to(&produce_body(media_type, &body));
        assert_eq!(reaction.status(), status, "{name}: {reaction:?}");
        victim.serves_others();
    }
    victim.is_unharmed();
}

#[test]
fn a_million_headers_of_one_record_and_a_million_tiny_records_cost_bounded_memory() {
    let mut victim = Victim::start("");
    let headers: Vec<String> = (0..1_000_000).map(|n| format!("\"h{n}\":\"\"")).collect();
    let record = format!("{{\"value\":\"a\",\"headers\":{{{}}}}}\n", headers.join(","));
    let reaction = victim.reaction_to(&produce_body(NDJSON, record.as_bytes()));
    assert_eq!(reaction.status(), 200, "it fits into a batch");
    victim.serves_others();
    let records = "{\"value\":\"\"}\n".repeat(1_000_000);
    assert_eq!(victim.reaction_to(&produce_body(NDJSON, records.as_bytes())).status(), 200, "they are records");
    victim.is_well();
}

/// Other bodies than records, for the places that read them.
#[test]
fn every_place_that_reads_json_refuses_bombs() {
    let mut victim = Victim::start("");
    let bombs = [
        "[".repeat(1_000_000),
        "{\"a\":".repeat(100_000),
        format!("{{\"partitions\":{}}}", "1".repeat(1 << 20)),
        format!("{{\"{}\":1}}", "k".repeat(1 << 20)),
        "{\"partitions\":1e309}".to_owned(),
        "\0".repeat(1 << 20),
    ];
    let places = [
        ("PUT", "/v1/topics/new"),
        ("PUT", "/v1/queues/new"),
        ("POST", "/v1/queues/new/receive"),
        ("POST", "/v1/queues/new/ack"),
        ("POST", "/v1/groups/new/commit"),
        ("POST", "/v1/groups/new/reset"),
    ];
    for (method, path) in places {
        for bomb in &bombs {
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                bomb.len()
            );
            let reaction = victim.reaction_to((head + bomb).as_bytes());
            assert!(reaction.is_refusal(), "{method} {path} {}: {reaction:?}", &bomb[..20]);
        }
        victim.serves_others();
    }
    victim.is_unharmed();
}

#[test]
fn encoded_bodies_are_refused_and_never_inflated() {
    let mut victim = Victim::start("");
    for coding in ["gzip", "zstd", "br", "deflate", "gzip, gzip", "chunked", "identity, gzip", "x"] {
        let body = zstd::encode_all(&vec![0; 16 << 20][..], 1).unwrap();
        let head = produce(&format!("Content-Encoding: {coding}\r\nContent-Length: {}\r\n", body.len()));
        let reaction = victim.reaction_to(&[head.as_bytes(), &body].concat());
        assert_eq!(reaction.status(), 415, "{coding}: {reaction:?}");
    }
    victim.is_unharmed();
}

#[test]
fn chunks_are_taken_only_as_they_should_be() {
    let mut victim = Victim::start("");
    let record = "{\"value\":\"a\"}\n";
    let attacks = [
        ("a size that is none", "xyz\r\n".to_owned()),
        ("a size past 64 bits", format!("{}\r\n", "f".repeat(17))),
        ("a negative size", "-1\r\n".to_owned()),
        ("an extension of 1 MiB", format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(1 << 20))),
        ("an extension in each of 100,000 chunks", format!("1;{}\r\nx\r\n", "e".repeat(30)).repeat(100_000)),
        ("no end of line after a chunk", "1\r\nxy0\r\n\r\n".to_owned()),
        ("100,000 trailers", format!("{:x}\r\n{record}\r\n0\r\n{}\r\n", record.len(), "X: y\r\n".repeat(100_000))),
        ("a trailer of 1 MiB", format!("{:x}\r\n{record}\r\n0\r\nX: {}\r\n\r\n", record.len(), "y".repeat(1 << 20))),
    ];
    for (name, body) in attacks {
        let mut raw = victim.connect();
        raw.send(produce("Transfer-Encoding: chunked\r\n") + &body);
        raw.end();
        let reaction = raw.reaction(PATIENCE);
        assert!(reaction.is_refusal(), "{name}: {reaction:?}");
        victim.serves_others();
    }
    victim.is_unharmed();
}

#[test]
fn a_length_past_the_bound_is_refused_before_its_body_comes() {
    let mut victim = Victim::start("");
    for length in ["67108865", "1099511627776", "9223372036854775807"] {
        for expecting in ["", "Expect: 100-continue\r\n"] {
            let mut raw = victim.connect();
            raw.send(produce(&format!("{expecting}Content-Length: {length}\r\n")));
            let reaction = raw.reaction(PATIENCE);
            assert_eq!(reaction.status(), 413, "{length} {expecting}: {reaction:?}");
        }
    }
    victim.is_unharmed();
}

#[test]
fn who_expects_to_be_told_is_told_to_send_only_what_will_be_taken() {
    let victim = Victim::start("");
    let mut raw = victim.connect();
    raw.send(produce("Expect: 100-continue\r\nContent-Length: 14\r\n"));
    assert!(raw.take(25, PATIENCE).is_some(), "an interim answer asks for the body");
    raw.send("{\"value\":\"a\"}\n");
    assert_eq!(raw.reaction(PATIENCE).status(), 200);
    let mut raw = victim.connect();
    raw.send(produce("Expect: something else\r\nContent-Length: 14\r\n").replace("/t/", "/__x/"));
    assert!(raw.reaction(PATIENCE).is_refusal());
}

#[test]
fn a_body_that_is_cut_off_leaves_nothing() {
    let mut victim = Victim::start("");
    let whole = produce_body(NDJSON, "{\"value\":\"a\"}\n".repeat(1000).as_bytes());
    for keep in [whole.len() - 1, whole.len() / 2, whole.len() - 14 * 1000] {
        let mut raw = victim.connect();
        raw.send(&whole[..keep]);
        raw.end();
        assert!(raw.reaction(PATIENCE).is_refusal(), "{keep} of {} bytes", whole.len());
    }
    victim.is_unharmed();
}

/// Sends a byte now and then until the server has had enough; gives the status, 0 if it just closes.
fn trickle(mut raw: Raw, every: Duration) -> u16 {
    let over = Instant::now() + PATIENCE;
    while Instant::now() < over {
        raw.send("x");
        let reaction = raw.reaction(every);
        if reaction.is_refusal() {
            return reaction.status();
        }
    }
    panic!("a slow body is still waited for after {PATIENCE:?}");
}

#[test]
fn slow_bodies_end_by_a_bound_whether_they_stand_still_or_trickle() {
    let mut victim = Victim::start("body_idle_timeout = \"1s\"\nheader_timeout = \"1s\"\n");
    let mut stands = victim.connect();
    stands.send(produce("Content-Length: 1000000\r\n"));
    let mut trickles = victim.connect();
    trickles.send(produce("Content-Length: 1000000\r\n"));
    assert_eq!(trickle(trickles, Duration::from_millis(100)), 408);
    assert_eq!(stands.reaction(PATIENCE).status(), 408);
    let mut chunked = victim.connect();
    chunked.send(produce("Transfer-Encoding: chunked\r\n") + "ffffff\r\n");
    assert_eq!(trickle(chunked, Duration::from_millis(100)), 408);
    let mut head = victim.connect();
    head.send("GET /v1 HTTP/1.1\r\nX-Slow: ");
    assert!(matches!(trickle(head, Duration::from_millis(100)), 0 | 408));
    victim.is_unharmed();
}

#[test]
fn a_whole_body_has_its_time_and_no_more() {
    let mut victim = Victim::start("body_timeout = \"1s\"\n");
    let mut raw = victim.connect();
    raw.send(produce("Content-Length: 60000000\r\n"));
    let status = wait::until("the body is given up", || {
        raw.send(vec![b'\n'; 100 << 10]);
        let reaction = raw.reaction(Duration::from_millis(50));
        reaction.is_refusal().then(|| reaction.status())
    });
    assert!(matches!(status, 408 | 0), "{status}");
    victim.is_unharmed();
}

#[test]
fn bodies_that_only_claim_memory_give_it_to_those_who_send() {
    let mut victim = Victim::start("memory_bytes_max = \"64MiB\"\n");
    let mut claiming: Vec<Raw> = (0..4)
        .map(|_| {
            let mut raw = victim.connect();
            raw.send(produce("Content-Length: 67108864\r\n") + "x");
            raw
        })
        .collect();
    // Whoever sends gets room: the claims of those who do not are given up meanwhile.
    wait::until("a body finds room", || {
        let reaction = victim.reaction_to(&produce_body(NDJSON, b"{\"value\":\"a\"}\n"));
        (reaction.status() == 200).then_some(())
    });
    assert!(claiming.iter_mut().any(|raw| matches!(raw.reaction(PATIENCE).status(), 408 | 503)));
    victim.serves_others();
    assert!(victim.collector.program().runs());
}
