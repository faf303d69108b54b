//! What decisions come to: how each partition of each sink stands. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::decisions::{Cut, Decision, Replay, Shard};
use super::parquet::Field;

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
        let (sink, decision) = Decision::decode(value)?;
        self.sinks.entry(sink).or_default().apply(&decision);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::decisions::{Intent, Recipe};
    use crate::sink::lane::Cause;
    use crate::sink::parquet::Kind;
    use skidway_record::TopicName;

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
