//! Work on files that are published already: compared with what was decided, made again, put in place of others (docs/sinks.md).
//!
//! One job of a sink at a time. What it finds goes to whoever asked; if nobody listens any more, it ends after the file it is at.

mod replay;
mod repair;
mod verify;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use skidway_wire::{SinkAudit, SinkFinding, SinkJob};
use tokio::sync::mpsc;

use super::config::Layout;
use super::decisions::Intent;
use super::manifest::{self, Manifest, What};
use super::publishing::{Group, is_same};
use super::store::Store;
use super::{Place, Rooms};
use crate::blocking::blocking;

pub(super) use replay::{Swap, owner, settle};

/// Findings that wait for whoever asked.
const FINDINGS_MAX: usize = 64;

/// Does one job.
struct Auditor {
    rooms: Arc<Rooms>,
    place: Arc<Place>,
    /// Where files are made again.
    spool: PathBuf,
    told: mpsc::Sender<SinkFinding>,
    summary: SinkAudit,
}

/// Says why a job ends before its end.
enum Stop {
    /// Nobody listens any more.
    Unheard,
    /// What it needs is not to be had.
    Failed(String),
}

type Step<T> = Result<T, Stop>;

/// Prepares a job: what it finds, and the work itself, to be run. `None` while another one of this sink runs.
pub(super) fn begin(
    rooms: &Arc<Rooms>,
    place: &Arc<Place>,
    job: SinkJob,
) -> Option<(mpsc::Receiver<SinkFinding>, BoxFuture<'static, ()>)> {
    let busy = place.busy.clone().try_acquire_owned().ok()?;
    let (told, findings) = mpsc::channel(FINDINGS_MAX);
    let spool = place.store.spool().join("audit");
    let auditor = Auditor { rooms: rooms.clone(), place: place.clone(), spool, told, summary: SinkAudit::default() };
    let work = async move {
        auditor.run(job).await;
        drop(busy);
    };
    Some((findings, work.boxed()))
}

impl Auditor {
    async fn run(mut self, job: SinkJob) {
        let done = self.work(job).await;
        let spool = self.spool.clone();
        // What is left of files made again; the next start deletes it else.
        let _gone = blocking(move || std::fs::remove_dir_all(spool)).await;
        let last = match done {
            Ok(()) => SinkFinding::Summary(self.summary),
            Err(Stop::Failed(reason)) => SinkFinding::Failed { reason },
            Err(Stop::Unheard) => return,
        };
        // Nobody may listen any more.
        let _heard = self.told.send(last).await;
    }

    async fn work(&mut self, job: SinkJob) -> Step<()> {
        self.place.wait_opened().await.map_err(Stop::Failed)?;
        self.finish_what_was_cut_short().await?;
        match job {
            SinkJob::Verify { deep } => self.verify(deep).await.map(drop),
            SinkJob::Repair => self.repair().await,
            SinkJob::Replay { topic, from_ms, to_ms } => self.replay(&topic, from_ms, to_ms).await,
        }
    }

    async fn tell(&self, finding: SinkFinding) -> Step<()> {
        self.told.send(finding).await.map_err(|_| Stop::Unheard)
    }

    /// Is asked between files: what has nothing to tell would not notice else.
    fn is_heard(&self) -> Step<()> {
        if self.told.is_closed() { Err(Stop::Unheard) } else { Ok(()) }
    }

    async fn manifest(&self) -> Step<Manifest> {
        let manifest = manifest::read(&*self.rooms.log, &self.place.config.name).await;
        manifest.map_err(|error| Stop::Failed(error.to_string()))
    }

    async fn with_store<T: Send + 'static>(&self, work: impl FnOnce(&dyn Store) -> T + Send + 'static) -> T {
        let store = self.place.store.clone();
        blocking(move || work(&*store)).await
    }
}

/// Tells whether a published file has these rows; where a copy of it may lie for that is in the spool.
fn has_rows(store: &dyn Store, spool: &Path, path: &str, parts: &[Intent], layout: &Layout) -> io::Result<bool> {
    std::fs::create_dir_all(spool)?;
    is_same(store, path, &parts.iter().collect::<Vec<_>>(), (layout, &spool.join("copy")))
}

/// Groups the published cuts as they were decided.
fn groups(manifest: Manifest) -> Vec<Group> {
    let cuts = manifest.into_iter().flat_map(|(shard, entries)| {
        entries.into_values().filter_map(move |entry| match entry.what {
            What::Published { cut, .. } => Some((shard.clone(), *cut)),
            What::Gap { .. } => None,
        })
    });
    Group::decided(cuts)
}

/// Forgets where parts are in the spool.
fn intents(parts: &[(Intent, PathBuf)]) -> Vec<Intent> {
    parts.iter().map(|(intent, _)| intent.clone()).collect()
}
