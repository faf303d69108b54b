//! The three content types of a produce request, read record by record.
//!
//! Pure. Strict: what is malformed, empty or holds keys nobody knows is refused as a whole. Bytes are borrowed from the
//! body wherever they stand there as they are meant.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use memchr::memchr_iter;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::ingest::encoder::{NewHeader, NewRecord};
use crate::listen::http::answers::Failure;
use crate::listen::http::object::Object;

/// Greatest timestamp that can be shown again, in ms since 1970: nearly the end of the year 9999.
const TIMESTAMP_MS_MAX: i64 = 253_402_207_200_999;

/// Names a content type of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `application/x-ndjson`: a record object a line.
    Ndjson,
    /// `application/json`: `{"records":[…]}`.
    Json,
    /// `text/plain`: a value a line.
    Text,
}

impl Format {
    /// Finds the format of a media type.
    pub(super) fn of(media_type: &str) -> Result<Self, Failure> {
        match media_type {
            "application/x-ndjson" => Ok(Self::Ndjson),
            "application/json" => Ok(Self::Json),
            "text/plain" => Ok(Self::Text),
            other => Err(Failure::media_type(format!(
                "records come as application/x-ndjson, application/json or text/plain, not as {other:?}"
            ))),
        }
    }

    /// Hands every record of the body to `sink`, in order.
    ///
    /// # Errors
    /// 400 for the first malformed record, or what `sink` refuses.
    pub(super) fn read<'a>(self, body: &'a [u8], sink: &mut Sink<'a, '_>) -> Result<(), Failure> {
        match self {
            Self::Text => lines(body).try_for_each(|line| {
                let without_cr = line.text.strip_suffix(b"\r").filter(|_| line.ended).unwrap_or(line.text);
                sink(NewRecord { value: Some(Cow::Borrowed(without_cr)), ..NewRecord::default() })
            }),
            Self::Ndjson => {
                let filled = lines(body).enumerate().filter(|(_, line)| !line.text.trim_ascii().is_empty());
                for (index, (line_index, line)) in filled.enumerate() {
                    let record = serde_json::from_slice::<Object<JsonRecord<'a>>>(line.text);
                    let record = record.map_err(|error| error.to_string()).and_then(|record| record.0.checked());
                    sink(record.map_err(|reason| malformed(index, format!("line {}: {reason}", line_index + 1)))?)?;
                }
                Ok(())
            }
            Self::Json => read_document(body, sink),
        }
    }
}

/// Takes records.
pub(super) type Sink<'a, 's> = dyn FnMut(NewRecord<'a>) -> Result<(), Failure> + 's;

/// Is a line without its LF; the last one may not have had one.
struct Line<'a> {
    text: &'a [u8],
    ended: bool,
}

/// Splits at LF; a final LF adds no line.
fn lines(body: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut start = 0;
    let ended = memchr_iter(b'\n', body).map(move |end| {
        let text = &body[start..end];
        start = end + 1;
        Line { text, ended: true }
    });
    let rest = memchr::memrchr(b'\n', body).map_or(body, |last| &body[last + 1..]);
    ended.chain((!rest.is_empty()).then_some(Line { text: rest, ended: false }))
}

fn malformed(index: usize, reason: impl std::fmt::Display) -> Failure {
    Failure::new(400, "invalid-record", format!("record {index}: {reason}")).with("record", index)
}

/// Is text that is borrowed where it holds no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Is a record as it is written; `Some(None)` is a member that is null.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonRecord<'a> {
    #[serde(borrow, default)]
    key: Option<Text<'a>>,
    #[serde(borrow, default)]
    key_base64: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<Option<Text<'a>>>,
    #[serde(borrow, default)]
    value_base64: Option<Text<'a>>,
    #[serde(borrow, default)]
    headers: Option<Headers<'a>>,
    #[serde(borrow, default)]
    timestamp: Option<Time<'a>>,
    #[serde(default)]
    partition: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "timestamp is RFC 3339 text or a number of milliseconds")]
enum Time<'a> {
    Millis(i64),
    #[serde(borrow)]
    Text(Text<'a>),
}

/// Holds headers in the order they are written, repeated ones as many times.
struct Headers<'a>(Vec<NewHeader<'a>>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "a header is a string, null, {\"base64\":…}, or an array of these")]
enum HeaderValues<'a> {
    #[serde(borrow)]
    One(HeaderValue<'a>),
    #[serde(borrow)]
    Many(Vec<HeaderValue<'a>>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum HeaderValue<'a> {
    #[serde(borrow)]
    Text(Text<'a>),
    #[serde(borrow)]
    Binary(Object<BinaryHeader<'a>>),
    Null(()),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BinaryHeader<'a> {
    #[serde(borrow)]
    base64: Text<'a>,
}

fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(member: D) -> Result<Option<T>, D::Error> {
    T::deserialize(member).map(Some)
}

impl<'a> JsonRecord<'a> {
    fn checked(self) -> Result<NewRecord<'a>, String> {
        let key = match (self.key, self.key_base64) {
            (Some(_), Some(_)) => return Err("key and key_base64 exclude each other".into()),
            (Some(key), None) => Some(bytes(key)),
            (None, Some(key)) => Some(decode("key_base64", &key)?),
            (None, None) => None,
        };
        let value = match (self.value, self.value_base64) {
            (Some(_), Some(_)) => return Err("value and value_base64 exclude each other".into()),
            (Some(value), None) => value.map(bytes),
            (None, Some(value)) => Some(decode("value_base64", &value)?),
            (None, None) => return Err("value or value_base64 is missing; null makes a tombstone".into()),
        };
        Ok(NewRecord {
            key,
            value,
            headers: self.headers.map(|headers| headers.0).unwrap_or_default(),
            timestamp_ms: self.timestamp.map(timestamp_ms).transpose()?,
            partition: self.partition,
        })
    }
}

fn bytes(text: Text<'_>) -> Cow<'_, [u8]> {
    match text.0 {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

fn decode<'a>(name: &str, text: &Text<'_>) -> Result<Cow<'a, [u8]>, String> {
    STANDARD.decode(text.0.as_bytes()).map(Cow::Owned).map_err(|error| format!("{name}: {error}"))
}

fn timestamp_ms(time: Time<'_>) -> Result<i64, String> {
    let ms = match time {
        Time::Millis(ms) => ms,
        Time::Text(text) => {
            let time: Timestamp = text.0.parse().map_err(|error| format!("timestamp: {error}"))?;
            time.as_millisecond()
        }
    };
    match ms {
        0..=TIMESTAMP_MS_MAX => Ok(ms),
        _ => Err(format!("timestamp: {ms} ms is not between the years 1970 and 9999")),
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Headers<'a> {
    fn deserialize<D: Deserializer<'de>>(headers: D) -> Result<Self, D::Error> {
        headers.deserialize_map(HeadersVisitor)
    }
}

struct HeadersVisitor;

impl<'de> Visitor<'de> for HeadersVisitor {
    type Value = Headers<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("headers as an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers<'de>, A::Error> {
        let mut headers = Vec::new();
        while let Some((Text(key), values)) = map.next_entry::<Text<'de>, HeaderValues<'de>>()? {
            let values = match values {
                HeaderValues::One(value) => vec![value],
                HeaderValues::Many(values) => values,
            };
            for value in values {
                headers.push((key.clone(), header_bytes(value).map_err(A::Error::custom)?));
            }
        }
        Ok(Headers(headers))
    }
}

fn header_bytes(value: HeaderValue<'_>) -> Result<Option<Cow<'_, [u8]>>, String> {
    match value {
        HeaderValue::Null(()) => Ok(None),
        HeaderValue::Text(text) => Ok(Some(bytes(text))),
        HeaderValue::Binary(Object(binary)) => decode("base64", &binary.base64).map(Some),
    }
}

/// Reads `{"records":[…]}` without holding all records at once.
fn read_document<'a>(body: &'a [u8], sink: &mut Sink<'a, '_>) -> Result<(), Failure> {
    let mut failure = None;
    let mut document = serde_json::Deserializer::from_slice(body);
    let read = Document { sink, failure: &mut failure }.deserialize(&mut document).and_then(|()| document.end());
    match (failure, read) {
        (Some(failure), _) => Err(failure),
        (None, read) => read.map_err(|error| Failure::new(400, "malformed-json", error.to_string())),
    }
}

struct Document<'a, 's, 'f> {
    sink: &'f mut Sink<'a, 's>,
    /// What went wrong with a record; takes the place of the parser's own error.
    failure: &'f mut Option<Failure>,
}

impl<'de> DeserializeSeed<'de> for Document<'de, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, document: D) -> Result<(), D::Error> {
        document.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'de, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with the member \"records\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        match map.next_key::<Text<'de>>()? {
            Some(Text(key)) if key == "records" => {}
            Some(Text(key)) => return Err(A::Error::unknown_field(&key, &["records"])),
            None => return Err(A::Error::missing_field("records")),
        }
        map.next_value_seed(Records { sink: self.sink, failure: self.failure })?;
        match map.next_key::<Text<'de>>()? {
            Some(Text(key)) => Err(A::Error::custom(format_args!("unexpected member {key:?} after the records"))),
            None => Ok(()),
        }
    }
}

struct Records<'a, 's, 'f> {
    sink: &'f mut Sink<'a, 's>,
    failure: &'f mut Option<Failure>,
}

impl<'de> DeserializeSeed<'de> for Records<'de, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, records: D) -> Result<(), D::Error> {
        records.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Records<'de, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(Object(record)) = records.next_element::<Object<JsonRecord<'de>>>()? {
            let taken = record.checked().map_err(|reason| malformed(index, reason)).and_then(&mut *self.sink);
            if let Err(failure) = taken {
                *self.failure = Some(failure);
                return Err(A::Error::custom("a record was refused"));
            }
            index += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: Format, body: &str) -> Result<Vec<NewRecord<'_>>, String> {
        let mut records = Vec::new();
        let sink = &mut |record| {
            records.push(record);
            Ok(())
        };
        format.read(body.as_bytes(), sink).map_err(|failure| failure.problem().detail.clone())?;
        Ok(records)
    }

    fn values(format: Format, body: &str) -> Vec<String> {
        let text = |bytes: Cow<'_, [u8]>| String::from_utf8(bytes.into_owned()).unwrap();
        let value = |record: NewRecord<'_>| record.value.map_or("null".into(), text);
        read(format, body).unwrap().into_iter().map(value).collect()
    }

    #[test]
    fn text_is_a_record_a_line() {
        let cases: [(&str, &[&str]); 8] = [
            ("", &[]),
            ("a", &["a"]),
            ("a\n", &["a"]),
            ("\n", &[""]),
            ("a\n\nb\n", &["a", "", "b"]),
            ("a\r\nb\r", &["a", "b\r"]),
            ("a\r\r\n", &["a\r"]),
            ("a\rb\n", &["a\rb"]),
        ];
        for (body, expected) in cases {
            assert_eq!(values(Format::Text, body), expected, "{body:?}");
        }
    }

    #[test]
    fn json_records_are_read_in_full() {
        let full = r#"{"key":"k","value_base64":"/w==","timestamp":"1970-01-01T00:00:01.5Z","partition":3,
            "headers":{"a":"1","b":["2",null,{"base64":"/w=="}],"c":{"base64":""}}}"#;
        let text = |text: &'static str| Some(Cow::Borrowed(text.as_bytes()));
        let expected = NewRecord {
            key: text("k"),
            value: Some(Cow::Borrowed(b"\xff")),
            headers: vec![
                ("a".into(), text("1")),
                ("b".into(), text("2")),
                ("b".into(), None),
                ("b".into(), Some(Cow::Borrowed(b"\xff"))),
                ("c".into(), text("")),
            ],
            timestamp_ms: Some(1500),
            partition: Some(3),
        };
        assert_eq!(read(Format::Json, &format!(r#"{{"records":[{full}]}}"#)), Ok(vec![expected]));
        let lines = "{\"value\":\"a\"}\r\n\n  \n{\"value\":null,\"timestamp\":7}";
        assert_eq!(values(Format::Ndjson, lines), ["a", "null"]);
    }

    #[test]
    fn malformed_json_is_refused_with_its_reason() {
        for (record, words) in [
            ("{}", "value or value_base64 is missing"),
            (r#"{"value":1}"#, "expected a string"),
            (r#"{"value":{}}"#, "expected a string"),
            (r#"{"value":"a","value_base64":""}"#, "exclude each other"),
            (r#"{"value":"a","key":"","key_base64":""}"#, "exclude each other"),
            (r#"{"value":"a","colour":"red"}"#, "unknown field `colour`"),
            (r#"{"value":"a","value":"b"}"#, "duplicate field"),
            (r#"{"value_base64":"*"}"#, "value_base64:"),
            (r#"{"value":"a","timestamp":-1}"#, "timestamp:"),
            (r#"{"value":"a","timestamp":"noon"}"#, "timestamp:"),
            (r#"{"value":"a","timestamp":true}"#, "timestamp is RFC 3339"),
            (r#"{"value":"a","partition":-1}"#, "invalid value"),
            (r#"{"value":"a","headers":{"a":1}}"#, "a header is a string"),
            (r#"{"value":"a""#, "EOF"),
            ("[]", "expected an object"),
            (r#"{"value":"a","headers":{"a":[["aGk="]]}}"#, "a header is a string"),
        ] {
            let error = read(Format::Ndjson, record).unwrap_err();
            assert!(error.contains(words), "{record}: {error}");
            let error = read(Format::Json, &format!("{{\"records\":[{record}]}}")).unwrap_err();
            assert!(error.contains(words) || words == "EOF", "{record}: {error}");
        }
        for document in ["", "[]", "{}", r#"{"record":[]}"#, r#"{"records":[],"more":1}"#, r#"{"records":[]}x"#] {
            assert!(read(Format::Json, document).is_err(), "{document}");
        }
    }
}
