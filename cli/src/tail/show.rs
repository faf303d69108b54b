//! A record as a person or a pipe wants to see it. Pure: text out, the terminal's nature handed in.
//!
//! In a pipe: the value's bytes and a line end, nothing else. On a terminal: the local time and the file's name before it,
//! coloured if that is welcome, control characters made harmless.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::tz::TimeZone;
use serde_json::Value;
use skidway_wire::JsonRecord;

use crate::output::Form;

const RESET: &str = "\x1b[0m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
/// One for each file: cyan, green, magenta, blue and their bright kin; not the red and yellow that warn.
const FILE_COLOURS: [&str; 7] = ["\x1b[36m", "\x1b[32m", "\x1b[35m", "\x1b[34m", "\x1b[96m", "\x1b[92m", "\x1b[95m"];
/// Levels are looked for in so much of a line; further on the word is rarely a level.
const LEVEL_BYTES: usize = 160;

/// Knows where it shows records.
#[derive(Debug)]
pub(super) struct Show {
    pub(super) form: Form,
    pub(super) zone: TimeZone,
}

impl Show {
    /// Appends one record and its line end.
    pub(super) fn record(&self, record: &JsonRecord, out: &mut Vec<u8>) {
        if self.form.terminal {
            let time = self.time(&record.timestamp);
            let line = if self.form.colours { coloured(record, &time) } else { plain(record, &time) };
            out.extend_from_slice(line.as_bytes());
        } else {
            out.extend_from_slice(&value(record).unwrap_or_default());
        }
        out.push(b'\n');
    }

    /// Gives the time of day here; a timestamp that is none stays as it is.
    fn time(&self, timestamp: &str) -> String {
        let Ok(timestamp) = timestamp.parse::<jiff::Timestamp>() else { return timestamp.to_owned() };
        timestamp.to_zoned(self.zone.clone()).strftime("%H:%M:%S.%3f").to_string()
    }
}

fn plain(record: &JsonRecord, time: &str) -> String {
    let file = file_name(record).map_or_else(String::new, |name| format!("{} ", harmless(name)));
    format!("{time} {file}{}", text(record))
}

fn coloured(record: &JsonRecord, time: &str) -> String {
    let file = file_name(record).map_or_else(String::new, |name| {
        format!("{}{}{RESET} ", file_colour(path(record).unwrap_or(name)), harmless(name))
    });
    let text = text(record);
    let text = match level_colour(&text) {
        Some(colour) => format!("{colour}{text}{RESET}"),
        None => text,
    };
    format!("{DIM}{time}{RESET} {file}{text}")
}

fn path(record: &JsonRecord) -> Option<&str> {
    record.headers.get("path").and_then(Value::as_str)
}

fn file_name(record: &JsonRecord) -> Option<&str> {
    path(record)?.rsplit('/').next().filter(|name| !name.is_empty())
}

/// Gives a file the same colour every time.
fn file_colour(path: &str) -> &'static str {
    let sum = path.bytes().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    FILE_COLOURS[sum % FILE_COLOURS.len()]
}

fn level_colour(line: &str) -> Option<&'static str> {
    let beginning: String = line.chars().take(LEVEL_BYTES).flat_map(char::to_lowercase).collect();
    beginning.split(|c: char| !c.is_alphanumeric()).find_map(|word| match word {
        "error" | "fatal" | "panic" | "crit" | "critical" | "emerg" => Some(RED),
        "warn" | "warning" => Some(YELLOW),
        _ => None,
    })
}

fn value(record: &JsonRecord) -> Option<Cow<'_, [u8]>> {
    match (&record.value, &record.value_base64) {
        (Some(text), _) => Some(Cow::Borrowed(text.as_bytes())),
        (None, Some(base64)) => BASE64.decode(base64).ok().map(Cow::Owned),
        (None, None) => None,
    }
}

fn text(record: &JsonRecord) -> String {
    value(record).map_or_else(|| "(tombstone)".to_owned(), |value| harmless(&String::from_utf8_lossy(&value)))
}

/// Shows control characters instead of obeying them: a log line must not be able to take over a terminal.
fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && character != '\t' {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Form = Form { json: false, terminal: false, colours: false };
    const TERMINAL: Form = Form { json: false, terminal: true, colours: false };
    const COLOURS: Form = Form { json: false, terminal: true, colours: true };

    fn shown(form: Form, json: &str) -> Vec<u8> {
        let mut record: JsonRecord = serde_json::from_str(
            r#"{"topic":"t","partition":0,"offset":1,"timestamp":"2026-01-02T03:04:05.678Z","headers":{"path":"/var/log/a.log"}}"#,
        )
        .unwrap();
        let value: JsonRecord =
            serde_json::from_str(&format!(r#"{{"topic":"","partition":0,"offset":0,"timestamp":"",{json}}}"#)).unwrap();
        (record.value, record.value_base64) = (value.value, value.value_base64);
        let mut out = Vec::new();
        Show { form, zone: TimeZone::UTC }.record(&record, &mut out);
        out
    }

    #[test]
    fn a_pipe_gets_the_values_bytes_and_nothing_else() {
        let cases: [(&str, &[u8]); 4] = [
            (r#""value":"GET / 200""#, b"GET / 200\n"),
            (r#""value":"\u001b[31m\t""#, b"\x1b[31m\t\n"),
            (r#""value_base64":"/wA=""#, b"\xff\0\n"),
            (r#""value":null"#, b"\n"),
        ];
        for (value, expected) in cases {
            assert_eq!(shown(PIPE, value), expected, "{value}");
        }
    }

    #[test]
    fn a_terminal_gets_time_and_file_and_no_control_characters() {
        let cases = [
            (r#""value":"GET / 200""#, "03:04:05.678 a.log GET / 200\n"),
            (r#""value":"\u001b[31m\tx\u0007""#, "03:04:05.678 a.log \\u{1b}[31m\tx\\u{7}\n"),
            (r#""value_base64":"/wA=""#, "03:04:05.678 a.log \u{fffd}\\u{0}\n"),
            (r#""value":null"#, "03:04:05.678 a.log (tombstone)\n"),
        ];
        for (value, expected) in cases {
            assert_eq!(String::from_utf8(shown(TERMINAL, value)).unwrap(), expected, "{value}");
        }
    }

    #[test]
    fn colours_mark_the_file_and_the_level() {
        let line = String::from_utf8(shown(COLOURS, r#""value":"[error] no""#)).unwrap();
        assert!(line.starts_with("\x1b[2m03:04:05.678\x1b[0m \x1b["), "{line:?}");
        assert!(line.ends_with("\x1b[31m[error] no\x1b[0m\n"), "{line:?}");
    }

    #[test]
    fn only_words_are_levels() {
        let cases = [
            ("ERROR: x", Some(RED)),
            ("2026 [warn] x", Some(YELLOW)),
            ("GET /terrors 200", None),
            ("errors=0", None),
            ("all well", None),
        ];
        for (line, colour) in cases {
            assert_eq!(level_colour(line), colour, "{line}");
        }
    }
}
