//! Which folder a record's file lies in: a template filled from the record. Pure, and nothing but the record and its topic decides, so that a
//! file can be made again from the log.
//!
//! ```text
//! {topic} {partition} {host} {header:NAME} {field:/JSON/POINTER}     %Y %m %d %j %H %M, in the sink's time zone
//! ```

use std::fmt::Write;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use skidway_record::{PartitionId, Record, TopicName};

use super::event_time::TimeSource;

/// Takes the place of a header or field that a record does not have.
const ABSENT: &str = "_";

/// Begins the names of the folders where stores keep files that are being written; no record is filed there.
pub const RESERVED: &str = ".skidway-";

/// Bounds what a value from a record becomes, in bytes.
const VALUE_BYTES_MAX: usize = 120;

/// Bounds a folder's name, in bytes; file systems take 255.
const NAME_BYTES_MAX: usize = 250;

/// Is a template as it was written and as it is filled.
#[derive(Debug, Clone)]
pub struct FolderTemplate {
    text: String,
    zone: TimeZone,
    parts: Vec<Part>,
    period: Period,
    /// Headers or fields are in it.
    is_by_record: bool,
    time: TimeSource,
}

/// Keeps the folder of a partition's last record.
#[derive(Debug, Default)]
pub struct Kept {
    /// Minutes since 1970; zones differ by whole ones.
    minute: Option<i64>,
    folder: String,
    ends_ms: Option<i64>,
}

impl Kept {
    /// Gives the folder: below the sink's url, without a slash at its ends.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// Tells when the folder's times are over, in ms since 1970; `None` if that is never.
    pub fn ends_ms(&self) -> Option<i64> {
        self.ends_ms
    }
}

impl PartialEq for FolderTemplate {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, &self.zone, &self.time) == (&other.text, &other.zone, &other.time)
    }
}

impl Eq for FolderTemplate {}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Topic,
    Partition,
    Header(String),
    Field(String),
    Time(char),
}

/// Says how long the times of one folder last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Period {
    Minute,
    Hour,
    Day,
    Month,
    Year,
    Ever,
}

impl FolderTemplate {
    /// Reads a template for times of `zone`.
    ///
    /// # Errors
    /// What is wrong with it, in words (reject).
    pub fn parse(text: &str, zone: TimeZone) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '%']) {
            if at > 0 {
                parts.push(Part::Text(rest[..at].to_owned()));
            }
            rest = &rest[at..];
            let (part, after) = if rest.starts_with('{') { placeholder(rest)? } else { directive(rest)? };
            parts.push(part);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        if text.starts_with('/') || text.split('/').any(|folder| matches!(folder, "." | "..")) {
            return Err("lies below the sink's url: it starts with no / and has no . or .. in it".to_owned());
        }
        let is_bad = |part: &Part| matches!(part, Part::Text(text) if text.contains(['\\', ':']) || text.chars().any(char::is_control));
        if parts.iter().any(is_bad) {
            return Err("has characters that not every storage takes in a name".to_owned());
        }
        let period = parts.iter().filter_map(Part::period).min().unwrap_or(Period::Ever);
        let is_by_record = parts.iter().any(|part| matches!(part, Part::Header(_) | Part::Field(_)));
        Ok(Self { text: text.to_owned(), zone, parts, period, is_by_record, time: TimeSource::Timestamp })
    }

    /// Takes the times from elsewhere than from records' timestamps.
    pub fn timed_by(self, time: TimeSource) -> Self {
        Self { time, ..self }
    }

    /// Says where it takes the times from.
    pub fn time(&self) -> &TimeSource {
        &self.time
    }

    /// Gives it as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Names its time zone.
    pub fn zone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// Fills it; what depends on the minute alone is kept from record to record.
    pub fn fill_kept<'k>(
        &self,
        kept: &'k mut Kept,
        (topic, partition): (&TopicName, PartitionId),
        record: &Record<'_>,
    ) -> &'k Kept {
        let time_ms = self.time.of(record, &self.zone);
        let minute = time_ms.div_euclid(60_000);
        let is_other = kept.minute != Some(minute);
        if is_other || self.is_by_record {
            kept.folder = self.fill(topic, partition, record, time_ms);
        }
        if is_other {
            (kept.minute, kept.ends_ms) = (Some(minute), self.ends_at(time_ms));
        }
        kept
    }

    fn fill(&self, topic: &TopicName, partition: PartitionId, record: &Record<'_>, time_ms: i64) -> String {
        let mut folder = String::with_capacity(self.text.len() + 16);
        let time = self.zoned(time_ms);
        for part in &self.parts {
            match part {
                Part::Text(text) => folder.push_str(text),
                Part::Topic => folder.push_str(topic.as_str()),
                Part::Partition => write!(folder, "{partition}").expect("a string takes any text"),
                Part::Header(name) => {
                    let header = record.headers().find(|header| header.key == name.as_bytes());
                    push_value(&mut folder, header.and_then(|header| header.value));
                }
                Part::Field(pointer) => push_value(&mut folder, field(record, pointer).as_deref()),
                Part::Time(letter) => push_time(&mut folder, *letter, &time),
            }
        }
        if folder.starts_with(RESERVED) {
            folder.replace_range(..1, "%2E");
        }
        match folder.split('/').any(|name| name.len() > NAME_BYTES_MAX) {
            true => folder.split('/').map(|name| cut(name, NAME_BYTES_MAX)).collect::<Vec<_>>().join("/"),
            false => folder,
        }
    }

    /// Tells when the folder of a time is over.
    fn ends_at(&self, timestamp_ms: i64) -> Option<i64> {
        let time = self.zoned(timestamp_ms);
        let clock = |minute| Time::new(time.hour(), minute, 0, 0).ok();
        let at = |start: Option<Zoned>, span: jiff::Span| start?.checked_add(span).ok();
        let end = match self.period {
            Period::Minute => at(time.with().time(clock(time.minute())?).build().ok(), 1.minute()),
            Period::Hour => at(time.with().time(clock(0)?).build().ok(), 1.hour()),
            Period::Day => at(time.start_of_day().ok(), 1.day()),
            Period::Month => at(time.first_of_month().ok()?.start_of_day().ok(), 1.month()),
            Period::Year => at(time.first_of_year().ok()?.start_of_day().ok(), 1.year()),
            Period::Ever => None,
        };
        end.map(|end| end.timestamp().as_millisecond())
    }

    fn zoned(&self, timestamp_ms: i64) -> Zoned {
        Timestamp::from_millisecond(timestamp_ms).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(self.zone.clone())
    }
}

impl Part {
    fn period(&self) -> Option<Period> {
        let Self::Time(letter) = self else { return None };
        Some(match letter {
            'M' => Period::Minute,
            'H' => Period::Hour,
            'd' | 'j' => Period::Day,
            'm' => Period::Month,
            _ => Period::Year,
        })
    }
}

/// Cuts a name to at most so many bytes.
pub(super) fn cut(name: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(name.len())).rev().find(|at| name.is_char_boundary(*at));
    &name[..end.unwrap_or(0)]
}

fn placeholder(text: &str) -> Result<(Part, &str), String> {
    let end = text.find('}').ok_or("has a { without its }")?;
    let (name, after) = (&text[1..end], &text[end + 1..]);
    let part = match name.split_once(':') {
        None if name == "topic" => Part::Topic,
        None if name == "partition" => Part::Partition,
        None if name == "host" => Part::Header("host".to_owned()),
        Some(("header", name)) if !name.is_empty() => Part::Header(name.to_owned()),
        Some(("field", pointer)) if pointer.starts_with('/') => Part::Field(pointer.to_owned()),
        _ => {
            return Err(format!(
                "has {{{name}}}; there are {{topic}}, {{partition}}, {{host}}, {{header:NAME}} and {{field:/JSON/POINTER}}"
            ));
        }
    };
    Ok((part, after))
}

fn directive(text: &str) -> Result<(Part, &str), String> {
    match text.chars().nth(1) {
        Some(letter @ ('Y' | 'm' | 'd' | 'j' | 'H' | 'M')) => Ok((Part::Time(letter), &text[2..])),
        Some(other) => Err(format!("has %{other}; there are %Y, %m, %d, %j, %H and %M")),
        None => Err("ends with a %".to_owned()),
    }
}

fn push_time(folder: &mut String, letter: char, time: &Zoned) {
    let written = match letter {
        'Y' => write!(folder, "{:04}", time.year()),
        'm' => write!(folder, "{:02}", time.month()),
        'd' => write!(folder, "{:02}", time.day()),
        'j' => write!(folder, "{:03}", time.day_of_year()),
        'H' => write!(folder, "{:02}", time.hour()),
        _ => write!(folder, "{:02}", time.minute()),
    };
    written.expect("a string takes any text");
}

/// Gives what a JSON value has at a pointer (RFC 6901), as text.
pub(super) fn field(record: &Record<'_>, pointer: &str) -> Option<Vec<u8>> {
    let value: serde_json::Value = serde_json::from_slice(record.value?).ok()?;
    match value.pointer(pointer)? {
        serde_json::Value::String(text) => Some(text.clone().into_bytes()),
        found @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_)) => Some(found.to_string().into_bytes()),
        _ => None,
    }
}

/// Appends a value from a record: what could lead elsewhere, or not every storage takes, is percent-encoded.
fn push_value(folder: &mut String, value: Option<&[u8]>) {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return folder.push_str(ABSENT) };
    let (dots_only, start) = (value.iter().all(|byte| *byte == b'.'), folder.len());
    for byte in value {
        if folder.len() - start + "%00".len() > VALUE_BYTES_MAX {
            return;
        }
        let is_plain = byte.is_ascii_alphanumeric() || b"_-=@,".contains(byte) || (*byte == b'.' && !dots_only);
        if is_plain {
            folder.push(char::from(*byte));
        } else {
            write!(folder, "%{byte:02X}").expect("a string takes any text");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skidway_record::{Batch, BatchBuilder, Compressor, EncodedHeaders};

    fn batch(timestamp_ms: i64, headers: &[(&str, &str)], value: &str) -> Batch {
        let headers = headers.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
        let mut builder = BatchBuilder::new();
        builder.push(timestamp_ms, None, Some(value.as_bytes()), &EncodedHeaders::new(headers));
        builder.finish(&mut Compressor::new(1).unwrap()).unwrap()
    }

    fn template(text: &str, zone: &str) -> FolderTemplate {
        FolderTemplate::parse(text, TimeZone::get(zone).unwrap()).unwrap()
    }

    fn fill(text: &str, zone: &str, (timestamp_ms, headers, value): (i64, &[(&str, &str)], &str)) -> String {
        let decoded = batch(timestamp_ms, headers, value).decode().unwrap();
        let record = decoded.records().next().unwrap().unwrap();
        template(text, zone).fill(&TopicName::new("app").unwrap(), PartitionId(3), &record, record.timestamp_ms)
    }

    fn ms(time: &str) -> i64 {
        time.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn a_folder_says_what_the_record_says() {
        let headers: &[(&str, &str)] = &[("host", "web-1"), ("team", "a/b")];
        let record = (ms("2026-11-22T10:05:59Z"), headers, r#"{"level":"warn","n":{"code":7},"list":[1]}"#);
        for (text, expected) in [
            ("{topic}/dt=%Y-%m-%d/hour=%H", "app/dt=2026-11-22/hour=10"),
            ("{partition}/%j/%M", "3/326/05"),
            ("{host}/{header:team}/{header:none}", "web-1/a%2Fb/_"),
            ("{field:/level}/{field:/n/code}/{field:/list}", "warn/7/_"),
            ("plain", "plain"),
            ("", ""),
        ] {
            assert_eq!(fill(text, "UTC", record), expected);
        }
        assert_eq!(fill("%H", "Asia/Kolkata", record), "15");
    }

    #[test]
    fn no_record_is_filed_where_unfinished_files_are() {
        let headers: &[(&str, &str)] = &[("x", ".skidway-archive")];
        assert_eq!(fill("{header:x}/%H", "UTC", (0, headers, "")), "%2Eskidway-archive/00");
        assert_eq!(fill("a/{header:x}", "UTC", (0, headers, "")), "a/.skidway-archive");
    }

    #[test]
    fn what_is_kept_from_record_to_record_is_what_each_would_get() {
        let topic = TopicName::new("app").unwrap();
        for text in ["{topic}/%H/%M", "{header:n}", "plain"] {
            let (template, mut kept) = (template(text, "Europe/Berlin"), Kept::default());
            for (n, at) in ["10:05:00", "10:05:59", "10:06:00", "10:05:30", "11:05:30"].into_iter().enumerate() {
                let time = ms(&format!("2026-11-22T{at}Z"));
                let decoded = batch(time, &[("n", &n.to_string())], "").decode().unwrap();
                let record = decoded.records().next().unwrap().unwrap();
                let expected = template.fill(&topic, PartitionId(0), &record, time);
                let kept = template.fill_kept(&mut kept, (&topic, PartitionId(0)), &record);
                assert_eq!((kept.folder(), kept.ends_ms()), (expected.as_str(), template.ends_at(time)));
            }
        }
    }

    #[test]
    fn no_value_leads_out_of_the_sinks_folder() {
        for (value, expected) in [
            ("..", "%2E%2E"),
            (".", "%2E"),
            ("../../etc", "..%2F..%2Fetc"),
            ("", "_"),
            ("a:b\\c\n", "a%3Ab%5Cc%0A"),
            ("v1.2", "v1.2"),
        ] {
            assert_eq!(fill("{header:x}", "UTC", (0, &[("x", value)], "")), expected);
        }
        for long in ["y".repeat(500), "/".repeat(500)] {
            let headers: &[(&str, &str)] = &[("x", &long)];
            assert!(fill("{header:x}", "UTC", (0, headers, "")).len() <= VALUE_BYTES_MAX);
            let names = fill("{header:x}{header:x}{header:x}/{header:x}", "UTC", (0, headers, ""));
            assert!(
                names.split('/').count() == 2 && names.split('/').all(|name| name.len() <= NAME_BYTES_MAX),
                "{names}"
            );
        }
    }

    /// Text that has what leads elsewhere in it more often than not.
    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("..".to_owned()),
            Just(".".to_owned()),
            Just("/".to_owned()),
            Just("\\".to_owned()),
            Just("\0".to_owned()),
            Just("%2e".to_owned()),
            Just("~".to_owned()),
            Just("\r\n".to_owned()),
            any::<char>().prop_map(String::from),
            "[a-z]{0,40}",
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn whatever_a_record_says_its_folder_is_below_the_sinks(header in hostile(), field in hostile(), host in hostile()) {
            let value = serde_json::json!({ "a": field }).to_string();
            let headers: &[(&str, &str)] = &[("h", &header), ("host", &host)];
            for text in ["{header:h}/{host}/{field:/a}", ".{header:h}/{host}.", "{header:h}{host}", "{topic}/x={field:/a}/%Y"] {
                let folder = fill(text, "UTC", (0, headers, &value));
                prop_assert_eq!(folder.split('/').count(), text.replace(":/", ":").split('/').count(), "{}", &folder);
                for name in folder.split('/') {
                    prop_assert!(!matches!(name, "" | "." | "..") && name.len() <= NAME_BYTES_MAX, "{}", &folder);
                    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-=@,%".contains(&byte);
                    prop_assert!(name.bytes().all(is_plain), "{}", &folder);
                }
                prop_assert!(!folder.starts_with(RESERVED), "{}", &folder);
            }
        }
    }

    #[test]
    fn an_hour_ends_with_the_hour_and_a_day_with_the_day_on_odd_days_too() {
        let berlin = "Europe/Berlin";
        for (text, zone, at, end) in [
            ("%H", "UTC", "2026-11-22T10:05:59Z", "2026-11-22T11:00:00Z"),
            ("%H%M", "UTC", "2026-11-22T10:05:59Z", "2026-11-22T10:06:00Z"),
            ("%Y-%m-%d", "UTC", "2026-11-22T10:05:59Z", "2026-11-23T00:00:00Z"),
            ("%Y-%m", "UTC", "2026-11-22T10:05:59Z", "2026-12-01T00:00:00Z"),
            ("%Y", "UTC", "2026-11-22T10:05:59Z", "2027-01-01T00:00:00Z"),
            // 23 hours: from 2 to 3 in the morning there is nothing.
            ("%d", berlin, "2026-03-29T00:30:00Z", "2026-03-29T22:00:00Z"),
            ("%H", berlin, "2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z"),
            // 25 hours: the hour from 2 to 3 comes twice.
            ("%d", berlin, "2026-10-25T00:30:00Z", "2026-10-25T23:00:00Z"),
            ("%H", berlin, "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z"),
            ("%H", berlin, "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"),
        ] {
            assert_eq!(template(text, zone).ends_at(ms(at)), Some(ms(end)), "{text} {zone} {at}");
        }
        assert_eq!(template("{topic}", "UTC").ends_at(0), None);
    }

    #[test]
    fn a_template_that_cannot_be_meant_is_told() {
        for (text, words) in [
            ("{topics}", "has {topics}; there are {topic}"),
            ("{header:}", "has {header:}"),
            ("{topic", "{ without its }"),
            ("%Q", "has %Q; there are %Y"),
            ("x%", "ends with a %"),
            ("/abs", "starts with no /"),
            ("a/../b", "no . or .."),
            ("a:b", "not every storage"),
        ] {
            let error = FolderTemplate::parse(text, TimeZone::UTC).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
