//! The HTTP interface against its own description: what schemathesis tries, and every refusal that is described.

mod refusals;
mod let_in;
mod elsewhere;

use std::path::Path;
use std::process::Command;

use skidway_tests::{Collector, Site, scale, tools};

/// Of the beacon in [`serving`].
const TOKEN: &str = "4f1d0c6a9b2e47d8";

/// A collector that has one of everything.
fn serving(site: &Site, keys: &str) -> Collector {
    let sink =
        format!("[[sinks]]\nname = \"archive\"\ntopics = [\"app\"]\nurl = \"file://{}\"\n", site.path("out").display());
    let beacon = format!("[[beacons]]\ntoken = \"{TOKEN}\"\ntopic = \"clicks\"\nrequests_per_second = 1000000\n");
    let collector =
        site.collector().with(&format!("{keys}{sink}{beacon}client_requests_per_second = 1000000")).started();
    for topic in ["app", "logs", "gone"] {
        let settings = serde_json::json!({"partitions": 2});
        assert_eq!(collector.client().put(&format!("/v1/topics/{topic}"), &settings).status, 201);
        let path = format!("/v1/topics/{topic}/records");
        assert_eq!(collector.client().post(&path, "text/plain", "one\ntwo\nthree\n").status, 200);
    }
    collector
}

#[test]
fn whatever_schemathesis_tries_is_answered_as_described() {
    let site = Site::new();
    let mut collector = serving(&site, "");
    let tools = tools::folder("SKIDWAY_API_TOOLS", "api-tools", &[]);
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api");
    let (examples, seed) = (scale::amount(1000, 20).to_string(), scale::seed().to_string());
    let mut schemathesis = Command::new(tools.join("python/bin/st"));
    schemathesis
        .args(["--config-file", &here.join("schemathesis.toml").display().to_string(), "run"])
        .arg(format!("{}/openapi.json", collector.url()))
        .args(["--phases", "coverage,fuzzing", "--max-examples", &examples, "--seed", &seed])
        .args(["--exclude-checks", "positive_data_acceptance", "--request-timeout", "60", "--continue-on-failure"])
        // Agents' own protocol, which is binary: its frames have a fuzzer of their own.
        .args(["--exclude-path-regex", "^/v1/(commits|agents/.*)$"])
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", &here)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(site.path(""));
    let said = schemathesis.output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{text}\n{}", String::from_utf8_lossy(&said.stderr));
    assert!(collector.program().runs());
}
