//! Web pages: what they send and see, and what pages of others may not.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use skidway_tests::browser::serve_page;
use skidway_tests::{Browser, Client, Collector, Site, wait};

const TOKEN: &str = "4f1d0c6a9b2e47d8";

/// A collector whose beacon for topic `clicks` takes events of pages of `origin`, which may read, too.
fn tracking(site: &Site, origin: &str, keys: &str) -> Collector {
    let beacon =
        format!("[[beacons]]\ntoken = \"{TOKEN}\"\ntopic = \"clicks\"\nallowed_origins = [\"{origin}\"]\n{keys}");
    site.collector().with(&format!("allowed_origins = [\"{origin}\"]\n{beacon}")).started()
}

fn values(client: &Client, topic: &str) -> Vec<Value> {
    let page = client.get(&format!("/v1/topics/{topic}/records?max_records=10000"));
    page.json()["records"].as_array().cloned().unwrap_or_default()
}

/// Kinds of the events that the example page sent.
fn kinds(client: &Client) -> Vec<String> {
    let kind = |record: &Value| {
        let event: Value = serde_json::from_str(record["value"].as_str()?).ok()?;
        event["kind"].as_str().map(str::to_owned)
    };
    values(client, "clicks").iter().filter_map(kind).collect()
}

#[test]
fn events_of_a_page_arrive_and_pages_see_them_live_over_a_restart() {
    let site = Site::new();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/activity.html");
    assert!(std::fs::metadata(&example).unwrap().len() <= 1024, "a page of 1 KB");
    let origin = serve_page(&example);
    let mut collector = tracking(&site, &origin, "");
    let client = collector.client();
    assert_eq!(client.put("/v1/topics/clicks", &json!({"partitions": 2})).status, 201);
    let browser = Browser::start(&site);

    browser.open(&format!("{origin}/?skidway={}&token={TOKEN}", collector.url()));
    wait::until("the view is stored", || (kinds(&client) == ["view"]).then_some(()));
    let shown = || -> Vec<String> {
        let texts = browser.run("return [...document.querySelectorAll('li')].map(li => li.textContent)");
        texts.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    // What was there before the page followed is not shown: it follows once the first line it is sent comes.
    let mut sent = 0;
    let mut produce = |client: &Client| -> u64 {
        let lines: String = (sent..sent + 50).map(|at| format!("line {at}\n")).collect();
        assert_eq!(client.post("/v1/topics/clicks/records", "text/plain", lines).status, 200);
        sent += 50;
        sent
    };
    wait::until("the page sees lines", || {
        produce(&client);
        wait::within(std::time::Duration::from_secs(2), || (!shown().is_empty()).then_some(()))
    });
    for _ in 0..4 {
        produce(&client);
        collector.program().kill9();
        collector.start();
        produce(&client);
    }
    let sent = produce(&client);
    let first: u64 =
        wait::until("a line is shown", || shown().iter().find_map(|it| it.strip_prefix("line ")?.parse().ok()));
    let all: BTreeSet<String> = (first..sent).map(|at| format!("line {at}")).collect();
    wait::until("the page has seen all lines since it followed", || {
        let lines: BTreeSet<String> = shown().into_iter().filter(|text| text.starts_with("line ")).collect();
        all.is_subset(&lines).then_some(())
    });

    browser.run("document.querySelector('button').click()");
    browser.open("about:blank");
    wait::until("the click and the leaving are stored", || {
        (kinds(&client) == ["view", "click", "leave"]).then_some(())
    });
}

#[test]
fn pages_of_other_origins_can_neither_read_nor_change_anything() {
    let site = Site::new();
    let page = site.write("page.html", "<!doctype html><title>Another's</title>");
    let (allowed, other) = (serve_page(&page), serve_page(&page));
    let collector = tracking(&site, &allowed, "");
    let client = collector.client();
    assert_eq!(client.post("/v1/topics/app/records", "text/plain", "secret\n").status, 200);
    let browser = Browser::start(&site);
    let url = collector.url();
    let attempt = |script: &str| {
        let script = format!(
            "window.said = null; fetch({script}).then(r => r.text().then(t => window.said = r.status + ' ' + t), \
             e => window.said = 'no')"
        );
        browser.run(&script);
        wait::until("the page has an answer", || {
            browser.run("return window.said").as_str().map(|said| said.lines().next().unwrap_or_default().to_owned())
        })
    };
    let read = format!("'{url}/v1/topics/app/records'");
    let write = format!("'{url}/v1/topics/app/records', {{method: 'POST', body: 'forged'}}");
    let beacon = format!("'{url}/v1/beacons/{TOKEN}', {{method: 'POST', body: 'forged'}}");
    let delete = format!("'{url}/v1/topics/app', {{method: 'DELETE'}}");

    browser.open(&other);
    for script in [&read, &write, &beacon, &delete] {
        assert_eq!(attempt(script), "no", "{script}");
    }
    assert_eq!(values(&client, "app").len(), 1);
    assert_eq!(client.get("/v1/topics/clicks").status, 404, "nothing reached the beacon's topic");

    browser.open(&allowed);
    assert!(attempt(&read).starts_with("200 {\"records\":[{"), "pages of an allowed origin may read");
    assert!(attempt(&write).starts_with("200 "), "and write");
    assert_eq!(attempt(&beacon), "204 ");
    assert_eq!((values(&client, "app").len(), values(&client, "clicks").len()), (2, 1));
}

#[test]
fn a_beacon_takes_events_within_bounds_and_nothing_else() {
    let site = Site::new();
    let keys =
        "body_bytes_max = \"1KiB\"\nrecords_max = 3\nclient_requests_per_second = 2\nkeep_headers = [\"User-Agent\"]\n";
    let collector = tracking(&site, "https://shop.example", keys);
    let client = collector.client();
    let path = format!("/v1/beacons/{TOKEN}");
    let from = |origin: &'static str| [("Origin", origin), ("Content-Type", "text/plain"), ("User-Agent", "a test")];
    let shop = from("https://shop.example");
    let kind = |answer: skidway_tests::Answer| {
        let problem = answer.json();
        (answer.status, problem["type"].as_str().or(problem["kind"].as_str()).unwrap_or_default().to_owned())
    };

    assert_eq!(client.post_with(&format!("{path}?key=visitor-1"), &shop, "{\"a\":1}\nb").status, 204);
    let stored = values(&client, "clicks");
    let shown: Vec<_> = stored.iter().map(|it| (&it["key"], &it["value"], &it["headers"]["user-agent"])).collect();
    let (key, agent) = (json!("visitor-1"), json!("a test"));
    assert_eq!(shown, [(&key, &json!("{\"a\":1}"), &agent), (&key, &json!("b"), &agent)]);

    assert_eq!(client.post_with("/v1/beacons/another-token-x", &shop, "b").status, 404);
    assert_eq!(client.get(&path).status, 405, "nobody may read");
    assert_eq!(client.post_with(&path, &from("https://other.example"), "b").status, 403);
    assert_eq!(client.post_with(&path, &shop, "x".repeat(2000)).status, 413);
    assert_eq!(client.post_with(&path, &shop, "1\n2\n3\n4").status, 413);
    assert_eq!(client.post_with(&path, &shop, "\n").status, 400);
    assert_eq!(client.post_with(&format!("{path}?colour=red"), &shop, "b").status, 400);
    assert_eq!(values(&client, "clicks").len(), 2, "nothing of what was refused is stored");

    let refused = wait::until("too many come", || {
        Some(client.post_with(&path, &shop, "again")).filter(|answer| answer.status != 204)
    });
    assert!(refused.retry_after.is_some());
    assert_eq!(kind(refused).0, 429);
    let metrics = client.get("/metrics").text();
    assert!(
        metrics.contains("skidway_beacon_requests_total{topic=\"clicks\",result=\"too-many-requests\"}"),
        "{metrics}"
    );
}
