//! What the agent counts of itself, under one name each.

use std::sync::LazyLock;
use std::time::Duration;

use metrics::{Counter, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use skidway_record::Fate;

const LINES: &str = "skidway_agent_lines_total";
const READ: &str = "skidway_agent_acknowledged_bytes_total";
const SENT: &str = "skidway_agent_sent_bytes_total";
const REQUESTS: &str = "skidway_agent_requests_total";
const FAILURES: &str = "skidway_agent_request_failures_total";
const LATENCY: &str = "skidway_agent_commit_seconds";
const BEHIND: &str = "skidway_agent_behind_bytes";
const OLDEST: &str = "skidway_agent_oldest_unacknowledged_seconds";
const UNANSWERED: &str = "skidway_agent_collector_unanswered_seconds";
const FILES: &str = "skidway_agent_files";
const OPEN: &str = "skidway_agent_open_files";
const OPEN_MAX: &str = "skidway_agent_open_files_max";
const SET_ASIDE: &str = "skidway_agent_files_set_aside_total";
const RATE: &str = "skidway_agent_read_rate_bytes";
const RATE_MAX: &str = "skidway_agent_read_rate_max_bytes";
const REMOVED: &str = "skidway_agent_files_removed_total";
const DELETED: &str = "skidway_agent_deleted_bytes";
const DELETED_AGE: &str = "skidway_agent_deleted_oldest_seconds";
const LOST: &str = "skidway_agent_lost_bytes_total";
const MISSED: &str = "skidway_agent_files_missed_total";
const NULS: &str = "skidway_agent_dropped_nul_bytes_total";
const DROPPED: &str = "skidway_agent_dropped_long_line_bytes_total";
const DEAD: &str = "skidway_agent_dead_letters_total";
const CONFLICTS: &str = "skidway_agent_conflicts_total";
const REGRESSED: &str = "skidway_agent_log_regressed_total";

/// Says what the numbers mean.
pub fn describe() {
    describe_counter!(LINES, "Lines framed, pieces of lines included");
    describe_counter!(READ, "Bytes of files acknowledged by the collector");
    describe_counter!(SENT, "Bytes of commit requests, each counted once");
    describe_counter!(REQUESTS, "Commit requests");
    describe_counter!(FAILURES, "Tries that got no usable answer, by `fate`: retry, reject or halt");
    describe_histogram!(LATENCY, "From sending a commit request to its answer, retries included");
    describe_gauge!(BEHIND, "Bytes on disk not acknowledged");
    describe_gauge!(OLDEST, "Age of the oldest byte not acknowledged");
    describe_gauge!(UNANSWERED, "How long the collector has not answered, though asked; 0 if it does");
    describe_gauge!(FILES, "Files followed");
    describe_gauge!(OPEN, "Files held open");
    describe_gauge!(OPEN_MAX, "How many may be; past it the least recently read are set aside");
    describe_counter!(SET_ASIDE, "Files whose descriptor was let go of, to be opened again");
    describe_gauge!(RATE, "Bytes read from files per second, lately");
    describe_gauge!(RATE_MAX, "How many may be; 0 is any");
    describe_counter!(REMOVED, "Files removed once all of them was acknowledged");
    describe_gauge!(DELETED, "Bytes on disk of deleted files that are held open until they are read");
    describe_gauge!(DELETED_AGE, "How long the oldest of them has waited to be read");
    describe_counter!(LOST, "Bytes gone before they could be read");
    describe_counter!(MISSED, "Files deleted or replaced before they could be looked at");
    describe_counter!(NULS, "Bytes of holes, which no line is made of");
    describe_counter!(DROPPED, "Bytes of lines too long, past those kept");
    describe_counter!(DEAD, "Lines the collector rejected, or too long where such are dead letters");
    describe_counter!(CONFLICTS, "Spans that did not start at their source's position");
    describe_counter!(REGRESSED, "Sources found before a position acknowledged earlier");
}

/// Counted with every span: looked up once.
static LINES_FRAMED: LazyLock<Counter> = LazyLock::new(|| counter!(LINES));
static ACKNOWLEDGED: LazyLock<Counter> = LazyLock::new(|| counter!(READ));

pub(crate) fn lines_framed(count: u64) {
    LINES_FRAMED.increment(count);
}

pub(crate) fn acknowledged(bytes: u64) {
    ACKNOWLEDGED.increment(bytes);
}

pub(crate) fn request_sent(bytes: usize) {
    counter!(REQUESTS).increment(1);
    counter!(SENT).increment(bytes as u64);
}

pub(crate) fn request_failed(fate: Fate) {
    let fate = match fate {
        Fate::Retry => "retry",
        Fate::Reject => "reject",
        Fate::Halt => "halt",
    };
    counter!(FAILURES, "fate" => fate).increment(1);
}

pub(crate) fn answered(took: Duration) {
    histogram!(LATENCY).record(took.as_secs_f64());
}

pub(crate) fn backlog(bytes_behind: u64, oldest: Duration, files: usize) {
    gauge!(BEHIND).set(bytes_behind as f64);
    gauge!(OLDEST).set(oldest.as_secs_f64());
    gauge!(FILES).set(files as f64);
}

pub(crate) fn unanswered(since: Duration) {
    gauge!(UNANSWERED).set(since.as_secs_f64());
}

pub(crate) fn open_files(open: usize, max: usize) {
    gauge!(OPEN).set(open as f64);
    gauge!(OPEN_MAX).set(max as f64);
}

pub(crate) fn set_aside() {
    counter!(SET_ASIDE).increment(1);
}

pub(crate) fn read_rate(bytes: u64, max: u64) {
    gauge!(RATE).set(bytes as f64);
    gauge!(RATE_MAX).set(max as f64);
}

pub(crate) fn removed() {
    counter!(REMOVED).increment(1);
}

pub(crate) fn deleted(bytes: u64, oldest: Duration) {
    gauge!(DELETED).set(bytes as f64);
    gauge!(DELETED_AGE).set(oldest.as_secs_f64());
}

pub(crate) fn lost(bytes: u64) {
    counter!(LOST).increment(bytes);
}

pub(crate) fn missed() {
    counter!(MISSED).increment(1);
}

pub(crate) fn nuls_dropped(count: u64) {
    if count > 0 {
        counter!(NULS).increment(count);
    }
}

pub(crate) fn dropped(count: u64) {
    if count > 0 {
        counter!(DROPPED).increment(count);
    }
}

pub(crate) fn dead_letter() {
    counter!(DEAD).increment(1);
}

pub(crate) fn conflict() {
    counter!(CONFLICTS).increment(1);
}

pub(crate) fn log_regressed() {
    counter!(REGRESSED).increment(1);
}
