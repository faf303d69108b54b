//! Texts with `{host}`, `{file_stem}`, `{path}` and `{label.x}` in them: topics and keys. Pure.

use std::collections::BTreeMap;

use skidway_record::TopicName;
use skidway_record::limits::TOPIC_NAME_BYTES_MAX;

/// Holds a template that is known to be well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    written: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Host,
    FileStem,
    Path,
    Label(String),
}

/// Gives the values a template is filled with.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// This machine's name.
    pub host: &'a str,
    /// The file's absolute path.
    pub path: &'a str,
    /// The agent's labels.
    pub labels: &'a BTreeMap<String, String>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// In words: a brace without its partner, an unknown name, a label that is not configured.
    pub fn parse(written: &str, labels: &BTreeMap<String, String>) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), written);
        while let Some(open) = rest.find('{') {
            let close = rest[open..].find('}').ok_or("a { has no }")? + open;
            if open > 0 {
                parts.push(Part::Text(rest[..open].to_owned()));
            }
            parts.push(Part::parse(&rest[open + 1..close], labels)?);
            rest = &rest[close + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { written: written.to_owned(), parts })
    }

    /// Gives the template as it was written.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Fills the template.
    pub fn fill(&self, facts: Facts<'_>) -> String {
        let value = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Host => facts.host.to_owned(),
            Part::FileStem => file_stem(facts.path.rsplit('/').next().unwrap_or_default()).to_owned(),
            Part::Path => facts.path.to_owned(),
            Part::Label(name) => facts.labels.get(name).cloned().unwrap_or_default(),
        };
        self.parts.iter().map(value).collect()
    }

    /// Fills the template and makes a topic name of it: bytes that no topic name has become `_`, and it is cut to 249 bytes.
    pub fn topic(&self, facts: Facts<'_>) -> TopicName {
        let allowed =
            |byte: u8| if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) { byte as char } else { '_' };
        let name: String = self.fill(facts).bytes().take(TOPIC_NAME_BYTES_MAX).map(allowed).collect();
        TopicName::new(&name).unwrap_or_else(|_| TopicName::new("_").expect("\"_\" is a topic name"))
    }
}

impl Part {
    fn parse(name: &str, labels: &BTreeMap<String, String>) -> Result<Self, String> {
        match name {
            "host" => Ok(Self::Host),
            "file_stem" => Ok(Self::FileStem),
            "path" => Ok(Self::Path),
            _ => match name.strip_prefix("label.") {
                Some(label) if labels.contains_key(label) => Ok(Self::Label(label.to_owned())),
                Some(label) => Err(format!("[agent.labels] has no {label:?}")),
                None => Err(format!("{{{name}}} is none of {{host}}, {{file_stem}}, {{path}}, {{label.…}}")),
            },
        }
    }
}

/// Gives a file's name without `.gz` or `.zst`, without `.N` or a date behind it, without one extension: `w0.log.1` → `w0`.
pub fn file_stem(name: &str) -> &str {
    let name = [".gz", ".zst"].iter().find_map(|archive| name.strip_suffix(archive)).unwrap_or(name);
    let name = without_generation(name);
    match name.rfind('.') {
        Some(dot) if dot > 0 => &name[..dot],
        _ => name,
    }
}

/// Takes off what rotation puts behind a name, such as `.1`, `-20260131`, `.2026-01-31`, `-2026013107`.
pub fn without_generation(name: &str) -> &str {
    if let Some((stem, number)) = name.rsplit_once('.')
        && !stem.is_empty()
        && !number.is_empty()
        && number.len() <= 5
        && number.bytes().all(|byte| byte.is_ascii_digit())
    {
        return stem;
    }
    let digits_start = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').len();
    let date_start = name[digits_start..].find(|c: char| c.is_ascii_digit()).map_or(name.len(), |at| digits_start + at);
    let (stem, date) = name.split_at(date_start);
    let digits = date.bytes().filter(u8::is_ascii_digit).count();
    let is_date = (8..=14).contains(&digits) && (date.starts_with("19") || date.starts_with("20"));
    match stem.strip_suffix(['.', '-', '_']) {
        Some(stem) if is_date && !stem.is_empty() => stem,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn file_stems_follow_the_rule() {
        let cases = [
            ("w0.log.1", "w0"),
            ("w0.log", "w0"),
            ("access.log.12.gz", "access"),
            ("syslog", "syslog"),
            ("syslog.1", "syslog"),
            ("app.log-20260131", "app"),
            ("app.log.2026-01-31.zst", "app"),
            ("app.log-2026013107", "app"),
            ("app-1.2.log", "app-1.2"),
            ("error-404.log", "error-404"),
            (".profile", ".profile"),
            ("20260131", "20260131"),
            ("1.1", "1"),
            ("", ""),
        ];
        for (name, stem) in cases {
            assert_eq!(file_stem(name), stem, "{name}");
        }
    }

    #[test]
    fn templates_are_filled_and_make_topic_names() {
        let labels = BTreeMap::from([("env".to_owned(), "prod/eu".to_owned())]);
        let facts = Facts { host: "web-1", path: "/var/log/ä x.log.1", labels: &labels };
        let fill = |written| Template::parse(written, &labels).unwrap().fill(facts);
        assert_eq!(fill("{host}:{path}"), "web-1:/var/log/ä x.log.1");
        let topic = |written| Template::parse(written, &labels).unwrap().topic(facts).as_str().to_owned();
        assert_eq!(topic("logs.{label.env}-{file_stem}"), "logs.prod_eu-___x");
        assert_eq!(topic(".."), "_");
    }

    proptest! {
        #[test]
        fn whatever_a_file_is_called_its_topic_is_a_name(host in ".*", path in "(/|\\.\\.|\\PC|\0|\n){0,400}", label in ".*") {
            let labels = BTreeMap::from([("l".to_owned(), label)]);
            let facts = Facts { host: &host, path: &path, labels: &labels };
            for written in ["{path}", "{file_stem}", "{host}{label.l}", "..{label.l}", ""] {
                let topic = Template::parse(written, &labels).unwrap().topic(facts);
                prop_assert!(!matches!(topic.as_str(), "" | "." | "..") && topic.as_str().len() <= TOPIC_NAME_BYTES_MAX);
                prop_assert!(!topic.as_str().contains(['/', '\\', '\0']));
            }
        }
    }

    #[test]
    fn malformed_templates_say_what_is_wrong() {
        let parse = |written| Template::parse(written, &BTreeMap::new()).unwrap_err();
        assert_eq!(parse("{host"), "a { has no }");
        assert!(parse("{hots}").starts_with("{hots} is none of {host}"));
        assert_eq!(parse("{label.env}"), "[agent.labels] has no \"env\"");
    }
}
