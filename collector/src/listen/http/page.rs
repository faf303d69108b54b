//! Records as one JSON page: `{"records":[…],"next":"…"}`. Empty only at the head.

use std::sync::Arc;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use skidway_record::{Offset, TopicName};
use tokio::time::{Instant, timeout_at};

use crate::listen::http::answers::Failure;
use crate::listen::http::door::Door;
use crate::listen::http::query::ReadQuery;
use crate::metrics;
use crate::read::json::RecordWriter;
use crate::read::{ReadError, Subscription, Turn};

/// Fills a page, waiting up to `wait` for its first record.
pub(super) async fn answer(
    door: &Arc<Door>,
    name: &TopicName,
    query: &ReadQuery,
    mut subscription: Subscription,
) -> Result<Response, Failure> {
    let (records_max, bytes_max) = query.page()?;
    let mut page = Page::new(RecordWriter::new(name, query.inline_json), records_max, bytes_max);
    let deadline = Instant::now() + query.wait;
    loop {
        while !page.full
            && let Some(turn) = subscription.next().await?
        {
            page.take(&turn, &mut subscription)?;
        }
        if page.records > 0 || !news(door, &mut subscription, deadline).await? {
            break;
        }
    }
    let body = page.finish(&subscription.place().encode());
    metrics::sent("page", body.len());
    Ok(([(CONTENT_TYPE, "application/json")], body.freeze()).into_response())
}

/// Waits for more to read; false if the time is over or the collector stops.
async fn news(door: &Door, subscription: &mut Subscription, deadline: Instant) -> Result<bool, ReadError> {
    tokio::select! {
        biased; // Stopping beats everything, or a busy topic would keep the collector alive.
        () = door.draining.cancelled() => Ok(false),
        changed = timeout_at(deadline, subscription.changed()) => match changed {
            Ok(changed) => changed.map(|()| true),
            Err(_) => Ok(false),
        },
    }
}

/// Is a page being filled.
struct Page {
    body: BytesMut,
    writer: RecordWriter,
    records: u64,
    records_max: u64,
    bytes_max: usize,
    full: bool,
}

impl Page {
    fn new(writer: RecordWriter, records_max: u64, bytes_max: usize) -> Self {
        Self { body: BytesMut::from(&b"{\"records\":["[..]), writer, records: 0, records_max, bytes_max, full: false }
    }

    /// Takes records of one turn until the page is full. The first record is taken whatever its size.
    fn take(&mut self, turn: &Turn, subscription: &mut Subscription) -> Result<(), ReadError> {
        for record in turn.records() {
            let (offset, record) = record?;
            let before = self.body.len();
            if self.records > 0 {
                self.body.extend_from_slice(b",");
            }
            self.writer.write(&mut self.body, turn.of.partition, offset, &record, None);
            if self.body.len() > self.bytes_max && self.records > 0 {
                self.body.truncate(before);
                self.full = true;
                return Ok(());
            }
            self.records += 1;
            subscription.advance(turn.of.partition, Offset(offset.0 + 1));
            if self.records == self.records_max {
                self.full = true;
                return Ok(());
            }
        }
        subscription.advance(turn.of.partition, turn.end());
        Ok(())
    }

    fn finish(mut self, next: &str) -> BytesMut {
        self.body.extend_from_slice(b"],\"next\":\"");
        self.body.extend_from_slice(next.as_bytes());
        self.body.extend_from_slice(b"\"}\n");
        self.body
    }
}
