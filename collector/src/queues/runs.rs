//! A set of offsets as runs: which dead letters were redriven. Pure.
//!
//! ```text
//! version u8 = 1 | number of runs | runs: gap from the run before (the first: from 0), length        zig-zag varints
//! ```

use std::collections::BTreeMap;
use std::ops::Range;

use skidway_record::{Offset, varint};

const VERSION: u8 = 1;

/// Holds offsets; neighbours are one run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Runs(BTreeMap<u64, u64>);

impl Runs {
    /// Adds an offset.
    pub fn insert(&mut self, offset: Offset) {
        let at = offset.0;
        if self.run_of(offset).is_some() {
            return;
        }
        let (mut start, mut end) = (at, at + 1);
        if let Some((&before, &its_end)) = self.0.range(..at).next_back()
            && its_end == at
        {
            start = before;
        }
        if let Some(after) = self.0.remove(&end) {
            end = after;
        }
        self.0.insert(start, end);
    }

    /// Gives the run that holds an offset.
    pub fn run_of(&self, offset: Offset) -> Option<Range<Offset>> {
        let (&start, &end) = self.0.range(..=offset.0).next_back()?;
        (offset.0 < end).then_some(Offset(start)..Offset(end))
    }

    /// Forgets what lies below an offset.
    pub fn forget_below(&mut self, below: Offset) {
        let kept = self.0.split_off(&below.0);
        let cut = self.0.last_key_value().map(|(_, &end)| end).filter(|end| *end > below.0);
        self.0 = kept;
        if let Some(end) = cut {
            self.0.insert(below.0, end);
        }
    }

    /// Counts its runs.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts the offsets it holds from one on.
    pub fn count_from(&self, from: Offset) -> u64 {
        self.0.iter().map(|(&start, &end)| end.saturating_sub(start.max(from.0))).sum()
    }

    /// Encodes it.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        varint::write(&mut out, self.0.len() as i64);
        let mut at = 0;
        for (&start, &end) in &self.0 {
            varint::write(&mut out, (start - at) as i64);
            varint::write(&mut out, (end - start) as i64);
            at = end;
        }
        out
    }

    /// Decodes one; the error says what is wrong.
    ///
    /// # Errors
    /// Another version, or bytes that are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let (&version, mut input) = bytes.split_first().ok_or("it is empty")?;
        if version != VERSION {
            return Err(format!("it has version {version}, this build knows {VERSION}"));
        }
        let input = &mut input;
        let mut number = || varint::read(input).and_then(|it| u64::try_from(it).ok()).ok_or("it is cut short");
        let (count, mut runs, mut at) = (number()?, BTreeMap::new(), 0_u64);
        for _ in 0..count {
            let start = at.checked_add(number()?).ok_or("an offset is too large")?;
            at = start.checked_add(number()?).ok_or("an offset is too large")?;
            runs.insert(start, at);
        }
        if input.is_empty() { Ok(Self(runs)) } else { Err("there are bytes after its last run".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn runs_are_a_set_and_survive_being_kept(
            offsets in proptest::collection::vec(0_u64..60, 0..60), below in 0_u64..60
        ) {
            let (mut runs, mut set) = (Runs::default(), BTreeSet::new());
            for offset in &offsets {
                runs.insert(Offset(*offset));
                set.insert(*offset);
            }
            runs.forget_below(Offset(below));
            set.retain(|offset| *offset >= below);
            for offset in 0..60 {
                prop_assert_eq!(runs.run_of(Offset(offset)).is_some(), set.contains(&offset));
                prop_assert_eq!(runs.count_from(Offset(offset)), set.range(offset..).count() as u64);
            }
            let neighbours = runs.0.iter().zip(runs.0.iter().skip(1)).any(|((_, end), (start, _))| end >= start);
            prop_assert!(!neighbours, "neighbours are one run");
            prop_assert_eq!(Runs::decode(&runs.encode()), Ok(runs));
        }
    }
}
