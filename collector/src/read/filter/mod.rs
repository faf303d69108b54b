//! Filters: which records of a batch a reader wants.
//!
//! A filter is an expression in a subset of CEL (docs/adr/0015): text in, yes or no for each record out. Everything is bounded: the text,
//! its depth, its regular expressions, what is looked at in one go. Where a filter cannot be true without certain bytes, those
//! are looked for in the whole decoded batch first, and only records that have them are looked at.

mod evaluate;
mod expression;
mod lexer;
mod needles;
mod parser;

use std::sync::Arc;

use skidway_record::{Offset, Record};

use crate::blocking::blocking;
use crate::metrics;
use crate::read::{ReadError, Turn};
use evaluate::Subject;
use expression::Expression;
use needles::Needles;

/// Bounds a filter's text, in bytes.
pub const LENGTH_MAX: usize = 4096;

/// Bounds how deep brackets and negations nest.
const DEPTH_MAX: usize = 32;

/// Bounds constants, variables and operators.
const PARTS_MAX: usize = 256;

/// Bounds regular expressions.
const REGEXES_MAX: usize = 16;

/// Bounds what one regular expression may be compiled to.
const REGEX_BYTES_MAX: usize = 256 << 10;

/// Batches of up to so many decoded bytes are looked at without leaving the runtime: well below 0.1 ms of work.
const INLINE_BYTES: usize = 32 << 10;

/// Ends a turn once so many bytes of records were found: no more is rendered at once.
const FOUND_BYTES_MAX: usize = 256 << 10;

/// Says where a filter is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {reason}")]
pub struct FilterError {
    /// Where, in bytes from the filter's beginning.
    pub at: usize,
    /// Why.
    pub reason: String,
}

impl FilterError {
    fn new(at: usize, reason: impl Into<String>) -> Self {
        Self { at, reason: reason.into() }
    }
}

/// Tells which records match.
#[derive(Debug)]
pub struct Filter {
    expression: Expression,
    needles: Option<Needles>,
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`FilterError`] (reject): the text is no filter, or past a bound.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let expression = parser::parse(text)?;
        Ok(Self { needles: Needles::of(&expression), expression })
    }

    /// Leaves a turn only the records that match; it may end earlier than its batch.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] if a record before the first that matches does not decode.
    pub async fn select(self: &Arc<Self>, turn: Turn) -> Result<Turn, ReadError> {
        if turn.batch.body_bytes() <= INLINE_BYTES {
            return self.selected(turn);
        }
        let filter = self.clone();
        blocking(move || filter.selected(turn)).await
    }

    /// Does what [`Filter::select`] does, here and now.
    ///
    /// # Errors
    /// As [`Filter::select`].
    pub fn selected(&self, turn: Turn) -> Result<Turn, ReadError> {
        let mut found = Found { places: Vec::new(), bytes: 0, end: turn.from, until: turn.end(), faults: 0 };
        let outcome = match &self.needles {
            Some(needles) => self.search(needles, &turn, &mut found),
            None => self.look_at_all(&turn, &mut found),
        };
        metrics::filtered(turn.batch.body_bytes(), found.faults);
        match outcome {
            // Told once those before it are sent.
            Err(_) if !found.places.is_empty() => found.until = found.end,
            outcome => outcome?,
        }
        Ok(turn.only(found.places, found.bytes, found.until))
    }

    fn look_at_all(&self, turn: &Turn, found: &mut Found) -> Result<(), ReadError> {
        let mut walk = turn.batch.walk();
        while let Some(place) = walk.next_place() {
            if !self.look_at(place, turn, found)? {
                break;
            }
        }
        Ok(())
    }

    /// Looks at the records that have a needle. Those between are passed by their lengths alone, and only up to the next needle.
    fn search(&self, needles: &Needles, turn: &Turn, found: &mut Found) -> Result<(), ReadError> {
        let mut search = needles.search(turn.batch.body());
        let mut walk = turn.batch.walk();
        while let Some(needle) = search.from(walk.position()) {
            let Some(place) = walk.place_over(needle) else { break };
            if !self.look_at(place, turn, found)? {
                break;
            }
        }
        Ok(())
    }

    /// Looks at one record; false if enough were found.
    fn look_at(&self, place: usize, turn: &Turn, found: &mut Found) -> Result<bool, ReadError> {
        let (offset, record) = turn.record_at(place)?;
        if offset < turn.from {
            return Ok(true);
        }
        match Subject::new(&turn.of, offset, &record).matches(&self.expression) {
            Ok(true) => found.push(place, offset, &record),
            Ok(false) => {}
            Err(evaluate::Fault) => found.faults += 1,
        }
        Ok(found.bytes < FOUND_BYTES_MAX)
    }
}

/// Holds the records found.
struct Found {
    places: Vec<usize>,
    bytes: usize,
    end: Offset,
    until: Offset,
    faults: u64,
}

impl Found {
    fn push(&mut self, place: usize, offset: Offset, record: &Record<'_>) {
        self.places.push(place);
        self.bytes += record.bytes();
        self.end = Offset(offset.0 + 1);
        if self.bytes >= FOUND_BYTES_MAX {
            self.until = self.end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skidway_record::{BatchBuilder, Compressor, EncodedHeaders, PartitionId, TopicName, TopicPartition};

    use crate::read::Shard;

    /// Makes a turn of records `(key, value)`, all with the headers `host: web-1` and `n: 7`, from `from` on.
    fn turn(records: &[(Option<&str>, Option<&str>)], from: u64) -> Turn {
        let headers = EncodedHeaders::new([(b"host".as_slice(), Some(b"web-1".as_slice())), (b"n", Some(b"7"))]);
        let mut builder = BatchBuilder::new();
        for (key, value) in records {
            builder.push(1_000, key.map(str::as_bytes), value.map(str::as_bytes), &headers);
        }
        let batch = builder.finish(&mut Compressor::new(1).unwrap()).unwrap().decode().unwrap();
        let of = TopicPartition { topic: TopicName::new("app").unwrap(), partition: PartitionId(3) };
        let shard = Shard { topic: [1; 16], partition: PartitionId(3) };
        Turn::new((of, shard), Arc::new(batch), Offset(from))
    }

    fn offsets(filter: &str, turn: Turn) -> Vec<u64> {
        let selected =
            Filter::parse(filter).unwrap_or_else(|error| panic!("{filter}: {error}")).selected(turn).unwrap();
        selected.records().map(|record| record.unwrap().0.0).collect()
    }

    #[test]
    fn filters_see_every_part_of_a_record() {
        let json =
            r#"{"level":"error","status":503,"ratio":0.5,"user":{"id":"u1"},"tags":["a","b"],"none":null,"x y":true}"#;
        for (filter, expected) in [
            ("true", true),
            (r#"topic == "app" && partition == 3 && offset == 0"#, true),
            (r#"topic.startsWith("ap")"#, true),
            (r#"key == "k1""#, true),
            ("key == null", false),
            (r#"value.contains("error") && !value.contains("warn")"#, true),
            (r#"value.startsWith("{") && value.endsWith('}')"#, true),
            (r#"value.matches("status\\W+5[0-9]{2}")"#, true),
            (r#"value.matches(r"status\W+5\d\d")"#, true),
            (r#"value.matches("^status")"#, false),
            (r#"headers.host == "web-1""#, true),
            (r#"headers["host"].endsWith("-1")"#, true),
            (r#""host" in headers && !("path" in headers)"#, true),
            ("has(headers.host) && !has(headers.path)", true),
            ("size(headers) == 2", true),
            (r#"timestamp >= timestamp("1970-01-01T00:00:01Z")"#, true),
            (r#"timestamp < timestamp("1970-01-01T00:00:01Z")"#, false),
            (r#"json.level == "error""#, true),
            ("json.status >= 500", true),
            ("json.status >= 500.5 && json.status <= 503", true),
            ("json.ratio < 1", true),
            ("json.ratio > -1", true),
            (r#"json.user.id == "u1""#, true),
            (r#"json.tags[1] == "b""#, true),
            (r#""a" in json.tags"#, true),
            (r#"json.tags == ["a", "b"]"#, true),
            (r#""user" in json"#, true),
            (r#"json["x y"]"#, true),
            ("json.none == null && has(json.none)", true),
            ("has(json.user.name)", false),
            ("has(json.nothing.at.all)", false),
            (r#"json.status in [200, 503]"#, true),
            (r#"json.level in ["info", "warn"]"#, false),
            (r#"size(json.tags) == 2 && value.size() > 50"#, true),
            // No value for this record: it does not match, unless the other side decides.
            (r#"json.nothing == "x""#, false),
            (r#"json.nothing != "x""#, false),
            (r#"!(json.nothing == "x")"#, false),
            (r#"json.nothing == "x" || json.status == 503"#, true),
            (r#"json.status == 503 || json.nothing == "x""#, true),
            (r#"json.level > 5"#, false),
            (r#"json.level == 5"#, false),
            (r#"headers.path == "x""#, false),
            ("json.tags[2] == 1", false),
            ("json.status", false),
        ] {
            let matched = offsets(filter, turn(&[(Some("k1"), Some(json))], 0));
            assert_eq!(matched, if expected { vec![0] } else { vec![] }, "{filter}");
        }
    }

    #[test]
    fn values_that_are_no_json_or_not_there_match_nothing_of_json() {
        let records = [(None, Some("plain text")), (None, None), (None, Some("{\"a\":1}"))];
        assert_eq!(offsets("json.a == 1", turn(&records, 0)), [2]);
        assert_eq!(offsets("!has(json.a)", turn(&records, 0)), [0, 1]);
        assert_eq!(offsets("value == null", turn(&records, 0)), [1]);
        assert_eq!(offsets(r#"value.contains("a")"#, turn(&records, 0)), [0, 2]);
    }

    #[test]
    fn needles_find_the_same_records_as_looking_at_all() {
        let values: Vec<String> = (0..2000).map(|at| format!("line {at} {}", "x".repeat(at % 50))).collect();
        let records: Vec<_> = values.iter().map(|value| (None, Some(value.as_str()))).collect();
        for (quick, slow) in [
            (r#"value.contains("line 77 ")"#, r#"value.matches("(?i)LINE 77 ")"#),
            (r#"value.contains(" 1") && value.contains("99 ")"#, r#"value.matches("(?i)LINE 1[0-9]*99 ")"#),
            (r#"value.startsWith("line 5 ") || value == "line 100 ""#, r#"value.matches("(?i)^LINE (5 |100 $)")"#),
            (r#"headers.host == "web-1""#, "true"),
            (r#"value.contains("web-1")"#, "false"),
        ] {
            for from in [0, 78, 1500] {
                assert_eq!(offsets(quick, turn(&records, from)), offsets(slow, turn(&records, from)), "{quick} {from}");
            }
        }
    }

    #[test]
    fn escaped_json_is_found_as_well() {
        let records = [(None, Some(r#"{"level":"\u0065rror"}"#)), (None, Some(r#"{"level":"info"}"#))];
        assert_eq!(offsets(r#"json.level == "error""#, turn(&records, 0)), [0]);
    }

    #[test]
    fn a_turn_with_much_to_give_ends_early_and_goes_on_there() {
        let value = "x".repeat(10_000);
        let records: Vec<_> = (0..100).map(|_| (None, Some(value.as_str()))).collect();
        let filter = Filter::parse(r#"value.contains("x")"#).unwrap();
        let (mut from, mut seen, mut turns) = (0, Vec::new(), 0);
        while from < 100 {
            let selected = filter.selected(turn(&records, from)).unwrap();
            seen.extend(selected.records().map(|record| record.unwrap().0.0));
            (from, turns) = (selected.end().0, turns + 1);
        }
        assert_eq!((seen, turns), ((0..100).collect(), 4));
    }

    #[test]
    fn wrong_filters_are_refused_with_the_place_and_the_reason() {
        let deep = "(".repeat(40) + "true" + &")".repeat(40);
        let nots = "!".repeat(40) + "true";
        let long = "a".repeat(LENGTH_MAX + 1);
        let parts = vec!["true"; 200].join(" && ");
        let huge = r#"value.matches("(a{1000}){1000}")"#;
        let regexes = vec![r#"value.matches("a")"#; 17].join(" && ");
        for (filter, at, words) in [
            ("", 0, "missing"),
            ("value", 0, ""),
            ("value.contains(", 15, "missing"),
            ("value.contains(\"a\"", 18, ") is missing"),
            ("value.contains('a') &&", 22, "missing"),
            ("nonsense == 1", 0, "there is no nonsense"),
            ("value.has(1)", 5, "there is no function has"),
            ("value.matches(\"(\")", 14, "regular expression"),
            ("value.matches(key)", 14, "in quotes"),
            ("partition == \"a\"", 10, "never compared"),
            ("partition + 1 == 2", 10, "unexpected"),
            ("partition", 0, "a number"),
            ("partition && true", 13, "true or false is needed"),
            ("topic.name == 1", 5, "only headers and json"),
            ("value == \"a", 9, "does not end"),
            ("value == 'a\\q'", 11, "no such escape"),
            ("1x == 1", 0, "not a number"),
            ("timestamp > timestamp('soon')", 12, "RFC 3339"),
            ("key in 5", 4, "a list or a map"),
            ("true true", 5, "unexpected"),
            ("value ~ 1", 6, "means nothing"),
            (&deep, 32, "nests at most"),
            (&nots, 32, "nests at most"),
            (&long, 0, "at most 4096"),
            (&parts, 1029, "at most 256 parts"),
            (huge, 14, "regular expression"),
            (&regexes, 366, "at most 16"),
        ] {
            let Err(error) = Filter::parse(filter) else {
                assert_eq!(filter, "value", "the record decides");
                continue;
            };
            assert!(error.reason.contains(words), "{filter}: {error}");
            assert_eq!(error.at, at, "{filter}: {error}");
        }
    }
}
