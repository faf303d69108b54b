//! The collector's doors, one so far: HTTP; and what all doors need of connections.

pub mod lobby;
pub mod held;
pub mod http;
