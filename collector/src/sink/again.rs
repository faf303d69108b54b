//! Files made again from the log: what was decided and is not there, or is to be compared.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use skidway_record::{Batch, Offset, TopicPartition};

use super::FETCH_BYTES;
use super::config::Layout;
use super::decisions::{Cut, Intent, Shard};
use super::file::Finished;
use super::lane::Rolling;
use super::parquet::Learning;
use super::path::cut as cut_to;
use super::publishing::Failure;
use super::writing::{Closing, Progress, TOPIC_BYTES_MAX, Writing};
use crate::blocking::blocking;
use crate::log::{Log, LogError};

/// Why what was decided of a topic can never be published.
pub(super) const TOPIC_GONE: &str = "the topic was deleted before its files were published";

/// Closes nothing by itself: what is made again was cut before.
const NEVER: Rolling =
    Rolling { bytes: u64::MAX, records: u64::MAX, age: Duration::MAX, idle: Duration::MAX, open_files_max: usize::MAX };

/// Says why files cannot be made again.
#[derive(Debug)]
pub(super) enum NotAgain {
    /// They may be later.
    Trouble(String),
    /// What is made is not what was decided.
    Differs(String),
    /// They never will be: the records are not there any more.
    Gone(String),
}

impl NotAgain {
    /// Says which cut of a group it is.
    pub(super) fn of(self, at: usize) -> Failure {
        match self {
            Self::Trouble(trouble) | Self::Differs(trouble) => Failure::Trouble(trouble),
            Self::Gone(reason) => Failure::Gone { at, reason },
        }
    }
}

/// Writes a cut's files again from the log, and checks that they are what was decided.
pub(super) async fn make_again(
    log: &Arc<dyn Log>,
    spool: &Path,
    shard: &Shard,
    cut: &Cut,
) -> Result<Vec<Finished>, NotAgain> {
    let layout = Layout::of(&cut.recipe).map_err(NotAgain::Trouble)?;
    let again = write_again(log, spool, shard, cut, (layout, None)).await?;
    cut.files.iter().map(|intent| find_again(intent, &again.files)).collect()
}

/// Writes the offsets of a cut into files in the spool.
pub(super) async fn write_again(
    log: &Arc<dyn Log>,
    spool: &Path,
    shard: &Shard,
    cut: &Cut,
    (layout, learning): (Layout, Option<Learning>),
) -> Result<Closing, NotAgain> {
    let of = TopicPartition::new(shard.topic.clone(), shard.partition);
    let spool = spool.join(folder_name(shard, cut.from));
    let folder = spool.clone();
    blocking(move || std::fs::create_dir_all(folder)).await.map_err(unwritable)?;
    let mut writing = Writing::new(of, (Arc::new(layout), NEVER), spool, cut.from);
    writing.set_clock(cut.clock_ms);
    if let Some(learning) = learning {
        writing = writing.learning(learning);
    }
    let mut writing = Box::new(writing);
    while writing.lane().next() < cut.to {
        let (batches, to) = (read_again(log, shard, writing.lane().next()).await?, cut.to);
        let (back, written) = blocking(move || {
            let written = writing.write(&batches, to, 0);
            (writing, written)
        })
        .await;
        writing = back;
        match written.map_err(unwritable)? {
            Progress::All | Progress::Cut(_) => {}
            Progress::Undecodable(_, reason) => return Err(NotAgain::Gone(reason)),
        }
    }
    blocking(move || writing.cut()).await.map_err(unwritable)
}

/// Names the folder of a cut that is written again. The topic's name alone may be nearly as long as a folder's; its id tells it apart.
fn folder_name(shard: &Shard, from: u64) -> String {
    let id: String = shard.topic_id.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("again-{}-{id}-{}-{from}", cut_to(shard.topic.as_str(), TOPIC_BYTES_MAX), shard.partition)
}

/// Reads of a partition what a cut was made of.
async fn read_again(log: &Arc<dyn Log>, shard: &Shard, at: u64) -> Result<Vec<Batch>, NotAgain> {
    if log.topic(&shard.topic).is_none_or(|topic| topic.id != shard.topic_id) {
        return Err(NotAgain::Gone(TOPIC_GONE.to_owned()));
    }
    let of = TopicPartition::new(shard.topic.clone(), shard.partition);
    match log.fetch(of, Offset(at), FETCH_BYTES).await {
        Ok(batches) if batches.is_empty() => Err(NotAgain::Gone(format!("the log ends at offset {at}"))),
        Ok(batches) => Ok(batches),
        Err(error @ (LogError::OutOfRange { .. } | LogError::Damaged(_) | LogError::NotFound(_))) => {
            Err(NotAgain::Gone(error.to_string()))
        }
        Err(error) => Err(NotAgain::Trouble(error.to_string())),
    }
}

/// Finds the file that was decided among those made again.
fn find_again(intent: &Intent, again: &[(Intent, Finished)]) -> Result<Finished, NotAgain> {
    let cannot = |why: &str| NotAgain::Differs(format!("{} cannot be made again: {why}", intent.path()));
    let found = again.iter().find(|(again, _)| again.folder == intent.folder);
    let (made, file) = found.ok_or_else(|| cannot("its records are not in the log"))?;
    let what = |it: &Intent| (it.first, it.last, it.records, it.digest.clone());
    if what(made) == what(intent) { Ok(file.clone()) } else { Err(cannot("the log holds other records")) }
}

fn unwritable(error: io::Error) -> NotAgain {
    NotAgain::Trouble(super::unwritable(&error))
}

#[cfg(test)]
mod tests {
    use skidway_record::TopicName;

    use super::*;

    #[test]
    fn the_folder_of_the_longest_topic_can_be_made_and_is_its_own() {
        let shard = |id| Shard { topic: TopicName::new(&"n".repeat(249)).unwrap(), topic_id: [id; 16], partition: 999 };
        let name = folder_name(&shard(255), u64::MAX);
        assert!(name.len() <= 255, "{} bytes", name.len());
        assert_ne!(name, folder_name(&shard(254), u64::MAX));
    }
}
