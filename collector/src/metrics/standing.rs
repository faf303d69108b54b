//! Metrics of how the collector stands: its certificate, its disk, its agents and sinks, what it refuses.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

/// Describes them.
pub(super) fn describe() {
    describe_gauge!(
        "skidway_tls_certificate_not_after_seconds",
        Unit::Seconds,
        "When the certificate shown to clients ends, in seconds since 1970"
    );
    describe_counter!("skidway_tls_reload_failures_total", "Changed certificate files that could not be used");
    describe_counter!("skidway_tls_handshake_failures_total", "Connections that came to no TLS, by `reason`");
    describe_counter!(
        "skidway_collector_refusals_total",
        "Requests refused, by the problem's `kind` and its `fate`: retry (the same later) or reject (never)"
    );
    describe_gauge!("skidway_collector_config_info", "Always 1; the labels tell what is configured");
    describe_gauge!("skidway_collector_disk_free_bytes", Unit::Bytes, "Bytes that can be written beside what is there");
    describe_gauge!("skidway_collector_disk_size_bytes", Unit::Bytes, "Bytes of the file system of data_dir");
    describe_gauge!("skidway_collector_agents", "Agents, by `state`: reporting, silent, or unheard since the start");
    describe_gauge!(
        "skidway_collector_agent_silent_seconds",
        Unit::Seconds,
        "Since an agent last spoke, by `agent`; of the first 1000"
    );
    describe_gauge!("skidway_collector_agent_behind_bytes", Unit::Bytes, "Bytes not acknowledged, as an agent said");
    describe_gauge!(
        "skidway_collector_agent_oldest_unacknowledged_seconds",
        Unit::Seconds,
        "Age of the oldest of them, as an agent said"
    );
    describe_gauge!("skidway_sink_behind_records", "Records that are in no decided file of a sink yet, by `sink`");
    describe_gauge!("skidway_sink_state", "1 for the `state` a sink is in: running, failing or paused; by `sink`");
}

/// Shows when the certificate ends, in seconds since 1970.
pub fn tls_certificate(not_after: i64) {
    gauge!("skidway_tls_certificate_not_after_seconds").set(not_after as f64);
    counter!("skidway_tls_reload_failures_total").increment(0);
}

/// Counts changed files of certificates that could not be used.
pub fn tls_reload_failed() {
    counter!("skidway_tls_reload_failures_total").increment(1);
}

/// Counts a connection that came to no TLS.
pub fn tls_handshake_failed(reason: &'static str) {
    counter!("skidway_tls_handshake_failures_total", "reason" => reason).increment(1);
}

/// Tells what is configured and matters to whoever watches: what an acknowledgement waits for, `fsync` or `os`.
pub fn configured(durability: &'static str) {
    gauge!("skidway_collector_config_info", "durability" => durability).set(1.0);
}

/// Counts a refusal. What a server is to blame for, or too many requests, is tried again with the same data.
pub fn refused(kind: &str, status: u16) {
    let fate = if status >= 500 || matches!(status, 408 | 425 | 429) { "retry" } else { "reject" };
    counter!("skidway_collector_refusals_total", "kind" => kind.to_owned(), "fate" => fate).increment(1);
}

/// Shows the room of the data folder's file system.
pub fn disk(free_bytes: u64, size_bytes: u64) {
    gauge!("skidway_collector_disk_free_bytes").set(free_bytes as f64);
    gauge!("skidway_collector_disk_size_bytes").set(size_bytes as f64);
}

/// Agents that have gauges of their own.
const AGENTS_SHOWN_MAX: usize = 1000;
/// Agents speak every few seconds, if only to say that they have nothing.
const AGENT_SILENT: Duration = Duration::from_secs(120);

/// Shows the fleet: of agents heard of, since when each is silent, its bytes behind, and the age of the oldest in ms.
pub fn agents(heard: &[(String, Duration, Option<u64>, Option<u64>)], unheard: usize) {
    let silent = heard.iter().filter(|(_, silent, ..)| *silent > AGENT_SILENT).count();
    for (state, count) in [("reporting", heard.len() - silent), ("silent", silent), ("unheard", unheard)] {
        gauge!("skidway_collector_agents", "state" => state).set(count as f64);
    }
    for (agent, silent, behind, oldest_ms) in heard.iter().take(AGENTS_SHOWN_MAX) {
        let show = |name: &'static str, value: f64| gauge!(name, "agent" => agent.clone()).set(value);
        show("skidway_collector_agent_silent_seconds", silent.as_secs_f64());
        if let Some(behind) = behind {
            show("skidway_collector_agent_behind_bytes", *behind as f64);
        }
        if let Some(oldest_ms) = oldest_ms {
            show("skidway_collector_agent_oldest_unacknowledged_seconds", *oldest_ms as f64 / 1e3);
        }
    }
}

/// Shows how a sink stands.
pub fn sink_stands(sink: &str, state: &str, behind: u64) {
    for known in ["running", "failing", "paused"] {
        let is_it = if known == state { 1.0 } else { 0.0 };
        gauge!("skidway_sink_state", "sink" => sink.to_owned(), "state" => known).set(is_it);
    }
    gauge!("skidway_sink_behind_records", "sink" => sink.to_owned()).set(behind as f64);
}
