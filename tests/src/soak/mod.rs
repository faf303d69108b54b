//! The log soak: writers, readers, retention, deletions, kills and full disks together, for as long as asked, every line counted.
//!
//! Three topics. `kept` keeps everything: each round ends when its readers have seen every acknowledged line exactly once, in order; then
//! it is deleted and a new round begins. `dropping` is always losing its oldest lines to retention and deletions: its readers may miss
//! what the log start has passed, nothing else. `recreated` is written, read, deleted and created again all the time.

pub mod chaos;
pub mod reading;
pub mod writing;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::image::Image;
use crate::soak::chaos::Chaos;
use crate::soak::reading::{follow_dropping, follow_kept};
use crate::soak::writing::{Writer, write_until};
use crate::{Client, Site, wait};

/// MiB of the file system that is filled up now and then.
const IMAGE_MIB: u64 = 400;

/// Writers of `kept`, one a partition, and as many readers.
const KEPT_WRITERS: u64 = 4;

/// Writers of `dropping`, and its partitions.
const DROPPING_WRITERS: u64 = 2;

/// How long `kept` grows before it begins anew: it must fit on the image.
const ROUND: Duration = Duration::from_secs(600);

/// How long readers may take to see what was acknowledged.
const CATCH_UP: Duration = Duration::from_secs(120);

/// Small files and short times, so that segments, checkpoints, retention and merging fall between the kills.
const ENGINE: &str =
    "[engine]\nsegment_bytes = \"1MiB\"\ncheckpoint_bytes = \"2MiB\"\nreserve_bytes = \"16MiB\"\nmerge_after = \"5s\"";

/// Counts what happened.
#[derive(Debug, Default)]
pub struct Counts {
    /// Lines acknowledged.
    pub written: AtomicU64,
    /// Lines read and checked.
    pub read: AtomicU64,
    /// Requests refused because the disk was full.
    pub full: AtomicU64,
    /// Times a reader was told that its place is gone.
    pub gone: AtomicU64,
    /// Topics deleted and created again.
    pub recreated: AtomicU64,
    /// Calls that deleted records.
    pub deletions: AtomicU64,
    /// Kills of the collector.
    pub kills: AtomicU64,
    /// Times the disk was filled up.
    pub fills: AtomicU64,
    /// Times the collector ended by itself.
    pub ended: AtomicU64,
}

/// Is what all parts share.
#[derive(Debug, Clone)]
pub struct Scene {
    /// Talks to the collector.
    pub client: Client,
    /// What happened.
    pub counts: Arc<Counts>,
    /// Set when all parts are to end.
    pub over: Arc<AtomicBool>,
}

impl Scene {
    /// Adds to a count.
    pub fn add(&self, count: impl Fn(&Counts) -> &AtomicU64, more: u64) {
        count(&self.counts).fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self, count: impl Fn(&Counts) -> &AtomicU64) -> u64 {
        count(&self.counts).load(Ordering::Relaxed)
    }

    /// Sums all up in a line.
    pub fn summary(&self) -> String {
        format!(
            "{} lines written, {} read, {} kills, {} full disks, {} refused with 507, {} places gone, {} topics recreated, {} deletions of \
             records, ended by itself {} times",
            self.get(|c| &c.written),
            self.get(|c| &c.read),
            self.get(|c| &c.kills),
            self.get(|c| &c.fills),
            self.get(|c| &c.full),
            self.get(|c| &c.gone),
            self.get(|c| &c.recreated),
            self.get(|c| &c.deletions),
            self.get(|c| &c.ended),
        )
    }
}

/// Runs for so long; calls `say` once a minute. Gives the summary.
///
/// # Panics
/// When a line is lost, doubled or out of order, or the collector does not come back.
pub fn run(length: Duration, seed: u64, say: impl Fn(&str)) -> String {
    let site = Site::new();
    let image = match Image::mount(&site, IMAGE_MIB) {
        Ok(image) => Some(image),
        Err(reason) => {
            say(&format!("without full disks: {reason}"));
            None
        }
    };
    let data_dir = image.as_ref().map_or(site.path("data"), |image| image.path().join("data"));
    let collector = site.collector().keeping(&data_dir).with(ENGINE).started();
    let scene = Scene { client: collector.client(), counts: Arc::default(), over: Arc::default() };
    std::thread::scope(|scope| {
        // The collector is there until nobody needs it any more.
        let nobody_left = Arc::new(AtomicBool::new(false));
        let _ends_chaos = SetOnDrop(nobody_left.clone());
        let chaos = Chaos::new(scene.clone(), seed, collector, image.as_ref());
        let trouble = scope.spawn({
            let nobody_left = nobody_left.clone();
            move || chaos.run(&nobody_left)
        });
        let parts = [
            scope.spawn({
                let scene = scene.clone();
                move || drop_all_the_time(&scene, seed)
            }),
            scope.spawn({
                let scene = scene.clone();
                move || recreate_all_the_time(&scene, seed)
            }),
        ];
        let _ends_the_parts = SetOnDrop(scene.over.clone());
        let started = Instant::now();
        let mut round = 0;
        while round == 0 || started.elapsed() < length {
            let left = length.saturating_sub(started.elapsed());
            keep_all(&scene, seed, round, left.min(ROUND), |line| {
                say(&format!("{:>4} s: {line}", started.elapsed().as_secs()));
            });
            round += 1;
        }
        scene.over.store(true, Ordering::SeqCst);
        for part in parts {
            part.join().expect("no part of the soak fails");
        }
        nobody_left.store(true, Ordering::SeqCst);
        trouble.join().expect("the collector comes back, and stops in order");
    });
    scene.summary()
}

/// Ends the other parts when one fails.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Plays one round of the topic that keeps everything.
fn keep_all(scene: &Scene, seed: u64, round: u64, length: Duration, say: impl Fn(&str)) {
    create(scene, "kept", &json!({"partitions": KEPT_WRITERS, "retention": {"age": null, "bytes": null}}));
    let written: Vec<AtomicU64> = (0..KEPT_WRITERS).map(|_| AtomicU64::new(0)).collect();
    let (over, caught_up) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..KEPT_WRITERS)
            .map(|number| {
                let writer = Writer::new("kept", number, number as u32, round, seed);
                let (written, over) = (&written[number as usize], &over);
                scope.spawn(move || write_until(scene, writer, written, over))
            })
            .collect();
        let readers = [0, 1].map(|_| scope.spawn(|| follow_kept(scene, "kept", &written, &caught_up)));
        let started = Instant::now();
        while started.elapsed() < length && !scene.over.load(Ordering::SeqCst) {
            wait::pause(Duration::from_secs(60).min(length.saturating_sub(started.elapsed())));
            say(&scene.summary());
            assert!(!readers.iter().any(|reader| reader.is_finished()), "a reader ended");
        }
        over.store(true, Ordering::SeqCst);
        writers.into_iter().for_each(|writer| writer.join().expect("a writer writes to its end"));
        caught_up.store(true, Ordering::SeqCst);
        readers.into_iter().for_each(|reader| reader.join().expect("a reader sees every line once, in order"));
    });
    delete(scene, "kept");
}

/// Writes to and reads a topic that keeps the last MiB or minute of each partition.
fn drop_all_the_time(scene: &Scene, seed: u64) {
    let retention = json!({"age": "60s", "bytes": 1 << 20});
    create(scene, "dropping", &json!({"partitions": DROPPING_WRITERS, "retention": retention}));
    let written: Vec<AtomicU64> = (0..DROPPING_WRITERS).map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        for number in 0..DROPPING_WRITERS {
            let writer = Writer::new("dropping", number, number as u32, 0, seed ^ 77);
            let written = &written[number as usize];
            scope.spawn(move || write_until(scene, writer, written, &scene.over));
        }
        scope.spawn(|| follow_dropping(scene, DROPPING_WRITERS as usize));
    });
}

/// Writes a topic, reads it, deletes it and creates it again.
fn recreate_all_the_time(scene: &Scene, seed: u64) {
    let mut life = 0;
    while !scene.over.load(Ordering::SeqCst) {
        create(scene, "recreated", &json!({"partitions": 1}));
        let (written, over) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let writer = Writer::new("recreated", 0, 0, life, seed ^ 99);
            scope.spawn(|| write_until(scene, writer, &written, &over));
            wait::pause(Duration::from_millis(3000));
            over.store(true, Ordering::SeqCst);
        });
        follow_kept(scene, "recreated", &[written], &AtomicBool::new(true));
        delete(scene, "recreated");
        scene.add(|c| &c.recreated, 1);
        life += 1;
    }
}

/// Creates a topic, as often as it takes.
fn create(scene: &Scene, topic: &str, settings: &serde_json::Value) {
    wait::within(CATCH_UP, || {
        let status = scene.client.try_put(&format!("/v1/topics/{topic}"), settings)?.status;
        matches!(status, 200 | 201).then_some(())
    })
    .unwrap_or_else(|| panic!("topic {topic} cannot be created"));
}

/// Deletes a topic, as often as it takes: an answer may be lost.
fn delete(scene: &Scene, topic: &str) {
    wait::within(CATCH_UP, || {
        let status = scene.client.try_delete(&format!("/v1/topics/{topic}"))?.status;
        matches!(status, 204 | 404).then_some(())
    })
    .unwrap_or_else(|| panic!("topic {topic} cannot be deleted"));
}
