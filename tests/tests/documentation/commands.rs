//! Command lines that pages show without running them (`docs/cli.md` above all): each is one that its program takes.

use std::collections::BTreeSet;
use std::process::Command;

use regex::Regex;
use skidway_tests::Document;
use skidway_tests::program::binary;

/// Cuts a line of shell into the words of its first command: what is quoted is one word, a pipe, a redirection or a comment ends it.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for char in line.chars() {
        match (quote, char) {
            (Some(open), _) if char == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            (None, '|' | '>' | '<' | ';' | '&' | ')') => break,
            (None, '#') if word.is_none() => break,
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    words
}

/// Gives the commands of ours that a page shows, in blocks and in its sentences.
fn commands(page: &Document) -> BTreeSet<Vec<String>> {
    let block = Regex::new(r"(?m)^(?:    )?(?:sudo -u \S+ )?(skidway(?:-agent|-collector)? .*)$").unwrap();
    let inline = Regex::new(r"`(skidway(?:-agent|-collector)? [^`]+)`").unwrap();
    let lines = block.captures_iter(page.text()).chain(inline.captures_iter(page.text()));
    // What is left out is no command line, and a slash says "or".
    let whole = lines.map(|line| line[1].to_owned()).filter(|line| !line.contains(['…', '[']) && !line.contains(" / "));
    whole.map(|line| words(&line)).collect()
}

#[test]
fn every_command_of_ours_that_a_page_shows_is_one_that_its_program_takes() {
    let mut shown = 0;
    let mut refused = Vec::new();
    for name in super::pages() {
        for words in commands(&Document::of(&name)) {
            // Help is given for what was typed before it; what cannot be typed is refused first. An option's value may still be missing.
            let (program, args) = words.split_first().unwrap();
            let output = Command::new(binary(program)).args(args).arg("--help").output().unwrap();
            shown += 1;
            if !output.status.success() {
                refused.push(format!("{name}: {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr)));
            }
        }
    }
    assert!(shown > 100, "the pages are read: {shown}");
    assert!(refused.is_empty(), "{}", refused.concat());
}

#[test]
fn words_are_those_a_shell_makes_of_them() {
    assert_eq!(
        words("skidway tail 'a b' --filter \"x > 1\" | head # all"),
        ["skidway", "tail", "a b", "--filter", "x > 1"]
    );
    assert_eq!(words("skidway produce t '' > f"), ["skidway", "produce", "t", ""]);
}
