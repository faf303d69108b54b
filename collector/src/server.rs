//! The collector, put together: the only place that names every room, opens what they need, and starts tasks.
//!
//! Stopping is a sentence: accept no more, end streams with a place to go on from, answer what was asked, close the log.

mod accept;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use futures::FutureExt;
use futures::future::BoxFuture;
use skidway_daemon::descriptors;
use skidway_disk::RealDisk;
use skidway_wire::http::{About, SinkList};
use skidway_wire::{SinkFinding, SinkJob, SinkPlan};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Access;
use crate::blocking::blocking;
use crate::config::Config;
use crate::error::{ServeError, StartError};
use crate::groups::Groups;
use crate::ingest::Ingest;
use crate::ingest::fleet::Fleet;
use crate::keys::{Keys, Tables};
use crate::listen::crowd::Crowd;
use crate::listen::http::{Door, Rooms, SinkControl, router};
use crate::listen::lobby::Lobby;
use crate::listen::tls::Acceptor;
use crate::log::embedded::EmbeddedLog;
use crate::log::{Log, LogError, LogReader, LogWriter};
use crate::metrics;
use crate::queues::{self, Keeper, Queues};
use crate::read::Reader;
use crate::sink::{Control, Sinks};
use accept::{Port, accept};

/// Bounds the connections that are being told that there are too many.
const REFUSALS_MAX: usize = 64;

/// Connections that may wait to be accepted; the system bounds it by `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// Keeps this much of the shutdown time-out for closing the log.
const CLOSE_SHARE: u32 = 4;

/// Holds a collector that is open and listens, but does not accept yet.
pub struct Server {
    config: Config,
    listener: TcpListener,
    address: SocketAddr,
    reloader: Reloader,
    router: Router,
    sinks: Option<Sinks>,
    keeper: Keeper,
    groups: Arc<Groups>,
    keys: Arc<Keys>,
    access: Arc<Access>,
    tasks: Tasks,
}

/// Brings a changed configuration to a collector that runs: what `[topics]`, `[http.tls]` and
/// `access.admin_token_file` say. All else needs a restart.
#[derive(Clone)]
pub struct Reloader {
    log: EmbeddedLog,
    auto_create: Arc<AtomicBool>,
    tls: Option<Arc<Acceptor>>,
    access: Arc<Access>,
}

impl Reloader {
    /// Lets topics follow other defaults and rules, new connections get the certificates that are in the files now, and the administrator be
    /// whoever has the token that is in its file now. Files that cannot be used change nothing, which is logged.
    ///
    /// # Errors
    /// [`LogError::Closing`], [`LogError::Failed`].
    pub async fn reload(&self, config: Config) -> Result<(), LogError> {
        match (self.tls.clone(), config.http.tls) {
            (Some(acceptor), Some(tls)) => blocking(move || acceptor.exchange(tls)).await,
            (None, None) => {}
            _ => tracing::error!("the port changes between TLS and plain HTTP with a restart only; it stays as it is"),
        }
        if let Err(error) = self.access.exchange_administrator(config.access.admin_token_file.as_deref()).await {
            tracing::error!(%error, "keeping the administrator's token read before");
        }
        self.auto_create.store(config.topics.auto_create, Ordering::Relaxed);
        self.log.change_defaults(config.topics).await
    }

    /// Looks whether the files of certificates have changed, and lets new connections get what is in them.
    pub async fn look_at_certificates(&self) {
        if let Some(acceptor) = self.tls.clone() {
            blocking(move || acceptor.look()).await;
        }
    }

    /// Looks so now and then, until `stop`.
    async fn watch_certificates(self, stop: CancellationToken) {
        let Some(acceptor) = self.tls.clone() else { return };
        while stop.run_until_cancelled(sleep(acceptor.interval())).await.is_some() {
            self.look_at_certificates().await;
        }
    }
}

/// Holds what every connection's task shares.
#[derive(Clone)]
struct Tasks {
    tracker: TaskTracker,
    /// Cancelled first: streams end, connections take no further request.
    draining: CancellationToken,
    /// Cancelled when the time is over: connections are dropped.
    cut_off: CancellationToken,
    room: Arc<Semaphore>,
    crowd: Arc<Crowd>,
    refusals: Arc<Semaphore>,
    lobby: Arc<Lobby>,
}

impl Server {
    /// Opens the log, recovery included, and the port.
    ///
    /// # Errors
    /// [`StartError`]: the port is in use, or would be open to everybody; the data folder or a certificate cannot be used.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        metrics::describe();
        if let Some(exposed) = config.exposed().first() {
            return Err(StartError::Exposed(*exposed));
        }
        let tls = config.http.tls.clone().map(Acceptor::open).transpose()?.map(Arc::new);
        metrics::configured(config.durability_word());
        let address = config.http.listen;
        let listen_error = |source| StartError::Listen { address, source };
        let listener = listen(address).map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let log = open_log(&config).await?;
        let tasks = Tasks {
            tracker: TaskTracker::new(),
            draining: CancellationToken::new(),
            cut_off: CancellationToken::new(),
            room: Arc::new(Semaphore::new(config.http.connections_max as usize)),
            crowd: Crowd::new(config.http.connections_per_address_bound()),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            lobby: Arc::default(),
        };
        let sinks = open_sinks(&config, &log).await?;
        let control = sinks.as_ref().map(|sinks| Sinking { control: sinks.control(), tasks: tasks.clone() });
        let opened = queues::open(Arc::new(log.clone())).await;
        let (queues, keeper) = opened.map_err(|error| StartError::Queues(Box::new(error)))?;
        let keys = Keys::open(Arc::new(log.clone()), &config.data_dir).await;
        let keys = Arc::new(keys.map_err(|error| StartError::Keys(Box::new(error)))?);
        let access = Access::open(Arc::new(log.clone()), &config.access).await;
        let access = Arc::new(access.map_err(|error| StartError::Access(Box::new(error)))?);
        let auto_create = Arc::new(AtomicBool::new(config.topics.auto_create));
        let reloader = Reloader { log, auto_create, tls, access: access.clone() };
        let groups = open_groups(&config, &reloader.log).await?;
        let rooms = (control, queues, groups.clone(), keys.clone(), access.clone());
        let router = router(Arc::new(open_door(&config, &reloader, rooms, tasks.draining.clone()).await));
        Ok(Self { config, listener, address, reloader, router, sinks, keeper, groups, keys, access, tasks })
    }

    /// Tells where it listens; the port that was chosen if the configured one is 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Gives what reloads the configuration while this runs.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Serves until `shutdown` is cancelled, then stops in order within the configured time.
    ///
    /// # Errors
    /// [`ServeError::Halted`] at once if the log halts; [`ServeError::Close`].
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ServeError> {
        let Self { config, listener, address, reloader, router, sinks, keeper, groups, keys, access, tasks } = self;
        let (log, tls) = (reloader.log.clone(), reloader.tls.clone());
        tasks.tracker.spawn(reloader.watch_certificates(tasks.draining.clone()));
        let port = Port {
            router,
            tls,
            header_timeout: config.http.header_timeout,
            send_timeout: config.http.send_timeout,
            access: access.clone(),
            tasks: tasks.clone(),
        };
        // Goes on until every request is answered: what they asked for is finished there.
        let stop_groups = CancellationToken::new();
        let keeping = TaskTracker::new();
        keeping.spawn(groups.run(stop_groups.clone()));
        keeping.spawn(access.run(stop_groups.clone()));
        if let Some(control) = sinks.as_ref().map(Sinks::control) {
            let stop = tasks.draining.clone();
            tasks.tracker.spawn(async move { control.watch(stop).await });
        }
        tasks.tracker.spawn(keys.clone().run_lane(tasks.draining.clone()));
        tasks.tracker.spawn(keys.run_indexer(tasks.draining.clone()));
        for sink in sinks.into_iter().flat_map(Sinks::each) {
            let (stop, cut_off) = (tasks.draining.clone(), tasks.cut_off.clone());
            tasks.tracker.spawn(async move {
                tokio::select! {
                    () = sink.run(stop) => {}
                    () = cut_off.cancelled() => {}
                }
            });
        }
        tasks.tracker.spawn(keeper.run(tasks.draining.clone()));
        let tls = port.tls.is_some();
        tracing::info!(%address, tls, data_dir = %config.data_dir.display(), "the collector takes requests");
        tokio::select! {
            biased; // A halted log beats everything: nothing more may be promised.
            reason = log.halted() => return Err(ServeError::Halted(reason)),
            () = shutdown.cancelled() => {}
            () = accept(&listener, &port) => {}
        }
        drop(listener);
        tokio::select! {
            biased;
            reason = log.halted() => return Err(ServeError::Halted(reason)),
            () = drain(&tasks, config.shutdown_timeout) => {}
        }
        stop_groups.cancel();
        keeping.close();
        keeping.wait().await;
        blocking(move || log.close()).await.map_err(|error| ServeError::Close(Box::new(error)))?;
        tracing::info!("the collector has stopped");
        Ok(())
    }
}

/// Listens. Of many clients that come at once, after a restart say, none shall have to knock again, which takes it a second.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn open_log(config: &Config) -> Result<EmbeddedLog, StartError> {
    let started = Instant::now();
    let data_dir = config.data_dir.display().to_string();
    let mut engine = config.engine();
    engine.open_files_max = open_files(engine.open_files_max);
    let log = blocking(move || EmbeddedLog::open(engine, Arc::new(RealDisk))).await;
    let log = log.map_err(|error| StartError::Log { data_dir: data_dir.clone(), source: Box::new(error) })?;
    let identity = log.identity();
    tracing::info!(data_dir, log_id = %identity.id, epoch = identity.epoch, took = ?started.elapsed(), "the log is open");
    Ok(log)
}

/// Leaves at least half of the files that may be open to connections.
fn open_files(configured: usize) -> usize {
    let fitting = descriptors::raise_limit() / 2;
    if (configured as u64) > fitting {
        tracing::warn!(configured, fitting, "engine.open_files_max is more than the limit of open files allows");
    }
    configured.min(fitting as usize)
}

/// Reads what sinks have decided; `None` if there are none.
async fn open_sinks(config: &Config, log: &EmbeddedLog) -> Result<Option<Sinks>, StartError> {
    if config.sinks.is_empty() {
        return Ok(None);
    }
    let sinks = Sinks::open(config.sinks.clone(), &config.data_dir, Arc::new(log.clone()), log.pins()).await;
    sinks.map(Some).map_err(|error| StartError::Sinks(Box::new(error)))
}

/// Reads what groups have committed.
async fn open_groups(config: &Config, log: &EmbeddedLog) -> Result<Arc<Groups>, StartError> {
    let groups = Groups::open(Arc::new(log.clone()), config.groups.clone()).await;
    groups.map(Arc::new).map_err(|error| StartError::Groups(Box::new(error)))
}

/// Lets the door steer sinks; what they are asked to do runs among the collector's tasks, and ends when it stops.
struct Sinking {
    control: Control,
    tasks: Tasks,
}

impl SinkControl for Sinking {
    fn list(&self) -> SinkList {
        self.control.board().list()
    }

    fn pause<'a>(&'a self, name: &'a str, pause: bool) -> BoxFuture<'a, Result<bool, LogError>> {
        self.control.pause(name, pause).boxed()
    }

    fn job(&self, name: &str, job: SinkJob) -> Option<mpsc::Receiver<SinkFinding>> {
        let (findings, work) = self.control.job(name, job)?;
        let stop = self.tasks.draining.clone();
        self.tasks.tracker.spawn(async move {
            tokio::select! {
                () = work => {}
                () = stop.cancelled() => {}
            }
        });
        Some(findings)
    }

    fn plan<'a>(&'a self, name: &'a str, hours: u64) -> BoxFuture<'a, Option<Result<SinkPlan, String>>> {
        self.control.plan(name, hours).boxed()
    }
}

async fn open_door(
    config: &Config,
    reloader: &Reloader,
    (sinks, queues, groups, keys, access): (Option<Sinking>, Queues, Arc<Groups>, Arc<Keys>, Arc<Access>),
    draining: CancellationToken,
) -> Door {
    let log = &reloader.log;
    let identity = log.identity();
    let about = About {
        log_id: identity.id.to_string(),
        log_epoch: identity.epoch,
        engine: "embedded".to_owned(),
        version: skidway_daemon::VERSION.to_owned(),
    };
    // A log that cannot list its agents has halted, which `run` will tell.
    let known = log.agents().await.unwrap_or_default();
    let log: Arc<dyn Log> = Arc::new(log.clone());
    let reader = Reader::new(log.clone(), config.read_cache_bytes as usize);
    let ingest = Ingest::new(log.clone(), config.validation, reloader.auto_create.clone());
    let fleet = Fleet::new(known, Instant::now());
    let sinks = sinks.map(|sinks| Arc::new(sinks) as Arc<dyn SinkControl>);
    let tables = Arc::new(Tables::new(keys.clone(), config.table_bytes));
    let data_dir = config.data_dir.clone();
    let rooms = Rooms { reader, ingest, fleet, sinks, queues, groups, keys, tables, access, data_dir };
    Door::new(log, rooms, config.http.clone(), draining, about)
}

/// Ends streams and waits for requests; what takes too long is cut off, so that the log can still be closed in time.
async fn drain(tasks: &Tasks, shutdown_timeout: Duration) {
    tasks.draining.cancel();
    tasks.tracker.close();
    let time = shutdown_timeout - shutdown_timeout / CLOSE_SHARE;
    if timeout(time, tasks.tracker.wait()).await.is_ok() {
        tracing::info!("all requests are answered, all streams ended");
        return;
    }
    tracing::warn!(connections = tasks.tracker.len(), "connections did not end in time and are cut off");
    tasks.cut_off.cancel();
    tasks.tracker.wait().await;
}
