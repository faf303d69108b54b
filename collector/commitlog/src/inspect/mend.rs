//! Writes damaged segments of a log at rest anew, without what is damaged, and makes wrong indexes again.

use std::path::Path;
use std::sync::Arc;

use skidway_disk::{Disk, Open};
use skidway_record::{Offset, TopicPartition};

use crate::checkpoint::{self, Dirty, Plan, SYNC_THREADS_ALONE, Snapshot};
use crate::commit::LogIdentity;
use crate::config::Config;
use crate::effects::TopicId;
use crate::error::Error;
use crate::extent::Extent;
use crate::files::Files;
use crate::inspect::Loss;
use crate::inspect::repair::Aside;
use crate::inspect::segments::{self, Checkup};
use crate::inspect::verify::{each_checkup, partition_dir};
use crate::segment::{LOG_EXTENSION, Segment, log_name};
use crate::state::State;
use crate::survey::{Damaged, Piece};

/// Ends the name of a segment's log file while it is written anew.
const MENDED: &str = "log.mended";

/// Segment files kept open.
pub(crate) const FILES_MAX: usize = 4;

/// Names a segment that needs something.
struct Patient {
    topic: TopicId,
    number: u32,
    index: usize,
    limit: u64,
    checkup: Checkup,
}

/// Mends every segment that needs it, and saves a checkpoint of what is then. Says which log it is.
pub(crate) fn mend(
    config: &Config,
    disk: &Arc<dyn Disk>,
    aside: &mut Aside,
    done: &mut Vec<String>,
) -> Result<LogIdentity, Error> {
    let dir = &config.data_dir;
    let missing = || Error::corrupt(&dir.join("checkpoint"), 0, "it is gone");
    let mut snapshot = checkpoint::load(disk.as_ref(), dir)?.ok_or_else(missing)?;
    let mut patients = Vec::new();
    each_checkup(disk.as_ref(), dir, &snapshot, |held, number, index, limit, checkup| {
        if checkup.needs_mending() || !checkup.indexes.is_empty() {
            patients.push(Patient { topic: held.topic.id, number, index, limit, checkup });
        }
        Ok(())
    })?;
    if patients.is_empty() {
        return Ok(snapshot.state.identity);
    }
    let mut emptied = Vec::new();
    // From the last on, so that places in the list stay what they are when one goes.
    for patient in patients.iter().rev() {
        emptied.extend(treat(disk, dir, &mut snapshot, patient, aside, done)?);
    }
    snapshot.extents.retain(|(_, _, extents)| !extents.is_empty());
    let Snapshot { state, journal, extents, .. } = &snapshot;
    let plan = Plan {
        dir: dir.clone(),
        snapshot: Snapshot { state, journal: *journal, extents: extents.clone(), swaps: Vec::new() }.encode(),
        journal: *journal,
        dirty: Dirty::default(),
        sync_threads: SYNC_THREADS_ALONE,
        replacements: Vec::new(),
        garbage: emptied,
    };
    plan.run(&Files::new(disk.clone(), FILES_MAX))?;
    Ok(snapshot.state.identity)
}

/// Mends one segment, and brings the snapshot to what it is then. Gives the files that go if nothing is left of it.
fn treat(
    disk: &Arc<dyn Disk>,
    data_dir: &Path,
    snapshot: &mut Snapshot<State>,
    patient: &Patient,
    aside: &mut Aside,
    done: &mut Vec<String>,
) -> Result<Vec<std::path::PathBuf>, Error> {
    let Patient { topic, number, index, limit, checkup } = patient;
    let held = snapshot.state.topic_by_id(topic).expect("its segments were checked");
    let (name, dir) = (TopicPartition::new(held.topic.name.clone(), *number), partition_dir(data_dir, held, *number));
    let grows = held.partitions[*number as usize].segment;
    let extents = snapshot.extents.iter_mut().find(|(id, partition, _)| (id, partition) == (topic, number));
    let (_, _, extents) = extents.expect("its segments were checked");
    let extent = &mut extents[*index];
    let log = dir.join(log_name(extent.base_offset));
    if checkup.needs_mending() {
        aside.keep(&log)?;
        for damaged in checkup.damaged.iter().filter(|damaged| damaged.next > damaged.from) {
            aside.note(loss_of(&name, &log, damaged))?;
        }
        extent.bytes = rewrite(disk.as_ref(), &dir, &log, extent, *limit)?;
        done.push(format!("wrote {} anew: {} damaged places are taken out", log.display(), checkup.damaged.len()));
    }
    let is_growing = grows.is_some_and(|grows| grows.base_offset == extent.base_offset);
    if extent.bytes == 0 && !is_growing {
        let gone = extents.remove(*index);
        return Ok([LOG_EXTENSION, "index", "timeindex"]
            .map(|extension| dir.join(log_name(gone.base_offset)).with_extension(extension))
            .to_vec());
    }
    *extent = with_new_indexes(disk, &dir, extent.clone())?;
    done.push(format!("made the indexes of {} again", log.display()));
    if is_growing {
        let bytes = extent.bytes;
        snapshot.state.set_segment_bytes(topic, *number, bytes);
    }
    Ok(Vec::new())
}

fn loss_of(partition: &TopicPartition, log: &Path, damaged: &Damaged) -> Loss {
    Loss {
        partition: partition.clone(),
        from: Offset(damaged.from),
        next: Offset(damaged.next),
        file: log.to_owned(),
        position: damaged.position,
        bytes: damaged.end - damaged.position,
        reason: damaged.reason.clone(),
    }
}

/// Writes a segment's sound batches to a file that then takes the place of the damaged one. Gives its bytes.
fn rewrite(disk: &dyn Disk, dir: &Path, log: &Path, extent: &Extent, limit: u64) -> Result<u64, Error> {
    let file = disk.open(log, Open::Existing).map_err(Error::io("open", log))?;
    let end = file.len().map_err(Error::io("measure", log))?.min(extent.bytes);
    let new = log.with_extension(MENDED);
    let mended = disk.open(&new, Open::Empty).map_err(Error::io("create", &new))?;
    let mut survey = segments::survey(file, extent.base_offset, end, limit);
    let mut bytes = 0;
    while let Some(piece) = survey.next_piece() {
        let batch = match piece {
            Piece::Sound { batch, .. } => Some(batch).filter(|batch| batch.verify().is_ok()),
            Piece::Damaged(damaged) => survey.restored(&damaged),
        };
        if let Some(batch) = batch {
            mended.write_at(batch.bytes(), bytes).map_err(Error::io("write", &new))?;
            bytes += batch.bytes().len() as u64;
        }
    }
    mended.sync().map_err(Error::io("sync", &new))?;
    disk.rename(&new, log).map_err(Error::io("rename", &new))?;
    disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
    Ok(bytes)
}

/// Makes both indexes of a log file that is whole, durably; gives the extent with them.
pub(crate) fn with_new_indexes(disk: &Arc<dyn Disk>, dir: &Path, extent: Extent) -> Result<Extent, Error> {
    let log = dir.join(log_name(extent.base_offset));
    for extension in ["index", "timeindex"] {
        let path = log.with_extension(extension);
        disk.remove(&path).map_err(Error::io("remove", &path))?;
    }
    // Where entries are missing, restoring a segment makes all of them again.
    let (segment, _) = Segment::restore(
        &Files::new(disk.clone(), FILES_MAX),
        dir,
        Extent { offset_entries: 1, time_entries: 1, ..extent },
    )?;
    for path in segment.paths() {
        let file = disk.open(&path, Open::Existing).map_err(Error::io("open", &path))?;
        file.sync().map_err(Error::io("sync", &path))?;
    }
    disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
    Ok(segment.extent())
}
