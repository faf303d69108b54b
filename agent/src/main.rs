//! `skidway-agent`: the command line.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use skidway_agent::{Agent, Config, Exit, Reloader, show};
use skidway_daemon::config::{EXIT_CONFIG, EXIT_FENCED, EXIT_USAGE};
use skidway_daemon::shutdown::Hangup;
use skidway_daemon::{VERSION, log_level, notify, shutdown, telemetry, tls};
use skidway_wire::http::LogLevelRequest;
use tokio_util::sync::CancellationToken;

/// An agent answers within this; one with very many files takes a moment.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Clears a terminal and begins at its top.
const CLEAR: &str = "\x1b[2J\x1b[H";

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
        /// Ask again and again, every 2 seconds unless told otherwise, until interrupted
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2", value_parser = seconds)]
        watch: Option<Duration>,
    },
    /// Show which lines a running agent logs, or have it log others: skidway-agent log-level debug --for 10m
    LogLevel {
        /// error, warn, info, debug, trace, off, or a filter such as info,skidway_agent=debug
        #[arg(conflicts_with = "reset")]
        level: Option<String>,
        /// For so long, then those of the configuration again (1s to 30d) [default: until it ends]
        #[arg(long = "for", value_name = "TIME", requires = "level")]
        lent: Option<String>,
        /// Log the lines of the configuration again
        #[arg(long)]
        reset: bool,
        /// Where it listens (agent.admin_listen)
        #[arg(long, default_value = "http://127.0.0.1:7071")]
        url: String,
        /// Print the answer as it is
        #[arg(long)]
        json: bool,
    },
    /// Compare the files on disk with what the collector holds, and name every range that is missing or doubled
    Verify {
        /// Configuration file, the agent's own
        #[arg(long)]
        config: PathBuf,
        /// Print an object
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
        Command::Status { url, json, watch } => block_on(show_status(url, json, watch)).map(|()| ExitCode::SUCCESS),
        Command::LogLevel { level, lent, reset, url, json } => {
            let asked = level.map(|level| LogLevelRequest { level, lent });
            block_on(show_level(url, asked, reset, json)).map(|()| ExitCode::SUCCESS)
        }
        Command::Verify { config, json } => match load(&config) {
            Ok(config) => block_on(verify(config, json)),
            Err(code) => Ok(code),
        },
    };
    done.unwrap_or_else(|error| {
        complain(format_args!("{error:#}"));
        ExitCode::FAILURE
    })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected seconds, 0.1 to 86400".to_owned())
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
            Ok(config) => {
                let level = config.log.level.clone();
                reloader.reload(config).map(|()| log_level::configure(&level)).map_err(|error| error.to_string())
            }
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

/// Shows how things stand, once or again and again. Once somebody has answered, their silence is shown too.
async fn show_status(url: String, json: bool, every: Option<Duration>) -> anyhow::Result<()> {
    let client = client(&url)?;
    let first = show::ask(&client, &url, json).await?;
    let Some(every) = every else {
        print(&first);
        return Ok(());
    };
    let clears = std::io::stdout().is_terminal() && !json;
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut shown = first;
    loop {
        print(&format!("{}{shown}", if clears { CLEAR } else { "" }));
        tokio::select! {
            biased; // Who wants to leave waits for no answer.
            heard = &mut interrupted => return Ok(heard?),
            answer = async {
                tokio::time::sleep(every).await;
                show::ask(&client, &url, json).await
            } => shown = answer.unwrap_or_else(|error| error.to_string()),
        }
    }
}

async fn show_level(url: String, asked: Option<LogLevelRequest>, reset: bool, json: bool) -> anyhow::Result<()> {
    print(&show::log_level(&client(&url)?, &url, asked, reset, json).await?);
    Ok(())
}

fn client(url: &str) -> reqwest::Result<reqwest::Client> {
    let mut client = reqwest::Client::builder().no_proxy().timeout(ANSWER_TIMEOUT);
    if !url.starts_with("https:") {
        // The admin port speaks plain HTTP; this machine may have no certificates of authorities.
        client = client.tls_certs_only([]);
    }
    client.build()
}

async fn verify(config: Config, json: bool) -> anyhow::Result<ExitCode> {
    let report = skidway_agent::verify::verify(&config).await?;
    print(&if json { serde_json::to_string(&report)? } else { report.to_string() });
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(text: &str) {
    // Whoever reads may have seen enough.
    let _seen_enough = writeln!(std::io::stdout(), "{}", text.trim_end());
}

#[expect(clippy::print_stderr, reason = "logging may not run yet")]
fn complain(text: std::fmt::Arguments<'_>) {
    eprintln!("{text}");
}
