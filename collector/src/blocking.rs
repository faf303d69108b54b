//! Work that would hold up the runtime: file reads, decompression, checks of large bodies.

/// Runs `work` on a thread that may block, and waits for it.
///
/// # Panics
/// If the work panics; the process ends then anyway.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("blocking work neither panics nor is cancelled")
}
