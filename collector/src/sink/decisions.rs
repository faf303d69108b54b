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

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use skidway_record::TopicName;

use super::lane::Cause;
use super::parquet::Field;

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

/// Says how a partition stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Standing {
    /// All before it was decided.
    pub frontier: u64,
    /// Cuts whose files are not all published, oldest first.
    pub pending: Vec<Cut>,
    /// Cuts that take the place of others and are not published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replays: Vec<Replay>,
    /// Files published so far.
    pub files: u64,
    /// Their records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records that are in no file because they could not be had.
    pub lost: u64,
    /// Records that are in no file because they were late.
    #[serde(default)]
    pub late_dropped: u64,
    /// What was published last.
    #[serde(default)]
    pub last_file: Option<LastFile>,
    /// Columns that the last Parquet files have for members of JSON values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
}

/// Is the file that was published last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFile {
    /// When, in ms since 1970.
    pub at_ms: i64,
    /// Its path below the sink's url.
    pub path: String,
}

impl Standing {
    /// Takes in a decision of this partition.
    pub fn apply(&mut self, decision: &Decision) {
        match decision {
            Decision::Begun { from, .. } => self.frontier = *from,
            Decision::Cut { cut, .. } => {
                self.frontier = cut.to;
                if let Some(fields) = &cut.recipe.fields {
                    self.fields.clone_from(fields);
                }
                self.pending.push(cut.clone());
            }
            Decision::Done { to, bytes, at_ms, .. } => {
                let (done, pending) = self.pending.drain(..).partition(|cut| cut.to <= *to);
                self.pending = pending;
                let done: Vec<Cut> = done;
                let files = done.iter().flat_map(|cut| &cut.files);
                self.files += files.clone().filter(|file| !file.continues).count() as u64;
                self.records += files.map(|file| file.records).sum::<u64>();
                self.bytes += bytes;
                self.late_dropped += done.iter().map(|cut| cut.late_dropped).sum::<u64>();
                if let Some(file) = done.iter().flat_map(|cut| &cut.files).next_back() {
                    self.last_file = Some(LastFile { at_ms: *at_ms, path: file.path() });
                }
            }
            Decision::Gap { from, to, .. } => {
                self.frontier = self.frontier.max(*to);
                self.lost += to - from;
                self.pending.retain(|cut| cut.to <= *from || cut.from >= *to);
            }
            Decision::Replay { replay, .. } => self.replays.push(Replay::clone(replay)),
            Decision::Replayed { from, .. } => self.replays.retain(|replay| replay.new.from != *from),
            Decision::Standing { standing, .. } => *self = standing.clone(),
            Decision::Opened | Decision::Paused | Decision::Resumed => {}
        }
    }

    /// Tells whether all that was decided is published.
    fn is_at_rest(&self) -> bool {
        self.pending.is_empty() && self.replays.is_empty()
    }

    /// Gives the first offset that is still needed from the log: files that are not published may have to be made again.
    pub fn needs_from(&self) -> u64 {
        self.pending.first().map_or(self.frontier, |cut| cut.from)
    }
}

/// Holds what one sink has decided.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SinkState {
    /// By partition.
    pub shards: BTreeMap<Shard, Standing>,
    /// Its first start is over.
    pub is_opened: bool,
    /// It stands still.
    pub is_paused: bool,
}

/// Holds what all sinks have decided, those that are not configured any more included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    sinks: BTreeMap<String, SinkState>,
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
}

impl SinkState {
    /// Takes in a decision.
    pub fn apply(&mut self, decision: &Decision) {
        match decision {
            Decision::Begun { shard, .. } if self.shards.contains_key(shard) => {}
            Decision::Opened => self.is_opened = true,
            Decision::Paused => self.is_paused = true,
            Decision::Resumed => self.is_paused = false,
            of_one => {
                let shard = of_one.shard().into_iter();
                shard.for_each(|shard| self.shards.entry(shard.clone()).or_default().apply(of_one));
            }
        }
    }

    /// Gives what says the same as all decisions so far.
    fn standing(&self) -> impl Iterator<Item = Decision> {
        let standing = |(shard, standing): (&Shard, &Standing)| Decision::Standing {
            shard: shard.clone(),
            standing: standing.clone(),
        };
        let paused = if self.is_paused { Decision::Paused } else { Decision::Resumed };
        self.shards.iter().map(standing).chain(self.is_opened.then_some(Decision::Opened)).chain([paused])
    }
}

impl State {
    /// Takes in a record's value.
    ///
    /// # Errors
    /// What is wrong with it: another version's, or damaged (halt).
    pub fn take(&mut self, value: &[u8]) -> Result<(), String> {
        let stored: Stored = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        if !(1..=VERSION).contains(&stored.v) {
            return Err(format!("it is of version {}, this build knows 1 to {VERSION}", stored.v));
        }
        self.sinks.entry(stored.sink).or_default().apply(&stored.decision);
        Ok(())
    }

    /// Takes out what one sink has decided.
    pub fn of(&self, sink: &str) -> SinkState {
        self.sinks.get(sink).cloned().unwrap_or_default()
    }

    /// Forgets partitions of topics that are not there any more and have nothing left to publish.
    pub fn forget(&mut self, topics: &BTreeSet<[u8; 16]>) {
        for sink in self.sinks.values_mut() {
            sink.shards.retain(|shard, standing| topics.contains(&shard.topic_id) || !standing.is_at_rest());
        }
    }

    /// Gives what says the same as all records so far, by sink.
    pub fn standing(&self) -> impl Iterator<Item = (&str, Decision)> {
        self.sinks.iter().flat_map(|(name, sink)| sink.standing().map(move |decision| (name.as_str(), decision)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::parquet::Kind;

    fn shard(partition: u32) -> Shard {
        Shard { topic: TopicName::new("app").unwrap(), topic_id: [7; 16], partition }
    }

    fn cut(from: u64, to: u64) -> Cut {
        let intent = Intent {
            folder: "app/dt=2026-11-22".into(),
            name: "app+0+0+9.ndjson.gz".into(),
            first: from,
            last: to - 1,
            records: to - from,
            row_bytes: 7,
            digest: "00".into(),
            continues: false,
        };
        let recipe = Recipe {
            path: "{topic}".into(),
            timezone: "UTC".into(),
            format: "ndjson".into(),
            compression: "gzip".into(),
            columns: vec!["value".into()],
            inline_json: false,
            time: "timestamp".into(),
            late: "drop".into(),
            fields: Some(vec![Field::of_member("status", Kind::Long)]),
        };
        let (merged_at, clock_ms, late_dropped) = (Some(3), Some(5), 1);
        Cut { from, to, cause: Cause::Age, recipe, merged_at, clock_ms, late_dropped, files: vec![intent] }
    }

    fn decisions() -> Vec<Decision> {
        let reason = "retention took them".to_owned();
        vec![
            Decision::Begun { shard: shard(0), from: 5 },
            Decision::Begun { shard: shard(1), from: 0 },
            Decision::Cut { shard: shard(0), cut: cut(5, 10) },
            Decision::Cut { shard: shard(0), cut: cut(10, 20) },
            Decision::Done { shard: shard(0), to: 10, bytes: 100, at_ms: 9 },
            Decision::Gap { shard: shard(1), from: 0, to: 4, reason },
            Decision::Replay { shard: shard(0), replay: Replay { old: cut(0, 2), new: cut(0, 2) }.into() },
            Decision::Replay { shard: shard(0), replay: Replay { old: cut(5, 10), new: cut(5, 10) }.into() },
            Decision::Replayed { shard: shard(0), from: 0 },
            Decision::Opened,
            Decision::Paused,
        ]
    }

    #[test]
    fn what_was_decided_is_read_back() {
        let mut state = State::default();
        for decision in decisions() {
            state.take(&decision.encode("archive")).unwrap();
        }
        let sink = state.of("archive");
        let first = &sink.shards[&shard(0)];
        assert_eq!((first.frontier, &first.pending), (20, &vec![cut(10, 20)]));
        assert_eq!(first.replays, [Replay { old: cut(5, 10), new: cut(5, 10) }]);
        assert_eq!(first.fields, [Field::of_member("status", Kind::Long)]);
        assert_eq!((first.files, first.records, first.bytes, first.lost, first.late_dropped), (1, 5, 100, 0, 1));
        let path = "app/dt=2026-11-22/app+0+0+9.ndjson.gz".to_owned();
        assert_eq!(first.last_file, Some(LastFile { at_ms: 9, path }));
        assert_eq!((sink.shards[&shard(1)].frontier, sink.shards[&shard(1)].lost, sink.is_paused), (4, 4, true));
        assert_eq!(state.of("another"), SinkState::default());
    }

    #[test]
    fn what_stands_says_as_much_as_all_that_came_before() {
        let mut state = State::default();
        for decision in decisions() {
            state.take(&decision.encode("archive")).unwrap();
        }
        let mut again = State::default();
        for (sink, decision) in state.standing() {
            again.take(&decision.encode(sink)).unwrap();
        }
        assert_eq!(again, state);
        again.forget(&[[7; 16]].into());
        assert_eq!(again, state);
        again.forget(&BTreeSet::new());
        assert_eq!(again.of("archive").shards.keys().collect::<Vec<_>>(), [&shard(0)]);
    }

    #[test]
    fn decisions_of_before_there_was_a_schema_are_read() {
        let value = Decision::Cut { shard: shard(0), cut: cut(5, 10) }.encode("archive");
        let text = String::from_utf8(value).unwrap();
        let (start, rest) = text.split_once(",\"fields\"").unwrap();
        let (_, end) = rest.split_once(']').unwrap();
        let mut state = State::default();
        state.take(format!("{start}{end}").as_bytes()).unwrap();
        let standing = &state.of("archive").shards[&shard(0)];
        assert_eq!((&standing.pending[0].recipe.fields, standing.fields.len()), (&None, 0));
    }

    #[test]
    fn another_versions_decisions_are_not_guessed_at() {
        let mut state = State::default();
        assert!(state.take(br#"{"v":1,"sink":"archive","kind":"resumed"}"#).is_ok());
        let newer = String::from_utf8(Decision::Paused.encode("archive")).unwrap().replace("\"v\":2", "\"v\":3");
        assert!(state.take(newer.as_bytes()).unwrap_err().contains("version 3"));
        assert!(state.take(b"{}").is_err());
        assert_eq!(state.of("archive"), SinkState::default());
    }
}
