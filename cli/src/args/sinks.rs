//! What may be typed after `skidway sinks`.

use clap::{Args, Subcommand};
use skidway_record::TopicName;

/// Holds the arguments of `skidway sinks`.
#[derive(Debug, Args)]
pub struct Sinks {
    /// What to do with sinks; listing them if nothing is said.
    #[command(subcommand)]
    pub action: Option<SinkAction>,
}

/// Names what can be done with sinks.
#[derive(Debug, Subcommand)]
pub enum SinkAction {
    /// List all sinks
    List,
    /// Show one sink and its partitions
    Show {
        /// The sink.
        sink: String,
    },
    /// Close and publish what is open, then read nothing more
    Pause {
        /// The sink.
        sink: String,
    },
    /// Go on where it was paused
    Resume {
        /// The sink.
        sink: String,
    },
    /// Predict files and requests to the storage of a day, by trying out what came in the last hours
    Plan {
        /// The sink.
        sink: String,
        /// How many hours to look back.
        #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=744))]
        hours: u64,
    },
    /// Compare the manifest with what is in the storage; exits 1 if something is wrong
    Verify {
        /// The sink.
        sink: String,
        /// Also read every file, and compare with the records that the log still has
        #[arg(long)]
        deep: bool,
    },
    /// Make files again that are missing or damaged, as far as the log has their records
    Repair {
        /// The sink.
        sink: String,
    },
    /// Make files anew as the configuration says today, and put them in place of the old ones
    Replay {
        /// The sink.
        sink: String,
        /// The topic
        #[arg(long)]
        topic: TopicName,
        /// From the first record at least this new (RFC 3339)
        #[arg(long, value_name = "TIME")]
        from: String,
        /// Up to the first record at least this new (RFC 3339)
        #[arg(long, value_name = "TIME")]
        to: String,
    },
}
