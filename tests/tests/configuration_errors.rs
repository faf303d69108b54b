//! What we say, and how we exit, when something is configured wrongly: 78 before anything is opened, 1 when the machine refuses.

use skidway_tests::program::{run, run_with};
use skidway_tests::{Site, wait};

/// Runs `<program> <command> --config` on this text; gives exit code and what was said.
fn configured(site: &Site, program: &str, command: &str, toml: &str) -> (Option<i32>, String) {
    let path = site.write("config.toml", toml);
    run(program, &[command, "--config", &path.display().to_string()])
}

/// Checks that `check` exits 78 and says each of these things, each in a line of its own.
#[track_caller]
fn mistakes(program: &str, toml: &str, expected: &[&str]) {
    let site = Site::new();
    for command in ["check", "run"] {
        let (code, said) = configured(&site, program, command, toml);
        assert_eq!(code, Some(78), "{command}: {said}");
        for words in expected {
            assert!(said.lines().any(|line| line.contains(words)), "{command} does not say {words:?}:\n{said}");
        }
    }
}

const AGENT: &str = "[agent]\nid = \"a\"\nstate_dir = \"/nonexistent/state\"\nadmin_listen = \"\"\n";
const INPUT: &str = "[[inputs]]\ninclude = [\"/tmp/*.log\"]\ntopic = \"t\"\n";

#[test]
fn an_unknown_key_is_named_with_file_line_and_what_was_meant() {
    mistakes(
        "skidway-agent",
        &format!("{AGENT}scan_intervall = \"5s\"\n{INPUT}"),
        &["config.toml:5: agent.scan_intervall: unknown key; did you mean \"scan_interval\"?"],
    );
    mistakes(
        "skidway-collector",
        "[collector]\ndata_dir = \"/nonexistent\"\n[http]\nlisen = \"127.0.0.1:0\"\n",
        &["config.toml:4: http.lisen: unknown key; did you mean \"listen\"?"],
    );
}

#[test]
fn every_mistake_is_listed_at_once() {
    let toml = "[agent]\nid = 5\nstate_dir = \"/nonexistent/state\"\nadmin_listen = \"nowhere\"\nwhat = 1\n\
                [collector]\nurls = [\"ftp://x\"]\ncompression_level = 99\n\
                [[inputs]]\ninclude = []\ntopic = \"t\"\nstart_at = \"middle\"\nline_bytes_max = \"1 parsec\"\n";
    mistakes(
        "skidway-agent",
        toml,
        &[
            "config.toml:2: agent.id: ",
            "config.toml:4: agent.admin_listen: ",
            "config.toml:5: agent.what: ",
            "config.toml:7: collector.urls",
            "config.toml:8: collector.compression_level: ",
            "include",
            "start_at",
            "line_bytes_max",
        ],
    );
}

#[test]
fn every_mistake_of_a_collector_is_listed_at_once() {
    let toml = "[collector]\ndata_dir = 5\n[http]\nlisten = \"nowhere\"\n[engine]\ndurability = \"maybe\"\n\
                [topics]\npartitions = 0\nretention = { age = \"soon\" }\n";
    mistakes(
        "skidway-collector",
        toml,
        &[
            "config.toml:2: collector.data_dir: ",
            "config.toml:4: http.listen: ",
            "config.toml:6: engine.durability: ",
            "config.toml:8: topics.partitions: ",
            "config.toml:9: topics.retention",
        ],
    );
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    mistakes("skidway-agent", "[agent]\nid = \n", &["config.toml:2"]);
    mistakes("skidway-collector", "[collector\n", &["config.toml:1"]);
}

#[test]
fn a_configuration_that_is_not_there_is_refused() {
    for program in ["skidway-agent", "skidway-collector"] {
        let (code, said) = run(program, &["check", "--config", "/nonexistent/x.toml"]);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("/nonexistent/x.toml"), "{said}");
    }
}

#[test]
fn a_variable_with_a_mistake_is_named() {
    let site = Site::new();
    let path = site.write("collector.toml", format!("[collector]\ndata_dir = {:?}\n", site.text("data")));
    let args = ["check", "--config", &path.display().to_string()];
    let (code, said) = run_with("skidway-collector", &args, &[("SKIDWAY_COLLECTOR__HTTP__LISTEN", "nowhere")]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("SKIDWAY_COLLECTOR__HTTP__LISTEN"), "{said}");
    let (code, said) = run_with("skidway-collector", &args, &[("SKIDWAY_COLLECTOR__HTTP__LISTEN", "127.0.0.1:1")]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn two_inputs_of_one_name_are_refused() {
    mistakes("skidway-agent", &format!("{AGENT}{INPUT}{INPUT}"), &["name"]);
}

#[test]
fn the_kafka_engine_is_refused_in_words() {
    mistakes("skidway-collector", "[engine]\nkind = \"kafka\"\n", &["config.toml:2: engine.kind: ", "Kafka"]);
}

#[test]
fn a_right_configuration_passes_and_opens_nothing() {
    let site = Site::new();
    let agent = AGENT.replace("/nonexistent/state", &site.text("state"));
    let (code, said) = configured(&site, "skidway-agent", "check", &format!("{agent}{INPUT}"));
    assert_eq!(code, Some(0), "{said}");
    let collector = format!("[collector]\ndata_dir = {:?}\n", site.text("data"));
    let (code, said) = configured(&site, "skidway-collector", "check", &collector);
    assert_eq!(code, Some(0), "{said}");
    assert!(!site.path("state").exists() && !site.path("data").exists());
}

#[test]
fn a_wrong_command_line_exits_64() {
    for program in ["skidway-agent", "skidway-collector", "skidway"] {
        assert_eq!(run(program, &["fly"]).0, Some(64), "{program}");
        assert_eq!(run(program, &["--no-such-flag"]).0, Some(64), "{program}");
    }
}

#[test]
fn every_program_tells_its_version_and_commit() {
    for program in ["skidway-agent", "skidway-collector", "skidway"] {
        let (code, said) = run(program, &["--version"]);
        assert_eq!(code, Some(0), "{program}");
        assert!(said.starts_with(&format!("{program} 0.1.0 (")) && said.contains("commit"), "{said}");
    }
}

#[test]
fn a_port_in_use_is_said_and_exits_1() {
    let site = Site::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let toml = format!("[collector]\ndata_dir = {:?}\n[http]\nlisten = \"{address}\"\n", site.text("data"));
    let (code, said) = configured(&site, "skidway-collector", "run", &toml);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&address) && said.contains("in use"), "{said}");

    let toml = format!("[agent]\nstate_dir = {:?}\nadmin_listen = \"{address}\"\n{INPUT}", site.text("state"));
    let (code, said) = configured(&site, "skidway-agent", "run", &toml);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
}

#[test]
fn a_folder_that_cannot_be_used_is_said_and_exits_1() {
    let site = Site::new();
    let file = site.write("file", "not a folder");
    let folder = file.join("data").display().to_string();
    let toml = format!("[collector]\ndata_dir = {folder:?}\n[http]\nlisten = \"127.0.0.1:0\"\n");
    let (code, said) = configured(&site, "skidway-collector", "run", &toml);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&folder), "{said}");

    let toml = format!("[agent]\nstate_dir = {folder:?}\nadmin_listen = \"\"\n{INPUT}");
    let (code, said) = configured(&site, "skidway-agent", "run", &toml);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&folder), "{said}");
}

#[test]
fn a_second_collector_on_one_data_folder_is_refused() {
    let site = Site::new();
    let mut collector = site.collector().started();
    let toml = format!("[collector]\ndata_dir = {:?}\n[http]\nlisten = \"127.0.0.1:0\"\n", site.text("data"));
    let (code, said) = configured(&site, "skidway-collector", "run", &toml);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&site.text("data")), "{said}");
    assert!(collector.program().runs());
}

#[test]
fn an_unreachable_collector_is_reported_and_not_fatal() {
    let site = Site::new();
    site.write("logs/app.log", "line\n");
    let mut agent = site.agent("a", "http://127.0.0.1:1").follows(&site.text("logs/*.log"), "app");
    agent.start();
    let log =
        wait::until("the agent complains", || Some(agent.program().said()).filter(|said| said.contains("127.0.0.1:1")));
    assert!(log.contains("WARN") || log.contains("ERROR"), "{log}");
    assert!(agent.program().runs());
    assert_eq!(agent.program().stop(), Some(0));
}
