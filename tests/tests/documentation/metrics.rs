//! docs/metrics.md lists every metric there is, with its type and labels, and no other: held against the sources and against running programs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regex::Regex;
use skidway_tests::{Document, Site, topic};

/// What the page says of a metric.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed {
    kind: String,
    labels: BTreeSet<String>,
}

/// Gives the rows of the page's tables.
pub(super) fn listed() -> BTreeMap<String, Listed> {
    let rows = Regex::new(r"(?m)^\| `((?:skidway|process)_[a-z0-9_]+)` \| (\w+) \| ([^|]*)\|").unwrap();
    let label = Regex::new("`([a-z_]+)`").unwrap();
    let page = Document::of("docs/metrics.md");
    let mut listed = BTreeMap::new();
    for row in rows.captures_iter(page.text()) {
        let labels = label.captures_iter(&row[3]).map(|label| label[1].to_owned()).collect();
        let before = listed.insert(row[1].to_owned(), Listed { kind: row[2].to_owned(), labels });
        assert_eq!(before, None, "{} is listed once", &row[1]);
    }
    assert!(listed.len() > 80, "the tables are found");
    listed
}

fn sources() -> Vec<String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders: Vec<PathBuf> = ["agent/src", "collector/src", "cli/src", "shared"].map(|it| top.join(it)).to_vec();
    let mut texts = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                texts.push(text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned());
            }
        }
    }
    texts
}

/// Gives the metrics that a kind of macro names, by literal or by constant, with what follows `describe_` or nothing.
fn named(sources: &[String], prefix: &str) -> BTreeMap<String, String> {
    let call =
        Regex::new(&format!(r#"\b{prefix}(counter|gauge|histogram)!\(\s*(?:"([a-z0-9_]+)"|([A-Z_]+))"#)).unwrap();
    let constant = Regex::new(r#"const ([A-Z_]+): &str = "([a-z0-9_]+)";"#).unwrap();
    let mut found = BTreeMap::new();
    for source in sources {
        let constants: BTreeMap<_, _> =
            constant.captures_iter(source).map(|it| (it[1].to_owned(), it[2].to_owned())).collect();
        for call in call.captures_iter(source) {
            let name = call.get(2).map(|name| name.as_str().to_owned());
            if let Some(name) = name.or_else(|| constants.get(&call[3]).cloned()) {
                found.insert(name, call[1].to_owned());
            }
        }
    }
    found
}

#[test]
fn the_page_lists_the_metrics_that_the_sources_describe() {
    let sources = sources();
    let described = named(&sources, "describe_");
    let page: BTreeMap<_, _> = listed().into_iter().map(|(name, listed)| (name, listed.kind)).collect();
    assert_eq!(page, described, "docs/metrics.md against describe_*!");
    for (name, kind) in named(&sources, "") {
        assert_eq!(described.get(&name), Some(&kind), "{name} is described as what it is");
    }
}

#[test]
fn names_follow_the_conventions_of_prometheus() {
    for (name, Listed { kind, .. }) in listed() {
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}: counters, and only they, end in _total");
        let has_unit = name.ends_with("_seconds") || name.ends_with("_bytes");
        assert!(kind != "histogram" || has_unit, "{name}: a histogram ends in its unit, which gives it its buckets");
        for unit in ["_ms", "_millis", "_kb", "_percent", "_minutes"] {
            assert!(!name.ends_with(unit) && !name.contains(&format!("{unit}_")), "{name}: base units");
        }
    }
}

/// Holds an exposition against the page; gives the families in it.
fn check(exposition: &str) -> BTreeSet<String> {
    let listed = listed();
    let family = Regex::new(r"(?m)^# TYPE (\w+) (\w+)$").unwrap();
    let sample = Regex::new(r"(?m)^([a-z0-9_]+)\{([^}]*)\} ").unwrap();
    let label = Regex::new(r#"([a-z_]+)=""#).unwrap();
    let mut families = BTreeSet::new();
    for family in family.captures_iter(exposition) {
        let Some(Listed { kind, .. }) = listed.get(&family[1]) else {
            panic!("{} is not in docs/metrics.md", &family[1])
        };
        assert_eq!(kind, &family[2], "{}", &family[1]);
        assert!(exposition.contains(&format!("# HELP {} ", &family[1])), "{} says what it is", &family[1]);
        families.insert(family[1].to_owned());
    }
    for sample in sample.captures_iter(exposition) {
        let of = |suffix: &str| sample[1].strip_suffix(suffix).and_then(|name| listed.get(name));
        let found = listed.get(&sample[1]).or_else(|| of("_bucket")).or_else(|| of("_sum")).or_else(|| of("_count"));
        let labels: BTreeSet<_> = label.captures_iter(&sample[2]).map(|label| label[1].to_owned()).collect();
        let labels: BTreeSet<_> = labels.into_iter().filter(|label| label != "le").collect();
        assert_eq!(Some(&labels), found.map(|listed| &listed.labels), "labels of {}", &sample[1]);
    }
    families
}

#[test]
fn running_programs_show_what_the_page_lists() {
    let site = Site::new();
    let sink = format!("[[sinks]]\nname = \"files\"\ntopics = [\"app\"]\nurl = \"file://{}\"", site.text("files"));
    let collector = site.collector().with(&sink).started();
    let client = collector.client();
    let agent = site.agent("web-1", &collector.url()).follows(&site.text("logs/*.log"), "app").started();
    site.write("logs/a.log", "one\ntwo\n");
    topic::wait_for(&client, "app", 2);
    assert_eq!(client.get("/v1/topics/nothing").status, 404);
    client.put("/v1/queues/jobs", &serde_json::json!({"topic": "app"}));
    client.post("/v1/queues/jobs/receive", "application/json", "{}");

    let collectors = check(&client.get("/metrics").text());
    let agents = check(&agent.admin().get("/metrics").text());
    let text = client.get("/metrics").text();
    for shown in [
        "skidway_collector_records_total{from=\"agent\"} 2",
        "skidway_collector_agents{state=\"reporting\"} 1",
        "skidway_collector_refusals_total{kind=\"topic-not-found\",fate=\"reject\"} ",
        "skidway_sink_state{sink=\"files\",state=\"running\"} 1",
        "skidway_collector_config_info{durability=\"fsync\"} 1",
    ] {
        assert!(text.contains(shown), "{shown} in\n{text}");
    }
    for name in ["skidway_collector_disk_free_bytes", "skidway_collector_sync_seconds", "process_open_fds"] {
        assert!(collectors.contains(name), "{name}");
    }
    for name in ["skidway_agent_behind_bytes", "skidway_agent_oldest_unacknowledged_seconds", "skidway_build_info"] {
        assert!(agents.contains(name), "{name}");
    }
}
