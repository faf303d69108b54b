//! Which files there are: the topic `__skidway.files`, a record for each cut that is published, written with the decision that it is.
//!
//! It is what `verify`, `repair` and `replay` compare with, and whoever wants to be told of new files reads it as any other topic.
//!
//! ```text
//! {"v":1,"sink":…,"shard":{"topic","topic_id","partition"},"at_ms":…,"kind":"published","cut":{"from","to",…,"files":[…]},"bytes":[…]}
//! {"v":1,…,"kind":"gap","from":…,"to":…,"reason":…}
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skidway_record::{Record, TopicPartition};

use super::decisions::{Cut, Decision, Intent, Shard};
use super::journal::topic;
use crate::log::{Log, StateError, each_record};

/// Names the topic.
pub const FILES_TOPIC: &str = "__skidway.files";

/// Numbers the records' format.
const VERSION: u8 = 1;

/// Is a record of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    v: u8,
    /// Whose files.
    pub sink: String,
    /// Of which partition.
    pub shard: Shard,
    /// When, in ms since 1970.
    pub at_ms: i64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// Says what became of offsets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum What {
    /// They are in these files, in no others of earlier records.
    Published {
        /// The offsets and the files.
        cut: Box<Cut>,
        /// Bytes of each file, or of this partition's part of it.
        bytes: Vec<u64>,
    },
    /// They are in no file.
    Gap {
        /// First offset.
        from: u64,
        /// Next one that is in a file.
        to: u64,
        /// Why.
        reason: String,
    },
}

/// Holds what one sink has in files: by partition and first offset.
pub type Manifest = BTreeMap<Shard, BTreeMap<u64, Entry>>;

impl Entry {
    /// Describes a published cut.
    pub fn published(sink: &str, shard: &Shard, cut: &Cut, bytes: Vec<u64>, at_ms: i64) -> Self {
        let what = What::Published { cut: Box::new(cut.clone()), bytes };
        Self { v: VERSION, sink: sink.to_owned(), shard: shard.clone(), at_ms, what }
    }

    /// Describes a decision if it is a gap.
    pub fn of_gap(sink: &str, decision: &Decision, at_ms: i64) -> Option<Self> {
        let Decision::Gap { shard, from, to, reason } = decision else { return None };
        let what = What::Gap { from: *from, to: *to, reason: reason.clone() };
        Some(Self { v: VERSION, sink: sink.to_owned(), shard: shard.clone(), at_ms, what })
    }

    /// Encodes the record's value.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("maps have text for keys, and nothing else can fail")
    }

    /// Gives the offsets it is about.
    pub fn span(&self) -> (u64, u64) {
        match &self.what {
            What::Published { cut, .. } => (cut.from, cut.to),
            What::Gap { from, to, .. } => (*from, *to),
        }
    }

    /// Gives the cut, if it is one.
    pub fn cut(&self) -> Option<&Cut> {
        match &self.what {
            What::Published { cut, .. } => Some(cut),
            What::Gap { .. } => None,
        }
    }

    /// Gives the files and their bytes.
    pub fn files(&self) -> impl Iterator<Item = (&Intent, u64)> {
        let (files, bytes) = match &self.what {
            What::Published { cut, bytes } => (cut.files.as_slice(), bytes.as_slice()),
            What::Gap { .. } => Default::default(),
        };
        files.iter().zip(bytes.iter().copied())
    }
}

/// Reads what a sink has in files; of what was replayed, the newest.
///
/// # Errors
/// [`StateError`].
pub async fn read(log: &dyn Log, sink: &str) -> Result<Manifest, StateError> {
    let mut manifest = Manifest::new();
    let of = TopicPartition::new(topic(FILES_TOPIC), 0);
    let take = |_, record: &Record<'_>| {
        let entry: Entry =
            serde_json::from_slice(record.value.unwrap_or_default()).map_err(|error| error.to_string())?;
        if entry.v != VERSION {
            return Err(format!("it is of version {}, this build knows {VERSION}", entry.v));
        }
        if entry.sink == sink {
            manifest.entry(entry.shard.clone()).or_default().insert(entry.span().0, entry);
        }
        Ok(())
    };
    each_record(log, &of, take).await?;
    Ok(manifest)
}
