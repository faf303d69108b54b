//! `[http]`: the port, and what a client may take of time and memory.

use std::net::SocketAddr;
use std::time::Duration;

use skidway_daemon::config::{Bounded, ByteSize, Section};

use super::TlsConfig;
use crate::listen::http::beacon::BeaconConfig;
use crate::listen::http::origin::Origins;

/// Configures the HTTP door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where to listen; 127.0.0.1:7070.
    pub listen: SocketAddr,
    /// Connections open at once; 10,000. More get 503.
    pub connections_max: u32,
    /// Connections open at once that come from one address; as many as `connections_max`. More get 503.
    pub connections_per_address_max: u32,
    /// Bytes of one request's body; 64 MiB. More get 413.
    pub body_bytes_max: u64,
    /// Bytes of all bodies in flight; 256 MiB, at least `body_bytes_max`. More wait, then get 503.
    pub memory_bytes_max: u64,
    /// Bytes of all pages that are being written or wait for their readers; 256 MiB. Past them pages come out shorter.
    pub answer_bytes_max: u64,
    /// Time a client has for the head of a request; 60 s. Idle connections close after it as well.
    pub header_timeout: Duration,
    /// Time in which a body has to come on by 16 KiB, or to end; 30 s.
    pub body_idle_timeout: Duration,
    /// Time in which a whole body has to come; 10 min.
    pub body_timeout: Duration,
    /// Time after which a client that takes nothing of its answer is cut off; 5 min.
    pub send_timeout: Duration,
    /// Time between two heartbeats of a stream; 15 s.
    pub heartbeat_interval: Duration,
    /// Whose web pages may read and write; nobody's.
    pub allowed_origins: Origins,
    /// URLs that anybody may write events to; none.
    pub beacons: Vec<BeaconConfig>,
    /// TLS; `None` is plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Lets the port be reached by other machines in plain HTTP; no.
    pub allow_unencrypted: bool,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7070)),
            connections_max: 10_000,
            connections_per_address_max: 10_000,
            body_bytes_max: 64 << 20,
            memory_bytes_max: 256 << 20,
            answer_bytes_max: 256 << 20,
            header_timeout: Duration::from_secs(60),
            body_idle_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(600),
            send_timeout: Duration::from_secs(300),
            heartbeat_interval: Duration::from_secs(15),
            allowed_origins: Origins::default(),
            beacons: Vec::new(),
            tls: None,
            allow_unencrypted: false,
        }
    }
}

impl HttpConfig {
    /// Gives how many connections one address may have; `None` if all there are: then those that are silent make room, as they do for everybody.
    pub fn connections_per_address_bound(&self) -> Option<u32> {
        Some(self.connections_per_address_max).filter(|max| *max < self.connections_max)
    }

    /// Reads the table, and `[[beacons]]`.
    pub(super) fn from_section(root: &Section<'_>) -> Self {
        let http = &root.section("http");
        let default = Self::default();
        let connections_max = http.within("connections_max", default.connections_max, 1..=1_000_000);
        let millis = Duration::from_millis;
        let day = Duration::from_secs(86_400);
        let body = http.within("body_bytes_max", ByteSize(default.body_bytes_max), ByteSize::kib(4)..=ByteSize::gib(1));
        let memory = ByteSize(default.memory_bytes_max);
        let memory = http.within("memory_bytes_max", memory, ByteSize::mib(1)..=ByteSize::gib(1024));
        if memory < body {
            http.mistake("memory_bytes_max", format!("is less than body_bytes_max, which is {}", body.show()));
        }
        Self {
            listen: http.get("listen", default.listen),
            connections_max,
            connections_per_address_max: http.within("connections_per_address_max", connections_max, 1..=1_000_000),
            body_bytes_max: body.0,
            memory_bytes_max: memory.0,
            answer_bytes_max: {
                let range = ByteSize::mib(1)..=ByteSize::gib(1024);
                http.within("answer_bytes_max", ByteSize(default.answer_bytes_max), range).0
            },
            header_timeout: http.within("header_timeout", default.header_timeout, millis(100)..=day),
            body_idle_timeout: http.within("body_idle_timeout", default.body_idle_timeout, millis(100)..=day),
            body_timeout: http.within("body_timeout", default.body_timeout, millis(100)..=day),
            send_timeout: http.within("send_timeout", default.send_timeout, millis(100)..=day),
            heartbeat_interval: http.within("heartbeat_interval", default.heartbeat_interval, millis(100)..=day),
            allowed_origins: Origins::read(http, "allowed_origins"),
            beacons: BeaconConfig::all(root),
            tls: TlsConfig::read(http),
            allow_unencrypted: http.get("allow_unencrypted", default.allow_unencrypted),
        }
    }
}
