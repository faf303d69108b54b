//! Which topics have a key index: asked for by topic, kept in a topic of our own.
//!
//! ```text
//! key = the topic's name    value = {"version":1,"topic":"<its id, 32 hex digits>"}
//! ```
//!
//! A topic that was deleted and created again has another id, and no index.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skidway_record::TopicName;
use tokio::sync::OnceCell;

use crate::keys::TopicId;
use crate::log::{Commit, Log, LogError, StateError, StateTopic, Topic};

/// Names the topic of ours.
pub const TOPIC: &str = "__skidway.keys";

const VERSION: u32 = 1;

/// Remembers which topics are indexed.
pub struct Chosen {
    log: Arc<dyn Log>,
    /// Made when the first topic asks for an index.
    kept: OnceCell<StateTopic>,
    topics: Mutex<HashMap<TopicName, TopicId>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    version: u32,
    topic: String,
}

impl Chosen {
    /// Reads what was asked for.
    ///
    /// # Errors
    /// [`StateError`] (halt).
    pub async fn open(log: Arc<dyn Log>) -> Result<Self, StateError> {
        let (kept, topics) = (OnceCell::new(), Mutex::default());
        let chosen = Self { log, kept, topics };
        let name = TopicName::new(TOPIC).expect("our own topics' names are valid");
        if chosen.log.topic(&name).is_some() {
            let kept = chosen.kept().await?;
            let entries = kept.entries();
            chosen.locked().extend(entries.iter().filter_map(|(name, value)| read(name, value)));
        }
        Ok(chosen)
    }

    /// Tells whether a topic is indexed.
    pub fn has(&self, topic: &Topic) -> bool {
        self.locked().get(&topic.name) == Some(&topic.id)
    }

    /// Gives the topics that are indexed and still there.
    pub fn topics(&self) -> Vec<Topic> {
        let there = |(name, id): (&TopicName, &TopicId)| self.log.topic(name).filter(|topic| topic.id == *id);
        self.locked().iter().filter_map(there).collect()
    }

    /// Lets a topic be indexed, or not any more; durable when it returns.
    ///
    /// # Errors
    /// [`StateError`], with the log's own fate; nothing is changed then.
    pub async fn set(&self, topic: &Topic, indexed: bool) -> Result<(), StateError> {
        if self.has(topic) == indexed {
            return Ok(());
        }
        let value = Entry { version: VERSION, topic: hex(&topic.id) };
        let value = Bytes::from(serde_json::to_vec(&value).expect("an entry is plain JSON"));
        let mut changes = vec![(key(&topic.name), indexed.then_some(value))];
        // Those of topics that were deleted go with it.
        let gone = self.locked().keys().filter(|name| self.log.topic(name).is_none()).cloned().collect::<Vec<_>>();
        changes.extend(gone.iter().map(|name| (key(name), None)));
        self.kept().await?.write(changes, Commit::default()).await?;
        let mut topics = self.locked();
        topics.retain(|name, _| !gone.contains(name));
        if indexed {
            topics.insert(topic.name.clone(), topic.id);
        } else {
            topics.remove(&topic.name);
        }
        Ok(())
    }

    async fn kept(&self) -> Result<&StateTopic, StateError> {
        self.kept.get_or_try_init(|| StateTopic::open(self.log.clone(), TOPIC)).await
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<TopicName, TopicId>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(name: &TopicName) -> Bytes {
    Bytes::copy_from_slice(name.as_str().as_bytes())
}

/// Reads an entry; one that nobody understands counts for nothing, its topic can be given an index again.
fn read(name: &Bytes, value: &Bytes) -> Option<(TopicName, TopicId)> {
    let entry: Entry = serde_json::from_slice(value).ok().filter(|entry: &Entry| entry.version == VERSION)?;
    let name = TopicName::new(std::str::from_utf8(name).ok()?).ok()?;
    Some((name, u128::from_str_radix(&entry.topic, 16).ok()?.to_be_bytes()))
}

fn hex(id: &TopicId) -> String {
    format!("{:032x}", u128::from_be_bytes(*id))
}

impl From<StateError> for crate::keys::KeysError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Log(error) => Self::Log(error),
            other => Self::Log(LogError::Failed(other.to_string())),
        }
    }
}
