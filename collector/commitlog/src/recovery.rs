//! Opens a data folder: brings files and state to what the checkpoint and the journal after it say, durably, before anything is shown.
//!
//! First it is found how far the journal holds (`direct.rs`); then the state, so that it is known which topics are still there at its end;
//! then the records of those. All that follows the checkpoint is written again at its place, never merely compared: bytes that a killed
//! process left behind may be in the page cache only. What lies beyond is cut off. A crash in here changes nothing that the next start
//! needs, so it may be repeated at will.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skidway_disk::{Disk, Open};
use skidway_record::{LogId, TopicPartition};

use crate::checkpoint::{self, Extents, Plan, SYNC_THREADS_ALONE, Snapshot};
use crate::commit::LogIdentity;
use crate::config::Config;
use crate::direct::Direct;
use crate::effects::{Change, Effects, TopicId};
use crate::error::Error;
use crate::files::Files;
use crate::journal::{self, JOURNAL_HEADER_BYTES, Journal};
use crate::partition::{dir_name, topic_of_dir};
use crate::recent::Recent;
use crate::replacement::{self, Swap};
use crate::replay::Tail;
use crate::state::{PartitionState, State};
use crate::store::Store;
use crate::writer::{Batches, Writer};

/// Batch bytes gathered before they are written.
const FLUSH_BYTES: usize = 4 << 20;

/// Holds an open log, ready for commits.
pub(crate) struct Recovered {
    /// The state, all of it durable.
    pub(crate) state: State,
    /// What readers see.
    pub(crate) store: Arc<Store>,
    /// What appends to it.
    pub(crate) writer: Writer,
    /// A journal file without frames.
    pub(crate) journal: Journal,
}

/// Recovers the log in `config.data_dir`, or begins one there. The caller holds the lock.
pub(crate) fn recover(config: &Config, disk: &Arc<dyn Disk>) -> Result<Recovered, Error> {
    recover_with(config, disk, IfDamaged::Refuse)
}

/// Says what becomes of a journal in which acknowledged commits are damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfDamaged {
    /// The log does not start.
    Refuse,
    /// The journal ends there, and the log gets another epoch: a repair.
    Cut,
}

/// Recovers the log likewise, damage of the journal being dealt with as said.
pub(crate) fn recover_with(config: &Config, disk: &Arc<dyn Disk>, damaged: IfDamaged) -> Result<Recovered, Error> {
    let dir = &config.data_dir;
    let topics_dir = make_dirs(disk.as_ref(), dir)?;
    let files = Files::new(disk.clone(), config.open_files_max);
    let store = Arc::new(Store::new(files, Recent::new(config.recent_bytes_max), topics_dir.clone()));
    let mut writer = Writer::new(store.clone());
    let state = match checkpoint::load(disk.as_ref(), dir)? {
        Some(snapshot) => replay(disk, dir, &topics_dir, snapshot, &mut writer, damaged)?,
        None => begin(disk.as_ref(), dir, &topics_dir)?,
    };
    writer.publish();
    check_offsets(&state, &writer, &topics_dir)?;
    let journal = save(config, disk.as_ref(), &state, &mut writer)?;
    Ok(Recovered { state, store, writer, journal })
}

/// Saves a checkpoint of a log that is at rest, and begins the journal after it.
fn save(config: &Config, disk: &dyn Disk, state: &State, writer: &mut Writer) -> Result<Journal, Error> {
    let dir = &config.data_dir;
    let number = journal::numbers(disk, dir)?.last().map_or(0, |last| last + 1);
    let journal = Journal::create(disk, dir, number, rand::random(), config.journal_step_bytes)?;
    let extents = writer.extents()?;
    let plan = Plan {
        dir: dir.clone(),
        snapshot: Snapshot { state, journal: number, extents, swaps: Vec::new() }.encode(),
        journal: number,
        dirty: std::mem::take(&mut writer.dirty),
        sync_threads: SYNC_THREADS_ALONE,
        replacements: Vec::new(),
        garbage: std::mem::take(&mut writer.garbage),
    };
    plan.run(&writer.store().files)?;
    Ok(journal)
}

/// Makes the data folder and the topics folder, durably.
fn make_dirs(disk: &dyn Disk, dir: &Path) -> Result<PathBuf, Error> {
    let topics_dir = dir.join("topics");
    disk.create_dir(&topics_dir).map_err(Error::io("create", &topics_dir))?;
    disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
    if let Some(above) = dir.parent().filter(|above| !above.as_os_str().is_empty()) {
        disk.sync_dir(above).map_err(Error::io("sync", above))?;
    }
    Ok(topics_dir)
}

/// Begins a log where there is none. A folder that has lost its checkpoint is not taken for an empty one.
fn begin(disk: &dyn Disk, dir: &Path, topics_dir: &Path) -> Result<State, Error> {
    let reason = "there is no checkpoint, but what looks like a log's data";
    if !disk.list(topics_dir).map_err(Error::io("list", topics_dir))?.is_empty() {
        return Err(Error::corrupt(topics_dir, 0, reason));
    }
    for number in journal::numbers(disk, dir)? {
        let path = journal::path_of(dir, number);
        let file = disk.open(&path, Open::Existing).map_err(Error::io("open", &path))?;
        // A crash while the log was begun leaves no more than a header.
        if file.len().map_err(Error::io("measure", &path))? > JOURNAL_HEADER_BYTES {
            return Err(Error::corrupt(&path, 0, reason));
        }
    }
    let identity = LogIdentity { id: LogId(rand::random()), epoch: 1 };
    tracing::info!(log_id = %identity.id, dir = %dir.display(), "beginning a new log");
    Ok(State::new(identity))
}

fn replay(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    topics_dir: &Path,
    snapshot: Snapshot<State>,
    writer: &mut Writer,
    damaged: IfDamaged,
) -> Result<State, Error> {
    let Snapshot { mut state, journal, extents, swaps } = snapshot;
    finish_swaps(disk.as_ref(), topics_dir, &state, &swaps)?;
    let tail = match damaged {
        IfDamaged::Refuse => Tail::open(disk.as_ref(), dir, journal)?,
        IfDamaged::Cut => Tail::open_cut(disk.as_ref(), dir, journal),
    };
    let checkpoint_lsn = state.lsn;
    let mut direct = Direct::new(disk, topics_dir.to_owned(), &state);
    let end = direct.sound_end(&tail, checkpoint_lsn)?;
    let mut saved = SavedTopics::of(&state, extents);
    tail.replay(checkpoint_lsn, end, |frame| {
        state.replay(&frame.effects).map_err(|reason| tail.corrupt(frame.header.lsn, reason))?;
        saved.note(&frame.effects);
        Ok(true)
    })?;
    direct.settle_deletions(&tail, checkpoint_lsn, end)?;
    saved.restore(disk.as_ref(), &state, topics_dir, writer)?;
    let mut waiting = 0;
    tail.replay(checkpoint_lsn, end, |frame| {
        let Some((effects, inline)) = of_live_topics(&state, frame.effects, frame.batches) else { return Ok(true) };
        let batches = direct.batches_of(&effects)?;
        waiting += inline.len() + batches.iter().map(|batch| batch.bytes().len()).sum::<usize>();
        writer.apply(&effects, Batches { inline, direct: batches.into_iter(), direct_is_written: false })?;
        if waiting >= FLUSH_BYTES {
            waiting = 0;
            writer.flush()?;
        }
        Ok(true)
    })?;
    writer.flush()?;
    writer.trim()?;
    if damaged == IfDamaged::Cut {
        state.identity.epoch += 1;
    }
    tracing::info!(commits = end - checkpoint_lsn, dir = %dir.display(), "replayed the journal");
    Ok(state)
}

/// Lets new segments take their places where a crash came before that. Folders of topics deleted since are left alone.
pub(crate) fn finish_swaps(disk: &dyn Disk, topics_dir: &Path, state: &State, swaps: &[Swap]) -> Result<(), Error> {
    for swap in swaps {
        let Some(held) = state.topic_by_id(&swap.topic) else { continue };
        let dir = topics_dir.join(dir_name(&TopicPartition::new(held.topic.name.clone(), swap.partition)));
        if topic_of_dir(disk, &dir) == Some(swap.topic) {
            replacement::rename_files(disk, &dir, swap.base_offset, swap.number)?;
        }
    }
    Ok(())
}

/// Holds what a checkpoint says of topics, while the state moves on.
struct SavedTopics {
    topics: Vec<(crate::commit::Topic, Vec<PartitionState>)>,
    extents: HashMap<(TopicId, u32), Vec<crate::extent::Extent>>,
    /// Partitions that have batches, written straight to their segments, after the checkpoint.
    direct: HashSet<(TopicId, u32)>,
}

impl SavedTopics {
    fn of(state: &State, extents: Extents) -> Self {
        let topics = state.topics().map(|held| (held.topic.clone(), held.partitions.clone())).collect();
        let extents = extents.into_iter().map(|(topic, partition, extents)| ((topic, partition), extents)).collect();
        Self { topics, extents, direct: HashSet::new() }
    }

    fn note(&mut self, effects: &Effects) {
        let direct = effects.appends().filter(|append| append.direct.is_some());
        self.direct.extend(direct.map(|append| (append.topic, append.partition)));
    }

    /// Takes over the segments of the topics still there at the journal's end, and removes all other folders.
    fn restore(mut self, disk: &dyn Disk, state: &State, topics_dir: &Path, writer: &mut Writer) -> Result<(), Error> {
        self.remove_strays(disk, state, topics_dir)?;
        self.topics.retain(|(topic, _)| state.topic_by_id(&topic.id).is_some());
        for (topic, partitions) in self.topics {
            let with_extents = partitions
                .into_iter()
                .zip(0..)
                .map(|(offsets, partition)| (offsets, self.extents.remove(&(topic.id, partition)).unwrap_or_default()));
            writer.restore(&topic, with_extents.collect())?;
        }
        Ok(())
    }

    /// Removes whatever is not the folder of a partition that has segments here.
    fn remove_strays(&self, disk: &dyn Disk, state: &State, topics_dir: &Path) -> Result<(), Error> {
        let mut kept: HashMap<String, TopicId> = HashMap::new();
        for &(id, partition) in self.extents.keys().chain(&self.direct) {
            if let Some(held) = state.topic_by_id(&id) {
                kept.insert(dir_name(&TopicPartition::new(held.topic.name.clone(), partition)), id);
            }
        }
        for entry in disk.list(topics_dir).map_err(Error::io("list", topics_dir))? {
            let path = topics_dir.join(&entry.name);
            let found = topic_of_dir(disk, &path);
            match kept.get(&entry.name) {
                Some(expected) if found == Some(*expected) => {}
                // A folder that does not say whose it is may hold what is looked for.
                Some(_) if found.is_none_or(|found| state.topic_by_id(&found).is_some()) => {
                    let reason = "the folder does not say that it is of the topic it should be";
                    return Err(Error::corrupt(&path, 0, reason));
                }
                _ => disk.remove(&path).map_err(Error::io("remove", &path))?,
            }
        }
        Ok(())
    }
}

/// Leaves of a commit what concerns topics still there at the journal's end.
fn of_live_topics(state: &State, mut effects: Effects, batches: bytes::Bytes) -> Option<(Effects, bytes::Bytes)> {
    let is_live = |topic: &TopicId| state.topic_by_id(topic).is_some();
    let all_live = effects.changes.iter().all(|change| topic_of(change).is_none_or(is_live));
    if all_live {
        return Some((effects, batches));
    }
    let mut live_batches = Vec::new();
    let mut rest = batches;
    for append in effects.appends().filter(|append| append.direct.is_none()) {
        let batch = rest.split_to(append.bytes as usize);
        if is_live(&append.topic) {
            live_batches.extend_from_slice(&batch);
        }
    }
    effects.changes.retain(|change| topic_of(change).is_none_or(is_live));
    (!effects.changes.is_empty()).then(|| (effects, live_batches.into()))
}

fn topic_of(change: &Change) -> Option<&TopicId> {
    match change {
        Change::TopicPut { topic, .. } => Some(&topic.id),
        Change::TopicDeleted(topic) | Change::LogStartMoved { topic, .. } | Change::SegmentClosed { topic, .. } => {
            Some(topic)
        }
        Change::Appended(append) => Some(&append.topic),
        _ => None,
    }
}

/// Fails unless segments and state agree on every partition's offsets.
fn check_offsets(state: &State, writer: &Writer, topics_dir: &Path) -> Result<(), Error> {
    let live: HashSet<TopicId> = writer.topics().map(|live| live.topic.id).collect();
    if live != state.topics().map(|held| held.topic.id).collect() {
        return Err(Error::corrupt(topics_dir, 0, "the recovered topics are not those of the state"));
    }
    for live in writer.topics() {
        let held = state.topic_by_id(&live.topic.id).expect("the topics were just compared");
        for (partition, offsets) in live.partitions.iter().zip(&held.partitions) {
            if partition.shown() != (offsets.log_start, offsets.next_offset) {
                let reason = format!("its offsets are {:?}, the state says {offsets:?}", partition.shown());
                return Err(Error::corrupt(partition.dir(), 0, reason));
            }
        }
    }
    Ok(())
}
