//! What every handler may reach.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use skidway_wire::http::{About, SinkList};
use skidway_wire::{SinkFinding, SinkJob, SinkPlan};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::config::HttpConfig;
use crate::groups::Groups;
use crate::ingest::Ingest;
use crate::ingest::fleet::Fleet;
use crate::keys::{Keys, Tables};
use crate::listen::http::beacon::Beacons;
use crate::listen::http::body::Memory;
use crate::listen::http::pace::Pace;
use crate::listen::http::room::Rooms as PageRooms;
use crate::log::{Log, LogError};
use crate::queues::Queues;
use crate::read::Reader;

/// Holds the rooms behind the HTTP door.
pub struct Door {
    /// The log itself, for what needs no room of its own: topics, sources, agents.
    pub(super) log: Arc<dyn Log>,
    /// Reads it.
    pub(super) reader: Reader,
    /// Writes it.
    pub(super) ingest: Ingest,
    /// Finds keys.
    pub(super) keys: Arc<Keys>,
    /// Reads tables.
    pub(super) tables: Arc<Tables>,
    /// Remembers the agents.
    pub(super) fleet: Fleet,
    /// Shows and steers the sinks; `None` if there are none.
    pub(super) sinks: Option<Arc<dyn SinkControl>>,
    /// Gives records away one by one.
    pub(super) queues: Queues,
    /// Consumer groups.
    pub(super) groups: Arc<Groups>,
    /// Who may do what.
    pub(super) access: Arc<Access>,
    /// The door's own limits.
    pub(super) config: HttpConfig,
    /// Bounds the bodies in flight.
    pub(super) memory: Memory,
    /// Bounds the pages that are written and sent.
    pub(super) rooms: PageRooms,
    /// Keeps very many streams from waking up for every record.
    pub(super) pace: Pace,
    /// Cancelled when the collector stops: streams and long polls end.
    pub(super) draining: CancellationToken,
    /// Takes events of web pages.
    pub(super) beacons: Arc<Beacons>,
    /// Answers `GET /v1`.
    pub(super) about: About,
    /// Where everything is kept, to tell what room there is.
    pub(super) data_dir: PathBuf,
}

/// Names the rooms behind the HTTP door.
pub struct Rooms {
    /// Reads the log.
    pub reader: Reader,
    /// Writes it.
    pub ingest: Ingest,
    /// Remembers the agents.
    pub fleet: Fleet,
    /// Shows and steers the sinks; `None` if there are none.
    pub sinks: Option<Arc<dyn SinkControl>>,
    /// Gives records away one by one.
    pub queues: Queues,
    /// Consumer groups.
    pub groups: Arc<Groups>,
    /// Finds the records of a key.
    pub keys: Arc<Keys>,
    /// Gives the latest record of each.
    pub tables: Arc<Tables>,
    /// Who may do what.
    pub access: Arc<Access>,
    /// Where everything is kept.
    pub data_dir: PathBuf,
}

impl Door {
    /// Opens the door to these rooms.
    pub fn new(
        log: Arc<dyn Log>,
        rooms: Rooms,
        mut config: HttpConfig,
        draining: CancellationToken,
        about: About,
    ) -> Self {
        let memory = Memory::new(config.memory_bytes_max);
        let page_rooms = PageRooms::new(config.answer_bytes_max);
        let beacons = Arc::new(Beacons::new(std::mem::take(&mut config.beacons)));
        let Rooms { reader, ingest, fleet, sinks, queues, groups, keys, tables, access, data_dir } = rooms;
        Self {
            log,
            reader,
            ingest,
            fleet,
            sinks,
            queues,
            groups,
            keys,
            tables,
            access,
            config,
            memory,
            rooms: page_rooms,
            pace: Pace::default(),
            draining,
            beacons,
            about,
            data_dir,
        }
    }
}

/// Shows sinks, and lets them stand still or go on.
pub trait SinkControl: Send + Sync {
    /// Shows how all stand.
    fn list(&self) -> SinkList;

    /// Lets a sink stand still or go on, durably; false if there is none of this name.
    fn pause<'a>(&'a self, name: &'a str, pause: bool) -> BoxFuture<'a, Result<bool, LogError>>;

    /// Begins a job on a sink's files; `None` if it has another one. What it finds comes until it is over, or nobody listens.
    fn job(&self, name: &str, job: SinkJob) -> Option<mpsc::Receiver<SinkFinding>>;

    /// Tries out what a sink will do in a day, by the last hours; what cannot be read or written is told in words.
    fn plan<'a>(&'a self, name: &'a str, hours: u64) -> BoxFuture<'a, Option<Result<SinkPlan, String>>>;
}

/// Is the address a request came from, put into its extensions by whoever accepted the connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Is the name that a verified certificate gives the client: its first DNS name, or else its common name. Put beside [`Peer`], if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate(pub Arc<str>);
