//! Which of the writes that wait for one partition may be made: those whose key still ends where they expect it.
//!
//! Pure. The writes of a round are made in one commit or not at all, so each may build on those before it.

use std::collections::HashMap;

use crate::keys::hash::KeyHash;

/// Is what a write asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Its key.
    pub key: KeyHash,
    /// The key's last offset that it knows of; `None` if it knows of no record.
    pub expected: Option<u64>,
    /// Records it writes, at least one.
    pub count: u64,
}

/// Is what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is written.
    Write,
    /// The key's last offset is another one.
    Refuse(Option<u64>),
}

/// Decides in order. `last` gives a key's last offset as it is now, `next` is the partition's next offset.
pub fn decide(asked: &[Asked], last: impl Fn(KeyHash) -> Option<u64>, mut next: u64) -> Vec<Verdict> {
    let mut written = HashMap::new();
    let verdict = |asked: &Asked| {
        let current = written.get(&asked.key).copied().or_else(|| last(asked.key));
        if current != asked.expected {
            return Verdict::Refuse(current);
        }
        next += asked.count;
        written.insert(asked.key, next - 1);
        Verdict::Write
    };
    asked.iter().map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(key: KeyHash, expected: Option<u64>, count: u64) -> Asked {
        Asked { key, expected, count }
    }

    #[test]
    fn of_two_who_know_the_same_the_first_writes() {
        let last = |key| (key == 7).then_some(3);
        let all = [
            asked(7, Some(3), 1),
            asked(7, Some(3), 1),
            asked(8, None, 2),
            asked(8, Some(12), 1),
            asked(9, Some(0), 1),
        ];
        let expected =
            [Verdict::Write, Verdict::Refuse(Some(10)), Verdict::Write, Verdict::Write, Verdict::Refuse(None)];
        assert_eq!(decide(&all, last, 10), expected);
    }

    proptest! {
        #[test]
        fn the_written_ones_of_each_key_form_a_chain(rounds in prop::collection::vec(prop::collection::vec((0_u128..4, prop::option::of(0_u64..40), 1_u64..4), 1..12), 1..8)) {
            let (mut log, mut next) = (HashMap::<KeyHash, Vec<(Option<u64>, u64)>>::new(), 0);
            for round in rounds {
                let all: Vec<Asked> = round.into_iter().map(|(key, expected, count)| asked(key, expected, count)).collect();
                let verdicts = decide(&all, |key| log.get(&key).and_then(|written| written.last()).map(|it| it.1), next);
                for (asked, verdict) in all.iter().zip(verdicts) {
                    if verdict == Verdict::Write {
                        next += asked.count;
                        log.entry(asked.key).or_default().push((asked.expected, next - 1));
                    }
                }
            }
            for written in log.values() {
                let mut last = None;
                for (expected, end) in written {
                    prop_assert_eq!(*expected, last);
                    last = Some(*end);
                }
            }
        }
    }
}
