//! Every refusal that the description names, met: by a rule for those that all URLs share, by a request of its own for each other one.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use skidway_tests::{Answer, Client, Site, wait};

use super::{TOKEN, serving};

/// Bounds bodies in this test.
const BODY_BYTES_MAX: usize = 4096;

/// Refusals that take more than a request to meet, and the test that does.
const ELSEWHERE: [(&str, u16, &str); 9] = [
    ("POST /v1/beacons/{token}", 429, "browser"),
    ("POST /v1/commits", 409, "agent"),
    ("GET /v1/topics/{topic}/records", 422, "damage"),
    ("GET /v1/records", 422, "damage"),
    ("POST /v1/topics/{topic}/records", 429, "a bound of the engine's own tests"),
    ("POST /v1/sinks/{sink}/verify", 409, "sinks::jobs"),
    ("POST /v1/sinks/{sink}/repair", 409, "sinks::jobs"),
    ("POST /v1/sinks/{sink}/replay", 409, "sinks::jobs"),
    ("POST /v1/agents/{agent}/session", 409, "agent"),
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
fn path(template: &str, there_are: bool) -> String {
    let names = [("topic", "app"), ("sink", "archive"), ("agent", "web-1"), ("token", TOKEN)];
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
    for asked in one_by_one(&client) {
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
    left.retain(|(operation, status)| {
        by_rule(operation, *status).is_none_or(|asked| {
            ask(&asked);
            false
        })
    });
    assert_eq!(left, BTreeSet::new(), "what nobody met");
    wait::until("the collector is well", || Some(client.get("/readyz")).filter(|answer| answer.status == 200));
}
