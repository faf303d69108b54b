//! What Prometheus's own clients show of a process: descriptors, memory, processor time, start. Read from `/proc` when asked; elsewhere
//! than on Linux nothing is shown.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// Says what the numbers mean.
pub(crate) fn describe() {
    describe_gauge!("process_open_fds", "Descriptors the process has open");
    describe_gauge!("process_max_fds", "Descriptors it may have open");
    describe_gauge!("process_resident_memory_bytes", Unit::Bytes, "Memory it has in RAM");
    describe_counter!("process_cpu_seconds_total", Unit::Seconds, "Processor time it took, in whole seconds");
    describe_gauge!("process_start_time_seconds", Unit::Seconds, "When it started, since 1970");
}

/// Brings them up to date.
pub(crate) fn show() {
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // The folder being read is one of them.
        gauge!("process_open_fds").set(open.count().saturating_sub(1) as f64);
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        gauge!("process_max_fds").set(most as f64);
    }
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let Some(usage) = Usage::parse(&stat, clock_ticks_per_second(), page_size() as u64) else { return };
    gauge!("process_resident_memory_bytes").set(usage.resident_bytes as f64);
    counter!("process_cpu_seconds_total").absolute(usage.cpu.as_secs());
    if let Some(started) = started(usage.started_after_boot) {
        gauge!("process_start_time_seconds").set(started);
    }
}

/// Holds what `/proc/self/stat` tells.
#[derive(Debug, PartialEq, Eq)]
struct Usage {
    cpu: Duration,
    started_after_boot: Duration,
    resident_bytes: u64,
}

impl Usage {
    /// Reads the line of proc(5). The second field is a name in parentheses that may hold anything.
    fn parse(stat: &str, ticks_per_second: u64, page_bytes: u64) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        // The first of these is field 3 of the manual page.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let time = |ticks: u64| Duration::from_millis(ticks * 1000 / ticks_per_second.max(1));
        Some(Self {
            cpu: time(field(14)? + field(15)?),
            started_after_boot: time(field(22)?),
            resident_bytes: field(24)? * page_bytes,
        })
    }
}

fn started(after_boot: Duration) -> Option<f64> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(now.as_secs_f64() - uptime + after_boot.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_whose_name_is_odd_is_read() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 1 0 0 0 250 50 0 0 20 0 9 0 4200 1000 25 184 1";
        let usage = Usage {
            cpu: Duration::from_secs(3),
            started_after_boot: Duration::from_secs(42),
            resident_bytes: 25 * 4096,
        };
        assert_eq!(Usage::parse(stat, 100, 4096), Some(usage));
        assert_eq!(Usage::parse("7 (a", 100, 4096), None);
        assert_eq!(Usage::parse("7 (a) S 1", 100, 4096), None);
    }
}
