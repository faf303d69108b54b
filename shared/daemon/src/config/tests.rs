//! What a configuration's author sees, mistake by mistake.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

/// Reads a text with the environment laid over it.
fn document(text: &str, variables: &[(&str, &str)]) -> Document {
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Document::parse("a.toml", text).unwrap().overlay("SKIDWAY_AGENT", variables)
}

/// Reads a small but complete configuration, of every shape, as a program would; gives all complaints.
fn complaints(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let document = document(text, variables);
    let root = document.section();
    let agent = root.section("agent");
    agent.required::<String>("id");
    agent.get("admin_listen", None::<SocketAddr>);
    agent.get("labels", BTreeMap::new());
    let collector = root.section("collector");
    collector.get("urls", Vec::new());
    collector.get("token", String::new());
    collector.within("linger", Duration::from_millis(5), Duration::ZERO..=Duration::from_secs(60));
    collector.within("batch_bytes", ByteSize::mib(1), ByteSize::kib(1)..=ByteSize::mib(1));
    for input in root.sections("inputs") {
        input.required::<Vec<String>>("include");
        input.choice("start_at", 0, &[("beginning", 0), ("end", 1)]);
        input.get("keep_cr", false);
        if input.get("topic", String::new()) == "__secret" {
            input.mistake("topic", "belongs to Skidway");
        }
    }
    document.finish().map_or_else(|mistakes| mistakes.iter().map(ToString::to_string).collect(), |()| Vec::new())
}

#[test]
fn each_type_is_read_and_an_absent_key_gives_its_default() {
    let text = "s='x'\nb=true\ni=-3\nh=0x10\nf=1.5\np='/p'\na='127.0.0.1:1'\nl=['x','y']\nd='2m'\nz='64KiB'\nn=7";
    let document = document(text, &[]);
    let root = document.section();
    assert_eq!(root.get("s", String::new()), "x");
    assert!(root.get("b", false));
    assert_eq!((root.get("i", 0i32), root.get("h", 0u16), root.get("n", ByteSize(0))), (-3, 16, ByteSize(7)));
    assert_eq!(root.get("f", 0.0), 1.5);
    assert_eq!(root.optional("p"), Some(PathBuf::from("/p")));
    assert_eq!(root.get("a", None), Some(SocketAddr::from(([127, 0, 0, 1], 1))));
    assert_eq!(root.get("l", Vec::new()), ["x", "y"]);
    assert_eq!(root.get("d", Duration::ZERO), Duration::from_secs(120));
    assert_eq!(root.get("z", ByteSize(0)), ByteSize::kib(64));
    assert_eq!(root.get("absent", 9u32), 9);
    assert!(!root.section("nothing").is_present());
    assert_eq!(root.section("nothing").get("x", 1u64), 1);
    document.finish().unwrap();
}

#[test]
fn every_mistake_is_told_at_once_in_the_order_of_the_file() {
    let text = "\
[agent]
idd = 'web-1'
admin_listen = 'localhost'
labels = { env = 3 }

[collector]
urls = 'http://127.0.0.1:7070'
linger = '2h'
batch_bytes = '64 bananas'

[[inputs]]
include = ['*.log']
start_at = 'ende'
keep_cr = 'yes'
[[inputs]]
topic = '__secret'

[collecter]
";
    let expected = [
        "a.toml:1: agent.id: is missing; expected a string",
        "a.toml:2: agent.idd: unknown key; did you mean \"id\"?",
        "a.toml:3: agent.admin_listen: expected an address such as \"127.0.0.1:7070\", or \"\" for none, found \"localhost\"",
        "a.toml:4: agent.labels: expected a table of strings, found a table that holds a number",
        "a.toml:7: collector.urls: expected a list of strings, found \"http://127.0.0.1:7070\"",
        "a.toml:8: collector.linger: expected 0ms to 1m, found 2h",
        "a.toml:9: collector.batch_bytes: expected a size such as \"64KiB\", found \"64 bananas\"",
        "a.toml:13: inputs.0.start_at: expected \"beginning\" or \"end\", found \"ende\"",
        "a.toml:14: inputs.0.keep_cr: expected true or false, found \"yes\"",
        "a.toml:15: inputs.1.include: is missing; expected a list of strings",
        "a.toml:16: inputs.1.topic: belongs to Skidway",
        "a.toml:18: collecter: unknown key; did you mean \"collector\"?",
    ];
    assert_eq!(complaints(text, &[]), expected);
}

#[test]
fn a_section_of_the_wrong_shape_is_one_mistake() {
    let cases = [
        ("agent = 5", "a.toml:1: agent: expected a table, found 5"),
        ("inputs = { include = [] }", "a.toml:1: inputs: expected a list of tables, found a table that holds a list"),
        ("inputs = [1]", "a.toml:1: inputs.0: expected a table, found 1"),
    ];
    for (text, expected) in cases {
        let complaints = complaints(text, &[("SKIDWAY_AGENT__AGENT__ID", "web-1")]);
        assert!(complaints.iter().any(|complaint| complaint == expected), "{text}: {complaints:?}");
    }
}

#[test]
fn values_of_secret_keys_are_never_shown() {
    let text = "[agent]\nid='a'\n[collector]\ntoken = ['hunter2']\ntokne = 'hunter2'";
    let complaints = complaints(text, &[]);
    assert_eq!(complaints.len(), 2);
    assert_eq!(complaints[0], "a.toml:4: collector.token: expected a string, found a list");
    assert!(!complaints.concat().contains("hunter2"));
}

#[test]
fn variables_replace_and_add_values_of_any_type() {
    let variables = [
        ("SKIDWAY_AGENT__AGENT__ID", "from-env"),
        ("SKIDWAY_AGENT__AGENT__LABELS__ENV", "prod"),
        ("SKIDWAY_AGENT__COLLECTOR__URLS", "['http://a', 'http://b']"),
        ("SKIDWAY_AGENT__COLLECTOR__LINGER", "10ms"),
        ("SKIDWAY_AGENT__INPUTS__0__KEEP_CR", "true"),
        ("SKIDWAY_AGENT__INPUTS__1__INCLUDE", "*.txt"),
        ("SKIDWAY_AGENTX__OTHER", "not ours"),
        ("SKIDWAY_AGENT_OTHER", "not ours"),
    ];
    let document = document("[agent]\nid = 'from-file'\n[[inputs]]\ninclude = ['*.log']\n", &variables);
    let root = document.section();
    let agent = root.section("agent");
    assert_eq!(agent.required::<String>("id").unwrap(), "from-env");
    assert_eq!(agent.get("labels", BTreeMap::new()), BTreeMap::from([("env".to_owned(), "prod".to_owned())]));
    let collector = root.section("collector");
    assert_eq!(collector.get("urls", Vec::new()), ["http://a", "http://b"]);
    assert_eq!(collector.get("linger", Duration::ZERO), Duration::from_millis(10));
    let inputs: Vec<(Vec<String>, bool)> = root
        .sections("inputs")
        .iter()
        .map(|input| (input.get("include", vec![]), input.get("keep_cr", false)))
        .collect();
    assert_eq!(inputs, [(vec!["*.log".to_owned()], true), (vec!["*.txt".to_owned()], false)]);
    document.finish().unwrap();
}

#[test]
fn entries_of_a_list_come_in_the_order_of_their_numbers() {
    let names: Vec<String> = (0..12).map(|index| format!("SKIDWAY_AGENT__INPUTS__{index}__TOPIC")).collect();
    let variables: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), &name[23..25])).collect();
    let document = document("", &variables);
    let topics: Vec<String> =
        document.section().sections("inputs").iter().map(|it| it.get("topic", String::new())).collect();
    assert_eq!((topics[2].as_str(), topics[10].as_str(), topics.len()), ("2_", "10", 12));
}

#[test]
fn a_mistake_in_a_variable_names_the_variable() {
    let variables = [
        ("SKIDWAY_AGENT__AGENT__ID__X", "1"),
        ("SKIDWAY_AGENT__COLLECTOR__LINGRE", "5ms"),
        ("SKIDWAY_AGENT__COLLECTOR__BATCH_BYTES", "much"),
        ("SKIDWAY_AGENT__INPUTS__3__TOPIC", "t"),
    ];
    let expected = [
        "SKIDWAY_AGENT__AGENT__ID__X: agent.id.x: id is no table in the file, so it has no x",
        "SKIDWAY_AGENT__COLLECTOR__BATCH_BYTES: collector.batch_bytes: expected a size such as \"64KiB\", found \"much\"",
        "SKIDWAY_AGENT__COLLECTOR__LINGRE: collector.lingre: unknown key; did you mean \"linger\"?",
        "SKIDWAY_AGENT__INPUTS__3__TOPIC: inputs.3.topic: inputs has 0 entries; the next one is number 0",
    ];
    assert_eq!(complaints("agent.id = 'web-1'", &variables), expected);
}

#[test]
fn text_that_is_not_toml_is_one_mistake_with_its_line() {
    let mistakes = Document::parse("a.toml", "[agent]\nid = \"web-1\"\npassword = hunter2\n").unwrap_err();
    let shown = mistakes.to_string();
    assert!(shown.starts_with("a.toml:3: not TOML: "), "{shown}");
    assert!(!shown.contains("hunter2") && !shown.contains('\n'), "{shown}");

    let twice = Document::parse("a.toml", "x = 1\nx = 2\n").unwrap_err().to_string();
    assert!(twice.starts_with("a.toml:2: not TOML: duplicate key"), "{twice}");
}

#[test]
fn a_file_that_cannot_be_read_is_one_clear_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("absent.toml");
    let shown = Document::load(Some(&path), "SKIDWAY_PROBE").unwrap_err().to_string();
    assert_eq!(shown, format!("{}: cannot be read: No such file or directory (os error 2)", path.display()));
}

#[test]
fn without_a_file_there_are_only_defaults() {
    let document = Document::load(None, "SKIDWAY_PROBE").unwrap();
    assert_eq!(document.section().section("http").get("port", 7070u16), 7070);
    document.finish().unwrap();
}

#[test]
fn sizes_and_durations_are_written_with_their_unit() {
    let sizes = [
        ("0", Some(0)),
        ("512", Some(512)),
        ("1B", Some(1)),
        ("64KiB", Some(65_536)),
        ("64 KiB", Some(65_536)),
        ("10GB", Some(10_000_000_000)),
        ("1TiB", Some(1 << 40)),
        ("64kib", None),
        ("1.5MiB", None),
        ("-1", None),
        ("KiB", None),
        ("99999999TiB", None),
    ];
    for (text, bytes) in sizes {
        assert_eq!(ByteSize::parse(text), bytes.map(ByteSize), "{text}");
    }
    let durations = [
        ("0s", Some(0)),
        ("10ms", Some(10)),
        ("5s", Some(5_000)),
        ("2m", Some(120_000)),
        ("1h", Some(3_600_000)),
        ("7d", Some(604_800_000)),
        ("5", None),
        ("5 s", Some(5_000)),
        ("5sec", None),
        ("", None),
        ("99999999999999999d", None),
    ];
    for (text, millis) in durations {
        assert_eq!(parse_duration(text), millis.map(Duration::from_millis), "{text}");
    }
}

#[test]
fn sizes_and_durations_are_shown_as_they_would_be_written() {
    let sizes = [(0, "0B"), (1, "1B"), (1023, "1023B"), (1024, "1KiB"), (1 << 20, "1MiB"), (1 << 40, "1TiB")];
    for (bytes, shown) in sizes {
        assert_eq!(ByteSize(bytes).to_string(), shown);
        assert_eq!(ByteSize::parse(shown), Some(ByteSize(bytes)));
    }
    for (millis, shown) in [(0, "0ms"), (1_500, "1500ms"), (5_000, "5s"), (60_000, "1m"), (86_400_000, "1d")] {
        assert_eq!(Duration::from_millis(millis).show(), shown);
    }
}
