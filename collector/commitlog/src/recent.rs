//! The batches appended last, in memory, so that readers at the head read no files. Bounded over all partitions together.

use std::collections::{HashMap, VecDeque};
use std::sync::{PoisonError, RwLock};

use skidway_record::{Batch, Offset};

/// What a kept batch costs beside its bytes.
const BATCH_OVERHEAD_BYTES: usize = 256;

/// Keeps the newest batches, the oldest of all partitions giving way first.
#[derive(Debug)]
pub(crate) struct Recent {
    bytes_max: usize,
    kept: RwLock<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: usize,
    /// Partition of each batch, oldest first.
    order: VecDeque<u64>,
    /// Consecutive batches up to the newest.
    by_partition: HashMap<u64, VecDeque<Batch>>,
}

impl Recent {
    /// Makes an empty memory of `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, kept: RwLock::default() }
    }

    /// Keeps batches just appended to a partition, in order.
    pub(crate) fn push(&self, partition: u64, batches: impl Iterator<Item = Batch>) {
        if self.bytes_max == 0 {
            return;
        }
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        for batch in batches {
            kept.bytes += cost(&batch);
            kept.order.push_back(partition);
            kept.by_partition.entry(partition).or_default().push_back(batch);
        }
        while kept.bytes > self.bytes_max {
            kept.evict();
        }
    }

    /// Lets go of a partition's batches up to an offset: what is read there from files may be less from now on.
    pub(crate) fn forget(&self, partition: u64, to: Offset) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        let Some(batches) = kept.by_partition.get_mut(&partition) else { return };
        let mut count = batches.partition_point(|batch| batch.next_offset() <= to);
        let bytes: usize = batches.drain(..count).map(|batch| cost(&batch)).sum();
        if batches.is_empty() {
            kept.by_partition.remove(&partition);
        }
        kept.bytes -= bytes;
        // The oldest entries of the partition stand for them.
        kept.order.retain(|of| {
            let goes = *of == partition && count > 0;
            count -= usize::from(goes);
            !goes
        });
    }

    /// Gives batches from the one that contains `at`, all below `high_watermark`: about `bytes_max`, at least one. `None` if that one
    /// is not kept.
    pub(crate) fn read(
        &self,
        partition: u64,
        at: Offset,
        high_watermark: Offset,
        bytes_max: usize,
    ) -> Option<Vec<Batch>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let batches = kept.by_partition.get(&partition)?;
        let first = batches.partition_point(|batch| batch.next_offset() <= at);
        if batches.get(first)?.base_offset() > at {
            return None;
        }
        let mut bytes = 0;
        let mut found = Vec::new();
        for batch in batches.range(first..).take_while(|batch| batch.next_offset() <= high_watermark) {
            bytes += batch.bytes().len();
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(batch.clone());
        }
        (!found.is_empty()).then_some(found)
    }
}

impl Kept {
    fn evict(&mut self) {
        let partition = self.order.pop_front().expect("bytes are counted for kept batches only");
        let batches = self.by_partition.get_mut(&partition).expect("a batch in the order is kept");
        let batch = batches.pop_front().expect("a batch in the order is kept");
        if batches.is_empty() {
            self.by_partition.remove(&partition);
        }
        self.bytes -= cost(&batch);
    }
}

fn cost(batch: &Batch) -> usize {
    batch.bytes().len() + BATCH_OVERHEAD_BYTES
}
