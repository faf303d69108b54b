//! Readers of the log soak: pages resumed by their tokens, every line checked against its writer's last one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::soak::{CATCH_UP, Scene};
use crate::wait;

/// Time before a reader that got no answer asks again.
const RETRY: Duration = Duration::from_millis(100);

/// Reads one topic page by page.
struct Reader<'a> {
    scene: &'a Scene,
    topic: String,
    next: String,
    /// Next number of each writer, and whether lines before it may be gone.
    expected: HashMap<u64, (u64, bool)>,
    /// Lines may be gone for good.
    drops: bool,
}

impl<'a> Reader<'a> {
    fn new(scene: &'a Scene, topic: &str, drops: bool) -> Self {
        let (topic, next) = (topic.to_owned(), "earliest".to_owned());
        Self { scene, topic, next, expected: HashMap::new(), drops }
    }

    /// Reads a page, if the collector answers.
    fn page(&mut self) {
        let path = format!("/v1/topics/{}/records?from={}&wait=1s&max_records=2000", self.topic, self.next);
        let Some(answer) = self.scene.client.try_get(&path, &[]) else { return wait::pause(RETRY) };
        let body = answer.json();
        match answer.status {
            200 => {}
            410 => {
                assert!(self.drops, "{}: nothing is ever gone of it: {body}", self.topic);
                self.scene.add(|c| &c.gone, 1);
                self.next = body["earliest"].as_str().expect("410 says where to go on").to_owned();
                self.expected.values_mut().for_each(|(_, may_skip)| *may_skip = true);
                return;
            }
            status => {
                assert!(status >= 500 || status == 408, "{status}: {body}");
                return wait::pause(RETRY);
            }
        }
        let Some(next) = body["next"].as_str() else { return };
        self.next = next.to_owned();
        let records = body["records"].as_array().map_or(&[][..], Vec::as_slice);
        for record in records {
            self.check(record);
        }
        self.scene.add(|c| &c.read, records.len() as u64);
    }

    fn check(&mut self, record: &Value) {
        let value = record["value"].as_str().expect("lines are text");
        let mut fields = value.split(' ').map(str::parse::<u64>);
        let (Some(Ok(writer)), Some(Ok(number))) = (fields.next(), fields.next()) else {
            panic!("no line of ours: {value}")
        };
        let first = if self.drops { number } else { 0 };
        let (expected, may_skip) = self.expected.entry(writer).or_insert((first, false));
        let fits = number == *expected || (*may_skip && number > *expected);
        assert!(fits, "{}: line {number} of writer {writer} came for {expected}: {record}", self.topic);
        (*expected, *may_skip) = (number + 1, false);
    }

    fn seen(&self, writer: usize) -> u64 {
        self.expected.get(&(writer as u64)).map_or(0, |(next, _)| *next)
    }

    fn has_all(&self, written: &[AtomicU64]) -> bool {
        written.iter().enumerate().all(|(writer, written)| self.seen(writer) >= written.load(Ordering::SeqCst))
    }
}

/// Follows a topic that keeps everything: every line once, in order. Ends once writing is over and all is read.
///
/// # Panics
/// When a line is missing, doubled or out of order, or never comes.
pub fn follow_kept(scene: &Scene, topic: &str, written: &[AtomicU64], writing_is_over: &AtomicBool) {
    let mut reader = Reader::new(scene, topic, false);
    let mut late_since: Option<Instant> = None;
    loop {
        let is_over = writing_is_over.load(Ordering::SeqCst);
        reader.page();
        if is_over && reader.has_all(written) {
            break;
        }
        if is_over {
            let late = late_since.get_or_insert_with(Instant::now).elapsed();
            assert!(late < CATCH_UP, "{topic}: lines are lost: {:?} of {written:?}", reader.expected);
        }
    }
    for (writer, written) in written.iter().enumerate() {
        let written = written.load(Ordering::SeqCst);
        assert_eq!(reader.seen(writer), written, "{topic}: writer {writer} has lines that it never wrote");
    }
}

/// Follows a topic that is always losing its oldest lines: in order, none twice, none missing but what was told to be gone.
///
/// # Panics
/// When a line is doubled or out of order.
pub fn follow_dropping(scene: &Scene, writers: usize) {
    let mut reader = Reader::new(scene, "dropping", true);
    while !scene.over.load(Ordering::SeqCst) {
        reader.page();
        assert!(reader.expected.len() <= writers, "{:?}", reader.expected.keys());
    }
}
