//! `skidway-collector`: `run`, `check`, `log`. Exit codes: 0 stopped in order, 1 could not start or had to stop, 64 usage, 78 bad
//! configuration.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use skidway_collector::config::{Config, ENV_PREFIX};
use skidway_collector::log_tool::{self, LogCommand};
use skidway_collector::server::{Reloader, Server};
use skidway_daemon::config::{Document, EXIT_CONFIG, EXIT_USAGE, Mistakes};
use skidway_daemon::shutdown::Hangup;
use skidway_daemon::{VERSION, log_level, notify, shutdown, telemetry};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

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
    /// Shows, checks or repairs a log that no collector has open.
    Log {
        #[command(subcommand)]
        command: LogCommand,
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
        Command::Log { command } => log_tool::run(command),
        Command::Run { config: path } => match load(&path) {
            Ok(config) => run(config, path),
            Err(mistakes) => bad_configuration(&mistakes),
        },
    }
}

fn load(path: &Path) -> Result<Config, Mistakes> {
    Config::read(Document::load(Some(path), ENV_PREFIX)?)
}

fn run(config: Config, path: PathBuf) -> ExitCode {
    telemetry::init(&config.logging);
    telemetry::metrics();
    shutdown::exit_on_panic();
    let served = Runtime::new().context("cannot start the async runtime").and_then(|runtime| {
        let served = runtime.block_on(serve(config, &path));
        // Whatever a job of a sink still does in its thread, such as asking a store that is slow, ends with the process, as it would by a kill. To drop
        // the runtime would wait for it, having taken away its clock: a panic, and so a failure, at the end of an orderly stop.
        std::mem::forget(runtime);
        served
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", explain(&error));
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config, path: &Path) -> anyhow::Result<()> {
    let stopping = shutdown::on_signals().context("cannot catch signals")?;
    let hangup = Hangup::listen().context("cannot catch SIGHUP")?;
    let server = Server::start(config).await?;
    notify::ready();
    let ended = CancellationToken::new();
    let reload = ended.run_until_cancelled(reload_on(hangup, path, server.reloader()));
    let serve = async {
        let served = server.run(stopping.clone()).await;
        ended.cancel();
        served
    };
    // The watchdog hears of us until the very end, the drain included.
    let (served, (), (), _) =
        tokio::join!(serve, notify::watchdog(ended.clone()), tell_stopping(&stopping, &ended), reload);
    Ok(served?)
}

/// Reads the configuration again at each SIGHUP. One with mistakes changes nothing.
async fn reload_on(mut hangup: Hangup, path: &Path, reloader: Reloader) {
    loop {
        hangup.next().await;
        match load(path) {
            Err(mistakes) => {
                tracing::error!("the configuration is not reloaded:\n{mistakes}");
                // A renewed certificate must not wait until somebody mends the configuration.
                reloader.look_at_certificates().await;
            }
            Ok(config) => {
                let level = config.logging.level.clone();
                match reloader.reload(config).await {
                    Ok(()) => {
                        log_level::configure(&level);
                        tracing::info!(path = %path.display(), "[topics], [http.tls], access.admin_token_file and log.level are reloaded; all else needs a restart")
                    }
                    Err(error) => tracing::error!(%error, "the configuration is not reloaded"),
                }
            }
        }
    }
}

/// Says an error with its causes, but none that was said already.
fn explain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match said.as_str() {
        "" => cause,
        words if words.ends_with(&cause) => said,
        words => format!("{words}: {cause}"),
    })
}

/// Tells the service manager when the orderly end begins.
async fn tell_stopping(stopping: &CancellationToken, ended: &CancellationToken) {
    if ended.run_until_cancelled(stopping.cancelled()).await.is_some() {
        notify::stopping();
    }
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
