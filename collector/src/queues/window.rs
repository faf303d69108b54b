//! A window in bytes, as the topic `__skidway.queues` keeps it. Pure.
//!
//! ```text
//! version u8 = 1 | end | number of runs | runs        all but the version as zig-zag varints
//! run = gap | length | deliveries | until             gap: from the end of the run before (the first: from 0)
//!                                                     until: ms since 1970 before which nobody may have it, 0 for none
//! ```
//!
//! A run is of neighbours that stand alike. Leases are not kept: what was leased can be had again. Their deliveries are, so that a record whose
//! worker takes the collector with it does not come back for ever.

use skidway_record::{Offset, varint};

use super::share::{Share, State};

const VERSION: u8 = 1;

/// Bounds the records of one run that is read back, against bytes that are not ours.
const RUN_MAX: i64 = 1 << 24;

/// Is a run of neighbours that stand alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    from: u64,
    length: u64,
    deliveries: u32,
    until: i64,
}

/// Encodes a window.
pub fn encode(share: &Share) -> Vec<u8> {
    let runs = runs(share);
    let mut out = Vec::with_capacity(16 + runs.len() * 8);
    out.push(VERSION);
    varint::write(&mut out, share.end().0 as i64);
    varint::write(&mut out, runs.len() as i64);
    let mut at = 0;
    for run in runs {
        varint::write(&mut out, (run.from - at) as i64);
        varint::write(&mut out, run.length as i64);
        varint::write(&mut out, i64::from(run.deliveries));
        varint::write(&mut out, run.until);
        at = run.from + run.length;
    }
    out
}

/// Decodes a window; the error says what is wrong with it.
///
/// # Errors
/// Another version, or bytes that are no window.
pub fn decode(bytes: &[u8], ordered: bool) -> Result<Share, String> {
    let (&version, mut input) = bytes.split_first().ok_or("it is empty")?;
    if version != VERSION {
        return Err(format!("it has version {version}, this build knows {VERSION}"));
    }
    let input = &mut input;
    let end = number(input)?;
    let mut entries = Vec::new();
    let mut at = 0_u64;
    for _ in 0..number(input)? {
        let (gap, length, deliveries, until) = (number(input)?, number(input)?, number(input)?, number(input)?);
        let from = at.checked_add(gap as u64).ok_or("an offset is too large")?;
        let deliveries = u32::try_from(deliveries).map_err(|_| "a delivery count is too large")?;
        if !(1..=RUN_MAX).contains(&length) || from + length as u64 > end as u64 {
            return Err("a run is not within the window".to_owned());
        }
        at = from + length as u64;
        let state = if until == 0 { State::Ready } else { State::Delayed(until) };
        entries.extend((from..at).map(|offset| (Offset(offset), deliveries, state)));
    }
    match input.is_empty() {
        true => Ok(Share::restored(Offset(end as u64), ordered, entries)),
        false => Err("there are bytes after its last run".to_owned()),
    }
}

fn number(input: &mut &[u8]) -> Result<i64, String> {
    varint::read(input).filter(|number| *number >= 0).ok_or_else(|| "it is cut short".to_owned())
}

fn runs(share: &Share) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (offset, entry) in &share.entries {
        let until = if let State::Delayed(until) = entry.state { until.max(1) } else { 0 };
        match runs.last_mut() {
            Some(run)
                if run.from + run.length == offset.0 && (run.deliveries, run.until) == (entry.deliveries, until) =>
            {
                run.length += 1;
            }
            _ => runs.push(Run { from: offset.0, length: 1, deliveries: entry.deliveries, until }),
        }
    }
    runs
}
