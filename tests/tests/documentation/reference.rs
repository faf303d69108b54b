//! The references against the programs, both ways: every call of the HTTP interface, every flag of the command lines, every configuration key.

use std::collections::BTreeSet;
use std::process::Command;

use regex::Regex;
use skidway_tests::program::binary;
use skidway_tests::{Document, Site};

#[test]
fn the_page_about_http_lists_the_calls_that_there_are() {
    let site = Site::new();
    let described = site.collector().started().client().get("/openapi.json").json();
    let mut calls = BTreeSet::new();
    for (path, item) in described["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let query =
                parameters.iter().filter(|it| it["in"] == "query").map(|it| it["name"].as_str().unwrap().to_owned());
            calls.insert((format!("{} {path}", method.to_uppercase()), query.collect::<BTreeSet<_>>()));
        }
    }
    assert!(calls.len() > 30, "the description is read");
    let row = Regex::new(r"(?m)^\| `([A-Z]+ /[^`]*)` \| ([^|]*)\|").unwrap();
    let name = Regex::new("`([a-z0-9_]+)`").unwrap();
    let page = Document::of("docs/http.md");
    let names = |cell: &str| -> BTreeSet<String> { name.captures_iter(cell).map(|name| name[1].to_owned()).collect() };
    let listed: BTreeSet<_> = row.captures_iter(page.text()).map(|row| (row[1].to_owned(), names(&row[2]))).collect();
    assert_eq!(listed, calls, "docs/http.md against /openapi.json");
}

/// Gives the flags that a program's help names, of all its commands.
fn flags(program: &str) -> BTreeSet<String> {
    let (flag, command) =
        (Regex::new(r"--[a-z][a-z-]+").unwrap(), Regex::new(r"(?m)^  ([a-z][a-z-]*)(?:  |$)").unwrap());
    let (mut flags, mut pending) = (BTreeSet::new(), vec![Vec::<String>::new()]);
    while let Some(commands) = pending.pop() {
        let said = Command::new(binary(program)).args(&commands).arg("--help").output().unwrap();
        let help = String::from_utf8(said.stdout).unwrap();
        // What stands before an option's own line is the description of another.
        let own = help.lines().filter(|line| line.trim_start().starts_with('-'));
        flags.extend(own.flat_map(|line| {
            flag.find_iter(line.split("  ").find(|part| part.contains("--")).unwrap_or_default())
                .map(|it| it.as_str().to_owned())
                .collect::<Vec<_>>()
        }));
        if let Some((_, listed)) = help.split_once("Commands:\n") {
            let listed = listed.split("\n\n").next().unwrap_or_default();
            let named = command.captures_iter(listed).map(|it| it[1].to_owned()).filter(|name| name != "help");
            pending.extend(named.map(|name| [&commands[..], &[name]].concat()));
        }
    }
    flags
}

fn named(page: &Document) -> BTreeSet<String> {
    let flag = Regex::new(r"(?:^|[\s`(|])(--[a-z][a-z-]+)").unwrap();
    flag.captures_iter(page.text()).map(|flag| flag[1].to_owned()).collect()
}

#[test]
fn the_page_about_the_command_line_names_every_flag_and_no_other() {
    let page = Document::of("docs/cli.md");
    let (flags, named) = (flags("skidway"), named(&page));
    assert!(flags.len() > 20, "{flags:?}");
    let missing: Vec<_> = flags.difference(&named).collect();
    assert!(missing.is_empty(), "docs/cli.md names every flag of skidway; not {missing:?}");
    let made_up: Vec<_> = named.difference(&flags).collect();
    assert!(made_up.is_empty(), "skidway has every flag that docs/cli.md names; not {made_up:?}");
}

#[test]
fn the_pages_about_agent_and_collector_name_every_flag_of_theirs() {
    for (program, page) in [("skidway-agent", "docs/agent.md"), ("skidway-collector", "docs/collector.md")] {
        let (flags, named) = (flags(program), named(&Document::of(page)));
        let unnamed: Vec<_> =
            flags.difference(&named).filter(|flag| !["--help", "--version"].contains(&flag.as_str())).collect();
        assert!(unnamed.is_empty(), "{page} names every flag of {program}; not {unnamed:?}");
    }
}

#[test]
fn the_page_about_configuration_is_the_files_that_are_held_against_the_code() {
    let page = Document::of("docs/configuration.md");
    for file in ["agent", "collector"] {
        // `tidy` holds every key of these against the code, and back.
        assert!(page.text().contains(&format!("{{{{#include ../configs/{file}.toml}}}}")), "{file}");
    }
}
