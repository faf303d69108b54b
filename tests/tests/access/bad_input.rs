//! Bad input where tokens are asked for: nobody's is refused before any of its body is read, a holder's with its own status; both are written
//! down, and neither costs memory. What each kind of bad input is, in all its variants, is in the tests of that name.

use serde_json::json;
use skidway_tests::Site;
use skidway_tests::raw::{Raw, Reaction};
use skidway_tests::wait::PATIENCE;

use super::{Guarded, guarded, text};
use crate::bad_input::{GROWTH_BYTES_MAX, memory};

const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";
const FRAMES: &str = "Content-Type: application/vnd.skidway.frame\r\n";

/// Is a request that nobody should send.
struct Bad {
    what: &'static str,
    /// Method and path.
    asks: &'static str,
    headers: String,
    body: Vec<u8>,
    /// What it is answered if it comes from who may send such requests.
    status: u16,
}

fn bad(what: &'static str, asks: &'static str, headers: &str, body: impl Into<Vec<u8>>, status: u16) -> Bad {
    let body = body.into();
    let length = if headers.contains("ength") || headers.contains("chunked") {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    Bad { what, asks, headers: format!("{headers}{length}"), body, status }
}

const PRODUCE: &str = "POST /v1/topics/web-a/records";

fn bad_input() -> Vec<Bad> {
    let zstd = zstd::encode_all(&vec![0; 16 << 20][..], 1).unwrap();
    let absurd = format!("{NDJSON}Content-Length: {}\r\n", i64::MAX);
    vec![
        bad("a JSON bomb", PRODUCE, NDJSON, "[".repeat(1_000_000), 400),
        bad(
            "a JSON bomb of settings",
            "PUT /v1/topics/web-b",
            "Content-Type: application/json\r\n",
            "[".repeat(1_000_000),
            400,
        ),
        bad("a zstd bomb", PRODUCE, &format!("{NDJSON}Content-Encoding: zstd\r\n"), zstd, 415),
        bad("a body bomb", PRODUCE, "Content-Type: text/plain\r\n", vec![b'x'; 20 << 20], 413),
        bad("an absurd length", PRODUCE, &absurd, "", 413),
        bad(
            "a length beside chunks",
            PRODUCE,
            &format!("{NDJSON}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
            "0\r\n\r\n",
            400,
        ),
        bad("chunks without a size", PRODUCE, &format!("{NDJSON}Transfer-Encoding: chunked\r\n"), "xyz\r\n", 400),
        bad("a slow body", PRODUCE, &format!("{NDJSON}Content-Length: 1000\r\n"), "{", 408),
        bad("a path", "GET /v1/topics/..%2f..%2fetc%2fpasswd", "", "", 400),
        bad("no frame", "POST /v1/commits", FRAMES, "no frame", 400),
    ]
}

/// Sends it, with a token if there is one.
fn send(it: &Guarded, bad: &Bad, token: Option<&str>) -> Reaction {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!("{} HTTP/1.1\r\nHost: x\r\n{token}{}\r\n", bad.asks, bad.headers);
    let mut raw = Raw::connect(it.collector.port());
    raw.send([head.as_bytes(), &bad.body].concat());
    raw.reaction(PATIENCE)
}

#[test]
fn bad_input_is_refused_by_who_sends_it_and_by_what_it_is_and_is_written_down() {
    let site = Site::new();
    let mut it = guarded(&site, "body_idle_timeout = \"1s\"\n");
    assert_eq!(it.admin.put("/v1/topics/web-a", &json!({"partitions": 1})).status, 201);
    let ask = json!({"name": "holder", "agent": "web-1", "grants": [{"scope": "admin"}, {"scope": "commit", "topics": ["*"]}]});
    let made = it.admin.post("/v1/tokens", "application/json", ask.to_string()).json();
    let (id, token) = (text(&made["summary"]["id"]), text(&made["token"]));
    let before = memory(it.collector.program().pid());
    for bad in bad_input() {
        let nobody = send(&it, &bad, None);
        assert_eq!(nobody.status(), 401, "{} of nobody: {nobody:.200?}", bad.what);
        let holder = send(&it, &bad, Some(&token));
        let Reaction::Answer(answer) = &holder else { panic!("{}: {holder:?}", bad.what) };
        assert_eq!(answer.status, bad.status, "{}: {holder:.200?}", bad.what);
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        it.audited(bad.what, |record| {
            record["who"]["token"] == json!(id)
                && (&record["status"], &record["reason"]) == (&problem["status"], &problem["type"])
        });
    }
    for action in ["records.produce", "topics.put", "topics.show", "agents.commit"] {
        it.audited("what nobody asked", |record| record["action"] == action && record["reason"] == "no-token");
    }
    let grown = memory(it.collector.program().pid()).saturating_sub(before);
    assert!(grown <= GROWTH_BYTES_MAX, "memory grew by {} MiB", grown >> 20);
    assert_eq!(
        it.admin.get("/v1/topics").json()["topics"].as_array().map(Vec::len),
        Some(3),
        "ours, and the one there was"
    );
    let page = it.admin.get("/v1/topics/web-a/records?from=earliest").json();
    assert_eq!(page["records"], json!([]), "nothing is stored");
    assert!(!it.collector.program().said().contains("panicked"));
}
