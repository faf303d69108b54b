//! What sinks have decided, as records of the topic `__skidway.sinks`: the truth about every sink, in the log itself.
//!
//! ```text
//! opened    the sink's first start is over
//! begun     a partition is read from here on
//! cut       offsets from..to are these files (none, if nothing was in them); nothing is published before this is durable
//! done      a cut's files are all published
//! gap       offsets from..to could not be had; they are in no file
//! replay    other files take the place of a cut's; replayed: they are in place
//! paused, resumed
//! standing  all of the above of one partition, so that older records can be deleted
//! ```
//!
//! Each record is a JSON object with its version, its key the sink's name. Pure; the log is read and written by [`super::worker`].

use serde::{Deserialize, Serialize};
use skidway_record::TopicName;

use super::lane::Cause;
use super::parquet::Field;
use super::state::Standing;

/// Names the topic.
pub const DECISIONS_TOPIC: &str = "__skidway.sinks";

/// Numbers the records' format. 1 had no merged files, no late records and no sizes of rows, which all have a default.
const VERSION: u8 = 2;

/// Names one partition of one incarnation of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shard {
    /// The topic's name.
    pub topic: TopicName,
    /// Its id, which never comes back.
    #[serde(with = "hex_id")]
    pub topic_id: [u8; 16],
    /// The partition.
    pub partition: u32,
}

/// Is a file that was decided: what is in it, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Its folder, as the template made it.
    pub folder: String,
    /// Its name in that folder.
    pub name: String,
    /// Offset of its first record.
    pub first: u64,
    /// Of its last.
    pub last: u64,
    /// How many it has.
    pub records: u64,
    /// Bytes of its rows before compression.
    #[serde(default)]
    pub row_bytes: u64,
    /// XXH3-128 of its rows before compression, in hexadecimal.
    pub digest: String,
    /// Another partition's part of the same file comes before it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub continues: bool,
}

impl Intent {
    /// Gives its path below the sink's url.
    pub fn path(&self) -> String {
        if self.folder.is_empty() { self.name.clone() } else { format!("{}/{}", self.folder, self.name) }
    }
}

/// Is a cut: with what made its files, they can be made again from the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// First offset it decides.
    pub from: u64,
    /// The frontier after it.
    pub to: u64,
    /// Why it came.
    pub cause: Cause,
    /// How rows and names are made.
    pub recipe: Recipe,
    /// If other partitions have parts of the same files: how many records of all were decided before, which names the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_at: Option<u64>,
    /// By which time records were late, in ms since 1970; `None` if that made no difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ms: Option<i64>,
    /// Late records that are in no file, as the configuration wanted it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub late_dropped: u64,
    /// Its files; of those that other partitions have a part in, the part of this one.
    pub files: Vec<Intent>,
}

/// Says how records become files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// The folder template.
    pub path: String,
    /// Its time zone.
    pub timezone: String,
    /// `ndjson` or `raw`.
    pub format: String,
    /// `gzip`, `zstd` or `none`.
    pub compression: String,
    /// What an NDJSON row shows, in order.
    pub columns: Vec<String>,
    /// Whether a value that is JSON appears as it is.
    pub inline_json: bool,
    /// Where the time in `path` comes from.
    #[serde(default = "timestamp")]
    pub time: String,
    /// What becomes of late records.
    #[serde(default = "keep")]
    pub late: String,
    /// Columns of a Parquet file for members of JSON values; none if values are not taken apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<Field>>,
}

/// Is one decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Decision {
    /// A partition is read from here on.
    Begun {
        /// Which.
        shard: Shard,
        /// From where.
        from: u64,
    },
    /// Files were decided.
    Cut {
        /// Of which partition.
        shard: Shard,
        /// What.
        cut: Cut,
    },
    /// A cut's files are published.
    Done {
        /// Of which partition.
        shard: Shard,
        /// The cut's frontier.
        to: u64,
        /// Bytes of its files.
        bytes: u64,
        /// When, in ms since 1970.
        #[serde(default)]
        at_ms: i64,
    },
    /// Records are in no file.
    Gap {
        /// Of which partition.
        shard: Shard,
        /// First offset.
        from: u64,
        /// Next one that can be had.
        to: u64,
        /// Why.
        reason: String,
    },
    /// Files are put in place of those of an earlier cut of the same offsets.
    Replay {
        /// Of which partition.
        shard: Shard,
        /// What was there and what will be.
        replay: Box<Replay>,
    },
    /// They are in place.
    Replayed {
        /// Of which partition.
        shard: Shard,
        /// The first offset.
        from: u64,
    },
    /// The sink's first start is over: what it comes upon from now on it takes from its first record on.
    Opened,
    /// The sink stands still.
    Paused,
    /// It goes on.
    Resumed,
    /// Where a partition stood.
    Standing {
        /// Which.
        shard: Shard,
        /// How.
        standing: Standing,
    },
}

/// Is a cut that takes the place of another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// What was there.
    pub old: Cut,
    /// What takes its place.
    pub new: Cut,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    v: u8,
    sink: String,
    #[serde(flatten)]
    decision: Decision,
}

impl Decision {
    /// Gives the partition that it is about.
    pub fn shard(&self) -> Option<&Shard> {
        match self {
            Self::Begun { shard, .. }
            | Self::Cut { shard, .. }
            | Self::Done { shard, .. }
            | Self::Gap { shard, .. }
            | Self::Replay { shard, .. }
            | Self::Replayed { shard, .. }
            | Self::Standing { shard, .. } => Some(shard),
            Self::Opened | Self::Paused | Self::Resumed => None,
        }
    }

    /// Encodes the record's value.
    pub fn encode(&self, sink: &str) -> Vec<u8> {
        let stored = Stored { v: VERSION, sink: sink.to_owned(), decision: self.clone() };
        serde_json::to_vec(&stored).expect("maps have text for keys, and nothing else can fail")
    }

    /// Decodes a record's value; gives the sink's name, too.
    ///
    /// # Errors
    /// What is wrong with it: another version's, or damaged (halt).
    pub fn decode(value: &[u8]) -> Result<(String, Self), String> {
        let stored: Stored = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        if !(1..=VERSION).contains(&stored.v) {
            return Err(format!("it is of version {}, this build knows 1 to {VERSION}", stored.v));
        }
        Ok((stored.sink, stored.decision))
    }
}

fn timestamp() -> String {
    "timestamp".to_owned()
}

fn keep() -> String {
    "keep".to_owned()
}

fn is_false(is: &bool) -> bool {
    !is
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Writes ids as the collector does elsewhere.
mod hex_id {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(id: &[u8; 16], out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&format!("{:032x}", u128::from_be_bytes(*id)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<[u8; 16], D::Error> {
        let text = String::deserialize(input)?;
        u128::from_str_radix(&text, 16).map(u128::to_be_bytes).map_err(D::Error::custom)
    }
}
