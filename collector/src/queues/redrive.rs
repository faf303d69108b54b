//! Dead letters on their way back. Each goes once: a commit holds the records and the note that they went, so that a kill in the middle changes nothing.

use std::sync::Arc;

use bytes::Bytes;
use skidway_record::murmur2::partition_of;
use skidway_record::{BatchBuilder, Offset, TopicName, TopicPartition};

use std::collections::BTreeMap;

use super::QueueError;
use super::ask::Redrive;
use super::runs::Runs;
use super::settings::Settings;
use super::{letters, records, stored};
use crate::log::{Commit, Log, LogError, StateTopic, Target, Topic};

/// Brings back so many in one commit.
const AT_ONCE: u64 = 500;

/// Closes such a commit at so many bytes.
const BYTES_AT_ONCE: usize = 4 << 20;

/// Bytes asked of the log at once.
const FETCH_BYTES: usize = 1 << 20;

/// Bounds the runs of offsets that are remembered.
const RUNS_MAX: usize = 10_000;

/// Holds what a redrive needs.
pub struct Job {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The topic of queues.
    pub state: Arc<StateTopic>,
    /// The queue.
    pub queue: TopicName,
    /// Its settings.
    pub settings: Settings,
    /// Its dead-letter topic.
    pub dead: Topic,
    /// What of it was redriven before, and then what is.
    pub runs: Runs,
}

/// Is one commit being filled.
#[derive(Default)]
struct Load {
    builders: BTreeMap<u32, BatchBuilder>,
    taken: Vec<Offset>,
    bytes: usize,
}

impl Job {
    /// Brings dead letters back; tells how many.
    ///
    /// # Errors
    /// [`QueueError`]; what was brought back before it stays so, and is noted.
    pub async fn run(&mut self, redrive: &Redrive) -> Result<u64, QueueError> {
        let of = TopicPartition::new(self.dead.name.clone(), 0);
        let offsets = self.log.offsets(&of)?;
        self.runs.forget_below(offsets.log_start);
        let (mut at, mut done) = (offsets.log_start, 0);
        while at < offsets.high_watermark && done < redrive.max {
            if self.runs.len() >= RUNS_MAX {
                return Err(QueueError::TooManyGaps { max: RUNS_MAX });
            }
            if let Some(run) = self.runs.run_of(at) {
                at = run.end;
                continue;
            }
            let (load, next) = self.load(&of, at, redrive, (redrive.max - done).min(AT_ONCE)).await?;
            at = next;
            done += load.taken.len() as u64;
            if !load.taken.is_empty() {
                self.commit(load).await?;
            }
        }
        Ok(done)
    }

    /// Reads on until a commit is full, or what was read at once is through.
    async fn load(
        &self,
        of: &TopicPartition,
        from: Offset,
        redrive: &Redrive,
        max: u64,
    ) -> Result<(Load, Offset), QueueError> {
        let partitions = self.log.topic(&self.settings.topic).map(|topic| topic.config.partitions);
        let partitions = partitions.ok_or_else(|| QueueError::TopicDeleted {
            queue: self.queue.clone(),
            topic: self.settings.topic.clone(),
        })?;
        let (mut load, mut next) = (Load::default(), from);
        for batch in self.log.fetch(of.clone(), from, FETCH_BYTES).await? {
            let decoded = records::decode(of, batch).await?;
            for record in decoded.records() {
                let Ok(record) = record else { break };
                let offset = decoded.offset_of(&record);
                if load.taken.len() as u64 == max || load.bytes >= BYTES_AT_ONCE {
                    return Ok((load, next));
                }
                if offset < from {
                    continue;
                }
                next = Offset(offset.0 + 1);
                let is_asked = redrive.offsets.as_ref().is_none_or(|offsets| offsets.binary_search(&offset).is_ok());
                if is_asked && letters::is_of(&record, &self.queue) && self.runs.run_of(offset).is_none() {
                    let before = letters::partition_of(&record).filter(|partition| *partition < partitions);
                    let by_key = || record.key.map_or(0, |key| partition_of(key, partitions));
                    let builder = load.builders.entry(before.unwrap_or_else(by_key)).or_default();
                    letters::push_redriven(builder, &record);
                    load.taken.push(offset);
                    load.bytes += record.bytes();
                }
            }
            next = next.max(records::end_of(&decoded));
        }
        // An empty tail after compaction.
        let end = self.log.offsets(of)?.high_watermark;
        Ok((load, if next == from { end } else { next }))
    }

    async fn commit(&mut self, load: Load) -> Result<(), LogError> {
        let mut runs = self.runs.clone();
        load.taken.iter().for_each(|offset| runs.insert(*offset));
        let mut compressor = letters::compressor();
        let to = |partition| Target::Partition(TopicPartition::new(self.settings.topic.clone(), partition));
        let mut batches = Vec::with_capacity(load.builders.len());
        for (partition, mut builder) in load.builders {
            batches.extend(builder.finish(&mut compressor).map(|batch| (to(partition), batch)));
        }
        let key = stored::redriven_key(&self.queue, self.settings.id, self.dead.id);
        let changes = vec![(key, Some(Bytes::from(runs.encode())))];
        self.state.write(changes, Commit { batches, ..Commit::default() }).await?;
        self.runs = runs;
        Ok(())
    }
}
