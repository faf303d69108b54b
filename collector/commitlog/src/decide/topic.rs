//! Decides changes of topics.

use skidway_record::limits::PARTITIONS_MAX;
use skidway_record::{Offset, TopicName, TopicPartition};

use crate::commit::{Refusal, Topic, TopicChange, TopicConfig, TopicSettings};
use crate::config::TopicDefaults;
use crate::decide::Circumstances;
use crate::decide::draft::check_partition;
use crate::effects::Change;
use crate::log::TopicAltered;
use crate::pins::Pins;
use crate::state::{State, TopicState};

/// Decides a change of a topic.
pub(crate) fn decide_topic(
    state: &State,
    change: &TopicChange,
    circumstances: &mut Circumstances<'_>,
) -> Result<(Vec<Change>, TopicAltered), Refusal> {
    match change {
        TopicChange::Ensure(name) => match state.topic(name) {
            Some(held) => Ok((Vec::new(), unchanged(held))),
            None => create(name, &TopicSettings::default(), circumstances),
        },
        TopicChange::Put(name, settings) => match state.topic(name) {
            Some(held) => change_settings(held, settings, circumstances.topics),
            None => create(name, settings, circumstances),
        },
        TopicChange::Delete(name) => Ok(match state.topic(name) {
            Some(held) => {
                let altered = TopicAltered { changed: true, ..TopicAltered::default() };
                (vec![Change::TopicDeleted(held.topic.id)], altered)
            }
            None => (Vec::new(), TopicAltered::default()),
        }),
        TopicChange::DeleteRecords { partition, before } => delete_records(state, partition, *before),
    }
}

/// Decides what other defaults and rules mean for the topics there are: what they inherit follows, the partitions stay.
pub(crate) fn decide_defaults(state: &State, defaults: &TopicDefaults) -> Vec<Change> {
    let inherited = |held: &TopicState| {
        let config = config_of(held, &held.own, held.topic.config.partitions, defaults);
        (config != held.topic.config).then(|| put(held, config, held.own.clone()))
    };
    state.topics().filter_map(inherited).collect()
}

fn create(
    name: &TopicName,
    settings: &TopicSettings,
    circumstances: &mut Circumstances<'_>,
) -> Result<(Vec<Change>, TopicAltered), Refusal> {
    let config = settings.over(&circumstances.topics.config_for(name));
    check_partitions(config.partitions)?;
    let topic = Topic { id: (circumstances.mint)(), name: name.clone(), config };
    let altered = TopicAltered { created: true, changed: false, topic: Some(topic.clone()) };
    Ok((vec![Change::TopicPut { topic, own: settings.all_but_partitions() }], altered))
}

fn change_settings(
    held: &TopicState,
    settings: &TopicSettings,
    defaults: &TopicDefaults,
) -> Result<(Vec<Change>, TopicAltered), Refusal> {
    let have = held.topic.config.partitions;
    let asked = settings.partitions.unwrap_or(have);
    check_partitions(asked)?;
    if asked < have {
        return Err(Refusal::FewerPartitions { topic: held.topic.name.clone(), have, asked });
    }
    let own = settings.all_but_partitions().over_own(&held.own);
    let config = config_of(held, &own, asked, defaults);
    let changed = config != held.topic.config;
    let topic = Topic { config: config.clone(), ..held.topic.clone() };
    let changes = if changed || own != held.own { vec![put(held, config, own)] } else { Vec::new() };
    Ok((changes, TopicAltered { created: false, changed, topic: Some(topic) }))
}

/// Gives the settings in force. Partitions are never inherited once they are there.
fn config_of(held: &TopicState, own: &TopicSettings, partitions: u32, defaults: &TopicDefaults) -> TopicConfig {
    TopicConfig { partitions, ..own.over(&defaults.config_for(&held.topic.name)) }
}

fn put(held: &TopicState, config: TopicConfig, own: TopicSettings) -> Change {
    Change::TopicPut { topic: Topic { config, ..held.topic.clone() }, own }
}

fn delete_records(state: &State, of: &TopicPartition, before: Offset) -> Result<(Vec<Change>, TopicAltered), Refusal> {
    let held = state.topic(&of.topic).ok_or_else(|| Refusal::UnknownTopic(of.topic.clone()))?;
    check_partition(of, &held.topic.config)?;
    let partition = held.partitions[of.partition.0 as usize];
    if before.0 > partition.next_offset {
        return Err(Refusal::BeyondEnd { current: Offset(partition.next_offset) });
    }
    if before.0 <= partition.log_start {
        return Ok((Vec::new(), unchanged(held)));
    }
    let moved = Change::LogStartMoved { topic: held.topic.id, partition: of.partition.0, log_start: before.0 };
    Ok((vec![moved], TopicAltered { changed: true, ..unchanged(held) }))
}

/// Checks that no records are to be deleted that somebody pinned.
///
/// # Errors
/// [`Refusal::Pinned`].
pub(crate) fn check_pins(state: &State, pins: &Pins, change: &TopicChange) -> Result<(), Refusal> {
    let (name, of, before) = match change {
        TopicChange::DeleteRecords { partition, before } => (&partition.topic, Some(partition.partition.0), before.0),
        TopicChange::Delete(name) => (name, None, u64::MAX),
        TopicChange::Ensure(_) | TopicChange::Put(..) => return Ok(()),
    };
    let Some(held) = state.topic(name) else { return Ok(()) };
    for (partition, offsets) in (0..).zip(&held.partitions) {
        let is_meant = of.is_none_or(|of| of == partition);
        let lowest = pins.lowest((held.topic.id, name), partition).filter(|_| is_meant);
        let lowest = lowest.map(|(owner, from)| (owner, from.max(offsets.log_start)));
        if let Some((owner, from)) = lowest.filter(|(_, from)| *from < before.min(offsets.next_offset)) {
            let of = TopicPartition::new(name.clone(), partition);
            return Err(Refusal::Pinned { owner, of, from: Offset(from) });
        }
    }
    Ok(())
}

fn unchanged(held: &TopicState) -> TopicAltered {
    TopicAltered { topic: Some(held.topic.clone()), ..TopicAltered::default() }
}

fn check_partitions(partitions: u32) -> Result<(), Refusal> {
    if (1..=PARTITIONS_MAX).contains(&partitions) { Ok(()) } else { Err(Refusal::PartitionCount(partitions)) }
}
