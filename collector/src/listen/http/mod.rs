//! HTTP (DESIGN §7): which URL leads to which room, and what every answer has in common.
//!
//! Handlers translate and hand on; nothing is decided, stored or rendered here. Every refusal is a problem document.

pub mod door;
mod answers;
mod body;
mod path;
mod query;
mod object;
mod health;
mod topics;
mod produce;
mod produce_body;
mod records;
mod raw;
mod page;
mod outbox;
mod stream;
mod ndjson;
mod sse;
mod agents;
mod sinks;
mod commits;
pub mod origin;
pub mod beacon;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};

use crate::metrics;
use answers::Failure;
pub use answers::too_many_connections;
pub use door::{Door, Peer, SinkControl};

/// Makes the router of all URLs.
pub fn router(door: Arc<Door>) -> Router {
    let topic = get(topics::describe).put(topics::put).delete(topics::delete);
    let (origins, beacons) = (door.config.allowed_origins.clone(), door.beacons.clone());
    let router = Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/v1", get(health::about))
        .route("/v1/topics", get(topics::list))
        .route("/v1/topics/{topic}", topic)
        .route("/v1/topics/{topic}/records", get(records::read).post(produce::produce).delete(topics::delete_records))
        .route("/v1/topics/{topic}/stream", get(records::stream))
        .route("/v1/sinks", get(sinks::list))
        .route("/v1/sinks/{sink}", get(sinks::show))
        .route("/v1/sinks/{sink}/pause", post(sinks::pause))
        .route("/v1/sinks/{sink}/resume", post(sinks::resume))
        .route("/v1/sinks/{sink}/plan", get(sinks::plan))
        .route("/v1/sinks/{sink}/verify", post(sinks::verify))
        .route("/v1/sinks/{sink}/repair", post(sinks::repair))
        .route("/v1/sinks/{sink}/replay", post(sinks::replay))
        .route("/v1/agents", get(agents::list))
        .route("/v1/agents/{agent}/session", post(agents::open_session))
        .route("/v1/agents/{agent}/sources", get(agents::sources))
        .route("/v1/commits", post(commits::commit))
        .route("/v1/beacons/{token}", post(beacon::send))
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_url)
        // Bodies are bounded by `body`, which knows the configured limit.
        .layer(DefaultBodyLimit::disable())
        .with_state(door);
    origin::guard(router, &origins, &beacons).layer(from_fn(measure))
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
    let start = Instant::now();
    let response = next.run(request).await;
    metrics::answered(route, method, response.status().as_u16(), start.elapsed());
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
