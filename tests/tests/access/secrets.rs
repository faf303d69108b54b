//! No secret is anywhere that it should not be: not in logs at the finest level, answers, errors, status, metrics, topics of ours, what the
//! command line prints, support bundles, or files.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use skidway_tests::program::binary;
use skidway_tests::raw::Raw;
use skidway_tests::tls::{Authority, Issued};
use skidway_tests::wait::PATIENCE;
use skidway_tests::{Agent, Site, topic};

use super::keeping::{join, joining};
use super::{Guarded, guarded_by, text};
use crate::doctor::unpacked;

/// Collects what was put out, by where.
#[derive(Default)]
struct Outputs(Vec<(String, String)>);

impl Outputs {
    fn add(&mut self, name: impl Into<String>, text: impl Into<String>) {
        self.0.push((name.into(), text.into()));
    }

    /// Runs `skidway` as the administrator; gives what it printed on both ways.
    fn of_command(&mut self, it: &Guarded, args: &[&str]) -> String {
        let mut command = Command::new(binary("skidway"));
        command.args(["--url", &it.collector.url(), "--token-file"]).arg(&it.admin_file);
        let output = command.arg("--ca-file").arg(it.ca_file()).args(args).output().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        self.add(args.join(" "), &said);
        said
    }

    #[track_caller]
    fn hold_none_of(&self, secrets: &[String]) {
        for (name, text) in &self.0 {
            assert!(!text.is_empty(), "{name} is something to look through");
            assert!(!secrets.iter().any(|secret| text.contains(secret.as_str())), "a secret is in {name}");
        }
    }
}

/// Names the files below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() { files(&entry.path(), found) } else { found.push(entry.path()) }
    }
}

/// Gives the secret part of a token.
fn secret(token: &str) -> String {
    let secret = token.trim().lines().next().unwrap()[21..].to_owned();
    assert_eq!(secret.len(), 43);
    secret
}

/// Gives a line of a private key, in the middle of it.
fn line_of(issued: &Issued) -> String {
    let line = issued.key.lines().nth(1).unwrap().to_owned();
    assert!(line.len() > 40 && !line.contains("PRIVATE"), "a line of a key");
    line
}

/// Does with a token whatever might put it out, and has it revoked; gives its secret.
fn abuse(it: &Guarded, outputs: &mut Outputs) -> String {
    let ask = json!({"name": "marked", "grants": [{"scope": "consume", "topics": ["web-*"]}]}).to_string();
    let marked = text(&it.admin.post("/v1/tokens", "application/json", ask).json()["token"]);
    let holder = it.collector.client().showing(&marked);
    let twice = [("Authorization", marked.as_str())];
    let strange =
        it.admin.post("/v1/tokens", "application/json", format!("{{\"name\":\"x\",\"secret\":\"{marked}\"}}"));
    assert_eq!(strange.status, 400, "{}", strange.text());
    let id = marked.split('_').nth(1).unwrap();
    let mut answers = vec![
        holder.get("/v1/topics/db/records"),
        holder.get("/v1/topics"),
        it.collector.client().get_with("/v1/topics", &twice),
        it.admin.get("/v1/tokens"),
        it.admin.delete(&format!("/v1/tokens/{id}")),
        holder.get("/v1/topics"),
    ];
    answers.extend(["", "/records", "/table/k"].map(|rest| it.admin.get(&format!("/v1/nothing/{id}{rest}"))));
    for answer in answers {
        outputs.add("an answer", answer.text());
    }
    // These say again what was asked, to who asked it; nobody else may see it.
    holder.get(&format!("/v1/topics/{marked}/records"));
    holder.get(&format!("/v1/topics/web-app/records?token={marked}"));
    holder.get(&format!("/v1/groups/{marked}"));
    it.admin.delete(&format!("/v1/tokens/{marked}"));
    it.audited("the revoked token", |record| record["reason"] == "unknown-token");
    secret(&marked)
}

/// Collects what collector, agent and command line have to say while they run.
fn listen(it: &Guarded, site: &Site, agent: &Agent, outputs: &mut Outputs) {
    for path in ["/v1", "/v1/topics", "/v1/agents", "/v1/tokens", "/v1/sinks", "/metrics", "/readyz", "/openapi.json"] {
        outputs.add(path, it.admin.get(path).text());
    }
    for topic in ["audit", "tokens"] {
        let page = it.admin.get(&format!("/v1/topics/__skidway.{topic}/records?max_records=10000"));
        outputs.add(topic, page.text());
    }
    for path in ["/status", "/metrics"] {
        outputs.add(format!("agent {path}"), agent.admin().get(path).text());
    }
    outputs.of_command(it, &["tokens"]);
    outputs.of_command(it, &["tokens", "list", "--json"]);
    outputs.of_command(it, &["tail", "__skidway.audit", "--from", "earliest", "--no-follow"]);
    outputs.of_command(it, &["doctor", "--agent", &agent.admin_url(), "--config", &site.text("web-1.toml")]);
    let bundle = site.text("bundle.tar.gz");
    let (collector, agent_config) = (site.text("collector.toml"), site.text("web-1.toml"));
    let (log, agent_log) = (site.text("collector.log"), site.text("web-1.log"));
    let args = ["support-bundle", "--output", &bundle, "--agent", &agent.admin_url(), "--config", &collector];
    let more = ["--config", &agent_config, "--log", &log, "--log", &agent_log];
    outputs.of_command(it, &[&args[..], &more].concat());
    let text = unpacked(Path::new(&bundle), &site.path("unpacked"));
    assert!(text.contains("DEBUG") && text.contains("admin_token_file"), "logs and configuration are in it");
    outputs.add("the support bundle", text);
}

#[test]
fn no_secret_is_in_any_output_log_or_file_but_its_own() {
    let (site, authority) = (Site::new(), Authority::new());
    let ca = site.write("ca.pem", &authority.pem);
    let tls = format!("client_auth = \"optional\"\nclient_ca_file = {ca:?}\n[log]\nlevel = \"trace\"");
    let mut it = guarded_by(&site, site.collector().with_tls(&site, &authority, &tls, None));
    let server_key = std::fs::read_to_string(site.path("server-key.pem")).unwrap();
    let server = Issued { certificate: String::new(), key: server_key, serial: 0 };
    let join_token = join(&it, &site, "join", &[]);
    let trust = format!("[collector.tls]\nca_file = {ca:?}\n[log]\nlevel = \"trace\"");
    let mut agent = joining(&it, &site, "web-1", "join").with(&trust).started();
    let certified = authority.issue("web-2");
    let [_, cert, key] = authority.write(&site, "agent", &certified);
    let tls = format!("[collector.tls]\nca_file = {ca:?}\ncert_file = {cert:?}\nkey_file = {key:?}");
    let other = site.agent("web-2", &it.collector.url()).with(&tls).with("[log]\nlevel = \"trace\"");
    let mut other = other.follows(&site.text("others/*.log"), "web-app").started();
    site.append("logs/a.log", "one\n");
    site.append("others/a.log", "two\n");
    topic::wait_for(&it.admin, "web-app", 2);

    let mut outputs = Outputs::default();
    let marked = abuse(&it, &mut outputs);
    listen(&it, &site, &agent, &mut outputs);
    // What is no handshake is told at a fine level, but for the first one.
    for _ in 0..2 {
        let mut raw = Raw::connect(it.collector.port());
        raw.send(b"\x80nonsense");
        assert!(raw.closes_within(PATIENCE));
    }
    for program in [agent.program(), other.program(), it.collector.program()] {
        program.stop();
        let said = program.said();
        assert!(said.contains("DEBUG"), "the finest level is on");
        outputs.add("a log", said);
    }
    let own = std::fs::read_to_string(agent.state_dir().join("credential")).unwrap();
    let admin = std::fs::read_to_string(&it.admin_file).unwrap();
    let mut secrets = vec![marked, secret(&join_token), secret(&own), secret(&admin)];
    secrets.extend([line_of(&server), line_of(&certified)]);
    outputs.hold_none_of(&secrets);
    let mut all = Vec::new();
    files(&site.path("data"), &mut all);
    assert!(!all.is_empty());
    for path in all {
        let bytes = std::fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let found = secrets.iter().any(|secret| text.contains(secret.as_str()));
        assert!(!found, "a secret is in {}", path.display());
    }
}
