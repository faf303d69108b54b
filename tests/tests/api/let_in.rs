//! Refusals that need no handler, met by each call that tells of them: no token, one that does not reach, one over its quota, a body that does
//! not come on.

use serde_json::{Value, json};
use skidway_tests::raw::Raw;
use skidway_tests::wait::{self, PATIENCE};
use skidway_tests::{Client, Site};

use super::TOKEN;
use super::refusals::path;
use crate::access::{Guarded, guarded, text};

/// Is a call as the description tells of it.
struct Call {
    method: String,
    template: String,
    description: Value,
}

impl Call {
    fn tells_of(&self, status: &str) -> bool {
        self.description["responses"].get(status).is_some()
    }

    fn enrols(&self) -> bool {
        self.template.ends_with("/enrol")
    }

    fn status(&self, client: &Client) -> u16 {
        client.ask(&self.method, &path(&self.template, true), &[], b"").status
    }
}

fn calls(it: &Guarded) -> Vec<Call> {
    let description = it.admin.get("/openapi.json").json();
    let mut calls = Vec::new();
    for (template, operations) in description["paths"].as_object().unwrap() {
        for (method, description) in operations.as_object().unwrap() {
            let (method, template) = (method.to_uppercase(), template.clone());
            calls.push(Call { method, template, description: description.clone() });
        }
    }
    calls
}

/// Makes a join token; gives its text.
fn join(it: &Guarded, asked: &Value) -> String {
    text(&it.admin.post("/v1/tokens/join", "application/json", asked.to_string()).json()["token"])
}

#[test]
fn every_call_that_needs_a_token_refuses_none_one_that_does_not_reach_and_one_over_its_quota() {
    let site = Site::new();
    let it = guarded(&site, "");
    let nobody = it.collector.client();
    let (few, grants) = (json!({"requests_per_second": 1}), json!([{"scope": "consume", "topics": ["other"]}]));
    let consumer = [it.token(&json!({"grants": grants})).1, it.token(&json!({"grants": grants, "quotas": few})).1];
    let joining = [json!({}), json!({"quotas": few})].map(|asked| nobody.showing(&join(&it, &asked)));
    let mut met = 0;
    for call in calls(&it).into_iter().filter(|call| call.tells_of("401")) {
        let name = format!("{} {}", call.method, call.template);
        assert_eq!(call.status(&nobody), 401, "{name}");
        // A join token enrols and nothing else, and nothing else enrols.
        let (strange, few) = if call.enrols() { (&consumer[0], &joining[1]) } else { (&joining[0], &consumer[1]) };
        assert_eq!(call.status(strange), 403, "{name}");
        wait::until(&format!("{name} is over the quota"), || (call.status(few) == 429).then_some(()));
        met += 1;
    }
    assert!(met > 45, "{met} calls");
}

#[test]
fn every_call_that_takes_a_body_gives_up_one_that_does_not_come_on() {
    let site = Site::new();
    let beacon = format!("[[beacons]]\ntoken = \"{TOKEN}\"\ntopic = \"clicks\"\n");
    let it = guarded(&site, &format!("body_idle_timeout = \"1s\"\n{beacon}"));
    assert_eq!(it.admin.put("/v1/topics/app", &json!({"partitions": 1})).status, 201);
    assert_eq!(it.admin.put("/v1/queues/jobs", &json!({"topic": "app"})).status, 201);
    let ask =
        json!({"name": "x", "agent": "web-1", "grants": [{"scope": "admin"}, {"scope": "commit", "topics": ["*"]}]});
    let holder = text(&it.admin.post("/v1/tokens", "application/json", ask.to_string()).json()["token"]);
    let joining = join(&it, &json!({}));
    let calls: Vec<_> = calls(&it).into_iter().filter(|call| call.tells_of("408")).collect();
    assert!(calls.len() > 15, "{} calls", calls.len());
    let begin = |call: &Call| {
        let token = if call.enrols() { &joining } else { &holder };
        let body = call.description["requestBody"]["content"].as_object().unwrap();
        let media_type = body.keys().next().unwrap();
        let (method, path) = (&call.method, path(&call.template, true));
        let mut raw = Raw::connect(it.collector.port());
        raw.send(format!("{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: {media_type}\r\nContent-Length: 10\r\n\r\n"));
        raw
    };
    let begun: Vec<Raw> = calls.iter().map(begin).collect();
    for (call, mut raw) in calls.iter().zip(begun) {
        let reaction = raw.reaction(PATIENCE);
        assert_eq!(reaction.status(), 408, "{} {}: {reaction:?}", call.method, call.template);
    }
}
