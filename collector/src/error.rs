//! Why the collector does not start, or stopped.

use std::io;
use std::net::SocketAddr;

use crate::access;
use crate::config::Exposed;
use crate::listen::tls::TlsError;
use crate::log::StateError;

/// Tells why the collector did not start. The process ends with 1.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// `http.listen`.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Other machines would reach the port, and nothing protects it.
    #[error("the port is not opened: {0}")]
    Exposed(Exposed),
    /// A file of certificates cannot be used.
    #[error("TLS cannot be spoken: {0}")]
    Tls(#[from] TlsError),
    /// The log cannot be opened.
    #[error("cannot open the log in {data_dir}: {source}")]
    Log {
        /// `collector.data_dir`.
        data_dir: String,
        /// What the engine said.
        source: Box<skidway_commitlog::Error>,
    },
    /// Which topics have a key index cannot be read.
    #[error("cannot open the key indexes: {0}")]
    Keys(Box<StateError>),
    /// What sinks have decided cannot be read.
    #[error("cannot open the sinks: {0}")]
    Sinks(Box<StateError>),
    /// How queues stand cannot be read.
    #[error("cannot open the queues: {0}")]
    Queues(Box<StateError>),
    /// Who may do what cannot be known.
    #[error("cannot tell who may do what: {0}")]
    Access(Box<access::OpenError>),
    /// What groups have committed cannot be read.
    #[error("cannot open the groups: {0}")]
    Groups(Box<StateError>),
}

/// Tells why a running collector stopped. The process ends with 1, and recovery decides what is true.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The log lost trust in its disk or itself.
    #[error("the log halted: {0}")]
    Halted(String),
    /// The log could not be closed in order.
    #[error("the log could not be closed: {0}")]
    Close(Box<skidway_commitlog::Error>),
}
