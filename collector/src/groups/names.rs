//! What groups, members and what they share are called; each name is checked once, at the edge.

use std::fmt;
use std::sync::Arc;

use skidway_record::{PartitionId, TopicName, TopicPartition};

use crate::groups::GroupError;
use crate::groups::assignment::TopicId;

/// Bounds a group's name, as Kafka bounds a topic's.
pub const GROUP_NAME_BYTES_MAX: usize = 249;

/// Bounds a member's id.
pub const MEMBER_ID_BYTES_MAX: usize = 128;

/// Names a group: `[A-Za-z0-9._-]{1,249}`, neither `.` nor `..`, which no URL can say. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(Arc<str>);

impl GroupName {
    /// Checks and keeps a group's name.
    ///
    /// # Errors
    /// [`GroupError::BadName`] (reject).
    pub fn new(name: &str) -> Result<Self, GroupError> {
        match name {
            "." | ".." => Err(GroupError::BadName { name: name.to_owned() }),
            _ => Self::stored(name),
        }
    }

    /// Keeps a name that was stored; earlier builds took `.` and `..`.
    ///
    /// # Errors
    /// [`GroupError::BadName`] (halt).
    pub(super) fn stored(name: &str) -> Result<Self, GroupError> {
        match is_plain(name, GROUP_NAME_BYTES_MAX) {
            true => Ok(Self(name.into())),
            false => Err(GroupError::BadName { name: name.chars().take(300).collect() }),
        }
    }

    /// Gives the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names a member of a group: `[A-Za-z0-9._-]{1,128}`, unique in the group. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(Arc<str>);

impl MemberId {
    /// Checks and keeps an id; `None` if it cannot be one.
    pub fn new(id: &str) -> Option<Self> {
        is_plain(id, MEMBER_ID_BYTES_MAX).then(|| Self(id.into()))
    }

    /// Gives the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_plain(name: &str, bytes_max: usize) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=bytes_max).contains(&name.len()) && name.bytes().all(plain)
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one partition of one incarnation of a topic: a recreated topic's partitions are others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard {
    /// Name of the topic.
    pub topic: TopicName,
    /// Its id.
    pub id: TopicId,
    /// The partition.
    pub partition: PartitionId,
}

impl Shard {
    /// Names the partition, whatever incarnation its topic is.
    pub fn of(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: self.partition }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}
