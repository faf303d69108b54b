//! `skidway doctor` finds what is wrong and says what to do; `skidway support-bundle` tells how things stand and keeps every secret.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use skidway_tests::program::{binary, run, run_with};
use skidway_tests::tls::Authority;
use skidway_tests::{Collector, Site, topic, wait};

fn skidway(collector: &Collector, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary("skidway")).args(["--url", &collector.url()]).args(args).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

/// Gives what the doctor found, as severity and subject, and its exit code.
fn findings(collector: &Collector, args: &[&str]) -> (Option<i32>, Vec<(String, String)>) {
    let (code, said) = skidway(collector, &[&["doctor", "--json"], args].concat());
    let report: Value = serde_json::from_str(&said).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let found = report["findings"].as_array().unwrap().iter();
    for finding in found.clone() {
        for member in ["what", "why", "todo"] {
            assert!(finding[member].as_str().is_some_and(|it| !it.is_empty()), "{finding}");
        }
    }
    (code, found.map(|finding| (text(&finding["severity"]), text(&finding["about"]))).collect())
}

fn has(found: &[(String, String)], severity: &str, about: &str) -> bool {
    found.iter().any(|(is, of)| is == severity && of == about)
}

#[test]
fn the_doctor_finds_what_is_wrong_with_a_collector() {
    let site = Site::new();
    // A file where a folder is to be: the sink cannot write.
    let blocked = site.write("blocked", "");
    let sink = format!(
        "[engine]\ndurability = \"os\"\n[[sinks]]\nname = \"archive\"\ntopics = [\"app\"]\nurl = \"file://{}/files\"\nroll = {{ records = 1 }}",
        blocked.display()
    );
    let mut collector = site.collector().with(&sink).started();
    collector.client().post("/v1/topics/app/records", "text/plain", "one\n");
    let (code, found) = wait::until("the sink's failure is found", || {
        let (code, found) = findings(&collector, &[]);
        has(&found, "problem", "sink archive").then_some((code, found))
    });
    assert_eq!(code, Some(2), "{found:?}");
    assert!(has(&found, "warning", "durability"), "{found:?}");
    let (_, said) = skidway(&collector, &["doctor"]);
    assert!(said.contains("PROBLEM  sink archive") && said.contains("do:  skidway sinks show archive"), "{said}");
    collector.program().kill9();
    let (code, found) = findings(&collector, &[]);
    assert_eq!((code, has(&found, "problem", "collector")), (Some(2), true), "{found:?}");
}

#[test]
fn the_doctor_finds_what_is_wrong_with_an_agent_and_its_configuration() {
    let site = Site::new();
    let collector = site.collector().started();
    let agent = site.agent("web-1", &collector.url()).follows(&site.text("logs/*.log"), "app").started();
    site.write("logs/a.log", "one\n");
    topic::wait_for(&collector.client(), "app", 1);
    let (code, found) = findings(&collector, &["--agent", &agent.admin_url()]);
    assert_eq!((code, found), (Some(0), vec![]));
    let config = site.text("web-1.toml");
    let (_, found) = findings(&collector, &["--config", &config]);
    assert!(!found.iter().any(|(severity, _)| severity == "problem"), "{found:?}");
    site.write("bad.toml", "[agent]\nid = \"a\"\n[collector]\nurls = [\"ftp://x\"]\n");
    let (code, found) = findings(&collector, &["--config", &site.text("bad.toml")]);
    assert_eq!((code, has(&found, "problem", "configuration")), (Some(2), true), "{found:?}");
    let (code, found) = findings(&collector, &["--agent", "http://127.0.0.1:1"]);
    assert_eq!((code, has(&found, "problem", "agent")), (Some(2), true), "{found:?}");
}

#[test]
fn the_doctor_tries_the_collectors_of_a_configuration_with_the_agents_own_credentials() {
    let (site, authority) = (Site::new(), Authority::new());
    let (_, token) = run("skidway", &["tokens", "generate"]);
    let token_file = site.write("admin-token", &token);
    let access = format!("[access]\nmode = \"tokens\"\nadmin_token_file = {token_file:?}\n");
    let collector = site.collector().with(&access).with_tls(&site, &authority, "", None).started();
    let url = collector.url();
    // Gives what is found about the collector's address with these lines in `[collector]`: severity, what, what to do.
    let about = |url: &str, lines: &str| {
        let config = format!(
            "[agent]\nid = \"web-1\"\nstate_dir = {:?}\n[collector]\nurls = [{url:?}]\n{lines}\n[[inputs]]\ninclude = [\"/nowhere/*.log\"]\ntopic = \"t\"\n",
            site.path("state")
        );
        let config = site.write("tried.toml", config).display().to_string();
        let output = Command::new(binary("skidway")).args(["doctor", "--json", "--config", &config]).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let of_doors = |found: &&Value| found["about"] == url || found["about"] == "collector";
        let found = report["findings"].as_array().unwrap().iter().find(of_doors).cloned();
        found.map(|found| ["severity", "what", "todo"].map(|member| found[member].as_str().unwrap().to_owned()))
    };
    let (_, created) = run_with(
        "skidway",
        &["--url", &url, "tokens", "create", "--name", "a", "--scope", "commit", "--topics", "*", "--agent", "web-1"],
        &[("SKIDWAY_TOKEN_FILE", &site.text("admin-token")), ("SKIDWAY_CA_FILE", &site.text("ca.pem"))],
    );
    let agents = site.write("agents-token", created.lines().find(|line| line.starts_with("sk1_")).unwrap());
    let trusting = format!("[collector.tls]\nca_file = {:?}", site.path("ca.pem"));
    let with = |file: &Path| format!("token_file = {file:?}\n{trusting}");
    assert_eq!(about(&url, &with(&agents)), None, "it is let in");
    let other_ca = site.write("other-ca.pem", Authority::new().pem);
    let revoked = site.write("revoked-token", "sk1_0123456789abcdef_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let join = site.write("join-token", "sk1_0123456789abcdef_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let cases = [
        (with(&token_file), "problem", "scope commit"),
        (with(&revoked), "problem", "let it enrol anew"),
        (trusting.clone(), "problem", "let it enrol anew"),
        (format!("join_token_file = {join:?}\n{trusting}"), "note", "systemctl start"),
        (format!("join_token_file = \"/nowhere/join\"\n{trusting}"), "problem", "skidway tokens join"),
        (format!("[collector.tls]\nca_file = {other_ca:?}"), "problem", "collector.tls.ca_file"),
        ("[collector.tls]\nca_file = \"/nowhere/ca.pem\"".to_owned(), "problem", "sudo -u skidway-agent"),
    ];
    for (lines, severity, words) in cases {
        let [is, what, todo] = about(&url, &lines).unwrap();
        assert!(is == severity && todo.contains(words), "{lines}: {is}: {what}: {todo}");
    }
    let [_, what, _] = about(&url.replace("https:", "http:"), &with(&agents)).unwrap();
    assert!(what.contains("tls-required"), "{what}");
    let [_, _, todo] = about(&url.replace("127.0.0.1", "localhost"), &with(&agents)).unwrap();
    assert!(todo.contains("other names"), "{todo}");
    let [_, what, todo] = about("http://127.0.0.1:1", "").unwrap();
    assert!(what.contains("refused") && todo.contains("collector.urls"), "{what}: {todo}");
}

#[test]
fn the_doctor_finds_a_certificate_that_is_out_of_date() {
    let (site, authority) = (Site::new(), Authority::new());
    let mut collector = site.collector().with_tls(&site, &authority, "", None);
    authority.write(&site, "server", &authority.issue_ended("127.0.0.1"));
    collector.launch();
    let config = format!(
        "[agent]\nid = \"web-1\"\nstate_dir = {:?}\n[collector]\nurls = [{:?}]\n[collector.tls]\nca_file = {:?}\n[[inputs]]\ninclude = [\"/nowhere/*.log\"]\ntopic = \"t\"\n",
        site.path("state"),
        collector.url(),
        site.path("ca.pem")
    );
    let config = site.write("tried.toml", config).display().to_string();
    let said = wait::until("the certificate is told of", || {
        let (_, said) = run("skidway", &["doctor", "--config", &config]);
        said.contains("the collector's certificate is out of date").then_some(said)
    });
    assert!(said.contains(&format!("PROBLEM  {}", collector.url())), "{said}");
}

pub(crate) fn unpacked(bundle: &Path, into: &Path) -> String {
    std::fs::create_dir(into).unwrap();
    assert!(Command::new("tar").arg("-xzf").arg(bundle).arg("-C").arg(into).status().unwrap().success());
    let mut text = String::new();
    let mut pending = vec![into.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                text += &format!("=== {}\n{}", path.display(), String::from_utf8_lossy(&std::fs::read(&path).unwrap()));
            }
        }
    }
    text
}

#[test]
fn a_support_bundle_takes_the_end_of_our_units_logs_from_the_journal() {
    let site = Site::new();
    let fake = |body: &str| {
        let path = site.write("bin/journalctl", format!("#!/bin/sh\n{body}\n"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let bundle = |name: &str| {
        let file = site.text(name);
        let output = Command::new(binary("skidway"))
            .args(["--url", "http://127.0.0.1:1", "support-bundle", "--output", &file])
            .env("PATH", format!("{}:{}", site.text("bin"), std::env::var("PATH").unwrap()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        unpacked(Path::new(&file), &site.path(&format!("{name}-unpacked")))
    };
    // Newest first, as it was asked to; and more of it than is wanted.
    fake(
        "echo \"of $2: stopped\"; echo 'Authorization: Bearer planted-in-the-journal'; echo \"$@\"; yes 'an old line'",
    );
    let text = bundle("endless.tar.gz");
    for unit in ["skidway-agent", "skidway-collector"] {
        let told = text.split_once(&format!("log/{unit}.journal\n")).unwrap().1;
        let told = told.split("\n===").next().unwrap();
        assert!(
            told.ends_with(&format!("of {unit}: stopped\n")) || told.ends_with(&format!("of {unit}: stopped")),
            "{unit}"
        );
        assert!(told.len() <= 1 << 20 && told.contains("--reverse"), "{}", told.len());
    }
    assert!(!text.contains("planted"));
    fake("exit 1");
    assert!(bundle("silent.tar.gz").contains("may this user see them?"));
}

#[test]
fn a_support_bundle_tells_how_things_stand_and_keeps_every_secret() {
    let site = Site::new();
    let token_file = site.write("token", "planted-in-a-file\n");
    let beacon = "[[beacons]]\ntoken = \"plantedinabeacon\"\ntopic = \"clicks\"\n";
    let collector = site.collector().with(beacon).started();
    let client = collector.client();
    client.post("/v1/topics/app/records", "text/plain", "planted-in-a-record\n");
    client.post("/v1/beacons/plantedinabeacon", "text/plain", "planted-in-a-record\n");
    let agent = site.agent("web-1", &collector.url()).follows(&site.text("logs/*.log"), "app").started();
    let other = format!(
        "# planted-in-a-comment\n[agent]\nid = \"x\"\n[collector]\nurls = [\"https://me:planted-in-a-url@logs.example\"]\ntoken_file = {:?}\n",
        token_file.display().to_string()
    );
    let (other, log) = (
        site.write("other.toml", other),
        site.write("some.log", "GET /v1/beacons/plantedinabeacon 200\nAuthorization: Bearer planted-in-a-log\nsent planted-in-a-file\nall is well\n"),
    );
    let bundle = site.text("bundle.tar.gz");
    let output = Command::new(binary("skidway"))
        .args(["--url", &collector.url(), "support-bundle", "--output", &bundle, "--agent", &agent.admin_url()])
        .args(["--config", &site.text("collector.toml"), "--config", &other.display().to_string()])
        .args(["--log", &log.display().to_string()])
        .env("SKIDWAY_SECRET", "planted-in-the-environment")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = unpacked(Path::new(&bundle), &site.path("unpacked"));
    assert!(!text.contains("planted"), "{}", text.lines().find(|line| line.contains("planted")).unwrap_or_default());
    for told in [
        "skidway_collector_commits_total",
        "skidway_agent_files",
        "\"clicks\"",
        "looked at the collector",
        "all is well",
        "topic = \"clicks\"",
        "\"log_id\"",
    ] {
        assert!(text.contains(told), "{told}");
    }
}
