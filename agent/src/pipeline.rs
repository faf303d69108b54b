//! The wiring: names every stage, decides what runs where, and alone spawns.
//!
//! ```text
//!   tail thread (follow)                       lanes, async                collector
//!   discover ▶ tail ▶ frame ▶ batch ──errands──▶ ship ──────HTTP──────────▶
//!        ▲                                        │
//!        └────────────mailbox ◀──────reports──────┘
//!                     └──▶ checkpoint thread
//! ```
//!
//! One thread owns all files and does their work one thing at a time; each of the few lanes carries one request. All queues
//! are bounded by construction: a lane gets an errand only when it has none.

mod follow;
mod looks;
mod mailbox;
mod reading;
mod source;
#[cfg(test)]
mod stub;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use skidway_wire::OpenSession;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{self, Asker};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::file::{CheckpointFile, Encoded};
use crate::config::{Config, Input};
use crate::discover::Discovery;
use crate::discover::watch::Watcher;
use crate::error::AgentError;
use crate::flow::{Errand, Report};
use crate::health::{Monitor, Pulse};
use crate::metrics;
use crate::ship::http::Doors;
use crate::ship::{LANES, Lane};
use follow::{Follow, Parts, Reloaded};
pub(crate) use looks::Looks;
use mailbox::{Mail, Mailbox, Sender};
use reading::Reading;
pub(crate) use reading::leading_nuls;

/// When a checkpoint that could not be saved is tried again.
const CHECKPOINT_RETRY: Duration = Duration::from_secs(5);

/// Tells why an agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was told to, or (once) everything is acknowledged.
    Done,
    /// It was told to, and not everything sent was acknowledged in time; the next start goes on from there.
    Undrained,
    /// Told to ship what is there once, it could not read all of it; the rest is acknowledged.
    Incomplete,
    /// Another agent with its id took over.
    Fenced,
}

/// Holds an agent that is ready to run: what can be wrong with its surroundings was found out.
#[derive(Debug)]
pub struct Agent {
    config: Arc<Config>,
    host: String,
    doors: Arc<Doors>,
    admin: Option<tokio::net::TcpListener>,
    sender: Sender,
    mailbox: Mailbox,
    checkpoint: Checkpoint,
    checkpoint_file: CheckpointFile,
    discovery: Discovery,
    watcher: Watcher,
    reading: Reading,
    pulse: watch::Sender<Pulse>,
    /// The state folder, in which nothing is followed.
    excluded: PathBuf,
    _state_lock: File,
}

impl Agent {
    /// Locks the state folder, reads the checkpoint, opens the admin port. Asks nothing of the collector yet.
    ///
    /// # Errors
    /// [`AgentError`] (halt).
    pub async fn start(config: Config) -> Result<Self, AgentError> {
        metrics::describe();
        raise_descriptor_limit();
        let state_dir = &config.agent.state_dir;
        let state_lock = lock_state_dir(state_dir)?;
        let (checkpoint_file, checkpoint) = CheckpointFile::load(state_dir);
        let excluded = state_dir.canonicalize().unwrap_or_else(|_| state_dir.clone());
        let (discovery, watcher, reading) = prepare(&config, &excluded)?;
        let admin = match config.agent.admin_listen {
            Some(address) => {
                let listener = tokio::net::TcpListener::bind(address).await;
                Some(listener.map_err(|source| AgentError::Listen { address, source })?)
            }
            None => None,
        };
        let (sender, mailbox) = mailbox::open().map_err(|error| AgentError::setup("a mailbox", error))?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let doors = Doors::new(&config, true)?;
        Ok(Self {
            config: Arc::new(config),
            host,
            doors,
            admin,
            sender,
            mailbox,
            checkpoint,
            checkpoint_file,
            discovery,
            watcher,
            reading,
            pulse: watch::Sender::default(),
            excluded,
            _state_lock: state_lock,
        })
    }

    /// Gives the address of the admin port, if there is one.
    pub fn admin_addr(&self) -> Option<std::net::SocketAddr> {
        self.admin.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Gives what tells whether it does its work, once it runs.
    pub fn monitor(&self) -> Monitor {
        let sender = self.sender.clone();
        Monitor::new(self.pulse.subscribe(), self.config.agent.health_age_max, move || sender.ring())
    }

    /// Gives what brings a changed configuration to the agent while it runs.
    pub fn reloader(&self) -> Reloader {
        let (started, excluded, sender) = (Arc::clone(&self.config), self.excluded.clone(), self.sender.clone());
        Reloader { started, excluded, sender }
    }

    /// Follows and ships until `shutdown`, or (`once`) until everything there is now is acknowledged.
    ///
    /// # Errors
    /// [`AgentError`] (halt).
    pub async fn run(self, shutdown: CancellationToken, once: bool) -> Result<Exit, AgentError> {
        let (tasks, over) = (TaskTracker::new(), CancellationToken::new());
        let monitor = self.monitor();
        let lanes = self.spawn_lanes(&tasks, &over);
        let (checkpoints, writer) = spawn_checkpoint_writer(self.checkpoint_file)?;
        if let Some(listener) = self.admin {
            let asker = Asker::new(monitor, ask_for_status(self.sender.clone()));
            tasks.spawn(admin::serve(listener, asker, over.clone()));
        }
        let parts = Parts {
            config: Arc::clone(&self.config),
            doors: self.doors,
            host: self.host,
            discovery: self.discovery,
            watcher: self.watcher,
            reading: self.reading,
            mailbox: self.mailbox,
            lanes,
            checkpoint: self.checkpoint,
            checkpoints,
            pulse: self.pulse,
            once,
        };
        let ended = spawn_tail_thread(parts)?;
        let exit = supervise(ended, self.sender, shutdown, self.config.agent.shutdown_timeout).await;
        over.cancel();
        tasks.close();
        tasks.wait().await;
        if writer.join().is_err() {
            tracing::error!("the checkpoint writer panicked");
        }
        Ok(exit)
    }

    fn spawn_lanes(&self, tasks: &TaskTracker, over: &CancellationToken) -> Vec<mpsc::Sender<Errand>> {
        let introduction = OpenSession {
            machine_id: read_machine_id(),
            host: self.host.clone(),
            version: skidway_daemon::VERSION.to_owned(),
            follows: Some(0),
        };
        let lane = Lane {
            doors: Arc::clone(&self.doors),
            agent: self.config.agent.id.clone(),
            introduction,
            on_new_log: self.config.collector.on_new_log,
        };
        let spawn = |number| {
            let (sender, errands) = mpsc::channel(1);
            let run = run_lane(number, lane.clone(), errands, self.sender.clone());
            let over = over.clone();
            tasks.spawn(async move { over.run_until_cancelled(run).await });
            sender
        };
        (0..LANES).map(spawn).collect()
    }
}

/// Brings a changed configuration to an agent that runs.
#[derive(Debug, Clone)]
pub struct Reloader {
    started: Arc<Config>,
    excluded: PathBuf,
    sender: Sender,
}

impl Reloader {
    /// Applies all of a configuration that can change now; names the keys that need a restart in the log.
    ///
    /// # Errors
    /// [`AgentError::Setup`]: the old configuration goes on (retry).
    pub fn reload(&self, config: Config) -> Result<(), AgentError> {
        let (config, waiting) = self.started.reloaded(config);
        for key in waiting {
            tracing::warn!(key, "changed, but not while the agent runs; restart it");
        }
        let (discovery, watcher, reading) = prepare(&config, &self.excluded)?;
        let reloaded = Box::new(Reloaded { config, discovery, watcher, reading });
        let is_taken = self.sender.send(Mail::Reload(reloaded));
        if is_taken { Ok(()) } else { Err(AgentError::setup("the new configuration", "the agent is busy or ends")) }
    }
}

/// Makes what a configuration needs.
fn prepare(config: &Config, excluded: &Path) -> Result<(Discovery, Watcher, Reading), AgentError> {
    let working = std::env::current_dir().map_err(|error| AgentError::setup("the working folder", error))?;
    let discovery = Discovery::new(&config.inputs, &working, excluded)
        .map_err(|error| AgentError::setup("the inputs' globs", error))?;
    let watcher = Watcher::new().map_err(|error| AgentError::setup("inotify", error))?;
    let line_bytes_max = config.inputs.iter().map(longest_line).max().unwrap_or(0);
    let reading = Reading::new(line_bytes_max, config.collector.compression_level)
        .map_err(|error| AgentError::setup("zstd", error))?;
    Ok((discovery, watcher, reading))
}

/// Gives the length of the longest piece an input's files are cut into.
fn longest_line(input: &Input) -> usize {
    if input.container.is_some() { reading::RAW.line_bytes_max } else { input.line_bytes_max }
}

/// Runs errands one after the other and reports each.
async fn run_lane(number: usize, lane: Lane, mut errands: mpsc::Receiver<Errand>, reports: Sender) {
    while let Some(errand) = errands.recv().await {
        let started = Instant::now();
        let outcome = lane.run(errand).await;
        let report = Report { lane: number, outcome, took: started.elapsed() };
        assert!(reports.send(Mail::Report(report)), "the mailbox has room for a report of every lane");
    }
}

/// Waits for the tail thread's end; passes a shutdown on, and insists on it when its time is up.
async fn supervise(
    mut ended: oneshot::Receiver<Exit>,
    sender: Sender,
    shutdown: CancellationToken,
    timeout: Duration,
) -> Exit {
    let exit_of = |received: Result<Exit, _>| received.expect("the tail thread says how it ended");
    tokio::select! {
        exit = &mut ended => return exit_of(exit),
        () = shutdown.cancelled() => {}
    }
    sender.send(Mail::Stop);
    match tokio::time::timeout(timeout, &mut ended).await {
        Ok(exit) => {
            tracing::info!("stopped; everything sent was acknowledged");
            exit_of(exit)
        }
        Err(_) => {
            tracing::warn!(?timeout, "stopped without an answer from the collector; the next start goes on from there");
            sender.send(Mail::StopNow);
            match exit_of(ended.await) {
                Exit::Done => Exit::Undrained,
                other => other,
            }
        }
    }
}

fn spawn_tail_thread(parts: Parts) -> Result<oneshot::Receiver<Exit>, AgentError> {
    let (sender, ended) = oneshot::channel();
    let run = move || {
        // Nobody waits any more only if the whole agent was dropped.
        let _nobody_waits = sender.send(Follow::new(parts).run());
    };
    let thread = std::thread::Builder::new().name("tail".to_owned()).spawn(run);
    thread.map(|_detached| ended).map_err(|error| AgentError::setup("the tail thread", error))
}

type CheckpointWriter = (std::sync::mpsc::SyncSender<Encoded>, std::thread::JoinHandle<()>);

/// Writes checkpoints away from the tail thread, which must not wait for a disk. One that cannot be saved is tried again, unless a newer one
/// comes.
fn spawn_checkpoint_writer(mut file: CheckpointFile) -> Result<CheckpointWriter, AgentError> {
    let (sender, checkpoints) = std::sync::mpsc::sync_channel::<Encoded>(1);
    let run = move || {
        let mut unsaved: Option<Encoded> = None;
        loop {
            let received = match unsaved {
                Some(_) => checkpoints.recv_timeout(CHECKPOINT_RETRY),
                None => checkpoints.recv().map_err(RecvTimeoutError::from),
            };
            match received {
                Ok(checkpoint) => unsaved = Some(checkpoint),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            match unsaved.as_mut().map(|checkpoint| file.save(checkpoint)) {
                Some(Err(error)) => {
                    tracing::warn!(%error, "cannot save the checkpoint; going on without, and trying again")
                }
                Some(Ok(())) | None => unsaved = None,
            }
        }
    };
    let thread = std::thread::Builder::new().name("checkpoint".to_owned()).spawn(run);
    thread.map(|thread| (sender, thread)).map_err(|error| AgentError::setup("the checkpoint thread", error))
}

fn ask_for_status(sender: Sender) -> impl Fn() -> oneshot::Receiver<crate::status::Status> + Send + Sync + 'static {
    move || {
        let (answer, status) = oneshot::channel();
        // A question that finds no room is dropped, which its asker sees.
        let _no_room = sender.send(Mail::Status(answer));
        status
    }
}

fn lock_state_dir(path: &Path) -> Result<File, AgentError> {
    let unusable = |source| AgentError::StateDir { path: path.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(path).map_err(unusable)?;
    let lock = open_lock(path).map_err(unusable)?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(AgentError::StateDirInUse { path: path.to_owned() }),
        Err(error) => Err(unusable(error.into())),
    }
}

/// Opens what is locked. On a full or read-only disk, or where the lock is another user's (an agent was once run by root), that may be the
/// lock opened for reading, or the folder itself; should two agents lock different things, the collector tells them apart.
fn open_lock(folder: &Path) -> io::Result<File> {
    let path = folder.join("lock");
    let writable = File::options().create(true).truncate(false).write(true).open(&path);
    writable.or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "the lock cannot be written; going on without");
        File::open(&path).or_else(|_| File::open(folder))
    })
}

/// Every followed file is held open; the kernel's hard limit is the only one wanted.
fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// Tells machines apart that were given the same agent id.
fn read_machine_id() -> String {
    let read = |path| std::fs::read_to_string(path).map(|id| id.trim().to_owned());
    let id: io::Result<String> = read("/etc/machine-id").or_else(|_| read("/proc/sys/kernel/random/boot_id"));
    id.unwrap_or_default()
}
