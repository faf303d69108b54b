//! What must hold in every state.

use stateright::Property;

use crate::agent::Process;
use crate::kindness;
use crate::log::Log;
use crate::world::{Protocol, World};

/// No byte is missing before one that is stored, none is there twice, and positions say what partitions hold.
pub const EXACTLY_ONCE: &str = "positions and partitions agree: every byte once, in order";
/// What a reader saw is there after any crash.
pub const NOTHING_SEEN_VANISHES: &str = "what was seen is durable";
/// What an agent was told is there after any crash.
pub const NOTHING_TOLD_VANISHES: &str = "what an agent was told is durable";
/// No two processes may commit.
pub const ONE_SESSION: &str = "at most one process holds the session in force";
/// An agent with the only process of its id is not told that another has taken over; it would end, and not be started again.
pub const NOT_FENCED_BY_ITSELF: &str = "an agent alone is never fenced";
/// Once nothing breaks any more, all bytes of all files arrive.
pub const EVERYTHING_ARRIVES: &str = "everything can still arrive, a process in force needs no restart";

/// Lists the promises.
pub fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always(EXACTLY_ONCE, exactly_once),
        Property::always(NOTHING_SEEN_VANISHES, nothing_seen_vanishes),
        Property::always(NOTHING_TOLD_VANISHES, nothing_told_vanishes),
        Property::always(ONE_SESSION, one_session),
        Property::always(NOT_FENCED_BY_ITSELF, |protocol, world| {
            protocol.bounds.processes > 1 || !is_any_fenced(world)
        }),
        Property::always(EVERYTHING_ARRIVES, kindness::everything_arrives),
    ]
}

/// Looks at what is staged and at what any crash may leave.
fn exactly_once(_: &Protocol, world: &World) -> bool {
    let disk = &world.collector.disk;
    let mut left = disk.synced.clone();
    let group = world.collector.running.iter().flat_map(|sequencer| &sequencer.group);
    let agree_after = disk.cached.iter().chain(group).all(|commit| {
        left.apply(commit);
        agrees(&left)
    });
    agrees(&disk.synced) && agree_after && world.collector.running.as_ref().is_none_or(|it| agrees(&it.staged))
}

/// A partition holds the bytes from the first on, as many as the sources of its file have passed. A forgotten source's stay.
fn agrees(log: &Log) -> bool {
    log.partitions.iter().enumerate().all(|(file, partition)| {
        let mut positions = log.sources.iter().filter(|(id, _)| id.file == file).map(|(_, stored)| stored.position);
        let in_order = partition.iter().copied().eq(0..partition.len() as u8);
        in_order && positions.all(|position| usize::from(position) == partition.len())
    })
}

fn nothing_seen_vanishes(_: &Protocol, world: &World) -> bool {
    let durable = &world.collector.disk.synced.partitions;
    world.seen.iter().zip(durable).all(|(seen, durable)| durable.starts_with(seen))
}

fn nothing_told_vanishes(_: &Protocol, world: &World) -> bool {
    let durable = &world.collector.disk.synced;
    let stored = durable.partitions.iter().map(Vec::len);
    let acknowledged = world.acknowledged.iter().zip(stored).all(|(told, stored)| usize::from(*told) <= stored);
    acknowledged && sessions(world).all(|epoch| epoch <= durable.epoch)
}

fn one_session(_: &Protocol, world: &World) -> bool {
    let in_force = world.collector.running.as_ref().map(|sequencer| sequencer.staged.epoch);
    sessions(world).filter(|epoch| Some(*epoch) == in_force).count() <= 1
}

fn is_any_fenced(world: &World) -> bool {
    world.processes.contains(&Process::Fenced)
}

fn sessions(world: &World) -> impl Iterator<Item = u8> {
    world.processes.iter().filter_map(|process| match process {
        Process::Listing { epoch } if *epoch > 0 => Some(*epoch),
        Process::Following { epoch, .. } => Some(*epoch),
        _ => None,
    })
}
