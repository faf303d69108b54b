//! Decides the change to a commit's source (DESIGN §3, "Sources").

use bytes::Bytes;
use skidway_record::source::{NewSource, Partitioning, PhysicalId, StoredSource};
use skidway_record::{AgentId, SourceId, TopicName, murmur2};

use crate::commit::{Advance, Commit, HandOver, Refusal, SourceChange};
use crate::decide::draft::Draft;
use crate::effects::Change;

/// Says where a source's batches go.
pub(super) struct Owner {
    /// Its topic.
    pub(super) topic: TopicName,
    /// Its partition; `None` where batches take turns.
    pub(super) partition: Option<u32>,
}

/// Decides the source change of a commit, and says where that source's batches go.
pub(super) fn decide(draft: &mut Draft<'_, '_>, commit: &Commit) -> Result<Option<Owner>, Refusal> {
    let Some(change) = &commit.source else { return Ok(None) };
    let agent = &commit.session.as_ref().ok_or(Refusal::UnknownSource)?.agent;
    let owner = match change {
        SourceChange::Create(source) => create(draft, agent, source)?,
        SourceChange::Advance(advance) => move_position(draft, agent, advance, commit.expected_carry.as_ref())?,
        SourceChange::HandOver(hand_over) => move_carry(draft, agent, hand_over)?,
        SourceChange::Rebind { source, physical, path } => {
            let stored = find(draft, agent, source)?;
            check_rebind(draft, stored, *physical)?;
            draft.changes.push(Change::SourceRebound { source: *source, physical: *physical, path: path.clone() });
            owner_of(draft, stored)?
        }
        SourceChange::Gone { source, at_ms } => {
            let stored = find(draft, agent, source)?;
            draft.changes.push(Change::SourceGone { source: *source, at_ms: *at_ms });
            owner_of(draft, stored)?
        }
    };
    Ok(Some(owner))
}

/// Creates a source. The same creation again, after a lost answer, changes nothing and is accepted.
fn create(draft: &mut Draft<'_, '_>, agent: &AgentId, source: &NewSource) -> Result<Owner, Refusal> {
    if let Some(stored) = draft.state.source(&source.id) {
        let again = is_same_creation(stored, agent, source);
        return if again { owner_of(draft, stored) } else { Err(Refusal::SourceExists { source_id: source.id }) };
    }
    if let Some(holder) = draft.state.live_source(agent, source)
        && source.supersedes != Some(holder)
    {
        return Err(Refusal::SourceExists { source_id: holder });
    }
    let (_, config) = draft.topic(&source.topic, false)?;
    let partition = fixed_partition(agent, source, config.partitions);
    if let Some(id) = source.supersedes {
        supersede(draft, agent, id);
    }
    draft.changes.push(Change::SourceCreated { agent: agent.clone(), source: source.clone(), partition });
    Ok(Owner { topic: source.topic.clone(), partition })
}

/// Marks the superseded source gone. One that was forgotten, or is another agent's, is left alone.
fn supersede(draft: &mut Draft<'_, '_>, agent: &AgentId, id: SourceId) {
    let known = draft.state.source(&id).filter(|stored| stored.agent == *agent && stored.gone_at_ms.is_none());
    if known.is_some() {
        draft.changes.push(Change::SourceGone { source: id, at_ms: draft.circumstances.now_ms });
    }
}

fn move_position(
    draft: &mut Draft<'_, '_>,
    agent: &AgentId,
    advance: &Advance,
    carry: Option<&Bytes>,
) -> Result<Owner, Refusal> {
    let stored = find(draft, agent, &advance.source)?;
    // An empty span moves no position: only the framer's state tells whether it was committed before.
    let is_before = advance.span.start == stored.position && carry.is_none_or(|carry| *carry == stored.carry);
    if !is_before || advance.span.end < advance.span.start {
        return Err(stands(stored));
    }
    draft.changes.push(Change::SourceAdvanced(advance.clone()));
    owner_of(draft, stored)
}

/// Moves a framer's state. The same again, after a lost answer, changes nothing and is accepted.
fn move_carry(draft: &mut Draft<'_, '_>, agent: &AgentId, asked: &HandOver) -> Result<Owner, Refusal> {
    let (from, to) = (find(draft, agent, &asked.from)?, find(draft, agent, &asked.to)?);
    let is_moved = from.carry.is_empty() && to.carry == asked.carry;
    if from.position != asked.position || !(is_moved || from.carry == asked.carry) || asked.from == asked.to {
        return Err(stands(from));
    }
    if to.position != 0 || !(is_moved || to.carry.is_empty()) || asked.carry.is_empty() {
        return Err(stands(to));
    }
    if !is_moved {
        draft.changes.push(Change::CarryMoved { from: asked.from, to: asked.to });
    }
    owner_of(draft, to)
}

fn stands(stored: &StoredSource) -> Refusal {
    Refusal::PositionMismatch { position: stored.position, carry: stored.carry.clone() }
}

/// Refuses to let two live sources share a file.
fn check_rebind(draft: &Draft<'_, '_>, stored: &StoredSource, physical: PhysicalId) -> Result<(), Refusal> {
    let rebound = NewSource { physical, ..stored.source.clone() };
    match draft.state.live_source(&stored.agent, &rebound) {
        Some(holder) if holder != stored.source.id => Err(Refusal::SourceExists { source_id: holder }),
        _ => Ok(()),
    }
}

fn find<'a>(draft: &Draft<'a, '_>, agent: &AgentId, id: &SourceId) -> Result<&'a StoredSource, Refusal> {
    draft.state.source(id).filter(|stored| stored.agent == *agent).ok_or(Refusal::UnknownSource)
}

/// Compares all that never changes after creation; a rebound source has another file by now, a grown one another head.
fn is_same_creation(stored: &StoredSource, agent: &AgentId, source: &NewSource) -> bool {
    let known = &stored.source;
    stored.agent == *agent
        && known.input == source.input
        && known.topic == source.topic
        && known.partitioning == source.partitioning
        && known.physical == source.physical
        && known.supersedes == source.supersedes
}

/// Says where a known source's batches go. If its topic was created again with fewer partitions, it is given one of those.
fn owner_of(draft: &mut Draft<'_, '_>, stored: &StoredSource) -> Result<Owner, Refusal> {
    let topic = stored.source.topic.clone();
    let Some(partition) = stored.partition else { return Ok(Owner { topic, partition: None }) };
    let partitions = match draft.state.topic(&topic) {
        Some(held) => held.topic.config.partitions,
        None => draft.circumstances.topics.config_for(&topic).partitions,
    };
    if partition < partitions {
        return Ok(Owner { topic, partition: Some(partition) });
    }
    let moved = partition % partitions;
    draft.changes.push(Change::SourceMoved { source: stored.source.id, partition: moved });
    Ok(Owner { topic, partition: Some(moved) })
}

fn fixed_partition(agent: &AgentId, source: &NewSource, partitions: u32) -> Option<u32> {
    match &source.partitioning {
        Partitioning::File => {
            let file = [agent.as_str().as_bytes(), b"\0", &source.path].concat();
            Some(murmur2::partition_of(&file, partitions))
        }
        Partitioning::Key(key) => Some(murmur2::partition_of(key, partitions)),
        Partitioning::RoundRobin => None,
    }
}
