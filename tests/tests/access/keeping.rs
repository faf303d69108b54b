//! What was made, revoked or enrolled stays so whatever is killed.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::{Value, json};
use skidway_tests::document::shell;
use skidway_tests::program::{run, run_with};
use skidway_tests::{Agent, Document, Site, topic, wait};

use super::{Guarded, guarded, text};

#[test]
fn tokens_are_made_listed_and_revoked_and_stay_so_when_the_collector_is_killed() {
    let site = Site::new();
    let mut it = guarded(&site, "");
    let (code, made) =
        it.skidway(&["tokens", "create", "--name", "ci", "--scope", "admin", "--topics", "ci-*", "--json"]);
    assert_eq!(code, Some(0));
    let made: Value = serde_json::from_str(&made).unwrap();
    let (secret, id) = (text(&made["token"]), text(&made["summary"]["id"]));
    let (code, plain) = it.skidway(&["tokens", "create", "--name", "b", "--scope", "consume=a,b-*", "--expires", "1d"]);
    assert_eq!((code, plain.trim().len()), (Some(0), secret.len()), "the token alone");
    it.collector.program().kill9();
    it.collector.start();
    let holder = it.collector.client().showing(&secret);
    assert_eq!(holder.put("/v1/topics/ci-a", &json!({})).status, 201);
    let (_, list) = it.skidway(&["tokens"]);
    assert!(list.contains(&id) && list.contains("admin=ci-*") && list.contains("consume=a,b-*"), "{list}");
    assert!(!list.contains(secret.rsplit_once('_').unwrap().1), "{list}");
    assert_eq!(it.skidway(&["tokens", "revoke", &id]).0, Some(0));
    it.collector.program().kill9();
    it.collector.start();
    assert_eq!(holder.get("/v1/topics").status, 401);
    assert_eq!(it.skidway(&["tokens", "revoke", &id]).0, Some(1));
    for action in ["tokens.make", "topics.put", "tokens.revoke"] {
        it.audited(action, |record| record["action"] == action && record["outcome"] == "done");
    }
}

#[test]
fn a_collector_without_an_administrator_says_how_to_make_one() {
    let site = Site::new();
    let config = site.write(
        "c.toml",
        format!(
            "[collector]\ndata_dir = {:?}\n[http]\nlisten = \"127.0.0.1:0\"\n[access]\nmode = \"tokens\"\n",
            site.path("data")
        ),
    );
    let (code, said) = run("skidway-collector", &["run", "--config", &config.display().to_string()]);
    assert!(code == Some(1) && said.contains("skidway tokens generate >"), "{said}");
    let (_, token) = run("skidway", &["tokens", "generate"]);
    std::fs::create_dir(site.path("creds")).unwrap();
    site.write("creds/admin", &token);
    let variables = [
        ("CREDENTIALS_DIRECTORY", &*site.text("creds")),
        ("SKIDWAY_COLLECTOR__ACCESS__ADMIN_TOKEN_FILE", "credential:nothing"),
    ];
    let (code, said) = run_with("skidway-collector", &["run", "--config", &config.display().to_string()], &variables);
    assert!(code == Some(1) && said.contains("creds/nothing"), "{said}");
    let mut collector = site.collector().with("[access]\nmode = \"tokens\"\nadmin_token_file = \"credential:admin\"");
    collector = collector.with_variable("CREDENTIALS_DIRECTORY", site.text("creds"));
    let collector = collector.started();
    assert_eq!(collector.client().showing(token.trim()).get("/v1/tokens").status, 200);
    let asked = ["--url", &collector.url(), "--token-file", "credential:admin", "tokens"];
    let (code, said) = run_with("skidway", &asked, &variables[..1]);
    assert!(code == Some(0) && said.contains("admin_token_file"), "{said}");
    let (code, said) = run("skidway", &asked);
    assert!(code == Some(1) && said.contains("LoadCredential=admin"), "{said}");
}

#[test]
fn another_administrators_token_counts_after_a_reload_and_a_file_without_one_changes_nothing() {
    let site = Site::new();
    let mut it = guarded(&site, "");
    it.admin.put("/v1/topics/t", &json!({}));
    let stream = it.admin.stream("/v1/topics/t/stream", "text/event-stream", &[]);
    let says = |it: &mut Guarded, words: &str| {
        wait::until(words, || it.collector.program().said().contains(words).then_some(()));
    };
    site.write("admin-token", "hidden nonsense");
    it.collector.program().hang_up();
    says(&mut it, "keeping the administrator's token read before");
    assert_eq!(it.admin.get("/v1/tokens").status, 200);
    let (_, token) = run("skidway", &["tokens", "generate"]);
    site.write("admin-token", &token);
    std::fs::set_permissions(&it.admin_file, std::fs::Permissions::from_mode(0o644)).unwrap();
    it.collector.program().hang_up();
    let new = it.collector.client().showing(token.trim());
    wait::until("the new token is known", || (new.get("/v1/tokens").status == 200).then_some(()));
    assert_eq!(it.admin.get("/v1/tokens").status, 401, "the old one is not");
    wait::until("what was open with the old one ends", || {
        (stream.next_event(wait::PATIENCE).unwrap().name.as_deref() == Some("error")).then_some(())
    });
    says(&mut it, "admin-token; chmod o-rwx it");
    let said = it.collector.program().said();
    assert!(!said.contains("hidden") && !said.contains(token.trim().rsplit('_').next().unwrap()), "{said}");
}

#[test]
fn where_nobody_is_asked_there_are_no_tokens() {
    let site = Site::new();
    let collector = site.collector().started();
    let client = collector.client();
    let answer = client.post("/v1/tokens", "application/json", r#"{"name":"x","grants":[{"scope":"admin"}]}"#);
    assert_eq!((answer.status, answer.json()["type"].as_str()), (409, Some("access-is-open")));
    assert_eq!(client.post("/v1/topics/t/records", "text/plain", "x").status, 200);
    assert_eq!(client.get("/v1/topics").json()["topics"].as_array().unwrap().len(), 1, "and no topic of ours");
}

/// Makes a join token, and puts it into a file.
pub(super) fn join(it: &Guarded, site: &Site, file: &str, args: &[&str]) -> String {
    let (code, token) = it.skidway(&[&["tokens", "join"], args].concat());
    assert_eq!(code, Some(0), "{token}");
    site.write(file, &token);
    token.trim().to_owned()
}

/// An agent that enrols.
pub(super) fn joining(it: &Guarded, site: &Site, id: &str, file: &str) -> Agent {
    let join = format!("join_token_file = {:?}", site.path(file));
    site.agent(id, &it.collector.url()).with(&join).follows(&site.text("logs/*.log"), "web-app")
}

#[test]
fn an_agent_enrols_once_ships_is_revoked_keeps_its_lines_and_goes_on_when_it_has_enrolled_again() {
    let site = Site::new();
    let mut it = guarded(&site, "");
    join(&it, &site, "join", &["--topics", "web-*"]);
    let mut agent = joining(&it, &site, "web-1", "join").started();
    site.append("logs/a.log", "one\n");
    topic::wait_for(&it.admin, "web-app", 1);
    let file = agent.state_dir().join("credential");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    wait::until("it is known to be enrolled", || {
        (std::fs::read_to_string(&file).unwrap().lines().count() == 1).then_some(())
    });
    // The token was for one agent, and is not needed any more.
    site.remove("join");
    it.collector.program().kill9();
    agent.program().kill9();
    it.collector.start();
    agent.start();
    agent.wait_ready();
    site.append("logs/a.log", "two\n");
    topic::wait_for(&it.admin, "web-app", 2);
    let credential = |it: &Guarded| {
        let list = it.admin.get("/v1/tokens").json();
        let own = list["tokens"].as_array().unwrap().iter().find(|it| it["kind"] == "agent").cloned();
        own.map(|own| text(&own["id"]))
    };
    let first = credential(&it).unwrap();
    assert_eq!(it.skidway(&["tokens", "revoke", &first]).0, Some(0));
    site.append("logs/a.log", "three\n");
    let why = wait::until("the agent says that it is not let in", || {
        agent.status().and_then(|status| status["refused"].as_str().map(str::to_owned))
    });
    assert!(why.contains("401"), "{why}");
    assert!(agent.program().said().contains("does not let this agent in"));
    join(&it, &site, "join", &["--topics", "web-*"]);
    topic::wait_for(&it.admin, "web-app", 3);
    assert_ne!(credential(&it).unwrap(), first);
    let values: Vec<_> = topic::read(&it.admin, "web-app").into_iter().map(|it| it.value.unwrap()).collect();
    assert_eq!(values, ["one", "two", "three"]);
    it.audited("who enrolled", |record| record["action"] == "agents.enrol" && record["object"] == "web-1");
}

#[test]
fn a_join_token_enrols_as_often_as_it_says_and_does_nothing_else() {
    let site = Site::new();
    let it = guarded(&site, "");
    let token = join(&it, &site, "join", &["--agents", "web-?"]);
    let client = it.collector.client().showing(&token);
    let enrol = |agent: &str, id: &str, digit: &str| {
        let body = json!({"id": id, "sha256": digit.repeat(64)}).to_string();
        let answer = client.post(&format!("/v1/agents/{agent}/enrol"), "application/json", &body);
        (answer.status, answer.json()["type"].as_str().map(str::to_owned))
    };
    let kind = |kind: &str| Some(kind.to_owned());
    assert_eq!(enrol("db-1", "0000000000000001", "a"), (403, kind("other-agent")));
    assert_eq!(enrol("web-1", "0000000000000001", "a"), (200, None));
    assert_eq!(enrol("web-1", "0000000000000001", "a"), (200, None), "an answer that was lost");
    assert_eq!(enrol("web-1", "0000000000000001", "b").0, 400, "with another secret");
    assert_eq!(enrol("web-1", "0000000000000002", "b"), (409, kind("agent-enrolled")));
    assert_eq!(enrol("web-2", "0000000000000002", "b"), (403, kind("join-token-used-up")));
    for path in ["/v1/topics", "/v1", "/v1/agents"] {
        assert_eq!(client.get(path).json()["type"], "wrong-kind-of-token", "{path}");
    }
    let other = it.admin.post("/v1/agents/web-3/enrol", "application/json", "{}");
    assert_eq!((other.status, other.json()["type"].as_str()), (403, Some("wrong-kind-of-token")));
    it.audited("a bad enrolment", |record| record["action"] == "agents.enrol" && record["outcome"] == "refused");
}

#[test]
fn an_agent_ships_as_itself_alone_and_to_its_topics_alone() {
    let site = Site::new();
    let it = guarded(&site, "");
    let ask = json!({"grants": [{"scope": "commit", "topics": ["web-*"]}], "agent": "web-1"});
    let (_, own) = it.token(&ask);
    for path in ["/v1/agents/web-2/session", "/v1/agents/web-2/enrol"] {
        assert_eq!(own.post(path, "application/octet-stream", "x").status, 403, "{path}");
    }
    let sources = own.get("/v1/agents/web-2/sources");
    assert_eq!((sources.status, sources.json()["type"].as_str()), (403, Some("other-agent")));
    assert_eq!(own.get("/v1/agents/web-1/sources").status, 200);
    assert_eq!(own.get("/v1/topics/web-a/records").status, 403);
    it.audited("the other agent", |record| record["reason"] == "other-agent" && record["object"] == "web-2");
    // Files of topics that it may not ship to wait, others do not.
    join(&it, &site, "join", &["--topics", "web-*"]);
    let mut agent = joining(&it, &site, "web-7", "join");
    agent = agent.follows(&site.text("logs/*.txt"), "db-app").started();
    site.append("logs/a.txt", "kept\n");
    site.append("logs/a.log", "shipped\n");
    topic::wait_for(&it.admin, "web-app", 1);
    let trouble = wait::until("the other file waits", || {
        let status = agent.status()?;
        let file = status["files"].as_array()?.iter().find(|file| file["topic"] == "db-app")?.clone();
        file["trouble"].as_str().map(str::to_owned)
    });
    assert!(trouble.contains("commit on db-app"), "{trouble}");
    assert_eq!(it.admin.get("/v1/topics/db-app").status, 404);
}

#[test]
fn an_agent_over_its_quota_slows_down_and_loses_nothing() {
    let site = Site::new();
    let it = guarded(&site, "");
    join(&it, &site, "join", &["--requests-per-second", "3"]);
    let agent = joining(&it, &site, "web-1", "join").started();
    for at in 0..30 {
        site.append("logs/a.log", format!("line {at}\n"));
        wait::pause(Duration::from_millis(20));
    }
    topic::wait_for(&it.admin, "web-app", 30);
    let values: Vec<_> = topic::read(&it.admin, "web-app").into_iter().map(|it| it.value.unwrap()).collect();
    assert_eq!(values, (0..30).map(|at| format!("line {at}")).collect::<Vec<_>>());
    drop(agent);
}

#[test]
fn every_command_of_the_page_about_security_runs() {
    let site = Site::new();
    let it = guarded(&site, "");
    let blocks = Document::of("docs/security.md").blocks("sh");
    let said: String = blocks.iter().map(|block| shell(block, &it.collector, &site.path(""))).collect();
    for words in ["revoked token", "\"action\":\"tokens.make\"", "\"status\":401"] {
        assert!(said.contains(words), "{words} in {said}");
    }
}
