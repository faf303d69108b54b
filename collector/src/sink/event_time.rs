//! Which time of a record chooses its folder: its own, or one that its producer wrote into it. Pure.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use skidway_record::Record;

use super::path::field;

/// Numbers below this are seconds since 1970, others milliseconds: as seconds it is the year 5138, as milliseconds 1973.
const SECONDS_MAX: f64 = 1e11;

/// Says where a record's time is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeSource {
    /// The record's timestamp: what its producer set, or when an agent read the line.
    Timestamp,
    /// A header of this name.
    Header(String),
    /// What a JSON value has at this pointer (RFC 6901).
    Field(String),
}

impl TimeSource {
    /// Reads `timestamp`, `header:NAME` or `field:/JSON/POINTER`.
    ///
    /// # Errors
    /// What is wrong with it, in words (reject).
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "timestamp" => Ok(Self::Timestamp),
            Some(("header", name)) if !name.is_empty() => Ok(Self::Header(name.to_owned())),
            Some(("field", pointer)) if pointer.starts_with('/') => Ok(Self::Field(pointer.to_owned())),
            _ => Err(format!("is {text:?}; there are timestamp, header:NAME and field:/JSON/POINTER")),
        }
    }

    /// Gives it as it is written.
    pub fn text(&self) -> String {
        match self {
            Self::Timestamp => "timestamp".to_owned(),
            Self::Header(name) => format!("header:{name}"),
            Self::Field(pointer) => format!("field:{pointer}"),
        }
    }

    /// Gives a record's time in ms since 1970: its timestamp, if there is no other or it cannot be read.
    pub fn of(&self, record: &Record<'_>, zone: &TimeZone) -> i64 {
        let written = match self {
            Self::Timestamp => None,
            Self::Header(name) => {
                let header = record.headers().find(|header| header.key == name.as_bytes());
                header.and_then(|header| header.value).map(<[u8]>::to_vec)
            }
            Self::Field(pointer) => field(record, pointer),
        };
        let read = written.and_then(|text| read(std::str::from_utf8(&text).ok()?.trim(), zone));
        read.unwrap_or(record.timestamp_ms)
    }
}

/// Reads RFC 3339, the same without an offset (then of `zone`), or seconds or milliseconds since 1970.
fn read(text: &str, zone: &TimeZone) -> Option<i64> {
    if let Ok(number) = text.parse::<f64>() {
        let ms = if number.abs() < SECONDS_MAX { number * 1000.0 } else { number };
        return Timestamp::from_millisecond(ms as i64).ok().map(Timestamp::as_millisecond);
    }
    let here = || text.parse::<DateTime>().ok()?.to_zoned(zone.clone()).ok().map(|time: Zoned| time.timestamp());
    text.parse::<Timestamp>().ok().or_else(here).map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skidway_record::{BatchBuilder, Compressor, EncodedHeaders};

    #[test]
    fn a_time_is_read_as_producers_write_it() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        for (text, expected) in [
            ("2026-11-22T10:05:59Z", Some(1_795_341_959_000)),
            ("2026-11-22T11:05:59.250+01:00", Some(1_795_341_959_250)),
            ("2026-11-22 11:05:59", Some(1_795_341_959_000)),
            ("1795341959", Some(1_795_341_959_000)),
            ("1795341959.5", Some(1_795_341_959_500)),
            ("1795341959000", Some(1_795_341_959_000)),
            ("yesterday", None),
            ("NaN", Some(0)),
            ("", None),
        ] {
            assert_eq!(read(text, &zone), expected, "{text}");
        }
    }

    #[test]
    fn a_record_without_it_has_its_timestamp() {
        let headers = EncodedHeaders::new([(b"at".as_slice(), Some(b"7".as_slice()))]);
        let mut builder = BatchBuilder::new();
        builder.push(42, None, Some(br#"{"at":"1970-01-01T00:00:09Z","n":null}"#), &headers);
        let decoded = builder.finish(&mut Compressor::new(1).unwrap()).unwrap().decode().unwrap();
        let record = decoded.records().next().unwrap().unwrap();
        for (source, expected) in
            [("timestamp", 42), ("header:at", 7000), ("header:no", 42), ("field:/at", 9000), ("field:/n", 42)]
        {
            let source = TimeSource::parse(source).unwrap();
            assert_eq!(source.of(&record, &TimeZone::UTC), expected, "{source:?}");
            assert_eq!(TimeSource::parse(&source.text()).unwrap(), source);
        }
        for wrong in ["", "header:", "field:at", "ingest"] {
            assert!(TimeSource::parse(wrong).unwrap_err().contains("header:NAME"), "{wrong}");
        }
    }
}
