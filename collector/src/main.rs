//! `skidway-collector`: `run`, `check`. Exit codes: 0 stopped in order, 1 could not start or had to stop, 64 usage, 78 bad
//! configuration.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use skidway_collector::config::{Config, ENV_PREFIX};
use skidway_collector::server::Server;
use skidway_daemon::config::{Document, EXIT_CONFIG, EXIT_USAGE, Mistakes};
use skidway_daemon::{VERSION, notify, shutdown, telemetry};

/// Takes in records, keeps them, and serves them to subscribers.
#[derive(Parser)]
#[command(name = "skidway-collector", version = VERSION)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the collector until SIGTERM or SIGINT.
    Run {
        /// Configuration file; see configs/collector.toml.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Names every mistake of a configuration and opens nothing.
    Check {
        /// Configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _nowhere_left_to_say_it = error.print();
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { 0 });
        }
    };
    match arguments.command {
        Command::Check { config } => match load(&config) {
            Ok(_) => say(&format!("{}: good", config.display())),
            Err(mistakes) => bad_configuration(&mistakes),
        },
        Command::Run { config } => match load(&config) {
            Ok(config) => run(config),
            Err(mistakes) => bad_configuration(&mistakes),
        },
    }
}

fn load(path: &std::path::Path) -> Result<Config, Mistakes> {
    Config::read(Document::load(Some(path), ENV_PREFIX)?)
}

fn run(config: Config) -> ExitCode {
    telemetry::init(&config.logging);
    telemetry::metrics();
    shutdown::exit_on_panic();
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(config: Config) -> anyhow::Result<()> {
    let stopping = shutdown::on_signals().context("cannot catch signals")?;
    let server = Server::start(config).await?;
    notify::ready();
    let served = async {
        let run = server.run(stopping.clone());
        tokio::select! {
            biased; // The watchdog ends only after the server.
            served = run => served,
            () = tell_stopping(stopping.clone()) => unreachable!("it never ends"),
        }
    };
    let alive = tokio_util::sync::CancellationToken::new();
    let (served, ()) = tokio::join!(
        async {
            let served = served.await;
            alive.cancel();
            served
        },
        notify::watchdog(alive.clone()),
    );
    Ok(served?)
}

async fn tell_stopping(stopping: tokio_util::sync::CancellationToken) {
    stopping.cancelled().await;
    notify::stopping();
    std::future::pending().await
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn say(line: &str) -> ExitCode {
    println!("{line}");
    ExitCode::SUCCESS
}

#[expect(clippy::print_stderr, reason = "logging has not started")]
fn bad_configuration(mistakes: &Mistakes) -> ExitCode {
    eprintln!("{mistakes}");
    ExitCode::from(EXIT_CONFIG)
}
