//! Decides changes of topics.

use skidway_record::TopicName;
use skidway_record::limits::PARTITIONS_MAX;

use crate::commit::{Refusal, Topic, TopicChange, TopicSettings};
use crate::decide::Circumstances;
use crate::effects::Change;
use crate::log::TopicAltered;
use crate::state::State;

/// Decides a change of a topic.
pub(crate) fn decide_topic(
    state: &State,
    change: &TopicChange,
    circumstances: &mut Circumstances<'_>,
) -> Result<(Vec<Change>, TopicAltered), Refusal> {
    match change {
        TopicChange::Ensure(name) => match state.topic(name) {
            Some(held) => Ok((Vec::new(), TopicAltered { topic: Some(held.topic.clone()), ..TopicAltered::default() })),
            None => create(name, &TopicSettings::default(), circumstances),
        },
        TopicChange::Put(name, settings) => match state.topic(name) {
            Some(held) => change_settings(&held.topic, settings),
            None => create(name, settings, circumstances),
        },
        TopicChange::Delete(name) => Ok(match state.topic(name) {
            Some(held) => {
                let altered = TopicAltered { changed: true, ..TopicAltered::default() };
                (vec![Change::TopicDeleted(held.topic.id)], altered)
            }
            None => (Vec::new(), TopicAltered::default()),
        }),
    }
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
    Ok((vec![Change::TopicPut(topic)], altered))
}

fn change_settings(topic: &Topic, settings: &TopicSettings) -> Result<(Vec<Change>, TopicAltered), Refusal> {
    let config = settings.over(&topic.config);
    check_partitions(config.partitions)?;
    if config.partitions < topic.config.partitions {
        let (have, asked) = (topic.config.partitions, config.partitions);
        return Err(Refusal::FewerPartitions { topic: topic.name.clone(), have, asked });
    }
    let changed = config != topic.config;
    let topic = Topic { config, ..topic.clone() };
    let changes = if changed { vec![Change::TopicPut(topic.clone())] } else { Vec::new() };
    Ok((changes, TopicAltered { created: false, changed, topic: Some(topic) }))
}

fn check_partitions(partitions: u32) -> Result<(), Refusal> {
    if (1..=PARTITIONS_MAX).contains(&partitions) { Ok(()) } else { Err(Refusal::PartitionCount(partitions)) }
}
