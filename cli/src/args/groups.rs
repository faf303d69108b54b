//! What may be typed after `skidway groups`.

use clap::{Args, Subcommand};

/// Holds the arguments of `skidway groups`.
#[derive(Debug, Args)]
pub struct Groups {
    /// What to do with groups; listing them if nothing is said.
    #[command(subcommand)]
    pub action: Option<GroupAction>,
}

/// Names what can be done with groups.
#[derive(Debug, Subcommand)]
pub enum GroupAction {
    /// List all groups
    List,
    /// Show one group: its members, what is committed, and the lag
    Show {
        /// The group.
        group: String,
    },
    /// Commit a token of its records, or offsets while it has no member
    Commit {
        /// The group.
        group: String,
        /// Token of one of its records: all that its member was given up to there is done
        #[arg(long, conflicts_with = "offsets", required_unless_present = "offsets")]
        token: Option<String>,
        /// Next offset of a partition; may be given more than once
        #[arg(long = "offset", value_name = "TOPIC:PARTITION=OFFSET", value_parser = partition_offset)]
        offsets: Vec<(String, u32, u64)>,
    },
    /// Put it elsewhere; it must have no member
    Reset {
        /// The group.
        group: String,
        /// Name or pattern of topics; may be given more than once
        #[arg(long = "topic", value_name = "TOPIC", requires = "to", conflicts_with = "offsets")]
        topics: Vec<String>,
        /// earliest, latest, a time (RFC 3339) or -N, which is N records back in each partition
        #[arg(long, value_name = "WHERE", allow_hyphen_values = true, requires = "topics")]
        to: Option<String>,
        /// Next offset of a partition; may be given more than once
        #[arg(long = "offset", value_name = "TOPIC:PARTITION=OFFSET", value_parser = partition_offset, required_unless_present = "topics")]
        offsets: Vec<(String, u32, u64)>,
        /// Also while it has members: they begin anew there
        #[arg(long)]
        force: bool,
        /// Only say what it would do
        #[arg(long)]
        dry_run: bool,
    },
    /// Forget it and all that it has committed; it must have no member
    Delete {
        /// The group.
        group: String,
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
    },
}

/// Reads `app:3=17`.
fn partition_offset(text: &str) -> Result<(String, u32, u64), String> {
    let parts = text.split_once('=').and_then(|(of, offset)| {
        let (topic, partition) = of.rsplit_once(':')?;
        Some((topic.to_owned(), partition.parse().ok()?, offset.parse().ok()?))
    });
    parts.ok_or_else(|| "expected TOPIC:PARTITION=OFFSET, such as app:3=17".to_owned())
}
