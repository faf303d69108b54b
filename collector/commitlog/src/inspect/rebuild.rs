//! Makes a checkpoint where it is lost, from what partitions' folders tell: topics and their records. All else is lost with it.
//!
//! The log gets another id, because nothing tells which it was, and an epoch that no earlier one had: tokens and agents of the old log are
//! refused instead of misled. Batches that are in the journal alone stay there: the files are kept aside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use skidway_disk::{Disk, Open};
use skidway_record::{LogId, TopicName};

use crate::checkpoint::{Dirty, Extents, Plan, SYNC_THREADS_ALONE, Snapshot};
use crate::commit::{LogIdentity, Topic, TopicSettings};
use crate::config::Config;
use crate::effects::{Change, Effects, TopicId};
use crate::error::Error;
use crate::extent::Extent;
use crate::files::Files;
use crate::inspect::mend::{FILES_MAX, with_new_indexes};
use crate::inspect::repair::Aside;
use crate::inspect::segments;
use crate::journal::{self, Journal};
use crate::partition::topic_of_dir;
use crate::segment::{LOG_EXTENSION, base_offset_of, log_name};
use crate::state::{PartitionState, SegmentEnd, State};
use crate::survey::Piece;

/// Bounds offsets where nothing else does.
const OFFSET_MAX: u64 = i64::MAX as u64;

/// Ends the names of folders of deleted topics.
const DELETED: &str = "-delete";

type Found = BTreeMap<TopicName, (TopicId, BTreeMap<u32, PathBuf>)>;

/// Rebuilds the checkpoint, durably.
pub(crate) fn rebuild(
    config: &Config,
    disk: &Arc<dyn Disk>,
    aside: &mut Aside,
    done: &mut Vec<String>,
) -> Result<(), Error> {
    let dir = &config.data_dir;
    let found = find_topics(disk.as_ref(), &dir.join("topics"))?;
    let numbers = journal::numbers(disk.as_ref(), dir)?;
    for &number in &numbers {
        aside.keep(&journal::path_of(dir, number))?;
    }
    if disk.open(&dir.join("checkpoint"), Open::Existing).is_ok() {
        aside.keep(&dir.join("checkpoint"))?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let identity = LogIdentity { id: LogId(rand::random()), epoch: now.as_secs() };
    let mut state = State::new(identity);
    let mut extents = Extents::new();
    for (name, (id, partitions)) in found {
        let mut topic = Topic { id, config: config.topics.config_for(&name), name };
        let count = partitions.keys().last().map_or(1, |last| last + 1);
        topic.config.partitions = topic.config.partitions.max(count);
        let own = TopicSettings::default();
        let changes = vec![Change::TopicPut { topic, own }];
        state.apply(&Effects { at_ms: now.as_millis() as i64, changes });
        for (number, dir) in partitions {
            let (segments, found) = restore_partition(disk, &dir, now.as_millis() as i64)?;
            state.set_partition(&id, number, found);
            if !segments.is_empty() {
                extents.push((id, number, segments));
            }
        }
    }
    let number = numbers.last().map_or(0, |last| last + 1);
    Journal::create(disk.as_ref(), dir, number, rand::random(), config.journal_step_bytes)?;
    let snapshot = Snapshot { state: &state, journal: number, extents, swaps: Vec::new() }.encode();
    let (dirty, replacements, garbage) = (Dirty::default(), Vec::new(), Vec::new());
    let sync_threads = SYNC_THREADS_ALONE;
    let plan = Plan { dir: dir.clone(), snapshot, journal: number, dirty, sync_threads, replacements, garbage };
    plan.run(&Files::new(disk.clone(), FILES_MAX))?;
    done.push(format!(
        "rebuilt {} topics from their folders, as log {} of epoch {}; agents, sources' positions, producers and topics' own settings are \
         lost, and what was in the journal alone is kept aside",
        state.topics().count(),
        identity.id,
        identity.epoch
    ));
    Ok(())
}

/// Finds the topics that folders say they are of. Nothing that is not understood may be taken for rubbish later.
fn find_topics(disk: &dyn Disk, topics_dir: &Path) -> Result<Found, Error> {
    let mut found = Found::new();
    for entry in disk.list(topics_dir).map_err(Error::io("list", topics_dir))? {
        let path = topics_dir.join(&entry.name);
        if entry.name.ends_with(DELETED) {
            continue;
        }
        let unclear = |reason: &str| Error::corrupt(&path, 0, format!("{reason}; move it elsewhere"));
        let (name, number) = entry
            .name
            .rsplit_once('-')
            .and_then(|(name, number)| Some((TopicName::new(name).ok()?, number.parse().ok()?)))
            .ok_or_else(|| unclear("it is not the folder of a partition"))?;
        let id = topic_of_dir(disk, &path).ok_or_else(|| unclear("it does not say which topic it is of"))?;
        let (known, partitions) = found.entry(name).or_insert((id, BTreeMap::new()));
        if *known != id {
            return Err(unclear("it is of another topic than other folders of that name"));
        }
        partitions.insert(number, path);
    }
    Ok(found)
}

/// Finds what a partition's folder holds. Its last segment ends with the last sound batch; damage before that is left to be mended.
fn restore_partition(disk: &Arc<dyn Disk>, dir: &Path, now_ms: i64) -> Result<(Vec<Extent>, PartitionState), Error> {
    let entries = disk.list(dir).map_err(Error::io("list", dir))?;
    let logs = entries.iter().filter(|entry| entry.name.ends_with(LOG_EXTENSION));
    let mut bases: Vec<u64> = logs.filter_map(|entry| base_offset_of(&entry.name)).collect();
    bases.sort_unstable();
    let bases = without_superseded(disk.as_ref(), dir, &bases)?;
    let mut extents = Vec::new();
    let mut found = PartitionState { log_start: bases.first().copied().unwrap_or(0), ..PartitionState::default() };
    found.next_offset = found.log_start;
    for (index, &base_offset) in bases.iter().enumerate() {
        let next_base = bases.get(index + 1).copied();
        let (bytes, next_offset) = sound_bytes(disk.as_ref(), dir, base_offset, next_base)?;
        found.next_offset = next_base.unwrap_or(next_offset);
        found.segment = Some(SegmentEnd { base_offset, bytes, began_ms: now_ms });
        let extent = Extent { bytes, ..Extent::empty(base_offset, now_ms) };
        extents.push(with_new_indexes(disk, dir, extent)?);
    }
    Ok((extents, found))
}

/// Leaves out segments that a crash left beside the one that compaction joined them in: batch after batch, it reaches past where they
/// begin.
fn without_superseded(disk: &dyn Disk, dir: &Path, bases: &[u64]) -> Result<Vec<u64>, Error> {
    let mut kept: Vec<u64> = Vec::new();
    let mut reach = 0;
    for &base_offset in bases {
        if base_offset >= reach {
            kept.push(base_offset);
            reach = reach_of(disk, dir, base_offset)?;
        }
    }
    Ok(kept)
}

/// Gives the offset up to which sound batches follow each other from the beginning of a segment.
fn reach_of(disk: &dyn Disk, dir: &Path, base_offset: u64) -> Result<u64, Error> {
    let path = dir.join(log_name(base_offset));
    let file = disk.open(&path, Open::Existing).map_err(Error::io("open", &path))?;
    let len = file.len().map_err(Error::io("measure", &path))?;
    let mut survey = segments::survey(file, base_offset, len, OFFSET_MAX);
    let mut reach = base_offset;
    while let Some(Piece::Sound { batch, .. }) = survey.next_piece() {
        if batch.base_offset().0 != reach {
            break;
        }
        reach = batch.next_offset().0;
    }
    Ok(reach)
}

/// Gives the bytes of a segment that count, and the offset after its last batch.
fn sound_bytes(disk: &dyn Disk, dir: &Path, base_offset: u64, next: Option<u64>) -> Result<(u64, u64), Error> {
    let path = dir.join(log_name(base_offset));
    let file = disk.open(&path, Open::Existing).map_err(Error::io("open", &path))?;
    let len = file.len().map_err(Error::io("measure", &path))?;
    let mut survey = segments::survey(file, base_offset, len, next.unwrap_or(OFFSET_MAX));
    let (mut bytes, mut next_offset) = (0, base_offset);
    while let Some(piece) = survey.next_piece() {
        if let Piece::Sound { position, batch, .. } = piece {
            (bytes, next_offset) = (position + batch.bytes().len() as u64, batch.next_offset().0);
        }
    }
    Ok((if next.is_some() { len } else { bytes }, next_offset))
}
