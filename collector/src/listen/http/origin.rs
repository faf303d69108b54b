//! Which web pages may call: CORS lets the pages of allowed origins read answers, and what a browser sends for any other page changes nothing.
//!
//! Never asks who a client is, which an origin does not say: programs other than browsers send none.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, Uri};
use axum::response::{IntoResponse, Response};
use skidway_daemon::config::Section;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::csrf::{CsrfLayer, ProtectionError};

use crate::listen::http::answers::Failure;
use crate::listen::http::beacon::{Beacons, token_in};
use crate::listen::http::guard::ForeignPage;

/// Browsers ask again after this long whether a page may call.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(3600);

/// Headers that pages may send, beside those that need no leave.
const REQUEST_HEADERS: [&str; 8] = [
    "authorization",
    "content-type",
    "last-event-id",
    "producer-id",
    "producer-epoch",
    "producer-seq",
    "expected-offset",
    "expected-key-offset",
];

/// Names origins of web pages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origins {
    any: bool,
    listed: Vec<String>,
}

impl Origins {
    /// Reads a list of origins such as `https://example.org` or `http://localhost:3000`; `*` is all there are. None by default.
    pub fn read(section: &Section<'_>, key: &str) -> Self {
        let written: Vec<String> = section.get(key, Vec::new());
        for origin in written.iter().filter(|origin| *origin != "*") {
            if !is_origin(origin) {
                let reason = format!("{origin:?} is no origin: \"https://example.org\", without a path, or \"*\"");
                section.mistake(key, reason);
            }
        }
        let (any, listed) = written.into_iter().partition(|origin| origin == "*");
        let any: Vec<String> = any;
        Self { any: !any.is_empty(), listed }
    }

    /// Tells whether pages of an origin, as their browser names it, are meant.
    pub(super) fn allow(&self, origin: &HeaderValue) -> bool {
        self.any || self.listed.iter().any(|listed| listed.as_bytes() == origin.as_bytes())
    }
}

fn is_origin(text: &str) -> bool {
    let uri = text.parse::<Uri>().ok();
    let scheme = uri.as_ref().and_then(Uri::scheme_str);
    // A browser writes an origin in one way only, in lower case and with nothing behind the port.
    matches!(scheme, Some("http" | "https"))
        && uri.and_then(|uri| uri.authority().map(|it| it.as_str().to_owned())).is_some_and(|authority| {
            text.ends_with(&format!("//{authority}")) && !authority.contains('@') && text == text.to_ascii_lowercase()
        })
}

/// Lets the pages of allowed origins call, each beacon those of its own.
pub(super) fn guard(router: Router, origins: &Origins, beacons: &Arc<Beacons>) -> Router {
    let (allowed, of_beacons) = (origins.clone(), beacons.clone());
    let allow = move |origin: &HeaderValue, request: &Parts| match token_in(&request.uri) {
        Some(token) => of_beacons.find(token).is_some_and(|beacon| beacon.config.allowed_origins.allow(origin)),
        None => allowed.allow(origin),
    };
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allow))
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers(REQUEST_HEADERS.map(HeaderName::from_static))
        .expose_headers([HeaderName::from_static("retry-after")])
        .max_age(PREFLIGHT_MAX_AGE);
    let router = if origins.any { router } else { router.layer(cross_site(origins)) };
    router.layer(cors)
}

/// Refuses what a browser sends for a page of another origin and that may change something.
fn cross_site(origins: &Origins) -> CsrfLayer<fn(ProtectionError) -> Response<Body>> {
    let refuse: fn(ProtectionError) -> Response<Body> = |_| {
        let detail = "a web page of another origin sent this, and http.allowed_origins does not name it";
        let mut refusal = Failure::new(403, "origin-not-allowed", detail).into_response();
        refusal.extensions_mut().insert(ForeignPage);
        refusal
    };
    let layer = CsrfLayer::new().with_insecure_bypass(|_, uri| token_in(uri).is_some()).with_rejection_response(refuse);
    // What is no origin was told as a mistake.
    origins.listed.iter().fold(layer, |layer, origin| layer.clone().add_trusted_origin(origin).unwrap_or(layer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for origin in ["https://example.org", "http://localhost:3000", "http://[::1]:8080", "https://a.b-c.example"] {
            assert!(is_origin(origin), "{origin}");
        }
        for other in ["example.org", "https://example.org/", "https://example.org/a", "https://Example.org", "null", ""]
        {
            assert!(!is_origin(other), "{other}");
        }
        for other in ["ftp://example.org", "https://", "https://user@example.org", "https://example.org?x"] {
            assert!(!is_origin(other), "{other}");
        }
    }
}
