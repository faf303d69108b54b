//! `skidway sinks`: how topics become files; pause and resume.

use std::io::Write;

use reqwest::Method;
use serde_json::Value;
use skidway_daemon::human::{Align, Table, count, size};
use skidway_wire::http::{SinkList, SinkSummary};

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
    Ok(write!(out, "{}", table(&list.sinks))?)
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
