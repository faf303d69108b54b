//! Twenty workers that fail in every way, over a collector that is killed: each job is done, and what was given away twice is accounted for by
//! what the workers know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use skidway_tests::{Client, Site, scale, wait};

const WORKERS: u64 = 20;
const LEASE: Duration = Duration::from_secs(2);

/// Jobs whose number is divisible by this are never acknowledged.
const POISON: u64 = 500;
const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];
const DELIVERIES_MAX: u32 = 40;

/// Is one delivery as a worker saw it.
#[derive(Debug, Clone)]
struct Delivery {
    job: u64,
    number: u64,
    /// Before the request was sent.
    asked: Instant,
    /// After its answer came.
    came: Instant,
    end: End,
    /// When the worker was told so.
    ended: Instant,
}

/// Is what a worker knows of a delivery's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Acknowledged, and told so.
    Done,
    /// Given back, and told so.
    GivenBack,
    /// Kept until the lease was over; somebody else had it then.
    Expired,
    /// The worker went away with it.
    Vanished,
    /// The record was done already.
    DoneBefore,
    /// It went to the dead letters.
    Dead,
}

/// Is what all workers share.
struct Shop {
    client: Client,
    jobs: u64,
    /// Jobs that are known to be done.
    done: Mutex<BTreeSet<u64>>,
    seen: Mutex<Vec<Delivery>>,
    /// From just before a kill to just after the start that followed.
    kills: Mutex<Vec<(Instant, Instant)>>,
}

#[test]
fn every_job_is_done_whatever_workers_and_collector_do() {
    let (jobs, kills) = (scale::amount(100_000, 3_000), scale::amount(40, 3));
    let seed = scale::seed();
    eprintln!("seed {seed}");
    let site = Site::new();
    let mut collector = site.collector().started();
    let client = collector.client();
    let settings =
        json!({"lease": "2s", "max_deliveries": DELIVERIES_MAX, "backoff": {"initial": "10ms", "max": "50ms"}});
    assert_eq!(client.put("/v1/queues/jobs", &settings).status, 201);
    let shop = Shop { client, jobs, done: Mutex::default(), seen: Mutex::default(), kills: Mutex::default() };
    let poison = jobs.div_ceil(POISON);
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let shop = &shop;
            scope.spawn(move || shop.work(StdRng::seed_from_u64(seed ^ worker)));
        }
        scope.spawn(|| shop.produce());
        for kill in 1..=kills {
            let due = jobs * kill / (kills + 1);
            wait::within(Duration::from_secs(600), || (shop.done() >= due).then_some(()))
                .unwrap_or_else(|| panic!("{} of {jobs} jobs are done", shop.done()));
            let before = Instant::now();
            collector.program().kill9();
            collector.start();
            shop.kills.lock().unwrap().push((before, Instant::now()));
        }
        // Workers end when all is done, poison dead included.
        wait::within(Duration::from_secs(900), || shop.is_over().then_some(())).expect("the work comes to its end");
    });
    eprintln!("{}", shop.account(poison));
    shop.redrive(poison);
}

impl Shop {
    fn produce(&self) {
        let numbers: Vec<u64> = (0..self.jobs).collect();
        for chunk in numbers.chunks(500) {
            let records: Vec<Value> = chunk.iter().map(|number| json!({"value": number.to_string()})).collect();
            let body = json!({"records": records}).to_string();
            // Numbered, so that a request which is sent again is stored once.
            let first = chunk[0].to_string();
            let headers = [
                ("Content-Type", "application/json"),
                ("Producer-Id", "p"),
                ("Producer-Epoch", "0"),
                ("Producer-Seq", &first),
            ];
            wait::until("the records are stored", || {
                self.client.try_post("/v1/topics/jobs/records", &headers, &body).filter(|answer| answer.status == 200)
            });
        }
    }

    fn done(&self) -> u64 {
        self.done.lock().unwrap().len() as u64
    }

    fn is_over(&self) -> bool {
        let poison = self.jobs.div_ceil(POISON);
        let dead = self.client.try_get("/v1/queues/jobs", &[]).map(|answer| answer.json()["dead_letters"].as_u64());
        self.done() >= self.jobs - poison && dead.flatten() == Some(poison)
    }

    /// Lives, dies and is hired again until all is done.
    fn work(&self, mut random: StdRng) {
        while !self.is_over() {
            for _ in 0..random.random_range(5..40) {
                let max = if random.random_bool(0.5) { 1 } else { random.random_range(2..30) };
                let asked = Instant::now();
                let body = json!({"max": max, "wait": "200ms"}).to_string();
                let answer = self.client.try_post("/v1/queues/jobs/receive", &JSON, &body);
                let came = Instant::now();
                let Some(answer) = answer.filter(|answer| answer.status == 200) else {
                    wait::pause(Duration::from_millis(20));
                    continue;
                };
                let answer = answer.json();
                for message in answer["messages"].as_array().unwrap() {
                    self.do_job(message, (asked, came), &mut random);
                }
            }
        }
    }

    fn do_job(&self, message: &Value, (asked, came): (Instant, Instant), random: &mut StdRng) {
        let job: u64 = message["value"].as_str().unwrap().parse().unwrap();
        let number = message["deliveries"].as_u64().unwrap();
        let receipt = &message["receipt"];
        let end = match random.random_range(0..1000) {
            0..15 => End::Vanished,
            15..20 => {
                wait::pause(LEASE + Duration::from_millis(300));
                self.settle("ack", receipt, job)
            }
            20..120 => self.settle("nack", receipt, job),
            _ if job.is_multiple_of(POISON) => self.settle("nack", receipt, job),
            _ => self.settle("ack", receipt, job),
        };
        let delivery = Delivery { job, number, asked, came, end, ended: Instant::now() };
        self.seen.lock().unwrap().push(delivery);
    }

    /// Asks until there is an answer.
    fn settle(&self, action: &str, receipt: &Value, job: u64) -> End {
        let action = if job.is_multiple_of(POISON) { "nack" } else { action };
        let body = json!({"receipts": [receipt]}).to_string();
        let answer = wait::until("a receipt is settled", || {
            let answer = self.client.try_post(&format!("/v1/queues/jobs/{action}"), &JSON, &body);
            answer.filter(|answer| matches!(answer.status, 200 | 409))
        });
        match (action, answer.json()["results"][0]["result"].as_str().unwrap()) {
            ("ack", "done") => {
                self.done.lock().unwrap().insert(job);
                End::Done
            }
            ("nack", "done") => End::GivenBack,
            ("nack", "dead-lettered") => End::Dead,
            (_, "already-done") => {
                // Somebody else's, or our own whose answer a kill took. Poison is dead then.
                if !job.is_multiple_of(POISON) {
                    self.done.lock().unwrap().insert(job);
                }
                End::DoneBefore
            }
            (_, "lease-expired") => End::Expired,
            (action, other) => panic!("{action} gave {other}"),
        }
    }

    /// Compares what was given away with what the workers know, and says what it came to.
    fn account(&self, poison: u64) -> String {
        let seen = self.seen.lock().unwrap();
        let kills = self.kills.lock().unwrap();
        let mut jobs: BTreeMap<u64, Vec<&Delivery>> = BTreeMap::new();
        seen.iter().for_each(|delivery| jobs.entry(delivery.job).or_default().push(delivery));
        assert_eq!(jobs.len() as u64, self.jobs, "jobs that nobody ever received are lost");
        let (mut again, mut by_lease, mut by_kill, mut unseen) = (0, 0, 0, 0);
        for (job, deliveries) in &mut jobs {
            deliveries.sort_by_key(|delivery| delivery.number);
            let numbers: BTreeSet<u64> = deliveries.iter().map(|delivery| delivery.number).collect();
            assert_eq!(numbers.len(), deliveries.len(), "job {job} was given away twice at once: {deliveries:?}");
            let is_done = deliveries.iter().any(|it| matches!(it.end, End::Done | End::DoneBefore));
            assert!(is_done || job.is_multiple_of(POISON), "job {job} is not done: {deliveries:?}");
            for pair in deliveries.windows(2) {
                let (one, next) = (pair[0], pair[1]);
                again += 1;
                unseen += next.number - one.number - 1;
                assert_ne!(one.end, End::Done, "job {job} came again after it was done: {pair:?}");
                assert_ne!(one.end, End::Dead, "job {job} came again after it was dead: {pair:?}");
                let was_over = next.came.duration_since(one.asked) + Duration::from_millis(50) >= LEASE;
                let was_killed = kills.iter().any(|(before, after)| *before <= next.came && one.asked <= *after);
                match one.end {
                    End::GivenBack => {}
                    _ if was_over => by_lease += 1,
                    _ if was_killed => by_kill += 1,
                    _ => panic!("job {job} was with two workers: {pair:?}"),
                }
            }
        }
        let most = seen.iter().map(|delivery| delivery.number).max();
        assert!(most <= Some(u64::from(DELIVERIES_MAX)), "{most:?} deliveries");
        let slowest = seen.iter().map(|it| it.ended - it.came).max();
        format!(
            "{} jobs, {poison} of them poison, {} deliveries, {again} again: {by_lease} for a lease that was over, {by_kill} for a kill, \
             the rest given back; {unseen} deliveries reached nobody; {} kills; the longest took {slowest:?}",
            self.jobs,
            seen.len(),
            kills.len(),
        )
    }

    /// Brings the poison back, in small steps; each comes once.
    fn redrive(&self, poison: u64) {
        let body = json!({"max": 3}).to_string();
        let mut redriven = 0;
        while redriven < poison {
            let answer = self.client.post("/v1/queues/jobs/redrive", "application/json", &body);
            let step = answer.json()["redriven"].as_u64().unwrap();
            assert!(step > 0, "{} of {poison}: {}", redriven, answer.text());
            redriven += step;
        }
        let mut back = Vec::new();
        while (back.len() as u64) < poison {
            let body = json!({"max": 100, "wait": "10s"}).to_string();
            let answer = self.client.post("/v1/queues/jobs/receive", "application/json", body).json();
            let messages = answer["messages"].as_array().unwrap();
            assert!(!messages.is_empty(), "{} of {poison} are back", back.len());
            back.extend(messages.iter().map(|it| it["value"].as_str().unwrap().parse::<u64>().unwrap()));
        }
        back.sort_unstable();
        let expected: Vec<u64> = (0..self.jobs).step_by(POISON as usize).collect();
        assert_eq!(back, expected);
    }
}
