//! What may be typed after `skidway tokens`.

use clap::{Args, Subcommand};
use skidway_daemon::config::ByteSize;
use skidway_wire::access::{Grant, Quotas, Scope};

use super::duration;

/// Holds the arguments of `skidway tokens`.
#[derive(Debug, Args)]
pub struct Tokens {
    /// What to do with tokens; listing them if nothing is said.
    #[command(subcommand)]
    pub action: Option<TokenAction>,
}

/// Names what can be done with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenAction {
    /// List all tokens; their secrets are not known to anybody but their holders
    List,
    /// Make a token and print it, which is the only time that it is shown
    Create(TokenMake),
    /// Make a token with which agents enrol, and print it
    Join(TokenJoin),
    /// Revoke a token: its holder is not let in any more, and what it has open ends
    Revoke {
        /// Its public part: the 16 digits after sk1_
        id: String,
    },
    /// Print a token without asking a collector: skidway tokens generate > FILE, for access.admin_token_file
    Generate,
}

/// Holds the arguments of `skidway tokens create`.
#[derive(Debug, Args)]
pub struct TokenMake {
    /// What to call it
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// What it may do: produce, consume, commit, metrics, admin; with topics of its own as produce=out-*,log; may be given more than once
    #[arg(long = "scope", value_name = "SCOPE[=TOPICS]", required = true, value_parser = grant)]
    pub scopes: Vec<Grant>,
    /// Pattern of the topics that scopes without topics of their own are for, such as 'web-*'; may be given more than once
    #[arg(long = "topics", value_name = "PATTERN", value_delimiter = ',')]
    pub topics: Vec<String>,
    /// The agent that it ships for, with the scope commit
    #[arg(long, value_name = "ID")]
    pub agent: Option<String>,
    /// How long it is valid, such as 90d [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub expires: Option<String>,
    /// How much its holder may use.
    #[command(flatten)]
    pub quotas: TokenQuotas,
}

/// Holds the arguments of `skidway tokens join`.
#[derive(Debug, Args)]
pub struct TokenJoin {
    /// What to call it [default: join]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// How many agents may enrol with it [default: 1]
    #[arg(long, value_name = "N")]
    pub uses: Option<u32>,
    /// How long it is valid, at most 30d [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub expires: Option<String>,
    /// Pattern of the agents' ids that may enrol [default: *]
    #[arg(long, value_name = "PATTERN")]
    pub agents: Option<String>,
    /// Pattern of the topics that the agents may ship to; may be given more than once [default: *]
    #[arg(long = "topics", value_name = "PATTERN", value_delimiter = ',')]
    pub topics: Vec<String>,
    /// How much each agent may use.
    #[command(flatten)]
    pub quotas: TokenQuotas,
}

/// Holds the bounds of what a token's holder may use.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct TokenQuotas {
    /// Requests a second
    #[arg(long, value_name = "N")]
    pub requests_per_second: Option<u64>,
    /// Bytes sent a second, such as 1MiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub bytes_per_second: Option<u64>,
    /// Bytes that its topics may hold, all together, such as 10GiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub storage_bytes: Option<u64>,
    /// How many topics it may have
    #[arg(long, value_name = "N")]
    pub topics_max: Option<u64>,
}

impl From<TokenQuotas> for Quotas {
    fn from(quotas: TokenQuotas) -> Self {
        let TokenQuotas { requests_per_second, bytes_per_second, storage_bytes, topics_max } = quotas;
        Self { requests_per_second, bytes_per_second, storage_bytes, topics: topics_max }
    }
}

/// Reads `consume` or `produce=out-*,log`.
fn grant(text: &str) -> Result<Grant, String> {
    let (name, topics) = text.split_once('=').unwrap_or((text, ""));
    let scope = Scope::named(name).ok_or("expected produce, consume, commit, metrics or admin")?;
    let topics = topics.split(',').filter(|topic| !topic.is_empty()).map(str::to_owned).collect();
    Ok(Grant { scope, topics })
}

fn size(text: &str) -> Result<u64, String> {
    let size = ByteSize::parse(text).filter(|size| size.0 > 0);
    size.map(|size| size.0).ok_or_else(|| "expected a size such as 10GiB or 512KiB".to_owned())
}
