//! `skidway support-bundle`: one file for whoever is asked for help. It holds how things stand, never a record, and no secret: see [`secrets`].

pub mod journal;
pub mod secrets;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::args::{Doctor, SupportBundle};
use crate::client::Client;
use crate::doctor;
use crate::error::Error;
use crate::output::note;
use secrets::Secrets;

/// What a collector is asked for, and the file that its answer goes to.
const ASKED: [(&str, &str); 8] = [
    ("/v1", "collector/about.json"),
    ("/v1/topics", "collector/topics.json"),
    ("/v1/agents", "collector/agents.json"),
    ("/v1/sinks", "collector/sinks.json"),
    ("/v1/groups", "collector/groups.json"),
    ("/v1/queues", "collector/queues.json"),
    ("/readyz", "collector/readyz.json"),
    ("/metrics", "collector/metrics.txt"),
];
/// What an agent is asked for.
const ASKED_OF_AGENT: [(&str, &str); 4] = [
    ("/status", "agent/status.json"),
    ("/metrics", "agent/metrics.txt"),
    ("/healthz", "agent/healthz.txt"),
    ("/readyz", "agent/readyz.txt"),
];
/// Of a log, this much of its end is looked at, and so many lines of it are taken.
const LOG_BYTES_MAX: u64 = 1 << 20;
const LOG_LINES_MAX: usize = 2000;
/// Of an answer, this much is taken.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Writes the bundle. What cannot be had is named in it instead.
///
/// # Errors
/// The file cannot be written.
pub async fn run(client: Client, args: SupportBundle, out: &mut impl Write) -> Result<(), Error> {
    let mut files = Vec::new();
    let mut secrets = Secrets::default();
    for path in &args.config {
        files.push((format!("config/{}", name_of(path)), secrets.configuration(path)));
    }
    files.push(("versions.json".to_owned(), versions()));
    ask(&client, &ASKED, &mut files).await;
    let mut reports = vec![doctor::examine(&client, &Doctor::default()).await];
    if let Some(url) = &args.agent {
        ask(&Client::new(url)?, &ASKED_OF_AGENT, &mut files).await;
        reports.push(doctor::examine(&client, &Doctor { agent: Some(url.clone()), config: None }).await);
    }
    let said: Vec<_> = reports.iter().map(ToString::to_string).collect();
    files.push(("doctor.txt".to_owned(), said.join("\n")));
    for path in &args.log {
        let lines = last_lines(path).unwrap_or_else(|error| format!("cannot read {}: {error}\n", path.display()));
        files.push((format!("log/{}", name_of(path)), lines));
    }
    files.extend(journal::last_lines());
    let files = files.into_iter().map(|(name, text)| (name, secrets.scrub(&text))).collect::<Vec<_>>();
    write(&args.output, &files)?;
    for (name, text) in &files {
        writeln!(out, "{:>9}  {name}", text.len())?;
    }
    note(format_args!(
        "{} holds no records and no secrets that we know of; look through it before you send it",
        args.output.display()
    ));
    Ok(())
}

async fn ask(client: &Client, paths: &[(&str, &str)], files: &mut Vec<(String, String)>) {
    for (path, name) in paths {
        let mut text = client.text(path).await.unwrap_or_else(|error| format!("not told: {error}\n"));
        let fits = (0..=ANSWER_BYTES_MAX.min(text.len())).rev().find(|len| text.is_char_boundary(*len));
        text.truncate(fits.unwrap_or(0));
        files.push(((*name).to_owned(), text));
    }
}

fn versions() -> String {
    let kernel = rustix::system::uname();
    let told = json!({
        "skidway": skidway_daemon::VERSION,
        "kernel": kernel.release().to_string_lossy(),
        "machine": kernel.machine().to_string_lossy(),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
    });
    format!("{told:#}\n")
}

fn last_lines(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(LOG_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n") + "\n")
}

/// Makes a name without folders of a path.
fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(|| "unnamed".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Writes the file anew, for its owner's eyes alone.
fn write(path: &PathBuf, files: &[(String, String)]) -> Result<(), Error> {
    let failed = |error: io::Error| Error::Failed(format!("cannot write {}: {error}", path.display()));
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        archive.append_data(&mut header, format!("skidway-support/{name}"), text.as_bytes()).map_err(failed)?;
    }
    let mut file = archive.into_inner().and_then(GzEncoder::finish).map_err(failed)?;
    file.flush().map_err(failed)
}
