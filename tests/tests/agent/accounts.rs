//! The agent's own accounts, held against what is so: `verify`, `status`, health.

use std::io::Write;
use std::os::unix::fs::FileExt;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use skidway_tests::program::Program;
use skidway_tests::writer::Writer;
use skidway_tests::{Agent, Collector, Site, topic, wait};

/// A site with a collector of one partition a topic, and an agent that follows `logs/*.log*` into topic `app`.
fn following(keys: &str) -> (Site, Collector, Agent) {
    let site = Site::new();
    let collector = site.collector().with("[topics]\npartitions = 1").started();
    let agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log*"), "app").with(keys).started();
    (site, collector, agent)
}

/// Runs `verify`, checks its exit code and gives the object it prints.
#[track_caller]
fn verify(agent: &Agent, code: i32) -> Value {
    let (exit, said) = agent.run_command("verify", &["--json"]);
    assert_eq!(exit, Some(code), "{said}");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Gives what is said of the file of this name.
fn file<'r>(report: &'r Value, name: &str) -> &'r Value {
    let files = report["files"].as_array().unwrap();
    files.iter().find(|file| file["path"].as_str().unwrap().ends_with(name)).unwrap_or_else(|| panic!("{report:#}"))
}

#[track_caller]
fn stop(agent: &mut Agent) {
    assert_eq!(agent.program().stop(), Some(0));
}

/// Lines rotated, packed, of several lines, of records too long, flushed before they ended: all are there, once.
#[test]
fn verify_finds_everything_there_on_a_healthy_site() {
    let site = Site::new();
    let collector = site.collector().with("[topics]\npartitions = 2").started();
    let multiline = "topic = \"traces\"\nmultiline = { preset = \"java\", lines_max = 5, flush = \"50ms\" }";
    let spread = "topic = \"spread\"\npartition_by = \"round_robin\"";
    let mut agent = site
        .agent("a", &collector.url())
        .follows(&site.text("logs/*.log*"), "app")
        .with("line_bytes_max = \"1KiB\"\npartial_flush = \"100ms\"")
        .with(&format!("[[inputs]]\ninclude = [{:?}]\n{multiline}", site.text("traces/*.log")))
        .with(&format!("[[inputs]]\ninclude = [{:?}]\n{spread}", site.text("spread/*.log")))
        .started();
    let mut writer = Writer::new(&site.path("logs"), "w", 40 << 10, 1);
    writer.write_times(50, 100);
    site.append("logs/long.log", format!("{}\nshort\n\n\nhalf", "long ".repeat(5000)));
    for trace in 0..30 {
        let frames: String = (0..trace % 9).map(|frame| format!("\tat some.Place.method({frame})\r\n")).collect();
        site.append("traces/t.log", format!("Exception {trace}\r\n{frames}"));
    }
    site.append("spread/s.log", (0..20_000).map(|line| format!("spread {line}\n")).collect::<String>());
    topic::wait_for(&collector.client(), "app", writer.lines() + 4);
    topic::wait_for(&collector.client(), "spread", 20_000);
    site.append("logs/long.log", " and its rest\n");
    wait::until("all is acknowledged", || (!agent.has_unacknowledged()).then_some(()));
    pack(&site, "logs/w.log.2");
    let report = verify(&agent, 0);
    let totals = &report["totals"];
    assert_eq!((&totals["lines_missing"], &totals["records_doubled"]), (&json!(0), &json!(0)), "{report:#}");
    assert_eq!(totals["bytes_not_shipped"], 0, "{report:#}");
    assert_eq!(file(&report, "long.log")["lines"], 5);
    let traces: u64 = (0..30).map(|trace| 1 + trace % 9).sum();
    assert_eq!((&file(&report, "t.log")["lines"], &file(&report, "s.log")["lines"]), (&json!(traces), &json!(20_000)));
    stop(&mut agent);
    assert_eq!(verify(&agent, 0)["totals"]["lines"], totals["lines"]);
    let (exit, said) = agent.run_command("verify", &[]);
    assert_eq!(exit, Some(0));
    assert!(said.contains("long.log  5 lines  ok\n") && said.contains(" 0 missing, 0 doubled, 0 bytes"), "{said}");
}

/// Puts an archive in a file's place.
fn pack(site: &Site, path: &str) {
    let mut archive = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    archive.write_all(&std::fs::read(site.path(path)).unwrap()).unwrap();
    site.write(&format!("{path}.gz"), archive.finish().unwrap());
    site.remove(path);
}

#[test]
fn verify_names_a_line_that_was_edited_and_a_record_that_is_there_twice() {
    let (site, collector, mut agent) = following("");
    let text: String = (0..5000).map(|line| format!("line {line:06}\n")).collect();
    site.append("logs/a.log", &text);
    topic::wait_for(&collector.client(), "app", 5000);
    stop(&mut agent);
    assert_eq!(verify(&agent, 0)["totals"]["lines"], 5000);

    let edited = std::fs::File::options().write(true).open(site.path("logs/a.log")).unwrap();
    edited.write_all_at(b"LINE", 12 * 2500).unwrap();
    let report = verify(&agent, 1);
    let found = file(&report, "a.log");
    assert_eq!(found["missing"], json!([{"start": 30_000, "end": 30_012, "lines": 1}]), "{report:#}");
    assert_eq!(found["differing"], json!([{"partition": 0, "offset": 2500}]));
    assert_eq!(report["totals"]["records_doubled"], 0);

    edited.write_all_at(b"line", 12 * 2500).unwrap();
    let record = json!({"value": "line 000007", "headers": {"path": site.text("logs/a.log")}});
    let client = collector.client();
    assert_eq!(
        client.post("/v1/topics/app/records", "application/json", json!({"records": [record]}).to_string()).status,
        200
    );
    let report = verify(&agent, 1);
    let found = &file(&report, "a.log")["doubled"];
    assert_eq!((&found[0]["start"], &found[0]["end"], found.as_array().unwrap().len()), (&json!(84), &json!(96), 1));
    assert_eq!(report["totals"]["lines_missing"], 0, "{report:#}");
}

#[test]
fn verify_tells_what_the_log_no_longer_holds_from_what_is_missing() {
    let (site, collector, mut agent) = following("");
    let text: String = (0..3000).map(|line| format!("line {line:06}\n")).collect();
    site.append("logs/a.log", &text);
    topic::wait_for(&collector.client(), "app", 3000);
    site.rename("logs/a.log", "logs/a.log.1");
    site.append("logs/a.log", "next\n");
    topic::wait_for(&collector.client(), "app", 3001);
    stop(&mut agent);
    let deleted = collector.client().try_delete("/v1/topics/app/records?partition=0&before_offset=2000").unwrap();
    assert_eq!(deleted.status, 200, "{}", deleted.text());
    let report = verify(&agent, 0);
    assert_eq!(file(&report, "a.log.1")["lines_no_longer_held"], 2000, "{report:#}");
    assert_eq!(file(&report, "a.log")["lines_no_longer_held"], 0, "{report:#}");
}

#[test]
fn verify_leaves_records_of_deleted_files_and_lines_skipped_on_purpose_alone() {
    let site = Site::new();
    let collector = site.collector().with("[topics]\npartitions = 1").started();
    site.append("logs/a.log", "before\nthe agent\n");
    let mut agent = site
        .agent("a", &collector.url())
        .follows(&site.text("logs/*.log*"), "app")
        .with("start_at = \"end\"")
        .started();
    for generation in 0..3 {
        site.append("logs/a.log", format!("beat\nbeat\n{generation}\nbeat\n"));
        topic::wait_for(&collector.client(), "app", 4 * (generation + 1));
        if generation < 2 {
            site.rename("logs/a.log", &format!("logs/a.log.{generation}"));
        }
    }
    wait::until("all is acknowledged", || (!agent.has_unacknowledged()).then_some(()));
    let report = verify(&agent, 0);
    assert_eq!(file(&report, "a.log.0")["lines_skipped"], 2, "{report:#}");
    stop(&mut agent);
    site.remove("logs/a.log.0");
    assert_eq!(verify(&agent, 0)["totals"]["lines"], 8);
}

#[test]
fn verify_beside_an_agent_that_is_behind_calls_nothing_missing() {
    let (site, collector, mut agent) = following("");
    let mut writer = Writer::new(&site.path("logs"), "w", 100 << 10, 5);
    writer.write(200);
    topic::wait_for(&collector.client(), "app", 200);
    agent.program().freeze();
    let written = writer.write(100);
    site.append("logs/new.log", "nobody has seen it\n");
    let report = verify(&agent, 0);
    assert_eq!(report["totals"]["bytes_not_shipped"], written + 19, "{report:#}");
    assert_eq!(file(&report, "new.log")["note"], "not shipped yet");
    agent.program().thaw();
    for _ in 0..20 {
        writer.write_times(10, 100);
        verify(&agent, 0);
    }
    topic::wait_for(&collector.client(), "app", writer.lines() + 1);
    wait::until("all is acknowledged", || (!agent.has_unacknowledged()).then_some(()));
    assert_eq!(verify(&agent, 0)["totals"]["lines"], writer.lines() + 1);
    assert!(agent.program().runs(), "nobody has fenced it");
    stop(&mut agent);
}

#[test]
fn verify_without_a_collector_or_with_a_bad_configuration_says_so() {
    let (site, mut collector, mut agent) = following("");
    stop(&mut agent);
    collector.program().stop();
    let (exit, said) = agent.run_command("verify", &[]);
    assert!(exit == Some(1) && said.contains("no answer from http://127.0.0.1"), "{exit:?} {said}");
    let bad = site.write("bad.toml", "[agent]\nidd = \"a\"\n").display().to_string();
    let (exit, said) = skidway_tests::program::run("skidway-agent", &["verify", "--config", &bad]);
    assert!(exit == Some(78) && said.contains("idd"), "{exit:?} {said}");
}

/// A line the collector rejects, and bytes destroyed before anyone could read them, seen from the outside.
#[test]
fn verify_explains_dead_letters_and_losses_on_record() {
    let site = Site::new();
    let collector = site.collector().with("body_bytes_max = \"256KiB\"\n[topics]\npartitions = 1").started();
    let mut agent = site
        .agent("a", &collector.url())
        .follows(&site.text("logs/*.log*"), "app")
        .with("partial_flush = \"1h\"")
        .started();
    let mut noise = StdRng::seed_from_u64(6);
    let poison: String = (0..400 << 10).map(|_| noise.random_range('!'..='~')).collect();
    site.append("logs/a.log", format!("one\ntwo\n{poison}\nthree\n"));
    topic::wait_for(&collector.client(), "app", 3);
    topic::wait_for(&collector.client(), "app.dead", 1);
    wait::until("all is acknowledged", || (!agent.has_unacknowledged()).then_some(()));
    let letter = &topic::read(&collector.client(), "app.dead")[0];
    assert_eq!((topic::header(letter, "skidway-position"), letter.value.as_ref().unwrap().len()), ("8", 64 << 10));
    let report = verify(&agent, 0);
    let found = file(&report, "a.log");
    assert_eq!((&found["lines"], &found["lines_dead"], &found["lines_missing"]), (&json!(4), &json!(1), &json!(0)));

    site.append("logs/b.log", "four\nnever read to its end");
    topic::wait_for(&collector.client(), "app", 4);
    wait::until("the half line was seen", || agent.has_unacknowledged().then_some(()));
    std::fs::File::options().write(true).open(site.path("logs/b.log")).unwrap().set_len(0).unwrap();
    site.append("logs/b.log", "five\n");
    topic::wait_for(&collector.client(), "app", 5);
    wait::until("all is acknowledged", || (!agent.has_unacknowledged()).then_some(()));
    let report = verify(&agent, 0);
    let loss = &report["losses"][0];
    assert!(
        loss["path"].as_str().unwrap().ends_with("/b.log") && loss["reason"].as_str().unwrap().contains("truncated")
    );
    assert_eq!((&loss["start"], &loss["end"], &loss["exact"]), (&json!(5), &json!(26), &json!(false)), "{report:#}");
    stop(&mut agent);
    let (_, said) = agent.run_command("verify", &[]);
    assert!(said.contains("1 line dead letters") && said.contains("loss on record: "), "{said}");
}

#[test]
fn status_is_a_table_and_goes_on_until_interrupted() {
    let (site, collector, mut agent) = following("");
    site.append("logs/a.log", "one\n");
    topic::wait_for(&collector.client(), "app", 1);
    let args = ["status", "--watch=0.2", "--url", &agent.admin_url()].map(str::to_owned);
    let mut watching = Program::start("skidway-agent", &args, &site.path("watch.log"));
    wait::until("several tables are there", || {
        (watching.said().matches("1 file, 0 B behind").count() >= 3).then_some(())
    });
    let said = watching.said();
    assert!(said.contains("STATE") && said.contains("OLDEST") && said.contains("logs/a.log"), "{said}");
    assert!(!said.contains('\x1b'), "no terminal, no control sequences");
    watching.interrupt();
    assert_eq!(watching.exit_within(wait::PATIENCE).and_then(|exit| exit.code()), Some(0));

    stop(&mut agent);
    let (exit, said) = skidway_tests::program::run("skidway-agent", &["status", "--url", &agent.admin_url()]);
    assert!(
        exit == Some(1) && said.contains("no agent answers at") && said.contains("admin_listen"),
        "{exit:?} {said}"
    );
}

/// The collector hangs, then goes on.
#[test]
fn health_and_readiness_fail_while_bytes_wait_too_long_and_recover() {
    let site = Site::new();
    let mut collector = site.collector().started();
    let mut agent = site
        .agent("a", &collector.url())
        .with_agent("health_age_max = \"1s\"")
        .follows(&site.text("logs/*.log"), "app")
        .with("")
        .started();
    let admin = agent.admin();
    let answers = |path: &'static str, status: u16| {
        wait::until(&format!("{path} answers {status}"), || admin.try_get(path, &[]).filter(|it| it.status == status))
            .text()
    };
    site.append("logs/a.log", "one\n");
    topic::wait_for(&collector.client(), "app", 1);
    answers("/healthz", 200);
    collector.program().freeze();
    site.append("logs/a.log", "two\n");
    let words = answers("/healthz", 503);
    assert!(words.contains("logs/a.log") && words.contains("health_age_max"), "{words}");
    let words = answers("/readyz", 503);
    assert!(words.contains("has not answered for"), "{words}");
    assert!(agent.status().unwrap()["totals"]["oldest_unacknowledged_ms"].as_u64().unwrap() >= 1000);
    collector.program().thaw();
    topic::wait_for(&collector.client(), "app", 2);
    answers("/healthz", 200);
    answers("/readyz", 200);
    wait::until("the fleet's list tells the truth", || {
        let list = collector.client().get("/v1/agents").json();
        let agent = &list["agents"][0];
        (agent["bytes_behind"] == 0 && agent["oldest_unacknowledged_ms"] == 0 && agent["last_seen"].is_string())
            .then_some(())
    });
    assert_eq!(agent.program().stop(), Some(0));
}

/// Files rotated, copied and truncated, packed, the programs killed: `verify` and the tests' own account agree that all is there.
#[test]
fn verify_agrees_with_the_writers_after_rotations_copies_and_kills() {
    let (site, mut collector, mut agent) = following("");
    let mut moved = Writer::new(&site.path("logs"), "moved", 60 << 10, 8);
    let mut copied = Writer::new(&site.path("logs"), "copied", u64::MAX, 9);
    for round in 0..12 {
        moved.write_times(20, 20);
        copied.write_times(10, 20);
        match round % 4 {
            0 => agent.program().kill9(),
            1 => collector.program().kill9(),
            2 => copied.copy_and_truncate(),
            _ => {}
        }
        moved.write_times(5, 20);
        match round % 4 {
            0 => agent.start(),
            1 => collector.start(),
            _ => topic::wait_for(&collector.client(), "app", moved.lines() + copied.lines()),
        }
    }
    topic::wait_for(&collector.client(), "app", moved.lines() + copied.lines());
    wait::until("all is acknowledged", || (!agent.has_unacknowledged()).then_some(()));
    pack(&site, "logs/moved.log.3");
    let report = verify(&agent, 0);
    assert_eq!(report["totals"]["lines"], moved.lines() + copied.lines(), "{report:#}");
    stop(&mut agent);
    let account = skidway_tests::verify::verify(&[moved, copied], &topic::read(&collector.client(), "app"));
    assert!(account.is_perfect(), "{account:#?}");
}
