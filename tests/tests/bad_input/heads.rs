//! Request lines, headers and paths: each of these is refused or cut off, at once.

use skidway_tests::raw::Reaction;

use super::{PATIENCE, Victim, produce};

const RECORD: &str = "{\"value\":\"smuggled\"}\n";

/// Gives what is refused, by its name.
fn attacks() -> Vec<(&'static str, Vec<u8>)> {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
    let with = |headers: &str| format!("GET /v1 HTTP/1.1\r\nHost: x\r\n{headers}\r\n").into_bytes();
    let body = |headers: &str, body: &str| [produce(headers).as_bytes(), body.as_bytes()].concat();
    let chunked = format!("{:x}\r\n{RECORD}\r\n0\r\n\r\n", RECORD.len());
    let length = RECORD.len();
    vec![
        ("a header of 1 MiB", with(&format!("X: {}\r\n", "x".repeat(1 << 20)))),
        ("10,000 headers", with(&"X: y\r\n".repeat(10_000))),
        ("101 headers", with(&"X: y\r\n".repeat(101))),
        ("a header's name of 70 KiB", with(&format!("{}: y\r\n", "x".repeat(70_000)))),
        ("a URL of 70,000 characters", get(&format!("/{}", "x".repeat(70_000)))),
        ("a query of 70,000 characters", get(&format!("/v1/records?topics={}", "x".repeat(70_000)))),
        ("a method of 70,000 letters", [b"X".repeat(70_000), b" / HTTP/1.1\r\n\r\n".to_vec()].concat()),
        ("HTTP/0.9", b"GET /v1\r\n\r\n".to_vec()),
        ("HTTP/2 without asking", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()),
        ("HTTP/3.0 in letters", b"GET /v1 HTTP/3.0\r\nHost: x\r\n\r\n".to_vec()),
        ("a TLS client", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on\r\n\r\n".to_vec()),
        ("binary noise", (0..=255).rev().cycle().take(4096).chain(*b"\r\n\r\n").collect()),
        ("a NUL in the path", get("/v1/topics/t\0")),
        ("a NUL in a header", with("X: a\0b\r\n")),
        ("a NUL in a header's name", with("X\0: a\r\n")),
        ("a lone CR in a header", with("X: a\rY: b\r\n")),
        ("a folded header", with("X: a\r\n b\r\n")),
        ("a space before the colon", with("X : a\r\n")),
        ("a header without a colon", with("nothing\r\n")),
        ("a space in the path", get("/v1/topics/a b")),
        ("non-ASCII in the path", get("/v1/topics/\u{fc}\u{0}")),
        ("two Content-Lengths", body(&format!("Content-Length: {length}\r\nContent-Length: 1\r\n"), RECORD)),
        ("Content-Lengths in one", body(&format!("Content-Length: {length}, {length}\r\n"), RECORD)),
        ("a negative Content-Length", body("Content-Length: -1\r\n", RECORD)),
        ("a signed Content-Length", body(&format!("Content-Length: +{length}\r\n"), RECORD)),
        ("a hexadecimal Content-Length", body("Content-Length: 0x10\r\n", RECORD)),
        ("a Content-Length past 64 bits", body("Content-Length: 99999999999999999999999\r\n", RECORD)),
        ("a Content-Length of 2^64-1", body("Content-Length: 18446744073709551615\r\n", RECORD)),
        ("a transfer coding nobody knows", body("Transfer-Encoding: xchunked\r\n", &chunked)),
        ("chunked, but not last", body("Transfer-Encoding: chunked, gzip\r\n", &chunked)),
        (
            "chunked twice, then identity",
            body("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", &chunked),
        ),
        ("chunks in HTTP/1.0", of_http_1_0(body("Transfer-Encoding: chunked\r\n", &chunked))),
    ]
}

fn of_http_1_0(mut request: Vec<u8>) -> Vec<u8> {
    let at = request.windows(8).position(|eight| eight == b"HTTP/1.1").expect("a request line");
    request[at + 7] = b'0';
    request
}

#[test]
fn malformed_and_oversized_heads_are_refused_or_cut_off() {
    let mut victim = Victim::start("");
    for (name, bytes) in attacks() {
        let reaction = victim.reaction_to(&bytes);
        assert!(reaction.is_refusal(), "{name}: {reaction:?}");
        victim.serves_others();
    }
    victim.is_unharmed();
}

/// Paths that would lead elsewhere in a file system or another server; each names no topic, or one that is not there.
const PATHS: [&str; 28] = [
    "/v1/topics/../../etc/passwd",
    "/v1/topics/..",
    "/v1/topics/.",
    "/v1/topics/%2e%2e",
    "/v1/topics/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/v1/topics/..%2f..%2fetc",
    "/v1/topics/%252e%252e%252f",
    "/v1/topics/..%5c..%5c",
    "/v1/topics/t%00",
    "/v1/topics/t%00.log",
    "/v1/topics/%00",
    "/v1/topics/%ff%fe",
    "/v1/topics/%c0%ae%c0%ae",
    "/v1/topics/t%0d%0aX:%20y",
    "/v1/topics/%",
    "/v1/topics/%zz",
    "//v1/topics/t",
    "/v1//topics/t",
    "/v1/topics//t",
    "/v1/topics/t/",
    "/v1/./topics/t",
    "/V1/topics/t",
    "/v1/topics/t;x=y",
    "/v1/topics/t/../t",
    "/v1/groups/%ff",
    "/v1/sinks/%ff",
    "/v1/topics/t/table/%ff",
    "/v1/queues/%ff",
];

#[test]
fn path_tricks_name_nothing() {
    let mut victim = Victim::start("");
    for path in PATHS {
        for method in ["GET", "DELETE", "PUT"] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}");
            let reaction = victim.reaction_to(request.as_bytes());
            let Reaction::Answer(answer) = &reaction else { panic!("{method} {path}: {reaction:?}") };
            assert!((400..500).contains(&answer.status), "{method} {path}: {answer:?}");
            let told = answer.body.is_empty() || answer.head.contains("application/problem+json");
            assert!(told, "{method} {path}: {answer:?}");
            assert!(!answer.head.to_ascii_lowercase().contains("\r\nx:"), "no header is injected: {answer:?}");
        }
    }
    // Absolute and other forms of a request's target lead to the same places or nowhere.
    for (target, status) in [("http://other.example/v1/topics/none", 404), ("*", 404), ("x:1", 400)] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        let reaction = victim.reaction_to(request.as_bytes());
        assert!(reaction.status() == status || reaction.is_refusal(), "{target}: {reaction:?}");
    }
    victim.is_unharmed();
}

#[test]
fn a_length_beside_chunks_counts_for_nothing_and_ends_the_connection() {
    let mut victim = Victim::start("");
    let hidden = "DELETE /v1/topics/t HTTP/1.1\r\nHost: x\r\n\r\n";
    for lengths in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", 5 + hidden.len()),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", 5 + hidden.len()),
    ] {
        let mut raw = victim.connect();
        raw.send(format!("{}0\r\n\r\n{hidden}", produce(&lengths)));
        let first = raw.reaction(PATIENCE);
        assert!(first.is_refusal(), "a produce request of no records: {first:?}");
        assert!(raw.closes_within(PATIENCE), "what comes after it is not read");
        victim.serves_others();
    }
    victim.is_unharmed();
}

#[test]
fn pipelined_requests_are_answered_in_order_and_one_that_is_malformed_ends_it() {
    let victim = Victim::start("");
    let mut raw = victim.connect();
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let many: String = (0..100).map(|n| ask(if n % 2 == 0 { "/v1" } else { "/v1/none" })).collect();
    raw.send(many + "nonsense\r\n\r\n" + &ask("/v1"));
    for n in 0..100 {
        assert_eq!(raw.reaction(PATIENCE).status(), if n % 2 == 0 { 200 } else { 404 }, "answer {n}");
    }
    assert!(raw.reaction(PATIENCE).is_refusal());
    assert!(raw.closes_within(PATIENCE), "nothing is read after it");
}
