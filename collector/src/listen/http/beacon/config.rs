//! What an operator says of beacons. configs/collector.toml shows every key.

use std::collections::BTreeSet;

use axum::http::HeaderName;
use skidway_daemon::config::{ByteSize, Section};
use skidway_record::TopicName;

use crate::listen::http::origin::Origins;

/// Least length of a token: nobody finds it by trying.
const TOKEN_BYTES_MIN: usize = 16;

const TOKEN_BYTES_MAX: usize = 128;

/// Request headers that a record may keep.
const KEPT_HEADERS_MAX: usize = 16;

/// Configures a beacon: a URL that anybody may write events to, and do nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeaconConfig {
    /// Last part of its URL. It is in every page that uses it, so it is no secret.
    pub token: String,
    /// Where events go; created if need be.
    pub topic: TopicName,
    /// Whose pages may write; programs that are no browsers do not say.
    pub allowed_origins: Origins,
    /// Bytes of one request; 64 KiB, which is all that browsers send by `sendBeacon`.
    pub body_bytes_max: u64,
    /// Events of one request; 100.
    pub records_max: u64,
    /// Requests a second, of all together; 1,000. As many may come at once.
    pub requests_per_second: u32,
    /// Of one client's address (of IPv6, its /64); 10. Ten times as many may come at once.
    pub client_requests_per_second: u32,
    /// Request headers that each record keeps, in lower case; none.
    pub keep_headers: Vec<String>,
}

impl BeaconConfig {
    /// Reads `[[beacons]]`.
    pub fn all(root: &Section<'_>) -> Vec<Self> {
        let mut tokens = BTreeSet::new();
        let sections = root.sections("beacons");
        let read = sections.iter().filter_map(|section| {
            let beacon = Self::read(section)?;
            if !tokens.insert(beacon.token.clone()) {
                section.mistake("token", "another beacon has this one");
            }
            Some(beacon)
        });
        read.collect()
    }

    fn read(section: &Section<'_>) -> Option<Self> {
        let token = section.required::<String>("token");
        let is_token = |token: &String| {
            (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len())
                && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if token.as_ref().is_some_and(|token| !is_token(token)) {
            section
                .mistake("token", "16 to 128 letters, digits, \"-\" and \"_\", such as `openssl rand -hex 16` gives");
        }
        let name = section.required::<String>("topic");
        let topic = name.as_deref().map(TopicName::new);
        match &topic {
            Some(Err(error)) => section.mistake("topic", error.to_string()),
            Some(Ok(topic)) if topic.is_internal() => section.mistake("topic", "topics that begin with __ are our own"),
            _ => {}
        }
        let bytes = ByteSize::kib(1)..=ByteSize::mib(16);
        let beacon = Self {
            allowed_origins: Origins::read(section, "allowed_origins"),
            body_bytes_max: section.within("body_bytes_max", ByteSize::kib(64), bytes).0,
            records_max: section.within("records_max", 100, 1..=100_000),
            requests_per_second: section.within("requests_per_second", 1_000, 1..=1_000_000),
            client_requests_per_second: section.within("client_requests_per_second", 10, 1..=1_000_000),
            keep_headers: keep_headers(section),
            token: token?,
            topic: topic?.ok()?,
        };
        Some(beacon)
    }
}

fn keep_headers(section: &Section<'_>) -> Vec<String> {
    let written: Vec<String> = section.get("keep_headers", Vec::new());
    let names: Vec<String> = written.iter().map(|name| name.to_ascii_lowercase()).collect();
    if names.len() > KEPT_HEADERS_MAX {
        section.mistake("keep_headers", format!("at most {KEPT_HEADERS_MAX}"));
    }
    for name in &names {
        if HeaderName::try_from(name).is_err() {
            section.mistake("keep_headers", format!("{name:?} is no name of a header"));
        }
        if ["authorization", "cookie"].contains(&name.as_str()) {
            section.mistake("keep_headers", format!("{name} is a secret of its sender"));
        }
    }
    names
}
