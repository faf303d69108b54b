//! `GET /v1/topics/{t}/records` and `GET /v1/records?topics=…`: one URL, answered as page or stream by what the client accepts.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use skidway_record::TopicName;

use crate::access::Caller;
use crate::listen::http::answers::Failure;
use crate::listen::http::coding::Coding;
use crate::listen::http::door::Door;
use crate::listen::http::keyed;
use crate::listen::http::ndjson::Ndjson;
use crate::listen::http::openapi::problems::Refused;
use crate::listen::http::openapi::reading::{ManyPage, ReadParams, RecordPage, TopicsParam};
use crate::listen::http::page;
use crate::listen::http::path::{TopicParam, TopicPath};
use crate::listen::http::query::{Query, ReadQuery};
use crate::listen::http::raw;
use crate::listen::http::sse::Sse;
use crate::listen::http::stream;
use crate::read::{StartAt, Subscription};

/// What records can be answered as, in the order of preference among equals.
const KINDS: [(Kind, &str, &str); 4] = [
    (Kind::Page, "application", "json"),
    (Kind::Ndjson, "application", "x-ndjson"),
    (Kind::Sse, "text", "event-stream"),
    (Kind::Raw, "application", "vnd.kafka.recordbatch"),
];

/// Says how records are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Page,
    Ndjson,
    Sse,
    Raw,
}

/// Reads a topic: one page of records, or a stream of them, by what is accepted.
#[utoipa::path(
    get, path = "/v1/topics/{topic}/records", tag = "records", params(TopicParam, ReadParams),
    responses(
        (status = 200, content(
            (RecordPage = "application/json"), (String = "application/x-ndjson"), (String = "text/event-stream"),
            (Vec<u8> = "application/vnd.kafka.recordbatch")
        )),
        Refused<400>, Refused<404>, Refused<406>, Refused<410>, Refused<422>
    )
)]
pub(super) async fn read(
    State(door): State<Arc<Door>>,
    TopicPath(name): TopicPath,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    of_topic(&door, &name, (accepted(&headers)?, &caller), &uri, &headers).await
}

/// Streams a topic as server-sent events, whatever is accepted.
#[utoipa::path(
    get, path = "/v1/topics/{topic}/stream", tag = "records", params(TopicParam, ReadParams),
    responses((status = 200, content_type = "text/event-stream", body = String), Refused<400>, Refused<404>, Refused<410>)
)]
pub(super) async fn stream(
    State(door): State<Arc<Door>>,
    TopicPath(name): TopicPath,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    of_topic(&door, &name, (Kind::Sse, &caller), &uri, &headers).await
}

/// Reads many topics: one page of records, or a stream of them, by what is accepted.
#[utoipa::path(
    get, path = "/v1/records", tag = "records", params(TopicsParam, ReadParams),
    responses(
        (status = 200, content((ManyPage = "application/json"), (String = "application/x-ndjson"), (String = "text/event-stream"))),
        Refused<400>, Refused<404>, Refused<406>, Refused<410>, Refused<422>
    )
)]
pub(super) async fn read_many(
    State(door): State<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    of_many(&door, (accepted(&headers)?, &caller), &uri, &headers).await
}

/// Streams many topics as server-sent events, whatever is accepted.
#[utoipa::path(
    get, path = "/v1/stream", tag = "records", params(TopicsParam, ReadParams),
    responses((status = 200, content_type = "text/event-stream", body = String), Refused<400>, Refused<404>, Refused<410>)
)]
pub(super) async fn stream_many(
    State(door): State<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    of_many(&door, (Kind::Sse, &caller), &uri, &headers).await
}

async fn of_topic(
    door: &Arc<Door>,
    name: &TopicName,
    (kind, caller): (Kind, &Caller),
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    let mut query = Query::of(uri)?;
    let key = keyed::key(&mut query)?;
    let mut query = ReadQuery::rest(query)?;
    query.leave = caller.leave();
    if let Some(key) = key {
        return keyed::answer(door, name, kind, (key, query), headers).await;
    }
    if kind == Kind::Raw {
        raw::check(&query)?;
    }
    let start = start(kind, &query, headers);
    let subscription = door.reader.subscribe(name, &query.scope, &start).await?;
    answer(door, kind, (&query, Coding::of(headers)), subscription).await
}

async fn of_many(
    door: &Arc<Door>,
    (kind, caller): (Kind, &Caller),
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    let (mut query, selection) = ReadQuery::of_many(uri)?;
    query.leave = caller.leave();
    if kind == Kind::Raw {
        return Err(Failure::new(406, "not-acceptable", "stored batches are answered of one topic's partition only"));
    }
    let start = start(kind, &query, headers);
    let subscription = door.reader.subscribe_many(selection, &start).await?;
    answer(door, kind, (&query, Coding::of(headers)), subscription).await
}

async fn answer(
    door: &Arc<Door>,
    kind: Kind,
    (query, coding): (&ReadQuery, Coding),
    subscription: Subscription,
) -> Result<Response, Failure> {
    Ok(match kind {
        Kind::Page => page::answer(door, (query, coding), subscription).await?,
        Kind::Ndjson => stream::answer(door, (query, coding), (subscription, None), Ndjson::new(query)),
        Kind::Sse => stream::answer(door, (query, coding), (subscription, None), Sse::new(query)),
        Kind::Raw => raw::answer(door, query, subscription),
    })
}

/// Starts where it was said; else a stream that follows starts at its end, everything else at the beginning.
fn start(kind: Kind, query: &ReadQuery, headers: &HeaderMap) -> StartAt {
    let last_event_id = headers.get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    match (last_event_id, &query.start) {
        (Some(id), _) => StartAt::Token(id.to_owned()),
        (None, Some(start)) => start.clone(),
        (None, None) if kind != Kind::Page && query.follow => StartAt::Latest,
        (None, None) => StartAt::Earliest,
    }
}

/// Says how the client wants the records.
pub(super) fn accepted(headers: &HeaderMap) -> Result<Kind, Failure> {
    negotiated(headers).ok_or_else(|| {
        let offered = "records are answered as application/json, application/x-ndjson, text/event-stream or \
                       application/vnd.kafka.recordbatch";
        Failure::new(406, "not-acceptable", offered)
    })
}

/// Finds what the client likes most of what there is.
pub(super) fn negotiated(headers: &HeaderMap) -> Option<Kind> {
    let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    negotiate(&accept.join(","))
}

/// Picks by quality, then by how exactly the client named it, then in our own order (RFC 9110 §12.5.1).
fn negotiate(accept: &str) -> Option<Kind> {
    if accept.trim().is_empty() {
        return Some(Kind::Page);
    }
    let mut best: Option<((u32, u8), Kind)> = None;
    for (kind, main, sub) in KINDS {
        let Some((exactness, quality)) = quality(accept, main, sub).filter(|(_, quality)| *quality > 0) else {
            continue;
        };
        if best.is_none_or(|(rank, _)| (quality, exactness) > rank) {
            best = Some(((quality, exactness), kind));
        }
    }
    best.map(|(_, kind)| kind)
}

/// Finds what the most exact range that matches says: its exactness (2 exact, 1 `type/*`, 0 `*/*`) and quality in thousandths.
fn quality(accept: &str, main: &str, sub: &str) -> Option<(u8, u32)> {
    let ranges = accept.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let (range_main, range_sub) = parts.next()?.split_once('/')?;
        let exactness = match (range_main, range_sub) {
            ("*", "*") => 0,
            (range_main, "*") if range_main.eq_ignore_ascii_case(main) => 1,
            (range_main, range_sub) if range_main.eq_ignore_ascii_case(main) && range_sub.eq_ignore_ascii_case(sub) => {
                2
            }
            _ => return None,
        };
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let quality: f32 = quality.map_or(Some(1.0), |quality| quality.parse().ok())?;
        Some((exactness, (quality.clamp(0.0, 1.0) * 1000.0) as u32))
    });
    ranges.max_by_key(|(exactness, _)| *exactness)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_chooses_the_kind_of_answer() {
        for (accept, expected) in [
            ("", Some(Kind::Page)),
            ("*/*", Some(Kind::Page)),
            ("application/*", Some(Kind::Page)),
            ("text/*", Some(Kind::Sse)),
            ("application/json", Some(Kind::Page)),
            ("application/x-ndjson", Some(Kind::Ndjson)),
            ("Application/X-NDJSON; q=0.5", Some(Kind::Ndjson)),
            ("text/event-stream", Some(Kind::Sse)),
            ("text/event-stream, */*", Some(Kind::Sse)),
            ("text/html, application/xhtml+xml, */*;q=0.8", Some(Kind::Page)),
            ("application/json;q=0.5, application/x-ndjson;q=0.9", Some(Kind::Ndjson)),
            ("application/json;q=0, */*;q=0.1", Some(Kind::Ndjson)),
            ("application/vnd.kafka.recordbatch", Some(Kind::Raw)),
            ("text/html", None),
            ("application/json;q=0", None),
        ] {
            assert_eq!(negotiate(accept), expected, "{accept}");
        }
    }
}
