//! Why a command failed, in words for the person who typed it.

use std::io;
use std::path::PathBuf;

use skidway_daemon::tls::{Knobs, Trouble};
use skidway_record::Fate;
use skidway_wire::Problem;

/// Tells why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `--url` is not an address.
    #[error("--url {url:?} is not an address such as http://127.0.0.1:7070: {reason}")]
    Url {
        /// As typed.
        url: String,
        /// Why.
        reason: String,
    },
    /// The HTTP client could not be made.
    #[error("cannot make connections: {}", unmade(.0))]
    Client(#[source] reqwest::Error),
    /// A file with what we trust or show cannot be used.
    #[error("{flag} {}: {reason}", .path.display())]
    Credentials {
        /// The flag that names it, or its environment variable.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Nothing answers there, or the connection was cut.
    #[error("cannot reach the collector at {url}: {}\n{}", cause(.source), advice(.source))]
    Unreachable {
        /// The collector's address.
        url: String,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// The collector said no.
    #[error("{}: {}", .0.title, .0.detail)]
    Refused(Box<Problem>),
    /// An answer that no collector gives.
    #[error("{url} does not answer like a Skidway collector: {reason}")]
    Strange {
        /// What was asked.
        url: String,
        /// What is odd.
        reason: String,
        /// Whether it looked like a passing failure, such as a proxy's 502.
        passing: bool,
    },
    /// Something is wrong with the files of a sink.
    #[error("{0}")]
    Files(String),
    /// A stream went silent or was cut.
    #[error("the connection to the collector was lost: {reason}")]
    Lost {
        /// How.
        reason: String,
    },
    /// The input cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Input {
        /// The file, or `-`.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// Records were stored, but not all.
    #[error("{stored} were stored and stay, the rest was not: {source}")]
    Partly {
        /// How many, in words.
        stored: String,
        /// What stopped it.
        #[source]
        source: Box<Self>,
    },
    /// The doctor found something, which it has said.
    #[error("something is wrong")]
    Judged {
        /// The exit code: 1 for warnings, 2 for problems.
        code: u8,
    },
    /// It could not be done, for a reason that words say best.
    #[error("{0}")]
    Failed(String),
    /// The command makes no sense as typed, which only its execution could show.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// Says whether the same request may succeed later.
    pub fn fate(&self) -> Fate {
        let passing = match self {
            Self::Unreachable { .. } | Self::Lost { .. } => true,
            Self::Refused(problem) => problem.status >= 500 || problem.status == 429,
            Self::Strange { passing, .. } => *passing,
            _ => false,
        };
        if passing { Fate::Retry } else { Fate::Reject }
    }

    /// Tells whether the reader of our output has gone, as `head` does. That is no failure.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Names what a person can change when there is no TLS with a collector.
const KNOBS: Knobs = Knobs {
    ca_file: "--ca-file or SKIDWAY_CA_FILE",
    cert_file: "--cert-file and --key-file",
    url: "--url or SKIDWAY_URL",
};

/// Says what to do about a collector that cannot be reached.
fn advice(error: &reqwest::Error) -> String {
    let Some(trouble) = Trouble::of(error) else {
        return "Start one with `skidway up`, or name another with --url or SKIDWAY_URL.".to_owned();
    };
    let advice = trouble.advice(&KNOBS);
    let mut letters = advice.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

/// Says why there is no client, and what to do if that is known.
fn unmade(error: &reqwest::Error) -> String {
    Trouble::of(error).map_or_else(|| cause(error), |trouble| trouble.advice(&KNOBS))
}

/// Gives the innermost cause, the one that says something: "Connection refused", not "error sending request".
pub fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
