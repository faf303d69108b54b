//! Stored batches as they are: Kafka's RecordBatch v2, one after the other, of one partition. Nothing is decoded, nothing is copied that is
//! not small.
//!
//! The format has no room for control lines: no heartbeats, and an error in mid-stream cuts the connection. Whoever reads on begins after
//! the last whole batch.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use skidway_record::Batch;
use tokio_util::sync::CancellationToken;

use crate::access::Leave;
use crate::listen::http::answers::Failure;
use crate::listen::http::door::Door;
use crate::listen::http::pace::Paced;
use crate::listen::http::query::ReadQuery;
use crate::metrics;
use crate::read::{ReadError, Scope, Subscription};

/// Names the form in `Content-Type` and `Accept`.
const MEDIA_TYPE: &str = "application/vnd.kafka.recordbatch";

const KIND: &str = "raw";

/// Bytes asked of the log at once.
const FETCH_BYTES: usize = 2 << 20;

/// Batches smaller than this are copied together: a write each would cost more.
const SMALL_BATCH_BYTES: usize = 16 << 10;

/// Refuses what has no place in this form.
pub(super) fn check(query: &ReadQuery) -> Result<(), Failure> {
    if query.filter.is_some() {
        return Err(Failure::parameter("filter", "not here: batches are answered as they are stored"));
    }
    match &query.scope {
        Scope::One(_) => Ok(()),
        Scope::All | Scope::Some(_) => {
            Err(Failure::parameter("partition", "required: batches are answered as they are stored, of one partition"))
        }
    }
}

/// Starts a stream.
pub(super) fn answer(door: &Arc<Door>, query: &ReadQuery, subscription: Subscription) -> Response {
    let stream = Stream {
        subscription,
        draining: door.draining.clone(),
        leave: query.leave.clone(),
        follow: query.follow,
        skip_damaged: query.skip_damaged,
        bytes_left: query.max_bytes.unwrap_or(u64::MAX),
        waiting: Vec::new(),
        pace: door.pace.join(),
        _open: metrics::subscriber(KIND),
    };
    let chunks = futures::stream::unfold(stream, |mut stream| async move {
        let chunk = stream.chunk().await.transpose()?;
        Some((chunk, stream))
    });
    let headers = [(CONTENT_TYPE, MEDIA_TYPE), (CACHE_CONTROL, "no-cache")];
    (headers, [("x-accel-buffering", "no")], Body::from_stream(chunks)).into_response()
}

struct Stream {
    subscription: Subscription,
    draining: CancellationToken,
    leave: Leave,
    follow: bool,
    skip_damaged: bool,
    bytes_left: u64,
    /// What was read and not sent, the last first.
    waiting: Vec<Bytes>,
    pace: Paced,
    _open: metrics::Open,
}

impl Stream {
    /// Gives the next bytes to send; `None` when the stream has ended.
    async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(chunk) = self.waiting.pop() {
                self.pace.write();
                metrics::sent(KIND, chunk.len());
                return Ok(Some(chunk));
            }
            if self.leave.is_over() {
                return Err(io::Error::other("the token is not valid any more"));
            }
            if self.draining.is_cancelled() || self.bytes_left == 0 {
                return Ok(None);
            }
            match self.subscription.next_stored(FETCH_BYTES).await {
                Ok(Some(batches)) => self.take(&batches),
                Ok(None) if !self.follow => return Ok(None),
                Ok(None) => self.sleep().await?,
                Err(error) => self.meet(error)?,
            }
        }
    }

    /// Puts whole batches up, at least one, as many as were asked for.
    fn take(&mut self, batches: &[Batch]) {
        let mut small = BytesMut::new();
        for batch in batches {
            let bytes = batch.bytes();
            if self.bytes_left == 0 {
                break;
            }
            self.bytes_left = self.bytes_left.saturating_sub(bytes.len() as u64);
            if bytes.len() < SMALL_BATCH_BYTES {
                small.extend_from_slice(bytes);
                continue;
            }
            if !small.is_empty() {
                self.waiting.push(small.split().freeze());
            }
            self.waiting.push(bytes.clone());
        }
        if !small.is_empty() {
            self.waiting.push(small.freeze());
        }
        self.waiting.reverse();
    }

    async fn sleep(&mut self) -> io::Result<()> {
        let changed = tokio::select! {
            () = self.draining.cancelled() => return Ok(()),
            // Which the next chunk says.
            () = self.leave.over() => return Ok(()),
            changed = self.subscription.changed() => changed,
        };
        self.pace.wait().await;
        changed.or_else(|error| self.meet(error))
    }

    /// Passes over damage if that was asked for; any other error cuts the stream off.
    fn meet(&mut self, error: ReadError) -> io::Result<()> {
        let passed = if self.skip_damaged { self.subscription.pass_over(error) } else { Err(error) };
        passed.map(|_| ()).map_err(|error| {
            tracing::warn!(%error, kind = KIND, "a stream is cut off");
            io::Error::other(error.to_string())
        })
    }
}
