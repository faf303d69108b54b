//! Writers of the log soak: numbered lines in requests that are sent until they are acknowledged.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::soak::{CATCH_UP, Scene};
use crate::wait;

/// Time between two requests of a writer.
const PAUSE: Duration = Duration::from_millis(100);

/// Time before a request is sent again.
const RETRY: Duration = Duration::from_millis(100);

/// One request in so many is large enough to be written straight to its segment.
const LARGE_ONE_IN: u32 = 60;

/// Bytes of a large request's padding: digits, which compress to not quite half.
const LARGE_BYTES: usize = 200 << 10;

/// Writes lines `<writer> <number> <padding>` to one partition.
#[derive(Debug)]
pub struct Writer {
    topic: &'static str,
    number: u64,
    partition: u32,
    producer: String,
    random: StdRng,
    next: u64,
    next_offset: Option<u64>,
}

impl Writer {
    /// Begins a writer; `life` tells it from its predecessors.
    pub fn new(topic: &'static str, number: u64, partition: u32, life: u64, seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed ^ (number << 8) ^ (life << 16));
        let producer = format!("{topic}-{number}-{life}");
        Self { topic, number, partition, producer, random, next: 0, next_offset: None }
    }

    fn body(&mut self) -> (String, u64) {
        let count = self.random.random_range(1..40);
        let large = self.random.random_range(0..LARGE_ONE_IN) == 0;
        let mut body = String::new();
        for line in 0..count {
            body.push_str(&format!(
                "{} {} the quick brown fox {}\n",
                self.number,
                self.next + line,
                self.random.random::<u64>()
            ));
        }
        if large {
            body.pop();
            while body.len() < LARGE_BYTES {
                body.push_str(&self.random.random::<u64>().to_string());
            }
            body.push('\n');
        }
        (body, count)
    }
}

/// Writes until told to stop; counts what was acknowledged in `written`.
///
/// # Panics
/// When a request is refused for another reason than the state of the collector, or acknowledged at a place that cannot be.
pub fn write_until(scene: &Scene, mut writer: Writer, written: &AtomicU64, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) && !scene.over.load(Ordering::SeqCst) {
        let (body, count) = writer.body();
        let answer = send(scene, &writer, &body);
        let runs = answer["offsets"].as_array().cloned().unwrap_or_default();
        assert_eq!(runs.len(), 1, "{answer}");
        let base_offset = runs[0]["base_offset"].as_u64().expect("an offset");
        assert_eq!(runs[0]["count"].as_u64(), Some(count), "{answer}");
        // One writer a partition: what is acknowledged follows what was acknowledged before.
        let expected = writer.next_offset.unwrap_or(base_offset);
        assert_eq!(base_offset, expected, "{} {}: lost or doubled before {answer}", writer.topic, writer.number);
        writer.next_offset = Some(base_offset + count);
        writer.next += count;
        written.store(writer.next, Ordering::SeqCst);
        scene.add(|c| &c.written, count);
        wait::pause(PAUSE.mul_f64(writer.random.random_range(0.2..1.8)));
    }
}

/// Sends a request until it is acknowledged, always as the same one.
fn send(scene: &Scene, writer: &Writer, body: &str) -> Value {
    let path = format!("/v1/topics/{}/records?partition={}", writer.topic, writer.partition);
    let sequence = writer.next.to_string();
    let headers = [
        ("Content-Type", "text/plain"),
        ("Producer-Id", writer.producer.as_str()),
        ("Producer-Epoch", "0"),
        ("Producer-Seq", sequence.as_str()),
    ];
    let mut patience = CATCH_UP;
    loop {
        match scene.client.try_post(&path, &headers, body) {
            Some(answer) if answer.status == 200 => return answer.json(),
            Some(answer) if answer.status == 507 => {
                assert!(answer.retry_after.is_some(), "507 says when to come again");
                scene.add(|c| &c.full, 1);
            }
            Some(answer) => assert!(matches!(answer.status, 408 | 429 | 500..), "{}: {}", answer.status, answer.text()),
            None => {}
        }
        wait::pause(RETRY);
        if scene.over.load(Ordering::SeqCst) {
            patience = patience.saturating_sub(RETRY);
            assert!(!patience.is_zero(), "{}: a request is never acknowledged", writer.topic);
        }
    }
}
