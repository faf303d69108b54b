//! A disk that loses bits under a running collector: what readers are told, and what an operator can do.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use skidway_tests::program::run;
use skidway_tests::{Client, Collector, Site};

const PATIENCE: Duration = Duration::from_secs(30);

/// A collector that holds records 0 to 9 of topic `t`, one a batch, in files alone.
fn serving() -> (Site, Collector, Client) {
    let site = Site::new();
    let mut collector = site.collector().started();
    let client = collector.client();
    assert_eq!(client.put("/v1/topics/t", &json!({"partitions": 1})).status, 201);
    for number in 0..10 {
        let answer = client.post("/v1/topics/t/records", "text/plain", format!("record {number}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(collector.program().stop(), Some(0));
    collector.start();
    (site, collector, client)
}

fn segment(site: &Site) -> PathBuf {
    site.path("data/topics/t-0/00000000000000000000.log")
}

/// Flips a bit in the fourth of ten batches of one length; gives where that batch begins.
fn flip_bit(site: &Site) -> u64 {
    let mut bytes = std::fs::read(segment(site)).unwrap();
    let batch_bytes = bytes.len() / 10;
    bytes[3 * batch_bytes + 65] ^= 4;
    std::fs::write(segment(site), &bytes).unwrap();
    3 * batch_bytes as u64
}

fn offsets(page: &Value) -> Vec<u64> {
    page["records"].as_array().unwrap().iter().map(|record| record["offset"].as_u64().unwrap()).collect()
}

#[test]
fn a_flipped_bit_is_told_with_its_place_and_costs_one_batch() {
    let (site, _collector, client) = serving();
    let position = flip_bit(&site);
    let page = client.get("/v1/topics/t/records").json();
    assert_eq!(offsets(&page), [0, 1, 2]);
    assert!(page.get("damaged").is_none());
    let answer = client.get(&format!("/v1/topics/t/records?from={}", page["next"].as_str().unwrap()));
    assert_eq!((answer.status, answer.content_type.as_str()), (422, "application/problem+json"));
    let problem = answer.json();
    let expected = json!({"type": "damaged", "title": "Damaged", "partition": 0, "offset": 3, "next_offset": 4,
        "file": segment(&site).display().to_string(), "position": position});
    for (member, value) in expected.as_object().unwrap() {
        assert_eq!(&problem[member], value, "{member}");
    }
    let after = client.get(&format!("/v1/topics/t/records?from={}", problem["next"].as_str().unwrap())).json();
    assert_eq!(offsets(&after), [4, 5, 6, 7, 8, 9]);
    let metrics = client.get("/metrics").text();
    assert!(metrics.contains("\nskidway_damaged_batches_total 1\n"), "{metrics}");
    assert_eq!(client.post("/v1/topics/t/records", "text/plain", "it goes on").status, 200);
}

#[test]
fn a_reader_may_pass_over_damage_and_is_told_of_it() {
    let (site, _collector, client) = serving();
    flip_bit(&site);
    let page = client.get("/v1/topics/t/records?skip_damaged=true").json();
    assert_eq!(offsets(&page), [0, 1, 2, 4, 5, 6, 7, 8, 9]);
    assert_eq!((&page["damaged"][0]["offset"], &page["damaged"][0]["next_offset"]), (&json!(3), &json!(4)));

    let path = "/v1/topics/t/records?from=earliest&follow=false";
    let lines = |query: &str| {
        let stream = client.stream(&format!("{path}{query}"), "application/x-ndjson", &[]);
        std::iter::from_fn(|| stream.next_within(PATIENCE))
            .map(|line| serde_json::from_str::<Value>(&line).unwrap())
            .collect::<Vec<_>>()
    };
    let stopped = lines("");
    assert_eq!((stopped.len(), &stopped[3]["error"]["type"]), (4, &json!("damaged")));
    let passed = lines("&skip_damaged=true");
    assert_eq!((passed.len(), &passed[3]["damaged"]["offset"]), (10, &json!(3)));
    assert!(passed[3]["next"].is_string());
}

#[test]
fn a_following_stream_goes_on_past_damage() {
    let (site, _collector, client) = serving();
    flip_bit(&site);
    let stream = client.stream("/v1/topics/t/stream?from=earliest&skip_damaged=true", "text/event-stream", &[]);
    let mut seen = Vec::new();
    while seen.len() < 10 {
        let event = stream.next_event(PATIENCE).expect("the stream goes on");
        let data = event.json();
        match event.name.as_deref() {
            None => seen.push(data["offset"].as_u64().unwrap()),
            Some("damaged") => {
                assert!(event.id.is_some());
                seen.push(100 + data["offset"].as_u64().unwrap());
            }
            Some(_) => {}
        }
    }
    assert_eq!(seen, [0, 1, 2, 103, 4, 5, 6, 7, 8, 9]);
    client.post("/v1/topics/t/records", "text/plain", "a new one");
    assert_eq!(stream.next_record(PATIENCE).unwrap().json()["offset"], 10);
    let stopped = client.stream("/v1/topics/t/stream?from=earliest", "text/event-stream", &[]);
    let error =
        std::iter::from_fn(|| stopped.next_event(PATIENCE)).find(|event| event.name.as_deref() == Some("error"));
    assert_eq!(error.expect("the stream ends with the error").json()["type"], "damaged");
}

/// Runs `skidway-collector log …` on a site's data folder; gives exit code and what was said.
fn log_tool(site: &Site, command: &[&str]) -> (Option<i32>, String) {
    let data_dir = site.text("data");
    run("skidway-collector", &[&["log"], command, &["--data-dir", &data_dir]].concat())
}

#[test]
fn an_operator_finds_damage_and_repairs_it() {
    let (site, mut collector, client) = serving();
    let token = client.get("/v1/topics/t/records?max_records=2").json()["next"].as_str().unwrap().to_owned();
    let position = flip_bit(&site);
    let (code, said) = log_tool(&site, &["verify"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("another process uses"), "{said}");
    assert_eq!(collector.program().stop(), Some(0));

    let segment = segment(&site).display().to_string();
    for command in [&["verify"][..], &["repair"]] {
        let (code, said) = log_tool(&site, command);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("{segment} at byte {position}: offsets 3..4")), "{command:?}: {said}");
    }
    let (code, said) = log_tool(&site, &["repair", "--yes"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("lost: offsets 3..4 of t-0"), "{said}");
    assert_eq!(log_tool(&site, &["verify"]).0, Some(0));
    assert!(site.path("data/damaged/0001/topics/t-0/00000000000000000000.log").exists());

    collector.start();
    let page = client.get(&format!("/v1/topics/t/records?from={token}")).json();
    assert_eq!(offsets(&page), [2, 4, 5, 6, 7, 8, 9], "tokens hold, and the damage is a gap");
    let events = client.get("/v1/topics/__skidway.events/records?decode=json").json();
    let event = &events["records"][0]["value"];
    assert_eq!((&event["kind"], &event["reason"], &event["topic"]), (&json!("lost"), &json!("damaged"), &json!("t")));
    assert_eq!((&event["offset"], &event["next_offset"], &event["file"]), (&json!(3), &json!(4), &json!(segment)));
}

#[test]
fn a_log_whose_checkpoint_is_lost_is_rebuilt_if_duplicates_are_accepted() {
    let (site, mut collector, client) = serving();
    let token = client.get("/v1/topics/t/records?max_records=2").json()["next"].as_str().unwrap().to_owned();
    assert_eq!(collector.program().stop(), Some(0));
    std::fs::write(site.path("data/checkpoint"), b"nothing").unwrap();
    let (code, said) = log_tool(&site, &["repair", "--yes"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("--accept-duplicates"), "{said}");
    let (code, said) = log_tool(&site, &["repair", "--yes", "--accept-duplicates"]);
    assert_eq!(code, Some(0), "{said}");
    collector.start();
    assert_eq!(offsets(&client.get("/v1/topics/t/records").json()), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(
        client.get(&format!("/v1/topics/t/records?from={token}")).status,
        410,
        "an older log's token is refused"
    );
}

#[test]
fn files_of_a_log_are_shown_as_text_and_as_json() {
    let (site, mut collector, _client) = serving();
    assert_eq!(collector.program().stop(), Some(0));
    let segment = segment(&site).display().to_string();
    let (code, said) = run("skidway-collector", &["log", "dump", "--records", &segment]);
    assert_eq!(code, Some(0));
    assert!(said.contains("value=\"record 7\""), "{said}");
    let checkpoint = site.text("data/checkpoint");
    let (code, said) = run("skidway-collector", &["log", "dump", "--json", &segment, &checkpoint]);
    assert_eq!(code, Some(0));
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[9]["batch"]["offset"], lines[10]["checkpoint"]["log_epoch"].as_u64()), (&json!(9), Some(1)));
}

#[test]
fn wrong_usage_of_the_log_commands_is_told_apart() {
    let site = Site::new();
    assert_eq!(run("skidway-collector", &["log", "verify"]).0, Some(64));
    assert_eq!(run("skidway-collector", &["log", "dump"]).0, Some(64));
    let config = site.write("config.toml", "[collector]\ndata_dri = \"x\"\n").display().to_string();
    assert_eq!(run("skidway-collector", &["log", "verify", "--config", &config]).0, Some(78));
    std::fs::create_dir(site.path("data")).unwrap();
    let (code, said) = log_tool(&site, &["verify"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("there is no log in it"), "{said}");
}
