//! Load and refusal: one file much busier than the others, a collector that says no, a backlog of many files. Everybody gets their turn, only
//! the line at fault is set aside, and memory stays where it is.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use skidway_tests::gate::{Deed, Gate, Request};
use skidway_tests::program::used;
use skidway_tests::verify::verify;
use skidway_tests::writer::Writer;
use skidway_tests::{Agent, Collector, Site, scale, topic, wait};
use skidway_wire::{CommitRequest, Item};

/// Appends to a file at a pace, in bytes a second, until told to stop; gives what was written.
fn pour(path: std::path::PathBuf, pace: f64, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    let block =
        "hot GET /api/v1/orders/4711 200 12ms Mozilla/5.0 (X11; Linux x86_64) session=abcdef0123456789\n".repeat(5000);
    std::thread::spawn(move || {
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        let (started, mut bytes) = (Instant::now(), 0);
        while !stop.load(Ordering::SeqCst) {
            file.write_all(block.as_bytes()).unwrap();
            bytes += block.len() as u64;
            wait::pause(Duration::from_secs_f64(bytes as f64 / pace).saturating_sub(started.elapsed()));
        }
        bytes
    })
}

/// Scenario 31: fairness. How long a quiet line takes is measured by `bench/latency --hot 100`.
#[test]
fn quiet_files_have_their_turns_beside_a_hot_one() {
    const QUIET: u64 = 200;
    let site = Site::new();
    let collector = site.collector().started();
    let agent = site.agent("a", &collector.url()).follows(&site.text("logs/hot.log"), "hot");
    let mut agent = agent.follows(&site.text("logs/quiet*.log"), "quiet");
    let stop = Arc::new(AtomicBool::new(false));
    let pouring = pour(site.path("logs/hot.log"), 100e6, stop.clone());
    agent.start();
    let client = collector.client();
    topic::wait_for(&client, "hot", 1);
    let rounds = scale::duration(Duration::from_secs(60), Duration::from_secs(3)).as_secs();
    let mut hot = 0;
    for round in 0..rounds {
        for file in 0..QUIET {
            site.append(&format!("logs/quiet{file}.log"), format!("{round}\n"));
        }
        // The hot file never ends: whoever waited for it would wait for ever.
        topic::wait_for(&client, "quiet", (round + 1) * QUIET);
        wait::until("the hot file moves on, too", || (topic::count(&client, "hot") > hot).then_some(()));
        hot = topic::count(&client, "hot");
        wait::pause(Duration::from_millis(500));
    }
    stop.store(true, Ordering::SeqCst);
    let written = pouring.join().unwrap();
    let (_, rss) = used(agent.program().pid());
    eprintln!("{} MB of the hot file beside {QUIET} quiet ones, peak RSS {} MiB", written / 1_000_000, rss >> 20);
    let values = topic::values(&client, "quiet");
    assert_eq!(values.len() as u64, rounds * QUIET);
    agent.program().kill9();
}

/// Follows one file through a gate; gives it with the moments of its commits and what became of them.
type Moments = Arc<Mutex<Vec<(Instant, Deed)>>>;

fn through_gate(
    site: &Site,
    collector: &Collector,
    decide: impl Fn(&Request, usize) -> Deed + Send + Sync + 'static,
) -> (Gate, Agent, Moments) {
    let moments = Moments::default();
    let (noted, number) = (moments.clone(), AtomicUsize::new(0));
    let gate = Gate::open(collector.port(), move |request| {
        if !request.is_commit() {
            return Deed::Pass;
        }
        let deed = decide(request, number.fetch_add(1, Ordering::SeqCst));
        noted.lock().unwrap().push((Instant::now(), deed));
        deed
    });
    let agent = site.agent("a", &gate.url()).follows(&site.text("logs/*.log*"), "app");
    (gate, agent, moments)
}

/// Waits for every line of a writer, stops the agent and checks them.
#[track_caller]
fn check_writer(collector: &Collector, mut agent: Agent, writer: Writer) {
    topic::wait_for(&collector.client(), "app", writer.lines());
    assert_eq!(agent.program().stop(), Some(0));
    let report = verify(&[writer], &topic::read(&collector.client(), "app"));
    assert!(report.is_perfect(), "{report:#?}");
}

/// Scenario 32: 429 and 503. With one file, one request is under way at a time.
#[test]
fn a_collector_that_asks_to_wait_is_waited_for() {
    let site = Site::new();
    let collector = site.collector().started();
    let refusals = [
        Deed::Pass,
        Deed::Refuse(429, Some(2)),
        Deed::Refuse(503, Some(1)),
        Deed::Refuse(503, None),
        Deed::Refuse(500, None),
    ];
    let decide = move |_: &Request, number: usize| refusals.get(number).copied().unwrap_or(Deed::Pass);
    let (_gate, agent, moments) = through_gate(&site, &collector, decide);
    let agent = agent.started();
    let mut writer = Writer::new(&site.path("logs"), "w", u64::MAX, 32);
    writer.write(100);
    check_writer(&collector, agent, writer);
    let moments = moments.lock().unwrap();
    let gap = |after: usize| moments[after + 1].0.duration_since(moments[after].0);
    for (number, asked) in [(1, 2000), (2, 1000), (3, 50), (4, 50)] {
        assert!(
            gap(number) >= Duration::from_millis(asked),
            "{:?} was followed after {:?}",
            moments[number].1,
            gap(number)
        );
    }
}

/// Scenario 32: connections cut within a request.
#[test]
fn requests_cut_in_mid_body_are_sent_again_whole() {
    let site = Site::new();
    let collector = site.collector().started();
    let (gate, agent, _) = through_gate(&site, &collector, |_, _| Deed::Pass);
    let agent = agent.started();
    let mut writer = Writer::new(&site.path("logs"), "w", 256 << 10, 32);
    for _ in 0..4 {
        writer.write(2000);
        gate.cut_bodies(2);
        writer.write(2000);
        wait::until("two requests are cut", || (gate.bodies_to_cut() == 0).then_some(()));
    }
    check_writer(&collector, agent, writer);
}

fn write_all(writers: &mut [Writer], lines: u64) {
    for writer in writers {
        writer.write(lines);
    }
}

/// Scenario 32: 413. Requests are split down to the single line; only one that alone is too large is set aside.
#[test]
fn requests_too_large_are_split_until_they_fit() {
    const BODY_BYTES_MAX: usize = 100 << 10;
    let site = Site::new();
    let collector = site.collector().started();
    let decide =
        |request: &Request, _| if request.body.len() > BODY_BYTES_MAX { Deed::Refuse(413, None) } else { Deed::Pass };
    let (_gate, mut agent, moments) = through_gate(&site, &collector, decide);
    let mut random = 1u64;
    let mut noise = || {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        char::from(b'!' + (random >> 33) as u8 % 90)
    };
    let too_large: String = (0..300_000).map(|_| noise()).collect();
    let mut writers: Vec<Writer> =
        (0..5).map(|at| Writer::new(&site.path("logs"), &format!("w{at}"), u64::MAX, at)).collect();
    write_all(&mut writers, 4000);
    site.append("logs/w0.log", format!("{too_large}\n"));
    write_all(&mut writers, 100);
    agent.start();
    topic::wait_for(&collector.client(), "app", writers.iter().map(Writer::lines).sum());
    topic::wait_for(&collector.client(), "app.dead", 1);
    assert_eq!(agent.program().stop(), Some(0));
    let report = verify(&writers, &topic::read(&collector.client(), "app"));
    assert!(report.is_perfect(), "{report:#?}");
    let dead = topic::read(&collector.client(), "app.dead");
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].value.as_deref(), Some(&too_large[..64 << 10]));
    assert!(topic::header(&dead[0], "skidway-error").contains("413"), "{:?}", dead[0].headers);
    let refused = moments.lock().unwrap().iter().filter(|(_, deed)| *deed != Deed::Pass).count();
    assert!(refused > 2, "only {refused} requests were too large");
}

/// Scenario 32: 400 for one poison batch.
#[test]
fn of_a_poison_batch_only_the_poison_becomes_a_dead_letter() {
    let site = Site::new();
    let collector = site.collector().started();
    let decide = |request: &Request, _| if holds(request, b"POISON") { Deed::Refuse(400, None) } else { Deed::Pass };
    let (_gate, mut agent, _) = through_gate(&site, &collector, decide);
    let mut writers: Vec<Writer> =
        (0..3).map(|at| Writer::new(&site.path("logs"), &format!("w{at}"), u64::MAX, at)).collect();
    write_all(&mut writers, 1000);
    site.append("logs/w1.log", "POISON in the midst\n");
    write_all(&mut writers, 1000);
    agent.start();
    topic::wait_for(&collector.client(), "app", writers.iter().map(Writer::lines).sum());
    topic::wait_for(&collector.client(), "app.dead", 1);
    assert_eq!(agent.program().stop(), Some(0));
    let report = verify(&writers, &topic::read(&collector.client(), "app"));
    assert!(report.is_perfect(), "{report:#?}");
    assert_eq!(topic::values(&collector.client(), "app.dead"), ["POISON in the midst"]);
}

/// Looks into the batches of a commit, but not into its dead letters.
fn holds(request: &Request, what: &[u8]) -> bool {
    const HEADER_BYTES: usize = 61;
    let commit = CommitRequest::decode(Bytes::copy_from_slice(&request.body)).unwrap();
    let batches = commit.items.into_iter().filter_map(|item| match item {
        Item::Span { batches, .. } => Some(batches),
        _ => None,
    });
    batches.flatten().any(|batch| {
        // A batch that compression makes no smaller is sent as it is.
        let records = zstd::decode_all(&batch[HEADER_BYTES..]).unwrap_or_else(|_| batch.to_vec());
        records.windows(what.len()).any(|window| window == what)
    })
}

/// Scenario 33.
#[test]
fn a_backlog_of_many_files_is_read_within_a_bound_of_memory() {
    const FILES: u64 = 500;
    const LINE_BYTES: u64 = 500;
    const RSS_MAX: u64 = 64 << 20;
    let site = Site::new();
    let collector = site.collector().started();
    let lines = scale::amount(10_000_000_000, 100_000_000) / FILES / LINE_BYTES;
    for file in 0..FILES {
        let mut text = Vec::with_capacity((lines * LINE_BYTES) as usize);
        for line in 0..lines {
            let start = text.len();
            write!(text, "{file} {line} ").unwrap();
            (0..)
                .map(|at| line.wrapping_mul(2654435761) >> (at % 23))
                .take(20)
                .for_each(|word| write!(text, "{word:x} ").unwrap());
            text.resize(start + LINE_BYTES as usize - 1, b'.');
            text.push(b'\n');
        }
        site.write(&format!("logs/{file}.log"), text);
    }
    let mut agent = site.agent("a", &collector.url()).follows(&site.text("logs/*.log"), "app");
    agent.start();
    let mut arrived = 0;
    while arrived < FILES * lines {
        topic::wait_for(&collector.client(), "app", arrived + 1);
        arrived = topic::count(&collector.client(), "app");
        wait::pause(Duration::from_millis(100));
    }
    let (cpu, rss) = used(agent.program().pid());
    eprintln!(
        "{} MB of {FILES} files: peak RSS {} MiB, {cpu:.1} s of CPU",
        FILES * lines * LINE_BYTES / 1_000_000,
        rss >> 20
    );
    assert!(rss <= RSS_MAX, "peak RSS {} MiB", rss >> 20);
    agent.wait_ready();
    assert_eq!(agent.program().stop(), Some(0));
    assert_eq!(topic::count(&collector.client(), "app"), FILES * lines);
}
