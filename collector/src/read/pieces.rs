//! Runs of rendered records, shared: what many readers at one place want in one form is written once for all of them.
//!
//! Recent ones stay in bounded memory, oldest out first. Whoever wants another place, or another form, renders for itself;
//! nobody waits for a disk or a connection here.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use skidway_record::{Offset, PartitionId};

use crate::read::{ReadError, Token};

/// Counts what a kept piece takes beside its bytes.
const ENTRY_BYTES: usize = 512;

/// Names a piece: all that its bytes depend on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PieceKey {
    /// Id of the topic; a recreated one has another.
    pub topic: [u8; 16],
    /// Partition.
    pub partition: PartitionId,
    /// CRC of the stored batch: one that was written anew holds other records.
    pub crc: u32,
    /// Its first record, or where the reader stands before it.
    pub from: Offset,
    /// How it is written: a number of the writer's own.
    pub form: u8,
    /// Where the reader stands, if tokens are written.
    pub place: Option<Token>,
}

/// Is a run of rendered records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// What goes out.
    pub bytes: Bytes,
    /// Memory that they keep.
    pub capacity: usize,
    /// The offset after it.
    pub end: Offset,
    /// Its records.
    pub records: u64,
}

/// Holds one piece once it is rendered; locked meanwhile.
type Slot = Arc<Mutex<Option<Piece>>>;

/// Hands out rendered pieces.
#[derive(Debug)]
pub struct Pieces {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: usize,
    pieces: HashMap<PieceKey, (Slot, usize)>,
    order: VecDeque<PieceKey>,
}

impl Pieces {
    /// Keeps at most `bytes_max` of rendered records in memory.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, kept: Mutex::default() }
    }

    /// Gives the piece, rendered now unless someone did already. Who comes meanwhile waits: as long as rendering it again would take.
    ///
    /// # Errors
    /// Those of `render`; the next one tries again.
    pub fn get(&self, key: &PieceKey, render: impl FnOnce() -> Result<Piece, ReadError>) -> Result<Piece, ReadError> {
        let slot = lock(&self.kept).slot(key, self.bytes_max);
        let mut place = lock(&slot);
        if let Some(piece) = &*place {
            return Ok(piece.clone());
        }
        let piece = render()?;
        *place = Some(piece.clone());
        drop(place);
        lock(&self.kept).charge(key, &slot, piece.capacity, self.bytes_max);
        Ok(piece)
    }
}

impl Kept {
    fn slot(&mut self, key: &PieceKey, bytes_max: usize) -> Slot {
        if let Some((slot, _)) = self.pieces.get(key) {
            return slot.clone();
        }
        let slot = Slot::default();
        self.pieces.insert(key.clone(), (slot.clone(), ENTRY_BYTES));
        self.order.push_back(key.clone());
        self.bytes += ENTRY_BYTES;
        self.keep_below(bytes_max);
        slot
    }

    /// Counts what a piece takes, if it was not dropped meanwhile.
    fn charge(&mut self, key: &PieceKey, of: &Slot, bytes: usize, bytes_max: usize) {
        if let Some((slot, charged)) = self.pieces.get_mut(key)
            && Arc::ptr_eq(slot, of)
        {
            *charged += bytes;
            self.bytes += bytes;
        }
        self.keep_below(bytes_max);
    }

    /// Drops the oldest.
    fn keep_below(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some((_, charged)) = self.pieces.remove(&oldest) {
                self.bytes -= charged;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn key(from: u64) -> PieceKey {
        PieceKey { topic: [1; 16], partition: PartitionId(0), crc: 0, from: Offset(from), form: 0, place: None }
    }

    fn piece(len: usize) -> Piece {
        Piece { bytes: vec![b'x'; len].into(), capacity: len, end: Offset(9), records: 1 }
    }

    #[test]
    fn a_piece_is_rendered_once_for_all_who_want_it() {
        let (pieces, rendered) = (Pieces::new(1 << 20), AtomicU64::new(0));
        let render = || {
            rendered.fetch_add(1, Ordering::Relaxed);
            Ok(piece(100))
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(pieces.get(&key(0), render).unwrap(), piece(100)));
            }
        });
        assert_eq!(rendered.load(Ordering::Relaxed), 1);
        pieces.get(&PieceKey { form: 1, ..key(0) }, render).unwrap();
        assert_eq!(rendered.load(Ordering::Relaxed), 2, "another form is another piece");
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_leave_first() {
        let pieces = Pieces::new(10_000);
        for from in 0..1000 {
            pieces.get(&key(from), || Ok(piece(1000))).unwrap();
            let kept = lock(&pieces.kept);
            assert!(kept.bytes <= 10_000);
            assert_eq!(kept.bytes, kept.pieces.values().map(|(_, bytes)| bytes).sum::<usize>());
            assert_eq!(kept.order.len(), kept.pieces.len());
        }
        let kept = lock(&pieces.kept);
        assert!(kept.pieces.contains_key(&key(999)) && !kept.pieces.contains_key(&key(0)));
    }

    #[test]
    fn what_failed_is_tried_again() {
        let pieces = Pieces::new(10_000);
        let failed = || Err(ReadError::BadToken("it fails".into()));
        assert!(pieces.get(&key(0), failed).is_err());
        assert_eq!(pieces.get(&key(0), || Ok(piece(1))).unwrap(), piece(1));
    }
}
