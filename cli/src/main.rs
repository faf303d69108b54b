//! `skidway`, the program: parse, run, and an exit code of 0, 1 for failures or 64 for wrong usage (of `doctor` 1 and 2 for what it found).

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use skidway_cli::args::Cli;
use skidway_cli::error::Error;
use skidway_cli::output::note;
use skidway_daemon::config::EXIT_USAGE;

fn main() -> anyhow::Result<ExitCode> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(shown) => {
            let asked_for = !shown.use_stderr();
            // Help that nobody reads is no failure.
            let _reader_gone = shown.print();
            return Ok(if asked_for { ExitCode::SUCCESS } else { ExitCode::from(EXIT_USAGE) });
        }
    };
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async runtime")?;
    let outcome = runtime.block_on(skidway_cli::run(cli));
    // A thread may still wait for the standard input, which need never come.
    runtime.shutdown_background();
    Ok(exit_code(outcome))
}

fn exit_code(outcome: Result<(), Error>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(Error::Judged { code }) => ExitCode::from(code),
        Err(error) => {
            note(format_args!("skidway: {error}"));
            let usage = matches!(error, Error::Usage(_) | Error::Url { .. });
            ExitCode::from(if usage { EXIT_USAGE } else { 1 })
        }
    }
}
