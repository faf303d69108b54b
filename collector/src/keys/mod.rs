//! Topics as the state of things: where a key's records are, who may write it next, the latest record of each key.
//!
//! [`index`] is a cache beside the log that says at which offsets a key's records are; topics ask for it, nothing is lost with it. [`lane`] takes
//! writes that expect a key's last offset. [`events`] reads one key's records, [`table`] the latest of each. Knows no HTTP; writes the log only
//! through the lane and keeps nothing that the log does not have.

pub mod error;
pub mod hash;
pub mod store;
pub mod chosen;
pub mod shard;
pub mod index;
pub mod indexer;
pub mod decision;
pub mod lane;
pub mod fetching;
pub mod picker;
pub mod events;
pub mod place;
pub mod live;
pub mod table;

pub use error::KeysError;
pub use index::Keys;
pub use lane::{ConditionalWrite, Expected};
pub use place::TablePlace;
pub use table::Tables;

/// Names one incarnation of a topic; a recreated one has another.
pub type TopicId = [u8; 16];
