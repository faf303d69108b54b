//! `POST /v1/beacons/{token}`: events of web pages, as `navigator.sendBeacon` sends them.
//!
//! Anybody may write here and nobody may read; size and rate are bounded, by beacon and by address.

mod config;
mod rate;

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::value::RawValue;

use crate::clock::now_ms;
use crate::ingest::encoder::{Encoder, NewHeader, NewRecord};
use crate::ingest::produce::Conditions;
use crate::listen::http::answers::Failure;
use crate::listen::http::body::{self, media_type};
use crate::listen::http::door::{Door, Peer};
use crate::listen::http::openapi::problems::Refused;
use crate::listen::http::query::Query;
use crate::metrics;

pub use config::BeaconConfig;
use rate::Rates;

const PATH: &str = "/v1/beacons/";

/// Bounds `key`, in bytes.
const KEY_BYTES_MAX: usize = 256;

/// What is kept of a request's header, in bytes.
const KEPT_VALUE_BYTES_MAX: usize = 1024;

/// Holds all beacons there are.
#[derive(Debug, Default)]
pub(super) struct Beacons(Vec<Beacon>);

/// Is one beacon, with its rates.
#[derive(Debug)]
pub(super) struct Beacon {
    pub(super) config: BeaconConfig,
    rates: Rates,
}

impl Beacons {
    /// Opens beacons.
    pub(super) fn new(configs: Vec<BeaconConfig>) -> Self {
        let open = |config: BeaconConfig| Beacon { rates: Rates::new(&config), config };
        Self(configs.into_iter().map(open).collect())
    }

    /// Finds a beacon.
    pub(super) fn find(&self, token: &str) -> Option<&Beacon> {
        self.0.iter().find(|beacon| beacon.config.token == token)
    }
}

/// Gives the token in a beacon's URL.
pub(super) fn token_in(uri: &Uri) -> Option<&str> {
    uri.path().strip_prefix(PATH)
}

/// Stores events of web pages: a line of `text/plain`, the value or each element of the array in `application/json`.
#[utoipa::path(
    post, path = "/v1/beacons/{token}", tag = "beacons",
    params(
        ("token" = String, Path, description = "The beacon's, as in the configuration"),
        ("key" = Option<String>, Query, description = "Key of the records, up to 256 bytes", max_length = 256)
    ),
    request_body(content((String = "text/plain"), (serde_json::Value = "application/json"))),
    responses(
        (status = 204, description = "The events are durable."),
        Refused<400>, Refused<403>, Refused<404>, Refused<413>, Refused<415>, Refused<429>, Refused<507>
    )
)]
pub(super) async fn send(
    State(door): State<Arc<Door>>,
    peer: Option<Extension<Peer>>,
    uri: Uri,
    headers: HeaderMap,
    body: axum::body::Body,
) -> Result<StatusCode, Failure> {
    let found = token_in(&uri).and_then(|token| door.beacons.find(token));
    let Some(beacon) = found else {
        return Err(Failure::new(404, "beacon-not-found", "there is no beacon of this token ([[beacons]])"));
    };
    let topic = &beacon.config.topic;
    let sent = store(&door, beacon, peer.map(|Extension(peer)| peer), (&uri, &headers), body).await;
    metrics::beacon(topic, sent.as_ref().map_or_else(|failure| failure.problem().kind.clone(), |()| "ok".to_owned()));
    sent.map(|()| StatusCode::NO_CONTENT)
}

async fn store(
    door: &Arc<Door>,
    beacon: &Beacon,
    peer: Option<Peer>,
    (uri, headers): (&Uri, &HeaderMap),
    body: axum::body::Body,
) -> Result<(), Failure> {
    let config = &beacon.config;
    if headers.get(ORIGIN).is_some_and(|origin| !config.allowed_origins.allow(origin)) {
        let detail = "the page's origin is not among the beacon's allowed_origins";
        return Err(Failure::new(403, "origin-not-allowed", detail));
    }
    beacon.rates.check(peer.map(|Peer(address)| address.ip())).map_err(|wait| {
        Failure::new(429, "too-many-requests", "this beacon takes no more requests now").retry_after(wait)
    })?;
    let mut query = Query::of(uri)?;
    let key = query.text("key")?;
    query.finish()?;
    if key.as_ref().is_some_and(|key| key.len() > KEY_BYTES_MAX) {
        return Err(Failure::parameter("key", format_args!("at most {KEY_BYTES_MAX} bytes")));
    }
    let body = body::read_up_to(door, headers, body, config.body_bytes_max).await?;
    let values = values(&media_type(headers), &body.bytes, config.records_max)?;
    let topic = match door.log.topic(&config.topic) {
        Some(topic) => topic,
        None => door.ingest.create(&config.topic).await?,
    };
    let now_ms = now_ms();
    let kept = kept(config, headers);
    let mut encoder: Encoder = door.ingest.encoder(&topic, None, now_ms);
    for value in values {
        let key = key.as_deref().map(|key| Cow::Borrowed(key.as_bytes()));
        encoder.push(&NewRecord {
            key,
            value: Some(Cow::Borrowed(value)),
            headers: kept.clone(),
            ..Default::default()
        })?;
    }
    door.ingest.store(&config.topic, encoder.finish()?, Conditions::default(), now_ms).await?;
    Ok(())
}

/// Cuts a body into events.
fn values<'b>(media_type: &str, body: &'b [u8], max: u64) -> Result<Vec<&'b [u8]>, Failure> {
    let invalid = |error: serde_json::Error| Failure::new(400, "invalid-record", error.to_string());
    let values: Vec<&[u8]> = match media_type {
        // Without a type: what `fetch` and `sendBeacon` send of bytes.
        "text/plain" | "" => {
            body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|it| !it.is_empty()).collect()
        }
        "application/json" if body.trim_ascii_start().starts_with(b"[") => {
            let elements: Vec<&RawValue> = serde_json::from_slice(body).map_err(invalid)?;
            elements.into_iter().map(|element| element.get().as_bytes()).collect()
        }
        "application/json" => vec![serde_json::from_slice::<&RawValue>(body).map_err(invalid)?.get().as_bytes()],
        other => {
            let detail = format!("events come as text/plain, one a line, or application/json, not as {other:?}");
            return Err(Failure::media_type(detail));
        }
    };
    match values.len() as u64 {
        0 => Err(Failure::new(400, "empty-request", "there is no event in it")),
        len if len > max => Err(Failure::new(413, "too-many-records", format!("{len} events; {max} at most"))),
        _ => Ok(values),
    }
}

/// Gives the headers of every record of a request.
fn kept(config: &BeaconConfig, headers: &HeaderMap) -> Vec<NewHeader<'static>> {
    let value = |name: &String| {
        let value = headers.get(name)?.as_bytes();
        let value = value[..value.len().min(KEPT_VALUE_BYTES_MAX)].to_vec();
        Some((Cow::Owned(name.clone()), Some(Cow::Owned(value))))
    };
    config.keep_headers.iter().filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_cut_into_events() {
        let cases: [(&str, &str, &[&str]); 5] = [
            ("text/plain", "{\"a\":1}\n\n {\"a\":2}\r\n", &["{\"a\":1}", "{\"a\":2}"]),
            ("", "view", &["view"]),
            ("application/json", " {\"a\": [1, 2]} ", &["{\"a\": [1, 2]}"]),
            ("application/json", "[{\"a\":1}, 2,\"x\"]", &["{\"a\":1}", "2", "\"x\""]),
            ("application/json", "\"view\"", &["\"view\""]),
        ];
        for (media_type, body, expected) in cases {
            let found = values(media_type, body.as_bytes(), 9).unwrap();
            assert_eq!(found, expected.iter().map(|it| it.as_bytes()).collect::<Vec<_>>(), "{body}");
        }
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for (media_type, body, status) in [
            ("text/plain", "\n\n", 400),
            ("application/json", "[]", 400),
            ("application/json", "{\"a\":", 400),
            ("application/json", "[1,", 400),
            ("text/plain", "1\n2\n3", 413),
            ("application/x-www-form-urlencoded", "a=1", 415),
        ] {
            assert_eq!(values(media_type, body.as_bytes(), 2).unwrap_err().problem().status, status, "{body}");
        }
    }
}
