//! Which lines collector and agent log, changed while they run: by their command lines, over HTTP, by SIGHUP.

use std::time::Duration;

use serde_json::json;
use skidway_tests::program::{Program, run};
use skidway_tests::{Site, topic, wait};

/// Waits until a program has logged this.
#[track_caller]
fn wait_said(program: &Program, words: &str) {
    wait::until(&format!("it says {words:?}"), || program.said().contains(words).then_some(()));
}

#[test]
fn a_collectors_level_is_set_lent_and_set_back() {
    let site = Site::new();
    let mut collector = site.collector().with("[log]\nlevel = \"warn\"").started();
    let url = collector.url();
    let level = |args: &[&str]| run("skidway", &[&["--url", &url, "log-level"], args].concat());
    assert_eq!(level(&[]), (Some(0), "warn\n".to_owned()));
    assert!(!collector.program().said().contains("INFO"));

    assert_eq!(level(&["debug"]), (Some(0), "debug until it ends; configured is warn\n".to_owned()));
    collector.client().get("/v1/topics/none");
    wait_said(collector.program(), "DEBUG");
    let said = collector.program().said();
    assert!(
        said.contains("/v1/topics/none") && said.contains("status=404") && said.contains("topic-not-found"),
        "{said}"
    );
    let whole_token = format!("/v1/tokens/sk1_0123456789abcdef_{}", "s3cret".repeat(7));
    collector.client().delete(&whole_token);
    wait_said(collector.program(), "/v1/tokens/sk1_0123456789abcdef***");
    assert!(!collector.program().said().contains("s3cret"));
    assert_eq!(level(&["--reset"]), (Some(0), "warn\n".to_owned()));

    assert!(level(&["info,skidway_collector=trace", "--for", "1s"]).1.contains("trace"));
    wait::until("what was lent is over", || (level(&[]).1 == "warn\n").then_some(()));

    for (args, words) in [
        (&["debgu"][..], "\"debgu\" is no level; of a module, say debgu=debug"),
        (&["debug", "--for", "0s"], "for: expected 1s to 30d"),
        (&["debug", "--for", "31d"], "for: expected 1s to 30d"),
    ] {
        let (code, said) = level(args);
        assert!(code == Some(1) && said.contains(words), "{code:?} {said}");
    }
    let client = collector.client();
    for body in [json!({}), json!({"level": 1}), json!({"level": "info", "until": "x"}), json!(["info"])] {
        assert_eq!(client.put("/v1/log-level", &body).status, 400, "{body}");
    }
    let shown = client.get("/v1/log-level").json();
    assert_eq!(shown, json!({"level": "warn", "configured": "warn", "ends_in_seconds": null}), "nothing has changed");
}

#[test]
fn an_agents_level_is_set_at_its_admin_port_and_by_nobody_elses_page() {
    let site = Site::new();
    let collector = site.collector().started();
    let mut agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log"), "app").started();
    let url = agent.admin_url();
    let level = |args: &[&str]| run("skidway-agent", &[&["log-level", "--url", &url], args].concat());
    assert_eq!(level(&[]), (Some(0), "info\n".to_owned()));
    let (code, said) = level(&["trace", "--for", "1h", "--json"]);
    assert!(code == Some(0) && said.contains("\"level\":\"trace\""), "{said}");
    site.append("logs/a.log", "one\n");
    topic::wait_for(&collector.client(), "app", 1);
    wait_said(agent.program(), "TRACE");
    let left = agent.admin().get("/log-level").json()["ends_in_seconds"].as_u64();
    assert!(left.is_some_and(|left| Duration::from_secs(left) <= Duration::from_secs(3600)), "{left:?}");

    let asked = json!({"level": "off"}).to_string();
    let from_a_page = agent.admin().ask("PUT", "/log-level", &[("Origin", "http://page.example")], asked.as_bytes());
    assert_eq!(from_a_page.status, 403);
    let bomb = format!("{{\"level\": \"{}\"}}", "info,".repeat(2000));
    assert_eq!(agent.admin().ask("PUT", "/log-level", &[], bomb.as_bytes()).status, 413);
    let (code, said) = level(&["loud"]);
    assert!(code == Some(1) && said.contains("\"loud\" is no level"), "{code:?} {said}");
    assert_eq!(level(&["--reset"]), (Some(0), "info\n".to_owned()));
}

#[test]
fn a_level_in_a_configuration_that_is_read_again_holds_from_then_on() {
    let site = Site::new();
    let mut collector = site.collector().with("[log]\nlevel = \"warn\"").started();
    collector.reload("[log]\nlevel = \"debug\"");
    wait_said(collector.program(), "log.level are reloaded");
    collector.client().get("/v1/topics");
    wait_said(collector.program(), "DEBUG");
    let shown = collector.client().get("/v1/log-level").json();
    assert_eq!((&shown["level"], &shown["configured"]), (&json!("debug"), &json!("debug")));

    let input = format!("[[inputs]]\ninclude = [{:?}]\ntopic = \"app\"\n", site.text("logs/*.log"));
    let mut agent = site.agent("a", &collector.url()).with(&input).started();
    agent.reload(&format!("{input}[log]\nlevel = \"debug\"\n"));
    wait_said(agent.program(), "DEBUG");
    assert!(!agent.program().said().contains("restart it"));
}
