//! What most tests of the agent begin and end with: an agent that follows a folder, and every line of it in the topic, once.

use std::path::Path;

use crate::verify::verify;
use crate::writer::Writer;
use crate::{Agent, Collector, Site, topic, wait};

/// The topic the lines go to.
const TOPIC: &str = "app";

/// Makes a site with a collector and an agent that follows `logs/*.log*` into topic `app`.
///
/// # Panics
/// When either does not become ready.
pub fn following() -> (Site, Collector, Agent) {
    following_with("")
}

/// Does the same with further lines in the agent's `[agent]` table.
///
/// # Panics
/// As [`following`].
pub fn following_with(agent_keys: &str) -> (Site, Collector, Agent) {
    let site = Site::new();
    let (collector, agent) = following_in(&site, &site.path("logs"), agent_keys);
    (site, collector, agent)
}

/// Does the same in a folder that is there already.
///
/// # Panics
/// As [`following`].
pub fn following_in(site: &Site, folder: &Path, agent_keys: &str) -> (Collector, Agent) {
    let collector = site.collector().started();
    let agent = site.agent("a", &collector.url()).with_agent(agent_keys);
    let agent = agent.follows(&format!("{}/*.log*", folder.display()), TOPIC).started();
    (collector, agent)
}

/// Waits for as many lines as are expected, stops the agent and compares, order aside.
///
/// # Panics
/// When lines are missing, or others came.
#[track_caller]
pub fn check_lines(collector: &Collector, mut agent: Agent, expected: &[&str]) {
    topic::wait_for(&collector.client(), TOPIC, expected.len() as u64);
    assert_eq!(agent.program().stop(), Some(0));
    let mut values = topic::values(&collector.client(), TOPIC);
    values.sort();
    assert_eq!(values, expected);
}

/// Waits for as many lines as were written, stops the agent and checks each one, and the order in each file.
///
/// # Panics
/// When lines are missing, doubled, damaged or out of order.
#[track_caller]
pub fn check_writers(collector: &Collector, mut agent: Agent, writers: &[Writer]) {
    check_arrived(collector, &mut agent, writers);
}

#[track_caller]
fn check_arrived(collector: &Collector, agent: &mut Agent, writers: &[Writer]) {
    topic::wait_for(&collector.client(), TOPIC, writers.iter().map(Writer::lines).sum());
    assert_eq!(agent.program().stop(), Some(0));
    let report = verify(writers, &topic::read(&collector.client(), TOPIC));
    assert!(report.is_perfect(), "{report:#?}");
}

/// Does the same with writers of one file each of `lines` lines, which may have been too short-lived for the agent: all lines of a file
/// arrive, or it is counted as missed.
///
/// # Panics
/// As [`check_writers`].
#[track_caller]
pub fn check_writers_but_missed(collector: &Collector, agent: Agent, mut writers: Vec<Writer>, lines: u64) {
    let arrived = || topic::count(&collector.client(), TOPIC);
    let all = lines * writers.len() as u64;
    wait::until("each file arrived or is missed", || (arrived() + lines * agent.missed_files() >= all).then_some(()));
    let missed = agent.missed_files();
    let values = topic::values(&collector.client(), TOPIC);
    writers.retain(|writer| values.iter().any(|value| value.starts_with(&format!("{} ", writer.name()))));
    assert_eq!(writers.len() as u64, all / lines - missed, "{missed} files are counted as missed");
    check_writers(collector, agent, &writers);
}

/// Writes lines in small steps to four files in `logs` while `meanwhile` happens, then checks that every line arrived once and in order.
///
/// # Panics
/// As [`check_writers`].
#[track_caller]
pub fn check_while(site: &Site, collector: &Collector, agent: &mut Agent, mut meanwhile: impl FnMut(u32, &mut Agent)) {
    let mut writers: Vec<Writer> =
        (0..4).map(|at| Writer::new(&site.path("logs"), &format!("w{at}"), 256 << 10, at)).collect();
    for step in 0..60 {
        for writer in &mut writers {
            writer.write(50);
        }
        meanwhile(step, agent);
    }
    check_arrived(collector, agent, &writers);
}
