//! From the log to whoever reads: where to start, whose turn it is.
//!
//! Knows no connection and no content type; it pulls, so a slow reader only reads later. Offsets in, records out.

pub mod error;
pub mod token;
pub mod fetch;
pub mod reader;
pub mod subscription;
pub mod pieces;

pub use error::ReadError;
pub use pieces::{Piece, PieceKey, Pieces};
pub use reader::{Reader, StartAt};
pub use subscription::{Subscription, Turn};
pub use token::{Scope, Token};
