//! A queue's settings: as they are asked for, kept and shown. Pure.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skidway_daemon::config::{Bounded, parse_duration};
use skidway_record::TopicName;
use skidway_wire::queues::{Backoff, QueueChange, QueueSettings};

use super::QueueError;

/// Shortest and longest lease.
pub const LEASE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(12 * 3600);

/// Shortest and longest time that a record which was given back waits.
pub const BACKOFF: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(12 * 3600);

const DELAY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(7 * 86_400);
const DELIVERIES_MAX: u32 = 1_000;
const IN_FLIGHT_MAX: u32 = 10_000;

/// Is a queue's settings as they are kept, in JSON; `version` says how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    version: u32,
    /// Random; another one if the queue is deleted and put anew.
    pub id: u64,
    /// The topic whose records are given away.
    pub topic: TopicName,
    /// How long a record is kept for who received it.
    pub lease_ms: u64,
    /// After so many deliveries a record dies.
    pub max_deliveries: u32,
    /// How long a record that was given back after its first delivery waits.
    pub backoff_initial_ms: u64,
    /// At most.
    pub backoff_max_ms: u64,
    /// How long a new record waits, from its timestamp on.
    pub delay_ms: u64,
    /// Where dead letters go.
    pub dead_letter_topic: TopicName,
    /// Whether records of one key are given away one after the other.
    pub ordered_by_key: bool,
    /// Whether the queue began with what was in the topic already.
    pub from_earliest: bool,
    /// How many records of one partition may be in flight.
    pub max_in_flight: u32,
}

const VERSION: u32 = 1;

impl Settings {
    /// Gives what a new queue has.
    fn new(id: u64, queue: &TopicName) -> Result<Self, QueueError> {
        let dead = TopicName::new(&format!("{queue}.dead"));
        let dead_letter_topic = dead.map_err(|error| invalid("dead_letter_topic", error))?;
        Ok(Self {
            version: VERSION,
            id,
            topic: queue.clone(),
            lease_ms: 30_000,
            max_deliveries: 5,
            backoff_initial_ms: 1_000,
            backoff_max_ms: 300_000,
            delay_ms: 0,
            dead_letter_topic,
            ordered_by_key: false,
            from_earliest: true,
            max_in_flight: 2_000,
        })
    }

    /// Gives the settings of a new queue, or those of a queue after a change.
    ///
    /// # Errors
    /// [`QueueError`] (reject): a member is wrong, or cannot be changed.
    pub fn changed(
        before: Option<&Self>,
        id: u64,
        queue: &TopicName,
        change: &QueueChange,
    ) -> Result<Self, QueueError> {
        let mut after = match before {
            Some(before) => before.clone(),
            None => Self::new(id, queue)?,
        };
        after.take(change)?;
        if let Some(before) = before {
            let fixed = |member| Err(QueueError::Fixed { member, queue: queue.clone() });
            if after.topic != before.topic {
                return fixed("topic");
            }
            if after.ordered_by_key != before.ordered_by_key {
                return fixed("ordered_by_key");
            }
            if after.from_earliest != before.from_earliest {
                return fixed("from");
            }
            if after.dead_letter_topic != before.dead_letter_topic {
                return fixed("dead_letter_topic");
            }
        }
        for topic in [&after.topic, &after.dead_letter_topic] {
            if topic.is_internal() {
                return Err(QueueError::InternalTopic(topic.clone()));
            }
        }
        if after.topic == after.dead_letter_topic {
            return Err(invalid("dead_letter_topic", "it is the queue's own topic"));
        }
        if after.backoff_max_ms < after.backoff_initial_ms {
            return Err(invalid("backoff", "max is less than initial"));
        }
        Ok(after)
    }

    fn take(&mut self, change: &QueueChange) -> Result<(), QueueError> {
        let topic = |member, name: &str| TopicName::new(name).map_err(|error| invalid(member, error));
        if let Some(name) = &change.topic {
            self.topic = topic("topic", name)?;
        }
        if let Some(name) = &change.dead_letter_topic {
            self.dead_letter_topic = topic("dead_letter_topic", name)?;
        }
        if let Some(text) = &change.lease {
            self.lease_ms = duration("lease", text, LEASE)?;
        }
        if let Some(text) = &change.delay {
            self.delay_ms = duration("delay", text, DELAY)?;
        }
        if let Some(backoff) = &change.backoff {
            if let Some(text) = &backoff.initial {
                self.backoff_initial_ms = duration("backoff.initial", text, BACKOFF)?;
            }
            if let Some(text) = &backoff.max {
                self.backoff_max_ms = duration("backoff.max", text, BACKOFF)?;
            }
        }
        if let Some(count) = change.max_deliveries {
            self.max_deliveries = within("max_deliveries", count, DELIVERIES_MAX)?;
        }
        if let Some(count) = change.max_in_flight {
            self.max_in_flight = within("max_in_flight", count, IN_FLIGHT_MAX)?;
        }
        self.ordered_by_key = change.ordered_by_key.unwrap_or(self.ordered_by_key);
        self.from_earliest = match change.from.as_deref() {
            None => self.from_earliest,
            Some("earliest") => true,
            Some("latest") => false,
            Some(_) => return Err(invalid("from", "earliest or latest")),
        };
        Ok(())
    }

    /// Tells how long a record waits that was given back after so many deliveries: doubled with each.
    pub fn backoff_ms(&self, deliveries: u32) -> u64 {
        let doublings = deliveries.saturating_sub(1).min(40);
        self.backoff_initial_ms.saturating_mul(1 << doublings).min(self.backoff_max_ms)
    }

    /// Shows them.
    pub fn show(&self) -> QueueSettings {
        let time = |ms| Duration::from_millis(ms).show();
        QueueSettings {
            topic: self.topic.to_string(),
            lease: time(self.lease_ms),
            max_deliveries: self.max_deliveries,
            backoff: Backoff { initial: time(self.backoff_initial_ms), max: time(self.backoff_max_ms) },
            delay: time(self.delay_ms),
            dead_letter_topic: Some(self.dead_letter_topic.to_string()),
            ordered_by_key: self.ordered_by_key,
            from: if self.from_earliest { "earliest" } else { "latest" }.to_owned(),
            max_in_flight: self.max_in_flight,
        }
    }

    /// Encodes them.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("settings are plain JSON")
    }

    /// Decodes them; the error says what is wrong.
    ///
    /// # Errors
    /// Another version, or bytes that are no settings.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let settings: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match settings.version {
            VERSION => Ok(settings),
            version => Err(format!("settings of version {version}, this build knows {VERSION}")),
        }
    }
}

/// Says that a member of a request is wrong.
pub fn invalid(member: &'static str, reason: impl ToString) -> QueueError {
    QueueError::Invalid { member, reason: reason.to_string() }
}

/// Reads a duration within a range, in ms.
///
/// # Errors
/// [`QueueError::Invalid`] (reject).
pub fn duration(member: &'static str, text: &str, range: RangeInclusive<Duration>) -> Result<u64, QueueError> {
    match parse_duration(text).filter(|time| range.contains(time)) {
        Some(time) => Ok(time.as_millis() as u64),
        None => {
            let (least, most) = (range.start().show(), range.end().show());
            Err(invalid(member, format_args!("{text:?} is not a duration from {least} to {most}")))
        }
    }
}

fn within(member: &'static str, count: u32, max: u32) -> Result<u32, QueueError> {
    match (1..=max).contains(&count) {
        true => Ok(count),
        false => Err(invalid(member, format_args!("1 to {max}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> TopicName {
        TopicName::new("jobs").unwrap()
    }

    fn change(json: &str) -> Result<Settings, QueueError> {
        Settings::changed(None, 1, &name(), &serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_new_queue_has_defaults_and_survives_being_kept() {
        let settings = change("{}").unwrap();
        assert_eq!((settings.topic.as_str(), settings.dead_letter_topic.as_str()), ("jobs", "jobs.dead"));
        assert_eq!(Settings::decode(&settings.encode()), Ok(settings.clone()));
        let waits: Vec<u64> = [1, 2, 3, 9, 10, 1000].map(|deliveries| settings.backoff_ms(deliveries)).to_vec();
        assert_eq!(waits, [1_000, 2_000, 4_000, 256_000, 300_000, 300_000]);
    }

    #[test]
    fn what_cannot_be_is_refused_and_named() {
        for (json, words) in [
            (r#"{"lease":"1h30"}"#, "lease:"),
            (r#"{"lease":"13h"}"#, "lease:"),
            (r#"{"max_deliveries":0}"#, "max_deliveries: 1 to 1000"),
            (r#"{"max_in_flight":10001}"#, "max_in_flight: 1 to 10000"),
            (r#"{"topic":"a/b"}"#, "topic:"),
            (r#"{"from":"noon"}"#, "from:"),
            (r#"{"dead_letter_topic":"jobs"}"#, "dead_letter_topic:"),
            (r#"{"topic":"__skidway.events"}"#, "topic __skidway.events is Skidway's own"),
            (r#"{"backoff":{"initial":"10m"}}"#, "backoff: max is less"),
        ] {
            let error = change(json).unwrap_err().to_string();
            assert!(error.starts_with(words), "{json}: {error}");
        }
    }

    #[test]
    fn what_records_in_flight_depend_on_cannot_be_changed() {
        let before = change("{}").unwrap();
        let after = |json: &str| Settings::changed(Some(&before), 2, &name(), &serde_json::from_str(json).unwrap());
        assert_eq!(after(r#"{"lease":"5s"}"#).map(|it| (it.id, it.lease_ms)), Ok((1, 5_000)));
        for json in [r#"{"topic":"other"}"#, r#"{"ordered_by_key":true}"#, r#"{"from":"latest"}"#] {
            assert!(matches!(after(json), Err(QueueError::Fixed { .. })), "{json}");
        }
    }
}
