//! `skidway doctor`: what is wrong with a collector, an agent or an agent's configuration, and what to do about it.
//!
//! [`asking`], [`looking`] and [`doors`] get the facts, [`collector`] and [`agent`] judge them (pure), [`finding`] says it. Changes nothing anywhere.

pub mod finding;
pub mod exposition;
pub mod collector;
pub mod agent;
pub mod asking;
pub mod looking;
pub mod doors;

use std::io::Write;

use skidway_agent::Config;

use crate::args::Doctor;
use crate::client::Client;
use crate::error::Error;
use crate::output::Form;
pub use finding::Report;

/// Looks at what is named, or else at the collector, and says what is wrong.
///
/// # Errors
/// [`Error::Judged`] with the exit code, if anything is wrong.
pub async fn run(client: Client, args: Doctor, form: Form, out: &mut impl Write) -> Result<(), Error> {
    let report = examine(&client, &args).await;
    match form.json {
        true => writeln!(out, "{}", serde_json::to_string(&report).expect("a report is plain JSON"))?,
        false => write!(out, "{report}")?,
    }
    match report.code() {
        0 => Ok(()),
        code => Err(Error::Judged { code }),
    }
}

/// Gets the facts and judges them.
pub async fn examine(client: &Client, args: &Doctor) -> Report {
    let (mut looked_at, mut findings) = (Vec::new(), Vec::new());
    if let Some(url) = &args.agent {
        looked_at.push(format!("the agent at {url}"));
        match asking::agent(url).await {
            Ok(status) => findings.extend(agent::judge_status(&status)),
            Err(silent) => findings.push(silent),
        }
    }
    if let Some(path) = &args.config {
        looked_at.push(format!("the agent's configuration {}", path.display()));
        findings.extend(agent::judge_machine(&looking::machine(path)));
        // Its mistakes are among the findings.
        if let Ok(config) = Config::load(path) {
            findings.extend(doors::judge(doors::try_all(&config).await));
        }
    }
    if looked_at.is_empty() {
        looked_at.push(format!("the collector at {}", client.address()));
        match asking::collector(client).await {
            Ok((facts, refused)) => {
                findings.extend(collector::judge(&facts));
                findings.extend(refused);
            }
            Err(silent) => findings.push(silent),
        }
    }
    Report::new(looked_at, findings)
}
