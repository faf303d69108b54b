//! The records of a topic, in pages small enough for any time-out; a partition's lines, last to first.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use skidway_daemon::backoff::Backoff;
use skidway_record::{Batch, Record};

use super::lines::without_hole;
use super::pieces::{PathId, Piece, split};
use super::text::Hasher;
use crate::batch::{HEADER_CONTINUED, HEADER_PARTIAL};
use crate::error::{RequestError, VerifyError};
use crate::ship::http::Doors;

/// Asked for at once, in bytes.
const PAGE_BYTES: u64 = 4 << 20;
/// Offsets read forwards at once, to be given backwards.
const WINDOW: u64 = 1 << 15;

/// A collector that cannot answer now is asked again so often.
const TRIES: u32 = 4;

/// Asks, again if it is worth it.
pub(super) async fn patiently<T>(ask: impl AsyncFn() -> Result<T, RequestError>) -> Result<T, RequestError> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
    for _ in 1..TRIES {
        match ask().await {
            Err(error) if error.status().is_none_or(|status| status == 429 || status >= 500) => {
                tokio::time::sleep(backoff.next(rand::random())).await;
            }
            done => return done,
        }
    }
    ask().await
}

/// Says which offsets a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Extent {
    pub(super) log_start: u64,
    pub(super) high_watermark: u64,
}

/// Names the partitions of a topic as they were at one time; none if there is no such topic.
pub(super) async fn extents(doors: &Doors, topic: &str) -> Result<Vec<Extent>, VerifyError> {
    let described = match patiently(async || doors.topic(topic).await).await {
        Ok(described) => described,
        Err(RequestError::Refused { status: 404, .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let extent = |partition: skidway_wire::http::PartitionDescription| Extent {
        log_start: partition.log_start_offset,
        high_watermark: partition.high_watermark,
    };
    Ok(described.partitions.into_iter().map(extent).collect())
}

/// Gives each record of a range of offsets, in order. True unless the range's first records were deleted meanwhile; then it gives none.
pub(super) async fn read(
    doors: &Doors,
    (topic, partition): (&str, u32),
    offsets: Range<u64>,
    mut record: impl FnMut(u64, &Record<'_>),
) -> Result<bool, VerifyError> {
    let mut next = offsets.start;
    while next < offsets.end {
        let page = match patiently(async || doors.batches(topic, partition, next, PAGE_BYTES).await).await {
            Ok(page) => page,
            Err(RequestError::Refused { status: 410, .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let unreadable = |source| VerifyError::Batch { topic: topic.to_owned(), partition, source };
        let batches = Batch::take_all(page).map_err(unreadable)?;
        if batches.is_empty() {
            break;
        }
        for batch in batches {
            next = batch.next_offset().0;
            let decoded = batch.decode().map_err(unreadable)?;
            for found in decoded.records() {
                let found = found.map_err(unreadable)?;
                let offset = decoded.offset_of(&found).0;
                if offsets.contains(&offset) {
                    record(offset, &found);
                }
            }
        }
    }
    Ok(true)
}

/// Gives the first header of a name.
pub(super) fn header<'r>(record: &Record<'r>, name: &[u8]) -> Option<&'r [u8]> {
    record.headers().find(|header| header.key == name).and_then(|header| header.value)
}

/// Numbers paths.
#[derive(Debug, Default)]
pub(super) struct Paths {
    ids: HashMap<Vec<u8>, PathId>,
    known: Vec<Vec<u8>>,
}

impl Paths {
    fn id(&mut self, path: &[u8]) -> PathId {
        if let Some(&id) = self.ids.get(path) {
            return id;
        }
        let id = self.known.len() as PathId;
        self.ids.insert(path.to_owned(), id);
        self.known.push(path.to_owned());
        id
    }

    /// Gives the path of a number.
    pub(super) fn path(&self, id: PathId) -> &[u8] {
        &self.known[id as usize]
    }
}

/// Says whose lines are read, and how.
#[derive(Debug)]
pub(super) struct Wanted<'w> {
    pub(super) topic: &'w str,
    /// Records of other machines are passed over.
    pub(super) host: &'w str,
    pub(super) keep_cr: bool,
}

/// Gives a partition's lines, last to first.
#[derive(Debug)]
pub(super) struct Backward {
    partition: u32,
    log_start: u64,
    /// Below it nothing was read.
    next: u64,
    /// Lines read and not given, with their times.
    window: Vec<(i64, Piece)>,
}

impl Backward {
    /// Begins below the high watermark.
    pub(super) fn new(partition: u32, extent: Extent) -> Self {
        Self { partition, log_start: extent.log_start, next: extent.high_watermark, window: Vec::new() }
    }

    /// Reads on unless something is at hand. False at the partition's start.
    async fn fill(
        &mut self,
        doors: &Doors,
        wanted: &Wanted<'_>,
        paths: &mut Paths,
        hasher: &Hasher,
    ) -> Result<bool, VerifyError> {
        while self.window.is_empty() && self.next > self.log_start {
            let from = self.next.saturating_sub(WINDOW).max(self.log_start);
            let (partition, window) = (self.partition, &mut self.window);
            let there = read(doors, (wanted.topic, partition), from..self.next, |offset, record| {
                take(record, wanted, |value, path, marks| {
                    let path = paths.id(path);
                    split(value, marks, wanted.keep_cr, |line, begins, ends| {
                        let text = hasher.of(if begins { without_hole(line) } else { line });
                        window.push((record.timestamp_ms, Piece { path, partition, offset, text, begins, ends }));
                    });
                });
            })
            .await?;
            self.next = if there { from } else { self.log_start };
        }
        Ok(!self.window.is_empty())
    }
}

/// Gives what is compared of a record, if it is one of an agent's on this machine.
fn take(record: &Record<'_>, wanted: &Wanted<'_>, give: impl FnOnce(&[u8], &[u8], (bool, bool))) {
    let (mut host, mut path, mut marks) = (None, None, (false, false));
    for header in record.headers() {
        match (header.key, header.value) {
            (b"host", Some(value)) => host = host.or(Some(value)),
            (b"path", Some(value)) => path = path.or(Some(value)),
            (HEADER_CONTINUED, _) => marks.0 = true,
            (HEADER_PARTIAL, _) => marks.1 = true,
            _ => {}
        }
    }
    let is_of_here = host.is_none_or(|host| host == wanted.host.as_bytes());
    if let (Some(value), Some(path), true) = (record.value, path, is_of_here) {
        give(value, path, marks);
    }
}

/// Gives the last line of all partitions by the records' times; lines of one partition in their order.
pub(super) async fn previous(
    readers: &mut [Backward],
    doors: &Doors,
    wanted: &Wanted<'_>,
    paths: &mut Paths,
    hasher: &Hasher,
) -> Result<Option<Piece>, VerifyError> {
    let mut last: Option<(i64, usize)> = None;
    for (index, reader) in readers.iter_mut().enumerate() {
        if reader.fill(doors, wanted, paths, hasher).await?
            && let Some((at, _)) = reader.window.last()
        {
            last = last.max(Some((*at, index)));
        }
    }
    Ok(last.and_then(|(_, index)| readers[index].window.pop()).map(|(_, piece)| piece))
}
