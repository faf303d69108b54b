//! Decides an idempotent producer's request (DESIGN §7, `Producer-Id` and friends).

use skidway_record::{Offset, TopicPartition};

use crate::commit::{Appended, Committed, ProducerSequence, Refusal};
use crate::decide::draft::Draft;
use crate::effects::{Change, ProducedRequest};
use crate::state::{ProducerState, State};

/// Bounds the idempotent producers that a topic remembers. Forgetting one early would let its duplicate pass.
const PRODUCERS_PER_TOPIC_MAX: usize = 100_000;

/// Checks a request's place. `Some` is the first answer to a request that was stored before.
pub(super) fn check(state: &State, sequence: &ProducerSequence) -> Result<Option<Committed>, Refusal> {
    let known = state.topic(&sequence.topic).and_then(|held| held.producers.get(&sequence.producer));
    let expected = match known {
        Some(known) if sequence.epoch < known.epoch => {
            return Err(Refusal::ProducerFenced { epoch: sequence.epoch, current: known.epoch });
        }
        Some(known) if sequence.epoch == known.epoch => {
            if let Some(request) = find(known, sequence) {
                return Ok(Some(first_answer(sequence, request)));
            }
            known.expected()
        }
        None if producers(state, sequence) >= PRODUCERS_PER_TOPIC_MAX => {
            return Err(Refusal::TooManyProducers { topic: sequence.topic.clone(), max: PRODUCERS_PER_TOPIC_MAX });
        }
        _ => 0,
    };
    if sequence.first == expected { Ok(None) } else { Err(Refusal::SequenceMismatch { expected }) }
}

/// Remembers where the request's batches went, for its duplicate.
pub(super) fn remember(draft: &mut Draft<'_, '_>, sequence: &ProducerSequence) -> Result<(), Refusal> {
    let (topic, _) = draft.topic(&sequence.topic, false)?;
    let own = draft.appended.iter().filter(|appended| appended.partition.topic == sequence.topic);
    let placed = own.map(|appended| (appended.partition.partition.0, appended.base_offset.0, appended.count)).collect();
    let request = ProducedRequest { first: sequence.first, count: sequence.count, at_ms: sequence.at_ms, placed };
    let (producer, epoch) = (sequence.producer.clone(), sequence.epoch);
    draft.changes.push(Change::Produced { topic, producer, epoch, request });
    Ok(())
}

fn producers(state: &State, sequence: &ProducerSequence) -> usize {
    state.topic(&sequence.topic).map_or(0, |held| held.producers.len())
}

fn find<'a>(known: &'a ProducerState, sequence: &ProducerSequence) -> Option<&'a ProducedRequest> {
    known.requests.iter().find(|request| (request.first, request.count) == (sequence.first, sequence.count))
}

fn first_answer(sequence: &ProducerSequence, request: &ProducedRequest) -> Committed {
    let placed = request.placed.iter().map(|&(partition, base_offset, count)| Appended {
        partition: TopicPartition::new(sequence.topic.clone(), partition),
        base_offset: Offset(base_offset),
        count,
    });
    Committed { appended: placed.collect(), duplicate: true }
}
