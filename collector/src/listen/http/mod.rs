//! HTTP (DESIGN §7): which URL leads to which room, and what every answer has in common.
//!
//! Handlers translate and hand on; nothing is decided, stored or rendered here. Every refusal is a problem document.

pub mod door;
mod answers;
mod arrival;
mod body;
mod path;
mod query;
mod object;
mod health;
mod standing;
mod logging;
mod topics;
mod key_index;
mod produce;
mod produce_body;
mod conditional;
mod output;
mod records;
mod places;
mod keyed_form;
mod keyed;
mod prefixed;
mod table;
mod raw;
mod room;
mod page;
mod coding;
mod outbox;
mod pace;
mod stream;
mod rendering;
mod ndjson;
mod sse;
mod agents;
mod enrol;
mod tokens;
mod guard;
mod sinks;
mod queues;
mod queue_answers;
mod groups;
mod members;
mod poll;
mod seated;
mod commits;
pub mod origin;
pub mod beacon;
mod openapi;
mod unread;
#[cfg(fuzzing)]
pub mod fuzzing;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::audit;
use crate::metrics;
use answers::ProblemKind;
pub use answers::{Failure, too_many_connections, too_many_of_address, wants_tls};
pub use door::{ClientCertificate, Door, Peer, Rooms, SinkControl};

/// Makes the router of all URLs.
pub fn router(door: Arc<Door>) -> Router {
    let (origins, beacons) = (door.config.allowed_origins.clone(), door.beacons.clone());
    let router = openapi::serve(described())
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_url)
        // Bodies are bounded by `body`, which knows the configured limit.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(door.clone(), guard::let_in))
        .layer(from_fn(unread::read_on))
        .with_state(door.clone());
    let guarded = origin::guard(router, &origins, &beacons);
    guarded.layer(from_fn_with_state(door, guard::note_foreign_pages)).layer(from_fn(measure))
}

/// Says which URL leads where. What each needs is in `guard`, and whatever is not there is refused.
fn described() -> OpenApiRouter<Arc<Door>> {
    OpenApiRouter::with_openapi(openapi::document())
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .routes(routes!(health::about))
        .routes(routes!(logging::show, logging::set, logging::reset))
        .routes(routes!(topics::list))
        .routes(routes!(topics::describe, topics::put, topics::delete))
        .routes(routes!(records::read, produce::produce, topics::delete_records))
        .routes(routes!(records::stream))
        .routes(routes!(table::read))
        .routes(routes!(table::read_one))
        .routes(routes!(records::read_many))
        .routes(routes!(records::stream_many))
        .routes(routes!(sinks::list))
        .routes(routes!(sinks::show))
        .routes(routes!(sinks::pause))
        .routes(routes!(sinks::resume))
        .routes(routes!(sinks::plan))
        .routes(routes!(sinks::verify))
        .routes(routes!(sinks::repair))
        .routes(routes!(sinks::replay))
        .routes(routes!(groups::list))
        .routes(routes!(groups::show, groups::delete))
        .routes(routes!(members::read))
        .routes(routes!(members::stream))
        .routes(routes!(groups::commit))
        .routes(routes!(groups::reset))
        .routes(routes!(queues::list))
        .routes(routes!(queues::show, queues::put, queues::delete))
        .routes(routes!(queues::receive))
        .routes(routes!(queues::ack))
        .routes(routes!(queues::nack))
        .routes(routes!(queues::extend))
        .routes(routes!(queues::redrive))
        .routes(routes!(produce::send))
        .routes(routes!(agents::list))
        .routes(routes!(agents::open_session))
        .routes(routes!(agents::sources))
        .routes(routes!(commits::commit))
        .routes(routes!(enrol::enrol))
        .routes(routes!(tokens::list, tokens::make))
        .routes(routes!(tokens::join))
        .routes(routes!(tokens::revoke))
        .routes(routes!(beacon::send))
}

async fn unknown_url(uri: Uri) -> Failure {
    Failure::new(404, "not-found", format!("there is nothing at {}", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Failure {
    Failure::new(405, "method-not-allowed", format!("{} does not take {method}; see the Allow header", uri.path()))
}

async fn measure(route: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let route = route.map_or_else(|| "other".to_owned(), |route| route.as_str().to_owned());
    let method = known_method(request.method());
    let path = tracing::enabled!(tracing::Level::DEBUG).then(|| {
        let path = request.uri().path();
        // In what is encoded a token would not be seen, and so not cut.
        audit::shown(if path.contains('%') { &route } else { path })
    });
    let start = Instant::now();
    let response = next.run(request).await;
    let (status, took) = (response.status().as_u16(), start.elapsed());
    let kind = response.extensions().get().map(|ProblemKind(kind)| kind.as_str());
    if let Some(kind) = kind {
        metrics::refused(kind, status);
    }
    if let Some(path) = path {
        tracing::debug!(method, path, status, kind, ?took, "answered");
    }
    metrics::answered(route, method, status, took);
    response
}

/// Keeps made-up methods from making new metrics.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
