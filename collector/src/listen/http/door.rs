//! What every handler may reach.

use std::net::SocketAddr;
use std::sync::Arc;

use skidway_wire::http::About;
use tokio_util::sync::CancellationToken;

use crate::config::HttpConfig;
use crate::ingest::Ingest;
use crate::ingest::fleet::Fleet;
use crate::listen::http::body::Memory;
use crate::log::Log;
use crate::read::Reader;

/// Holds the rooms behind the HTTP door.
pub struct Door {
    /// The log itself, for what needs no room of its own: topics, sources, agents.
    pub(super) log: Arc<dyn Log>,
    /// Reads it.
    pub(super) reader: Reader,
    /// Writes it.
    pub(super) ingest: Ingest,
    /// Remembers the agents.
    pub(super) fleet: Fleet,
    /// The door's own limits.
    pub(super) config: HttpConfig,
    /// Bounds the bodies in flight.
    pub(super) memory: Memory,
    /// Cancelled when the collector stops: streams and long polls end.
    pub(super) draining: CancellationToken,
    /// Answers `GET /v1`.
    pub(super) about: About,
}

impl Door {
    /// Opens the door to these rooms.
    pub fn new(
        log: Arc<dyn Log>,
        (reader, ingest, fleet): (Reader, Ingest, Fleet),
        config: HttpConfig,
        draining: CancellationToken,
        about: About,
    ) -> Self {
        let memory = Memory::new(config.memory_bytes_max);
        Self { log, reader, ingest, fleet, config, memory, draining, about }
    }
}

/// Is the address a request came from, put into its extensions by whoever accepted the connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);
