//! What a pass leaves is what a naive model leaves, whatever was written, in whatever segments, with however little memory.

use std::collections::HashMap;
use std::path::Path;

use proptest::prelude::*;
use skidway_disk::{Disk, FaultyDisk};
use skidway_record::{Batch, BatchBuilder, Compressor, EncodedHeaders, Record, TopicName, TopicPartition};

use super::*;
use crate::checkpoint::Dirty;
use crate::segment::Placed;

const RETENTION_MS: u64 = 1_000;

/// Is a record as the model has it.
#[derive(Debug, Clone, PartialEq)]
struct Held {
    offset: u64,
    key: Option<u32>,
    value: Option<String>,
    timestamp_ms: i64,
}

/// Runs passes over a partition of its own.
struct Bench {
    files: Files,
    partition: Arc<Partition>,
    next_offset: u64,
    held: Vec<Held>,
    /// When a tombstone may go, by its offset.
    horizons: HashMap<u64, i64>,
    now_ms: i64,
    compressor: Compressor,
}

impl Bench {
    fn new() -> Self {
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new());
        disk.create_dir(Path::new("/topics")).unwrap();
        let name = TopicPartition::new(TopicName::new("a").unwrap(), 0);
        Self {
            files: Files::new(disk, 4),
            partition: Arc::new(Partition::new(Path::new("/topics"), [1; 16], name)),
            next_offset: 0,
            held: Vec::new(),
            horizons: HashMap::new(),
            now_ms: 0,
            compressor: Compressor::new(1).unwrap(),
        }
    }

    /// Appends a segment with a batch for each list of records.
    fn append(&mut self, batches: &[Vec<(Option<u32>, Option<usize>)>]) {
        let (segment, mut position, mut placed) = (self.next_offset, 0, Vec::new());
        for records in batches.iter().filter(|records| !records.is_empty()) {
            let (mut builder, base) = (BatchBuilder::new(), self.next_offset);
            for &(key, len) in records {
                let offset = self.next_offset;
                let value = len.map(|len| format!("{offset} {}", "v".repeat(len)));
                let timestamp_ms = self.now_ms + (offset as i64 * 7) % 13;
                let key_bytes = key.map(u32::to_be_bytes);
                let bytes = (key_bytes.as_ref().map(<[u8; 4]>::as_slice), value.as_deref().map(str::as_bytes));
                builder.push(timestamp_ms, bytes.0, bytes.1, &EncodedHeaders::none());
                self.held.push(Held { offset, key, value, timestamp_ms });
                self.next_offset += 1;
            }
            let batch = builder.finish(&mut self.compressor).unwrap().with_base_offset(Offset(base));
            let bytes = batch.bytes().len() as u64;
            placed.push(Placed { batch, segment, position, at_ms: self.now_ms, written: false });
            position += bytes;
        }
        self.partition.append(&self.files, &placed, &mut Dirty::default()).unwrap();
    }

    /// Compacts what is there, and does to the model what it says it did.
    fn compact(&mut self, segment_bytes: u64, map_bytes: usize) {
        let bounds =
            Bounds { grows: false, next_offset: self.next_offset, floor: u64::MAX, lag_ms: 0, now_ms: self.now_ms };
        let outlook = Outlook::of(&self.partition.extents(), bounds);
        let (now_ms, tombstone_retention_ms) = (self.now_ms, RETENTION_MS);
        let rules = Rules { now_ms, tombstone_retention_ms, segment_bytes, map_bytes };
        let (mut pass, brake) = (Pass::new(&self.partition, &outlook, self.next_offset, rules), Brake::new(u64::MAX));
        let mut removed = 0;
        while let Some(step) = pass.step(&self.files, &brake, 7).unwrap() {
            removed += step.removed;
            self.partition.swap_in(&self.files, &step.replacement).unwrap();
        }
        assert!(pass.is_through());
        let before = self.held.len() as u64;
        self.model(pass.keys.map_or(0, |keys| keys.to));
        assert_eq!(before - self.held.len() as u64, removed);
    }

    fn model(&mut self, to: u64) {
        let mut last: HashMap<u32, u64> = HashMap::new();
        for held in self.held.iter().filter(|held| held.offset < to) {
            last.extend(held.key.map(|key| (key, held.offset)));
        }
        let (now_ms, horizons) = (self.now_ms, &mut self.horizons);
        self.held.retain(|held| {
            let Some(key) = held.key.filter(|_| held.offset < to) else { return true };
            let is_over = horizons.get(&held.offset).is_some_and(|horizon| now_ms >= *horizon);
            if last[&key] == held.offset && held.value.is_none() && !is_over {
                horizons.entry(held.offset).or_insert(now_ms + RETENTION_MS as i64);
            }
            last[&key] == held.offset && (held.value.is_some() || !is_over)
        });
    }

    /// Reads all of it; batches must cover every offset.
    fn read(&self) -> Vec<Held> {
        let (mut found, mut next) = (Vec::new(), 0);
        for segment in self.partition.segments() {
            assert_eq!(segment.base_offset(), next, "segments follow each other");
            let limit = self.partition.segment_after(&segment).map_or(self.next_offset, |after| after.base_offset());
            let mut scan = Scan::new(&self.files, &segment, Offset(0), Offset(limit), 4096).unwrap();
            while let Some(batch) = scan.next_batch().unwrap() {
                batch.verify().unwrap();
                assert_eq!(batch.base_offset().0, next, "batches cover every offset");
                next = batch.next_offset().0;
                found.extend(held_in(&batch));
            }
        }
        assert_eq!(next, self.next_offset);
        found
    }

    /// Finds the batch that holds an offset by the index.
    fn batch_at(&self, at: u64) -> Batch {
        let segment = self.partition.segment_of(at).unwrap();
        let mut scan = Scan::new(&self.files, &segment, Offset(at), Offset(self.next_offset), 4096).unwrap();
        scan.next_batch().unwrap().unwrap()
    }
}

fn held_in(batch: &Batch) -> Vec<Held> {
    let decoded = batch.decode().unwrap();
    let held = |record: Record<'_>| Held {
        offset: decoded.offset_of(&record).0,
        key: record.key.map(|key| u32::from_be_bytes(key.try_into().unwrap())),
        value: record.value.map(|value| String::from_utf8(value.to_vec()).unwrap()),
        timestamp_ms: record.timestamp_ms,
    };
    decoded.records().map(|record| held(record.unwrap())).collect()
}

/// Draws records of few or many keys; some without, some tombstones, now and then a large one.
fn records(keys: u32, max: usize) -> impl Strategy<Value = Vec<(Option<u32>, Option<usize>)>> {
    let key = prop_oneof![9 => (0..keys).prop_map(Some), 1 => Just(None)];
    let value = prop_oneof![
        2 => Just(None),
        8 => (0..30_usize).prop_map(Some),
        1 => (0..3_000_usize).prop_map(Some),
    ];
    prop::collection::vec((key, value), 0..max)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn compaction_leaves_what_a_naive_model_leaves(
        rounds in prop_oneof![
            prop::collection::vec(prop::collection::vec(prop::collection::vec(records(12, 12), 1..8), 0..5), 1..6),
            prop::collection::vec(prop::collection::vec(prop::collection::vec(records(3_000, 900), 1..4), 0..3), 1..4),
        ],
        segment_bytes in 2_000..60_000_u64,
        steps_ms in 0..900_i64,
    ) {
        let mut bench = Bench::new();
        for segments in &rounds {
            for batches in segments.iter().filter(|batches| batches.iter().any(|records| !records.is_empty())) {
                bench.append(batches);
            }
            bench.compact(segment_bytes, 0);
            prop_assert_eq!(bench.read(), bench.held.clone());
            for at in (0..bench.next_offset).step_by(1 + bench.next_offset as usize / 20) {
                let batch = bench.batch_at(at);
                prop_assert!((batch.base_offset().0..batch.next_offset().0).contains(&at));
            }
            bench.now_ms += steps_ms;
        }
    }
}

#[test]
fn a_tombstone_stays_for_its_time_after_the_pass_that_obeyed_it() {
    let mut bench = Bench::new();
    bench.append(&[vec![(Some(1), Some(10)), (Some(2), Some(10))]]);
    bench.append(&[vec![(Some(1), None)]]);
    bench.now_ms = 50_000;
    bench.compact(1 << 20, 0);
    let offsets = |bench: &Bench| bench.read().iter().map(|held| held.offset).collect::<Vec<_>>();
    assert_eq!(offsets(&bench), [1, 2], "however old the tombstone is, nobody knew of it before");
    bench.now_ms += RETENTION_MS as i64 - 1;
    bench.append(&[vec![(Some(3), Some(1))]]);
    bench.compact(1 << 20, 0);
    assert_eq!(offsets(&bench), [1, 2, 3], "being written anew does not make it younger, nor older");
    bench.now_ms += 1;
    bench.append(&[vec![(Some(4), Some(1))]]);
    bench.compact(1 << 20, 0);
    assert_eq!(offsets(&bench), [1, 3, 4]);
    assert_eq!(bench.partition.segments().len(), 1);
}

#[test]
fn a_partition_of_nothing_but_what_is_over_keeps_its_offsets() {
    let mut bench = Bench::new();
    bench.append(&[vec![(Some(1), Some(10))], vec![(Some(1), None)]]);
    bench.compact(1 << 20, 0);
    bench.now_ms += RETENTION_MS as i64;
    bench.compact(1 << 20, 0);
    assert_eq!((bench.read(), bench.batch_at(1).header().record_count), (Vec::new(), 0));
    assert_eq!(bench.partition.extents()[0].bytes, 61);
}

#[test]
fn large_batches_are_written_anew_in_parts() {
    let mut bench = Bench::new();
    let many: Vec<_> = (0..40_000).map(|n| (Some(n / 2), Some(20))).collect();
    bench.append(&[many]);
    bench.append(&[vec![(Some(0), None), (None, Some(1))]]);
    bench.compact(1 << 30, 1 << 20);
    assert_eq!(bench.read(), bench.held);
    assert_eq!(bench.held.len(), 20_001);
    assert!(bench.batch_at(39_999).base_offset().0 > 0);
}

#[test]
fn what_is_due_is_large_or_old_and_mostly_dirty() {
    let extent = |base, bytes, rewritten| Extent { bytes, rewritten, ..Extent::empty(base, 0) };
    let clean = |base, bytes| extent(base, bytes, Rewritten::Compacted);
    let dirty = |base, bytes| extent(base, bytes, Rewritten::No);
    let worth = Worth { dirty_percent: 50, bytes_min: 100, age_ms: 1_000 };
    let bounds = Bounds { grows: true, next_offset: 40, floor: u64::MAX, lag_ms: 0, now_ms: 500 };
    let look = |extents: &[Extent], bounds: Bounds| {
        let outlook = Outlook::of(extents, bounds);
        (outlook.cleanable, outlook.is_due(&worth, bounds.now_ms), outlook.should_close(&worth, bounds.now_ms))
    };
    let all = [clean(0, 200), dirty(10, 150), dirty(20, 50), dirty(30, 0)];
    assert_eq!(look(&all, bounds), (3, true, false));
    assert_eq!(look(&all, Bounds { grows: false, ..bounds }), (4, true, false));
    assert_eq!(look(&all, Bounds { floor: 29, ..bounds }), (2, false, false), "150 of 350 bytes");
    assert_eq!(look(&all, Bounds { floor: 10, ..bounds }), (1, false, false));
    assert_eq!(look(&all, Bounds { lag_ms: 501, ..bounds }), (0, false, false));
    let small = [clean(0, 50), dirty(10, 99), dirty(20, 0)];
    assert_eq!(look(&small, bounds), (2, false, false), "too little");
    assert_eq!(look(&small, Bounds { now_ms: 1_000, ..bounds }), (2, true, false), "but not for ever");
    let growing = [clean(0, 200), dirty(10, 100), dirty(20, 100)];
    assert_eq!(look(&growing, bounds), (2, false, true));
    assert_eq!(look(&growing, Bounds { floor: 15, ..bounds }), (1, false, false), "while others are held back");
    assert_eq!(look(&[], bounds), (0, false, false));
}
