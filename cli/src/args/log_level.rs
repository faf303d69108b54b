//! What may be typed after `skidway log-level`.

use clap::Args;

/// Holds the arguments of `skidway log-level`.
#[derive(Debug, Args)]
pub struct LevelAsked {
    /// error, warn, info, debug, trace, off, or a filter such as info,skidway_collector=debug
    #[arg(conflicts_with = "reset")]
    pub level: Option<String>,
    /// For so long, then those of the configuration again (1s to 30d) [default: until it ends]
    #[arg(long = "for", value_name = "TIME", requires = "level")]
    pub lent: Option<String>,
    /// Log the lines of the configuration again
    #[arg(long)]
    pub reset: bool,
}
