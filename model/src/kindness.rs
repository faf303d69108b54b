//! How everything still arrives from a state, once nothing breaks any more.
//!
//! A checker's "eventually" is of no use where a message may be late for ever. Instead each state is played on by one fixed, kind
//! schedule: the collector starts, files come back, each request is delivered once and answered. A process that holds the session
//! in force has to finish by itself; only if there is none is a new one started. So each state is shown, by example, to lead
//! to one where all bytes of all files are in the log.

use crate::agent::Process;
use crate::collector::Phase;
use crate::world::{Action, FileIs, Protocol, World};

/// Far more than the longest schedule takes.
const STEPS_MAX: usize = 200;

/// Tells whether the kind schedule brings every byte of every file that still exists.
pub fn everything_arrives(protocol: &Protocol, world: &World) -> bool {
    let mut world = world.clone();
    for _ in 0..STEPS_MAX {
        let Some(action) = kind_action(protocol, &world) else { return has_arrived(protocol, &world) };
        world.happen(action, &protocol.rules);
        world.clean(&protocol.rules);
    }
    false
}

fn has_arrived(protocol: &Protocol, world: &World) -> bool {
    let bytes = usize::from(protocol.bounds.bytes);
    let Some(sequencer) = &world.collector.running else { return false };
    let mut files = world.files.iter().zip(&sequencer.staged.partitions);
    files.all(|(is, partition)| *is == FileIs::Deleted || partition.len() >= bytes)
}

/// Gives the next step of the schedule; `None` when there is nothing left to do.
fn kind_action(protocol: &Protocol, world: &World) -> Option<Action> {
    if let Some(file) = world.files.iter().position(|is| *is == FileIs::Away) {
        return Some(Action::Return(file));
    }
    let Some(sequencer) = &world.collector.running else { return Some(Action::Recover) };
    match sequencer.phase {
        Phase::Synced => return Some(Action::Reply),
        Phase::Staging if !sequencer.group.is_empty() => return Some(Action::Sync),
        Phase::Staging if !sequencer.answers.is_empty() => return Some(Action::Reply),
        Phase::Staging => {}
    }
    if has_arrived(protocol, world) {
        return None;
    }
    let Some(number) = world.processes.iter().rposition(|process| may_go_on(process, sequencer.staged.epoch)) else {
        return Some(Action::Start);
    };
    agent_action(protocol, world, number)
}

/// Tells whether a process is in force, or on its way to be.
fn may_go_on(process: &Process, in_force: u8) -> bool {
    match process {
        Process::Opening { .. } => true,
        Process::Listing { epoch } => *epoch == 0 || *epoch == in_force,
        Process::Following { epoch, .. } => *epoch == in_force,
        Process::Fenced => false,
    }
}

fn agent_action(protocol: &Protocol, world: &World, number: usize) -> Option<Action> {
    let process = &world.processes[number];
    if let Some(request) = process.awaited(number).into_iter().next() {
        // An answer that came before may be old; the last one is the one this delivery brings.
        let answer = world.network.answers.iter().rfind(|(asked, _)| *asked == request);
        return Some(match answer {
            Some((_, answer)) => Action::Take(request, answer.clone()),
            None => Action::Deliver(request),
        });
    }
    let Process::Following { files, .. } = process else { return None };
    for (file, followed) in files.iter().enumerate() {
        if world.files[file] == FileIs::There && (followed.source.is_none() || followed.is_reported_gone) {
            return Some(Action::SeeAgain(number, file));
        }
        if world.files[file] == FileIs::There && followed.position < protocol.bounds.bytes {
            return Some(Action::Read(number, file, protocol.bounds.bytes));
        }
    }
    None
}
