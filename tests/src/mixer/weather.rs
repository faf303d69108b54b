//! What goes wrong beside the files: programs killed, frozen and stopped, answers cut and refused, the agent's checkpoint damaged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::chronicle::Chronicle;
use super::network::{CLEAR, Network};
use super::timeline::Timeline;
use crate::{Agent, Collector, wait};

/// Lies between two looks at the agent.
const LOOK: Duration = Duration::from_millis(100);

/// Holds the programs, and makes the weather.
#[derive(Debug)]
pub struct Weather {
    /// The agent.
    pub agent: Agent,
    /// The collector.
    pub collector: Collector,
    /// How the agent was.
    pub timeline: Timeline,
    network: Network,
    chronicle: Arc<Chronicle>,
    random: StdRng,
    /// Time between two events, at most.
    quiet_max: Duration,
    is_passable: bool,
    /// An older state of the checkpoint's files.
    saved: Vec<(std::path::PathBuf, Vec<u8>)>,
}

impl Weather {
    /// Takes the programs over, which run.
    pub fn new(agent: Agent, collector: Collector, network: Network, chronicle: Arc<Chronicle>, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let quiet_max = Duration::from_millis([1500, 4000, 12_000][random.random_range(0..3)]);
        let (timeline, saved) = (Timeline::default(), Vec::new());
        Self { agent, collector, timeline, network, chronicle, random, quiet_max, is_passable: true, saved }
    }

    /// Makes weather until told to stop; then all is well again.
    ///
    /// # Panics
    /// When a program does not start or stop as it should.
    pub fn run(mut self, stop: &AtomicBool) -> Self {
        while !stop.load(Ordering::SeqCst) {
            let quiet = self.up_to(self.quiet_max);
            self.watch(quiet, Some(stop));
            match self.random.random_range(0..20) {
                0..5 => self.restart_agent(true),
                5..7 => self.restart_agent(false),
                7..9 => self.freeze_agent(),
                9..13 => self.restart_collector(),
                13..15 => self.freeze_collector(),
                15..17 => self.trouble_network("cut-answers", [2, 5, 20]),
                _ => self.trouble_network("refuse", [503, 429, 503]),
            }
        }
        self
    }

    /// Lets time pass, and looks how the agent is.
    pub fn watch(&mut self, time: Duration, stop: Option<&AtomicBool>) {
        let until = Instant::now() + time;
        while Instant::now() < until && !stop.is_some_and(|stop| stop.load(Ordering::SeqCst)) {
            let status = self.agent.status();
            if status.is_some_and(|status| status["session_epoch"].is_u64()) {
                self.timeline.looks_well(Instant::now(), self.is_passable);
            } else {
                self.timeline.breaks();
            }
            wait::pause(LOOK.min(until.saturating_duration_since(Instant::now())));
        }
    }

    fn up_to(&mut self, max: Duration) -> Duration {
        max.mul_f64(self.random.random_range(0.0..1.0))
    }

    fn note(&self, who: &str, kind: &'static str, what: &str) {
        self.chronicle.note(who, kind, what);
    }

    fn restart_agent(&mut self, kills: bool) {
        self.timeline.dies(Instant::now());
        if kills {
            self.agent.program().kill9();
            self.note("agent", "kill-agent", "");
        } else {
            let code = self.agent.program().stop();
            self.note("agent", "stop-agent", &format!("{code:?}"));
        }
        self.meddle();
        let away = self.up_to(Duration::from_secs(3));
        if self.random.random_bool(0.6) {
            wait::pause(away);
        }
        self.agent.start();
        self.note("agent", "start-agent", "");
    }

    /// Does something to the checkpoint, sometimes.
    fn meddle(&mut self) {
        let files: Vec<_> = (0..2).map(|number| self.agent.state_dir().join(format!("checkpoint.{number}"))).collect();
        let what = self.random.random_range(0..8);
        let read = |path: &std::path::PathBuf| std::fs::read(path).ok().map(|bytes| (path.clone(), bytes));
        let before: Vec<_> = files.iter().filter_map(read).collect();
        match what {
            0 => files.iter().for_each(|path| drop(std::fs::remove_file(path))),
            1 => write_all(before.iter().map(|(path, bytes)| (path, bytes.iter().map(|byte| byte ^ 0x55).collect()))),
            2 => write_all(before.iter().map(|(path, bytes)| (path, bytes[..bytes.len() / 2].to_vec()))),
            3 => write_all(self.saved.iter().map(|(path, bytes)| (path, bytes.clone()))),
            _ => {
                if self.random.random_bool(0.3) {
                    self.saved = before;
                }
                return;
            }
        }
        self.timeline.tampered(Instant::now());
        self.note("agent", "damage-state", ["deleted", "garbage", "cut", "set back"][what]);
    }

    fn freeze_agent(&mut self) {
        self.timeline.breaks();
        self.agent.program().freeze();
        self.note("agent", "freeze-agent", "");
        wait::pause(self.random_pause());
        self.agent.program().thaw();
        self.note("agent", "thaw-agent", "");
        self.timeline.breaks();
    }

    fn random_pause(&mut self) -> Duration {
        self.up_to(Duration::from_secs(3))
    }

    fn restart_collector(&mut self) {
        self.is_passable = false;
        if self.random.random_bool(0.7) {
            self.collector.program().kill9();
            self.note("collector", "kill-collector", "");
        } else {
            let code = self.collector.program().stop();
            self.note("collector", "stop-collector", &format!("{code:?}"));
        }
        let away = self.up_to(Duration::from_secs(6));
        if self.random.random_bool(0.6) {
            self.watch(away, None);
        }
        if self.random.random_bool(0.2) {
            self.restart_agent(true);
        }
        self.collector.start();
        self.note("collector", "start-collector", "");
        self.is_passable = true;
    }

    fn freeze_collector(&mut self) {
        self.is_passable = false;
        self.collector.program().freeze();
        self.note("collector", "freeze-collector", "");
        let time = self.random_pause();
        self.watch(time, None);
        self.collector.program().thaw();
        self.note("collector", "thaw-collector", "");
        self.is_passable = true;
    }

    fn trouble_network(&mut self, kind: &'static str, states: [u64; 3]) {
        let state = states[self.random.random_range(0..3)];
        self.is_passable = false;
        self.network.set(state);
        self.note("network", kind, &state.to_string());
        let time = self.up_to(Duration::from_secs(4));
        self.watch(time, None);
        self.network.set(CLEAR);
        self.note("network", "clear", "");
        self.is_passable = true;
    }
}

fn write_all<'a>(files: impl Iterator<Item = (&'a std::path::PathBuf, Vec<u8>)>) {
    for (path, bytes) in files {
        std::fs::write(path, bytes).expect("the checkpoint is written");
    }
}
