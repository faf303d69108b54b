//! Lines of an NDJSON answer: bytes in, records and control lines out. Pure.

use std::time::Duration;

use memchr::memchr_iter;
use serde_json::{Map, Value};
use skidway_wire::{Gone, JsonRecord, Problem, Reconnect};

/// The longest line that is waited for: the largest record there is, as base64 in JSON, and some.
const LINE_BYTES_MAX: usize = 32 << 20;

/// Holds what one line says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Line {
    /// A record, as it came but without its token, and the token to go on after it.
    Record { object: Map<String, Value>, next: Option<String> },
    /// Nothing new, and the token to go on from.
    Heartbeat { next: Option<String> },
    /// Records that cannot be read were passed over: what was said of them, and the token to go on after them.
    Damaged { damage: Map<String, Value>, next: Option<String> },
    /// A topic is read no longer, the others are; and the token to go on from.
    Gone { gone: Gone, next: Option<String> },
    /// The collector stops: when to come back, and the token to go on from.
    Reconnect { after: Duration, next: Option<String> },
    /// The stream broke.
    Failed(Box<Problem>),
}

/// Reads one line.
pub(crate) fn parse(line: &[u8]) -> Result<Line, String> {
    let mut object: Map<String, Value> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    if let Some(error) = object.remove("error") {
        let problem =
            serde_json::from_value(error).map_err(|error| format!("an error line without a problem: {error}"))?;
        return Ok(Line::Failed(Box::new(problem)));
    }
    let next = match object.remove("next") {
        Some(Value::String(token)) => Some(token),
        _ => None,
    };
    if let Some(Value::Object(damage)) = object.remove("damaged") {
        return Ok(Line::Damaged { damage, next });
    }
    if let Some(gone) = object.remove("gone") {
        let gone = serde_json::from_value(gone).map_err(|error| format!("a strange gone line: {error}"))?;
        return Ok(Line::Gone { gone, next });
    }
    if let Some(reconnect) = object.remove("reconnect") {
        let reconnect: Reconnect =
            serde_json::from_value(reconnect).map_err(|error| format!("a strange reconnect line: {error}"))?;
        return Ok(Line::Reconnect { after: Duration::from_millis(reconnect.after_ms), next });
    }
    if object.contains_key("heartbeat") { Ok(Line::Heartbeat { next }) } else { Ok(Line::Record { object, next }) }
}

/// Gives a record's fields their types.
pub(crate) fn record(object: &Map<String, Value>) -> Result<JsonRecord, String> {
    serde_json::from_value(Value::Object(object.clone())).map_err(|error| error.to_string())
}

/// Says which topic is read no longer.
pub(super) fn gone(gone: &Gone) -> String {
    match &gone.topic {
        Some(topic) => format!("topic {topic} is read no longer: {}", gone.reason),
        None => gone.reason.clone(),
    }
}

/// Says which records were passed over, and where the damage is.
pub(crate) fn passed_over(damage: &Map<String, Value>) -> String {
    let number = |name: &str| damage.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (partition, from, next) = (number("partition"), number("offset"), number("next_offset"));
    let said =
        format!("offsets {from}..{next} of partition {partition} were passed over: they cannot be read any more");
    match damage.get("file").and_then(Value::as_str) {
        Some(file) => format!("{said} ({file}, byte {})", number("position")),
        None => said,
    }
}

/// Shows a record as one line of JSON, its members in the order of the contract rather than of the alphabet.
pub(crate) fn to_json(object: &Map<String, Value>) -> String {
    const ORDER: [&str; 9] =
        ["topic", "partition", "offset", "timestamp", "key", "key_base64", "headers", "value", "value_base64"];
    let known = ORDER.iter().filter_map(|name| object.get_key_value(*name));
    let others = object.iter().filter(|(name, _)| !ORDER.contains(&name.as_str()));
    let members = known.chain(others).map(|(name, value)| format!("{}:{value}", Value::String(name.clone())));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// Cuts chunks, which end anywhere, into whole lines.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    rest: Vec<u8>,
}

impl Splitter {
    /// Takes a chunk, gives each line that is now complete. What follows the last line end waits for the next chunk.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let mut lines = Vec::new();
        let mut start = 0;
        for end in memchr_iter(b'\n', chunk) {
            let mut line = std::mem::take(&mut self.rest);
            line.extend_from_slice(&chunk[start..end]);
            start = end + 1;
            if !line.is_empty() {
                lines.push(line);
            }
        }
        self.rest.extend_from_slice(&chunk[start..]);
        if self.rest.len() > LINE_BYTES_MAX {
            Err(format!("a line longer than {LINE_BYTES_MAX} bytes"))
        } else {
            Ok(lines)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_over_chunks() {
        let mut splitter = Splitter::default();
        let steps: [(&str, &[&str]); 5] = [
            ("{\"a\":", &[]),
            ("1}\n{\"b\"", &["{\"a\":1}"]),
            (":2}\n\n{}\n", &["{\"b\":2}", "{}"]),
            ("", &[]),
            ("x", &[]),
        ];
        for (chunk, lines) in steps {
            assert_eq!(
                splitter.push(chunk.as_bytes()).unwrap(),
                lines.iter().map(|l| l.as_bytes()).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn each_kind_of_line_is_told_apart() {
        let Line::Record { object, next } = parse(br#"{"topic":"t","offset":7,"next":"abc"}"#).unwrap() else {
            panic!("not a record")
        };
        assert_eq!((object.len(), next.as_deref()), (2, Some("abc")));

        let heartbeat = parse(br#"{"heartbeat":{"high_watermarks":{"0":7}},"next":"abc"}"#).unwrap();
        assert_eq!(heartbeat, Line::Heartbeat { next: Some("abc".to_owned()) });

        let passed = parse(br#"{"damaged":{"partition":0,"offset":3,"next_offset":5},"next":"abc"}"#).unwrap();
        let Line::Damaged { damage, next: Some(_) } = passed else { panic!("not damage") };
        assert_eq!(passed_over(&damage), "offsets 3..5 of partition 0 were passed over: they cannot be read any more");

        let failed =
            parse(br#"{"error":{"type":"offset-gone","title":"Gone","status":410,"detail":"too old"}}"#).unwrap();
        assert!(matches!(failed, Line::Failed(problem) if problem.status == 410));

        for bad in ["", "[]", "7", "{", r#"{"error":3}"#] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_record_is_printed_as_it_came_in_the_contracts_order() {
        let text = r#"{"topic":"t","partition":0,"offset":7,"timestamp":"x","key":null,"headers":{"a":"ü\n"},"value":"v","zz":[1]}"#;
        let Line::Record { object, .. } = parse(text.as_bytes()).unwrap() else { panic!("not a record") };
        assert_eq!(to_json(&object), text);
    }
}
