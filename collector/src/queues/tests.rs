//! The window against a model of it that is too simple to be wrong: one line a record, searched from the beginning each time.

use std::collections::BTreeSet;

use proptest::prelude::*;
use skidway_record::Offset;

use super::share::{Delivery, Settled, Share, State};
use super::window;

const LEASE: i64 = 100;
const DELIVERIES_MAX: u32 = 3;

/// Is a record as the model has it; the key is known to it even after a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    key: Option<u64>,
    deliveries: u32,
    /// `None`: finished.
    state: Option<State>,
}

#[derive(Debug, Clone)]
enum Step {
    Offer {
        key: Option<u64>,
        delay: Option<i64>,
    },
    /// Offsets that compaction took.
    Pass(u64),
    Acquire,
    Ack(prop::sample::Index),
    Nack {
        which: prop::sample::Index,
        delay: i64,
        dead: bool,
    },
    Extend(prop::sample::Index),
    Undo,
    Wait(i64),
    Bury,
    SkipBefore(prop::sample::Index),
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = any::<prop::sample::Index>;
    let key = prop_oneof![Just(None), (0_u64..3).prop_map(Some)];
    let delay = prop_oneof![3 => Just(None), 1 => (1_i64..200).prop_map(Some)];
    let step = prop_oneof![
        6 => (key, delay).prop_map(|(key, delay)| Step::Offer { key, delay }),
        1 => (1_u64..3).prop_map(Step::Pass),
        8 => Just(Step::Acquire),
        4 => which().prop_map(Step::Ack),
        3 => (which(), 0_i64..150, prop::bool::weighted(0.2)).prop_map(|(which, delay, dead)| Step::Nack { which, delay, dead }),
        1 => which().prop_map(Step::Extend),
        1 => Just(Step::Undo),
        3 => (1_i64..150).prop_map(Step::Wait),
        2 => Just(Step::Bury),
        1 => which().prop_map(Step::SkipBefore),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 0..120)
}

/// Holds the window and the model side by side.
struct Pair {
    share: Share,
    lines: Vec<Line>,
    ordered: bool,
    now: i64,
    /// Every delivery that was ever given, newest last.
    given: Vec<Delivery>,
}

impl Pair {
    fn new(ordered: bool) -> Self {
        Self { share: Share::new(Offset(0), ordered), lines: Vec::new(), ordered, now: 1_000, given: Vec::new() }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Offer { key, delay } => {
                let until = delay.map(|delay| self.now + delay);
                self.share.offer(Offset(self.lines.len() as u64), key, until, self.now);
                let state = Some(until.map_or(State::Ready, State::Delayed));
                self.lines.push(Line { key, deliveries: 0, state });
            }
            Step::Pass(gap) => {
                (0..gap).for_each(|_| self.lines.push(Line { key: None, deliveries: 0, state: None }));
                self.share.pass(Offset(self.lines.len() as u64));
            }
            Step::Acquire => {
                let expected = self.acquire();
                assert_eq!(self.share.acquire(self.now + LEASE, DELIVERIES_MAX), expected);
                self.given.extend(expected);
            }
            Step::Undo => {
                // Only what was given last and reached nobody is ever taken back.
                let Some(delivery) = self.given.pop() else { return };
                if let Ok(line) = self.current(delivery)
                    && matches!(line.state, Some(State::Leased(_)))
                {
                    line.deliveries -= 1;
                    line.state = Some(State::Ready);
                    self.share.undo(delivery);
                }
            }
            Step::Ack(which) => self.settle(
                which,
                |share, delivery, _| share.ack(delivery),
                |line, _| {
                    line.state = None;
                    Settled::Done
                },
            ),
            Step::Extend(which) => self.settle(
                which,
                |share, delivery, now| share.extend(delivery, now + LEASE),
                |line, now| match line.state {
                    Some(State::Dying) => Settled::Lost,
                    _ => {
                        line.state = Some(State::Leased(now + LEASE));
                        Settled::Done
                    }
                },
            ),
            Step::Nack { which, delay, dead } => self.nack(which, delay, dead),
            Step::Wait(time) => self.wait(time),
            Step::Bury => {
                let dying: Vec<u64> = self.share.take_dead().iter().map(|dead| dead.offset.0).collect();
                for offset in dying {
                    assert_eq!(self.lines[offset as usize].state, Some(State::Dying));
                    assert!(self.share.bury(Offset(offset)));
                    self.lines[offset as usize].state = None;
                }
            }
            Step::SkipBefore(which) => {
                let below = which.index(self.lines.len() + 1);
                let skipped = self.share.skip_before(Offset(below as u64)).map_or(0, |skipped| skipped.records);
                let mut expected = 0;
                for line in &mut self.lines[..below] {
                    if line.state.is_some() && !matches!(line.state, Some(State::Leased(_))) {
                        line.state = None;
                        expected += 1;
                    }
                }
                assert_eq!(skipped, expected);
            }
            Step::Crash => self.crash(),
        }
        self.check();
    }

    fn nack(&mut self, which: prop::sample::Index, delay: i64, dead: bool) {
        let nack =
            |share: &mut Share, delivery, now| share.nack(delivery, now + delay, now, DELIVERIES_MAX, dead, "why");
        self.settle(which, nack, |line, now| match line.state {
            Some(State::Dying) => Settled::Dying,
            _ if dead || line.deliveries >= DELIVERIES_MAX => {
                line.state = Some(State::Dying);
                Settled::Dying
            }
            _ => {
                line.state = Some(if delay > 0 { State::Delayed(now + delay) } else { State::Ready });
                Settled::Done
            }
        });
    }

    fn wait(&mut self, time: i64) {
        self.now += time;
        let mut leases = 0;
        for line in &mut self.lines {
            match line.state {
                Some(State::Leased(until)) if until <= self.now => {
                    leases += 1;
                    let is_last = line.deliveries >= DELIVERIES_MAX;
                    line.state = Some(if is_last { State::Dying } else { State::Ready });
                }
                Some(State::Delayed(until)) if until <= self.now => line.state = Some(State::Ready),
                _ => {}
            }
        }
        assert_eq!(self.share.expire(self.now, DELIVERIES_MAX), leases);
    }

    /// Reads the window back, as a start does: leases are over, all else is as it was.
    fn crash(&mut self) {
        let bytes = window::encode(&self.share);
        self.share = window::decode(&bytes, self.ordered).unwrap();
        assert_eq!(window::encode(&self.share), bytes);
        for (offset, line) in self.lines.iter_mut().enumerate() {
            if line.state.is_some() {
                self.share.learn(Offset(offset as u64), line.key);
            }
            if matches!(line.state, Some(State::Leased(_) | State::Dying)) {
                line.state = Some(State::Ready);
            }
        }
        assert_eq!(self.share.first_unlearned(), None);
        self.wait(0);
    }

    fn settle(
        &mut self,
        which: prop::sample::Index,
        real: impl Fn(&mut Share, Delivery, i64) -> Settled,
        model: impl Fn(&mut Line, i64) -> Settled,
    ) {
        if self.given.is_empty() {
            return;
        }
        let (delivery, now) = (*which.get(&self.given), self.now);
        let expected = match self.current(delivery) {
            Err(settled) => settled,
            Ok(line) => model(line, now),
        };
        assert_eq!(real(&mut self.share, delivery, now), expected, "{delivery:?}");
    }

    fn current(&mut self, delivery: Delivery) -> Result<&mut Line, Settled> {
        let line = &mut self.lines[delivery.offset.0 as usize];
        match line.state {
            None => Err(Settled::Before),
            Some(_) if line.deliveries != delivery.number => Err(Settled::Lost),
            Some(_) => Ok(line),
        }
    }

    fn acquire(&mut self) -> Option<Delivery> {
        let mut keys = BTreeSet::new();
        for (offset, line) in self.lines.iter_mut().enumerate().filter(|(_, line)| line.state.is_some()) {
            let is_first = line.key.filter(|_| self.ordered).is_none_or(|key| keys.insert(key));
            if line.state != Some(State::Ready) || !is_first {
                continue;
            }
            if line.deliveries >= DELIVERIES_MAX {
                line.state = Some(State::Dying);
                continue;
            }
            line.deliveries += 1;
            line.state = Some(State::Leased(self.now + LEASE));
            return Some(Delivery { offset: Offset(offset as u64), number: line.deliveries });
        }
        None
    }

    /// The two say the same of every record.
    fn check(&self) {
        let mut unfinished = 0;
        for (offset, line) in self.lines.iter().enumerate() {
            let entry = self.share.entries.get(&Offset(offset as u64));
            assert_eq!(entry.map(|entry| entry.state), line.state, "offset {offset}");
            assert!(entry.is_none_or(|entry| entry.deliveries == line.deliveries), "offset {offset}");
            unfinished += usize::from(line.state.is_some());
        }
        let counts = self.share.counts();
        assert_eq!((self.share.len(), self.share.end().0), (unfinished, self.lines.len() as u64));
        assert_eq!(counts.ready + counts.leased + counts.delayed + counts.dying, unfinished);
        let first = self.lines.iter().position(|line| line.state.is_some()).unwrap_or(self.lines.len());
        assert_eq!(self.share.start().0, first as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_window_does_what_the_model_does(ordered: bool, steps in steps()) {
        let mut pair = Pair::new(ordered);
        steps.into_iter().for_each(|step| pair.step(step));
    }

    #[test]
    fn whatever_bytes_come_are_a_window_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60), ordered: bool) {
        let mut versioned = vec![1];
        versioned.extend(&bytes);
        for bytes in [bytes, versioned] {
            if let Ok(share) = window::decode(&bytes, ordered) {
                prop_assert_eq!(window::decode(&window::encode(&share), ordered), Ok(share));
            }
        }
    }
}

#[test]
fn a_worker_that_finishes_late_has_finished_if_nobody_else_has_the_record() {
    let mut share = Share::new(Offset(0), false);
    share.offer(Offset(0), None, None, 0);
    let first = share.acquire(10, 5).unwrap();
    assert_eq!(share.expire(10, 5), 1);
    let second = share.acquire(20, 5).unwrap();
    assert_eq!((share.ack(first), share.expire(20, 5)), (Settled::Lost, 1));
    assert_eq!((share.ack(second), share.ack(first)), (Settled::Done, Settled::Before));
    assert_eq!(share.ack(Delivery { offset: Offset(7), number: 1 }), Settled::Unknown);
}

#[test]
fn thousands_in_flight_are_few_bytes() {
    let mut share = Share::new(Offset(0), false);
    (0..2_000).for_each(|offset| share.offer(Offset(offset), None, None, 0));
    let given: Vec<Delivery> = std::iter::from_fn(|| share.acquire(10, 5)).collect();
    assert_eq!((given.len(), window::encode(&share).len() < 20), (2_000, true));
    given.iter().step_by(2).for_each(|delivery| _ = share.ack(*delivery));
    assert!(window::encode(&share).len() < 8 * 1_000, "every other one is the worst case");
}

#[test]
fn a_window_of_another_version_is_refused() {
    assert!(window::decode(&[2, 0, 0], false).unwrap_err().contains("version 2"));
}
