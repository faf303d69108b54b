//! From decided to published: a cut's files are taken from the spool, or made again from the log if the spool is not this run's.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use skidway_record::{Batch, Offset, TopicPartition};

use super::config::Layout;
use super::decisions::{Cut, Intent, Shard};
use super::file::{Digest, Finished};
use super::lane::Rolling;
use super::now_ms;
use super::store::{Published, Store};
use super::writing::{Progress, Writing};
use crate::blocking::blocking;
use crate::log::{Log, LogError};

/// Read of a partition at a time, in compressed bytes.
const FETCH_BYTES: usize = 1 << 20;

/// Files of a cut that are published at once: some storages take half a second for each.
const SIDE_BY_SIDE: usize = 4;

/// Why what was decided of a topic can never be published.
pub(super) const TOPIC_GONE: &str = "the topic was deleted before its files were published";

/// Closes nothing by itself: what is made again was cut before.
const NEVER: Rolling =
    Rolling { bytes: u64::MAX, records: u64::MAX, age: Duration::MAX, idle: Duration::MAX, open_files_max: usize::MAX };

/// Says why a cut is not published.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may be later.
    Trouble(String),
    /// It never will be: the records are not there any more.
    Gone(String),
}

/// Holds the files of the cuts that are decided and not published, oldest first.
#[derive(Debug, Default)]
pub(super) struct Publishing {
    /// `None`: they have to be made again.
    cuts: VecDeque<Option<Vec<Finished>>>,
    /// Which files of the first are published.
    published: BTreeSet<usize>,
}

impl Publishing {
    /// Begins with so many cuts of an earlier run.
    pub(super) fn new(pending: usize) -> Self {
        Self { cuts: vec![None; pending].into(), published: BTreeSet::new() }
    }

    /// Adds a cut whose files are in the spool.
    pub(super) fn push(&mut self, spooled: Vec<Finished>) {
        self.cuts.push_back(Some(spooled));
    }

    /// Forgets the first: it is done.
    pub(super) fn pop(&mut self) {
        self.cuts.pop_front();
        self.published.clear();
    }

    /// Publishes the first cut; a later try goes on where this one ended. Gives the bytes of all its files.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn publish(
        &mut self,
        log: &Arc<dyn Log>,
        store: &Arc<dyn Store>,
        shard: &Shard,
        cut: &Cut,
    ) -> Result<u64, Failure> {
        let Some(first) = self.cuts.front_mut() else { return Ok(0) };
        let spooled = match first {
            Some(spooled) => spooled,
            None => first.insert(make_again(log, store, shard, cut).await?),
        };
        let layout = Arc::new(Layout::of(&cut.recipe).map_err(Failure::Trouble)?);
        let is_left = |(at, _): &(usize, _)| !self.published.contains(at);
        let left: Vec<(usize, (Intent, PathBuf))> = {
            let files = cut.files.iter().zip(&*spooled).map(|(intent, file)| (intent.clone(), file.path.clone()));
            files.enumerate().filter(is_left).collect()
        };
        let publish = move |(at, (intent, path)): (usize, (Intent, PathBuf))| {
            let (store, layout) = (store.clone(), layout.clone());
            blocking(move || (at, publish_file(&*store, &intent, &path, &layout)))
        };
        let results: Vec<_> = stream::iter(left).map(publish).buffer_unordered(SIDE_BY_SIDE).collect().await;
        let mut trouble = None;
        for (at, result) in results {
            match result {
                Ok(()) => _ = self.published.insert(at),
                Err(error) => {
                    trouble = Some(format!("{} cannot be published: {error}", cut.files[at].path()));
                }
            }
        }
        match trouble {
            Some(trouble) => Err(Failure::Trouble(trouble)),
            None => Ok(spooled.iter().map(|file| file.bytes).sum()),
        }
    }
}

/// Publishes a file under its name; under another one if a file with other rows has that, which a topic of that name left that is gone.
fn publish_file(store: &dyn Store, intent: &Intent, spooled: &Path, layout: &Layout) -> io::Result<()> {
    // A topic's name may have dots.
    let (start, last) = intent.name.rsplit_once('+').unwrap_or(("", &intent.name));
    let (last, ending) = last.split_once('.').unwrap_or((last, ""));
    let second = Intent { name: format!("{start}+{last}+{}.{ending}", &intent.digest[..8]), ..intent.clone() };
    for path in [intent.path(), second.path()] {
        match store.publish(spooled, &path)? {
            Published::New => return Ok(()),
            Published::Exists if is_same(store, &path, intent, layout) => {
                // It may be gone: published by a try that failed after that.
                let _gone = std::fs::remove_file(spooled);
                return Ok(());
            }
            Published::Exists => tracing::warn!(path, "another file has this name and other rows"),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "other files have both its names"))
}

/// Tells whether a published file holds the rows that were decided: then an earlier run published it.
fn is_same(store: &dyn Store, path: &str, intent: &Intent, layout: &Layout) -> bool {
    let digest = store.read(path).and_then(|file| Digest::of(file, layout.compression));
    digest.is_ok_and(|digest| digest == intent.digest)
}

/// Writes a cut's files again from the log, and checks that they are what was decided.
async fn make_again(
    log: &Arc<dyn Log>,
    store: &Arc<dyn Store>,
    shard: &Shard,
    cut: &Cut,
) -> Result<Vec<Finished>, Failure> {
    let layout = Layout::of(&cut.recipe).map_err(Failure::Trouble)?;
    let of = TopicPartition::new(shard.topic.clone(), shard.partition);
    let spool = store.spool().join(format!("again-{}-{}-{}", of.topic, of.partition, cut.from));
    let folder = spool.clone();
    blocking(move || std::fs::create_dir_all(folder)).await.map_err(unwritable)?;
    let mut writing = Box::new(Writing::new(of, (Arc::new(layout), NEVER), spool, cut.from));
    while writing.lane().next() < cut.to {
        let (batches, to) = (read_again(log, shard, writing.lane().next()).await?, cut.to);
        let (back, written) = blocking(move || {
            let written = writing.write(&batches, to, now_ms());
            (writing, written)
        })
        .await;
        writing = back;
        match written.map_err(unwritable)? {
            Progress::All | Progress::Cut(_) => {}
            Progress::Undecodable(_, reason) => return Err(Failure::Gone(reason)),
        }
    }
    let again = blocking(move || writing.cut()).await.map_err(unwritable)?.files;
    cut.files.iter().map(|intent| find_again(intent, &again)).collect()
}

/// Reads of a partition what a cut was made of.
async fn read_again(log: &Arc<dyn Log>, shard: &Shard, at: u64) -> Result<Vec<Batch>, Failure> {
    if log.topic(&shard.topic).is_none_or(|topic| topic.id != shard.topic_id) {
        return Err(Failure::Gone(TOPIC_GONE.to_owned()));
    }
    let of = TopicPartition::new(shard.topic.clone(), shard.partition);
    match log.fetch(of, Offset(at), FETCH_BYTES).await {
        Ok(batches) if batches.is_empty() => Err(Failure::Gone(format!("the log ends at offset {at}"))),
        Ok(batches) => Ok(batches),
        Err(error @ (LogError::OutOfRange { .. } | LogError::Damaged(_) | LogError::NotFound(_))) => {
            Err(Failure::Gone(error.to_string()))
        }
        Err(error) => Err(Failure::Trouble(error.to_string())),
    }
}

/// Finds the file that was decided among those made again.
fn find_again(intent: &Intent, again: &[(Intent, Finished)]) -> Result<Finished, Failure> {
    let cannot = |why: &str| Failure::Trouble(format!("{} cannot be made again: {why}", intent.path()));
    let found = again.iter().find(|(again, _)| again.folder == intent.folder);
    let (made, file) = found.ok_or_else(|| cannot("its records are not in the log"))?;
    let what = |it: &Intent| (it.first, it.last, it.records, it.digest.clone());
    if what(made) == what(intent) { Ok(file.clone()) } else { Err(cannot("the log holds other records")) }
}

fn unwritable(error: io::Error) -> Failure {
    Failure::Trouble(format!("the spool cannot be written: {error}"))
}
