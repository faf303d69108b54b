//! `skidway tail`: the records of topics, and with `--follow` those to come, each once, over every restart of the collector.

pub(crate) mod line;
mod reader;
mod show;

use std::io::Write;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use skidway_daemon::backoff::Backoff;
use skidway_record::Fate;

use crate::args;
use crate::client::Client;
use crate::error::Error;
use crate::output::{Form, note};
use line::Line;
use reader::{Connection, Reader};
use show::Show;

/// Where reading starts if nothing is said, as in every other `tail`.
const LAST_DEFAULT: u32 = 10;
const RECONNECT_BASE: Duration = Duration::from_millis(100);
const RECONNECT_MAX: Duration = Duration::from_secs(5);

/// Prints topics' records until their end, or for ever.
///
/// # Errors
/// What the collector refuses; without `--follow` also a lost connection.
pub async fn run(client: Client, args: args::Tail, form: Form, out: &mut impl Write) -> Result<(), Error> {
    let from = args.from.clone().unwrap_or_else(|| format!("-{}", args.last.unwrap_or(LAST_DEFAULT)));
    let printer = Printer { show: Show { form, zone: TimeZone::system() } };
    let follows = args.follow;
    let mut reader = Reader::new(client, args, from)?;
    if follows { follow(&mut reader, &printer, out).await } else { drain(&mut reader, &printer, out).await }
}

/// Prints one stream to its end.
async fn drain(reader: &mut Reader, printer: &Printer, out: &mut impl Write) -> Result<(), Error> {
    let mut connection = reader.connect().await?;
    while step(reader, &mut connection, printer, out).await? {}
    Ok(())
}

/// Prints a page, then stream after stream. Whatever may pass is waited for, and said once.
async fn follow(reader: &mut Reader, printer: &Printer, out: &mut impl Write) -> Result<(), Error> {
    printer.print(&reader.page().await?, out)?;
    out.flush()?;
    let mut backoff = Backoff::new(RECONNECT_BASE, RECONNECT_MAX);
    let mut complained = false;
    loop {
        match stream(reader, printer, out, &mut backoff, &mut complained).await {
            Err(error) if error.fate() == Fate::Retry => {
                if !std::mem::replace(&mut complained, true) {
                    note(format_args!("{error}\nWaiting for it; interrupt with Ctrl-C."));
                }
            }
            Err(error) => return Err(error),
            Ok(()) => {}
        }
        tokio::time::sleep(backoff.next(rand::random())).await;
    }
}

/// Prints one stream to its end, and says so if it is the first after a failure.
async fn stream(
    reader: &mut Reader,
    printer: &Printer,
    out: &mut impl Write,
    backoff: &mut Backoff,
    complained: &mut bool,
) -> Result<(), Error> {
    let mut connection = reader.connect().await?;
    if std::mem::take(complained) {
        note("connected again; nothing was missed");
    }
    while step(reader, &mut connection, printer, out).await? {
        backoff.reset();
    }
    Ok(())
}

/// Prints what comes next on the stream; false at its end.
async fn step(
    reader: &mut Reader,
    connection: &mut Connection,
    printer: &Printer,
    out: &mut impl Write,
) -> Result<bool, Error> {
    let Some(lines) = reader.lines(connection).await? else { return Ok(false) };
    for line in lines {
        let next = match line {
            Line::Record { object, next } => {
                printer.print(std::slice::from_ref(&object), out)?;
                next
            }
            Line::Heartbeat { next } => next,
            Line::Gone { gone, next } => {
                note(line::gone(&gone));
                next
            }
            Line::Reconnect { after, next } => {
                reader.advance(next);
                out.flush()?;
                if !reader.follows() {
                    return Err(Error::Lost { reason: "the collector is stopping".to_owned() });
                }
                tokio::time::sleep(after.min(RECONNECT_MAX)).await;
                return Ok(false);
            }
            Line::Damaged { damage, next } => {
                note(line::passed_over(&damage));
                next
            }
            Line::Failed(problem) => return Err(Error::Refused(problem)),
        };
        reader.advance(next);
    }
    out.flush()?;
    Ok(true)
}

struct Printer {
    show: Show,
}

impl Printer {
    fn print(&self, records: &[Map<String, Value>], out: &mut impl Write) -> Result<(), Error> {
        let mut text = Vec::new();
        for object in records {
            if self.show.form.json {
                text.extend_from_slice(line::to_json(object).as_bytes());
                text.push(b'\n');
            } else {
                let record = line::record(object).map_err(|reason| Error::Lost { reason })?;
                self.show.record(&record, &mut text);
            }
        }
        Ok(out.write_all(&text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::{Stub, cut_stream, problem, silence, success};

    const JSON: Form = Form { json: true, terminal: false, colours: false };
    const PIPE: Form = Form { json: false, terminal: false, colours: false };

    fn record(offset: u64, next: &str) -> String {
        let members = r#""topic":"t","partition":0,"timestamp":"2026-01-01T00:00:00.000Z","key":null,"headers":{}"#;
        format!(r#"{{{members},"offset":{offset},"value":"line {offset}","next":"{next}"}}"#) + "\n"
    }

    fn page(records: &[String], next: &str) -> String {
        let records: Vec<String> =
            records.iter().map(|record| record.trim_end().replace(r#","next":"""#, "")).collect();
        success(&format!(r#"{{"records":[{}],"next":"{next}"}}"#, records.join(",")))
    }

    fn args(line: &str) -> args::Tail {
        use clap::Parser;
        let cli = args::Cli::parse_from(format!("skidway tail {line}").split(' '));
        let args::Command::Tail(args) = cli.command else { panic!("not tail: {line}") };
        args
    }

    /// Runs `tail` against a collector with these answers; gives the output, the outcome and the queries it was asked.
    async fn tailed(line: &str, form: Form, answers: Vec<String>) -> (String, Result<(), Error>, Vec<String>) {
        let stub = Stub::start(answers);
        let mut out = Vec::new();
        let outcome = run(stub.client(), args(line), form, &mut out).await;
        let asked = stub.asked();
        let query = |request: &String| request.split(' ').nth(1).unwrap().split('?').nth(1).unwrap().to_owned();
        (String::from_utf8(out).unwrap(), outcome, asked.iter().map(query).collect())
    }

    #[tokio::test]
    async fn without_follow_one_stream_is_printed_to_its_end() {
        let answers = vec![success(&(record(0, "A") + &record(1, "B") + &record(2, "C")))];
        let (out, outcome, asked) = tailed("t --from earliest --partition 3", PIPE, answers).await;
        outcome.unwrap();
        assert_eq!(out, "line 0\nline 1\nline 2\n");
        assert_eq!(asked, ["from=earliest&partition=3&tokens=true&follow=false"]);
    }

    #[tokio::test]
    async fn a_cut_stream_goes_on_after_the_last_whole_record() {
        let half = &record(2, "C")[..30];
        let answers = vec![
            page(&[record(0, "")], "A"),
            cut_stream(&(record(1, "B") + half)),
            silence(),
            problem(503, "stopping", "the collector is stopping"),
            cut_stream(&(record(2, "C") + "{\"heartbeat\":{},\"next\":\"D\"}\n")),
            success(concat!(r#"{"error":{"type":"gone","title":"Gone","status":410,"detail":"too late"}}"#, "\n")),
        ];
        let (out, outcome, asked) = tailed("t --follow", JSON, answers).await;
        assert_eq!(outcome.unwrap_err().to_string(), "Gone: too late");
        let offsets: Vec<u64> =
            out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["offset"].as_u64().unwrap()).collect();
        assert_eq!(offsets, [0, 1, 2]);
        assert!(!out.contains("next"), "{out}");
        let from: Vec<&str> = asked.iter().map(|query| &query[..query.find('&').unwrap_or(query.len())]).collect();
        assert_eq!(from, ["from=-10", "from=A", "from=B", "from=B", "from=B", "from=D"]);
    }

    #[tokio::test]
    async fn many_topics_are_asked_for_together_and_what_is_said_of_them_is_no_record() {
        let said = concat!(
            r#"{"gone":{"topic":"a","reason":"topic a was deleted"},"next":"B"}"#,
            "\n",
            r#"{"reconnect":{"after_ms":1,"reason":"the collector is stopping"},"next":"C"}"#,
            "\n"
        );
        let gone = success(concat!(r#"{"error":{"type":"gone","title":"Gone","status":410,"detail":"x"}}"#, "\n"));
        let answers = vec![page(&[record(0, "")], "A"), success(&(record(1, "A") + said)), gone];
        let (out, outcome, asked) = tailed("a app-* -f --filter true", PIPE, answers).await;
        assert!(outcome.is_err());
        assert_eq!(out, "line 0\nline 1\n");
        let query = "topics=a%2Capp-*&filter=true";
        let expected = [format!("from=-10&{query}"), format!("from=A&{query}&tokens=true&follow=true")];
        assert_eq!(asked[..2], expected);
        assert_eq!(asked[2], format!("from=C&{query}&tokens=true&follow=true"));
        let (_, outcome, _) = tailed("a b --partition 1", PIPE, Vec::new()).await;
        assert!(matches!(outcome, Err(Error::Usage(_))));
    }

    #[tokio::test]
    async fn damage_is_passed_over_only_if_that_was_asked_for() {
        let damaged = concat!(r#"{"damaged":{"partition":0,"offset":1,"next_offset":2},"next":"B"}"#, "\n");
        let answers = vec![success(&(record(0, "A") + damaged + &record(2, "C")))];
        let (out, outcome, asked) = tailed("t --from earliest --skip-damaged", PIPE, answers).await;
        outcome.unwrap();
        assert_eq!(out, "line 0\nline 2\n");
        assert_eq!(asked, ["from=earliest&skip_damaged=true&tokens=true&follow=false"]);
    }

    #[tokio::test]
    async fn without_follow_a_cut_stream_is_a_failure() {
        let answers = vec![cut_stream(&record(1, "B"))];
        let (out, outcome, _) = tailed("t -n 5", PIPE, answers).await;
        assert!(outcome.unwrap_err().to_string().starts_with("the connection to the collector was lost"));
        assert_eq!(out, "line 1\n");
    }

    #[tokio::test]
    async fn an_unknown_topic_is_said_in_the_collectors_words() {
        let answers = vec![problem(404, "topic-not-found", "there is no topic t")];
        let (_, outcome, _) = tailed("t --follow", PIPE, answers).await;
        assert_eq!(outcome.unwrap_err().to_string(), "Topic not found: there is no topic t");
    }
}
