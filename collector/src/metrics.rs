//! Every metric of the collector: named here, described here, listed in docs/metrics.md.

mod standing;

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::clock::now_ms;
pub use standing::{
    agents, configured, disk, refused, sink_stands, tls_certificate, tls_handshake_failed, tls_reload_failed,
};

/// Describes the metrics to whoever scrapes them. Called once the recorder stands.
pub fn describe() {
    describe_counter!("skidway_collector_records_total", "Records stored; `from` is agent or produce");
    describe_counter!("skidway_collector_stored_bytes_total", Unit::Bytes, "Bytes of batches stored, compressed");
    describe_counter!("skidway_collector_lost_bytes_total", Unit::Bytes, "Bytes that agents reported lost");
    describe_counter!("skidway_collector_commits_total", "Commits made durable");
    describe_histogram!("skidway_collector_sync_seconds", Unit::Seconds, "One group commit's write and sync");
    describe_counter!("skidway_collector_http_requests_total", "Requests answered, by `route`, `method` and `status`");
    describe_histogram!("skidway_collector_http_seconds", Unit::Seconds, "Until a request's answer starts, by `route`");
    describe_gauge!("skidway_collector_connections", "Open HTTP connections");
    describe_counter!("skidway_collector_connections_refused_total", "Connections refused past http.connections_max");
    describe_counter!(
        "skidway_collector_connections_of_address_refused_total",
        "Connections refused past http.connections_per_address_max"
    );
    describe_counter!("skidway_collector_connections_closed_idle_total", "Connections closed, silent, for newcomers");
    describe_gauge!("skidway_collector_subscribers", "Open streams; `kind` is ndjson, sse or raw");
    describe_counter!("skidway_collector_sent_bytes_total", Unit::Bytes, "Bytes of records sent, by `kind`");
    describe_counter!("skidway_damaged_batches_total", "Damaged places of the log that readers met, each counted once");
    counter!("skidway_damaged_batches_total").increment(0);
    describe_counter!("skidway_beacon_requests_total", "Requests to beacons, by `topic` and `result`");
    standing::describe();
    describe_compaction();
    describe_sinks();
    describe_queues();
    describe_groups();
    describe_gauge!("skidway_key_index_lag_records", "Offsets that a topic's key index has not read, by `topic`");
    describe_gauge!("skidway_key_index_entries", "Entries of a topic's key index, by `topic`");
    describe_counter!("skidway_conditional_writes_total", "Writes that expected a key's offset, by `outcome`");
    describe_counter!("skidway_conditional_rounds_repeated_total", "Rounds of such writes that were checked again");
    describe_counter!("skidway_tables_total", "Tables asked for, by `kind`");
    describe_counter!("skidway_collector_fetches_total", "Reads of the log that the shared memory could not answer");
    describe_counter!("skidway_collector_batches_decoded_total", "Batches decoded, each once for all its readers");
    describe_counter!(
        "skidway_collector_filtered_bytes_total",
        Unit::Bytes,
        "Bytes of records that filters looked through"
    );
    describe_counter!(
        "skidway_collector_filter_errors_total",
        "Records that a filter made no sense of: they do not match"
    );
    describe_counter!(
        "skidway_collector_pieces_rendered_total",
        "Runs of records rendered, at the head once for all readers alike"
    );
}

/// Counts a request to a beacon; `result` is `ok` or why it was refused.
pub fn beacon(topic: &skidway_record::TopicName, result: String) {
    counter!("skidway_beacon_requests_total", "topic" => topic.to_string(), "result" => result).increment(1);
}

/// Counts what a step of a compaction did, and the compaction if that was its last.
pub fn compacted(bytes_before: u64, bytes_after: u64, records_removed: u64, ended_after: Option<Duration>) {
    counter!("skidway_compaction_read_bytes_total").increment(bytes_before);
    counter!("skidway_compaction_kept_bytes_total").increment(bytes_after);
    counter!("skidway_compaction_removed_records_total").increment(records_removed);
    if let Some(took) = ended_after {
        counter!("skidway_compaction_runs_total").increment(1);
        gauge!("skidway_compaction_last_run_timestamp_seconds").set(now_ms() as f64 / 1e3);
        gauge!("skidway_compaction_last_run_seconds").set(took.as_secs_f64());
    }
}

/// Counts a compaction that failed.
pub fn compaction_failed() {
    counter!("skidway_compaction_failures_total").increment(1);
}

/// Shows the largest share of a partition that could be compacted.
pub fn dirty_ratio(ratio: f64) {
    gauge!("skidway_compaction_max_dirty_ratio").set(ratio);
}

fn describe_compaction() {
    describe_counter!("skidway_compaction_runs_total", "Compactions of a partition, each to its end");
    describe_counter!("skidway_compaction_failures_total", "Compactions that failed; each is made again");
    describe_counter!("skidway_compaction_read_bytes_total", Unit::Bytes, "Bytes of segments that were compacted");
    describe_counter!("skidway_compaction_kept_bytes_total", Unit::Bytes, "Bytes of the segments in their places");
    describe_counter!("skidway_compaction_removed_records_total", "Records removed as superseded, tombstones included");
    describe_gauge!("skidway_compaction_last_run_timestamp_seconds", Unit::Seconds, "When a compaction last ended");
    describe_gauge!("skidway_compaction_last_run_seconds", Unit::Seconds, "How long that took");
    describe_gauge!(
        "skidway_compaction_max_dirty_ratio",
        "Largest share of a partition that could be compacted and was not yet"
    );
}

fn describe_sinks() {
    describe_counter!("skidway_sink_cuts_total", "Cuts, by `sink` and `cause`");
    describe_counter!("skidway_sink_files_total", "Files published, by `sink`");
    describe_counter!("skidway_sink_records_total", "Records in published files, by `sink`");
    describe_counter!("skidway_sink_bytes_total", Unit::Bytes, "Bytes of published files, by `sink`");
    describe_counter!("skidway_sink_lost_records_total", "Records that a sink could not have, by `sink`");
    describe_counter!("skidway_sink_late_dropped_records_total", "Late records that are in no file, by `sink`");
    describe_gauge!("skidway_sink_pinned_bytes", Unit::Bytes, "Bytes of records kept past retention for sinks");
    describe_gauge!(
        "skidway_sink_full_in_seconds",
        Unit::Seconds,
        "When engine.pinned_bytes is reached, if it goes on so"
    );
    describe_counter!("skidway_sink_failures_total", "Tries that failed, by `sink`; each is made again");
}

fn describe_groups() {
    describe_gauge!("skidway_groups", "Consumer groups that have members or committed offsets");
    describe_gauge!("skidway_group_members", "Members, by `group`; of the first 200 groups");
    describe_gauge!("skidway_group_lag_records", "Records not committed yet, by `group`; of the first 200 groups");
    describe_counter!("skidway_group_rebalances_total", "Changes of who has which partition");
    describe_counter!("skidway_group_moved_partitions_total", "Partitions that got another member");
    describe_counter!("skidway_group_commits_total", "Commits of groups; `outcome` is committed or fenced");
    describe_counter!(
        "skidway_group_lost_records_total",
        "Records deleted before a group read them, counted each time a member is told"
    );
}

fn describe_queues() {
    describe_gauge!(
        "skidway_queue_records",
        "Records that are not finished, by `queue` and `state`: ready, leased, delayed"
    );
    describe_gauge!("skidway_queue_oldest_age_seconds", Unit::Seconds, "Age of the oldest of them, by `queue`");
    describe_gauge!("skidway_queue_dead_letters", "Dead letters that were not redriven, by `queue`");
    describe_counter!("skidway_queue_deliveries_total", "Records given away, by `queue`");
    describe_counter!("skidway_queue_redeliveries_total", "Of these, those given away before, by `queue`");
    describe_counter!(
        "skidway_queue_settled_total",
        "Receipts settled, by `queue`, `how` (ack, nack, extend) and `result`"
    );
    describe_counter!("skidway_queue_expired_leases_total", "Leases that ended by time, by `queue`");
    describe_counter!("skidway_queue_dead_lettered_total", "Dead letters written, by `queue`");
    describe_counter!("skidway_queue_skipped_total", "Records that were gone before anyone received them, by `queue`");
}

/// Shows how a queue stands.
pub fn queue_stands(queue: &str, depths: &[(&'static str, u64)], oldest_ms: u64, dead_letters: u64) {
    for (state, depth) in depths {
        gauge!("skidway_queue_records", "queue" => queue.to_owned(), "state" => *state).set(*depth as f64);
    }
    gauge!("skidway_queue_oldest_age_seconds", "queue" => queue.to_owned()).set(oldest_ms as f64 / 1000.0);
    gauge!("skidway_queue_dead_letters", "queue" => queue.to_owned()).set(dead_letters as f64);
}

/// Counts records given away.
pub fn queue_delivered(queue: &str, deliveries: u64, again: u64) {
    counter!("skidway_queue_deliveries_total", "queue" => queue.to_owned()).increment(deliveries);
    counter!("skidway_queue_redeliveries_total", "queue" => queue.to_owned()).increment(again);
}

/// Counts receipts settled.
pub fn queue_settled(queue: &str, how: &'static str, done: u64, refused: u64) {
    for (result, count) in [("done", done), ("refused", refused)] {
        let labels = [("queue", queue.to_owned()), ("how", how.to_owned()), ("result", result.to_owned())];
        counter!("skidway_queue_settled_total", &labels).increment(count);
    }
}

/// Counts leases that ended by time.
pub fn queue_expired(queue: &str, leases: u64) {
    counter!("skidway_queue_expired_leases_total", "queue" => queue.to_owned()).increment(leases);
}

/// Counts a dead letter.
pub fn queue_dead_letter(queue: &str) {
    counter!("skidway_queue_dead_lettered_total", "queue" => queue.to_owned()).increment(1);
}

/// Counts records that were gone before anyone received them.
pub fn queue_skipped(queue: &str, records: u64) {
    counter!("skidway_queue_skipped_total", "queue" => queue.to_owned()).increment(records);
}

/// Shows that nothing is left of a queue.
pub fn queue_deleted(queue: &str) {
    queue_stands(queue, &[("ready", 0), ("leased", 0), ("delayed", 0)], 0, 0);
}

/// Counts a cut of a sink.
pub fn sink_cut(sink: &str, cause: &'static str) {
    counter!("skidway_sink_cuts_total", "sink" => sink.to_owned(), "cause" => cause).increment(1);
}

/// Counts what a sink published.
pub fn sink_published(sink: &str, files: u64, records: u64, bytes: u64) {
    let sink = sink.to_owned();
    counter!("skidway_sink_files_total", "sink" => sink.clone()).increment(files);
    counter!("skidway_sink_records_total", "sink" => sink.clone()).increment(records);
    counter!("skidway_sink_bytes_total", "sink" => sink).increment(bytes);
}

/// Counts records that are in no file of a sink.
pub fn sink_lost(sink: &str, records: u64) {
    counter!("skidway_sink_lost_records_total", "sink" => sink.to_owned()).increment(records);
}

/// Counts late records that are in no file.
pub fn sink_late_dropped(sink: &str, records: u64) {
    counter!("skidway_sink_late_dropped_records_total", "sink" => sink.to_owned()).increment(records);
}

/// Shows how many bytes are kept past retention for sinks, and when that is too much.
pub fn sink_pinned(bytes: u64, full_in: Option<Duration>) {
    gauge!("skidway_sink_pinned_bytes").set(bytes as f64);
    gauge!("skidway_sink_full_in_seconds").set(full_in.map_or(f64::INFINITY, |it| it.as_secs_f64()));
}

/// Counts a try of a sink that failed.
pub fn sink_failed(sink: &str) {
    counter!("skidway_sink_failures_total", "sink" => sink.to_owned()).increment(1);
}

/// Groups that have gauges of their own: a scrape must stay small, whoever makes up names of groups.
const GROUPS_SHOWN_MAX: usize = 200;

/// Shows members and lag of the first groups.
pub fn groups(groups: impl ExactSizeIterator<Item = (String, usize, u64)>) {
    gauge!("skidway_groups").set(groups.len() as f64);
    for (group, members, lag) in groups.take(GROUPS_SHOWN_MAX) {
        gauge!("skidway_group_members", "group" => group.clone()).set(members as f64);
        gauge!("skidway_group_lag_records", "group" => group).set(lag as f64);
    }
}

/// Shows that a group is gone: it has no member, and nothing to read.
pub fn group_gone(group: &str) {
    gauge!("skidway_group_members", "group" => group.to_owned()).set(0.0);
    gauge!("skidway_group_lag_records", "group" => group.to_owned()).set(0.0);
}

/// Counts a rebalance.
pub fn group_rebalanced(moved: usize) {
    counter!("skidway_group_rebalances_total").increment(1);
    counter!("skidway_group_moved_partitions_total").increment(moved as u64);
}

/// Counts a commit.
pub fn group_committed(fenced: bool) {
    let outcome = if fenced { "fenced" } else { "committed" };
    counter!("skidway_group_commits_total", "outcome" => outcome).increment(1);
}

/// Counts records that were deleted before a group read them.
pub fn group_lost(records: u64) {
    counter!("skidway_group_lost_records_total").increment(records);
}

/// Counts what one commit stored.
pub fn stored(from: &'static str, records: u64, bytes: usize) {
    counter!("skidway_collector_records_total", "from" => from).increment(records);
    counter!("skidway_collector_stored_bytes_total", "from" => from).increment(bytes as u64);
}

/// Counts a loss.
pub fn lost(bytes: u64) {
    counter!("skidway_collector_lost_bytes_total").increment(bytes);
}

/// Counts one group commit.
pub fn synced(took: Duration, commits: usize) {
    counter!("skidway_collector_commits_total").increment(commits as u64);
    histogram!("skidway_collector_sync_seconds").record(took);
}

/// Counts one answer.
pub fn answered(route: String, method: &'static str, status: u16, took: Duration) {
    histogram!("skidway_collector_http_seconds", "route" => route.clone()).record(took);
    let labels = [("route", route), ("method", method.to_owned()), ("status", status.to_string())];
    counter!("skidway_collector_http_requests_total", &labels).increment(1);
}

/// Counts a connection that was refused.
pub fn connection_refused() {
    counter!("skidway_collector_connections_refused_total").increment(1);
}

/// Counts a connection that was refused because its address has as many as it may.
pub fn connection_of_address_refused() {
    counter!("skidway_collector_connections_of_address_refused_total").increment(1);
}

/// Counts a silent connection that was closed for a newcomer.
pub fn connection_sent_away() {
    counter!("skidway_collector_connections_closed_idle_total").increment(1);
}

/// Counts one read of the log by readers.
pub fn fetched() {
    counter!("skidway_collector_fetches_total").increment(1);
}

/// Counts a batch decoded.
pub fn decoded() {
    counter!("skidway_collector_batches_decoded_total").increment(1);
}

/// Counts what a filter looked through, and the records it made no sense of.
pub fn filtered(bytes: usize, faults: u64) {
    counter!("skidway_collector_filtered_bytes_total").increment(bytes as u64);
    counter!("skidway_collector_filter_errors_total").increment(faults);
}

/// Counts a run of records rendered.
pub fn rendered() {
    counter!("skidway_collector_pieces_rendered_total").increment(1);
}

/// Counts a damaged place, when a reader meets it for the first time.
pub fn damaged() {
    counter!("skidway_damaged_batches_total").increment(1);
}

/// Counts bytes of records sent.
pub fn sent(kind: &'static str, bytes: usize) {
    counter!("skidway_collector_sent_bytes_total", "kind" => kind).increment(bytes as u64);
}

/// Counts an open connection until it is dropped.
pub fn connection() -> Open {
    Open::new("skidway_collector_connections", "http")
}

/// Counts an open stream until it is dropped.
pub fn subscriber(kind: &'static str) -> Open {
    Open::new("skidway_collector_subscribers", kind)
}

/// Is one open thing of a gauge.
#[derive(Debug)]
pub struct Open {
    name: &'static str,
    kind: &'static str,
}

impl Open {
    fn new(name: &'static str, kind: &'static str) -> Self {
        gauge!(name, "kind" => kind).increment(1.0);
        Self { name, kind }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        gauge!(self.name, "kind" => self.kind).decrement(1.0);
    }
}

/// Shows how far a topic's key index is behind, and how many entries it has.
pub fn key_index(topic: &str, lag: u64, entries: u64) {
    gauge!("skidway_key_index_lag_records", "topic" => topic.to_owned()).set(lag as f64);
    gauge!("skidway_key_index_entries", "topic" => topic.to_owned()).set(entries as f64);
}

/// Counts a write that expected a key's offset, by what became of it.
pub fn conditional(outcome: &'static str) {
    counter!("skidway_conditional_writes_total", "outcome" => outcome).increment(1);
}

/// Counts a round of such writes that had to be checked again.
pub fn conditional_again() {
    counter!("skidway_conditional_rounds_repeated_total").increment(1);
}

/// Counts a table that is being read.
pub fn table(kind: &'static str) {
    counter!("skidway_tables_total", "kind" => kind).increment(1);
}
