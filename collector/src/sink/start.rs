//! How a sink begins: what it passes over, gives up, and keeps in the log.

use std::collections::BTreeSet;

use skidway_record::TopicPartition;

use super::config::{SinkConfig, StartAt};
use super::decisions::{Cut, Decision, Shard};
use super::journal::Journal;
use super::state::SinkState;
use super::{again, audit, owner};
use crate::log::{Log, Pins, StateError};

/// Decisions of one commit: each is on the disk before the next is made.
const DECIDED_AT_ONCE: usize = 100;

/// At a sink's first start, `latest` passes over what is there. Whatever comes later it takes from its first record on.
pub(super) async fn first_start(
    config: &SinkConfig,
    state: &mut SinkState,
    journal: &Journal,
    log: &dyn Log,
) -> Result<(), StateError> {
    let mut decisions = Vec::new();
    let taken =
        log.topics().into_iter().filter(|topic| config.start_at == StartAt::Latest && config.takes(&topic.name));
    for topic in taken {
        for partition in 0..topic.config.partitions {
            let from = log.offsets(&TopicPartition::new(topic.name.clone(), partition))?.high_watermark.0;
            let shard = Shard { topic: topic.name.clone(), topic_id: topic.id, partition };
            decisions.push(Decision::Begun { shard, from });
        }
    }
    // Last: a start that was cut short is begun again.
    decisions.push(Decision::Opened);
    decide(&config.name, state, journal, &decisions).await
}

/// Records what was decided of topics that were deleted while the sink was not configured, and never published.
pub(super) async fn give_up_deleted(
    sink: &str,
    state: &mut SinkState,
    journal: &Journal,
    log: &dyn Log,
) -> Result<(), StateError> {
    let topics: BTreeSet<[u8; 16]> = log.topics().iter().map(|topic| topic.id).collect();
    let deleted = state.shards.iter().filter(|(shard, _)| !topics.contains(&shard.topic_id));
    let gap = |shard: &Shard, cut: &Cut| Decision::Gap {
        shard: shard.clone(),
        from: cut.from,
        to: cut.to,
        reason: again::TOPIC_GONE.to_owned(),
    };
    let gaps: Vec<Decision> =
        deleted.flat_map(|(shard, standing)| standing.pending.iter().map(move |cut| gap(shard, cut))).collect();
    decide(sink, state, journal, &gaps).await
}

/// Writes decisions down in their order, some at a time, and lets the sink stand so.
async fn decide(
    sink: &str,
    state: &mut SinkState,
    journal: &Journal,
    decisions: &[Decision],
) -> Result<(), StateError> {
    for some in decisions.chunks(DECIDED_AT_ONCE) {
        journal.decide(sink, some).await?;
        some.iter().for_each(|decision| state.apply(decision));
    }
    Ok(())
}

/// Pins what a sink has not in files: where it stands in what it has begun, and all of what it has not.
pub(super) fn pin_all(config: &SinkConfig, state: &SinkState, pins: &Pins) {
    let (owner, config) = (owner(&config.name), config.clone());
    for (shard, standing) in &state.shards {
        pins.pin(&owner, (shard.topic_id, shard.partition), standing.needs_from());
    }
    for (shard, standing) in &state.shards {
        let from = standing.replays.iter().map(|replay| replay.new.from).min();
        let pin = |from| pins.pin(&audit::owner(&config.name), (shard.topic_id, shard.partition), from);
        from.into_iter().for_each(pin);
    }
    pins.pin_all(&owner, move |topic| config.takes(topic));
}
