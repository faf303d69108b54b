//! Every refusal that the description names, met: by a rule for those that all URLs share, by a request of its own for each other one.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use skidway_tests::{Answer, Client, Site, wait};

use super::{TOKEN, serving};

/// Bounds bodies in this test.
const BODY_BYTES_MAX: usize = 4096;

/// Refusals that take more than a request to meet, and the test that does, if there is one.
const ELSEWHERE: [(&str, u16, &str); 23] = [
    ("POST /v1/beacons/{token}", 429, "browser"),
    ("DELETE /v1/tokens/{id}", 404, "access"),
    ("POST /v1/agents/{agent}/enrol", 409, "access"),
    ("POST /v1/commits", 409, "agent"),
    ("GET /v1/topics/{topic}/records", 422, "damage"),
    ("GET /v1/records", 422, "damage"),
    ("GET /v1/topics/{topic}/table", 413, "event_sourcing"),
    ("GET /v1/topics/{topic}/table", 422, "api::elsewhere"),
    ("GET /v1/topics/{topic}/table", 429, "api::elsewhere"),
    ("GET /v1/topics/{topic}/table/{key}", 422, "api::elsewhere"),
    ("POST /v1/topics/{topic}/records", 429, "a bound of the engine's own tests"),
    ("POST /v1/sinks/{sink}/verify", 409, "sinks::jobs"),
    ("POST /v1/sinks/{sink}/repair", 409, "sinks::jobs"),
    ("POST /v1/sinks/{sink}/replay", 409, "sinks::jobs"),
    ("POST /v1/agents/{agent}/session", 409, "agent"),
    ("POST /v1/groups/{group}/commit", 429, "groups"),
    ("GET /v1/groups/{group}/records", 429, "groups"),
    ("GET /v1/groups/{group}/stream", 429, "groups"),
    ("POST /v1/groups/{group}/reset", 429, "groups"),
    ("POST /v1/queues/{queue}/receive", 429, "api::elsewhere"),
    ("POST /v1/queues/{queue}/ack", 409, "queues"),
    ("POST /v1/queues/{queue}/nack", 409, "queues"),
    ("POST /v1/queues/{queue}/extend", 409, "queues"),
];

/// Is a request that is refused.
struct Refused<'a> {
    operation: &'a str,
    status: u16,
    path: String,
    headers: Vec<(&'a str, &'a str)>,
    body: Vec<u8>,
}

fn refused<'a>(operation: &'a str, status: u16, path: impl Into<String>) -> Refused<'a> {
    Refused { operation, status, path: path.into(), headers: Vec::new(), body: Vec::new() }
}

impl<'a> Refused<'a> {
    fn with(mut self, name: &'a str, value: &'a str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        self.with("Content-Type", "application/json")
    }
}

/// Gives the path of an operation, its names filled in with ones that there are, or that there are not.
pub(super) fn path(template: &str, there_are: bool) -> String {
    let names = [
        ("topic", "app"),
        ("key", "k"),
        ("group", "team"),
        ("queue", "jobs"),
        ("sink", "archive"),
        ("agent", "web-1"),
        ("id", "0123456789abcdef"),
        ("token", TOKEN),
    ];
    names.iter().fold(template.to_owned(), |path, (name, value)| {
        path.replace(&format!("{{{name}}}"), if there_are { value } else { "there-is-none-of-it" })
    })
}

/// Gives what meets those refusals that all operations have in common.
fn by_rule<'a>(operation: &'a str, status: u16) -> Option<Refused<'a>> {
    let (method, template) = operation.split_once(' ')?;
    let writes = matches!(method, "POST" | "PUT");
    let asked = |there_are: bool| refused(operation, status, path(template, there_are));
    match status {
        400 if template.starts_with("/v1/agents/{agent}/session") || template == "/v1/commits" => {
            Some(Refused { body: b"no frame".to_vec(), ..asked(true) })
        }
        400 => Some(refused(operation, status, path(template, true) + "?colour=red")),
        404 if template.contains('{') => {
            Some(Refused { body: b"x".to_vec(), ..asked(false) }.with("Content-Type", "text/plain"))
        }
        406 => Some(asked(true).with("Accept", "image/png")),
        413 if writes => Some(Refused { body: vec![b'x'; 2 * BODY_BYTES_MAX], ..asked(true) }),
        415 if writes => Some(Refused { body: b"x".to_vec(), ..asked(true) }.with("Content-Type", "image/png")),
        // The version is the byte after the four that open a frame.
        426 => Some(Refused { body: b"SKWY\xff\x01 of another time".to_vec(), ..asked(true) }),
        _ => None,
    }
}

/// Gives a request for each of the others.
fn one_by_one(client: &Client) -> Vec<Refused<'static>> {
    let gone = {
        let token = client.get("/v1/topics/gone/records").json()["next"].as_str().unwrap().to_owned();
        client.delete("/v1/topics/gone");
        client.put("/v1/topics/gone", &json!({}));
        token
    };
    let trimmed = {
        let first = client.get("/v1/records?topics=logs&max_records=1").json();
        let partition = &first["records"][0]["partition"];
        client.delete(&format!("/v1/topics/logs/records?partition={partition}&before_offset=latest"));
        first["next"].as_str().unwrap().to_owned()
    };
    let produce = "POST /v1/topics/{topic}/records";
    let text = |it: Refused<'static>| Refused { body: b"x".to_vec(), ..it }.with("Content-Type", "text/plain");
    let producer = |epoch, first| {
        let it = text(refused(produce, 0, "/v1/topics/app/records")).with("Producer-Id", "p");
        it.with("Producer-Epoch", epoch).with("Producer-Seq", first)
    };
    client.ask("POST", "/v1/topics/app/records", &producer("5", "0").headers, b"x");
    let partitions = || json!({"partitions": 1});
    let described = client.get("/v1/topics/app").json();
    let written = described["partitions"].as_array().unwrap().iter().position(|it| it["high_watermark"] != 0).unwrap();
    let pinned = format!("/v1/topics/app/records?partition={written}&before_offset=latest");
    vec![
        text(
            refused("POST /v1/beacons/{token}", 403, format!("/v1/beacons/{TOKEN}"))
                .with("Origin", "https://other.example"),
        ),
        refused("POST /v1/tokens", 409, "/v1/tokens").json(&json!({"name": "x", "grants": [{"scope": "admin"}]})),
        refused("POST /v1/tokens/join", 409, "/v1/tokens/join"),
        refused("DELETE /v1/tokens/{id}", 409, "/v1/tokens/0123456789abcdef"),
        refused("PUT /v1/topics/{topic}", 403, "/v1/topics/__x").json(&partitions()),
        refused("PUT /v1/topics/{topic}", 409, "/v1/topics/app").json(&partitions()),
        refused("DELETE /v1/topics/{topic}", 403, "/v1/topics/__x"),
        refused("DELETE /v1/topics/{topic}", 409, "/v1/topics/app"),
        refused("DELETE /v1/topics/{topic}/records", 403, "/v1/topics/__x/records?partition=0&before_offset=0"),
        refused("DELETE /v1/topics/{topic}/records", 404, "/v1/topics/none/records?partition=0&before_offset=0"),
        refused("DELETE /v1/topics/{topic}/records", 409, pinned),
        refused("GET /v1/topics/{topic}/records", 410, format!("/v1/topics/gone/records?from={gone}")),
        refused("GET /v1/topics/{topic}/stream", 410, format!("/v1/topics/gone/stream?from={gone}")),
        refused("GET /v1/records", 404, "/v1/records?topics=none"),
        refused("GET /v1/records", 406, "/v1/records?topics=app").with("Accept", "image/png"),
        refused("GET /v1/records", 410, format!("/v1/records?topics=logs&from={trimmed}")),
        refused("GET /v1/topics/{topic}/table", 410, format!("/v1/topics/gone/table?from={gone}")),
        refused("GET /v1/stream", 404, "/v1/stream?topics=none"),
        refused("GET /v1/stream", 410, format!("/v1/stream?topics=logs&from={trimmed}")),
        Refused { status: 403, ..producer("4", "0") },
        Refused { status: 409, ..producer("5", "7") },
        Refused { status: 412, path: "/v1/topics/app/records?partition=0".into(), ..text(refused(produce, 0, "")) }
            .with("Expected-Offset", "999"),
        refused(
            "POST /v1/sinks/{sink}/replay",
            404,
            "/v1/sinks/none/replay?topic=app&from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z",
        ),
    ]
}

/// Gives those of groups. `team` has committed, `busy` has a member.
fn of_groups(client: &Client) -> Vec<Refused<'static>> {
    let (commit, reset) = ("POST /v1/groups/{group}/commit", "POST /v1/groups/{group}/reset");
    let offset = |topic: &str| json!({"offsets": [{"topic": topic, "partition": 0, "offset": 0}]});
    let committed = client.post("/v1/groups/team/commit", "application/json", offset("logs").to_string());
    assert_eq!(committed.status, 200, "{}", committed.text());
    let page = client.get("/v1/groups/busy/records?topics=logs").json();
    let member = page["member"].as_str().unwrap().rsplit_once('.').unwrap().0.to_owned();
    let token = page["next"].as_str().unwrap();
    let output =
        Refused { body: b"x".to_vec(), ..refused("POST /v1/topics/{topic}/records", 410, "/v1/topics/app/records") };
    vec![
        output
            .with("Content-Type", "text/plain")
            .with("Commit-Group", "busy")
            .with("Commit-Token", of_the_next_epoch(token).leak()),
        refused("DELETE /v1/groups/{group}", 409, "/v1/groups/busy"),
        refused(commit, 404, "/v1/groups/team/commit").json(&offset("none")),
        refused(commit, 409, "/v1/groups/busy/commit").json(&offset("logs")),
        refused(commit, 410, "/v1/groups/busy/commit").json(&json!({"token": of_the_next_epoch(token)})),
        refused(reset, 404, "/v1/groups/team/reset").json(&offset("none")),
        refused(reset, 409, "/v1/groups/busy/reset").json(&json!({"topics": ["logs"], "to": "earliest"})),
        refused("GET /v1/groups/{group}/records", 404, "/v1/groups/none/records?member=m0000000000000000.1"),
        refused("GET /v1/groups/{group}/records", 409, format!("/v1/groups/busy/records?member={member}.9")),
        refused("GET /v1/groups/{group}/records", 410, "/v1/groups/busy/records?member=m0000000000000000.1"),
    ]
}

/// Changes the log's epoch in a token: the first number after `t2`, doubled as signed numbers are.
fn of_the_next_epoch(token: &str) -> String {
    let (stamp, place) = token.rsplit_once("t2").unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(place).unwrap();
    bytes[0] += 2;
    format!("{stamp}t2{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// Gives those of queues, of which `jobs` is one.
fn of_queues(client: &Client) -> Vec<Refused<'static>> {
    assert_eq!(client.put("/v1/queues/jobs", &json!({"topic": "logs"})).status, 201);
    client.post("/v1/topics/logs/records", "text/plain", "a job");
    let received = client.post("/v1/queues/jobs/receive", "application/json", "{\"wait\":\"30s\"}").json();
    let receipt = json!({"receipts": [received["messages"][0]["receipt"]]});
    let of_none = |operation, action: &str| refused(operation, 404, format!("/v1/queues/none/{action}"));
    vec![
        refused("PUT /v1/queues/{queue}", 403, "/v1/queues/other").json(&json!({"topic": "__x"})),
        refused("PUT /v1/queues/{queue}", 409, "/v1/queues/jobs").json(&json!({"topic": "app"})),
        of_none("POST /v1/queues/{queue}/ack", "ack").json(&receipt),
        of_none("POST /v1/queues/{queue}/nack", "nack").json(&receipt),
        of_none("POST /v1/queues/{queue}/extend", "extend").json(&receipt),
        of_none("POST /v1/queues/{queue}/receive", "receive"),
        of_none("POST /v1/queues/{queue}/redrive", "redrive"),
    ]
}

/// Makes sure that an answer is the refusal that was meant, and told as all are.
fn check(asked: &Refused<'_>, answer: &Answer) {
    let (operation, status, text) = (asked.operation, asked.status, answer.text());
    assert_eq!(answer.status, status, "{operation} {}: {text}", asked.path);
    assert_eq!(answer.content_type, "application/problem+json", "{operation} {status}");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{operation}: {text}");
    for member in ["type", "title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|it| !it.is_empty()), "{operation} {status} {member}: {text}");
    }
}

#[test]
fn every_described_refusal_can_be_met() {
    let site = Site::new();
    let collector =
        serving(&site, &format!("body_bytes_max = {BODY_BYTES_MAX}\n[topics]\npartitions = 2\nauto_create = false\n"));
    let client = collector.client();
    let description = client.get("/openapi.json").json();
    let mut described = BTreeSet::new();
    for (template, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let statuses =
                operation["responses"].as_object().unwrap().keys().map(|status| status.parse::<u16>().unwrap());
            let operation = format!("{} {template}", method.to_uppercase());
            described.extend(
                statuses.filter(|status| (400..500).contains(status)).map(|status| (operation.clone(), status)),
            );
        }
    }
    let ask = |asked: &Refused<'_>| {
        let method = asked.operation.split_once(' ').unwrap().0;
        check(asked, &client.ask(method, &asked.path, &asked.headers, &asked.body));
    };
    let mut left = described;
    for asked in one_by_one(&client).into_iter().chain(of_groups(&client)).chain(of_queues(&client)) {
        ask(&asked);
        assert!(
            left.remove(&(asked.operation.to_owned(), asked.status)),
            "{} {} is described",
            asked.operation,
            asked.status
        );
    }
    for (operation, status, _) in ELSEWHERE {
        assert!(left.remove(&(operation.to_owned(), status)), "{operation} {status} is described");
    }
    // Those that need no handler are met in `let_in`, by each call that tells of them.
    let asks_who: BTreeSet<String> =
        left.iter().filter(|(_, status)| *status == 401).map(|(it, _)| it.clone()).collect();
    left.retain(|(operation, status)| match status {
        401 | 408 => false,
        403 | 429 => !asks_who.contains(operation),
        _ => true,
    });
    left.retain(|(operation, status)| {
        by_rule(operation, *status).is_none_or(|asked| {
            ask(&asked);
            false
        })
    });
    assert_eq!(left, BTreeSet::new(), "what nobody met");
    wait::until("the collector is well", || Some(client.get("/readyz")).filter(|answer| answer.status == 200));
}
