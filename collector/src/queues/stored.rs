//! Keys of the topic `__skidway.queues`, which are text, and their lives.
//!
//! | key | life | value |
//! |---|---|---|
//! | `1/settings/<queue>` | from `PUT` to `DELETE` | [`Settings`], JSON |
//! | `1/window/<queue>/<queue's id>/<topic's id>/<partition>` | as long as both are those | [`window`](super::window) |
//! | `1/redriven/<queue>/<queue's id>/<id of the dead-letter topic>` | from the first redrive on | [`Runs`] |
//!
//! The leading number is the version of the key.

use std::collections::BTreeMap;

use bytes::Bytes;
use skidway_record::TopicName;

use super::runs::Runs;
use super::settings::Settings;
use super::share::Share;
use super::window;

/// Is what the topic says, by queue.
#[derive(Debug, Default)]
pub struct Stored {
    /// The queues there are.
    pub queues: BTreeMap<TopicName, StoredQueue>,
    /// Keys of what is not there any more.
    pub stale: Vec<Bytes>,
}

/// Is what the topic says of one queue.
#[derive(Debug)]
pub struct StoredQueue {
    /// Its settings.
    pub settings: Settings,
    /// Windows by topic id and partition.
    pub windows: BTreeMap<([u8; 16], u32), Share>,
    /// By id of the dead-letter topic.
    pub redriven: BTreeMap<[u8; 16], Runs>,
}

/// Gives the key of a queue's settings.
pub fn settings_key(queue: &TopicName) -> Bytes {
    format!("1/settings/{queue}").into()
}

/// Gives the key of a window.
pub fn window_key(queue: &TopicName, id: u64, topic: [u8; 16], partition: u32) -> Bytes {
    format!("1/window/{queue}/{id:016x}/{:032x}/{partition}", u128::from_be_bytes(topic)).into()
}

/// Gives the key of what was redriven.
pub fn redriven_key(queue: &TopicName, id: u64, dead_topic: [u8; 16]) -> Bytes {
    format!("1/redriven/{queue}/{id:016x}/{:032x}", u128::from_be_bytes(dead_topic)).into()
}

/// Tells whether a key is one of this queue's.
pub fn is_of(key: &[u8], queue: &TopicName) -> bool {
    std::str::from_utf8(key).is_ok_and(|text| text.split('/').nth(2) == Some(queue.as_str()))
}

/// Reads entries of the topic; the error says what cannot be understood.
///
/// # Errors
/// A key or value of another version, or that is not ours.
pub fn read(entries: &[(Bytes, Bytes)]) -> Result<Stored, String> {
    let (mut stored, mut rest) = (Stored::default(), Vec::new());
    for (key, value) in entries {
        let text = std::str::from_utf8(key).map_err(|_| "a key is not text".to_owned())?;
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            ["1", "settings", queue] => {
                let queue = TopicName::new(queue).map_err(|error| error.to_string())?;
                let settings = Settings::decode(value).map_err(|error| format!("{text}: {error}"))?;
                let (windows, redriven) = (BTreeMap::new(), BTreeMap::new());
                stored.queues.insert(queue, StoredQueue { settings, windows, redriven });
            }
            ["1", "window" | "redriven", ..] => rest.push((key, parts, value)),
            _ => return Err(format!("key {text} is not one that this build knows")),
        }
    }
    for (key, parts, value) in rest {
        let name = parts.get(2).and_then(|name| TopicName::new(name).ok());
        let queue = name.and_then(|name| stored.queues.get_mut(&name));
        let id = parts.get(3).and_then(|id| u64::from_str_radix(id, 16).ok());
        match queue.filter(|queue| Some(queue.settings.id) == id) {
            Some(queue) => {
                queue.take(&parts, value).ok_or_else(|| format!("key {} cannot be read", parts.join("/")))?
            }
            None => stored.stale.push(key.clone()),
        }
    }
    Ok(stored)
}

impl StoredQueue {
    fn take(&mut self, parts: &[&str], value: &Bytes) -> Option<()> {
        let topic = u128::from_str_radix(parts.get(4)?, 16).ok()?.to_be_bytes();
        match parts.get(5) {
            Some(partition) => {
                let share = window::decode(value, self.settings.ordered_by_key).ok()?;
                self.windows.insert((topic, partition.parse().ok()?), share);
            }
            None => _ = self.redriven.insert(topic, Runs::decode(value).ok()?),
        }
        Some(())
    }
}
