//! Compares what was destroyed with the loss records: each loss the agent could know of is told, and nothing is told that is none.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Instant;

use serde_json::Value;
use skidway_wire::SourcePage;
use skidway_wire::http::sources_path;

use super::family::Family;
use super::incarnation::{Destroyed, How, Incarnation};
use super::oracle::{Arrived, Report, family_of};
use super::timeline::{GRACE, Timeline, WELL_KNOWN};
use crate::{Client, topic};

const EVENTS: &str = "__skidway.events";

/// Is what the log says of a loss, and which incarnations of a family it may be about.
#[derive(Debug)]
struct Loss {
    family: String,
    numbers: Vec<usize>,
    span: Range<u64>,
    is_exact: bool,
    text: String,
}

/// Counts the ledger's faults.
///
/// # Panics
/// When the collector does not answer.
pub fn audit(
    report: &mut Report,
    client: &Client,
    agent: &str,
    families: &[Family],
    arrived: &Arrived,
    timeline: &Timeline,
) {
    let losses = losses(client, agent, families);
    report.events = losses.len() as u64;
    report.exact = losses.iter().filter(|loss| loss.is_exact).count() as u64;
    report.bytes = losses.iter().map(|loss| loss.span.end - loss.span.start).sum();
    for loss in &losses {
        if let Some(family) = families.iter().find(|family| family.name == loss.family)
            && let Err(why) = check(loss, family, arrived)
        {
            report.false_alarms += 1;
            report.fault(&family.name, "false alarm".to_owned(), format!("{why}: {}", loss.text));
        }
    }
    for family in families {
        for (number, incarnation) in family.incarnations.iter().enumerate() {
            let about = losses.iter().filter(|loss| loss.family == family.name && loss.numbers.contains(&number));
            let about: Vec<&Loss> = about.collect();
            find_unrecorded(report, (family, number, incarnation), &about, arrived, timeline);
        }
    }
}

/// Looks for destroyed lines that no record covers although the agent could know of them.
fn find_unrecorded(
    report: &mut Report,
    (family, number, incarnation): (&Family, usize, &Incarnation),
    about: &[&Loss],
    arrived: &Arrived,
    timeline: &Timeline,
) {
    let flags = arrived.of(family, number);
    let next_until = family.incarnations.get(number + 1).and_then(|next| next.ended).unwrap_or_else(Instant::now);
    let lost = Lost { it: incarnation, any_arrived: flags.contains(&true), next_until };
    let (mut first, mut count) = (None, 0);
    for (line, _) in incarnation.lines.iter().zip(flags).filter(|(_, arrived)| !**arrived) {
        let Some(destroyed) = incarnation.destruction_of(&line.at) else { continue };
        // A bound says from where on nothing is known.
        let covers =
            |loss: &&Loss| loss.span.start <= line.at.start && (!loss.is_exact || line.at.end <= loss.span.end);
        if about.iter().any(covers) {
            continue;
        }
        if !had_to_know(&lost, line.written, destroyed, timeline) {
            report.unknowable += 1;
            continue;
        }
        count += 1;
        first.get_or_insert((line, destroyed));
    }
    if let Some((line, destroyed)) = first {
        report.unrecorded += 1;
        let how = destroyed.how;
        let known: Vec<&str> = about.iter().map(|loss| loss.text.as_str()).collect();
        let what = format!("{count} lines from {} at {:?} on, {how:?}; the ledger has {known:?}", line.seq, line.at);
        report.fault(&family.name, format!("not told g{number}"), what);
    }
}

/// Is an incarnation of which lines did not arrive.
struct Lost<'a> {
    it: &'a Incarnation,
    any_arrived: bool,
    /// How long the one that followed it lasted: as long the truncation could be seen.
    next_until: Instant,
}

/// Tells whether the agent must have known that these bytes were there, and that they are gone.
fn had_to_know(lost: &Lost<'_>, written: Instant, destroyed: &Destroyed, timeline: &Timeline) -> bool {
    let was_there = lost.it.begun..destroyed.since;
    let Some(seen) = timeline.saw(&was_there) else { return false };
    if destroyed.how == How::Deleted {
        return had_to_know_deleted(seen, written, destroyed.since, timeline);
    }
    // Of a file truncated while nobody looked and gone since, the truncation is not seen.
    let is_seen = timeline.saw(&(destroyed.since..lost.next_until)).is_some();
    let is_known = timeline.death_after(seen).is_none() || timeline.knew_well(&was_there);
    is_seen && (is_known || (destroyed.how == How::Truncated && lost.any_arrived))
}

/// A file deleted under an agent is held open, and read to its end unless a limit says otherwise; one deleted with the agent that held it is known
/// by what the checkpoint tells.
fn had_to_know_deleted(seen: Instant, written: Instant, deleted: Instant, timeline: &Timeline) -> bool {
    let Some(death) = timeline.death_after(seen) else {
        if timeline.lets_go_early {
            return timeline.saw(&(written..deleted.max(written))).is_some();
        }
        return written <= deleted || seen + GRACE <= deleted;
    };
    let is_known = timeline.knew_well(&(written..death.max(written))) && deleted <= death;
    is_known && written + WELL_KNOWN <= death && !timeline.was_tampered_after(written)
}

/// Says what is wrong with a record, if anything is.
fn check(loss: &Loss, family: &Family, arrived: &Arrived) -> Result<(), String> {
    let bytes = loss.span.end - loss.span.start;
    let is_true = |number: usize| {
        let (incarnation, flags) = (&family.incarnations[number], arrived.of(family, number));
        if incarnation.may_be_doubled && !loss.is_exact {
            return Ok(());
        }
        if bytes == 0 && loss.is_exact {
            return Err("it is exact and empty".to_owned());
        }
        // A file truncated before anything was read of it is told of by what it held next.
        let follows_truncated = number.checked_sub(1).is_some_and(|before| family.incarnations[before].is_truncated);
        let is_unseen = incarnation.was_away || (incarnation.is_packed && loss.span.start == 0);
        let is_over = incarnation.is_truncated || incarnation.is_removed || is_unseen;
        if bytes == 0 && (is_over || follows_truncated) {
            return Ok(());
        }
        if incarnation.destroyed.is_empty() {
            return Err(format!("nothing of g{number} was destroyed"));
        }
        let within = |at: &Range<u64>| loss.span.start < at.end && at.start < loss.span.end;
        let lines = || incarnation.lines.iter().zip(flags).filter(|(line, _)| within(&line.at));
        if let Some((line, _)) = lines().find(|(_, arrived)| **arrived && !incarnation.may_be_doubled) {
            return Err(format!("line {} of g{number} at {:?} arrived", line.seq, line.at));
        }
        if loss.span.end > incarnation.len {
            return Err(format!("g{number} never had more than {} bytes", incarnation.len));
        }
        Ok(())
    };
    if loss.numbers.is_empty() {
        return Err("no file is known that it is about".to_owned());
    }
    let verdicts: Vec<Result<(), String>> = loss.numbers.iter().map(|number| is_true(*number)).collect();
    if verdicts.iter().any(Result::is_ok) {
        Ok(())
    } else {
        verdicts.into_iter().find(Result::is_err).unwrap_or(Ok(()))
    }
}

/// Reads the ledger, and finds out from the collector's list of sources which files it is about.
fn losses(client: &Client, agent: &str, families: &[Family]) -> Vec<Loss> {
    if topic::count(client, EVENTS) == 0 {
        return Vec::new();
    }
    let sources = sources(client, agent);
    let records = topic::read(client, EVENTS);
    let values = records.iter().filter_map(|record| record.value.as_deref());
    let events = values.filter_map(|value| serde_json::from_str::<Value>(value).ok().map(|event| (event, value)));
    let loss = |(event, text): (Value, &str)| {
        let number = |name: &str| event[name].as_u64().unwrap_or(0);
        let path = event["path"].as_str().unwrap_or_default();
        let id = event["source"].as_str().unwrap_or_default();
        let family = family_of(path);
        let it = families.iter().find(|it| it.name == family);
        let source = sources.get(id);
        let is_about = |incarnation: &Incarnation| source.is_some_and(|source| source.is_of(incarnation));
        let numbers = it.map_or(Vec::new(), |it| {
            (0..it.incarnations.len()).filter(|number| is_about(&it.incarnations[*number])).collect()
        });
        let (span, is_exact) = (number("start")..number("end"), event["exact"].as_bool().unwrap_or(false));
        Loss { family, numbers, span, is_exact, text: text.to_owned() }
    };
    events.filter(|(event, _)| event["kind"] == "lost").map(loss).collect()
}

/// Is what the collector knows of a source.
#[derive(Debug)]
struct Known {
    head_len: usize,
    head_hash: [u8; 16],
    inode: u64,
}

impl Known {
    fn is_of(&self, it: &Incarnation) -> bool {
        if self.head_len == 0 {
            return it.inodes.contains(&self.inode);
        }
        let head = it.head.get(..self.head_len);
        head.is_some_and(|head| twox_hash::XxHash3_128::oneshot(head).to_be_bytes() == self.head_hash)
    }
}

fn sources(client: &Client, agent: &str) -> HashMap<String, Known> {
    let (mut known, mut after) = (HashMap::new(), String::new());
    loop {
        let answer = client.get(&format!("{}{after}", sources_path(agent)));
        let page = SourcePage::decode(answer.body.into()).expect("sources are listed");
        for stored in page.sources {
            let head = stored.source.head;
            let it = Known { head_len: head.len as usize, head_hash: head.hash, inode: stored.source.physical.inode };
            known.insert(stored.source.id.to_string(), it);
        }
        let Some(next) = page.next else { return known };
        after = format!("?after={next}");
    }
}
