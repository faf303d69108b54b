//! What docs/groups.md shows works as it is written there.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::json;
use skidway_tests::{program, wait};

use super::{serving, show};

/// Gives the blocks of a language in the document.
fn blocks(language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/groups.md");
    let text = std::fs::read_to_string(path).unwrap();
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

fn shell(script: &str, url: &str) -> Output {
    let folder = program::binary("skidway").parent().unwrap().display().to_string();
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-ec", script]).env("SKIDWAY_URL", url).env("PATH", path).env("no_proxy", "127.0.0.1");
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn the_documents_commands_do_what_it_says() {
    let (_site, collector, client) = serving("");
    client.put("/v1/topics/orders", &json!({"partitions": 2}));
    client.post("/v1/topics/orders/records", "application/x-ndjson", "{\"value\":\"a\"}\n{\"value\":\"b\"}\n");
    let scripts = blocks("sh");
    assert_eq!(scripts.len(), 3, "following, committing, looking");

    let following = scripts[0].replace("curl -sN", "curl -sN --max-time 3");
    let followed = shell(&format!("{{ {} || true; }}", following.trim()), &collector.url());
    let said = String::from_utf8_lossy(&followed.stdout).into_owned();
    assert!(said.contains("\"assignment\"") && said.contains("\"value\":\"b\""), "{said}");

    let committed = shell(&scripts[1], &collector.url());
    let said = String::from_utf8_lossy(&committed.stdout).into_owned();
    assert!(said.starts_with("{\"committed\":[") && committed.status.success(), "{said} {committed:?}");
    assert_eq!(show(&client, "audit")["lag"], 0);

    let looking = scripts[2].replace("skidway groups delete audit --yes", "");
    let looked = shell(&looking, &collector.url());
    let said = String::from_utf8_lossy(&looked.stdout).into_owned();
    for words in
        ["\"groups\":[", "\"committed_offset\"", "\"dry_run\":true", "GROUP", "COMMITTED", "orders partition 0:"]
    {
        assert!(said.contains(words), "{words} in {said} {looked:?}");
    }
}

#[test]
fn the_documents_consumer_commits_what_it_printed() {
    let (_site, collector, client) = serving("");
    client.put("/v1/topics/orders", &json!({"partitions": 2}));
    let lines: String = (0..1200).map(|at| format!("{{\"value\":\"order {at}\"}}\n")).collect();
    client.post("/v1/topics/orders/records", "application/x-ndjson", lines);
    let script = blocks("python").remove(0);
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
