//! The dashboard and the alert rules: what Grafana and Prometheus are to load is whole, parses, and asks only for metrics that there are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use serde_json::Value;
use skidway_tests::{Document, Site, tools};

use super::metrics::listed;

fn dashboards() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards")
}

/// Runs promtool and expects it to be content.
fn promtool(args: &[&str]) -> String {
    let tools = tools::folder("SKIDWAY_PROMETHEUS_TOOLS", "prometheus-tools", &[]);
    let output = Command::new(tools.join("usr/bin/promtool")).args(args).current_dir(dashboards()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {args:?}: {said}");
    said
}

fn dashboard() -> Value {
    serde_json::from_str(&std::fs::read_to_string(dashboards().join("skidway.json")).unwrap()).unwrap()
}

fn expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

/// Gives the metrics that a text names and no page lists.
fn unknown(text: &str) -> BTreeSet<String> {
    let (listed, name) = (listed(), Regex::new(r"\b(?:skidway|process)_[a-z0-9_]+").unwrap());
    let base = |name: &str| name.strip_suffix("_bucket").unwrap_or(name).to_owned();
    let named = name.find_iter(text).map(|name| base(name.as_str()));
    named.filter(|name| !listed.contains_key(name)).collect()
}

#[test]
fn prometheus_takes_the_alert_rules_and_each_fires_when_it_should() {
    assert!(promtool(&["check", "rules", "alerts.yml"]).contains("SUCCESS"));
    assert!(promtool(&["test", "rules", "alerts-test.yml"]).contains("SUCCESS"));
    let rules = std::fs::read_to_string(dashboards().join("alerts.yml")).unwrap();
    let cases = std::fs::read_to_string(dashboards().join("alerts-test.yml")).unwrap();
    assert_eq!(unknown(&rules), BTreeSet::new());
    let alert = Regex::new(r"- alert: (\w+)").unwrap();
    for alert in alert.captures_iter(&rules) {
        assert!(cases.contains(&format!("name: {} fires", &alert[1])), "{} is seen to fire", &alert[1]);
    }
    assert_eq!(rules.matches("- alert:").count(), rules.matches("runbook: ").count(), "each says what to do");
}

#[test]
fn every_expression_of_the_dashboard_parses_and_asks_for_metrics_that_there_are() {
    let dashboard = dashboard();
    let expressions = expressions(&dashboard);
    assert!(expressions.len() > 30, "the expressions are found");
    let mut rules = String::from("groups: [{ name: dashboard, rules: [\n");
    for (at, expression) in expressions.iter().enumerate() {
        assert_eq!(unknown(expression), BTreeSet::new(), "{expression}");
        let expression = expression.replace("$__rate_interval", "5m").replace("$__range", "6h");
        assert!(
            expression.contains("$collector") || expression.contains("$agent") || expression.contains("build_info")
        );
        rules += &format!("{{ record: 'r:{at}', expr: '{expression}' }},\n");
    }
    let site = Site::new();
    let path = site.write("rules.yml", rules + "]}]\n");
    promtool(&["check", "rules", "--lint=none", &path.display().to_string()]);
}

#[test]
fn grafana_finds_what_it_imports() {
    let dashboard = dashboard();
    for member in
        ["uid", "title", "schemaVersion", "time", "refresh", "panels", "templating", "annotations", "__requires"]
    {
        assert!(!dashboard[member].is_null(), "{member}");
    }
    let variables: BTreeSet<_> =
        dashboard["templating"]["list"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(variables, ["agent", "collector", "datasource"].into());
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "ids are different: {panel}");
        let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{panel}");
        for (x, y) in (place("x")..place("x") + place("w"))
            .flat_map(|x| (place("y")..place("y") + place("h")).map(move |y| (x, y)))
        {
            assert!(taken.insert((x, y)), "panels do not lie upon each other: {panel}");
        }
        let kind = panel["type"].as_str().unwrap();
        assert!(["row", "stat", "timeseries"].contains(&kind), "{kind}");
        if kind != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
            assert!(
                !panel["targets"].as_array().unwrap().is_empty()
                    && panel["description"].as_str().is_some_and(|it| it.len() > 5)
            );
        }
    }
}

#[test]
fn the_page_names_the_files() {
    let page = Document::of("docs/metrics.md");
    assert!(page.text().contains("dashboards/skidway.json") && page.text().contains("dashboards/alerts.yml"));
}
