//! What a line becomes, and that each one arrives once.

use skidway_tests::{Site, topic, wait};

/// Ships one file with this content (`run --once`) and gives the values that arrived.
#[track_caller]
fn check(content: &[u8], expected: &[&str]) {
    let site = Site::new();
    let collector = site.collector().started();
    site.write("logs/app.log", content);
    let agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log"), "app");
    let (code, said) = agent.once();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(topic::values(&collector.client(), "app"), expected);
}

#[test]
fn lines_arrive_in_their_order() {
    check(b"one\ntwo\nthree\n", &["one", "two", "three"]);
}

#[test]
fn empty_lines_are_lines() {
    check(b"\n\na\n\n", &["", "", "a", ""]);
}

#[test]
fn one_carriage_return_before_the_line_feed_is_stripped() {
    check(b"a\r\nb\r\r\nc\rd\n", &["a", "b\r", "c\rd"]);
}

#[test]
fn an_empty_file_gives_nothing() {
    check(b"", &[]);
}

#[test]
fn the_last_line_without_a_line_feed_arrives_with_once() {
    check(b"whole\npart", &["whole", "part"]);
}

#[test]
fn a_flushed_partial_line_says_so() {
    let site = Site::new();
    let collector = site.collector().started();
    site.write("logs/app.log", "whole\npart");
    let agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log"), "app");
    assert_eq!(agent.once().0, Some(0));
    let partial: Vec<bool> = topic::read(&collector.client(), "app")
        .iter()
        .map(|record| record.headers.contains_key("skidway-partial"))
        .collect();
    assert_eq!(partial, [false, true]);
}

#[test]
fn what_completes_a_partial_line_continues_it() {
    let site = Site::new();
    let collector = site.collector().started();
    let agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log"), "app");
    site.write("logs/app.log", "first ");
    assert_eq!(agent.once().0, Some(0));
    site.append("logs/app.log", "second\nthird\n");
    assert_eq!(agent.once().0, Some(0));
    let records = topic::read(&collector.client(), "app");
    let marks: Vec<_> = records
        .iter()
        .map(|record| (record.value.as_deref().unwrap(), record.headers.contains_key("skidway-continued")))
        .collect();
    assert_eq!(marks, [("first ", false), ("second", true), ("third", false)]);
}

#[test]
fn a_lone_line_feed_after_a_flushed_partial_line_makes_no_record() {
    let site = Site::new();
    let collector = site.collector().started();
    let agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log"), "app");
    site.write("logs/app.log", "first");
    assert_eq!(agent.once().0, Some(0));
    site.append("logs/app.log", "\nsecond\n");
    assert_eq!(agent.once().0, Some(0));
    assert_eq!(topic::values(&collector.client(), "app"), ["first", "second"]);
}

#[test]
fn bytes_that_are_not_text_arrive_unchanged() {
    let site = Site::new();
    let collector = site.collector().started();
    site.write("logs/app.log", b"latin \xe4\xf6\ntext\n");
    let agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log"), "app");
    assert_eq!(agent.once().0, Some(0));
    let records = topic::read(&collector.client(), "app");
    let values: Vec<_> = records.iter().map(|r| (r.value.as_deref(), r.value_base64.as_deref())).collect();
    assert_eq!(values, [(None, Some("bGF0aW4g5PY=")), (Some("text"), None)]);
}

#[test]
fn records_carry_host_path_and_labels() {
    let site = Site::new();
    let collector = site.collector().started();
    let path = site.write("logs/app.log", "line\n");
    let labels = "[agent.labels]\nenv = \"prod\"\nteam = \"blue\"";
    let agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log"), "app").with(labels);
    assert_eq!(agent.once().0, Some(0));
    let records = topic::read(&collector.client(), "app");
    assert_eq!(topic::header(&records[0], "path"), path.display().to_string());
    assert_eq!(topic::header(&records[0], "env"), "prod");
    assert_eq!(topic::header(&records[0], "team"), "blue");
    assert!(!topic::header(&records[0], "host").is_empty());
    assert_eq!(records[0].key, None);
}

#[test]
fn a_second_run_ships_only_what_is_new() {
    let site = Site::new();
    let collector = site.collector().started();
    let agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log"), "app");
    site.write("logs/app.log", "one\n");
    assert_eq!(agent.once().0, Some(0));
    assert_eq!(agent.once().0, Some(0));
    site.append("logs/app.log", "two\n");
    assert_eq!(agent.once().0, Some(0));
    assert_eq!(topic::values(&collector.client(), "app"), ["one", "two"]);
}

#[test]
fn lines_appended_while_it_runs_arrive() {
    let site = Site::new();
    let collector = site.collector().started();
    site.write("logs/app.log", "before\n");
    let _agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log"), "app").started();
    let client = collector.client();
    topic::wait_for(&client, "app", 1);
    for at in 0..20 {
        site.append("logs/app.log", format!("line {at}\n"));
        topic::wait_for(&client, "app", at + 2);
    }
    let expected: Vec<String> = ["before".into()].into_iter().chain((0..20).map(|at| format!("line {at}"))).collect();
    assert_eq!(topic::values(&client, "app"), expected);
}

#[test]
fn a_file_that_appears_later_is_found() {
    let site = Site::new();
    let collector = site.collector().started();
    site.write("logs/there.log", "x\n");
    let _agent = site.agent("a", &collector.url()).follows(&site.text("logs/**/*.log"), "app").started();
    topic::wait_for(&collector.client(), "app", 1);
    site.write("logs/later.log", "y\n");
    topic::wait_for(&collector.client(), "app", 2);
    site.write("logs/new/folder/deep.log", "z\n");
    topic::wait_for(&collector.client(), "app", 3);
    let mut values = topic::values(&collector.client(), "app");
    values.sort();
    assert_eq!(values, ["x", "y", "z"]);
}

#[test]
fn an_agent_that_starts_first_waits_for_its_collector() {
    let site = Site::new();
    let mut collector = site.collector();
    site.write("logs/app.log", "patience\n");
    let mut agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log"), "app");
    agent.start();
    collector.start();
    topic::wait_for(&collector.client(), "app", 1);
    assert_eq!(agent.program().stop(), Some(0));
    assert_eq!(topic::values(&collector.client(), "app"), ["patience"]);
}

#[test]
fn a_file_of_several_inputs_belongs_to_the_first() {
    let site = Site::new();
    let collector = site.collector().started();
    site.write("logs/app.log", "mine\n");
    site.write("logs/other.log", "yours\n");
    let agent = site.agent("a", &collector.url());
    let agent = agent.follows(&site.text("logs/app.log"), "first").follows(&site.text("logs/*.log"), "second");
    assert_eq!(agent.once().0, Some(0));
    assert_eq!(topic::values(&collector.client(), "first"), ["mine"]);
    assert_eq!(topic::values(&collector.client(), "second"), ["yours"]);
}

#[test]
fn starting_at_the_end_skips_what_was_there_and_nothing_else() {
    let site = Site::new();
    let collector = site.collector().started();
    site.write("logs/app.log", "old\nolder\nunfinished");
    let input = format!("[[inputs]]\ninclude = [{:?}]\ntopic = \"app\"\nstart_at = \"end\"", site.text("logs/*.log"));
    let _agent = site.agent("a", &collector.url()).with(&input).started();
    // Files that appear after the first scan are read from their start.
    site.write("logs/late.log", "late\n");
    topic::wait_for(&collector.client(), "app", 1);
    site.append("logs/app.log", " line\nnew\n");
    topic::wait_for(&collector.client(), "app", 3);
    let mut values = topic::values(&collector.client(), "app");
    values.sort();
    assert_eq!(values, ["late", "new", "unfinished line"]);
}

#[test]
fn hard_and_symbolic_links_to_one_file_give_one_copy() {
    let site = Site::new();
    let collector = site.collector().started();
    let path = site.write("logs/app.log", "once\n");
    std::os::unix::fs::symlink(&path, site.path("logs/soft.log")).unwrap();
    std::fs::hard_link(&path, site.path("logs/hard.log")).unwrap();
    let agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log"), "app");
    assert_eq!(agent.once().0, Some(0));
    assert_eq!(topic::values(&collector.client(), "app"), ["once"]);
}

#[test]
fn what_is_written_by_any_name_of_a_file_arrives_without_a_scan() {
    let site = Site::new();
    let collector = site.collector().started();
    let path = site.write("logs/app.log", "one\n");
    let agent = site.agent("a", &collector.url()).with_agent("scan_interval = \"1h\"");
    let _agent = agent.follows(&site.text("logs/*.log"), "app").started();
    let client = collector.client();
    topic::wait_for(&client, "app", 1);
    std::fs::hard_link(&path, site.path("logs/hard.log")).unwrap();
    site.append("logs/app.log", "two\n");
    topic::wait_for(&client, "app", 2);
    site.append("logs/hard.log", "three\n");
    topic::wait_for(&client, "app", 3);
    // Without the one name it goes by the other.
    site.remove("logs/app.log");
    site.append("logs/hard.log", "four\n");
    topic::wait_for(&client, "app", 4);
    assert_eq!(topic::values(&client, "app"), ["one", "two", "three", "four"]);
}

#[test]
fn topic_templates_take_the_files_name() {
    let site = Site::new();
    let collector = site.collector().started();
    site.write("logs/web.log", "a\n");
    site.write("logs/db.log.1", "b\n");
    let agent = site.agent("a", &collector.url()).follows(&site.text("logs/*"), "x-{file_stem}");
    assert_eq!(agent.once().0, Some(0));
    assert_eq!(topic::values(&collector.client(), "x-web"), ["a"]);
    assert_eq!(topic::values(&collector.client(), "x-db"), ["b"]);
}

#[test]
fn a_line_past_the_limit_comes_in_marked_pieces() {
    let site = Site::new();
    let collector = site.collector().started();
    let long = "0123456789".repeat(250);
    site.write("logs/app.log", format!("before\n{long}\nafter\n"));
    let input =
        format!("[[inputs]]\ninclude = [{:?}]\ntopic = \"app\"\nline_bytes_max = \"1KiB\"", site.text("logs/*.log"));
    assert_eq!(site.agent("a", &collector.url()).with(&input).once().0, Some(0));
    let records = topic::read(&collector.client(), "app");
    let marks: Vec<_> = records
        .iter()
        .map(|r| (r.headers.contains_key("skidway-partial"), r.headers.contains_key("skidway-continued")))
        .collect();
    assert_eq!(marks, [(false, false), (true, false), (true, true), (false, true), (false, false)]);
    let pieces: String = records[1..4].iter().filter_map(|record| record.value.as_deref()).collect();
    assert_eq!(pieces, long);
}

#[test]
fn a_line_of_many_megabytes_comes_in_pieces_of_the_limit() {
    let site = Site::new();
    let collector = site.collector().started();
    let long = "0123456789abcdef".repeat(1 << 20);
    site.write("logs/app.log", format!("{long}\nafter\n"));
    let agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log"), "app");
    assert_eq!(agent.once().0, Some(0));
    let values = topic::values(&collector.client(), "app");
    let (last, pieces) = values.split_last().unwrap();
    assert_eq!(last, "after");
    assert!(pieces.iter().all(|piece| piece.len() <= 1 << 20) && pieces.concat() == long, "{} pieces", pieces.len());
}

#[test]
fn a_quiet_partial_line_is_shipped_after_a_while_and_completed_later() {
    let site = Site::new();
    let collector = site.collector().started();
    let input =
        format!("[[inputs]]\ninclude = [{:?}]\ntopic = \"app\"\npartial_flush = \"200ms\"", site.text("logs/*.log"));
    let _agent = site.agent("a", &collector.url()).with(&input).started();
    site.write("logs/app.log", "first half, ");
    topic::wait_for(&collector.client(), "app", 1);
    site.append("logs/app.log", "second half\nwhole\n");
    topic::wait_for(&collector.client(), "app", 3);
    let records = topic::read(&collector.client(), "app");
    let marks: Vec<_> = records
        .iter()
        .map(|r| (r.headers.contains_key("skidway-partial"), r.headers.contains_key("skidway-continued")))
        .collect();
    assert_eq!(marks, [(true, false), (false, true), (false, false)]);
    assert_eq!(topic::values(&collector.client(), "app"), ["first half, ", "second half", "whole"]);
}

/// Scenario 37.
#[test]
fn files_of_strange_names_are_followed() {
    use std::os::unix::ffi::OsStrExt;
    let site = Site::new();
    let collector = site.collector().started();
    let longest = [&[b'x'; 251], &b".log"[..]].concat();
    let names: [&[u8]; 7] = [
        b"with space,comma.log",
        b"line\nfeed.log",
        b"latin-\xe4.log",
        b"\xc3\xa4\xf0\x9f\x98\x80.log",
        b"[brackets]{braces}*?.log",
        &longest,
        b"1/2/3/4/5/6/7/8/9/10/\xfftenth.log",
    ];
    let path = |name: &[u8]| site.path("logs").join(std::ffi::OsStr::from_bytes(name));
    for (at, name) in names.into_iter().enumerate() {
        skidway_tests::site::append(&path(name), format!("{at}\n"));
    }
    let mut agent = site.agent("a", &collector.url()).follows(&site.text("logs/**/*.log"), "app").started();
    topic::wait_for(&collector.client(), "app", names.len() as u64);
    for (at, name) in names.into_iter().enumerate() {
        skidway_tests::site::append(&path(name), format!("{at} later\n"));
        topic::wait_for(&collector.client(), "app", (names.len() + at + 1) as u64);
    }
    assert_eq!(agent.program().stop(), Some(0));
    let records = topic::read(&collector.client(), "app");
    for (at, name) in names.into_iter().enumerate() {
        let from = |record: &&skidway_wire::JsonRecord| {
            topic::header_bytes(record, "path") == path(name).as_os_str().as_bytes()
        };
        let mut values: Vec<&str> = records.iter().filter(from).filter_map(|record| record.value.as_deref()).collect();
        values.sort_unstable();
        assert_eq!(values, [at.to_string(), format!("{at} later")], "{}", path(name).display());
    }
}

#[test]
fn binary_files_are_skipped_and_named() {
    let site = Site::new();
    let collector = site.collector().started();
    site.write("logs/data.log", [0u8, 1, 2, 3, 0, 0, 255, 254].repeat(1000));
    site.write("logs/text.log", "line\n");
    let agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log"), "app").started();
    topic::wait_for(&collector.client(), "app", 1);
    let status = wait::until("the status names it", || agent.status());
    assert!(status["skipped"][0]["path"].as_str().is_some_and(|path| path.ends_with("data.log")), "{status}");
    assert_eq!(topic::values(&collector.client(), "app"), ["line"]);
}

#[test]
fn a_file_larger_than_many_batches_arrives_whole() {
    let site = Site::new();
    let collector = site.collector().started();
    let lines: Vec<String> = (0..200_000).map(|at| format!("line {at} {}", "x".repeat(at % 60))).collect();
    site.write("logs/app.log", lines.join("\n") + "\n");
    let agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log"), "app");
    let (code, said) = agent.once();
    assert_eq!(code, Some(0), "{said}");
    assert!(topic::values(&collector.client(), "app") == lines, "200,000 lines in their order");
}

/// Scenario 38, of plain files: a trace written in pieces, the agent killed in between.
#[test]
fn a_stack_trace_torn_by_a_restart_is_one_record() {
    let site = Site::new();
    let collector = site.collector().started();
    let mut agent = site
        .agent("a", &collector.url())
        .follows(&site.text("logs/*.log"), "app")
        .with("multiline = { preset = \"java\", flush = \"3s\" }")
        .started();
    site.write("logs/a.log", "INFO one\njava.lang.Error: no\n\tat a.B(B.java:1)\n");
    topic::wait_for(&collector.client(), "app", 1);
    agent.program().kill9();
    site.append("logs/a.log", "\tat c.D(D.java:2)\nCaused by: java.io.IOException\n\t... 2 more\nINFO two\n");
    agent.start();
    topic::wait_for(&collector.client(), "app", 3);
    assert_eq!(agent.program().stop(), Some(0));
    let trace =
        "java.lang.Error: no\n\tat a.B(B.java:1)\n\tat c.D(D.java:2)\nCaused by: java.io.IOException\n\t... 2 more";
    assert_eq!(topic::values(&collector.client(), "app"), ["INFO one", trace, "INFO two"]);
}
