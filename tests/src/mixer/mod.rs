//! The mixer: some tens of programs write, rotate, pack, truncate and delete log files in all the ways there are, while agent and collector are
//! killed, frozen and cut off and the agent's state is damaged. Everything is drawn from a seed. Afterwards the topic is compared with what was
//! written, line by line, and the loss records with what was destroyed.
//!
//! What nobody can survive counts as destroyed: a file deleted that no running agent held, bytes truncated away, lines written between the
//! copying and the truncation of `copytruncate`. Then the loss must be in the ledger, exact or as a bound, if the agent could know of it.

pub mod chronicle;
pub mod family;
pub mod incarnation;
pub mod ledger;
pub mod network;
pub mod oracle;
pub mod rotation;
pub mod style;
pub mod timeline;
pub mod weather;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::{Agent, Site, topic, wait};
use chronicle::Chronicle;
use family::Family;
use network::Network;
use oracle::Report;
use weather::Weather;

const TOPIC: &str = "mixed";
const AGENT: &str = "mixer";

/// Programs that write, at most and at least.
const FAMILIES: std::ops::Range<usize> = 12..36;

/// So long the end of all work may take.
const PATIENCE: Duration = Duration::from_secs(150);

/// Nothing may happen for so long before a run counts as ended; longer than copies are held.
const QUIET: Duration = Duration::from_secs(5);

/// So long rounds write, one after the other.
const ROUNDS: [Duration; 4] =
    [Duration::from_secs(10), Duration::from_secs(30), Duration::from_secs(90), Duration::from_secs(60)];

/// Says what to do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Chooses everything but the moments that the machine chooses.
    pub seed: u64,
    /// So long files are written.
    pub length: Duration,
}

/// Says what happened.
#[derive(Debug)]
pub struct Outcome {
    /// What was done, by kind.
    pub operations: BTreeMap<&'static str, u64>,
    /// The promise.
    pub report: Report,
}

impl Outcome {
    /// Counts the kills of either program.
    pub fn kills(&self) -> u64 {
        ["kill-agent", "kill-collector"].iter().filter_map(|kind| self.operations.get(kind)).sum()
    }
}

/// Runs one round after the other, each with the next seed, until so much time is over; gives the sums.
///
/// # Panics
/// When a round is at fault.
pub fn rounds(first_seed: u64, length: Duration, say: impl Fn(&str)) -> String {
    let started = Instant::now();
    let (mut rounds, mut sums, mut operations) = (0, Report::default(), BTreeMap::new());
    while rounds == 0 || started.elapsed() < length {
        let seed = first_seed + rounds;
        let left = length.saturating_sub(started.elapsed());
        let round = ROUNDS[seed as usize % ROUNDS.len()].min(left.max(ROUNDS[0]));
        let outcome = run(&Plan { seed, length: round });
        say(&format!(
            "{:>5} s: seed {seed}, {round:?}: {} kills, {}",
            started.elapsed().as_secs(),
            outcome.kills(),
            outcome.report
        ));
        rounds += 1;
        sums.add(&outcome.report);
        for (kind, count) in outcome.operations {
            *operations.entry(kind).or_default() += count;
        }
    }
    let by_kind: Vec<String> = operations.iter().map(|(kind, count): (_, &u64)| format!("{kind} {count}")).collect();
    format!("{rounds} rounds in {} s: {sums}\n{}", started.elapsed().as_secs(), by_kind.join(", "))
}

/// Runs the plan in a place of its own; a fault's traces are printed, and kept.
///
/// # Panics
/// When a program does not start, stop or catch up.
pub fn run(plan: &Plan) -> Outcome {
    let site = Site::new();
    eprintln!("mixer: seed {}, {:?}, in {}", plan.seed, plan.length, site.text(""));
    let mut random = StdRng::seed_from_u64(plan.seed);
    let chronicle = Arc::new(Chronicle::new(site.path("chronicle")));
    let engine = "[engine]\ncheckpoint_bytes = \"2MiB\"\nsegment_bytes = \"1MiB\"";
    let collector = site.collector().with(engine).started();
    let network = Network::start(collector.port());
    let (agent, lets_go_early) = configured(site.agent(AGENT, &network.url()), &site, &mut random, &chronicle);
    let agent = agent.started();
    std::fs::create_dir(site.path("away")).expect("a folder is created");

    let stop = Arc::new(AtomicBool::new(false));
    let mut weather = Weather::new(agent, collector, network, chronicle.clone(), random.random());
    weather.timeline.lets_go_early = lets_go_early;
    let (stopped, folder, shared, seed) = (stop.clone(), site.path("logs"), chronicle.clone(), random.random());
    let length = plan.length;
    let writing = std::thread::spawn(move || {
        let families = write_for(length, &folder, seed, &shared);
        stopped.store(true, Ordering::SeqCst);
        families
    });
    let mut weather = weather.run(&stop);
    let families = writing.join().expect("the programs write");
    let busy = drain(&mut weather);
    let report = judge(&weather, &families);
    let code = weather.agent.program().stop();
    let report = match report {
        report if report.is_perfect() && busy.is_empty() && code == Some(0) => {
            again(&mut weather, &families).unwrap_or(report)
        }
        report => report,
    };
    if !report.is_perfect() || !busy.is_empty() || code != Some(0) {
        tell(&report, &chronicle, plan.seed);
        assert!(busy.is_empty(), "seed {}: the agent does not come to an end: {busy:#?}", plan.seed);
        assert_eq!(code, Some(0), "seed {}: the agent stops", plan.seed);
    }
    let outcome = Outcome { operations: chronicle.counts(), report };
    assert!(outcome.report.is_perfect(), "seed {}: {:#?}", plan.seed, outcome.report);
    outcome
}

/// Draws the agent's limits; tells whether it lets go of deleted files early.
fn configured(agent: Agent, site: &Site, random: &mut StdRng, chronicle: &Chronicle) -> (Agent, bool) {
    let mut draw = |choices: &[&str]| choices[random.random_range(0..choices.len())].to_owned();
    let keys = format!(
        "scan_interval = \"{}\"\ncopy_wait = \"{}\"\nrenamed_follow = \"{}\"\nopen_files_max = {}\ndeleted_files_max = \"{}\"\n\
         deleted_age_max = \"{}\"\nmemory_bytes_max = \"{}\"\nshutdown_timeout = \"2s\"",
        draw(&["1s", "1s", "3s", "10s"]),
        draw(&["1s", "2s", "3s"]),
        draw(&["1s", "3s", "15m"]),
        draw(&["0", "0", "0", "100", "20"]),
        draw(&["1GiB", "1GiB", "256KiB"]),
        draw(&["1h", "1h", "3s"]),
        draw(&["12MiB", "12MiB", "2MiB"]),
    );
    chronicle.note("agent", "configured", keys.replace('\n', "; "));
    let input = format!(
        "[[inputs]]\ninclude = [{:?}]\ntopic = {TOPIC:?}\npartial_flush = \"30s\"\n[log]\nlevel = \"info,skidway_agent=debug\"",
        site.text("logs/*.log*")
    );
    let is_patient = ["\"15m\"", "\"1GiB\"", "\"1h\"", "open_files_max = 0"].iter().all(|limit| keys.contains(limit));
    (agent.with_agent(&keys).with(&input), !is_patient)
}

/// Lets the programs write, each a step now and then; afterwards all files are complete and in their places.
fn write_for(length: Duration, folder: &Path, seed: u64, chronicle: &Arc<Chronicle>) -> Vec<Family> {
    let mut random = StdRng::seed_from_u64(seed);
    let count = random.random_range(FAMILIES);
    let mut families: Vec<Family> = (0..count)
        .map(|number| Family::new(folder, &format!("w{number}"), random.random(), chronicle.clone()))
        .collect();
    let until = Instant::now() + length;
    while Instant::now() < until {
        // Busy and quiet times.
        let pause_ms = [1, 5, 20, 20, 40][random.random_range(0..5)];
        for _ in 0..random.random_range(10..200) {
            let which = random.random_range(0..families.len());
            families[which].step();
            wait::pause(Duration::from_millis(random.random_range(0..=pause_ms)));
            if Instant::now() >= until {
                break;
            }
        }
    }
    families.iter_mut().for_each(Family::end);
    chronicle.note("files", "end", "");
    families
}

/// Waits until everything is acknowledged and nothing more comes; gives what is still under way when patience is over.
fn drain(weather: &mut Weather) -> Vec<String> {
    let client = weather.collector.client();
    let until = Instant::now() + PATIENCE;
    let (mut since, mut before) = (Instant::now(), 0);
    loop {
        weather.watch(Duration::from_millis(500), None);
        let busy = under_way(weather);
        let count = topic::count(&client, TOPIC);
        if !busy.is_empty() || count != before {
            (since, before) = (Instant::now(), count);
        }
        if since.elapsed() > QUIET || Instant::now() > until {
            return busy;
        }
    }
}

/// Lists the files that are not acknowledged to their ends.
fn under_way(weather: &Weather) -> Vec<String> {
    let Some(status) = weather.agent.status() else { return vec!["no status".to_owned()] };
    if status["session_epoch"].is_null() {
        return vec!["no session".to_owned()];
    }
    let is_busy = |file: &&serde_json::Value| {
        file["bytes_behind"] != 0 || matches!(file["state"].as_str(), Some("reading" | "blocked"))
    };
    let files = status["files"].as_array().map_or(&[][..], Vec::as_slice);
    files.iter().filter(is_busy).map(ToString::to_string).collect()
}

fn judge(weather: &Weather, families: &[Family]) -> Report {
    let client = weather.collector.client();
    let (mut report, arrived) = oracle::verify(families, &topic::read(&client, TOPIC), &weather.timeline);
    ledger::audit(&mut report, &client, AGENT, families, &arrived, &weather.timeline);
    report
}

/// Starts the agent once more, without its checkpoint: nothing may come again. Gives the report if that is not so.
fn again(weather: &mut Weather, families: &[Family]) -> Option<Report> {
    for number in 0..2 {
        let _absent = std::fs::remove_file(weather.agent.state_dir().join(format!("checkpoint.{number}")));
    }
    weather.agent.start();
    weather.agent.wait_ready();
    let busy = drain(weather);
    weather.agent.program().stop();
    let mut report = judge(weather, families);
    if !busy.is_empty() {
        report.lost += 1;
        report.fault("agent", "drain".to_owned(), format!("started once more, it comes to no end: {busy:?}"));
    }
    Some(report)
}

/// Prints what a fault's cause may be found in.
fn tell(report: &Report, chronicle: &Chronicle, seed: u64) {
    eprintln!("mixer: seed {seed}: {report:#?}");
    let mut whose: Vec<&str> = report.faults.iter().map(|fault| fault.whose.as_str()).collect();
    whose.dedup();
    for name in whose.iter().take(3) {
        eprintln!("--- the last of {name} in {}:\n{}", chronicle.path().display(), chronicle.last_of(name, 60));
    }
}
