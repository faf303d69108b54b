//! `skidway-agent`: the command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use skidway_agent::status::Status;
use skidway_agent::{Agent, Config, Exit, Reloader};
use skidway_daemon::config::{EXIT_CONFIG, EXIT_FENCED, EXIT_USAGE};
use skidway_daemon::shutdown::Hangup;
use skidway_daemon::{VERSION, notify, shutdown, telemetry, tls};
use tokio_util::sync::CancellationToken;

/// Follows log files and ships every line of them to the collector exactly once.
#[derive(Parser)]
#[command(name = "skidway-agent", version = VERSION)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Follow files and ship them, until told to stop
    Run {
        /// Configuration file
        #[arg(long)]
        config: PathBuf,
        /// Ship what is there now, unfinished last lines included, and end
        #[arg(long)]
        once: bool,
    },
    /// Check a configuration and name all its mistakes
    Check {
        /// Configuration file
        #[arg(long)]
        config: PathBuf,
    },
    /// Ask a running agent how far it is
    Status {
        /// Where it listens (agent.admin_listen)
        #[arg(long, default_value = "http://127.0.0.1:7071")]
        url: String,
        /// Print the answer as it is
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let is_mistake = error.use_stderr();
            let _closed_terminal = error.print();
            return ExitCode::from(if is_mistake { EXIT_USAGE } else { 0 });
        }
    };
    tls::use_ring();
    let done = match arguments.command {
        Command::Run { config, once } => run(&config, once),
        Command::Check { config } => check(&config),
        Command::Status { url, json } => block_on(show_status(url, json)).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        complain(format_args!("{error:#}"));
        ExitCode::FAILURE
    })
}

fn load(path: &std::path::Path) -> Result<Config, ExitCode> {
    Config::load(path).map_err(|mistakes| {
        complain(format_args!("{mistakes}"));
        ExitCode::from(EXIT_CONFIG)
    })
}

fn check(path: &std::path::Path) -> anyhow::Result<ExitCode> {
    Ok(load(path).err().unwrap_or(ExitCode::SUCCESS))
}

fn run(path: &std::path::Path, once: bool) -> anyhow::Result<ExitCode> {
    let config = match load(path) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    telemetry::init(&config.log);
    telemetry::metrics();
    shutdown::exit_on_panic();
    let exit = block_on(async {
        let signals = shutdown::on_signals()?;
        let hangup = Hangup::listen()?;
        let agent = Agent::start(config).await?;
        let monitor = agent.monitor();
        let reloader = agent.reloader();
        tracing::info!(version = VERSION, "running");
        notify::ready();
        let ended = CancellationToken::new();
        let run = async {
            let exit = agent.run(signals.clone(), once).await;
            ended.cancel();
            exit
        };
        let tell_stopping = async {
            if ended.run_until_cancelled(signals.cancelled()).await.is_some() {
                notify::stopping();
            }
        };
        let reload = ended.run_until_cancelled(reload_on(hangup, path, reloader));
        let watchdog = notify::watchdog_while(ended.clone(), async || monitor.is_alive().await);
        let (exit, (), (), _) = tokio::join!(run, tell_stopping, watchdog, reload);
        Ok(exit?)
    })?;
    Ok(match exit {
        Exit::Done | Exit::Undrained => ExitCode::SUCCESS,
        Exit::Incomplete => {
            tracing::error!("not everything could be read; see the warnings above");
            ExitCode::FAILURE
        }
        Exit::Fenced => ExitCode::from(EXIT_FENCED),
    })
}

/// Reads the configuration again at each SIGHUP. One with mistakes changes nothing.
async fn reload_on(mut hangup: Hangup, path: &std::path::Path, reloader: Reloader) {
    loop {
        hangup.next().await;
        let reloaded = match Config::load(path) {
            Ok(config) => reloader.reload(config).map_err(|error| error.to_string()),
            Err(mistakes) => Err(mistakes.to_string()),
        };
        if let Err(reason) = reloaded {
            tracing::error!("the configuration is not reloaded; the one before goes on:\n{reason}");
        }
    }
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

async fn show_status(url: String, json: bool) -> anyhow::Result<()> {
    let url = format!("{}/status", url.trim_end_matches('/'));
    let answer = reqwest::Client::builder().no_proxy().build()?.get(&url).send().await?.error_for_status()?;
    let body = answer.bytes().await?;
    if json {
        print(&String::from_utf8_lossy(&body));
        return Ok(());
    }
    let status: Status = serde_json::from_slice(&body)?;
    print(&table(&status));
    Ok(())
}

fn table(status: &Status) -> String {
    let log = status.log_id.as_deref().unwrap_or("no session");
    let mut out = format!("agent {}  log {log}\n", status.agent);
    out += &format!("{:<9} {:>14} {:>14} {:>12}  {:<24} path\n", "state", "position", "size", "behind", "topic");
    for file in &status.files {
        let state = format!("{:?}", file.state).to_lowercase();
        let (position, size, behind) = (file.position, file.size, file.bytes_behind);
        out += &format!("{state:<9} {position:>14} {size:>14} {behind:>12}  {:<24} {}\n", file.topic, file.path);
        if let Some(trouble) = &file.trouble {
            out += &format!("          {trouble}\n");
        }
    }
    for trouble in &status.troubles {
        out += &format!("trouble: {}: {}\n", trouble.path, trouble.what);
    }
    for skipped in &status.skipped {
        out += &format!("skipped: {} ({})\n", skipped.path, skipped.reason);
    }
    let totals = status.totals;
    out + &format!("{} files, {} bytes behind, {} bytes lost\n", totals.files, totals.bytes_behind, totals.lost_bytes)
}

#[expect(clippy::print_stdout, reason = "this is what the command is asked for")]
fn print(text: &str) {
    println!("{}", text.trim_end());
}

#[expect(clippy::print_stderr, reason = "logging may not run yet")]
fn complain(text: std::fmt::Arguments<'_>) {
    eprintln!("{text}");
}
