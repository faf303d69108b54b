//! What is known of one incarnation of one file: the words that agent, wire and log share.
//!
//! Holds facts only; who may change them, and when, is the commit's business.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, SourceId, TopicName};

/// Bounds the carry, in bytes: 64 KiB.
pub const CARRY_BYTES_MAX: usize = 64 << 10;

/// Bounds a path, in bytes (Linux: PATH_MAX).
pub const PATH_BYTES_MAX: usize = 4096;

/// Bounds what a fingerprint covers, in bytes: 4 KiB.
pub const FINGERPRINT_BYTES_MAX: u32 = 4096;

/// Identifies a file on one machine as the kernel sees it. An inode number alone is reused; with birth time it hardly is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PhysicalId {
    /// Device number; changes when a file system is mounted elsewhere.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Inode generation; 0 where the file system does not tell.
    pub generation: u64,
    /// Birth time in nanoseconds since 1970; 0 where the file system does not tell.
    pub birth_ns: u64,
}

/// Holds the XXH3-128 hash of `len` bytes of a file, `len` ≤ 4096.
///
/// A *head* covers `0..len`; an *anchor* covers `position - len..position`. The empty one (`len` = 0) matches anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
pub struct Fingerprint {
    /// Bytes covered.
    pub len: u32,
    /// XXH3-128 with seed 0, big-endian; zeros when `len` is 0.
    pub hash: [u8; 16],
}

/// Tells how a source's batches find their partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Partitioning {
    /// Fixed at creation: Kafka's murmur2 of agent and path. Keeps each file's order.
    File,
    /// Fixed at creation: Kafka's murmur2 of this key.
    Key(Bytes),
    /// Each batch goes to the next partition.
    RoundRobin,
}

/// Describes a source to be created. Creation is compare-and-set on agent, input and physical identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewSource {
    /// Minted by the agent.
    pub id: SourceId,
    /// The input's `name`.
    pub input: String,
    /// Topic its records go to.
    pub topic: TopicName,
    /// How its partition is chosen.
    pub partitioning: Partitioning,
    /// The file as the kernel knows it.
    pub physical: PhysicalId,
    /// The source of the same physical identity this one takes the place of (a truncated file keeps its inode).
    pub supersedes: Option<SourceId>,
    /// Head of the file as found; may be empty.
    pub head: Fingerprint,
    /// Absolute path as found, as bytes.
    pub path: Bytes,
}

/// Holds all that is stored of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSource {
    /// As created; `head` and `path` as last committed, `physical` as last rebound.
    pub source: NewSource,
    /// The agent that owns it.
    pub agent: AgentId,
    /// The partition fixed at creation; `None` for [`Partitioning::RoundRobin`].
    pub partition: Option<u32>,
    /// End of the last committed span.
    pub position: u64,
    /// The framer's state at `position`; opaque to the collector, ≤ 64 KiB.
    pub carry: Bytes,
    /// Fingerprint of the bytes before `position`.
    pub anchor: Fingerprint,
    /// When it was reported gone, in ms since 1970; it is forgotten 30 days later.
    pub gone_at_ms: Option<i64>,
}
