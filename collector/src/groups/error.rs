//! Why a group does not do what it was asked.

use skidway_record::{Fate, Offset, TopicName, TopicPartition};

use crate::groups::{GroupName, MemberId, Shard};
use crate::log::LogError;

/// Tells why a group refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// A group cannot be called so.
    #[error("group name {name:?} is not 1 to 249 of A-Z a-z 0-9 . _ - and neither \".\" nor \"..\"")]
    BadName {
        /// As it was asked for.
        name: String,
    },
    /// No such group: it has no member, and nothing is committed for it.
    #[error("there is no group {0}: it has no member and no committed offset")]
    UnknownGroup(GroupName),
    /// The member is not, or not any more, in the group.
    #[error("member {member} is not in group {group} any more: its lease ended, or the collector started again")]
    MemberGone {
        /// The group.
        group: GroupName,
        /// The one who is gone.
        member: String,
    },
    /// What was asked for is only done while nobody is in the group.
    #[error("group {group} has {members} members; {instead}")]
    HasMembers {
        /// The group.
        group: GroupName,
        /// How many it has.
        members: usize,
        /// What to do.
        instead: &'static str,
    },
    /// Partitions were moved to others since they were given; what can be committed is.
    #[error("partitions were moved to another member since: {}", show(refused))]
    Fenced {
        /// What is committed now, of those asked for.
        committed: Vec<(Shard, Offset)>,
        /// What is not, and was not changed.
        refused: Vec<Shard>,
    },
    /// Output was made of records that are committed already: it is stored, or another's is.
    #[error(
        "what the token covers is committed already, up to it or further: {}; nothing was stored now",
        show(shards)
    )]
    AlreadyCommitted {
        /// The partitions.
        shards: Vec<Shard>,
    },
    /// Another poll of the same member came while this one waited.
    #[error("another poll of member {0} came")]
    Superseded(MemberId),
    /// The member value is neither that of the last page nor that of the one before.
    #[error(
        "the member value is of page {asked}, the last one was {last}: send back the one of the page that came last"
    )]
    StalePage {
        /// The page it names.
        asked: u64,
        /// The last that was given.
        last: u64,
    },
    /// The token is not one of this group's records.
    #[error("{0}")]
    BadToken(String),
    /// The log was restored, or promoted, since.
    #[error("the log was restored since the token was made (epoch {asked}, now {now}); read again from the group")]
    OtherEpoch {
        /// The token's.
        asked: u64,
        /// The log's.
        now: u64,
    },
    /// The offset lies past what can be read.
    #[error("offset {at} of {of} is past its high watermark {high_watermark}")]
    BeyondEnd {
        /// Where.
        of: TopicPartition,
        /// Asked for.
        at: Offset,
        /// The next offset to be written.
        high_watermark: Offset,
    },
    /// No such topic.
    #[error("topic {0} does not exist")]
    UnknownTopic(TopicName),
    /// No such partition.
    #[error("{0} does not exist")]
    UnknownPartition(TopicPartition),
    /// There are as many as there may be.
    #[error("there are {max} {what} already, and no more are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// The log's own error.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl GroupError {
    /// Tells what to do about it.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Log(error) => error.fate(),
            Self::TooMany { .. } => Fate::Retry,
            _ => Fate::Reject,
        }
    }
}

fn show(shards: &[Shard]) -> String {
    let names: Vec<String> = shards.iter().take(10).map(ToString::to_string).collect();
    let more = if shards.len() > names.len() { ", …" } else { "" };
    names.join(", ") + more
}
