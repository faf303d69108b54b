//! Brings a damaged log to a state that opens and verifies clean.
//!
//! The order matters: (1) what is missing of files is replaced by zeros and folders say whose they are, so that recovery finds every place;
//! (2) recovery brings the journal, or what is sound of it, into the segments; (3) damaged segments of the log now at rest are written
//! anew. Whatever is changed is kept aside before. A crash anywhere leaves a log that can be repaired again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skidway_disk::{Disk, Open, replace_on};
use skidway_record::{Offset, TopicPartition};

use crate::checkpoint::{self, Snapshot};
use crate::commit::LogIdentity;
use crate::config::Config;
use crate::direct::Direct;
use crate::error::Error;
use crate::extent::Extent;
use crate::inspect::journals::{self, Lost};
use crate::inspect::mend;
use crate::inspect::rebuild;
use crate::inspect::verify::{check_metadata, partition_dir};
use crate::inspect::{Loss, take_lock};
use crate::journal;
use crate::partition::{METADATA_NAME, metadata_of, topic_of_dir};
use crate::recovery::{self, IfDamaged};
use crate::replay::Tail;
use crate::segment::log_name;
use crate::state::{State, TopicState};

const ASIDE: &str = "damaged";
const LOSSES: &str = "losses";
const LOSSES_TOLD: &str = "losses.told";
const COPY_BYTES: usize = 1 << 20;
const BLOCK_BYTES: usize = 4 << 10;

/// Tells what a repair did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// Which log it is now.
    pub identity: LogIdentity,
    /// What was done, a sentence each.
    pub done: Vec<String>,
    /// Records that are lost, and nobody was told of yet: those of an earlier repair that was interrupted too. See [`told`].
    pub losses: Vec<Loss>,
    /// Folder of what was kept aside; `None` if nothing was.
    pub aside: Option<PathBuf>,
}

/// Repairs a log, which must not be open. Without a readable checkpoint it is rebuilt, which needs `accept_duplicates`: sources' positions
/// are lost, and agents send their files again.
///
/// # Errors
/// [`Error::InUse`]; [`Error::Corrupt`] with what has to be decided by hand; [`Error::Io`] (halt).
pub fn repair(config: &Config, disk: &Arc<dyn Disk>, accept_duplicates: bool) -> Result<Repaired, Error> {
    let config = config.clone().clamped();
    let _lock = take_lock(disk.as_ref(), &config.data_dir)?;
    let mut aside = Aside::new(disk.clone(), &config.data_dir)?;
    let mut done = Vec::new();
    match checkpoint::load(disk.as_ref(), &config.data_dir) {
        Ok(Some(snapshot)) => settle(&config, disk, &snapshot, &mut aside, &mut done)?,
        Ok(None) | Err(Error::Corrupt { .. } | Error::Io { .. }) if accept_duplicates => {
            rebuild::rebuild(&config, disk, &mut aside, &mut done)?;
        }
        Ok(None) => return Err(undecided(&config.data_dir, "it is missing")),
        Err(error) => return Err(undecided(&config.data_dir, &error.to_string())),
    }
    let identity = mend::mend(&config, disk, &mut aside, &mut done)?;
    Ok(Repaired { identity, done, losses: untold(disk.as_ref(), &config.data_dir)?, aside: aside.used() })
}

/// Notes that the losses of repairs so far were told to whom they concern.
///
/// # Errors
/// [`Error::Io`] (halt).
pub fn told(config: &Config, disk: &Arc<dyn Disk>) -> Result<(), Error> {
    for dir in aside_dirs(disk.as_ref(), &config.data_dir)? {
        let path = dir.join(LOSSES);
        match disk.rename(&path, &dir.join(LOSSES_TOLD)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("rename", &path)(error)),
            _ => disk.sync_dir(&dir).map_err(Error::io("sync", &dir))?,
        }
    }
    Ok(())
}

fn undecided(dir: &Path, reason: &str) -> Error {
    let reason = format!(
        "{reason}; the log can be rebuilt from its partitions' folders, but sources' positions are lost and agents would send their files \
         again: say --accept-duplicates"
    );
    Error::corrupt(&dir.join("checkpoint"), 0, reason)
}

/// Brings the journal into the segments, as a start does; what is damaged of it is cut off.
fn settle(
    config: &Config,
    disk: &Arc<dyn Disk>,
    snapshot: &Snapshot<State>,
    aside: &mut Aside,
    done: &mut Vec<String>,
) -> Result<(), Error> {
    let dir = &config.data_dir;
    prepare(disk, dir, snapshot, aside, done)?;
    restore_headers(disk.as_ref(), dir, snapshot.journal, aside, done)?;
    let lsn = snapshot.state.lsn;
    let sound = Tail::open(disk.as_ref(), dir, snapshot.journal)
        .and_then(|tail| Direct::new(disk, dir.join("topics"), &snapshot.state).sound_end(&tail, lsn));
    if sound.is_ok() {
        recovery::recover(config, disk)?;
        return Ok(());
    }
    for number in journal::numbers(disk.as_ref(), dir)?.into_iter().filter(|&number| number >= snapshot.journal) {
        aside.keep(&journal::path_of(dir, number))?;
    }
    let tail = Tail::open_cut(disk.as_ref(), dir, snapshot.journal);
    let end = Direct::new(disk, dir.join("topics"), &snapshot.state).sound_end(&tail, lsn)?;
    let mut kept = snapshot.state.clone();
    tail.replay(lsn, end, |frame| {
        kept.replay(&frame.effects).map_err(|reason| tail.corrupt(frame.header.lsn, reason))?;
        Ok(true)
    })?;
    // Noted before it is done: whoever is interrupted after the cut finds nothing wrong any more.
    let lost = journals::lost_after(disk.as_ref(), dir, snapshot.journal, end)?;
    note_cut(&kept, &lost, aside)?;
    let recovered = recovery::recover_with(config, disk, IfDamaged::Cut)?;
    done.push(format!(
        "cut the journal after commit {end}; what was committed later, up to commit {} at least, is lost: sources stand where they stood \
         then, and agents send again what follows; the log has epoch {}",
        lost.last_lsn, recovered.state.identity.epoch
    ));
    Ok(())
}

/// Notes how far partitions reached beyond what is kept.
fn note_cut(kept: &State, lost: &Lost, aside: &mut Aside) -> Result<(), Error> {
    for ((topic, number), (next, file)) in &lost.ends {
        let Some(held) = kept.topic_by_id(topic) else { continue };
        let Some(kept) = held.partitions.get(*number as usize).filter(|kept| kept.next_offset < *next) else {
            continue;
        };
        aside.note(Loss {
            partition: TopicPartition::new(held.topic.name.clone(), *number),
            from: Offset(kept.next_offset),
            next: Offset(*next),
            file: file.clone(),
            position: 0,
            bytes: 0,
            reason: "the journal is damaged; the offsets are given again".to_owned(),
        })?;
    }
    Ok(())
}

/// Writes the headers of journal files again that are damaged, where the first frame tells which file it is.
fn restore_headers(
    disk: &dyn Disk,
    dir: &Path,
    first: u64,
    aside: &mut Aside,
    done: &mut Vec<String>,
) -> Result<(), Error> {
    for number in journal::numbers(disk, dir)?.into_iter().filter(|&number| number >= first) {
        let path = journal::path_of(dir, number);
        let Some(header) = journals::restored_header(disk, &path, number)? else { continue };
        aside.keep(&path)?;
        let file = disk.open(&path, Open::Existing).map_err(Error::io("open", &path))?;
        file.write_at(&header, 0).and_then(|()| file.sync()).map_err(Error::io("write", &path))?;
        done.push(format!("wrote the header of {} again", path.display()));
    }
    Ok(())
}

/// Lets recovery find every file and folder that the checkpoint names, as long as it says.
fn prepare(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    snapshot: &Snapshot<State>,
    aside: &mut Aside,
    done: &mut Vec<String>,
) -> Result<(), Error> {
    let described = || {
        let extents = snapshot.extents.iter();
        extents.filter_map(|(topic, number, extents)| Some((snapshot.state.topic_by_id(topic)?, *number, extents)))
    };
    for (held, number, _) in described() {
        claim(disk.as_ref(), &partition_dir(dir, held, number), held, done)?;
    }
    recovery::finish_swaps(disk.as_ref(), &dir.join("topics"), &snapshot.state, &snapshot.swaps)?;
    for (held, number, extents) in described() {
        let dir = partition_dir(dir, held, number);
        for extent in extents {
            lengthen(disk.as_ref(), &dir, extent, aside, done)?;
        }
    }
    Ok(())
}

/// Lets a folder say whose it is, unless it says that it is another's.
fn claim(disk: &dyn Disk, dir: &Path, held: &TopicState, done: &mut Vec<String>) -> Result<(), Error> {
    if check_metadata(disk, dir, held).is_none() {
        return Ok(());
    }
    if topic_of_dir(disk, dir).is_some() {
        return Err(Error::corrupt(
            dir,
            0,
            "it says that it is another topic's; put the right folder here, or remove it",
        ));
    }
    disk.create_dir(dir).map_err(Error::io("create", dir))?;
    let path = dir.join(METADATA_NAME);
    replace_on(disk, &path, metadata_of(&held.topic.id).as_bytes()).map_err(Error::io("replace", &path))?;
    if let Some(above) = dir.parent() {
        disk.sync_dir(above).map_err(Error::io("sync", above))?;
    }
    done.push(format!("wrote {}", path.display()));
    Ok(())
}

/// Fills a segment's log file up with zeros, which are damage of a known place.
fn lengthen(
    disk: &dyn Disk,
    dir: &Path,
    extent: &Extent,
    aside: &mut Aside,
    done: &mut Vec<String>,
) -> Result<(), Error> {
    let path = dir.join(log_name(extent.base_offset));
    let len = match disk.open(&path, Open::Existing) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        opened => Some(opened.and_then(|file| file.len()).map_err(Error::io("open", &path))?),
    };
    if len.is_some_and(|len| len >= extent.bytes) {
        return Ok(());
    }
    if len.is_some() {
        aside.keep(&path)?;
    }
    let file = disk.open(&path, Open::OrCreate).map_err(Error::io("create", &path))?;
    file.set_len(extent.bytes).and_then(|()| file.sync()).map_err(Error::io("lengthen", &path))?;
    disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
    done.push(format!("{} had {} of {} bytes", path.display(), len.unwrap_or(0), extent.bytes));
    Ok(())
}

/// Keeps what a repair changes, in a folder of its own, with a list of what is lost.
#[derive(Debug)]
pub(crate) struct Aside {
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    dir: PathBuf,
    kept: Vec<PathBuf>,
    losses: Vec<u8>,
}

impl Aside {
    fn new(disk: Arc<dyn Disk>, data_dir: &Path) -> Result<Self, Error> {
        let number = aside_dirs(disk.as_ref(), data_dir)?.len() + 1;
        let dir = data_dir.join(ASIDE).join(format!("{number:04}"));
        Ok(Self { disk, data_dir: data_dir.to_owned(), dir, kept: Vec::new(), losses: Vec::new() })
    }

    fn used(&self) -> Option<PathBuf> {
        (!self.kept.is_empty() || !self.losses.is_empty()).then(|| self.dir.clone())
    }

    /// Copies a file of the data folder, durably. What cannot be read of it is zeros in the copy.
    pub(crate) fn keep(&mut self, path: &Path) -> Result<(), Error> {
        if self.kept.iter().any(|kept| kept == path) {
            return Ok(());
        }
        let within = path.strip_prefix(&self.data_dir).unwrap_or(path);
        let to = self.dir.join(within);
        self.make_dir(to.parent().unwrap_or(&self.dir))?;
        let disk = self.disk.as_ref();
        let from = disk.open(path, Open::Existing).map_err(Error::io("open", path))?;
        let copy = disk.open(&to, Open::Empty).map_err(Error::io("create", &to))?;
        let len = from.len().map_err(Error::io("measure", path))?;
        let (mut position, mut chunk) = (0, vec![0; COPY_BYTES]);
        while position < len {
            let want = (len - position).min(COPY_BYTES as u64) as usize;
            let have = match from.read_at(&mut chunk[..want], position) {
                Ok(have) => have,
                // Where it fails, block by block.
                Err(_) => {
                    let block = want.min(BLOCK_BYTES);
                    from.read_at(&mut chunk[..block], position).unwrap_or_else(|_| {
                        chunk[..block].fill(0);
                        block
                    })
                }
            };
            copy.write_at(&chunk[..have], position).map_err(Error::io("write", &to))?;
            position += have.max(1) as u64;
        }
        copy.sync().map_err(Error::io("sync", &to))?;
        let dir = to.parent().unwrap_or(&self.dir);
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        self.kept.push(path.to_owned());
        Ok(())
    }

    /// Notes a loss, durably, until it is told.
    pub(crate) fn note(&mut self, loss: Loss) -> Result<(), Error> {
        tracing::error!(partition = %loss.partition, from = %loss.from, next = %loss.next, "records are lost: {}", loss.reason);
        self.make_dir(&self.dir.clone())?;
        serde_json::to_writer(&mut self.losses, &loss).expect("a loss is plain JSON");
        self.losses.push(b'\n');
        let path = self.dir.join(LOSSES);
        replace_on(self.disk.as_ref(), &path, &self.losses).map_err(Error::io("replace", &path))
    }

    fn make_dir(&self, dir: &Path) -> Result<(), Error> {
        self.disk.create_dir(dir).map_err(Error::io("create", dir))?;
        let above = dir.ancestors().skip(1).take_while(|above| above.starts_with(&self.data_dir));
        above.into_iter().try_for_each(|above| self.disk.sync_dir(above).map_err(Error::io("sync", above)))
    }
}

fn aside_dirs(disk: &dyn Disk, data_dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let dir = data_dir.join(ASIDE);
    let entries = match disk.list(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(Error::io("list", &dir))?,
    };
    Ok(entries.into_iter().filter(|entry| entry.is_dir).map(|entry| dir.join(entry.name)).collect())
}

fn untold(disk: &dyn Disk, data_dir: &Path) -> Result<Vec<Loss>, Error> {
    let mut losses: Vec<Loss> = Vec::new();
    for dir in aside_dirs(disk, data_dir)? {
        let path = dir.join(LOSSES);
        let file = match disk.open(&path, Open::Existing) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(Error::io("open", &path))?,
        };
        let mut raw = vec![0; file.len().map_err(Error::io("measure", &path))? as usize];
        let have = file.read_at(&mut raw, 0).map_err(Error::io("read", &path))?;
        let lines = raw[..have].split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        for line in lines {
            losses.push(serde_json::from_slice(line).map_err(|error| Error::corrupt(&path, 0, error.to_string()))?);
        }
    }
    losses.sort_by(|one, other| (&one.partition, one.from).cmp(&(&other.partition, other.from)));
    // One that was interrupted and done again may have noted the same twice.
    losses.dedup_by(|one, other| one.partition == other.partition && (one.from, one.next) == (other.from, other.next));
    Ok(losses)
}
