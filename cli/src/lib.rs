//! `skidway`: the operator's program, and a whole Skidway in one process (`skidway up`).
//!
//! The map: [`args`] is what may be typed; a command's room does it ([`up`], [`tail`], [`table`], [`produce`], [`topics`], [`agents`],
//! [`sinks`], [`groups`], [`queues`], [`tokens`], [`log_level`], [`doctor`], [`bundle`], [`manual`]),
//! through [`client`] and in the forms of [`output`] and [`skidway_daemon::human`]; [`error`] says why it failed. Answers go to the standard
//! output, everything said about them to the standard error.

pub mod args;
pub mod up;
pub mod tail;
pub mod table;
pub mod produce;
pub mod topics;
pub mod agents;
pub mod sinks;
pub mod groups;
pub mod queues;
pub mod tokens;
pub mod log_level;
pub mod doctor;
pub mod bundle;
pub mod manual;
pub mod client;
mod credentials;
pub mod output;
pub mod error;
#[cfg(test)]
mod stub;

use std::io::{self, BufWriter, Write};

use args::{Cli, Command};
use client::Client;
use error::Error;
use output::Form;

/// Does what was typed.
///
/// # Errors
/// Why it could not be done.
pub async fn run(cli: Cli) -> Result<(), Error> {
    let form = Form::of_stdout(cli.door.json);
    let mut out = BufWriter::new(io::stdout());
    let client = match cli.command.asks_a_collector() {
        true => Client::open(&cli.door)?,
        false => Client::new(&cli.door.url)?,
    };
    match cli.command {
        Command::Up(args) => up::run(args).await?,
        Command::Tail(args) => tail::run(client, args, form, &mut out).await?,
        Command::Table(args) => table::run(client, args, form, &mut out).await?,
        Command::Produce(args) => produce::run(client, args, form, &mut out).await?,
        Command::Topics(args) => topics::run(client, args.action, form, &mut out).await?,
        Command::Agents => agents::run(client, form, &mut out).await?,
        Command::Sinks(args) => sinks::run(client, args.action, form, &mut out).await?,
        Command::Groups(args) => groups::run(client, args.action, form, &mut out).await?,
        Command::Queues(args) => queues::run(client, args.action, form, &mut out).await?,
        Command::Tokens(args) => tokens::run(client, args.action, form, &mut out).await?,
        Command::LogLevel(args) => log_level::run(client, args, form, &mut out).await?,
        Command::Doctor(args) => {
            let judged = doctor::run(client, args, form, &mut out).await;
            out.flush()?;
            judged?;
        }
        Command::SupportBundle(args) => bundle::run(client, args, &mut out).await?,
        Command::Completion { shell } => manual::completion(shell, &mut out)?,
        Command::Man { folder } => manual::pages(folder.as_deref(), &mut out)?,
    }
    Ok(out.flush()?)
}
