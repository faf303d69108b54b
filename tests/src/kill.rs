//! The kill test: ten writers over rotating files, agent and collector killed with -9 at random moments, every line counted.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::verify::{Report, verify_topic};
use crate::writer::Writer;
use crate::{Agent, Collector, Site, topic, wait};

const TOPIC: &str = "lines";
const WRITERS: u64 = 10;
const ROTATE_BYTES: u64 = 1 << 20;
const BYTES_PER_SECOND: u64 = 6_000_000;
const LINES_PER_WRITE: u64 = 40;
/// Writers write all the time, so a busy moment is never far.
const BUSY_WITHIN: Duration = Duration::from_secs(2);

/// Says what to do; all of it follows from the seed but the moments the machine chooses.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Chooses lines, victims and moments.
    pub seed: u64,
    /// How often each of the two programs is killed.
    pub kills_each: u32,
    /// The longest time between two kills.
    pub pause_max: Duration,
}

/// Says what happened.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Kills of either program.
    pub kills: u32,
    /// Kills at whose moment the agent had bytes that were not acknowledged.
    pub kills_with_unacknowledged: u32,
    /// Bytes written per second, while the writers wrote.
    pub bytes_per_second: f64,
    /// The promise.
    pub report: Report,
}

#[derive(Debug, Clone, Copy)]
enum Victim {
    Agent,
    Collector,
}

/// Runs the plan in a place of its own.
///
/// # Panics
/// When a program does not start again or does not catch up.
pub fn run(plan: &Plan) -> Outcome {
    let site = Site::new();
    // Small enough that checkpoints and new segments fall between the kills.
    let engine = "[engine]\ndurability = \"fsync\"\ncheckpoint_bytes = \"2MiB\"\nsegment_bytes = \"1MiB\"";
    let mut collector = site.collector().with(engine).started();
    let pattern = site.text("logs/*.log*");
    let mut agent = site.agent("killed", &collector.url()).follows(&pattern, TOPIC).started();

    let stop = Arc::new(AtomicBool::new(false));
    let (folder, seed, stopped) = (site.path("logs"), plan.seed, stop.clone());
    let writing = std::thread::spawn(move || write_until(&folder, seed, &stopped));
    let kills_with_unacknowledged = kill_all(plan, &mut agent, &mut collector);
    stop.store(true, Ordering::SeqCst);
    let (writers, bytes_per_second) = writing.join().expect("the writers write");

    let client = collector.client();
    let written = writers.iter().map(Writer::lines).sum();
    // A lost line shows as a topic that stays short: the report then says which.
    let _ = wait::within(Duration::from_secs(90), || (topic::count(&client, TOPIC) >= written).then_some(()));
    assert_eq!(agent.program().stop(), Some(0), "the agent stops; it said:\n{}", agent.program().last_words());
    let report = verify_topic(&writers, &client, TOPIC);
    if !report.is_perfect() {
        // Kept for whoever looks for the cause.
        eprintln!("{report:#?}");
        eprintln!("the agent said:\n{}", agent.program().last_words());
    }
    Outcome { kills: 2 * plan.kills_each, kills_with_unacknowledged, bytes_per_second, report }
}

/// Kills as planned; gives the number of kills that met unacknowledged bytes.
fn kill_all(plan: &Plan, agent: &mut Agent, collector: &mut Collector) -> u32 {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut victims = [Victim::Agent, Victim::Collector].repeat(plan.kills_each as usize);
    victims.shuffle(&mut random);
    let mut met = 0;
    for victim in victims {
        wait::pause(random_time(&mut random, plan.pause_max));
        // A quick machine has nothing under way most of the time: three kills in four wait for a moment when it has.
        let patience = if random.random_bool(0.75) { BUSY_WITHIN } else { Duration::ZERO };
        met += u32::from(wait::within(patience, || agent.has_unacknowledged().then_some(())).is_some());
        match victim {
            Victim::Agent => agent.program().kill9(),
            Victim::Collector => collector.program().kill9(),
        }
        wait::pause(random_time(&mut random, plan.pause_max / 4));
        match victim {
            Victim::Agent => agent.start(),
            Victim::Collector => collector.start(),
        }
    }
    met
}

fn random_time(random: &mut StdRng, max: Duration) -> Duration {
    max.mul_f64(random.random_range(0.0..1.0))
}

/// Writes at the planned pace until told to stop; gives the writers and the bytes per second.
fn write_until(folder: &Path, seed: u64, stop: &AtomicBool) -> (Vec<Writer>, f64) {
    let writer = |number| Writer::new(folder, &format!("w{number}"), ROTATE_BYTES, seed ^ number);
    let mut writers: Vec<Writer> = (0..WRITERS).map(writer).collect();
    let (started, mut bytes) = (Instant::now(), 0);
    while !stop.load(Ordering::SeqCst) {
        bytes += writers.iter_mut().map(|writer| writer.write(LINES_PER_WRITE)).sum::<u64>();
        let due = Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND as f64);
        wait::pause(due.saturating_sub(started.elapsed()));
    }
    let bytes_per_second = bytes as f64 / started.elapsed().as_secs_f64();
    (writers, bytes_per_second)
}
