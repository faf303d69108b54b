//! Consumer groups: many read one thing together, each partition by one member at a time, and what they committed is where they go on.
//!
//! `assignment`, `membership`, `offsets`, `stamp` and `coordinator` are pure: a group is values in, values out. `registry` holds all groups,
//! writes what they commit to the topic `__skidway.groups`, and gives them the time; `seat` is a member's side. Nothing here reads a record, and
//! nothing knows a connection.

pub mod error;
pub mod names;
pub mod assignment;
pub mod membership;
pub mod offsets;
pub mod stamp;
pub mod coordinator;
pub mod registry;
pub mod commits;
pub mod output;
pub mod upkeep;
pub mod seat;

pub use coordinator::{Committer, Held, Holding};
pub use error::GroupError;
pub use membership::Start;
pub use names::{GroupName, MemberId, Shard};
pub use registry::{Groups, GroupsConfig, View};
pub use seat::{Poll, Seat};
pub use stamp::Stamp;
