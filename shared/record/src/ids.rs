//! Identities, each checked once at the edge and trusted from there on.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::InvalidName;
use crate::limits::{AGENT_ID_BYTES_MAX, TOPIC_NAME_BYTES_MAX};

/// Names a topic: `[A-Za-z0-9._-]{1,249}`, neither `.` nor `..`, as in Kafka. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Checks and keeps a topic's name.
    ///
    /// # Errors
    /// [`InvalidName`] (reject) when the name breaks the rule above.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let rule = "1 to 249 of A-Z a-z 0-9 . _ - and neither \".\" nor \"..\"";
        let valid = (1..=TOPIC_NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            && name != "."
            && name != "..";
        if valid { Ok(Self(name.into())) } else { Err(InvalidName::new("topic name", name, rule)) }
    }

    /// Tells whether the topic is Skidway's own (`__…`): users read it but never produce to it.
    pub fn is_internal(&self) -> bool {
        self.0.starts_with("__")
    }

    /// Tells whether the whole name matches a pattern: `*` stands for any text, `?` for one character.
    pub fn matches(&self, pattern: &str) -> bool {
        matches(pattern.as_bytes(), self.0.as_bytes())
    }

    /// Tells whether a reader's pattern takes the topic in: our own topics only if the pattern begins as they do.
    pub fn is_taken_by(&self, pattern: &str) -> bool {
        self.matches(pattern) && (!self.is_internal() || pattern.starts_with("__"))
    }

    /// Gives the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Tells whether `text` matches `pattern`. On a mismatch after a `*`, that star takes one character more.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                last_star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((star, taken)) = last_star else { return false };
                last_star = Some((star, taken + 1));
                (p, t) = (star + 1, taken + 1);
            }
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

/// Names an agent: `[A-Za-z0-9._:-]{1,128}`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(Arc<str>);

impl AgentId {
    /// Checks and keeps an agent's id.
    ///
    /// # Errors
    /// [`InvalidName`] (reject) when the id breaks the rule above.
    pub fn new(id: &str) -> Result<Self, InvalidName> {
        let rule = "1 to 128 of A-Z a-z 0-9 . _ : -";
        let valid = (1..=AGENT_ID_BYTES_MAX).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b));
        if valid { Ok(Self(id.into())) } else { Err(InvalidName::new("agent id", id, rule)) }
    }

    /// Gives the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Numbers a partition of a topic, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId(pub u32);

/// Numbers a record in a partition, from 0. Never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Offset(pub u64);

/// Names one ordered shard of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// Its partition.
    pub partition: PartitionId,
}

impl TopicPartition {
    /// Joins a topic and a partition number.
    pub fn new(topic: TopicName, partition: u32) -> Self {
        Self { topic, partition: PartitionId(partition) }
    }
}

/// Names one incarnation of one file: 128 random bits minted by the agent. Shown as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub [u8; 16]);

/// Names a log: 128 random bits minted when the log is created. Shown as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub [u8; 16]);

macro_rules! hex_id {
    ($name:ident, $what:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let invalid = || InvalidName::new($what, text, "32 hexadecimal digits");
                if text.len() != 32 || !text.is_ascii() {
                    return Err(invalid());
                }
                let number = u128::from_str_radix(text, 16).map_err(|_| invalid())?;
                Ok(Self(number.to_be_bytes()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; 16]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

hex_id!(SourceId, "source id");
hex_id!(LogId, "log id");

macro_rules! checked_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

checked_text!(TopicName);
checked_text!(AgentId);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_name_of_a_topic_or_an_agent_leads_elsewhere_in_a_file_system(name in "(\\.|/|\\\\|\0|[a-z:_-]|\\PC){0,260}") {
            for name in TopicName::new(&name).iter().map(TopicName::as_str) {
                prop_assert!(!matches!(name, "" | "." | "..") && name.len() <= TOPIC_NAME_BYTES_MAX, "{}", name);
                prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{}", name);
            }
            for id in AgentId::new(&name).iter().map(AgentId::as_str) {
                prop_assert!(!id.is_empty() && !id.contains(['/', '\\', '\0', '%']), "{}", id);
            }
        }
    }

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, text, expected) in [
            ("audit-*", "audit-web", true),
            ("audit-*", "my-audit-web", false),
            ("*", "x", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*.dead", "nginx.dead.dead", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXcYb", false),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn topic_names_follow_kafkas_rule() {
        for good in ["nginx", "a", "audit-2026.log_x", "...", "__skidway.events", &"x".repeat(249)] {
            assert!(TopicName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a\n", &"x".repeat(250)] {
            assert!(TopicName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hex_ids_round_trip_as_text() {
        let id = SourceId([0xab; 16]);
        assert_eq!(id.to_string().parse::<SourceId>(), Ok(id));
        assert!("+f".repeat(16).parse::<SourceId>().is_err());
        assert!("é".repeat(16).parse::<SourceId>().is_err());
    }
}
