//! What people see of a running agent: its status asked for, as a table; its log level, which they can change.

use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use skidway_daemon::human::{Align, Table, age, counted, size};

use skidway_wire::http::{AGENT_LOG_LEVEL_PATH, LogLevel, LogLevelRequest};

use crate::error::AskError;
use crate::status::{FileStatus, Status};

/// Asks the agent whose admin port is at `url` how things stand; gives its answer as it is (`json`) or as a table.
///
/// # Errors
/// [`AskError`] (retry): nobody answers, or not as an agent does.
pub async fn ask(client: &reqwest::Client, url: &str, json: bool) -> Result<String, AskError> {
    let body = answer(url, client.get(at(url, "/status"))).await?;
    if json {
        return Ok(String::from_utf8_lossy(&body).into_owned());
    }
    Ok(table(&read::<Status>(url, &body)?))
}

/// Shows which lines the agent whose admin port is at `url` logs, after having it log those `asked` for, or those of its configuration (`reset`).
///
/// # Errors
/// [`AskError`] (retry): nobody answers, or not as an agent does; (reject) a wrong level or time.
pub async fn log_level(
    client: &reqwest::Client,
    url: &str,
    asked: Option<LogLevelRequest>,
    reset: bool,
    json: bool,
) -> Result<String, AskError> {
    let at = at(url, AGENT_LOG_LEVEL_PATH);
    let request = match asked {
        Some(asked) => client.put(at).body(serde_json::json!(asked).to_string()),
        None if reset => client.delete(at),
        None => client.get(at),
    };
    let body = answer(url, request).await?;
    if json {
        return Ok(String::from_utf8_lossy(&body).into_owned());
    }
    Ok(read::<LogLevel>(url, &body)?.to_string())
}

fn at(url: &str, path: &str) -> String {
    format!("{}{path}", url.trim_end_matches('/'))
}

async fn answer(url: &str, request: reqwest::RequestBuilder) -> Result<Bytes, AskError> {
    let silent = |error: reqwest::Error| AskError::Unanswered { url: url.to_owned(), reason: innermost(&error) };
    let answer = request.send().await.map_err(silent)?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(silent)?;
    if !status.is_success() {
        let text = String::from_utf8_lossy(crate::flow::cut(&body, 200)).trim().to_owned();
        return Err(AskError::Refused { url: url.to_owned(), status: status.as_u16(), text });
    }
    Ok(body)
}

fn read<T: DeserializeOwned>(url: &str, body: &[u8]) -> Result<T, AskError> {
    serde_json::from_slice(body).map_err(|error| AskError::Nonsense { url: url.to_owned(), reason: error.to_string() })
}

/// Keeps the cause, which alone says something ("Connection refused").
fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

/// Shows the status as a table, with what is wrong and how near the limits are.
pub fn table(status: &Status) -> String {
    let log = status.log_id.as_deref().unwrap_or("no session");
    let mut out = format!("agent {}  log {log}\n", status.agent);
    if let Some(why) = &status.refused {
        out += &format!("not let in by the collector: {why}\n");
    }
    let mut table = Table::new([
        ("STATE", Align::Left),
        ("POSITION", Align::Right),
        ("SIZE", Align::Right),
        ("BEHIND", Align::Right),
        ("OLDEST", Align::Right),
        ("TOPIC", Align::Left),
        ("PATH", Align::Left),
    ]);
    status.files.iter().for_each(|file| table.row(row(file)));
    out += &table.to_string();
    for file in &status.files {
        if let Some(trouble) = &file.trouble {
            out += &format!("blocked: {}: {trouble}\n", file.path);
        }
    }
    for trouble in &status.troubles {
        out += &format!("trouble: {}: {}\n", trouble.path, trouble.what);
    }
    for skipped in &status.skipped {
        out += &format!("skipped: {} ({})\n", skipped.path, skipped.reason);
    }
    if status.skipped_unnamed > 0 {
        out += &format!("skipped: {} more (older than ignore_older)\n", status.skipped_unnamed);
    }
    out + &limits(status) + &sums(status)
}

fn row(file: &FileStatus) -> [String; 7] {
    let state = format!("{:?}", file.state).to_lowercase();
    let oldest = oldest(file.oldest_unacknowledged_ms);
    [
        state,
        size(file.position),
        size(file.size),
        size(file.bytes_behind),
        oldest,
        file.topic.clone(),
        file.path.clone(),
    ]
}

fn oldest(ms: u64) -> String {
    if ms == 0 { "-".to_owned() } else { age(Duration::from_millis(ms)) }
}

fn limits(status: &Status) -> String {
    let limits = &status.limits;
    let (open, open_max) = (limits.open_files, limits.open_files_max);
    let (memory, memory_max) = (size(limits.memory_bytes), size(limits.memory_bytes_max));
    let (deleted, deleted_max) = (size(limits.deleted_bytes), size(limits.deleted_bytes_max));
    format!(
        "limits: {open} of {open_max} open files, {memory} of {memory_max} waiting, {deleted} of {deleted_max} deleted\n"
    )
}

fn sums(status: &Status) -> String {
    let totals = &status.totals;
    let (files, behind) = (counted(totals.files as u64, "file"), size(totals.bytes_behind));
    let (oldest, lost) = (oldest(totals.oldest_unacknowledged_ms), size(totals.lost_bytes));
    format!("{files}, {behind} behind, oldest {oldest}, {lost} lost\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{FileState, Limits, SkippedFile, Totals, Trouble};

    #[test]
    fn the_table_says_how_each_file_stands_and_what_is_wrong() {
        let file = FileStatus {
            path: "/var/log/a.log".to_owned(),
            source: "01".repeat(16),
            topic: "app".to_owned(),
            partition: Some(1),
            size: 3 << 20,
            position: 2 << 20,
            bytes_behind: 1 << 20,
            oldest_unacknowledged_ms: 90_000,
            state: FileState::Reading,
            trouble: None,
        };
        let idle = FileStatus { oldest_unacknowledged_ms: 0, bytes_behind: 0, state: FileState::Idle, ..file.clone() };
        let status = Status {
            agent: "web-1".to_owned(),
            log_id: None,
            log_epoch: None,
            session_epoch: None,
            refused: None,
            files: vec![file, idle],
            skipped: vec![SkippedFile { path: "/b".to_owned(), reason: "it does not look like text".to_owned() }],
            skipped_unnamed: 0,
            troubles: vec![Trouble { path: "/c".to_owned(), what: "the folder cannot be listed".to_owned() }],
            limits: Limits { open_files: 2, open_files_max: 960, memory_bytes: 10, ..Limits::default() },
            totals: Totals {
                bytes_behind: 1 << 20,
                lost_bytes: 0,
                files: 2,
                oldest_unacknowledged_ms: 90_000,
                missed_files: 0,
            },
        };
        let expected = "\
agent web-1  log no session
STATE    POSITION     SIZE   BEHIND  OLDEST  TOPIC  PATH
reading   2.0 MiB  3.0 MiB  1.0 MiB      1m  app    /var/log/a.log
idle      2.0 MiB  3.0 MiB      0 B       -  app    /var/log/a.log
trouble: /c: the folder cannot be listed
skipped: /b (it does not look like text)
limits: 2 of 960 open files, 10 B of 0 B waiting, 0 B of 0 B deleted
2 files, 1.0 MiB behind, oldest 1m, 0 B lost
";
        assert_eq!(table(&status), expected);
    }
}
