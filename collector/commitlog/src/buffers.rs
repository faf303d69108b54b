//! Memory that segments are read into, used again: to have the kernel clear fresh pages for each read costs more than the read.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Bytes kept for the next reads, in all.
const IDLE_BYTES_MAX: usize = 16 << 20;

/// Reads smaller than this get memory of their own: the allocator keeps that at hand.
const BUFFER_BYTES_MIN: usize = 64 << 10;

/// Lends buffers whose sizes are powers of two.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffers {
    idle: Arc<Mutex<Idle>>,
}

#[derive(Debug, Default)]
struct Idle {
    buffers: Vec<Box<[u8]>>,
    bytes: usize,
}

/// Holds a buffer until the last of those who use its bytes lets go.
struct Lent {
    buffer: Box<[u8]>,
    len: usize,
    idle: Arc<Mutex<Idle>>,
}

impl Buffers {
    /// Gives `len` bytes that `fill` has written; `fill` finds there what it will.
    pub(crate) fn filled<E>(&self, len: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Bytes, E> {
        if len < BUFFER_BYTES_MIN {
            let mut bytes = vec![0; len];
            fill(&mut bytes)?;
            return Ok(bytes.into());
        }
        let size = len.next_power_of_two();
        let buffer = self.take(size).unwrap_or_else(|| vec![0; size].into());
        let mut lent = Lent { buffer, len, idle: self.idle.clone() };
        fill(&mut lent.buffer[..len])?;
        Ok(Bytes::from_owner(lent))
    }

    /// Gives the buffer of that size that was used last: the processor may still have it in its cache.
    fn take(&self, size: usize) -> Option<Box<[u8]>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let at = idle.buffers.iter().rposition(|buffer| buffer.len() == size)?;
        idle.bytes -= size;
        Some(idle.buffers.remove(at))
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.bytes += buffer.len();
        idle.buffers.push(buffer);
        while idle.bytes > IDLE_BYTES_MAX {
            idle.bytes -= idle.buffers.remove(0).len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn idle(buffers: &Buffers) -> (usize, usize) {
        let idle = buffers.idle.lock().unwrap();
        assert_eq!(idle.bytes, idle.buffers.iter().map(|buffer| buffer.len()).sum::<usize>());
        (idle.buffers.len(), idle.bytes)
    }

    fn ones(buffers: &Buffers, len: usize) -> Bytes {
        let filled = buffers.filled(len, |bytes| {
            bytes.fill(1);
            Ok::<_, ()>(())
        });
        filled.unwrap()
    }

    #[test]
    fn a_buffer_is_lent_again_once_nobody_uses_its_bytes() {
        let buffers = Buffers::default();
        let bytes = ones(&buffers, MIB - 7);
        assert_eq!(bytes, vec![1; MIB - 7]);
        let part = bytes.slice(10..20);
        drop(bytes);
        assert_eq!(idle(&buffers), (0, 0));
        drop(part);
        assert_eq!(idle(&buffers), (1, MIB));
        let again = ones(&buffers, MIB / 2 + 1);
        assert_eq!((again.len(), idle(&buffers)), (MIB / 2 + 1, (0, 0)));
    }

    #[test]
    fn a_buffer_comes_back_from_a_read_that_fails() {
        let buffers = Buffers::default();
        assert_eq!(buffers.filled(MIB, |_| Err("no")), Err("no"));
        assert_eq!(idle(&buffers), (1, MIB));
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_longest_unused_goes_first() {
        let buffers = Buffers::default();
        let lent: Vec<_> = (0..40).map(|_| ones(&buffers, MIB)).collect();
        drop(ones(&buffers, 4 * MIB));
        drop(lent);
        assert_eq!(idle(&buffers), (16, 16 * MIB));
        drop(ones(&buffers, 1000));
        assert_eq!(idle(&buffers), (16, 16 * MIB));
    }
}
