//! The collector's doors, one so far: HTTP, plain or in TLS; and what all doors need of connections.

pub mod lobby;
pub mod crowd;
pub mod held;
pub mod tls;
pub mod http;
