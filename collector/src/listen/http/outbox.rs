//! Bytes on their way to one connection: small ones are copied together, large ones go out as they are.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// What is smaller is copied: a write each would cost more.
const COPY_BYTES: usize = 8 << 10;

/// Holds what waits to be sent. Whoever fills it keeps it bounded.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    ready: VecDeque<Bytes>,
    ready_bytes: usize,
    open: BytesMut,
}

impl Outbox {
    /// Tells how many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.ready_bytes + self.open.len()
    }

    /// Gives the buffer to write small things to.
    pub(super) fn open(&mut self) -> &mut BytesMut {
        &mut self.open
    }

    /// Adds bytes after all that was added.
    pub(super) fn push(&mut self, bytes: &Bytes) {
        if bytes.len() < COPY_BYTES {
            self.open.extend_from_slice(bytes);
            return;
        }
        self.close();
        self.ready_bytes += bytes.len();
        self.ready.push_back(bytes.clone());
    }

    /// Takes the next bytes to send; `None` if there are none.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        if self.ready.is_empty() {
            self.close();
        }
        let bytes = self.ready.pop_front()?;
        self.ready_bytes -= bytes.len();
        Some(bytes)
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            let bytes = self.open.split().freeze();
            self.ready_bytes += bytes.len();
            self.ready.push_back(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_small_bytes_join_and_large_ones_are_not_copied() {
        let (small, large) = (Bytes::from_static(b"small"), Bytes::from(vec![b'x'; COPY_BYTES]));
        let mut outbox = Outbox::default();
        outbox.push(&small);
        outbox.open().extend_from_slice(b", ");
        outbox.push(&small);
        outbox.push(&large);
        outbox.push(&small);
        assert_eq!(outbox.len(), 17 + COPY_BYTES);
        assert_eq!(outbox.pop().unwrap(), "small, small");
        let sent = outbox.pop().unwrap();
        assert_eq!((sent.as_ptr(), sent.len()), (large.as_ptr(), large.len()));
        assert_eq!((outbox.pop().unwrap(), outbox.pop()), (small, None));
        assert_eq!(outbox.len(), 0);
    }
}
