//! What a refusal leaves of a request's body is read on, so that the connection lives: to close it over unread bytes fails whatever its
//! client sends next.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::listen::http::body::discard;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::EXPECT;
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};

/// Past so many bytes it costs less to connect anew.
const BYTES_MAX: u64 = 64 << 10;

/// They are under way already.
const TIME_MAX: Duration = Duration::from_secs(1);

/// Answers a request, then reads what is left of its body.
pub(super) async fn read_on(request: Request, next: Next) -> Response {
    // Whoever waits to be told to send a body has sent none, and is not told so by reading it.
    if request.body().is_end_stream() || request.headers().contains_key(EXPECT) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = Arc::new(Mutex::new(body));
    let response = next.run(Request::from_parts(parts, Body::new(Lent(body.clone())))).await;
    if response.status().is_client_error() {
        discard(Lent(body), BYTES_MAX, TIME_MAX).await;
    }
    response
}

/// Is a body that goes on where another holder of it stopped.
struct Lent(Arc<Mutex<Body>>);

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}
