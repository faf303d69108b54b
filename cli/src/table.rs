//! `skidway table`: the latest record of each key, and with `--follow` what comes after it, over every restart of the collector.
//!
//! A row is `key<TAB>value`; a key that was deleted while it is followed is a row without tab. With `--json` a record a line.

use std::io::Write;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{ACCEPT, HeaderValue};
use serde_json::{Map, Value};
use skidway_daemon::backoff::Backoff;
use skidway_record::Fate;
use skidway_wire::table_path;

use crate::args;
use crate::client::Client;
use crate::error::{Error, cause};
use crate::output::{Form, note};
use crate::tail::line::{Line, Splitter, parse, passed_over, to_json};

const RECONNECT_BASE: Duration = Duration::from_millis(100);
const RECONNECT_MAX: Duration = Duration::from_secs(5);
/// Heartbeats come every few seconds once the table is at its end; a large one may take a while to begin.
const SILENCE_MAX: Duration = Duration::from_secs(300);

/// Prints a topic's table, or one key's latest record.
///
/// # Errors
/// What the collector refuses; without `--follow` also a lost connection.
pub async fn run(client: Client, args: args::Table, form: Form, out: &mut impl Write) -> Result<(), Error> {
    if let Some(key) = &args.key {
        return one(&client, &args, key, form, out).await;
    }
    let (mut next, mut backoff) = (None, Backoff::new(RECONNECT_BASE, RECONNECT_MAX));
    let mut complained = false;
    loop {
        match stream(&client, &args, &mut next, form, out).await {
            Ok(()) if !args.follow => return Ok(()),
            Ok(()) => {}
            Err(error) if args.follow && error.fate() == Fate::Retry => {
                if !std::mem::replace(&mut complained, true) {
                    note(format_args!("{error}\nWaiting for it; interrupt with Ctrl-C."));
                }
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(backoff.next(rand::random())).await;
    }
}

async fn one(client: &Client, args: &args::Table, key: &str, form: Form, out: &mut impl Write) -> Result<(), Error> {
    let partition = args.partition.map(|partition| partition.to_string());
    let mut query = vec![("key", key)];
    query.extend(partition.as_deref().map(|partition| ("partition", partition)));
    let request = client.request(Method::GET, &table_path(args.topic.as_str()), &query);
    let record: Map<String, Value> = client.fetch(request).await?;
    write_row(&record, form, out)
}

/// Prints one answer to its end, and remembers where to go on.
async fn stream(
    client: &Client,
    args: &args::Table,
    next: &mut Option<String>,
    form: Form,
    out: &mut impl Write,
) -> Result<(), Error> {
    let partition = args.partition.map(|partition| partition.to_string());
    let mut query = vec![("tokens", "true"), ("follow", if args.follow { "true" } else { "false" })];
    query.extend(partition.as_deref().map(|partition| ("partition", partition)));
    query.extend(args.prefix.as_deref().map(|prefix| ("prefix", prefix)));
    let from = next.clone();
    query.extend(from.as_deref().map(|from| ("from", from)));
    let request = client.stream(Method::GET, &table_path(args.topic.as_str()), &query);
    let request = request.header(ACCEPT, HeaderValue::from_static("application/x-ndjson"));
    let silence = |_| Error::Lost { reason: format!("nothing was heard for {} s", SILENCE_MAX.as_secs()) };
    let mut answer = tokio::time::timeout(SILENCE_MAX, client.send(request)).await.map_err(silence)??;
    let url = answer.url().to_string();
    let strange = |reason| Error::Strange { url: url.clone(), reason, passing: false };
    let mut splitter = Splitter::default();
    loop {
        let chunk = tokio::time::timeout(SILENCE_MAX, answer.chunk()).await.map_err(silence)?;
        let chunk = chunk.map_err(|error| Error::Lost { reason: cause(&error) })?;
        let Some(chunk) = chunk else { return Ok(()) };
        for line in splitter.push(&chunk).map_err(strange)? {
            if let Some(after) = take(parse(&line).map_err(strange)?, form, out)? {
                *next = Some(after);
            }
        }
        out.flush()?;
    }
}

/// Prints what a line says; gives where to go on after it.
fn take(line: Line, form: Form, out: &mut impl Write) -> Result<Option<String>, Error> {
    match line {
        Line::Record { object, next } => {
            if !object.contains_key("watermark") {
                write_row(&object, form, out)?;
            }
            Ok(next)
        }
        // The stream ends then, and the caller comes back.
        Line::Heartbeat { next } | Line::Gone { next, .. } | Line::Reconnect { next, .. } => Ok(next),
        Line::Damaged { damage, next } => {
            note(passed_over(&damage));
            Ok(next)
        }
        Line::Failed(problem) => Err(Error::Refused(problem)),
    }
}

fn write_row(record: &Map<String, Value>, form: Form, out: &mut impl Write) -> Result<(), Error> {
    if form.json {
        return Ok(writeln!(out, "{}", to_json(record))?);
    }
    let text = |name: &str, base64: &str| {
        let text = record.get(name).and_then(Value::as_str).or_else(|| record.get(base64).and_then(Value::as_str));
        text.map(|text| if form.terminal { harmless(text) } else { text.to_owned() })
    };
    let key = text("key", "key_base64").unwrap_or_default();
    match text("value", "value_base64") {
        Some(value) => Ok(writeln!(out, "{key}\t{value}")?),
        None => Ok(writeln!(out, "{key}")?),
    }
}

/// Keeps control characters from the terminal.
fn harmless(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_key_and_value_and_a_deleted_key_stands_alone() {
        let shown = |record: Value, terminal: bool| {
            let (form, mut out) = (Form { json: false, terminal, colours: false }, Vec::new());
            write_row(record.as_object().unwrap(), form, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown(serde_json::json!({"key": "a", "value": "1"}), false), "a\t1\n");
        assert_eq!(shown(serde_json::json!({"key": "a", "value": null}), false), "a\n");
        assert_eq!(shown(serde_json::json!({"key_base64": "/w==", "value": "\u{1b}[m"}), true), "/w==\t\u{fffd}[m\n");
    }
}
