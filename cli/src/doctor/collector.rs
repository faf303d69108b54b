//! What is wrong with a collector, judged by what it says of itself. Pure: facts in, findings out.

use std::time::Duration;

use skidway_daemon::config::ByteSize;
use skidway_daemon::human::{age, count, counted, size};
use skidway_wire::groups::GroupList;
use skidway_wire::http::{About, AgentList, SinkList, TopicDescription};
use skidway_wire::queues::QueueList;

use super::exposition::Exposition;
use super::finding::Finding;

/// Clocks of machines that are kept in time differ by less.
const SKEW_MAX: Duration = Duration::from_secs(5);
/// An agent is silent after this long, behind when its oldest byte has waited for as long.
const SILENT: Duration = Duration::from_secs(120);
const BEHIND: Duration = Duration::from_secs(60);
/// A process with fewer descriptors meets its limit before long.
const DESCRIPTORS_MIN: f64 = 4096.0;

/// Holds what a collector says of itself. What it does not tell is empty.
#[derive(Debug, Default)]
pub struct Facts {
    /// Its address is not of this machine, and not https.
    pub unencrypted: bool,
    /// The build of whoever asks.
    pub own_version: String,
    /// Which log it serves; `None` if it did not tell.
    pub about: Option<About>,
    /// Its clock is ahead of ours by so many seconds.
    pub clock_ahead_seconds: Option<i64>,
    /// Its agents, with how long each has been silent.
    pub agents: Vec<Agent>,
    /// Its sinks.
    pub sinks: SinkList,
    /// Its groups.
    pub groups: Vec<Group>,
    /// Its queues.
    pub queues: Vec<Queue>,
    /// Bytes that its topics may come to by their retention; `None` if one has no bound.
    pub retained_bytes_max: Option<u64>,
    /// Bytes its topics have.
    pub retained_bytes: u64,
    /// Its metrics.
    pub metrics: Exposition,
}

/// Is an agent as the collector tells of it.
#[derive(Debug, Default, Clone)]
pub struct Agent {
    /// Its id.
    pub id: String,
    /// Its build.
    pub version: String,
    /// Since when it is silent; `None` if it was not heard of since the collector started.
    pub silent: Option<Duration>,
    /// Age of its oldest byte not acknowledged.
    pub oldest: Duration,
    /// Bytes it has not got acknowledged.
    pub bytes_behind: u64,
}

/// Is a group with its members and its lag in records.
#[derive(Debug, Default)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its members.
    pub members: u64,
    /// Its lag.
    pub lag: u64,
}

/// Is a queue with what lies in it.
#[derive(Debug, Default)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Age of its oldest record.
    pub oldest: Duration,
    /// Records that wait.
    pub ready: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

impl Facts {
    /// Takes what the fleet's list tells; `silent` tells for how long from a time as it is written there.
    pub fn take_agents(&mut self, list: AgentList, silent: impl Fn(&str) -> Option<Duration>) {
        self.agents.extend(list.agents.into_iter().map(|agent| Agent {
            silent: agent.last_seen.as_deref().and_then(&silent),
            oldest: Duration::from_millis(agent.oldest_unacknowledged_ms.unwrap_or(0)),
            bytes_behind: agent.bytes_behind.unwrap_or(0),
            id: agent.id,
            version: agent.version,
        }));
    }

    /// Takes what the groups' list tells.
    pub fn take_groups(&mut self, list: GroupList) {
        let group = |group: skidway_wire::groups::GroupSummary| Group {
            name: group.name,
            members: group.members,
            lag: group.lag,
        };
        self.groups.extend(list.groups.into_iter().map(group));
    }

    /// Takes what the queues' list tells.
    pub fn take_queues(&mut self, list: QueueList) {
        self.queues.extend(list.queues.into_iter().map(|queue| Queue {
            oldest: Duration::from_millis(queue.oldest_age_ms.unwrap_or(0)),
            ready: queue.ready,
            dead_letters: queue.dead_letters,
            name: queue.name,
        }));
    }

    /// Takes what a topic takes and may take.
    pub fn take_topic(&mut self, topic: &TopicDescription) {
        self.retained_bytes += topic.partitions.iter().map(|partition| partition.bytes).sum::<u64>();
        let bound = topic.config.retention.bytes.as_deref().and_then(ByteSize::parse);
        let most = bound.map(|each| each.0.saturating_mul(u64::from(topic.config.partitions)));
        self.retained_bytes_max = self.retained_bytes_max.zip(most).map(|(sum, most)| sum.saturating_add(most));
    }
}

/// Judges a collector that answers.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    connection(facts, &mut findings);
    disk(facts, &mut findings);
    process(facts, &mut findings);
    facts.agents.iter().for_each(|agent| fleet(agent, facts, &mut findings));
    sinks(&facts.sinks, &mut findings);
    facts.groups.iter().for_each(|group| lag(group, &mut findings));
    facts.queues.iter().for_each(|it| queue(it, &mut findings));
    findings
}

fn connection(facts: &Facts, findings: &mut Vec<Finding>) {
    if facts.unencrypted {
        findings.push(Finding::warning(
            "connection",
            "it is not encrypted, and leaves this machine",
            "whoever is on the way reads log lines and tokens, and may change them",
            "configure [http.tls] (docs/security.md) and name the collector by https://",
        ));
    }
    findings.extend(judge_clock(facts.clock_ahead_seconds));
    let version = facts.about.as_ref().map_or("", |about| about.version.as_str());
    if !version.is_empty() && version != facts.own_version {
        findings.push(Finding::note(
            "version",
            format!("the collector is {version}, this program {}", facts.own_version),
            "a newer program may ask for what an older collector has not got",
            "finish the upgrade (docs/operations.md)",
        ));
    }
}

/// Judges by how many seconds a collector's clock is ahead of ours.
pub fn judge_clock(ahead_seconds: Option<i64>) -> Option<Finding> {
    let ahead = ahead_seconds.filter(|ahead| ahead.unsigned_abs() > SKEW_MAX.as_secs())?;
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    let by = age(Duration::from_secs(ahead.unsigned_abs()));
    Some(Finding::warning(
        "clock",
        format!("the collector's clock is {by} {side} this machine's"),
        "times of records, retention by age and tokens that expire go by it",
        "timedatectl status, on both machines; keep them in time with chrony or systemd-timesyncd",
    ))
}

fn disk(facts: &Facts, findings: &mut Vec<Finding>) {
    let metrics = &facts.metrics;
    let free = metrics.value("skidway_collector_disk_free_bytes");
    let total = metrics.value("skidway_collector_disk_size_bytes").filter(|total| *total > 0.0);
    let Some((free, total)) = free.zip(total) else { return };
    let what = format!("{} of {} are free", size(free as u64), size(total as u64));
    let todo =
        "skidway topics shows what is large; skidway topics alter TOPIC --retention-bytes 5GiB, or enlarge the disk";
    let why = "when engine.reserve_bytes is not free, commits are refused and agents wait";
    match free / total {
        share if share < 0.05 => findings.push(Finding::problem("disk", what, why, todo)),
        share if share < 0.15 => findings.push(Finding::warning("disk", what, why, todo)),
        _ => {}
    }
    let room = free as u64 + facts.retained_bytes;
    match facts.retained_bytes_max {
        Some(most) if most > room => findings.push(Finding::warning(
            "retention",
            format!("topics may come to {}, and there is room for {}", size(most), size(room)),
            "the disk is full before retention deletes anything by size",
            "lower [topics] retention.bytes (of each partition), or that of single topics: skidway topics alter",
        )),
        None => findings.push(Finding::note(
            "retention",
            "a topic is kept without a bound of bytes",
            "only age, compaction or somebody deleting keeps it from filling the disk",
            "skidway topics show TOPIC; skidway topics alter TOPIC --retention-bytes 10GiB",
        )),
        Some(_) => {}
    }
}

fn process(facts: &Facts, findings: &mut Vec<Finding>) {
    let metrics = &facts.metrics;
    if metrics.by("skidway_collector_config_info", "durability").any(|(durability, _)| durability == "os") {
        findings.push(Finding::warning(
            "durability",
            "engine.durability is \"os\"",
            "a power cut may take lines that were acknowledged, and agents will not send them again",
            "set engine.durability = \"fsync\" unless losing the last moments is meant",
        ));
    }
    if let Some(most) = metrics.value("process_max_fds").filter(|most| *most < DESCRIPTORS_MIN) {
        findings.push(Finding::warning(
            "descriptors",
            format!("the collector may have {} files and connections open", count(most as u64)),
            "each connection and each open segment takes one",
            "systemctl edit skidway-collector: [Service] LimitNOFILE=65536",
        ));
    }
    let slow = metrics.share_within("skidway_collector_sync_seconds", "0.25").filter(|within| *within < 0.99);
    if let Some(within) = slow {
        findings.push(Finding::warning(
            "fsync",
            format!("{:.0} % of writes and syncs took longer than 250 ms", 100.0 * (1.0 - within)),
            "every acknowledgement waits for one",
            "iostat -x 1 shows who else writes to the disk; give data_dir a disk of its own",
        ));
    }
    let counters = [
        (
            "skidway_damaged_batches_total",
            "damage",
            "damaged places were met in the log",
            "skidway-collector log verify, with the collector stopped; then docs/collector.md, repair",
        ),
        (
            "skidway_collector_lost_bytes_total",
            "loss",
            "bytes of log files were gone before an agent could read them",
            "skidway tail __skidway.events says of which file, and why",
        ),
        (
            "skidway_sink_lost_records_total",
            "loss",
            "records are in no file of a sink",
            "skidway sinks says of which; raise engine.pinned_bytes",
        ),
        (
            "skidway_group_lost_records_total",
            "loss",
            "records were deleted before a group read them",
            "keep records longer: skidway topics alter TOPIC --retention-age 7d",
        ),
    ];
    for (name, about, what, todo) in counters {
        let sum = metrics.sum(name);
        if sum > 0.0 {
            let what = format!("{} {what} since the collector started", count(sum as u64));
            findings.push(Finding::problem(about, what, "what is lost does not come back by itself", todo));
        }
    }
    let refused = metrics.value("skidway_collector_connections_refused_total").filter(|refused| *refused > 0.0);
    if let Some(refused) = refused {
        findings.push(Finding::warning(
            "connections",
            format!("{} were refused", counted(refused as u64, "connection")),
            "agents and readers beyond http.connections_max get 503",
            "raise http.connections_max and LimitNOFILE together",
        ));
    }
}

fn fleet(agent: &Agent, facts: &Facts, findings: &mut Vec<Finding>) {
    let about = format!("agent {}", agent.id);
    let Some(silent) = agent.silent else {
        findings.push(Finding::note(
            about,
            "it has not been heard of since the collector started",
            "its lines do not arrive, unless it was taken away",
            "on its machine: systemctl status skidway-agent; skidway-agent status",
        ));
        return;
    };
    if silent > SILENT {
        findings.push(Finding::problem(
            about,
            format!("it has been silent for {}", age(silent)),
            "its lines do not arrive; files that are deleted meanwhile may be lost",
            "on its machine: systemctl status skidway-agent; skidway doctor --agent http://127.0.0.1:7071",
        ));
    } else if agent.oldest > BEHIND {
        findings.push(Finding::warning(
            about.clone(),
            format!("its oldest line has waited for {}; {} wait", age(agent.oldest), size(agent.bytes_behind)),
            "readers see its lines late",
            "on its machine: skidway-agent status names the files",
        ));
    }
    let collector = facts.about.as_ref().map_or("", |about| about.version.as_str());
    if agent.version != collector && !collector.is_empty() {
        findings.push(Finding::note(
            format!("agent {}", agent.id),
            format!("it is {}, the collector {collector}", agent.version),
            "neighbouring versions work together; do not leave it so for long",
            "upgrade the agent (docs/operations.md)",
        ));
    }
}

fn sinks(list: &SinkList, findings: &mut Vec<Finding>) {
    for sink in &list.sinks {
        let about = format!("sink {}", sink.name);
        let why = "its records wait in the log, up to engine.pinned_bytes; past it they are in no file";
        match sink.state.as_str() {
            "failing" => {
                let trouble = sink.trouble.as_deref().unwrap_or("it does not say why");
                findings.push(Finding::problem(about, trouble, why, format!("skidway sinks show {}", sink.name)));
            }
            "paused" => {
                let what = format!("it is paused, {} behind", counted(sink.behind, "record"));
                findings.push(Finding::warning(about, what, why, format!("skidway sinks resume {}", sink.name)));
            }
            _ => {}
        }
    }
    if let Some(seconds) = list.full_in_seconds.filter(|seconds| *seconds < 86_400) {
        findings.push(Finding::problem(
            "sinks",
            format!("engine.pinned_bytes is used up in {}", age(Duration::from_secs(seconds))),
            "then records go from the log without being in a file",
            "repair the sink that stands still (skidway sinks), or raise engine.pinned_bytes",
        ));
    }
}

fn lag(group: &Group, findings: &mut Vec<Finding>) {
    if group.lag > 0 && group.members == 0 {
        findings.push(Finding::warning(
            format!("group {}", group.name),
            format!("{} wait, and it has no member", counted(group.lag, "record")),
            "nobody reads for it; retention deletes what it has not read",
            format!("start its readers, or skidway groups delete {}", group.name),
        ));
    } else if group.lag > 100_000 {
        findings.push(Finding::warning(
            format!("group {}", group.name),
            format!("it is {} behind", counted(group.lag, "record")),
            "what it does with records it does late",
            format!("skidway groups show {}; add members, up to the number of partitions", group.name),
        ));
    }
}

fn queue(queue: &Queue, findings: &mut Vec<Finding>) {
    if queue.dead_letters > 0 {
        findings.push(Finding::warning(
            format!("queue {}", queue.name),
            format!("it has {}", counted(queue.dead_letters, "dead letter")),
            "work that nobody could do",
            format!("skidway queues show {}; repair the cause, then skidway queues redrive {}", queue.name, queue.name),
        ));
    }
    if queue.ready > 0 && queue.oldest > Duration::from_secs(3600) {
        findings.push(Finding::warning(
            format!("queue {}", queue.name),
            format!("its oldest record has waited for {}", age(queue.oldest)),
            "nobody receives, or too few",
            format!("skidway queues show {}; start workers", queue.name),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Severity;
    use skidway_wire::http::SinkSummary;

    fn healthy() -> Facts {
        let metrics = "skidway_collector_disk_free_bytes 900\nskidway_collector_disk_size_bytes 1000\n\
            process_max_fds 65536\nskidway_collector_config_info{durability=\"fsync\"} 1\n\
            skidway_collector_sync_seconds_bucket{le=\"0.25\"} 100\nskidway_collector_sync_seconds_count 100\n";
        let about = About { log_id: String::new(), log_epoch: 1, engine: String::new(), version: "1".to_owned() };
        Facts {
            about: Some(about),
            own_version: "1".to_owned(),
            clock_ahead_seconds: Some(1),
            retained_bytes_max: Some(500),
            agents: vec![agent()],
            metrics: Exposition::parse(metrics),
            ..Facts::default()
        }
    }

    fn agent() -> Agent {
        Agent {
            id: "web-1".to_owned(),
            version: "1".to_owned(),
            silent: Some(Duration::from_secs(1)),
            ..Agent::default()
        }
    }

    fn with(metrics: &str) -> Facts {
        Facts { metrics: Exposition::parse(metrics), ..healthy() }
    }

    fn sink(state: &str) -> Facts {
        let text = serde_json::json!({
            "name": "s", "url": "u", "format": "f", "state": state, "trouble": "no bucket", "trouble_since": null, "last_error": null,
            "last_file": null, "files": 0, "records": 0, "bytes": 0, "lost_records": 0, "late_dropped_records": 0, "behind": 2,
            "cuts": {}, "partitions": []
        });
        let sink: SinkSummary = serde_json::from_value(text).unwrap();
        Facts { sinks: SinkList { sinks: vec![sink], ..SinkList::default() }, ..healthy() }
    }

    #[test]
    fn a_healthy_collector_has_no_findings() {
        assert_eq!(judge(&healthy()), []);
    }

    #[test]
    fn each_thing_that_is_wrong_is_found() {
        use Severity::{Note, Problem, Warning};
        let secs = Duration::from_secs;
        let of = |agent: Agent| Facts { agents: vec![agent], ..healthy() };
        let group = |members, lag| Facts { groups: vec![Group { name: "g".into(), members, lag }], ..healthy() };
        let queue = |oldest, ready, dead_letters| Facts {
            queues: vec![Queue { name: "q".into(), oldest: secs(oldest), ready, dead_letters }],
            ..healthy()
        };
        let full = SinkList { full_in_seconds: Some(60), ..SinkList::default() };
        let cases = [
            (Facts { unencrypted: true, ..healthy() }, Warning, "connection"),
            (Facts { clock_ahead_seconds: Some(-60), ..healthy() }, Warning, "clock"),
            (Facts { own_version: "2".into(), ..healthy() }, Note, "version"),
            (with("skidway_collector_disk_free_bytes 600\nskidway_collector_disk_size_bytes 90000"), Problem, "disk"),
            (Facts { retained_bytes_max: Some(2000), ..healthy() }, Warning, "retention"),
            (Facts { retained_bytes_max: None, ..healthy() }, Note, "retention"),
            (with("skidway_collector_config_info{durability=\"os\"} 1"), Warning, "durability"),
            (with("process_max_fds 1024"), Warning, "descriptors"),
            (
                with("skidway_collector_sync_seconds_bucket{le=\"0.25\"} 9\nskidway_collector_sync_seconds_count 10"),
                Warning,
                "fsync",
            ),
            (with("skidway_damaged_batches_total 1"), Problem, "damage"),
            (with("skidway_collector_lost_bytes_total 7"), Problem, "loss"),
            (with("skidway_collector_connections_refused_total 7"), Warning, "connections"),
            (of(Agent { silent: Some(secs(600)), ..agent() }), Problem, "agent web-1"),
            (of(Agent { silent: None, ..agent() }), Note, "agent web-1"),
            (of(Agent { oldest: secs(61), ..agent() }), Warning, "agent web-1"),
            (of(Agent { version: "0".into(), ..agent() }), Note, "agent web-1"),
            (sink("failing"), Problem, "sink s"),
            (sink("paused"), Warning, "sink s"),
            (Facts { sinks: full, ..healthy() }, Problem, "sinks"),
            (group(0, 1), Warning, "group g"),
            (group(1, 1_000_000), Warning, "group g"),
            (queue(0, 0, 1), Warning, "queue q"),
            (queue(7200, 1, 0), Warning, "queue q"),
        ];
        for (facts, severity, about) in cases {
            let found: Vec<_> = judge(&facts).into_iter().map(|it| (it.severity, it.about)).collect();
            assert_eq!(found, [(severity, about.to_owned())]);
        }
    }
}
