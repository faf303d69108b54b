//! What docs/groups.md shows works as it is written there.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use serde_json::json;
use skidway_tests::document::shell;
use skidway_tests::{Document, wait};

use super::{serving, show};

#[test]
fn the_documents_commands_do_what_it_says() {
    let (site, collector, client) = serving("");
    client.put("/v1/topics/orders", &json!({"partitions": 2}));
    client.post("/v1/topics/orders/records", "application/x-ndjson", "{\"value\":\"a\"}\n{\"value\":\"b\"}\n");
    let scripts = Document::of("docs/groups.md").blocks("sh");
    assert_eq!(scripts.len(), 4, "following, committing, storing what was made, looking");

    let said = shell(&scripts[0], &collector, &site.path(""));
    assert!(said.contains("\"assignment\"") && said.contains("\"value\":\"b\""), "{said}");

    let said = shell(&scripts[1], &collector, &site.path(""));
    assert!(said.starts_with("{\"committed\":["), "{said}");
    assert_eq!(show(&client, "audit")["lag"], 0);

    let said = shell(&scripts[2], &collector, &site.path(""));
    assert!(said.starts_with("{\"offsets\":["), "{said}");
    assert_eq!(show(&client, "pipeline")["lag"], 0);
    let made = client.get("/v1/topics/shouted/records").json();
    let values: BTreeSet<_> =
        made["records"].as_array().unwrap().iter().filter_map(|it| it["value"].as_str()).collect();
    assert!(values.contains("A") && values.contains("B"), "{made}");

    // Who asked for a page is a member for a while yet, so its group cannot be forgotten already.
    let looking = scripts[3].replace("skidway groups delete audit --yes", "");
    let said = shell(&looking, &collector, &site.path(""));
    for words in
        ["\"groups\":[", "\"committed_offset\"", "\"dry_run\":true", "GROUP", "COMMITTED", "orders partition 0:"]
    {
        assert!(said.contains(words), "{words} in {said}");
    }
}

#[test]
fn the_documents_consumer_commits_what_it_printed() {
    let (_site, collector, client) = serving("");
    client.put("/v1/topics/orders", &json!({"partitions": 2}));
    let lines: String = (0..1200).map(|at| format!("{{\"value\":\"order {at}\"}}\n")).collect();
    client.post("/v1/topics/orders/records", "application/x-ndjson", lines);
    let script = Document::of("docs/groups.md").blocks("python").remove(0);
    let mut consumer = Command::new("python3")
        .args(["-u", "-c", &script])
        .env("SKIDWAY_URL", collector.url())
        .env("no_proxy", "127.0.0.1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // What is printed must be taken, or the consumer stands still.
    let mut printed = consumer.stdout.take().unwrap();
    let reading = std::thread::spawn(move || std::io::read_to_string(&mut printed).unwrap());
    wait::until("all but the last page is committed", || {
        let group = show(&client, "billing");
        (group["partitions"].as_array().is_some_and(|it| it.len() == 2) && group["lag"] == 0).then_some(())
    });
    consumer.kill().unwrap();
    consumer.wait().unwrap();
    let printed = reading.join().unwrap();
    assert_eq!(printed.lines().filter(|line| line.starts_with("orders ")).count(), 1200, "each once");
}
