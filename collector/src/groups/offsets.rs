//! What a group has committed: where it goes on in each partition. And how that is written.
//!
//! Pure. A committed offset never moves back but by a reset. An entry of the topic `__skidway.groups` is one of
//!
//! ```text
//! key                                          value, JSON                                    life
//! offset.v1/<group>/<topic id, hex>/<partition>  {"topic","offset","log_epoch","at_ms","metadata"}  to its expiry, or its topic's deletion
//! group.v1/<group>                             {"generation","active_ms"}                      as long as the group
//! ```
//!
//! A change of shape gets another version in the key.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skidway_record::{Offset, PartitionId, TopicName};

use crate::groups::{GroupName, Shard};

/// Begins the keys of committed offsets.
const OFFSET_KEY: &str = "offset.v1";

/// Begins the keys of groups.
const GROUP_KEY: &str = "group.v1";

/// Is what is committed for one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The next offset that the group will read.
    pub offset: Offset,
    /// Epoch of the log when it was committed.
    pub log_epoch: u64,
    /// When, in ms since 1970.
    pub at_ms: i64,
    /// What the committer noted with it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metadata: String,
}

/// Is what is kept of a group itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GroupState {
    /// No generation of the group so far is greater.
    pub generation: u64,
    /// When it last had a member, in ms since 1970; 0 if that is not known.
    pub active_ms: i64,
}

/// Holds all that is committed for one group.
#[derive(Debug, Default)]
pub struct Offsets(BTreeMap<Shard, Committed>);

impl Offsets {
    /// Finds what is committed for a partition.
    pub fn get(&self, shard: &Shard) -> Option<&Committed> {
        self.0.get(shard)
    }

    /// Gives all, in the order of topics and partitions.
    pub fn iter(&self) -> impl Iterator<Item = (&Shard, &Committed)> {
        self.0.iter()
    }

    /// Tells whether nothing is committed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether a commit would move an offset on.
    pub fn moves_on(&self, shard: &Shard, offset: Offset) -> bool {
        self.0.get(shard).is_none_or(|committed| committed.offset < offset)
    }

    /// Takes what was written, whatever was there before.
    pub fn set(&mut self, shard: Shard, committed: Committed) {
        self.0.insert(shard, committed);
    }

    /// Forgets one.
    pub fn remove(&mut self, shard: &Shard) {
        self.0.remove(shard);
    }

    /// Tells when the last was committed, in ms since 1970.
    pub fn last_ms(&self) -> Option<i64> {
        self.0.values().map(|committed| committed.at_ms).max()
    }
}

/// Is an entry of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Of a group itself.
    Group(GroupName, GroupState),
    /// Of a partition of it.
    Offset(GroupName, Shard, Committed),
}

/// Is the value of a committed offset.
#[derive(Serialize, Deserialize)]
struct OffsetValue {
    topic: TopicName,
    #[serde(flatten)]
    committed: Committed,
}

/// Writes the key of a committed offset.
pub fn offset_key(group: &GroupName, shard: &Shard) -> Bytes {
    let id: String = shard.id.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{OFFSET_KEY}/{group}/{id}/{}", shard.partition).into()
}

/// Writes the value of a committed offset.
pub fn offset_value(shard: &Shard, committed: &Committed) -> Bytes {
    let value = OffsetValue { topic: shard.topic.clone(), committed: committed.clone() };
    serde_json::to_vec(&value).expect("an offset is plain JSON").into()
}

/// Writes the key of a group.
pub fn group_key(group: &GroupName) -> Bytes {
    format!("{GROUP_KEY}/{group}").into()
}

/// Writes the value of a group.
pub fn group_value(state: GroupState) -> Bytes {
    serde_json::to_vec(&state).expect("a group is plain JSON").into()
}

/// Reads an entry.
///
/// # Errors
/// What is wrong with it, in words.
pub fn read(key: &[u8], value: &[u8]) -> Result<Entry, String> {
    let text = std::str::from_utf8(key).map_err(|error| error.to_string())?;
    let parts: Vec<&str> = text.split('/').collect();
    let name = |name: &str| GroupName::stored(name).map_err(|error| error.to_string());
    match parts.as_slice() {
        [GROUP_KEY, group] => {
            let state = serde_json::from_slice(value).map_err(|error| error.to_string())?;
            Ok(Entry::Group(name(group)?, state))
        }
        [OFFSET_KEY, group, id, partition] => {
            let OffsetValue { topic, committed } = serde_json::from_slice(value).map_err(|error| error.to_string())?;
            let number = u128::from_str_radix(id, 16).map_err(|error| error.to_string())?;
            let partition = PartitionId(partition.parse().map_err(|_| "a partition is a number".to_owned())?);
            Ok(Entry::Offset(name(group)?, Shard { topic, id: number.to_be_bytes(), partition }, committed))
        }
        _ => Err("another version's, or not an entry of groups".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard() -> Shard {
        Shard { topic: TopicName::new("app.log").unwrap(), id: [0x0f; 16], partition: PartitionId(12) }
    }

    #[test]
    fn entries_round_trip() {
        let group = GroupName::new("a.b-c_1").unwrap();
        let committed = Committed { offset: Offset(17), log_epoch: 2, at_ms: 1_700, metadata: "\"x\"".to_owned() };
        let entry = read(&offset_key(&group, &shard()), &offset_value(&shard(), &committed));
        assert_eq!(entry, Ok(Entry::Offset(group.clone(), shard(), committed)));
        let state = GroupState { generation: 9, active_ms: 5 };
        assert_eq!(read(&group_key(&group), &group_value(state)), Ok(Entry::Group(group, state)));
    }

    #[test]
    fn what_is_stored_keeps_its_shape() {
        let group = GroupName::new("g").unwrap();
        assert_eq!(offset_key(&group, &shard()), "offset.v1/g/0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f/12");
        let committed = Committed { offset: Offset(17), log_epoch: 2, at_ms: 1_700, metadata: String::new() };
        assert_eq!(offset_value(&shard(), &committed), r#"{"topic":"app.log","offset":17,"log_epoch":2,"at_ms":1700}"#);
        assert_eq!(group_key(&group), "group.v1/g");
        assert_eq!(group_value(GroupState { generation: 9, active_ms: 5 }), r#"{"generation":9,"active_ms":5}"#);
    }

    #[test]
    fn what_is_no_entry_is_told() {
        for key in ["", "offset.v2/g/00/1", "offset.v1/g/zz/1", "offset.v1/g g/00/1", "group.v1/g/x", "group.v1/"] {
            assert!(
                read(
                    key.as_bytes(),
                    br#"{"topic":"t","offset":1,"log_epoch":1,"at_ms":1,"generation":1,"active_ms":1}"#
                )
                .is_err(),
                "{key}"
            );
        }
        assert!(read(b"group.v1/g", b"{}").is_err());
    }
}
