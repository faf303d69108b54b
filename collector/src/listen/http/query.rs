//! Query parameters, each checked and named when it is wrong; one that nobody knows is wrong too.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Query as Pairs;
use axum::http::Uri;
use jiff::Timestamp;
use skidway_daemon::config::{Bounded, ByteSize, parse_duration};
use skidway_record::{Offset, PartitionId};

use crate::access::Leave;
use crate::listen::http::answers::Failure;
use crate::read::{Filter, Scope, Selection, StartAt};

/// Default and greatest number of records of a page.
const PAGE_RECORDS: (u64, u64) = (500, 10_000);

/// Default and greatest number of bytes of a page.
const PAGE_BYTES: (u64, u64) = (1 << 20, 16 << 20);

/// Bounds `wait`: proxies cut what is silent for longer.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Holds the parameters of a URL until each has been asked for.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Splits and decodes a URL's query.
    pub(super) fn of(uri: &Uri) -> Result<Self, Failure> {
        let pairs = Pairs::<Vec<(String, String)>>::try_from_uri(uri);
        let Pairs(pairs) = pairs.map_err(|error| Failure::new(400, "invalid-query", error.to_string()))?;
        Ok(Self(pairs))
    }

    /// Takes a parameter's text.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        let Some(index) = self.0.iter().position(|(key, _)| key == name) else { return Ok(None) };
        let (_, text) = self.0.swap_remove(index);
        if self.0.iter().any(|(key, _)| key == name) {
            return Err(Failure::parameter(name, "given more than once"));
        }
        Ok(Some(text))
    }

    /// Takes a parameter that is read by its type's `FromStr`.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|error| Failure::parameter(name, format_args!("{text:?}: {error}")))
    }

    /// Takes a number that must lie in a range.
    pub(super) fn within(&mut self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, Failure> {
        let number = self.parsed::<u64>(name)?;
        match number.filter(|number| !range.contains(number)) {
            Some(_) => Err(Failure::parameter(name, format_args!("{} to {}", range.start(), range.end()))),
            None => Ok(number),
        }
    }

    /// Takes a duration such as `30s`.
    pub(super) fn duration(&mut self, name: &str, max: Duration) -> Result<Option<Duration>, Failure> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match parse_duration(&text).filter(|time| *time <= max) {
            Some(time) => Ok(Some(time)),
            None => {
                let most = max.show();
                Err(Failure::parameter(name, format_args!("{text:?} is not a duration such as 30s, at most {most}")))
            }
        }
    }

    /// Ends the reading: what is left is unknown.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match self.0.first() {
            Some((name, _)) => Err(Failure::parameter(name, "there is no such parameter here")),
            None => Ok(()),
        }
    }
}

/// Holds what a reader asks for. One URL serves pages and streams, so each ignores what only the others heed.
#[derive(Debug, Clone)]
pub(super) struct ReadQuery {
    /// One partition or all.
    pub(super) scope: Scope,
    /// Where to start, if it was said.
    pub(super) start: Option<StartAt>,
    /// Ends a page or a stream after so many records.
    pub(super) max_records: Option<u64>,
    /// Ends a page or a stream after so many bytes.
    pub(super) max_bytes: Option<u64>,
    /// How many bytes a page waits for.
    pub(super) min_bytes: Option<u64>,
    /// How long a page waits for its first record, or for as many bytes as it should have.
    pub(super) wait: Duration,
    /// Which records are wanted, if not all.
    pub(super) filter: Option<Arc<Filter>>,
    /// Whether a stream goes on past the head.
    pub(super) follow: bool,
    /// Whether records that cannot be read any more are passed over, and told of.
    pub(super) skip_damaged: bool,
    /// Whether each NDJSON record carries a token.
    pub(super) tokens: bool,
    /// Whether values that are JSON are shown as JSON.
    pub(super) inline_json: bool,
    /// How long who asks may read.
    pub(super) leave: Leave,
}

impl ReadQuery {
    /// Reads the parameters of a URL that reads many topics, and which.
    pub(super) fn of_many(uri: &Uri) -> Result<(Self, Selection), Failure> {
        let mut query = Query::of(uri)?;
        let topics = query.text("topics")?.ok_or_else(topics_required)?;
        let selection = Selection::parse(&topics).map_err(|reason| Failure::parameter("topics", reason))?;
        Ok((Self::read_many(query)?, selection))
    }

    /// Reads what is left of the parameters of a URL that reads many topics.
    pub(super) fn read_many(mut query: Query) -> Result<Self, Failure> {
        for name in ["partition", "offset"] {
            if query.text(name)?.is_some() {
                return Err(Failure::parameter(name, "only where one topic is read, /v1/topics/{topic}/records"));
            }
        }
        Self::rest(query)
    }

    /// Reads what is left of the parameters of a URL that reads one topic.
    pub(super) fn rest(mut query: Query) -> Result<Self, Failure> {
        let scope = query.parsed("partition")?.map_or(Scope::All, |number| Scope::One(PartitionId(number)));
        let read = Self {
            start: start(&mut query, &scope)?,
            scope,
            max_records: query.within("max_records", 1..=u64::MAX)?,
            max_bytes: size(&mut query, "max_bytes")?,
            min_bytes: size(&mut query, "min_bytes")?,
            wait: wait(&mut query)?,
            filter: filter(&mut query)?,
            follow: flag(&mut query, "follow", true)?,
            skip_damaged: flag(&mut query, "skip_damaged", false)?,
            tokens: flag(&mut query, "tokens", false)?,
            inline_json: decode(&mut query)?,
            leave: Leave::default(),
        };
        query.finish()?;
        Ok(read)
    }

    /// Refuses a filter, which has no place beside something else that picks records.
    pub(super) fn refuse_filter(&self, beside: &str) -> Result<(), Failure> {
        match &self.filter {
            Some(_) => Err(Failure::parameter("filter", format_args!("not together with {beside}"))),
            None => Ok(()),
        }
    }

    /// Gives how many bytes a page waits for.
    pub(super) fn bytes_min(&self) -> Result<usize, Failure> {
        let (_, bytes_max) = self.page()?;
        Ok(self.min_bytes.unwrap_or(1).min(bytes_max as u64) as usize)
    }

    /// Gives the bounds of a page: records, bytes.
    pub(super) fn page(&self) -> Result<(u64, usize), Failure> {
        let within = |name, asked: Option<u64>, (default, max): (u64, u64)| match asked {
            Some(asked) if asked > max => Err(Failure::parameter(name, format_args!("a page has at most {max}"))),
            asked => Ok(asked.unwrap_or(default)),
        };
        within("min_bytes", self.min_bytes, PAGE_BYTES)?;
        let records = within("max_records", self.max_records, PAGE_RECORDS)?;
        Ok((records, within("max_bytes", self.max_bytes, PAGE_BYTES)? as usize))
    }
}

/// Says that topics must be named.
pub(super) fn topics_required() -> Failure {
    Failure::parameter("topics", "required: names and patterns, such as app,web-*")
}

fn start(query: &mut Query, scope: &Scope) -> Result<Option<StartAt>, Failure> {
    let from = query.text("from")?.map(|text| parse_from(&text));
    let Some(offset) = query.parsed("offset")? else { return from.transpose() };
    match (from, scope) {
        (Some(_), _) => Err(Failure::parameter("offset", "not together with from")),
        (None, Scope::All | Scope::Some(_)) => Err(Failure::parameter("offset", "only together with partition")),
        (None, Scope::One(_)) => Ok(Some(StartAt::Offset(Offset(offset)))),
    }
}

/// Reads `earliest`, `latest`, `-N`, an RFC 3339 time; whatever else may be a token.
pub(super) fn parse_from(text: &str) -> Result<StartAt, Failure> {
    match text {
        "earliest" => return Ok(StartAt::Earliest),
        "latest" => return Ok(StartAt::Latest),
        _ => {}
    }
    if let Some(count) = text.strip_prefix('-') {
        let count = count.parse().map_err(|_| Failure::parameter("from", format_args!("{text:?} is not -N")))?;
        return Ok(StartAt::Last(count));
    }
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        // An unescaped `+02:00` arrives as ` 02:00`.
        let time = text.replacen(' ', "+", usize::from(text.contains('T')));
        let time: Timestamp =
            time.parse().map_err(|error| Failure::parameter("from", format_args!("not an RFC 3339 time: {error}")))?;
        return Ok(StartAt::Timestamp(time.as_millisecond()));
    }
    Ok(StartAt::Token(text.to_owned()))
}

fn size(query: &mut Query, name: &str) -> Result<Option<u64>, Failure> {
    let Some(text) = query.text(name)? else { return Ok(None) };
    match ByteSize::parse(&text) {
        Some(ByteSize(bytes)) if bytes > 0 => Ok(Some(bytes)),
        _ => Err(Failure::parameter(name, format_args!("{text:?} is not a size such as 65536 or 64KiB"))),
    }
}

fn filter(query: &mut Query) -> Result<Option<Arc<Filter>>, Failure> {
    let Some(text) = query.text("filter")? else { return Ok(None) };
    match Filter::parse(&text) {
        Ok(filter) => Ok(Some(Arc::new(filter))),
        Err(error) => Err(Failure::parameter("filter", &error).with("position", error.at)),
    }
}

fn wait(query: &mut Query) -> Result<Duration, Failure> {
    let Some(text) = query.text("wait")? else { return Ok(Duration::ZERO) };
    match parse_duration(&text) {
        Some(wait) if wait <= WAIT_MAX => Ok(wait),
        _ => Err(Failure::parameter("wait", format_args!("{text:?} is not a duration such as 5s, at most 5m"))),
    }
}

fn flag(query: &mut Query, name: &str, default: bool) -> Result<bool, Failure> {
    Ok(query.parsed(name)?.unwrap_or(default))
}

fn decode(query: &mut Query) -> Result<bool, Failure> {
    match query.text("decode")?.as_deref() {
        None => Ok(false),
        Some("json") => Ok(true),
        Some(other) => Err(Failure::parameter("decode", format_args!("{other:?} is not json"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<ReadQuery, String> {
        let uri = format!("/v1/topics/t/records?{query}").parse().unwrap();
        Query::of(&uri).and_then(ReadQuery::rest).map_err(|failure| failure.problem().detail.clone())
    }

    #[test]
    fn from_takes_all_its_forms() {
        for (query, expected) in [
            ("from=earliest", StartAt::Earliest),
            ("from=latest", StartAt::Latest),
            ("from=-10", StartAt::Last(10)),
            ("from=1970-01-01T00:00:01.5Z", StartAt::Timestamp(1500)),
            ("from=1970-01-01T02:00:00+02:00", StartAt::Timestamp(0)),
            ("from=1970-01-01T02:00:00%2B02:00", StartAt::Timestamp(0)),
            ("from=t1abc", StartAt::Token("t1abc".into())),
            ("partition=2&offset=7", StartAt::Offset(Offset(7))),
        ] {
            assert_eq!(read(query).unwrap().start, Some(expected), "{query}");
        }
    }

    #[test]
    fn wrong_parameters_are_named() {
        for (query, words) in [
            ("from=-x", "from:"),
            ("from=2026-13-01T00:00:00Z", "from:"),
            ("offset=7", "offset: only together with partition"),
            ("offset=7&partition=0&from=latest", "offset: not together"),
            ("partition=-1", "partition:"),
            ("max_records=0", "max_records: 1 to"),
            ("max_records=x", "max_records:"),
            ("max_bytes=0", "max_bytes:"),
            ("wait=5", "wait:"),
            ("wait=1h", "wait:"),
            ("follow=maybe", "follow:"),
            ("decode=xml", "decode:"),
            ("filter=a", "filter: at byte 0: there is no a;"),
            ("min_bytes=0", "min_bytes:"),
            ("nonsense=a", "nonsense: there is no such parameter"),
            ("from=latest&from=earliest", "from: given more than once"),
        ] {
            let detail = read(query).unwrap_err();
            assert!(detail.starts_with(words), "{query}: {detail}");
        }
    }

    #[test]
    fn pages_are_bounded() {
        assert_eq!(read("").unwrap().page().unwrap(), (500, 1 << 20));
        assert_eq!(read("max_records=10000&max_bytes=16MiB").unwrap().page().unwrap(), (10_000, 16 << 20));
        assert!(read("max_records=10001").unwrap().page().is_err());
        assert!(read("max_bytes=17MiB").unwrap().page().is_err());
    }
}
