//! Reads everything a log holds and says what is wrong. Changes nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skidway_disk::{Disk, Open};
use skidway_record::TopicPartition;

use crate::checkpoint::{self, Snapshot};
use crate::config::Config;
use crate::direct::Direct;
use crate::effects::TopicId;
use crate::error::Error;
use crate::extent::Extent;
use crate::inspect::segments::{self, Checkup};
use crate::inspect::{Checked, Finding, Hear, place_of, take_lock};
use crate::partition::{dir_name, topic_of_dir};
use crate::replacement::{self, Swap};
use crate::replay::Tail;
use crate::segment::log_name;
use crate::state::{State, TopicState};

/// Checks a whole log: checkpoint, journal, segments, indexes, and that they agree. The log must not be open.
///
/// # Errors
/// [`Error::InUse`], [`Error::Corrupt`] if there is no log, [`Error::Io`] (halt). What is wrong with the log is no error.
pub fn verify(config: &Config, disk: &Arc<dyn Disk>, hear: Hear<'_>) -> Result<Checked, Error> {
    let _lock = take_lock(disk.as_ref(), &config.data_dir)?;
    verify_locked(config, disk, hear)
}

/// Does so under a lock that is held.
pub(crate) fn verify_locked(config: &Config, disk: &Arc<dyn Disk>, hear: Hear<'_>) -> Result<Checked, Error> {
    let mut checked = Checked::default();
    let mut findings = 0;
    let mut hear = |finding| {
        findings += 1;
        hear(finding);
    };
    let dir = &config.data_dir;
    match checkpoint::load(disk.as_ref(), dir) {
        Ok(Some(snapshot)) => {
            let at_end = check_journal(disk, dir, &snapshot, &mut checked, &mut hear)?;
            check_partitions(disk.as_ref(), dir, &snapshot, &at_end, &mut checked, &mut hear)?;
        }
        Ok(None) => hear(lost_checkpoint(dir, None, "the checkpoint is missing".to_owned())),
        Err(error) => {
            let (_, position, what) = place_of(&error, dir);
            hear(lost_checkpoint(dir, position, what));
        }
    }
    checked.findings = findings;
    Ok(checked)
}

fn lost_checkpoint(dir: &Path, position: Option<u64>, what: String) -> Finding {
    let what = format!("{what}; topics' settings, agents, sources' positions and producers are lost with it");
    let repair = "with --accept-duplicates: rebuilds topics and offsets from the partitions' folders, in a log of another id; agents \
                  then send their files again";
    Finding { path: dir.join("checkpoint"), position, what, repair: repair.to_owned() }
}

/// Checks the journal, and gives the topics that are there at its end.
fn check_journal(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    snapshot: &Snapshot<State>,
    checked: &mut Checked,
    hear: Hear<'_>,
) -> Result<State, Error> {
    let mut state = snapshot.state.clone();
    let lsn = state.lsn;
    let sound = Tail::open(disk.as_ref(), dir, snapshot.journal).and_then(|tail| {
        let end = Direct::new(disk, dir.join("topics"), &state).sound_end(&tail, lsn)?;
        Ok((tail, end))
    });
    let (tail, end) = match sound {
        Ok(sound) => sound,
        Err(error) => {
            let (path, position, what) = place_of(&error, dir);
            let repair = "writes a file's header again if the first commit tells it; else ends the journal there, keeps it aside, and \
                          gives the log another epoch: agents and readers are told";
            hear(Finding { path, position, what, repair: repair.to_owned() });
            let tail = Tail::open_cut(disk.as_ref(), dir, snapshot.journal);
            let end = Direct::new(disk, dir.join("topics"), &state).sound_end(&tail, lsn)?;
            (tail, end)
        }
    };
    tail.replay(lsn, end, |frame| {
        state.replay(&frame.effects).map_err(|reason| tail.corrupt(frame.header.lsn, reason))?;
        Ok(true)
    })?;
    checked.commits = end - lsn;
    Ok(state)
}

fn check_partitions(
    disk: &dyn Disk,
    dir: &Path,
    snapshot: &Snapshot<State>,
    at_end: &State,
    checked: &mut Checked,
    hear: Hear<'_>,
) -> Result<(), Error> {
    let extents: HashMap<(TopicId, u32), &Vec<Extent>> =
        snapshot.extents.iter().map(|(topic, partition, extents)| ((*topic, *partition), extents)).collect();
    for held in snapshot.state.topics().filter(|held| at_end.topic_by_id(&held.topic.id).is_some()) {
        checked.topics += 1;
        for (number, _) in (0..).zip(&held.partitions) {
            let Some(extents) = extents.get(&(held.topic.id, number)) else { continue };
            let swaps = &snapshot.swaps;
            check_partition(disk, dir, (held, number), (extents, swaps), checked, hear)?;
        }
    }
    Ok(())
}

fn check_partition(
    disk: &dyn Disk,
    dir: &Path,
    (held, number): (&TopicState, u32),
    (extents, swaps): (&[Extent], &[Swap]),
    checked: &mut Checked,
    hear: Hear<'_>,
) -> Result<(), Error> {
    let dir = partition_dir(dir, held, number);
    if let Some(finding) = check_metadata(disk, &dir, held) {
        hear(finding);
    }
    let state = held.partitions[number as usize];
    let last = extents.last().filter(|last| {
        let grows = state.segment.filter(|segment| segment.base_offset == last.base_offset);
        grows.is_some_and(|segment| segment.bytes != last.bytes)
    });
    if let Some(last) = last {
        let path = dir.join(log_name(last.base_offset));
        let what = format!("the checkpoint says of it both {} bytes and {:?}", last.bytes, state.segment);
        hear(Finding { path, position: None, what, repair: "takes what the file holds".to_owned() });
    }
    for (extent, limit) in with_limits(extents, state.next_offset) {
        let is_of = |swap: &&Swap| {
            (swap.topic, swap.partition, swap.base_offset) == (held.topic.id, number, extent.base_offset)
        };
        let files = files_of(disk, &dir, extent.base_offset, swaps.iter().find(is_of));
        let checkup = segments::check(disk, &files, extent, limit, checked)?;
        checkup.findings(&files[0]).into_iter().for_each(&mut *hear);
    }
    Ok(())
}

/// Gives a segment's files; where new ones are yet to take their place, those.
fn files_of(disk: &dyn Disk, dir: &Path, base_offset: u64, swap: Option<&Swap>) -> [PathBuf; 3] {
    replacement::paths(dir, base_offset).map(|path| {
        let new = swap.map(|swap| replacement::merged_path(&path, swap.number));
        new.filter(|new| disk.open(new, Open::Existing).is_ok()).unwrap_or(path)
    })
}

/// Gives each segment the offset that it cannot reach past.
pub(crate) fn with_limits(extents: &[Extent], next_offset: u64) -> impl Iterator<Item = (&Extent, u64)> {
    let limits = extents.iter().skip(1).map(|extent| extent.base_offset).chain([next_offset]);
    extents.iter().zip(limits)
}

/// Gives a partition's folder.
pub(crate) fn partition_dir(dir: &Path, held: &TopicState, number: u32) -> PathBuf {
    dir.join("topics").join(dir_name(&TopicPartition::new(held.topic.name.clone(), number)))
}

/// Finds a folder that does not say that it is of the topic it should be.
pub(crate) fn check_metadata(disk: &dyn Disk, dir: &Path, held: &TopicState) -> Option<Finding> {
    let (what, repair) = match topic_of_dir(disk, dir) {
        Some(topic) if topic == held.topic.id => return None,
        Some(_) => (
            "the folder says that it is of another topic",
            "none: put the right folder in its place, or remove it, whose records are then lost",
        ),
        None => (
            "the folder, or the file partition.metadata in it, is missing or damaged",
            "writes partition.metadata again; the segments are checked on their own",
        ),
    };
    Some(Finding { path: dir.to_owned(), position: None, what: what.to_owned(), repair: repair.to_owned() })
}

/// Checks the segments of a log at rest one by one.
pub(crate) fn each_checkup(
    disk: &dyn Disk,
    dir: &Path,
    snapshot: &Snapshot<State>,
    mut each: impl FnMut(&TopicState, u32, usize, u64, Checkup) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut checked = Checked::default();
    for (topic, number, extents) in &snapshot.extents {
        let Some(held) = snapshot.state.topic_by_id(topic) else { continue };
        let dir = partition_dir(dir, held, *number);
        let next_offset = held.partitions[*number as usize].next_offset;
        for (index, (extent, limit)) in with_limits(extents, next_offset).enumerate() {
            each(
                held,
                *number,
                index,
                limit,
                segments::check(disk, &replacement::paths(&dir, extent.base_offset), extent, limit, &mut checked)?,
            )?;
        }
    }
    Ok(())
}
