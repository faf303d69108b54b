//! A client's certificate where tokens are asked for: who it names ships as that agent and does nothing else; what TLS refuses is written down.

use std::path::PathBuf;

use serde_json::json;
use skidway_tests::raw::Raw;
use skidway_tests::tls::{Authority, Issued};
use skidway_tests::wait::PATIENCE;
use skidway_tests::{Agent, Client, Site, topic, wait};

use super::{Guarded, guarded_by, text};

/// Starts a collector that asks for tokens, and takes certificates of an authority instead; `lines` are further ones of `[http.tls]`.
fn with_certificates(site: &Site, authority: &Authority, lines: &str) -> Guarded {
    let ca = site.write("ca.pem", &authority.pem);
    let lines = format!("client_auth = \"optional\"\nclient_ca_file = {ca:?}\n{lines}");
    guarded_by(site, site.collector().with_tls(site, authority, &lines, None))
}

/// Prepares an agent that has no token and shows a certificate.
fn agent(it: &Guarded, site: &Site, id: &str, [ca, cert, key]: &[PathBuf; 3]) -> Agent {
    let tls = format!("[collector.tls]\nca_file = {ca:?}\ncert_file = {cert:?}\nkey_file = {key:?}");
    site.agent(id, &it.collector.url()).with(&tls).follows(&site.text("logs/*.log"), "app")
}

fn refused_for(agent: &Agent) -> Option<String> {
    agent.status()?["refused"].as_str().map(str::to_owned)
}

#[test]
fn an_agent_ships_by_its_certificate_alone_and_as_nobody_else() {
    let (site, authority) = (Site::new(), Authority::new());
    let it = with_certificates(&site, &authority, "");
    let own = authority.issue("web-1");
    let mut agent = agent(&it, &site, "web-1", &authority.write(&site, "agent", &own));
    agent.start();
    site.append("logs/a.log", "one\ntwo\n");
    topic::wait_for(&it.admin, "app", 2);
    assert!(!agent.state_dir().join("credential").exists(), "it needs no credential");
    assert_eq!(refused_for(&agent), None);
    let client = Client::trusting(it.collector.url(), &authority.pem, Some(&own));
    assert_eq!(client.get("/v1/agents/web-1/sources").status, 200);
    let agents = client.get("/v1/agents").json();
    assert_eq!(agents["agents"].as_array().map(Vec::len), Some(1), "{agents}");
    for (path, kind) in [
        ("/v1/agents/web-2/sources", "other-agent"),
        ("/v1/topics/app/records", "missing-scope"),
        ("/v1/topics/__skidway.audit/records", "missing-scope"),
        ("/v1/tokens", "missing-scope"),
        ("/metrics", "missing-scope"),
    ] {
        let answer = client.get(path);
        assert_eq!((answer.status, answer.json()["type"].as_str()), (403, Some(kind)), "{path}");
    }
    let enrolling = client.post("/v1/agents/web-1/enrol", "application/json", "{}");
    assert_eq!(enrolling.json()["type"], "wrong-kind-of-token", "a certificate enrols nobody");
    let record = it.audited("the other agent", |record| record["reason"] == "other-agent");
    assert_eq!((&record["who"]["certificate"], &record["object"]), (&json!("web-1"), &json!("web-2")));
    // A token that is sent counts, and not the certificate.
    assert_eq!(client.showing("sk1_0123456789abcdef_x").get("/v1/agents/web-1/sources").status, 401);
    assert_eq!(Client::trusting(it.collector.url(), &authority.pem, None).get("/v1/topics").status, 401);
}

#[test]
fn an_agent_with_anothers_certificate_is_refused_says_why_and_delivers_once_it_has_its_own() {
    let (site, authority) = (Site::new(), Authority::new());
    let it = with_certificates(&site, &authority, "");
    let files = authority.write(&site, "agent", &authority.issue("web-1"));
    let mut agent = agent(&it, &site, "web-2", &files);
    site.append("logs/a.log", "one\ntwo\n");
    agent.start();
    let why = wait::until("the agent says that it is not let in", || refused_for(&agent));
    assert!(why.contains("403") && why.contains("web-1") && why.contains("web-2"), "{why}");
    assert!(agent.program().said().contains("does not let this agent in"));
    let record = it.audited("who wanted to be another", |record| record["reason"] == "other-agent");
    assert_eq!((&record["who"]["certificate"], &record["object"]), (&json!("web-1"), &json!("web-2")));
    assert_eq!(it.admin.get("/v1/topics/app").status, 404, "nothing came of it");
    // The files alone are exchanged: it looks at them because it is refused.
    authority.write(&site, "agent", &authority.issue("web-2"));
    topic::wait_for(&it.admin, "app", 2);
    assert_eq!(topic::values(&it.admin, "app"), ["one", "two"]);
    wait::until("it says no more that it is refused", || refused_for(&agent).is_none().then_some(()));
}

#[test]
fn an_agent_whose_certificate_is_revoked_keeps_its_lines_until_it_has_another() {
    let (site, authority) = (Site::new(), Authority::new());
    let crl = site.write("crl.pem", authority.revoke(&[]));
    let mut it = with_certificates(&site, &authority, &format!("client_crl_file = {crl:?}"));
    let revoked = authority.issue("web-1");
    let mut agent = agent(&it, &site, "web-1", &authority.write(&site, "agent", &revoked));
    agent.start();
    site.append("logs/a.log", "one\n");
    topic::wait_for(&it.admin, "app", 1);
    site.write("crl.pem", authority.revoke(&[&revoked]));
    it.collector.program().stop();
    it.collector.start();
    site.append("logs/a.log", "two\n");
    wait::until("it says why", || agent.program().said().contains("and not revoked").then_some(()));
    let record = it.audited("the revoked certificate", |record| record["reason"] == "revoked-certificate");
    let told = (&record["action"], &record["outcome"], &record["status"], &record["who"]["peer"]);
    assert_eq!(told, (&json!("connect"), &json!("refused"), &json!(0), &json!("127.0.0.1")));
    authority.write(&site, "agent", &authority.issue("web-1"));
    topic::wait_for(&it.admin, "app", 2);
    assert_eq!(topic::values(&it.admin, "app"), ["one", "two"]);
}

#[test]
fn strange_certificates_and_less_than_tls_are_refused_and_written_down() {
    let (site, authority) = (Site::new(), Authority::new());
    let it = with_certificates(&site, &authority, "");
    let try_with = |own: &Issued| {
        let client = Client::trusting(it.collector.url(), &authority.pem, Some(own));
        client.try_get("/healthz", &[]).map(|answer| answer.status)
    };
    assert_eq!(try_with(&Authority::new().issue("web-1")), None, "of an unknown authority");
    it.audited("the unknown authority", |record| record["reason"] == "bad-certificate");
    assert_eq!(try_with(&authority.issue_ended("web-1")), None, "out of date");
    // Plain HTTP on this port: a token that is sent so has been read by others, and is not looked at.
    let admin = std::fs::read_to_string(&it.admin_file).unwrap();
    let mut plain = Raw::connect(it.collector.port());
    plain.send(format!("GET /v1/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", admin.trim()));
    let answer = plain.reaction(PATIENCE);
    assert_eq!(answer.status(), 400, "{answer:?}");
    it.audited("plain HTTP", |record| record["reason"] == "tls-required" && record["status"] == 400);
    let mut old = Raw::connect(it.collector.port());
    old.send(crate::tls::hello([3, 2]));
    assert!(old.closes_within(PATIENCE), "TLS 1.1");
    let record = it.audited("the old version", |record| record["reason"] == "old-version");
    assert_eq!((text(&record["action"]), text(&record["outcome"])), ("connect".to_owned(), "refused".to_owned()));
}
