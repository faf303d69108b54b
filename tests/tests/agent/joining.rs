//! Records that are more than a line of a file, or less: fragments of container runtimes, stack traces, lines too long, lines half written, and
//! bytes that are no text. Joined over rotations and restarts, each once.

use std::io::Write;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skidway_tests::program::used;
use skidway_tests::{Agent, Collector, Site, scale, topic, wait};
use skidway_wire::JsonRecord;

/// Pieces that wait for their rest are not to be flushed by a slow machine.
const PATIENT: &str = "partial_flush = \"1h\"";

/// Starts a collector, and an agent that follows `logs/` + `pattern` into topic `app`, with further keys of the input.
fn following(pattern: &str, keys: &str) -> (Site, Collector, Agent) {
    let site = Site::new();
    // A file found under another name may have another partition, where no order can be seen.
    let collector = site.collector().with("[topics]\npartitions = 1").started();
    let agent = site.agent("a", &collector.url()).follows(&site.text(&format!("logs/{pattern}")), "app").with(keys);
    (site, collector, agent.started())
}

/// Writes `o P text` as a line that containerd writes of standard output.
fn cri(lines: &[&str]) -> String {
    let line = |(second, line): (usize, &&str)| {
        let (stream, rest) = line.split_at(1);
        let stream = if stream == "o" { "stdout" } else { "stderr" };
        format!("2026-01-31T10:11:{second:02}.000000000Z {stream}{rest}\n")
    };
    lines.iter().enumerate().map(line).collect()
}

/// Writes it as Docker does; a fragment has no line end.
fn docker(lines: &[&str]) -> String {
    let line = |line: &&str| {
        let (stream, end) = (if line.starts_with('o') { "stdout" } else { "stderr" }, &line[2..3]);
        let log = serde_json::to_string(&format!("{}{}", &line[4..], if end == "F" { "\n" } else { "" })).unwrap();
        format!(
            "{{\"log\":{log},\"stream\":\"{stream}\",\"attrs\":{{\"a\":\"b\"}},\"time\":\"2026-01-31T10:11:12Z\"}}\n"
        )
    };
    lines.iter().map(line).collect()
}

/// Waits for so many records, stops the agent, and gives each as its stream's first letter, the value, and the marks of pieces, sorted.
fn shown(collector: &Collector, mut agent: Agent, count: u64) -> Vec<String> {
    topic::wait_for(&collector.client(), "app", count);
    assert_eq!(agent.program().stop(), Some(0));
    let show = |record: JsonRecord| {
        let has = |name: &str| if record.headers.contains_key(name) { "…" } else { "" };
        let stream = topic::header(&record, "stream").strip_prefix("std").map_or("", |stream| &stream[..1]);
        let value = record.value.as_deref().unwrap();
        format!("{stream} {}{value}{}", has("skidway-continued"), has("skidway-partial"))
    };
    let mut shown: Vec<String> = topic::read(&collector.client(), "app").into_iter().map(show).collect();
    shown.sort();
    shown
}

/// Waits until all that was written is read and acknowledged.
fn wait_until_read(agent: &Agent, name: &str, bytes: usize) {
    wait::until("the file is read", || {
        let status = agent.status()?;
        let is_read = |file: &serde_json::Value| {
            file["path"].as_str().is_some_and(|path| path.ends_with(name)) && file["position"] == bytes
        };
        status["files"].as_array()?.iter().any(is_read).then_some(())
    });
}

const BEFORE: [&str; 4] = ["o F first", "o P one ", "e P other ", "o P two "];
const AFTER: [&str; 4] = ["e F side", "o F three", "o F last", "e F last"];
const JOINED: [&str; 5] = ["e last", "e other side", "o first", "o last", "o one two three"];

/// Scenario 38: fragments of both streams, the file renamed between them.
#[test]
fn fragments_of_a_container_are_joined_by_stream_across_a_rotation() {
    for (container, pattern) in [("cri", "*.log"), ("auto", "*.log*"), ("docker", "*.log")] {
        let format = if container == "docker" { docker } else { cri };
        let (site, collector, agent) = following(pattern, &format!("container = {container:?}\n{PATIENT}"));
        site.append("logs/0.log", format(&BEFORE));
        topic::wait_for(&collector.client(), "app", 1);
        site.rename("logs/0.log", "logs/0.log.20260131-101112");
        site.append("logs/0.log", format(&AFTER));
        assert_eq!(shown(&collector, agent, 5), JOINED, "{container}");
    }
}

/// Scenario 38, the agent being stopped while the file is renamed; a part of it was not read then.
#[test]
fn fragments_are_joined_across_a_rotation_that_happens_while_the_agent_is_stopped() {
    for (pattern, read) in [("*.log*", 4), ("*.log*", 2), ("*.log", 4)] {
        let (site, collector, mut agent) = following(pattern, &format!("container = \"cri\"\n{PATIENT}"));
        let text = cri(&BEFORE[..read]);
        site.append("logs/0.log", &text);
        wait_until_read(&agent, "0.log", text.len());
        assert_eq!(agent.program().stop(), Some(0));
        site.append("logs/0.log", cri(&BEFORE[read..]));
        site.rename("logs/0.log", "logs/0.log.1");
        site.append("logs/0.log", cri(&AFTER));
        agent.start();
        assert_eq!(shown(&collector, agent, 5), JOINED, "{pattern}, {read} lines read before");
    }
}

/// Scenario 38: killed at once, what was read of the fragments is in the carry, and nowhere else.
#[test]
fn fragments_are_joined_across_kills() {
    let (site, collector, mut agent) = following("*.log", &format!("container = \"cri\"\n{PATIENT}"));
    let mut written = 0;
    for lines in [&BEFORE[..2], &BEFORE[2..], &AFTER[..1], &AFTER[1..]] {
        let text = cri(lines);
        written += text.len();
        site.append("logs/0.log", text);
        wait_until_read(&agent, "0.log", written);
        agent.program().kill9();
        agent.start();
        agent.wait_ready();
    }
    assert_eq!(shown(&collector, agent, 5), JOINED);
}

/// Scenario 38, at random: fragments of both streams, files renamed and agents killed between any two of them.
#[test]
fn whatever_happens_between_fragments_each_record_arrives_once_and_in_order() {
    let seed = scale::seed();
    let mut chance = StdRng::seed_from_u64(seed);
    let (site, collector, mut agent) = following("*.log*", &format!("container = \"cri\"\n{PATIENT}"));
    let (mut generation, mut unfinished) = (0, [String::new(), String::new()]);
    let mut expected = [Vec::new(), Vec::new()];
    for _ in 0..scale::amount(1500, 100) {
        let mut lines = Vec::new();
        for _ in 0..chance.random_range(1..30) {
            let stream = chance.random_range(0..2);
            let name = ["o", "e"][stream];
            if chance.random_range(0..3) > 0 {
                lines.push(format!("{name} P part "));
                unfinished[stream].push_str("part ");
            } else {
                let number = expected[stream].len();
                lines.push(format!("{name} F {number}"));
                expected[stream].push(format!("{}{number}", std::mem::take(&mut unfinished[stream])));
            }
        }
        site.append("logs/0.log", cri(&lines.iter().map(String::as_str).collect::<Vec<_>>()));
        if chance.random_range(0..3) == 0 {
            generation += 1;
            site.rename("logs/0.log", &format!("logs/0.log.{generation}"));
            // Birth times tell which file is younger, and clocks of file systems are coarse.
            wait::pause(Duration::from_millis(20));
        }
        match chance.random_range(0..8) {
            0 => {
                agent.program().kill9();
                agent.start();
            }
            1 => wait::pause(Duration::from_millis(chance.random_range(0..400))),
            _ => {}
        }
    }
    site.append("logs/0.log", cri(&["o F last", "e F last"]));
    (0..2).for_each(|stream| expected[stream].push(format!("{}last", unfinished[stream])));
    topic::wait_for(&collector.client(), "app", (expected[0].len() + expected[1].len()) as u64);
    assert_eq!(agent.program().stop(), Some(0));
    let mut records = topic::read(&collector.client(), "app");
    records.sort_by_key(|record| record.offset);
    for (stream, expected) in ["stdout", "stderr"].iter().zip(expected) {
        let of = records.iter().filter(|record| topic::header(record, "stream") == *stream);
        let values: Vec<&str> = of.map(|record| record.value.as_deref().unwrap()).collect();
        assert_eq!(values, expected, "{stream}, seed {seed} (SKIDWAY_TEST_SEED={seed} repeats it)");
    }
}

#[test]
fn a_fragments_record_has_the_time_of_its_first_and_a_foreign_line_says_so() {
    let (site, collector, agent) = following("*.log", "container = \"cri\"");
    site.append("logs/0.log", cri(&["o P one ", "o F two"]) + "what is this\n");
    assert_eq!(shown(&collector, agent, 2), [" what is this", "o one two"]);
    let mut records = topic::read(&collector.client(), "app");
    records.sort_by_key(|record| record.offset);
    assert_eq!(records[0].timestamp, "2026-01-31T10:11:00.000Z");
    assert_eq!(topic::header(&records[1], "skidway-error"), "not a line of a container runtime");
}

#[test]
fn a_quiet_fragment_is_shipped_as_a_piece_and_its_rest_continues_it() {
    let (site, collector, agent) = following("*.log", "container = \"cri\"\npartial_flush = \"200ms\"");
    site.append("logs/0.log", cri(&["o P one "]));
    topic::wait_for(&collector.client(), "app", 1);
    site.append("logs/0.log", cri(&["o F two", "o F three"]));
    assert_eq!(shown(&collector, agent, 3), ["o one …", "o three", "o …two"]);
}

const TRACE: [&str; 5] = ["ERROR no", "\tat a.B.c(B.java:1)", "Caused by: x", "\tat d.E.f(E.java:2)", "\t... 3 more"];
const JAVA: &str = "multiline = { preset = \"java\", flush = \"1m\" }";

/// Scenario 38: plain lines; the file is renamed in the middle of the trace, the agent running or stopped, or the agent is killed there.
#[test]
fn a_stack_trace_split_by_a_rotation_or_a_restart_is_one_record() {
    let (first, second) = (TRACE[..3].join("\n") + "\n", TRACE[3..].join("\n") + "\n");
    for what in ["rotation", "restart", "rotation while stopped", "kill and rotation"] {
        let (site, collector, mut agent) = following("*.log*", JAVA);
        site.append("logs/app.log", format!("INFO before\n{first}"));
        topic::wait_for(&collector.client(), "app", 1);
        match what {
            "rotation" => {}
            "kill and rotation" => agent.program().kill9(),
            _ => assert_eq!(agent.program().stop(), Some(0)),
        }
        if what.contains("rotation") {
            site.rename("logs/app.log", "logs/app.log.1");
        }
        site.append("logs/app.log", format!("{second}INFO after\nINFO last\n"));
        if what != "rotation" {
            agent.start();
        }
        topic::wait_for(&collector.client(), "app", 3);
        agent.program().stop();
        let (_, said) = agent.once();
        let mut values = topic::values(&collector.client(), "app");
        values.sort();
        assert_eq!(values, [&TRACE.join("\n"), "INFO after", "INFO before", "INFO last"], "{what}: {said}");
    }
}

/// Scenario 38: a trace in container lines, the other stream between, renamed twice.
#[test]
fn a_stack_trace_in_container_lines_is_one_record_across_rotations() {
    let (site, collector, agent) = following("*.log", &format!("container = \"cri\"\n{PATIENT}\n{JAVA}"));
    let lines = |range: std::ops::Range<usize>| {
        let mixed = TRACE[range].iter().flat_map(|line| [format!("o F {line}"), "e F noise".to_owned()]);
        cri(&mixed.collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>())
    };
    site.append("logs/0.log", cri(&["o F INFO before"]) + &lines(0..2));
    topic::wait_for(&collector.client(), "app", 2);
    for (number, range) in [(1, 2..4), (2, 4..5)] {
        site.rename("logs/0.log", &format!("logs/0.log.{number}"));
        site.append("logs/0.log", lines(range));
        topic::wait_for(&collector.client(), "app", [4, 5][number - 1]);
    }
    site.append("logs/0.log", cri(&["o F INFO after", "e F end"]));
    let noise = std::iter::repeat_n("e noise".to_owned(), 5);
    let expected: Vec<String> = noise.chain([format!("o {}", TRACE.join("\n")), "o INFO before".to_owned()]).collect();
    assert_eq!(shown(&collector, agent, 7), expected);
}

/// Scenario 34: a line of 100 MB, then good ones, under each policy; killed in the middle of it.
#[test]
fn a_line_too_long_is_dealt_with_as_asked_and_costs_no_memory() {
    let (site, bytes) = (Site::new(), scale::amount(100 << 20, 24 << 20) as usize);
    let collector = site.collector().started();
    let mut agent = site.agent("a", &collector.url());
    let policies = ["split", "truncate", "dead_letter"];
    for policy in policies {
        let keys = format!("long_lines = {policy:?}\nline_bytes_max = \"256KiB\"\n{PATIENT}");
        agent = agent.follows(&site.text(&format!("logs/{policy}.log")), policy).with(&keys);
    }
    let mut agent = agent.started();
    let half = vec![b'x'; bytes / 2];
    for policy in policies {
        site.append(&format!("logs/{policy}.log"), "before\n");
        site.append(&format!("logs/{policy}.log"), &half);
    }
    wait::until("the agent is in the middle of the lines", || {
        let status = agent.status()?;
        let is_inside = |file: &serde_json::Value| file["position"].as_u64().is_some_and(|at| at > 1 << 20);
        let files = status["files"].as_array()?;
        (files.len() == 3 && files.iter().all(is_inside)).then_some(())
    });
    agent.program().kill9();
    for policy in policies {
        site.append(&format!("logs/{policy}.log"), &half);
        site.append(&format!("logs/{policy}.log"), "\ngood\nbetter\n");
    }
    agent.start();
    let client = collector.client();
    for policy in policies {
        wait::until("the good lines arrive", || {
            let last = topic::count(&client, policy).checked_sub(1)?;
            let values = topic::read(&client, policy);
            (values.len() as u64 > last && values.last()?.value.as_deref() == Some("better")).then_some(())
        });
    }
    let peak = used(agent.program().pid()).1;
    assert_eq!(agent.program().stop(), Some(0));
    let split = topic::read(&client, "split");
    let long = &split[1..split.len() - 2];
    assert_eq!(long.iter().map(|record| record.value.as_ref().unwrap().len()).sum::<usize>(), half.len() * 2);
    let is_piece = |(at, record): (usize, &JsonRecord)| {
        let has = |name| record.headers.contains_key(name);
        (has("skidway-continued"), has("skidway-partial")) == (at > 0, at + 1 < long.len())
    };
    assert!(long.iter().enumerate().all(is_piece));
    let truncated = topic::read(&client, "truncate");
    let lengths =
        |records: &[JsonRecord]| records.iter().map(|it| it.value.as_ref().unwrap().len()).collect::<Vec<_>>();
    assert_eq!(lengths(&truncated), [6, 256 << 10, 4, 6]);
    assert_eq!(topic::header(&truncated[1], "skidway-truncated"), "true");
    assert_eq!(lengths(&topic::read(&client, "dead_letter")), [6, 4, 6]);
    let dead = topic::read(&client, "dead_letter.dead");
    assert_eq!((lengths(&dead), topic::header(&dead[0], "skidway-position")), (vec![64 << 10], "7"));
    assert!(peak < 64 << 20, "the agent took {} MiB", peak >> 20);
}

/// Scenario 35: half a line, a while, the rest; nothing in between, or a restart, or a rotation after which the writer goes on in its old file.
#[test]
fn a_line_written_in_two_halves_is_one_record() {
    let pause = scale::duration(Duration::from_secs(2), Duration::from_millis(300));
    for what in ["nothing", "restart", "kill", "rotation", "rotation while stopped"] {
        let (site, collector, mut agent) = following("*.log*", PATIENT);
        site.append("logs/app.log", "one\nhal");
        let mut writer = std::fs::File::options().append(true).open(site.path("logs/app.log")).unwrap();
        topic::wait_for(&collector.client(), "app", 1);
        wait::pause(pause);
        match what {
            "restart" | "rotation while stopped" => assert_eq!(agent.program().stop(), Some(0)),
            "kill" => agent.program().kill9(),
            _ => {}
        }
        if what.contains("rotation") {
            site.rename("logs/app.log", "logs/app.log.1");
        }
        writer.write_all(b"f\n").unwrap();
        site.append("logs/app.log", "two\n");
        if !matches!(what, "nothing" | "rotation") {
            agent.start();
        }
        assert_eq!(shown(&collector, agent, 3), [" half", " one", " two"], "{what}");
    }
}

/// Ships one file of these bytes, with these keys of its input, and gives the values that arrived.
fn shipped(bytes: &[u8], keys: &str) -> Vec<Vec<u8>> {
    let (site, collector) = (Site::new(), Site::new());
    let collector = collector.collector().started();
    site.write("logs/app.log", bytes);
    let agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log"), "app").with(keys);
    let (code, said) = agent.once();
    assert_eq!(code, Some(0), "{said}");
    let value = |record: JsonRecord| match (record.value, record.value_base64) {
        (Some(text), _) => text.into_bytes(),
        (None, encoded) => BASE64_STANDARD.decode(encoded.unwrap()).unwrap(),
    };
    topic::read(&collector.client(), "app").into_iter().map(value).collect()
}

/// Scenario 36: what is UTF-8 by name, or no text at all, arrives byte for byte, wherever blocks end.
#[test]
fn bytes_arrive_as_they_are() {
    let long = |len: usize| vec![b'x'; len];
    let mut lines: Vec<Vec<u8>> = vec![b"text".to_vec(), b"".to_vec(), b"\xff\xfe\x80 no text \xc3".to_vec()];
    // CR and LF on both sides of every 8 KiB boundary there is around here.
    for boundary in (8 << 10..=64 << 10).step_by(8 << 10) {
        let written: usize = lines.iter().map(|line| line.len() + 2).sum();
        lines.push(long(boundary - 1 - written));
    }
    lines.extend([b"".to_vec(), b"a\0b\0\0c".to_vec(), b"\xef\xbb\xbfmark".to_vec(), "\u{85}\u{2028}ü".into()]);
    let mut bytes = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        bytes.extend_from_slice(line);
        bytes.extend_from_slice(if number == lines.len() - 1 { b"\n" } else { b"\r\n" });
    }
    assert_eq!(bytes[8190..8194], *b"x\r\nx", "a CR LF lies across the boundary");
    assert_eq!(shipped(&bytes, ""), lines);
}

/// Scenario 36: UTF-16 with and without byte order mark, and Latin-1, arrive as the UTF-8 that means the same.
#[test]
fn encoded_text_arrives_as_the_same_text() {
    let lines = ["grüße", "", "日本 \u{1f980} \u{a0a}\u{d0d}", &"ß".repeat(5000), "last"];
    let text = lines.join("\r\n") + "\n";
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let expected: Vec<Vec<u8>> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
    for (encoding, bytes) in [
        ("utf-16le", little.clone()),
        ("utf-16le", [b"\xff\xfe", &little[..]].concat()),
        ("utf-16be", big.clone()),
        ("utf-16be", [b"\xfe\xff", &big[..]].concat()),
        ("utf-16", [b"\xff\xfe", &little[..]].concat()),
        ("utf-16", [b"\xfe\xff", &big[..]].concat()),
        ("utf-16", little),
    ] {
        assert_eq!(shipped(&bytes, &format!("encoding = {encoding:?}")), expected, "{encoding}");
    }
    let latin: Vec<u8> = (0x20..=0xff).chain([b'\n']).collect();
    // What people call Latin-1 is windows-1252, which has letters where Latin-1 has controls.
    let arrived = String::from_utf8(shipped(&latin, "encoding = \"latin1\"").remove(0)).unwrap();
    let is_same = arrived.chars().zip(0x20_u8..=0xff).filter(|(_, byte)| !(0x80..0xa0).contains(byte));
    assert!(is_same.clone().all(|(char, byte)| char == char::from(byte)) && is_same.count() == 192, "{arrived}");
}
