//! What goes wrong in the log soak: the collector is killed, the disk is full, records are deleted. It brings the collector back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::image::Image;
use crate::soak::Scene;
use crate::{Collector, wait};

/// Longest time between two events.
const QUIET_MAX: Duration = Duration::from_secs(20);

/// Longest time the disk stays full.
const FULL_MAX: Duration = Duration::from_secs(8);

/// How often it is looked whether the collector runs.
const LOOK: Duration = Duration::from_millis(100);

/// Holds the collector and its disk.
pub struct Chaos<'a> {
    scene: Scene,
    random: StdRng,
    collector: Collector,
    image: Option<&'a Image>,
}

impl<'a> Chaos<'a> {
    /// Takes the collector over.
    pub fn new(scene: Scene, seed: u64, collector: Collector, image: Option<&'a Image>) -> Self {
        Self { scene, random: StdRng::seed_from_u64(seed), collector, image }
    }

    /// Makes trouble until told to stop; then the collector is stopped in order.
    ///
    /// # Panics
    /// When the collector does not start again, or does not stop.
    pub fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            self.supervise(QUIET_MAX, stop);
            match self.random.random_range(0..10) {
                0..5 => self.kill(),
                5..8 => self.fill_up(stop),
                _ => self.delete_records(),
            }
        }
        assert_eq!(self.collector.program().stop(), Some(0), "it said:\n{}", self.collector.program().last_words());
    }

    /// Lets time pass, up to `max`; a collector that ends meanwhile is started again, as a service manager would.
    fn supervise(&mut self, max: Duration, stop: &AtomicBool) {
        let until = Instant::now() + max.mul_f64(self.random.random_range(0.0..1.0));
        while Instant::now() < until && !stop.load(Ordering::SeqCst) {
            if !self.collector.program().runs() {
                self.scene.add(|c| &c.ended, 1);
                self.collector.start();
            }
            wait::pause(LOOK);
        }
    }

    fn kill(&mut self) {
        self.collector.program().kill9();
        self.scene.add(|c| &c.kills, 1);
        wait::pause(Duration::from_millis(self.random.random_range(0..1000)));
        self.collector.start();
    }

    /// Fills the disk up for a while, sometimes with a kill in between: a start must find room.
    fn fill_up(&mut self, stop: &AtomicBool) {
        let Some(image) = self.image else { return };
        let full = image.fill();
        self.scene.add(|c| &c.fills, 1);
        self.supervise(FULL_MAX, stop);
        if self.random.random_range(0..3) == 0 {
            self.kill();
            self.supervise(FULL_MAX, stop);
        }
        drop(full);
    }

    /// Deletes some of the records of a partition of `dropping`.
    fn delete_records(&mut self) {
        let Some(answer) = self.scene.client.try_get("/v1/topics/dropping", &[]) else { return };
        let partition = self.random.random_range(0..2);
        let described = answer.json()["partitions"][partition].clone();
        let offset = |name: &str| described[name].as_u64();
        let (Some(start), Some(end)) = (offset("log_start_offset"), offset("high_watermark")) else { return };
        let before = start + self.random.random_range(0..=end - start);
        let path = format!("/v1/topics/dropping/records?partition={partition}&before_offset={before}");
        if let Some(answer) = self.scene.client.try_delete(&path) {
            assert!(matches!(answer.status, 200 | 500..), "{}: {}", answer.status, answer.text());
            self.scene.add(|c| &c.deletions, 1);
        }
    }
}
