//! TLS on the collector's port: which certificate is shown, who is let in, and how both change while connections go on.
//!
//! A connection keeps the configuration it began with; the next one gets the newest. Nothing here accepts or spawns.

mod certificates;
mod identity;
mod acceptor;

pub use acceptor::{Acceptor, Opened};
pub use certificates::{Certificates, TlsError};
