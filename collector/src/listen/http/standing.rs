//! What metrics show of how things stand, looked up when they are asked for: agents, sinks, the disk. Counts nothing and keeps nothing.

use std::time::Instant;

use crate::blocking::blocking;
use crate::listen::http::door::Door;
use crate::metrics;

/// Brings the gauges up to date.
pub(super) async fn show(door: &Door) {
    let (heard, unheard) = door.fleet.heard(Instant::now());
    let shown = heard.into_iter().map(|(agent, silent, report)| {
        (agent.to_string(), silent, report.bytes_behind, report.oldest_unacknowledged_ms)
    });
    metrics::agents(&shown.collect::<Vec<_>>(), unheard);
    for sink in door.sinks.iter().flat_map(|sinks| sinks.list().sinks) {
        metrics::sink_stands(&sink.name, &sink.state, sink.behind);
    }
    let data_dir = door.data_dir.clone();
    // A file system that does not answer must not stop whoever else is served.
    match blocking(move || rustix::fs::statvfs(&data_dir)).await {
        Ok(found) => metrics::disk(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize),
        Err(error) => tracing::debug!(%error, "the room of data_dir cannot be measured"),
    }
}
