//! An answer's body that holds something, such as room in memory, until its last byte was handed to the system.
//!
//! Bytes wait in the connection's own buffers long after a body was read to its end, so each piece of it holds on by itself.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

/// Gives a body that holds `what` until it was sent, or given up.
pub fn until_sent(body: Body, what: impl Send + Sync + 'static) -> Body {
    Body::new(Held { body, what: Arc::new(what) })
}

struct Held<T> {
    body: Body,
    what: Arc<T>,
}

impl<T: Send + Sync + 'static> HttpBody for Held<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        frame.map_ok(|frame| frame.map_data(|bytes| Bytes::from_owner(Piece { bytes, _what: this.what.clone() })))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct Piece<T> {
    bytes: Bytes,
    _what: Arc<T>,
}

impl<T> AsRef<[u8]> for Piece<T> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn what_is_held_is_free_when_the_last_piece_is() {
        let what = Arc::new(());
        let mut body = until_sent(Body::from("whole"), what.clone());
        assert_eq!(body.size_hint().exact(), Some(5));
        let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
        drop(body);
        assert_eq!((&piece[..], Arc::strong_count(&what)), (&b"whole"[..], 2));
        drop(piece);
        assert_eq!(Arc::strong_count(&what), 1);
    }
}
