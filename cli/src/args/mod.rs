//! The command line: what may be typed, and its help. Nothing is done here.

mod groups;
mod sinks;
mod queues;
mod tokens;
mod doctor;
mod log_level;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use skidway_daemon::config::{ByteSize, parse_duration};
use skidway_record::TopicName;
use skidway_record::limits::PARTITIONS_MAX;

pub use doctor::{Doctor, SupportBundle};
pub use groups::{GroupAction, Groups};
pub use log_level::LevelAsked;
pub use queues::{QueueAction, QueuePut, Queues};
pub use sinks::{SinkAction, Sinks};
pub use tokens::{TokenAction, TokenJoin, TokenMake, TokenQuotas, Tokens};

/// Follows log files, and works with a Skidway collector
#[derive(Debug, Parser)]
#[command(name = "skidway", version = skidway_daemon::VERSION, max_term_width = 100)]
pub struct Cli {
    /// What every command shares.
    #[command(flatten)]
    pub door: Door,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Says which collector to talk to, and how to answer.
#[derive(Debug, Clone, Args)]
pub struct Door {
    /// The collector's address
    #[arg(long, global = true, env = "SKIDWAY_URL", value_name = "URL", default_value = "http://127.0.0.1:7070")]
    pub url: String,
    /// PEM file of the authorities that sign the collector's certificate [default: those of the system]
    #[arg(long, global = true, env = "SKIDWAY_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// PEM file of a certificate to show to the collector
    #[arg(long, global = true, env = "SKIDWAY_CERT_FILE", value_name = "FILE")]
    pub cert_file: Option<PathBuf>,
    /// PEM file of that certificate's private key
    #[arg(long, global = true, env = "SKIDWAY_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// File of the token to send to the collector
    #[arg(long, global = true, env = "SKIDWAY_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Print JSON instead of tables and text
    #[arg(long, global = true)]
    pub json: bool,
}

/// Names one command with its own arguments.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Follow log files and serve them: an agent and a collector in one process, no configuration needed
    Up(Up),
    /// Print the records of a topic
    Tail(Tail),
    /// Print the latest record of each key of a topic
    Table(Table),
    /// Send lines to a topic, one record a line
    Produce(Produce),
    /// List, show, create, change and delete topics
    Topics(Topics),
    /// List the agents that ship to the collector
    Agents,
    /// Show how sinks stand; pause and resume them
    Sinks(Sinks),
    /// Show how consumer groups stand; commit for them, put them elsewhere, forget them
    Groups(Groups),
    /// Give records away one by one: make queues, see how they stand, receive, acknowledge, redrive
    Queues(Queues),
    /// Say who may do what: make tokens, list and revoke them, let agents join
    Tokens(Tokens),
    /// Show which lines the collector logs, or have it log others: skidway log-level debug --for 10m
    LogLevel(LevelAsked),
    /// Say what is wrong and what to do: exit code 0 if nothing is, 1 for warnings, 2 for problems
    Doctor(Doctor),
    /// Write a file for whoever is asked for help: how things stand, without records and secrets
    SupportBundle(SupportBundle),
    /// Print what a shell needs to complete commands: source <(skidway completion bash)
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page, or write those of all commands: skidway man --folder /usr/local/share/man/man1
    Man {
        /// Where to write the pages of all commands
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
    },
}

impl Command {
    /// Tells whether it talks to the collector that the options name.
    pub fn asks_a_collector(&self) -> bool {
        match self {
            Self::Up(_) | Self::Completion { .. } | Self::Man { .. } => false,
            Self::Tokens(tokens) => !matches!(tokens.action, Some(TokenAction::Generate)),
            _ => true,
        }
    }
}

/// Holds the arguments of `skidway up`.
#[derive(Debug, Args)]
pub struct Up {
    /// Files to follow, such as '/var/log/nginx/*.log' (** crosses folders) [default: text logs under /var/log; with --demo
    /// nothing else]
    #[arg(value_name = "GLOB")]
    pub globs: Vec<String>,
    /// Also write a growing access log, and follow it
    #[arg(long)]
    pub demo: bool,
    /// Where the log is kept
    #[arg(long, value_name = "FOLDER", default_value = "skidway-data")]
    pub data_dir: PathBuf,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7070")]
    pub listen: SocketAddr,
    /// Listen where other machines reach it though nothing is encrypted
    #[arg(long)]
    pub allow_unencrypted: bool,
    /// Listen where other machines reach it though nobody is asked who they are
    #[arg(long)]
    pub allow_unauthenticated: bool,
}

/// Holds the arguments of `skidway tail`.
#[derive(Debug, Args)]
pub struct Tail {
    /// Topics to read, and patterns such as 'app-*', which topics to come may match
    #[arg(value_name = "TOPIC", required = true)]
    pub topics: Vec<String>,
    /// Where to start: earliest, latest, a token, a time (RFC 3339) or -N, which is N records back in each partition
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true, conflicts_with = "last")]
    pub from: Option<String>,
    /// Start N records back in each partition [default: 10]
    #[arg(short = 'n', long, value_name = "N")]
    pub last: Option<u32>,
    /// Wait for new records, over restarts of the collector as well
    #[arg(short, long, overrides_with = "no_follow")]
    pub follow: bool,
    /// End at the last record there is, which is the default
    #[arg(long)]
    pub no_follow: bool,
    /// Print only records for which this is true, such as 'value.contains("timeout") && json.status >= 500'
    #[arg(long, value_name = "EXPRESSION")]
    pub filter: Option<String>,
    /// Read this partition only, of one topic
    #[arg(long, value_name = "N")]
    pub partition: Option<u32>,
    /// Pass over records that cannot be read any more, and say which, instead of stopping there
    #[arg(long)]
    pub skip_damaged: bool,
}

/// Holds the arguments of `skidway table`.
#[derive(Debug, Args)]
pub struct Table {
    /// The topic to read
    pub topic: TopicName,
    /// Print this key's latest record only
    #[arg(long, conflicts_with_all = ["prefix", "follow"])]
    pub key: Option<String>,
    /// Print keys that begin with this
    #[arg(long)]
    pub prefix: Option<String>,
    /// Then print what is written from there on, over restarts of the collector as well
    #[arg(short, long)]
    pub follow: bool,
    /// Read this partition only
    #[arg(long, value_name = "N")]
    pub partition: Option<u32>,
}

/// Holds the arguments of `skidway produce`.
#[derive(Debug, Args)]
pub struct Produce {
    /// The topic to write to
    pub topic: TopicName,
    /// File to read, or - for the standard input
    #[arg(default_value = "-")]
    pub file: PathBuf,
    /// Key of every record; equal keys go to one partition
    #[arg(long)]
    pub key: Option<String>,
    /// Write only if the key's last record is at this offset, or there is none; the topic needs a key index
    #[arg(long, value_name = "OFFSET|none", requires = "key", value_parser = key_offset)]
    pub expect_key_offset: Option<String>,
}

/// Holds the arguments of `skidway topics`.
#[derive(Debug, Args)]
pub struct Topics {
    /// What to do with topics; listing them if nothing is said.
    #[command(subcommand)]
    pub action: Option<TopicAction>,
}

/// Names what can be done with topics.
#[derive(Debug, Subcommand)]
pub enum TopicAction {
    /// List all topics
    List,
    /// Show one topic's settings and partitions
    Show {
        /// The topic.
        topic: TopicName,
    },
    /// Create a topic
    Create {
        /// The topic.
        topic: TopicName,
        /// Its settings; what is not said is the collector's default.
        #[command(flatten)]
        settings: TopicSettings,
    },
    /// Change a topic's settings; partitions can only be added
    Alter {
        /// The topic.
        topic: TopicName,
        /// What to change.
        #[command(flatten)]
        settings: TopicSettings,
    },
    /// Delete the first records of a partition, up to an offset
    DeleteRecords {
        /// The topic.
        topic: TopicName,
        /// The partition
        #[arg(long, value_name = "N")]
        partition: u32,
        /// The first offset to keep, or latest for none that there is
        #[arg(long, value_name = "OFFSET", value_parser = before_offset)]
        before_offset: String,
    },
    /// Delete a topic and every record in it
    Delete {
        /// The topic.
        topic: TopicName,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Holds the settings of a topic that can be given.
#[derive(Debug, Clone, Default, Args)]
pub struct TopicSettings {
    /// Number of partitions, 1 to 1000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(PARTITIONS_MAX)))]
    pub partitions: Option<u32>,
    /// Keep records this long, such as 7d
    #[arg(long, value_name = "AGE", value_parser = retention_age)]
    pub retention_age: Option<String>,
    /// Keep at most this much in each partition, such as 10GiB
    #[arg(long, value_name = "SIZE", value_parser = retention_bytes)]
    pub retention_bytes: Option<String>,
    /// What goes in time: what is past its retention, records superseded by a later one of their key, or both
    #[arg(long, value_name = "POLICY", value_parser = ["delete", "compact", "compact,delete"])]
    pub cleanup: Option<String>,
    /// Keep tombstones this long once what they delete is compacted away, such as 24h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub tombstone_retention: Option<String>,
    /// Leave records this long before they may be compacted away, such as 1h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub min_compaction_lag: Option<String>,
    /// Keep an index of keys, for reading one key's records and writing what expects a key's offset
    #[arg(long, value_name = "true|false")]
    pub key_index: Option<bool>,
}

/// Checks an offset here, where the message can name the argument.
fn before_offset(text: &str) -> Result<String, String> {
    let valid = text == "latest" || text.parse::<u64>().is_ok();
    valid.then(|| text.to_owned()).ok_or_else(|| "expected an offset, or latest".to_owned())
}

/// Checks an offset or `none`.
fn key_offset(text: &str) -> Result<String, String> {
    let valid = text == "none" || text.parse::<u64>().is_ok();
    valid.then(|| text.to_owned()).ok_or_else(|| "expected an offset, or none".to_owned())
}

/// Checks a duration here, where the message can name the argument, and passes it on as it was written.
fn retention_age(text: &str) -> Result<String, String> {
    let valid = parse_duration(text).is_some_and(|age| age > Duration::ZERO);
    valid.then(|| text.to_owned()).ok_or_else(|| "expected a duration such as 7d, 12h or 30m".to_owned())
}

fn duration(text: &str) -> Result<String, String> {
    parse_duration(text).map(|_| text.to_owned()).ok_or_else(|| "expected a duration such as 24h, 30m or 0s".to_owned())
}

fn retention_bytes(text: &str) -> Result<String, String> {
    let valid = ByteSize::parse(text).is_some_and(|size| size.0 > 0);
    valid.then(|| text.to_owned()).ok_or_else(|| "expected a size such as 10GiB or 512MiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_people_type_is_understood() {
        let cases = [
            "up",
            "up --demo",
            "up a.log /var/log/*.log --data-dir d --listen 127.0.0.1:0",
            "tail t",
            "tail t -f -n 5",
            "tail t --from -5 --follow --partition 3 --json",
            "tail t --from 2026-01-01T00:00:00Z --url http://h:1",
            "--json --url http://h:1 tail t",
            "produce t",
            "produce t --key k -",
            "produce t --key k --expect-key-offset none",
            "table t --prefix a -f",
            "table t --key k --json",
            "topics create t --key-index true",
            "topics",
            "topics list",
            "topics show t",
            "topics create t --partitions 8 --retention-age 7d --retention-bytes 10GiB",
            "topics alter t --partitions 9",
            "topics delete t --yes",
            "agents --json",
            "doctor --json",
            "doctor --agent http://127.0.0.1:7071 --config agent.toml",
            "support-bundle -o b.tar.gz --config a.toml --config b.toml --log c.log",
            "completion bash",
            "man --folder /tmp/man1",
            "groups",
            "groups show g --json",
            "groups commit g --token g1abc.t2",
            "groups commit g --offset app:3=17 --offset app:4=18",
            "groups reset g --topic app-* --to -5 --dry-run",
            "groups reset g --offset app:3=17 --force",
            "groups delete g --yes",
            "tokens",
            "tokens generate",
            "tokens create --name ci --scope consume --scope produce=out-* --topics web-* --expires 90d --json",
            "tokens create --name w --scope commit --topics * --agent web-1",
            "tokens join --uses 10 --expires 1h --token-file f",
            "tokens revoke 0123456789abcdef",
        ];
        for line in cases {
            let parsed = Cli::try_parse_from(format!("skidway {line}").split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let cases = [
            ("", "Usage"),
            ("tails", "tail"),
            ("tail", "TOPIC"),
            ("produce a/b", "topic name"),
            ("tail t -n 5 --from earliest", "cannot be used with"),
            ("topics create t --partitions 0", "1..=1000"),
            ("topics create t --retention-age never", "expected a duration such as 7d"),
            ("topics create t --retention-bytes 0", "expected a size such as 10GiB"),
            ("groups reset g --topic t", "--to"),
            ("groups reset g", "--offset"),
            ("groups commit g --offset app=17", "expected TOPIC:PARTITION=OFFSET"),
            ("tokens create --name x", "--scope"),
            ("tokens create --name x --scope write", "expected produce, consume, commit, metrics or admin"),
            ("tokens create --name x --scope admin --expires soon", "expected a duration such as 24h"),
            ("up --listen localhost", "invalid socket address"),
        ];
        for (line, reason) in cases {
            let error = Cli::try_parse_from(format!("skidway {line}").split_whitespace()).unwrap_err().to_string();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
