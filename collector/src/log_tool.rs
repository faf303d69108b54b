//! `skidway-collector log dump|verify|repair`: what an operator does with a log that no collector has open.
//!
//! The engine's `inspect` does the work; this says it in words, and puts losses where all losses are told.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;
use skidway_commitlog::inspect::{self, Checked, Dump, Finding, Loss};
use skidway_commitlog::{CommitLog, Config as EngineConfig, Error, Observer};
use skidway_daemon::config::{Document, EXIT_CONFIG, Mistakes};
use skidway_disk::{Disk, RealDisk};
use skidway_record::{BatchBuilder, EncodedHeaders, Offset, TopicPartition};

use crate::config::{Config, ENV_PREFIX};
use crate::ingest::encoder::Compressors;
use crate::ingest::loss::events;
use crate::log::{Commit, Target, Topic};

/// Events of one commit.
const EVENTS_PER_COMMIT: usize = 500;

/// Names what can be done with a log.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Shows files of a log: segments (.log), indexes, journals, the checkpoint.
    Dump {
        /// Files to show.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Show the records of segments and journals too.
        #[arg(long)]
        records: bool,
        /// A JSON object a line, instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Reads everything a log holds and says what is wrong; changes nothing. Exit code 0 if all is well, 1 if not.
    Verify {
        /// Where the log is.
        #[command(flatten)]
        place: Place,
        /// A JSON object a line, instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Repairs a damaged log. Without --yes it says what it would do.
    Repair {
        /// Where the log is.
        #[command(flatten)]
        place: Place,
        /// Do it.
        #[arg(long)]
        yes: bool,
        /// Rebuild a log whose checkpoint is lost, though agents then send again what they sent before.
        #[arg(long)]
        accept_duplicates: bool,
    },
}

/// Says where the log is.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Place {
    /// The collector's data folder.
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// The collector's configuration, which names it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    fn engine(self) -> Result<EngineConfig, Failure> {
        let config = match (self.config, self.data_dir) {
            (Some(path), _) => Config::read(Document::load(Some(&path), ENV_PREFIX)?)?,
            (None, data_dir) => Config { data_dir: data_dir.unwrap_or_default(), ..Config::default() },
        };
        Ok(config.engine())
    }
}

/// Says why a command did not end well.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Configuration(#[from] Mistakes),
    #[error(transparent)]
    Log(#[from] Error),
    #[error("cannot write the answer: {0}")]
    Output(#[from] io::Error),
}

/// Runs a command. Exit codes: 0 all is well, 1 something is wrong or failed, 78 bad configuration.
pub fn run(command: LogCommand) -> ExitCode {
    let out = &mut io::stdout().lock();
    let outcome = match command {
        LogCommand::Dump { files, records, json } => dump(&files, Dump { json, records }, out),
        LogCommand::Verify { place, json } => verify(place, json, out),
        LogCommand::Repair { place, yes, accept_duplicates } => repair(place, yes, accept_duplicates, out),
    };
    match outcome {
        Ok(is_well) => ExitCode::from(u8::from(!is_well)),
        // A reader that goes away is no failure.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            let _nowhere_left_to_say_it = writeln!(io::stderr(), "skidway-collector: {failure}");
            ExitCode::from(if matches!(failure, Failure::Configuration(_)) { EXIT_CONFIG } else { 1 })
        }
    }
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

fn dump(files: &[PathBuf], how: Dump, out: &mut dyn Write) -> Result<bool, Failure> {
    for file in files {
        if files.len() > 1 && !how.json {
            writeln!(out, "{}:", file.display())?;
        }
        inspect::dump(&RealDisk, file, how, out)?;
    }
    Ok(true)
}

fn verify(place: Place, json: bool, out: &mut dyn Write) -> Result<bool, Failure> {
    let config = place.engine()?;
    let checked = findings(&config, json, out)?;
    if json {
        writeln!(out, "{}", json!({ "checked": checked }))?;
    } else {
        let Checked { topics, segments, batches, records, bytes, commits, findings } = checked;
        writeln!(
            out,
            "checked {topics} topics, {segments} segments, {batches} batches, {records} records, {bytes} bytes, and {commits} commits in \
             the journal: {findings} findings"
        )?;
    }
    Ok(checked.findings == 0)
}

/// Verifies, and says each finding as it is made.
fn findings(config: &EngineConfig, json: bool, out: &mut dyn Write) -> Result<Checked, Failure> {
    let mut written = Ok(());
    let mut say = |finding: Finding| {
        let said = if json { json!({ "finding": finding }).to_string() } else { finding.to_string() };
        if written.is_ok() {
            written = writeln!(out, "{said}");
        }
    };
    let checked = inspect::verify(config, &disk(), &mut say)?;
    written?;
    Ok(checked)
}

fn repair(place: Place, yes: bool, accept_duplicates: bool, out: &mut dyn Write) -> Result<bool, Failure> {
    let config = place.engine()?;
    if !yes {
        let checked = findings(&config, false, out)?;
        let said =
            if checked.findings == 0 { "nothing to repair" } else { "nothing was changed; to do this, say --yes" };
        writeln!(out, "{said}")?;
        return Ok(checked.findings == 0);
    }
    let repaired = inspect::repair(&config, &disk(), accept_duplicates)?;
    for done in &repaired.done {
        writeln!(out, "{done}")?;
    }
    for Loss { partition, from, next, reason, .. } in &repaired.losses {
        writeln!(out, "lost: offsets {from}..{next} of {partition}: {reason}")?;
    }
    tell(&config, &repaired.losses)?;
    if let Some(aside) = &repaired.aside {
        writeln!(out, "what was changed is kept in {}", aside.display())?;
    }
    let checked = findings(&config, false, out)?;
    writeln!(out, "log {} of epoch {}: {} findings", repaired.identity.id, repaired.identity.epoch, checked.findings)?;
    Ok(checked.findings == 0)
}

/// Writes an event for each loss, as for what agents lose. A repair that is interrupted here tells them once more.
fn tell(config: &EngineConfig, losses: &[Loss]) -> Result<(), Failure> {
    if losses.is_empty() {
        return Ok(());
    }
    let log = CommitLog::open(config.clone(), disk(), Arc::new(Unheard))?;
    let compressors = Compressors::default();
    for losses in losses.chunks(EVENTS_PER_COMMIT) {
        let at = Timestamp::now();
        let mut builder = BatchBuilder::new();
        for loss in losses {
            let event = event(loss, at);
            builder.push(at.as_millisecond(), None, Some(event.as_bytes()), &EncodedHeaders::none());
        }
        let batch = compressors.with(|compressor| builder.finish(compressor)).expect("there are losses in it");
        let (send, receive) = sync_channel(1);
        let commit = Commit { batches: vec![(Target::Partition(events()), batch)], ..Commit::default() };
        log.commit(commit, move |outcome| {
            // Nobody but this function waits for it.
            let _waiting = send.send(outcome);
        });
        receive.recv().unwrap_or(Err(Error::Closed))?;
    }
    log.close()?;
    Ok(inspect::told(config, &disk())?)
}

fn event(loss: &Loss, at: Timestamp) -> String {
    json!({
        "kind": "lost",
        "topic": loss.partition.topic.as_str(),
        "partition": loss.partition.partition.0,
        "offset": loss.from.0,
        "next_offset": loss.next.0,
        "file": loss.file.display().to_string(),
        "position": loss.position,
        "bytes": loss.bytes,
        "exact": true,
        "reason": "damaged",
        "detail": loss.reason,
        "at": at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
    })
    .to_string()
}

/// Hears nothing: nobody reads meanwhile.
struct Unheard;

impl Observer for Unheard {
    fn published(&self, _advanced: &[(TopicPartition, Offset)]) {}

    fn topics_changed(&self, _topics: &[Topic]) {}

    fn halted(&self, _error: &Error) {}

    fn synced(&self, _took: Duration, _commits: usize) {}
}
