//! What may be typed after `skidway doctor` and `skidway support-bundle`.

use std::path::PathBuf;

use clap::Args;

/// Holds the arguments of `skidway doctor`.
#[derive(Debug, Default, Args)]
pub struct Doctor {
    /// Look at a running agent instead of the collector: its admin port, such as http://127.0.0.1:7071
    #[arg(long, value_name = "URL")]
    pub agent: Option<String>,
    /// Look at an agent's configuration on this machine instead, and try the collectors it names; run it as the agent's user
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Holds the arguments of `skidway support-bundle`.
#[derive(Debug, Args)]
pub struct SupportBundle {
    /// Where to write it
    #[arg(long, short, value_name = "FILE", default_value = "skidway-support.tar.gz")]
    pub output: PathBuf,
    /// Add what a running agent tells: its admin port, such as http://127.0.0.1:7071
    #[arg(long, value_name = "URL")]
    pub agent: Option<String>,
    /// Add a configuration file, without its secrets and comments; may be repeated
    #[arg(long, value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// Add the last 2000 lines of a log of ours, without secrets; may be repeated. Those of our units are taken of the journal by themselves
    #[arg(long, value_name = "FILE")]
    pub log: Vec<PathBuf>,
}
