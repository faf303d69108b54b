//! JSON bodies of consumer groups (`/v1/groups`): how they stand, what is committed, where they are put.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Gives the path of one group, or of something of it.
pub fn group_path(group: &str, action: &str) -> String {
    format!("/v1/groups/{group}{action}")
}

/// Names the member of a page in its answer's headers; sent back as `member=`.
pub const MEMBER_HEADER: &str = "skidway-member";

/// Says what a group is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GroupState {
    /// It has no member.
    Empty,
    /// Each partition is with the member that is to have it.
    Stable,
    /// Partitions move from one member to another.
    Reconciling,
}

/// Answers `GET /v1/groups`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct GroupList {
    /// By name.
    pub groups: Vec<GroupSummary>,
}

/// Holds a line of the list of groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupSummary {
    /// Name.
    pub name: String,
    /// What it is doing.
    pub state: GroupState,
    /// Counts the changes of who has what.
    pub generation: u64,
    /// Number of members.
    pub members: u64,
    /// Topics it reads, by name.
    pub topics: Vec<String>,
    /// Records not committed yet, in all its partitions.
    pub lag: u64,
}

/// Answers `GET /v1/groups/{g}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupDescription {
    /// Name.
    pub name: String,
    /// What it is doing.
    pub state: GroupState,
    /// Counts the changes of who has what.
    pub generation: u64,
    /// Epoch of the log; tokens of another are refused.
    pub log_epoch: u64,
    /// Records not committed yet, in all its partitions.
    pub lag: u64,
    /// By id.
    pub members: Vec<GroupMember>,
    /// By topic and partition.
    pub partitions: Vec<GroupPartition>,
}

/// Is a member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupMember {
    /// Its id.
    pub id: String,
    /// What the client calls itself (`client=`), or its address.
    pub client: String,
    /// When it joined; RFC 3339.
    pub since: String,
    /// Names and patterns it subscribes to.
    pub topics: Vec<String>,
    /// Where the group starts in topics that are new to it: `earliest`, `latest`, `-N` or a time (RFC 3339).
    pub from: String,
    /// How long it may be silent, in ms.
    pub session_timeout_ms: u64,
    /// What it has.
    pub partitions: Vec<PartitionName>,
}

/// Names a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartitionName {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
}

/// Says how a group stands in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupPartition {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Id of the member that has it. Null if nobody has.
    pub member: Option<String>,
    /// Its member gets no more of it; it moves to another once what was given is committed, or the time for that is over.
    pub moving: bool,
    /// The next offset that the group will read. Null if nothing is committed.
    pub committed_offset: Option<u64>,
    /// When it was committed; RFC 3339. Null if nothing is.
    pub committed_at: Option<String>,
    /// What was noted with it. Null if nothing was.
    pub metadata: Option<String>,
    /// First offset kept. Null if the topic was deleted.
    pub log_start_offset: Option<u64>,
    /// First offset not yet readable. Null if the topic was deleted.
    pub high_watermark: Option<u64>,
    /// Records that are there and not committed yet.
    pub lag: u64,
    /// Records that were deleted before the group committed them.
    pub lost: u64,
}

/// Is the offset of a partition: the next one to be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PartitionOffset {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: u64,
}

/// Is the body of `POST /v1/groups/{g}/commit`: a token, or offsets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupCommit {
    /// A token of this group's records: all that the member was given up to there is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The next offset of each partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offsets: Option<Vec<PartitionOffset>>,
    /// Who commits offsets; nobody if the group has no member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Kept with the offsets, at most 4,096 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
}

/// Answers a commit: durable by now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupCommitted {
    /// What is committed now, of the partitions of the request. Never less than before.
    pub committed: Vec<PartitionOffset>,
}

/// Is the body of `POST /v1/groups/{g}/reset`: topics and where to, or offsets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupReset {
    /// Names and patterns of topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<Vec<String>>,
    /// `earliest`, `latest`, `-N` (so many records before the last) or a time (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The next offset of each partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offsets: Option<Vec<PartitionOffset>>,
    /// Also while the group has members: they begin anew there.
    #[serde(default)]
    pub force: bool,
    /// Only tells what it would do.
    #[serde(default)]
    pub dry_run: bool,
}

/// Answers a reset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupWasReset {
    /// Nothing was changed.
    pub dry_run: bool,
    /// By topic and partition.
    pub partitions: Vec<PartitionReset>,
}

/// Says what a reset does to a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartitionReset {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// What was committed. Null if nothing was.
    pub from: Option<u64>,
    /// What is committed now.
    pub to: u64,
}

/// Tells a member what it has: `assignment` of its stream or page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupAssignment {
    /// The group.
    pub group: String,
    /// The member's id.
    pub member: String,
    /// Counts the changes of who has what.
    pub generation: u64,
    /// What it reads, and where it goes on.
    pub partitions: Vec<PartitionOffset>,
    /// What it reads from now on, and did not before.
    pub added: Vec<PartitionName>,
    /// What it gets no more of, and can still commit for a while.
    pub revoked: Vec<PartitionOffset>,
    /// What is another's, or was put elsewhere: commits of it are fenced.
    pub moved: Vec<PartitionName>,
}

/// Tells a member that records were deleted before the group read them: `gap` of its stream or page. It goes on after them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupGap {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// First offset that the group did not get.
    pub offset: u64,
    /// The next one that it gets.
    pub next_offset: u64,
    /// Why.
    pub reason: String,
}
