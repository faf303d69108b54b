//! Which topics a reader of many wants: names, and patterns that topics to come may match.
//!
//! Pure.

use skidway_record::TopicName;
use skidway_record::limits::TOPIC_NAME_BYTES_MAX;

/// Bounds the names and patterns of one selection.
pub const ENTRIES_MAX: usize = 256;

/// Holds names and patterns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    names: Vec<TopicName>,
    patterns: Vec<String>,
}

impl Selection {
    /// Reads a list such as `a,b,app-*`: names, and patterns in which `*` is any text and `?` any one character.
    ///
    /// # Errors
    /// Says in words what is wrong with the list.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut selection = Self { names: Vec::new(), patterns: Vec::new() };
        let entries: Vec<&str> = text.split(',').map(str::trim).collect();
        if entries.len() > ENTRIES_MAX {
            return Err(format!("at most {ENTRIES_MAX} names and patterns, and these are {}", entries.len()));
        }
        for entry in entries {
            if entry.contains(['*', '?']) {
                selection.patterns.push(pattern(entry)?);
                continue;
            }
            let name = TopicName::new(entry).map_err(|error| error.to_string())?;
            if !selection.names.contains(&name) {
                selection.names.push(name);
            }
        }
        Ok(selection)
    }

    /// Gives the topics that were named outright.
    pub fn names(&self) -> &[TopicName] {
        &self.names
    }

    /// Tells whether a topic is selected.
    pub fn selects(&self, topic: &TopicName) -> bool {
        self.names.contains(topic) || self.patterns.iter().any(|pattern| topic.is_taken_by(pattern))
    }
}

fn pattern(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-*?".contains(&byte);
    if !text.bytes().all(allowed) {
        return Err(format!(
            "{text:?} is no pattern: topics have letters, digits, `.`, `_` and `-`, patterns `*` and `?` too"
        ));
    }
    if text.len() > TOPIC_NAME_BYTES_MAX {
        return Err(format!("a pattern has at most {TOPIC_NAME_BYTES_MAX} characters"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    #[test]
    fn names_and_patterns_select_and_our_own_topics_are_taken_by_patterns_that_begin_as_they_do() {
        for (text, topic, selected) in [
            ("a,b", "b", true),
            (" a , b ", "b", true),
            ("a,b", "c", false),
            ("app-*", "app-x", true),
            ("app-*", "app", false),
            ("app-?", "app-xy", false),
            ("a,*", "zzz", true),
            ("*", "__skidway.events", false),
            ("__*", "__skidway.events", true),
            ("*,__skidway.events", "__skidway.events", true),
        ] {
            assert_eq!(Selection::parse(text).unwrap().selects(&name(topic)), selected, "{text}: {topic}");
        }
    }

    #[test]
    fn wrong_lists_are_refused_in_words() {
        let long = "x*".repeat(200);
        let many = "a,".repeat(ENTRIES_MAX) + "a";
        for text in ["", "a,", "a,,b", "ä", "[ab]*", "a/b", "..", &long, &many] {
            assert!(Selection::parse(text).is_err(), "{text}");
        }
    }
}
