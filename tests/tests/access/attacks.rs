//! What somebody may try who should not get in, each refused with the right status and written down.

use serde_json::{Value, json};
use skidway_tests::{Client, Site, wait};

use super::{Guarded, guarded, text};

/// Starts a collector with two tenants' topics, a line in each.
fn two_tenants(site: &Site) -> Guarded {
    let it = guarded(site, "");
    for topic in ["web-a", "db-a"] {
        assert_eq!(it.admin.put(&format!("/v1/topics/{topic}"), &json!({"partitions": 1})).status, 201);
        assert_eq!(it.admin.post(&format!("/v1/topics/{topic}/records"), "text/plain", "line\n").status, 200);
    }
    it
}

/// Makes sure of a refusal's status and type.
#[track_caller]
pub(super) fn refused(answer: &skidway_tests::Answer, status: u16, kind: &str) {
    assert_eq!((answer.status, answer.json()["type"].as_str()), (status, Some(kind)), "{}", answer.text());
    assert_eq!(answer.content_type, "application/problem+json");
}

#[test]
fn a_token_does_what_its_scope_says_and_nothing_else() {
    let site = Site::new();
    let it = two_tenants(&site);
    let (id, reader) = it.scoped("consume", &["web-*"]);
    assert_eq!(reader.get("/v1/topics/web-a/records").json()["records"][0]["value"], "line");
    let there = reader.get("/v1/topics/db-a/records");
    refused(&there, 403, "missing-scope");
    assert_eq!((&there.json()["scope"], &there.json()["on"]), (&json!("consume"), &json!("db-a")));
    let not_there = reader.get("/v1/topics/db-z/records");
    assert_eq!(not_there.text().replace("db-z", "db-a"), there.text(), "what is there is not told");
    for path in ["/v1/topics/db-a", "/v1/topics/__skidway.audit/records", "/v1/topics/__skidway.tokens/records"] {
        refused(&reader.get(path), 403, "missing-scope");
    }
    for path in ["/v1/tokens", "/v1/sinks", "/v1/agents", "/metrics"] {
        refused(&reader.get(path), 403, "missing-scope");
    }
    refused(&reader.post("/v1/topics/web-a/records", "text/plain", "x"), 403, "missing-scope");
    refused(&reader.put("/v1/topics/web-b", &json!({})), 403, "missing-scope");
    refused(&reader.delete("/v1/topics/web-a"), 403, "missing-scope");
    let record = it.audited("what was refused", |it| it["object"] == "db-a" && it["outcome"] == "refused");
    let told = (&record["who"]["token"], &record["action"], &record["status"], &record["reason"]);
    assert_eq!(told, (&json!(id), &json!("records.read"), &json!(403), &json!("missing-scope")));
    assert_eq!(record["who"]["peer"], "127.0.0.1");
}

#[test]
fn nobody_gets_in_without_a_token_that_is_valid_whatever_is_tried_instead() {
    let site = Site::new();
    let it = two_tenants(&site);
    let nobody = it.collector.client();
    let path = "/v1/topics/web-a/records";
    refused(&nobody.get(path), 401, "token-required");
    let admin = std::fs::read_to_string(&it.admin_file).unwrap();
    let admin = admin.trim();
    let other_secret = format!("{}_{}", admin.rsplit_once('_').unwrap().0.get(..20).unwrap(), "A".repeat(43));
    let unknown = format!("sk1_0123456789abcdef_{}", "A".repeat(43));
    let answers: Vec<_> = [&other_secret, &unknown].iter().map(|token| nobody.showing(token).get(path)).collect();
    for answer in &answers {
        refused(answer, 401, "token-not-valid");
        assert_eq!(answer.body, answers[0].body, "an unknown token and another secret are answered alike");
    }
    for header in [
        ("Authorization", format!("Basic {admin}")),
        ("Authorization", admin.to_owned()),
        ("Authorization", format!("Bearer {}", admin.to_uppercase())),
        ("Authorization", format!("Bearer {admin}, Bearer {admin}")),
        ("Authorization", format!("Bearer {}", "x".repeat(4000))),
        ("X-Authorization", format!("Bearer {admin}")),
        ("Proxy-Authorization", format!("Bearer {admin}")),
        ("Cookie", format!("token={admin}; Authorization=Bearer {admin}")),
        ("X-Forwarded-For", "127.0.0.1".to_owned()),
        ("X-HTTP-Method-Override", "GET".to_owned()),
    ] {
        let answer = nobody.get_with(path, &[(header.0, &header.1)]);
        assert_eq!(answer.status, 401, "{}: {}", header.0, answer.text());
    }
    let twice = [("Authorization", &*format!("Bearer {admin}")), ("Authorization", &*format!("Bearer {admin}"))];
    assert_eq!(nobody.get_with(path, &twice).status, 401);
    for query in ["token", "access_token", "authorization", "bearer"] {
        assert_eq!(nobody.get(&format!("{path}?{query}={admin}")).status, 401);
    }
    for (method, path) in [("POST", "/v1/commits"), ("PUT", "/v1/topics/x"), ("DELETE", "/v1/tokens/x"), ("HEAD", path)]
    {
        assert_eq!(nobody.ask(method, path, &[], b"").status, 401, "{method} {path}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(nobody.get(path).status, 200);
    }
    for reason in ["no-token", "unknown-token", "malformed-token"] {
        it.audited(reason, |record| record["reason"] == reason && record["status"] == 401);
    }
}

#[test]
fn a_token_that_is_over_or_revoked_lets_nobody_in_and_ends_what_is_open() {
    let site = Site::new();
    let it = two_tenants(&site);
    let grants = json!([{"scope": "consume", "topics": ["web-*"]}]);
    let (revoked, short) =
        (it.token(&json!({"grants": grants})), it.token(&json!({"grants": grants, "expires": "5s"})));
    let follow = "/v1/topics/web-a/records?from=earliest&follow=true";
    let streams = [
        revoked.1.stream("/v1/topics/web-a/stream?from=earliest", "text/event-stream", &[]),
        short.1.stream("/v1/topics/web-a/stream?from=earliest", "text/event-stream", &[]),
    ];
    let lines = revoked.1.stream(follow, "application/x-ndjson", &[]);
    streams.iter().for_each(|stream| assert!(stream.next_record(wait::PATIENCE).is_some()));
    assert_eq!(it.admin.delete(&format!("/v1/tokens/{}", revoked.0)).status, 200);
    for stream in &streams {
        let error = wait::until("the stream ends with an error", || {
            let event = stream.next_event(wait::PATIENCE).unwrap();
            (event.name.as_deref() == Some("error")).then_some(event)
        });
        assert_eq!(error.json()["type"], "token-not-valid", "{error:?}");
    }
    let last = std::iter::from_fn(|| lines.next_within(wait::PATIENCE)).last().unwrap();
    assert!(last.contains("token-not-valid"), "{last}");
    for (_, client) in [&revoked, &short] {
        refused(&client.get("/v1/topics/web-a/records"), 401, "token-not-valid");
    }
    it.audited("the end of a token", |record| record["reason"] == "expired-token");
    it.audited("who revoked", |record| record["action"] == "tokens.revoke" && record["object"] == json!(revoked.0));
}

#[test]
fn tenants_see_and_touch_nothing_of_each_other() {
    let site = Site::new();
    let it = two_tenants(&site);
    let (_, web) = it.token(&json!({"grants": [{"scope": "admin", "topics": ["web-*"]}]}));
    let names = |list: Value, of: &str| -> Vec<String> {
        list[of].as_array().unwrap().iter().map(|it| text(&it["name"])).collect()
    };
    for (client, name, topic) in [(&it.admin, "db-q", "db-a"), (&web, "web-q", "web-a")] {
        assert_eq!(client.put(&format!("/v1/queues/{name}"), &json!({"topic": topic})).status, 201);
        let commit = json!({"offsets": [{"topic": topic, "partition": 0, "offset": 0}]}).to_string();
        let committed = client.post(&format!("/v1/groups/{name}/commit"), "application/json", &commit);
        assert_eq!(committed.status, 200, "{}", committed.text());
    }
    assert_eq!(names(web.get("/v1/topics").json(), "topics"), ["web-a", "web-q.dead"]);
    assert_eq!(names(web.get("/v1/groups").json(), "groups"), ["web-q"]);
    assert_eq!(names(web.get("/v1/queues").json(), "queues"), ["web-q"]);
    assert_eq!(web.put("/v1/topics/web-b", &json!({})).status, 201);
    let post = |path: &str, body: Value| web.post(path, "application/json", body.to_string());
    let offset = json!({"offsets": [{"topic": "db-a", "partition": 0, "offset": 0}]});
    for answer in [
        web.get("/v1/records?topics=web-a,db-a"),
        web.get("/v1/records?topics=*"),
        web.get("/v1/stream?topics=web-a,db-*"),
        web.get("/v1/groups/db-q"),
        web.get("/v1/groups/web-q/records?topics=db-a"),
        web.delete("/v1/groups/db-q"),
        post("/v1/groups/web-q/commit", offset.clone()),
        post("/v1/groups/web-q/reset", offset),
        post("/v1/groups/web-q/reset", json!({"topics": ["*"], "to": "earliest"})),
        web.put("/v1/queues/web-r", &json!({"topic": "db-a"})),
        web.put("/v1/queues/web-r", &json!({"topic": "web-a", "dead_letter_topic": "db-dead"})),
        post("/v1/queues/db-q/receive", json!({})),
        web.delete("/v1/topics/db-a"),
        web.get("/v1/topics/__skidway.audit"),
        post("/v1/tokens", json!({"name": "x", "grants": [{"scope": "admin"}]})),
    ] {
        refused(&answer, 403, "missing-scope");
    }
    assert_eq!(web.get("/v1/records?topics=web-*").status, 200);
    // A queue of another's topic under one's own name, made by who may.
    assert_eq!(it.admin.put("/v1/queues/web-db", &json!({"topic": "db-a"})).status, 201);
    refused(&post("/v1/queues/web-db/receive", json!({})), 403, "missing-scope");
    // So does a member that somebody else is.
    let page = it.admin.get("/v1/groups/web-q/records?topics=db-a").json();
    let member = text(&page["member"]);
    refused(&web.get(&format!("/v1/groups/web-q/records?member={member}")), 403, "missing-scope");
}

#[test]
fn topics_that_others_attached_to_a_group_or_queue_are_not_named() {
    let site = Site::new();
    let it = two_tenants(&site);
    let (_, web) = it.token(&json!({"grants": [{"scope": "admin", "topics": ["web-*"]}]}));
    // An administrator attaches the other tenant's topics: by commits, by membership, as a queue's topic and for its dead letters.
    let offset = |topic: &str| json!({"topic": topic, "partition": 0, "offset": 0});
    let commit = json!({"offsets": [offset("web-a"), offset("db-a")]}).to_string();
    assert_eq!(it.admin.post("/v1/groups/web-g/commit", "application/json", commit).status, 200);
    let page = it.admin.get("/v1/groups/web-g/records?topics=web-a,db-*").json();
    let member = text(&page["member"]);
    assert_eq!(
        it.admin.put("/v1/queues/web-q", &json!({"topic": "web-a", "dead_letter_topic": "db-dead"})).status,
        201
    );
    assert_eq!(it.admin.put("/v1/queues/web-db", &json!({"topic": "db-a"})).status, 201);
    let post = |path: &str| web.post(path, "application/json", "{}");
    let shown = web.get("/v1/groups/web-g");
    let description = shown.json();
    assert_eq!((&description["partitions"][0]["topic"], &description["lag"]), (&json!("web-a"), &json!(1)));
    assert_eq!(description["members"][0]["topics"], json!(["web-a"]));
    for answer in [
        shown,
        web.get("/v1/groups"),
        web.get("/v1/queues"),
        web.get("/v1/queues/web-q"),
        web.get("/v1/queues/web-db"),
        web.put("/v1/queues/web-q", &json!({"topic": "web-a"})),
        web.put("/v1/queues/web-db", &json!({"lease": "1m"})),
        post("/v1/queues/web-db/receive"),
        post("/v1/queues/web-db/redrive"),
        web.get(&format!("/v1/groups/web-g/records?member={member}")),
        web.delete("/v1/queues/web-db"),
    ] {
        assert!(!answer.text().contains("db-a") && !answer.text().contains("db-*"), "{}", answer.text());
        assert!(!answer.text().contains("db-dead"), "{}", answer.text());
    }
    let all = it.admin.get("/v1/groups/web-g").json();
    assert_eq!(all["members"][0]["topics"], json!(["web-a", "db-*"]), "who may sees all");
    assert_eq!(all["lag"], 2);
    assert_eq!(it.admin.get("/v1/queues/web-q").json()["settings"]["dead_letter_topic"], "db-dead");
}

#[test]
fn a_page_of_another_origin_is_refused_with_a_token_too() {
    let site = Site::new();
    let it = two_tenants(&site);
    let headers =
        [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site"), ("Content-Type", "text/plain")];
    refused(&it.admin.post_with("/v1/topics/web-a/records", &headers, "x"), 403, "origin-not-allowed");
    it.audited("the page", |record| record["reason"] == "origin-not-allowed");
}

#[test]
fn a_beacon_needs_no_token_and_lets_nobody_do_anything_else() {
    let site = Site::new();
    let beacon =
        "[[beacons]]\ntoken = \"4f1d0c6a9b2e47d8\"\ntopic = \"clicks\"\nallowed_origins = [\"https://shop.example\"]\n";
    let it = guarded(&site, beacon);
    let nobody = it.collector.client();
    let path = "/v1/beacons/4f1d0c6a9b2e47d8";
    let shop = [("Origin", "https://shop.example"), ("Sec-Fetch-Site", "cross-site"), ("Content-Type", "text/plain")];
    assert_eq!(nobody.post_with(path, &shop, "one").status, 204);
    let preflight = [("Origin", "https://shop.example"), ("Access-Control-Request-Method", "POST")];
    assert_eq!(nobody.ask("OPTIONS", path, &preflight, b"").status, 200);
    assert_eq!(
        nobody.showing("sk1_0123456789abcdef_x").post(path, "text/plain", "two").status,
        204,
        "none is looked at"
    );
    assert_eq!(nobody.post("/v1/beacons/another-token-x", "text/plain", "x").status, 404);
    let other = [("Origin", "https://evil.example"), ("Content-Type", "text/plain")];
    refused(&nobody.post_with(path, &other, "x"), 403, "origin-not-allowed");
    it.audited("the other page", |record| {
        record["action"] == "beacons.send"
            && record["reason"] == "origin-not-allowed"
            && record["who"]["peer"] == "127.0.0.1"
    });
    // What strangers wrote is read by those who may, and by nobody else.
    refused(&nobody.get("/v1/topics/clicks/records"), 401, "token-required");
    refused(&nobody.post("/v1/topics/clicks/records", "text/plain", "x"), 401, "token-required");
    let (_, reader) = it.scoped("consume", &["clicks"]);
    let page = reader.get("/v1/topics/clicks/records?from=earliest").json();
    let values: Vec<_> = page["records"].as_array().unwrap().iter().map(|record| text(&record["value"])).collect();
    assert_eq!(values, ["one", "two"]);
}

#[test]
fn quotas_bound_rates_storage_and_topics_of_a_token() {
    let site = Site::new();
    let it = guarded(&site, "");
    let produce =
        |quotas: Value| it.token(&json!({"grants": [{"scope": "produce", "topics": ["web-*"]}], "quotas": quotas})).1;
    let post = |client: &Client, topic: &str| {
        client.post(&format!("/v1/topics/{topic}/records"), "text/plain", "x".repeat(4000))
    };
    let few = produce(json!({"requests_per_second": 1}));
    let over = wait::until("a request is one too many", || Some(post(&few, "web-a")).filter(|it| it.status != 200));
    refused(&over, 429, "over-quota");
    assert!(over.retry_after.is_some());
    wait::until("another second has come", || (post(&few, "web-a").status == 200).then_some(()));
    let slow = produce(json!({"bytes_per_second": 1000}));
    assert_eq!(post(&slow, "web-a").status, 200, "what comes first may be large");
    refused(&post(&slow, "web-a"), 429, "over-quota");
    let one = produce(json!({"topics": 1}));
    assert_eq!(post(&one, "web-a").status, 200);
    refused(&post(&one, "web-b"), 403, "topic-quota");
    let small = produce(json!({"storage_bytes": 1}));
    let full = wait::until("the topics are full", || Some(post(&small, "web-a")).filter(|it| it.status != 200));
    refused(&full, 507, "storage-quota");
    it.audited("what was over quota", |record| record["status"] == 429 && record["reason"] == "over-quota");
    assert_eq!(it.admin.get("/v1/topics/web-a").status, 200);
}
