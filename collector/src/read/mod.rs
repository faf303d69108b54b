//! From the log to whoever reads: where to start, whose turn it is.
//!
//! Knows no connection and no content type; it pulls, so a slow reader only reads later. Offsets in, records out.

pub mod error;
pub mod token;
pub mod selection;
pub mod fetch;
pub mod reader;
mod start;
mod followed;
pub mod turn;
pub mod filter;
pub mod subscription;
pub mod pieces;
#[cfg(test)]
mod shelf;

pub use error::ReadError;
pub use filter::Filter;
pub use pieces::{Piece, PieceKey, Pieces};
pub use reader::Reader;
pub use selection::Selection;
pub use start::StartAt;
pub use subscription::Subscription;
pub use token::{Scope, Token, TopicId, TopicPlace};
pub use turn::{Assigned, Departed, Shard, Turn};
