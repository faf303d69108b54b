//! A real, small file system that is filled up by others, freed, and breaks down under load. Nothing is lost, nothing comes twice, and
//! nobody has to do anything but make room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;
use skidway_tests::image::Image;
use skidway_tests::soak::reading::follow_kept;
use skidway_tests::soak::writing::{Writer, write_until};
use skidway_tests::soak::{Counts, Scene};
use skidway_tests::{Collector, Site, wait};

const WRITERS: usize = 3;
const ENGINE: &str = "[engine]\nreserve_bytes = \"8MiB\"\nsegment_bytes = \"1MiB\"\ncheckpoint_bytes = \"1MiB\"";

/// Mounts an image, or says why this machine cannot; the test then counts as passed only if that was asked for.
fn image(site: &Site) -> Option<Image> {
    match Image::mount(site, 96) {
        Ok(image) => Some(image),
        Err(_) if std::env::var_os("SKIDWAY_TEST_NO_LOOP").is_some() => None,
        Err(reason) => panic!(
            "a full disk needs a loop-mounted image (root, or sudo without a password): {reason}. Set SKIDWAY_TEST_NO_LOOP=1 to go \
             without this test"
        ),
    }
}

/// Waits until `more` further lines are acknowledged.
#[track_caller]
fn wait_for_lines(scene: &Scene, more: u64) {
    let written = || scene.counts.written.load(Ordering::SeqCst);
    let before = written();
    wait::until("writing goes on", || (written() >= before + more).then_some(()));
}

/// Fills the disk up and lets room again, with a kill and a start in between if asked for.
fn fill_up(scene: &Scene, image: &Image, collector: &mut Collector, with_kill: bool) {
    let refused = || scene.counts.full.load(Ordering::SeqCst);
    let before = refused();
    let full = image.fill();
    wait::until("writers are told that the disk is full", || (refused() > before).then_some(()));
    assert_eq!(scene.client.get("/v1/topics/kept/records?from=earliest").status, 200, "reading goes on");
    if with_kill {
        collector.program().kill9();
        collector.start();
        assert_eq!(scene.client.get("/v1/topics/kept/records?from=earliest").status, 200, "after a start, too");
    } else {
        assert_eq!(scene.client.delete("/v1/topics/victim").status, 204, "room can be made");
    }
    drop(full);
    wait_for_lines(scene, 200);
}

/// Lets the file system become read-only under load, and comes back once it is repaired.
fn break_down(scene: &Scene, image: &Image, collector: &mut Collector) {
    image.break_down().expect("ext4 can be made to find an error");
    let exit = collector.program().exit_within(wait::PATIENCE).expect("the collector stops promising");
    assert_ne!(exit.code(), Some(0));
    assert!(!collector.try_start(), "nothing can be promised on a disk that is read-only");
    image.repair().expect("the file system is repaired");
    assert!(collector.try_start(), "it said:\n{}", collector.program().last_words());
    wait_for_lines(scene, 200);
}

#[test]
fn a_disk_that_fills_up_and_breaks_down_loses_and_doubles_nothing() {
    let site = Site::new();
    let Some(image) = image(&site) else { return };
    let mut collector = site.collector().keeping(&image.path().join("data")).with(ENGINE).started();
    let scene = Scene { client: collector.client(), counts: Arc::<Counts>::default(), over: Arc::default() };
    scene.client.put("/v1/topics/kept", &json!({"partitions": WRITERS}));
    scene.client.post("/v1/topics/victim/records", "text/plain", "a line\n");
    let written: Vec<AtomicU64> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
    let caught_up = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends_all = SetOnDrop(&scene.over);
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let writer = Writer::new("kept", number as u64, number as u32, 0, 1);
                let (scene, written) = (&scene, &written[number]);
                scope.spawn(move || write_until(scene, writer, written, &scene.over))
            })
            .collect();
        let reader = scope.spawn(|| follow_kept(&scene, "kept", &written, &caught_up));
        wait_for_lines(&scene, 200);
        fill_up(&scene, &image, &mut collector, false);
        fill_up(&scene, &image, &mut collector, true);
        break_down(&scene, &image, &mut collector);
        scene.over.store(true, Ordering::SeqCst);
        writers.into_iter().for_each(|writer| writer.join().expect("every request is acknowledged in the end"));
        caught_up.store(true, Ordering::SeqCst);
        reader.join().expect("every line is read once, in order");
    });
    assert_eq!(collector.program().stop(), Some(0));
}

#[test]
fn a_queue_gives_nothing_away_while_its_counts_cannot_be_kept_and_all_of_it_afterwards() {
    let site = Site::new();
    let Some(image) = image(&site) else { return };
    let collector = site.collector().keeping(&image.path().join("data")).with(ENGINE).started();
    let client = collector.client();
    client.put("/v1/topics/t", &json!({"partitions": 1}));
    client.post("/v1/topics/t/records", "text/plain", "first\nsecond\nthird\n");
    assert_eq!(client.put("/v1/queues/jobs", &json!({"topic": "t"})).status, 201);
    let receive = || client.post("/v1/queues/jobs/receive", "application/json", "{\"max\":1,\"wait\":\"5s\"}");
    let first = receive().json()["messages"][0].clone();
    assert_eq!(first["value"], "first");
    let receipts = json!({"receipts": [first["receipt"]]}).to_string();
    let ack = || client.post("/v1/queues/jobs/ack", "application/json", receipts.as_str());

    let full = image.fill();
    wait::until("the collector has noticed that the disk is full", || {
        (client.post("/v1/topics/t/records", "text/plain", "x".repeat(100_000)).status == 507).then_some(())
    });
    let refused = receive();
    assert_eq!((refused.status, &refused.json()["type"]), (507, &json!("no-space")), "{}", refused.text());
    assert!(refused.retry_after.is_some());
    assert_eq!(ack().status, 507, "an acknowledgement that cannot be kept is none");
    assert_eq!(client.put("/v1/queues/other", &json!({"topic": "t"})).status, 507);
    assert_eq!(client.get("/v1/queues/other").status, 404);

    drop(full);
    wait::until("the acknowledgement is kept", || (ack().status == 200).then_some(()));
    let second = wait::until("the queue gives on", || Some(receive()).filter(|answer| answer.status == 200)).json();
    assert_eq!(second["messages"][0]["value"], "second");
    assert_eq!(second["messages"][0]["deliveries"], 1, "what was refused was no delivery: {second}");
}

/// Ends writers and readers when the test fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
