//! A record as JSON shows it (DESIGN §7), written straight into the buffer that goes out.
//!
//! ```text
//! {"topic":…,"partition":…,"offset":…,"timestamp":…,"key":…,"headers":{…},"value":…}
//! ```
//!
//! Pure. Bytes that are not UTF-8 appear as `key_base64`, `value_base64` and `{"base64":…}`; one record is one line.

mod escape;
mod timestamp;

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use serde::de::IgnoredAny;
use skidway_record::record::Header;
use skidway_record::{Offset, PartitionId, Record, TopicName};

use escape::write_text;
use timestamp::Clock;

/// Writes records of one topic at a time.
pub struct RecordWriter {
    topic: Option<TopicName>,
    /// The fields that are the same in every record.
    opening: Vec<u8>,
    inline_json: bool,
    clock: Clock,
    number: itoa::Buffer,
}

impl RecordWriter {
    /// Writes records of `topic`. With `inline_json`, a value that is JSON appears as it is, not as a string.
    pub fn new(topic: &TopicName, inline_json: bool) -> Self {
        let mut writer = Self::of_any(inline_json);
        writer.turn_to(topic);
        writer
    }

    /// Writes records of the topics it will be turned to.
    pub fn of_any(inline_json: bool) -> Self {
        let (clock, number) = (Clock::default(), itoa::Buffer::new());
        Self { topic: None, opening: Vec::new(), inline_json, clock, number }
    }

    /// Writes records of this topic from now on.
    pub fn turn_to(&mut self, topic: &TopicName) {
        if self.topic.as_ref() != Some(topic) {
            // A topic's name needs no escape.
            self.opening = format!("{{\"topic\":\"{topic}\",\"partition\":").into_bytes();
            self.topic = Some(topic.clone());
        }
    }

    /// Appends an object of these members of the record, in this order.
    pub fn write_columns(
        &mut self,
        out: &mut BytesMut,
        columns: &[Column],
        (topic, partition, offset): (&TopicName, PartitionId, Offset),
        record: &Record<'_>,
    ) {
        for (index, column) in columns.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b"{" } else { b"," });
            match column {
                Column::Topic => write_member(out, "topic", Some(topic.as_str().as_bytes())),
                Column::Partition => self.write_number(out, "partition", u64::from(partition.0)),
                Column::Offset => self.write_number(out, "offset", offset.0),
                Column::Timestamp => {
                    out.extend_from_slice(b"\"timestamp\":\"");
                    out.extend_from_slice(self.clock.format(record.timestamp_ms));
                    out.extend_from_slice(b"\"");
                }
                Column::Key => write_member(out, "key", record.key),
                Column::Headers => {
                    out.extend_from_slice(b"\"headers\":{");
                    write_headers(out, record);
                    out.extend_from_slice(b"}");
                }
                Column::Host => write_member(out, "host", header(record, b"host")),
                Column::Path => write_member(out, "path", header(record, b"path")),
                Column::Value => match record.value {
                    Some(value) if self.inline_json && is_json(value) => write_inline(out, value),
                    value => write_member(out, "value", value),
                },
            }
        }
        out.extend_from_slice(if columns.is_empty() { b"{}" } else { b"}" });
    }

    fn write_number(&mut self, out: &mut BytesMut, name: &str, number: u64) {
        out.extend_from_slice(b"\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(self.number.format(number).as_bytes());
    }

    /// Appends one record; with `next`, a token, as a last member of that name.
    pub fn write(
        &mut self,
        out: &mut BytesMut,
        partition: PartitionId,
        offset: Offset,
        record: &Record<'_>,
        next: Option<&str>,
    ) {
        out.extend_from_slice(&self.opening);
        out.extend_from_slice(self.number.format(partition.0).as_bytes());
        out.extend_from_slice(b",\"offset\":");
        out.extend_from_slice(self.number.format(offset.0).as_bytes());
        out.extend_from_slice(b",\"timestamp\":\"");
        out.extend_from_slice(self.clock.format(record.timestamp_ms));
        out.extend_from_slice(b"\",");
        write_member(out, "key", record.key);
        out.extend_from_slice(b",\"headers\":{");
        write_headers(out, record);
        out.extend_from_slice(b"},");
        match record.value {
            Some(value) if self.inline_json && is_json(value) => write_inline(out, value),
            value => write_member(out, "value", value),
        }
        if let Some(next) = next {
            out.extend_from_slice(b",\"next\":\"");
            out.extend_from_slice(next.as_bytes());
            out.extend_from_slice(b"\"");
        }
        out.extend_from_slice(b"}");
    }
}

/// Is a member of a record's object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// The topic's name.
    Topic,
    /// The partition's number.
    Partition,
    /// The offset.
    Offset,
    /// The record's time, RFC 3339.
    Timestamp,
    /// The key.
    Key,
    /// All headers, an object.
    Headers,
    /// The header `host`.
    Host,
    /// The header `path`.
    Path,
    /// The value.
    Value,
}

impl Column {
    /// Lists all, with the names that configurations use.
    pub const ALL: [(&'static str, Self); 9] = [
        ("topic", Self::Topic),
        ("partition", Self::Partition),
        ("offset", Self::Offset),
        ("timestamp", Self::Timestamp),
        ("key", Self::Key),
        ("headers", Self::Headers),
        ("host", Self::Host),
        ("path", Self::Path),
        ("value", Self::Value),
    ];

    /// Finds the column of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, column)| *column)
    }

    /// Gives its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, column)| *column == self).map_or("", |(name, _)| name)
    }
}

/// Gives the value of a record's first header of this name.
pub fn header<'r>(record: &Record<'r>, name: &[u8]) -> Option<&'r [u8]> {
    record.headers().find(|header| header.key == name).and_then(|header| header.value)
}

/// Formats a time in ms since 1970 as RFC 3339, UTC, with milliseconds.
pub fn rfc3339(timestamp_ms: i64) -> String {
    String::from_utf8_lossy(Clock::default().format(timestamp_ms)).into_owned()
}

/// Writes `"name":"text"`, `"name":null` or `"name_base64":"…"`.
fn write_member(out: &mut BytesMut, name: &str, bytes: Option<&[u8]>) {
    out.extend_from_slice(b"\"");
    out.extend_from_slice(name.as_bytes());
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => out.extend_from_slice(b"\":null"),
        Some((_, Ok(text))) => {
            out.extend_from_slice(b"\":");
            write_text(out, text);
        }
        Some((bytes, Err(_))) => {
            out.extend_from_slice(b"_base64\":");
            write_base64(out, bytes);
        }
    }
}

/// Past so many headers, repeated ones are found by a map: whoever sends a million must not cost each reader a million millions.
const FEW_HEADERS: u32 = 16;

/// Writes the members of `headers`: a repeated one as an array, at the place where it first appears.
fn write_headers(out: &mut BytesMut, record: &Record<'_>) {
    if record.header_count() > FEW_HEADERS {
        return write_many_headers(out, record);
    }
    let mut written = 0;
    for (index, header) in record.headers().enumerate() {
        if index > 0 && record.headers().take(index).any(|earlier| earlier.key == header.key) {
            continue;
        }
        if written > 0 {
            out.extend_from_slice(b",");
        }
        written += 1;
        write_text(out, &String::from_utf8_lossy(header.key));
        out.extend_from_slice(b":");
        let mut again = record.headers().skip(index + 1).filter(|later| later.key == header.key).peekable();
        if again.peek().is_none() {
            write_header_value(out, &header);
            continue;
        }
        out.extend_from_slice(b"[");
        write_header_value(out, &header);
        for later in again {
            out.extend_from_slice(b",");
            write_header_value(out, &later);
        }
        out.extend_from_slice(b"]");
    }
}

/// Does what [`write_headers`] does, in time that grows with their number alone.
fn write_many_headers(out: &mut BytesMut, record: &Record<'_>) {
    let headers: Vec<Header<'_>> = record.headers().collect();
    let mut places: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for (index, header) in headers.iter().enumerate() {
        places.entry(header.key).or_default().push(index);
    }
    for (index, header) in headers.iter().enumerate() {
        let same = &places[header.key];
        if same[0] != index {
            continue;
        }
        if index > 0 {
            out.extend_from_slice(b",");
        }
        write_text(out, &String::from_utf8_lossy(header.key));
        out.extend_from_slice(if same.len() > 1 { b":[" } else { b":" });
        for (nth, place) in same.iter().enumerate() {
            if nth > 0 {
                out.extend_from_slice(b",");
            }
            write_header_value(out, &headers[*place]);
        }
        if same.len() > 1 {
            out.extend_from_slice(b"]");
        }
    }
}

fn write_header_value(out: &mut BytesMut, header: &Header<'_>) {
    match header.value.map(|value| (value, std::str::from_utf8(value))) {
        None => out.extend_from_slice(b"null"),
        Some((_, Ok(text))) => write_text(out, text),
        Some((value, Err(_))) => {
            out.extend_from_slice(b"{\"base64\":");
            write_base64(out, value);
            out.extend_from_slice(b"}");
        }
    }
}

fn write_base64(out: &mut BytesMut, bytes: &[u8]) {
    out.extend_from_slice(b"\"");
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.extend_from_slice(b"\"");
}

fn is_json(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// Writes JSON as it stands. A line break in it can only be white space, and the record has to stay one line.
fn write_inline(out: &mut BytesMut, json: &[u8]) {
    out.extend_from_slice(b"\"value\":");
    let start = out.len();
    out.extend_from_slice(json.trim_ascii());
    for byte in &mut out[start..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skidway_record::{BatchBuilder, Compressor, EncodedHeaders};

    type Bytes<'a> = Option<&'a [u8]>;
    type Headers<'a> = &'a [(&'a str, Option<&'a [u8]>)];

    fn shown(key: Option<&[u8]>, value: Option<&[u8]>, headers: Headers<'_>, inline_json: bool) -> String {
        let mut builder = BatchBuilder::new();
        let headers = EncodedHeaders::new(headers.iter().map(|(key, value)| (key.as_bytes(), *value)));
        builder.push(1_700_000_000_123, key, value, &headers);
        let batch = builder.finish(&mut Compressor::new(1).unwrap()).unwrap().decode().unwrap();
        let record = batch.records().next().unwrap().unwrap();
        let mut out = BytesMut::new();
        let mut writer = RecordWriter::new(&TopicName::new("t").unwrap(), inline_json);
        writer.write(&mut out, PartitionId(2), Offset(41), &record, None);
        serde_json::from_slice::<serde_json::Value>(&out).expect("what is written is JSON");
        String::from_utf8(out.to_vec()).unwrap()
    }

    const START: &str = r#"{"topic":"t","partition":2,"offset":41,"timestamp":"2023-11-14T22:13:20.123Z","#;

    #[test]
    fn many_headers_are_written_as_few_are() {
        let names: Vec<String> = (0..30).map(|n| format!("h{}", n % 12)).collect();
        let headers: Vec<(&str, Bytes<'_>)> = names.iter().map(|name| (name.as_str(), Some(name.as_bytes()))).collect();
        let text = shown(None, None, &headers, false);
        assert!(text.contains(r#""headers":{"h0":["h0","h0","h0"],"h1":["h1","h1","h1"],"#), "{text}");
        assert!(text.contains(r#""h6":["h6","h6"],"h7":["h7","h7"]"#), "{text}");
        let single = shown(None, None, &headers[..12], false);
        assert!(single.contains(r#""headers":{"h0":"h0","h1":"h1","#), "{single}");
    }

    #[test]
    fn text_is_shown_as_text_and_bytes_as_base64() {
        let cases: [(Bytes<'_>, Bytes<'_>, &str); 4] = [
            (None, Some(b"a \"line\"\n\x01\xc3\xa4"), r#""key":null,"headers":{},"value":"a \"line\"\n\u0001ä"}"#),
            (Some(b"k"), None, r#""key":"k","headers":{},"value":null}"#),
            (Some(b"\xff"), Some(b"\xfe\xff"), r#""key_base64":"/w==","headers":{},"value_base64":"/v8="}"#),
            (Some(b""), Some(b""), r#""key":"","headers":{},"value":""}"#),
        ];
        for (key, value, expected) in cases {
            assert_eq!(shown(key, value, &[], false), format!("{START}{expected}"));
        }
    }

    #[test]
    fn repeated_headers_are_arrays_and_binary_ones_objects() {
        let headers: Headers<'_> =
            &[("a", Some(b"1")), ("b", None), ("a", Some(b"\xff")), ("c\"", Some(b"x")), ("a", Some(b"3"))];
        let expected = r#""key":null,"headers":{"a":["1",{"base64":"/w=="},"3"],"b":null,"c\"":"x"},"value":null}"#;
        assert_eq!(shown(None, None, headers, false), format!("{START}{expected}"));
    }

    #[test]
    fn json_values_are_inlined_when_asked_for_with_every_digit_kept() {
        let json: &[u8] = b" {\"n\": 12345678901234567890.10,\r\n \"s\":\"a\\nb\"} \n";
        let expected = r#""key":null,"headers":{},"value":{"n": 12345678901234567890.10,   "s":"a\nb"}}"#;
        assert_eq!(shown(None, Some(json), &[], true), format!("{START}{expected}"));
        for not_json in [&b"{"[..], b"", b"abc", b"\xff"] {
            assert_eq!(shown(None, Some(not_json), &[], true), shown(None, Some(not_json), &[], false));
        }
    }
}
