//! Doors to this room's decoders for the targets of `fuzz/`, built by cargo-fuzz alone. Each takes what a client may send and gives nothing:
//! a refusal is as good as any answer, a panic is not.

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue, Uri};
use skidway_wire::access::{BearerToken, EnrolRequest, JoinRequest, TokenRequest};
use skidway_wire::groups::{GroupCommit, GroupReset};
use skidway_wire::queues::{AckRequest, ExtendRequest, NackRequest, QueueChange, ReceiveRequest, RedriveRequest};

use crate::listen::http::guard;
use crate::listen::http::object::Object;
use crate::listen::http::produce_body::Format;
use crate::listen::http::query::{Query, ReadQuery};

/// Reads what follows a URL's question mark, for one topic and for many.
pub fn query(text: &str) {
    let Ok(uri) = format!("/v1/records?{text}").parse::<Uri>() else { return };
    let one = Query::of(&uri).and_then(ReadQuery::rest);
    let many = ReadQuery::of_many(&uri);
    for query in one.into_iter().chain(many.map(|(query, _)| query)) {
        let _bounds = (query.page(), query.bytes_min());
    }
}

/// Reads what follows `Authorization:`, and with a line break in it what follows two of them.
pub fn authorization(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for value in bytes.split(|byte| *byte == b'\n').take(2).filter_map(|value| HeaderValue::from_bytes(value).ok()) {
        headers.append(AUTHORIZATION, value);
    }
    if let Ok(Some(token)) = guard::token(&headers) {
        let _refused = token.parse::<BearerToken>();
    }
}

/// Reads a produce request's body in each of the three formats.
pub fn produce(body: &[u8]) {
    for format in [Format::Ndjson, Format::Json, Format::Text] {
        let mut records = 0_u64;
        let _refused = format.read(body, &mut |_| {
            records += 1;
            Ok(())
        });
    }
}

/// Reads a body as each JSON document that groups, queues and tokens are asked in.
pub fn documents(body: &[u8]) {
    let _ = serde_json::from_slice::<Object<GroupCommit>>(body);
    let _ = serde_json::from_slice::<Object<GroupReset>>(body);
    let _ = serde_json::from_slice::<Object<QueueChange>>(body);
    let _ = serde_json::from_slice::<Object<ReceiveRequest>>(body);
    let _ = serde_json::from_slice::<Object<AckRequest>>(body);
    let _ = serde_json::from_slice::<Object<NackRequest>>(body);
    let _ = serde_json::from_slice::<Object<ExtendRequest>>(body);
    let _ = serde_json::from_slice::<Object<RedriveRequest>>(body);
    let _ = serde_json::from_slice::<Object<TokenRequest>>(body);
    let _ = serde_json::from_slice::<Object<JoinRequest>>(body);
    let _ = serde_json::from_slice::<Object<EnrolRequest>>(body);
}
