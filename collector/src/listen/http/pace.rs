//! How soon a stream at the head of a topic writes again: at once while few are open, less often where very many are.
//!
//! Every commit wakes every stream of its topic. A thousand of them and a hundred commits a second would keep more than a core busy with
//! handing small pieces to the kernel, so that each waits a little longer and takes more at once. Nothing is held back from a single
//! subscriber, and nothing that comes after a pause.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How much longer a stream's pieces are apart for each open one. A wake-up costs about 12 µs, so that they take half a core at most.
const GAP_OF_ONE: Duration = Duration::from_micros(25);

/// Pieces of a stream are never further apart.
const GAP_MAX: Duration = Duration::from_millis(100);

/// Counts the open streams.
#[derive(Debug, Default, Clone)]
pub(super) struct Pace {
    open: Arc<AtomicU32>,
}

impl Pace {
    /// Counts a stream, until what it is given is dropped.
    pub(super) fn join(&self) -> Paced {
        self.open.fetch_add(1, Ordering::Relaxed);
        Paced { open: self.open.clone(), wrote_at: None }
    }
}

/// Is one stream's part.
#[derive(Debug)]
pub(super) struct Paced {
    open: Arc<AtomicU32>,
    wrote_at: Option<Instant>,
}

impl Paced {
    /// Remembers that the stream writes.
    pub(super) fn write(&mut self) {
        self.wrote_at = Some(Instant::now());
    }

    /// Waits until the stream may write again.
    pub(super) async fn wait(&self) {
        let Some(wrote_at) = self.wrote_at else { return };
        let due = wrote_at + gap(self.open.load(Ordering::Relaxed));
        if due > Instant::now() {
            sleep_until(due).await;
        }
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn gap(open: u32) -> Duration {
    (GAP_OF_ONE * open.saturating_sub(1)).min(GAP_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn alone_a_stream_never_waits_and_beside_others_only_after_it_wrote() {
        let pace = Pace::default();
        let mut one = pace.join();
        let begun = Instant::now();
        one.write();
        one.wait().await;
        assert_eq!(begun.elapsed(), Duration::ZERO);

        let others: Vec<_> = (0..1000).map(|_| pace.join()).collect();
        others[0].wait().await;
        assert_eq!(begun.elapsed(), Duration::ZERO, "it has written nothing yet");
        one.wait().await;
        assert_eq!(begun.elapsed(), gap(1001));
        one.wait().await;
        assert_eq!(begun.elapsed(), gap(1001), "the pause is over");

        drop(others);
        one.write();
        one.wait().await;
        assert_eq!(begun.elapsed(), gap(1001), "it is alone again");
    }

    #[test]
    fn the_gap_grows_with_the_streams_up_to_its_most() {
        assert_eq!([1, 2, 1001, 1_000_000].map(gap), [Duration::ZERO, GAP_OF_ONE, GAP_OF_ONE * 1000, GAP_MAX]);
    }
}
