//! Sinks: topics as files, every record in exactly one of them (DESIGN §5, docs/sinks.md).
//!
//! ```text
//! log ─▶ worker ─▶ writing (lane decides, rows, file) ─▶ journal: a cut ─▶ store: published ─▶ journal: done
//! ```
//!
//! A sink decides, then writes. Records go into files in a spool; a *cut* closes all files of a partition at one offset and is committed to
//! our own log with their names and digests; only then they are published, never over another file. After a crash the decision says what has
//! to be there: a file that is not is made again from the log, which keeps the records until then.

mod audit;
pub mod board;
mod budget;
pub mod config;
pub mod decisions;
pub mod event_time;
mod file;
pub mod journal;
pub mod lane;
pub mod manifest;
pub mod parquet;
pub mod path;
pub mod rows;
pub mod store;
mod writing;
mod start;
pub mod state;
mod worker;
mod publishing;
mod again;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use rand::random;
use skidway_daemon::backoff::Backoff;
use skidway_daemon::secret;
use skidway_wire::{SinkFinding, SinkJob, SinkPlan};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::blocking::blocking;
use crate::clock::now_ms;
use crate::log::{Log, LogError, Pins, StateError};
use board::{Board, Desk};
use config::SinkConfig;
use decisions::Decision;
use journal::Journal;
use parquet::Names;
use start::{first_start, give_up_deleted, pin_all};
use state::SinkState;
use store::Store;
use worker::Worker;

/// How often topics are looked for that a sink takes.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Read of a partition at a time, in compressed bytes.
const FETCH_BYTES: usize = 1 << 20;

/// A job waits so long for the sink's store.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// Holds all sinks, with what each had decided when the collector started.
pub struct Sinks {
    rooms: Arc<Rooms>,
    sinks: Vec<(Arc<Place>, SinkState)>,
}

/// Holds what sinks share.
struct Rooms {
    places: BTreeMap<String, Arc<Place>>,
    log: Arc<dyn Log>,
    pins: Arc<Pins>,
    journal: Journal,
    board: Board,
}

/// Holds what is one sink's.
struct Place {
    config: Arc<SinkConfig>,
    store: Arc<dyn Store>,
    /// Columns of Parquet files, of all its topics.
    names: Arc<Names>,
    /// One job at a time.
    busy: Arc<Semaphore>,
    /// Cancelled once the store is open, the spool empty, and what was cut short is finished: no job begins before that.
    opened: CancellationToken,
    /// One plan at a time: it has a folder for its files.
    planning: Semaphore,
    /// An exchange of files that a job began and could not finish.
    unfinished: Mutex<Option<audit::Swap>>,
}

impl Place {
    fn unfinished(&self) -> MutexGuard<'_, Option<audit::Swap>> {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until jobs may begin.
    ///
    /// # Errors
    /// Not within half a minute; in words (retry).
    async fn wait_opened(&self) -> Result<(), String> {
        let opened = timeout(OPEN_TIMEOUT, self.opened.cancelled()).await;
        opened.map_err(|_elapsed| "its storage is not open; `skidway sinks` says why".to_owned())
    }
}

/// Is one sink, ready to run.
pub struct Sink {
    rooms: Arc<Rooms>,
    place: Arc<Place>,
    state: SinkState,
}

impl Sinks {
    /// Reads what was decided, and pins what is not in files. From then on retention may go on.
    ///
    /// # Errors
    /// [`StateError`] (halt).
    pub async fn open(
        configs: Vec<SinkConfig>,
        data_dir: &Path,
        log: Arc<dyn Log>,
        pins: Arc<Pins>,
    ) -> Result<Self, StateError> {
        let (journal, state) = Journal::open(log.clone()).await?;
        let mut board = Board::default();
        let (mut sinks, mut places) = (Vec::new(), BTreeMap::new());
        for config in configs {
            if let Some(file) = config.destination.secret_file() {
                secret::warn_if_exposed(&format!("sink {}", config.name), file);
            }
            let mut state = state.of(&config.name);
            if !state.is_opened {
                first_start(&config, &mut state, &journal, &*log).await?;
            }
            give_up_deleted(&config.name, &mut state, &journal, &*log).await?;
            let format = rows::extension(config.layout.format, config.layout.compression);
            board.add(&config.name, (config.destination.to_string(), format), state.is_paused);
            pin_all(&config, &state, &pins);
            let store = config.destination.store(&config.name, data_dir);
            let (name, config, busy) = (config.name.clone(), Arc::new(config), Arc::new(Semaphore::new(1)));
            let names = Arc::new(Names::new(state.shards.values().flat_map(|standing| &standing.fields)));
            let (opened, planning, unfinished) = (CancellationToken::new(), Semaphore::new(1), Mutex::default());
            let place = Arc::new(Place { config, store, names, busy, opened, planning, unfinished });
            places.insert(name, place.clone());
            sinks.push((place, state));
        }
        pins.is_told();
        journal.keep_short().await?;
        Ok(Self { rooms: Arc::new(Rooms { places, log, pins, journal, board }), sinks })
    }

    /// Gives what shows and steers them.
    pub fn control(&self) -> Control {
        Control(self.rooms.clone())
    }

    /// Gives each sink, to be run.
    pub fn each(self) -> impl Iterator<Item = Sink> {
        let rooms = self.rooms;
        let sink = move |(place, state)| Sink { rooms: rooms.clone(), place, state };
        self.sinks.into_iter().map(sink)
    }
}

impl Sink {
    /// Writes files until `stop` is cancelled; then closes and publishes what is open, and ends.
    pub async fn run(self, stop: CancellationToken) {
        let Place { config, store, .. } = &*self.place;
        let Some(desk) = self.rooms.board.desk(&config.name) else { return };
        let is_ready = self.open_store(desk, &stop).await && self.finish_replays(desk, &stop).await;
        if !is_ready {
            return;
        }
        self.place.opened.cancel();
        let mut workers = FuturesUnordered::new();
        let mut running: BTreeSet<[u8; 16]> = BTreeSet::new();
        loop {
            for topic in self.rooms.log.topics().into_iter().filter(|topic| config.takes(&topic.name)) {
                let Some(progress) = self.rooms.log.watch(&topic.name) else { continue };
                if running.insert(topic.id) {
                    let before = self.state.shards.iter().filter(|(shard, _)| shard.topic_id == topic.id);
                    let before = before.map(|(shard, standing)| (shard.clone(), standing.clone())).collect();
                    let worker = Worker::new(&self, (topic, progress), before);
                    workers.push(worker.run(desk, stop.clone()));
                }
            }
            let ended = tokio::select! {
                Some(id) = workers.next() => Some(id),
                () = stop.cancelled() => break,
                () = sleep(LOOK_INTERVAL), if !stop.is_cancelled() => None,
            };
            if let Some(id) = ended {
                running.remove(&id);
            }
        }
        while workers.next().await.is_some() {}
        drop(workers);
        let closed = {
            let store = store.clone();
            blocking(move || store.close()).await
        };
        if let Err(error) = closed {
            tracing::warn!(sink = config.name, %error, "the spool is left for the next start to delete");
        }
    }

    /// Opens the store, however long it is away. False if there is no time left.
    async fn open_store(&self, desk: &Desk, stop: &CancellationToken) -> bool {
        let Place { config, store, .. } = &*self.place;
        let mut patience = Patience::new(&config.name, "");
        loop {
            let opened = {
                let store = store.clone();
                blocking(move || store.open()).await
            };
            match opened {
                Ok(()) => break,
                Err(error) => {
                    let url = config.destination.to_string();
                    patience.complain(desk, &format!("{url} cannot be used: {error}"));
                }
            }
            tokio::select! {
                () = patience.wait() => {}
                () = stop.cancelled() => return false,
            }
        }
        patience.over(desk);
        true
    }

    /// Finishes exchanges of files that were cut short. False if there is no time left.
    async fn finish_replays(&self, desk: &Desk, stop: &CancellationToken) -> bool {
        let name = &self.place.config.name;
        let mut patience = Patience::new(name, "replay");
        let replays = self.state.shards.iter();
        let replays =
            replays.flat_map(|(shard, standing)| standing.replays.iter().map(|it| (shard.clone(), it.clone())));
        for mut swap in audit::Swap::decided(replays) {
            while let Err(trouble) = audit::settle(&self.rooms, &self.place, &mut swap).await {
                patience.complain(desk, &trouble);
                tokio::select! {
                    () = patience.wait() => {}
                    () = stop.cancelled() => return false,
                }
            }
        }
        patience.over(desk);
        true
    }
}

/// Waits between tries, longer each time, and says what is wrong when it begins and when it is over.
struct Patience {
    sink: String,
    /// What is tried: a topic's name, or nothing if it is the store.
    what: String,
    backoff: Backoff,
    complained: Option<String>,
}

impl Patience {
    fn new(sink: &str, what: &str) -> Self {
        let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
        Self { sink: sink.to_owned(), what: what.to_owned(), backoff, complained: None }
    }

    fn complain(&mut self, desk: &Desk, trouble: &str) {
        desk.trouble(&self.what, Some(trouble), now_ms());
        crate::metrics::sink_failed(&self.sink);
        if self.complained.as_deref() != Some(trouble) {
            tracing::error!(sink = self.sink, "{trouble}; trying again");
            self.complained = Some(trouble.to_owned());
        }
    }

    fn wait(&mut self) -> impl Future<Output = ()> + use<> {
        sleep(self.backoff.next(random()))
    }

    fn over(&mut self, desk: &Desk) {
        if self.complained.take().is_some() {
            tracing::info!(sink = self.sink, "it works again");
            desk.trouble(&self.what, None, now_ms());
        }
        self.backoff.reset();
    }
}

/// Names an owner of pins.
fn owner(sink: &str) -> String {
    format!("sink {sink}")
}

/// Shows sinks, and lets them stand still or go on.
#[derive(Clone)]
pub struct Control(Arc<Rooms>);

impl Control {
    /// Shows how they stand.
    pub fn board(&self) -> &Board {
        &self.0.board
    }

    /// Lets a sink stand still, or go on; durably. False if there is none of this name.
    ///
    /// # Errors
    /// [`LogError`]; the sink goes on as before.
    pub async fn pause(&self, name: &str, pause: bool) -> Result<bool, LogError> {
        let Some(desk) = self.0.board.desk(name) else { return Ok(false) };
        let decision = if pause { Decision::Paused } else { Decision::Resumed };
        self.0.journal.decide(name, &[decision]).await?;
        desk.pause(pause);
        Ok(true)
    }

    /// Prepares a job on a sink's files: what it finds, and the work itself, to be run. `None` if there is no sink of this name, or it
    /// has another job.
    pub fn job(&self, name: &str, job: SinkJob) -> Option<(mpsc::Receiver<SinkFinding>, BoxFuture<'static, ()>)> {
        audit::begin(&self.0, self.0.places.get(name)?, job)
    }

    /// Tries out what a sink will do in a day, by the last hours; `None` if there is none of this name.
    ///
    /// # Errors
    /// What cannot be read or written, in words (retry).
    pub async fn plan(&self, name: &str, hours: u64) -> Option<Result<SinkPlan, String>> {
        Some(plan::plan(&self.0, self.0.places.get(name)?, hours).await)
    }

    /// Measures what the log keeps for sinks, warns before that is too much, and keeps their own topic short; until `stop` is cancelled.
    pub async fn watch(&self, stop: CancellationToken) {
        budget::watch(&self.0, stop).await;
    }
}

fn unwritable(error: &io::Error) -> String {
    format!("the spool cannot be written: {error}")
}
