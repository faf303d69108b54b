//! `skidway sinks`: how topics become files; pause and resume.

use std::io::Write;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use skidway_daemon::human::{Align, Table, age, count, size};
use skidway_wire::http::{SinkList, SinkSummary};
use skidway_wire::{SinkFinding, SinkPlan};

use crate::args::SinkAction;
use crate::client::Client;
use crate::error::Error;
use crate::output::{Form, note};

/// Does what is asked of sinks; lists them if nothing is.
///
/// # Errors
/// What the collector refuses.
pub async fn run(client: Client, action: Option<SinkAction>, form: Form, out: &mut impl Write) -> Result<(), Error> {
    match action.unwrap_or(SinkAction::List) {
        SinkAction::List => list(&client, form, out).await,
        SinkAction::Show { sink } => show(&client.get(&path(&sink, "")).await?, form, out),
        SinkAction::Pause { sink } => steer(&client, &path(&sink, "/pause"), form, out).await,
        SinkAction::Resume { sink } => steer(&client, &path(&sink, "/resume"), form, out).await,
        SinkAction::Plan { sink, hours } => plan(&client, &sink, hours, form, out).await,
        SinkAction::Verify { sink, deep } => {
            audit(&client, &path(&sink, "/verify"), &[("deep", if deep { "true" } else { "false" })], form, out).await
        }
        SinkAction::Repair { sink } => audit(&client, &path(&sink, "/repair"), &[], form, out).await,
        SinkAction::Replay { sink, topic, from, to } => {
            let query = [("topic", topic.as_str()), ("from", &from), ("to", &to)];
            audit(&client, &path(&sink, "/replay"), &query, form, out).await
        }
    }
}

async fn plan(client: &Client, sink: &str, hours: u64, form: Form, out: &mut impl Write) -> Result<(), Error> {
    let request = client.stream(Method::GET, &path(sink, "/plan"), &[("hours", &hours.to_string())]);
    let body: Value = client.fetch(request).await?;
    let parsed = (!form.json).then(|| serde_json::from_value::<SinkPlan>(body.clone()).ok()).flatten();
    let Some(plan) = parsed else { return Ok(writeln!(out, "{body}")?) };
    let sample = age(Duration::from_secs(plan.sample_seconds));
    let records = count(plan.sample_records);
    writeln!(out, "from {records} records of the last {sample}, written into {} files on trial", plan.sample_files)?;
    let each = plan.bytes_per_day.checked_div(plan.files_per_day).unwrap_or(0);
    writeln!(out, "files a day: {}, of {} each", count(plan.files_per_day), size(each))?;
    writeln!(out, "bytes a day: {}", size(plan.bytes_per_day))?;
    writeln!(out, "requests to the storage a day: {}", count(plan.operations_per_day))?;
    for (cause, cuts) in plan.cuts_per_day {
        writeln!(out, "closed by {cause}: {} times a day", count(cuts))?;
    }
    Ok(())
}

/// Shows what a job finds, as it finds it. An error if something is wrong at its end.
async fn audit(
    client: &Client,
    path: &str,
    query: &[(&str, &str)],
    form: Form,
    out: &mut impl Write,
) -> Result<(), Error> {
    let mut answer = client.send(client.stream(Method::POST, path, query)).await?;
    let (mut read, mut summary) = (Vec::new(), None);
    while let Some(chunk) = answer.chunk().await.map_err(|source| client.unreachable(source))? {
        read.extend_from_slice(&chunk);
        while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = read.drain(..=end).collect();
            let strange = |error: serde_json::Error| Error::Lost { reason: format!("a finding is not one: {error}") };
            let finding: SinkFinding = serde_json::from_slice(&line).map_err(strange)?;
            if form.json {
                out.write_all(&line)?;
            } else {
                writeln!(out, "{}", say(&finding))?;
            }
            match finding {
                SinkFinding::Summary(all) => summary = Some(all),
                SinkFinding::Failed { reason } => return Err(Error::Files(format!("it ended early: {reason}"))),
                _ => {}
            }
        }
    }
    let summary = summary.ok_or_else(|| Error::Lost { reason: "there is no summary".to_owned() })?;
    match summary.problems {
        0 => Ok(()),
        problems => Err(Error::Files(say_problems(problems))),
    }
}

fn say_problems(problems: u64) -> String {
    match problems {
        0 => "all well".to_owned(),
        1 => "1 problem".to_owned(),
        many => format!("{} problems", count(many)),
    }
}

fn say(finding: &SinkFinding) -> String {
    match finding {
        SinkFinding::Missing { path } => format!("missing: {path}"),
        SinkFinding::Changed { path } => format!("damaged or changed: {path}"),
        SinkFinding::Unreadable { path, reason } => format!("cannot be read: {path}: {reason}"),
        SinkFinding::Unknown { path, bytes } => format!("not ours, by a name like ours: {path} ({})", size(*bytes)),
        SinkFinding::Hole { topic, partition, from, to } => {
            format!("in no file: {topic} partition {partition}, offsets {from} to {to}")
        }
        SinkFinding::Gap { topic, partition, from, to, reason } => {
            format!("a known gap: {topic} partition {partition}, offsets {from} to {to}: {reason}")
        }
        SinkFinding::Differs { topic, partition, from, to, reason } => {
            format!("not as in the log: {topic} partition {partition}, offsets {from} to {to}: {reason}")
        }
        SinkFinding::Repaired { path } => format!("made again: {path}"),
        SinkFinding::Beyond { path, reason } => format!("cannot be made again: {path}: {reason}"),
        SinkFinding::Replayed { removed, files } => {
            format!("made anew: {} for {}", files.join(", "), removed.join(", "))
        }
        SinkFinding::NotReplayed { files, reason } => format!("left as they are: {}: {reason}", files.join(", ")),
        SinkFinding::Failed { reason } => format!("ended early: {reason}"),
        SinkFinding::Summary(all) => format!(
            "{} files, {} records, {}; {} files read, {} records compared with the log, {} files written; {}",
            count(all.files),
            count(all.records),
            size(all.bytes),
            count(all.read),
            count(all.compared_records),
            count(all.written),
            say_problems(all.problems)
        ),
    }
}

async fn list(client: &Client, form: Form, out: &mut impl Write) -> Result<(), Error> {
    if form.json {
        let body: Value = client.get("/v1/sinks").await?;
        return Ok(writeln!(out, "{body}")?);
    }
    let list: SinkList = client.get("/v1/sinks").await?;
    if list.sinks.is_empty() {
        note("no sinks; they are in the collector's configuration, [[sinks]]");
        return Ok(());
    }
    for sink in list.sinks.iter().filter(|sink| sink.trouble.is_some()) {
        note(format_args!("{}: {}", sink.name, sink.trouble.as_deref().unwrap_or_default()));
    }
    write!(out, "{}", table(&list.sinks))?;
    if list.pinned_bytes > 0 {
        let when = list.full_in_seconds.map(|it| format!(", full in {}", age(Duration::from_secs(it))));
        let (pinned, most) = (size(list.pinned_bytes), size(list.pinned_bytes_max));
        note(format_args!("kept past retention: {pinned} of {most}{}", when.unwrap_or_default()));
    }
    Ok(())
}

async fn steer(client: &Client, path: &str, form: Form, out: &mut impl Write) -> Result<(), Error> {
    let body: Value = client.fetch(client.request(Method::POST, path, &[])).await?;
    show(&body, form, out)
}

fn show(body: &Value, form: Form, out: &mut impl Write) -> Result<(), Error> {
    let parsed = (!form.json).then(|| serde_json::from_value::<SinkSummary>(body.clone()).ok()).flatten();
    let Some(sink) = parsed else { return Ok(writeln!(out, "{body}")?) };
    let trouble = sink.trouble.as_deref().unwrap_or("none");
    writeln!(out, "{} to {} as {}: {}", sink.name, sink.url, sink.format, sink.state)?;
    writeln!(out, "trouble: {trouble}")?;
    if let Some(error) = sink.last_error.filter(|_| sink.trouble.is_none()) {
        writeln!(out, "last error: {}, {}", error.at, error.detail)?;
    }
    if let Some(file) = sink.last_file {
        writeln!(out, "last file: {}, {}", file.at, file.path)?;
    }
    let files = [
        ("files", sink.files),
        ("records", sink.records),
        ("behind", sink.behind),
        ("lost", sink.lost_records),
        ("dropped, late", sink.late_dropped_records),
    ];
    for (what, number) in files {
        writeln!(out, "{what}: {}", count(number))?;
    }
    writeln!(out, "bytes: {}", size(sink.bytes))?;
    let columns = [
        ("TOPIC", Align::Left),
        ("PARTITION", Align::Right),
        ("IN FILES", Align::Right),
        ("READ", Align::Right),
        ("END", Align::Right),
        ("PENDING FILES", Align::Right),
    ];
    let mut table = Table::new(columns);
    for it in &sink.partitions {
        table.row([
            it.topic.clone(),
            it.partition.to_string(),
            it.frontier.to_string(),
            it.read.to_string(),
            it.high_watermark.to_string(),
            it.pending_files.to_string(),
        ]);
    }
    Ok(write!(out, "{table}")?)
}

fn table(sinks: &[SinkSummary]) -> Table {
    let columns = [
        ("SINK", Align::Left),
        ("STATE", Align::Left),
        ("FILES", Align::Right),
        ("RECORDS", Align::Right),
        ("SIZE", Align::Right),
        ("BEHIND", Align::Right),
        ("LOST", Align::Right),
        ("URL", Align::Left),
    ];
    let mut table = Table::new(columns);
    for sink in sinks {
        table.row([
            sink.name.clone(),
            sink.state.clone(),
            count(sink.files),
            count(sink.records),
            size(sink.bytes),
            count(sink.behind),
            count(sink.lost_records),
            sink.url.clone(),
        ]);
    }
    table
}

fn path(sink: &str, action: &str) -> String {
    format!("/v1/sinks/{sink}{action}")
}
