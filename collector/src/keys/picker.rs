//! Records at given offsets of a partition, batch after batch; what lies between them is not read where it need not be.

use std::collections::VecDeque;
use std::sync::Arc;

use skidway_record::{Batch, Decoded, Offset, Record};

use crate::keys::KeysError;
use crate::keys::fetching::{Fetching, Found, decoded};

/// Reads records of one partition.
pub struct Picker {
    fetching: Fetching,
    fetch_bytes: usize,
    ahead: VecDeque<Batch>,
}

/// Is a batch with some of its records picked.
#[derive(Clone)]
pub struct Run {
    batch: Arc<Decoded>,
    /// In order.
    offsets: Vec<u64>,
}

impl Picker {
    /// Asks the log for so many bytes at once: few where the records lie far apart.
    pub fn new(fetching: Fetching, fetch_bytes: usize) -> Self {
        Self { fetching, fetch_bytes, ahead: VecDeque::new() }
    }

    /// Takes those of `offsets`, from index `at` on, that come next and lie in one batch, and gives the batch with them; `None` when there are
    /// no more. What is deleted or cannot be read is passed over.
    ///
    /// # Errors
    /// [`KeysError::UnknownTopic`], [`KeysError::Log`].
    pub async fn next(&mut self, offsets: &[u64], at: &mut usize) -> Result<Option<Run>, KeysError> {
        while let Some(&first) = offsets.get(*at) {
            while self.ahead.front().is_some_and(|batch| batch.next_offset().0 <= first) {
                self.ahead.pop_front();
            }
            let Some(batch) = self.ahead.pop_front() else {
                match self.fetching.at(Offset(first), self.fetch_bytes).await? {
                    Found::Batches(batches) => self.ahead = batches.into(),
                    Found::Passed(next) => *at += before(&offsets[*at..], next.0.max(first + 1)),
                    Found::End => *at = offsets.len(),
                }
                continue;
            };
            *at += before(&offsets[*at..], batch.base_offset().0);
            let its = offsets[*at..][..before(&offsets[*at..], batch.next_offset().0)].to_vec();
            *at += its.len();
            if its.is_empty() {
                continue;
            }
            let decoded = decoded(vec![batch], |mut batches| batches.pop()).await;
            match decoded {
                Some((_, Ok(batch))) => return Ok(Some(Run { batch: Arc::new(batch), offsets: its })),
                Some((batch, Err(reason))) => self.fetching.undecodable(&batch, &reason)?,
                None => {}
            }
        }
        Ok(None)
    }
}

/// Counts the offsets below one.
fn before(offsets: &[u64], end: u64) -> usize {
    offsets.partition_point(|offset| *offset < end)
}

impl Run {
    /// Gives the records that were picked and are there.
    pub fn records(&self) -> impl Iterator<Item = (Offset, Record<'_>)> {
        let mut wanted = self.offsets.iter().peekable();
        self.batch.records().map_while(Result::ok).filter_map(move |record| {
            let offset = self.batch.offset_of(&record);
            while wanted.next_if(|wanted| **wanted < offset.0).is_some() {}
            wanted.next_if(|wanted| **wanted == offset.0).map(|_| (offset, record))
        })
    }
}
