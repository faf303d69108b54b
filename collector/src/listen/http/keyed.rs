//! `GET /v1/topics/{t}/records?key=…`: one key's records, in order, as page or stream.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use skidway_record::{Offset, TopicName};
use tokio::time::{Instant, Interval, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::access::{Leave, NotIdentified};
use crate::json::RecordWriter;
use crate::keys::KeysError;
use crate::keys::events::KeyReader;
use crate::listen::held::until_sent;
use crate::listen::http::answers::Failure;
use crate::listen::http::door::Door;
use crate::listen::http::keyed_form::{Shape, StreamWriter};
use crate::listen::http::page::Page;
use crate::listen::http::places;
use crate::listen::http::query::{Query, ReadQuery};
use crate::listen::http::records::Kind;
use crate::listen::http::stream::heartbeats;
use crate::metrics;
use crate::read::{StartAt, Token};

/// Sends a chunk once it has this many bytes, or sooner if there is no more to read.
const CHUNK_BYTES: usize = 256 << 10;

/// Takes the key out of a query; `None` if there is none.
pub(super) fn key(query: &mut Query) -> Result<Option<Bytes>, Failure> {
    match (query.text("key")?, query.text("key_base64")?) {
        (Some(_), Some(_)) => Err(Failure::parameter("key_base64", "not together with key")),
        (Some(key), None) => Ok(Some(key.into())),
        (None, Some(key)) => {
            let decoded = STANDARD.decode(&key).or_else(|_| URL_SAFE_NO_PAD.decode(key.trim_end_matches('=')));
            let decoded = decoded.map_err(|error| Failure::parameter("key_base64", error))?;
            Ok(Some(decoded.into()))
        }
        (None, None) => Ok(None),
    }
}

/// Answers with a key's records.
pub(super) async fn answer(
    door: &Arc<Door>,
    name: &TopicName,
    kind: Kind,
    (key, query): (Bytes, ReadQuery),
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    if kind == Kind::Raw {
        return Err(Failure::parameter("key", "stored batches hold records of all keys"));
    }
    query.refuse_filter("key")?;
    // Says first what is missing altogether.
    door.keys.indexed(name)?;
    let last_event_id = headers.get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    let start = match last_event_id {
        Some(id) => StartAt::Token(id.to_owned()),
        None => query.start.clone().unwrap_or(StartAt::Earliest),
    };
    let token = door.reader.subscribe(name, &query.scope, &start).await?.place().clone();
    let reader = door.keys.read_key(name, key, places::of(&token), query.skip_damaged)?;
    match Shape::of(kind, &query) {
        None => page(door, name, &query, (token, reader)).await,
        Some(shape) => stream(door, name, &query, (token, reader), shape).await,
    }
}

async fn page(
    door: &Arc<Door>,
    name: &TopicName,
    query: &ReadQuery,
    (token, mut reader): (Token, KeyReader),
) -> Result<Response, Failure> {
    let mut page = Page::new(RecordWriter::new(name, query.inline_json), query.page()?, door.rooms.one());
    let deadline = Instant::now() + query.wait;
    loop {
        fill(&mut page, &mut reader).await.map_err(|error| door.keys.noticed(error))?;
        if !page.is_empty() {
            break;
        }
        tokio::select! {
            biased; // Stopping beats everything, or a busy topic would keep the collector alive.
            () = door.draining.cancelled() => break,
            changed = timeout_at(deadline, reader.changed()) => match changed {
                Ok(changed) => changed?,
                Err(_) => break,
            },
        }
    }
    let next = places::moved(&token, reader.places());
    let (body, room) = page.finish(&next);
    metrics::sent("page", body.len());
    let answer = ([(CONTENT_TYPE, "application/json")], body).into_response();
    Ok(answer.map(|body| until_sent(body, room)))
}

async fn fill(page: &mut Page, reader: &mut KeyReader) -> Result<(), KeysError> {
    while !page.is_full() {
        let Some(events) = reader.next().await? else { break };
        for (offset, record) in events.records() {
            if page.is_full() || !page.record((events.partition, offset), &record) {
                break;
            }
            reader.advance(events.partition, Offset(offset.0 + 1));
        }
    }
    Ok(())
}

async fn stream(
    door: &Arc<Door>,
    name: &TopicName,
    query: &ReadQuery,
    (token, reader): (Token, KeyReader),
    shape: Shape,
) -> Result<Response, Failure> {
    let mut stream = KeyStream {
        writer: StreamWriter::new(shape, name, query.inline_json, token.partitions()),
        door: door.clone(),
        draining: door.draining.clone(),
        leave: query.leave.clone(),
        heartbeat: heartbeats(door),
        follow: query.follow,
        records_left: query.max_records.unwrap_or(u64::MAX),
        bytes_left: query.max_bytes.unwrap_or(u64::MAX),
        out: BytesMut::new(),
        token,
        reader,
        ended: false,
        _open: metrics::subscriber(shape.kind()),
    };
    stream.writer.open(&mut stream.out, &places::moved(&stream.token, stream.reader.places()));
    let chunks = futures::stream::unfold(stream, move |mut stream| async move {
        let chunk = stream.chunk().await?;
        metrics::sent(shape.kind(), chunk.len());
        Some((Ok::<_, Infallible>(chunk), stream))
    });
    let headers = [(CONTENT_TYPE, shape.media_type()), (CACHE_CONTROL, "no-cache")];
    Ok((headers, [("x-accel-buffering", "no")], Body::from_stream(chunks)).into_response())
}

struct KeyStream {
    door: Arc<Door>,
    token: Token,
    reader: KeyReader,
    writer: StreamWriter,
    draining: CancellationToken,
    leave: Leave,
    heartbeat: Interval,
    follow: bool,
    records_left: u64,
    bytes_left: u64,
    out: BytesMut,
    ended: bool,
    _open: metrics::Open,
}

impl KeyStream {
    /// Gives the next bytes to send; `None` when the stream has ended.
    async fn chunk(&mut self) -> Option<Bytes> {
        while self.out.is_empty() {
            if self.ended {
                return None;
            }
            self.fill().await;
            if self.out.is_empty() && !self.ended {
                self.sleep().await;
            }
        }
        Some(self.out.split().freeze())
    }

    async fn fill(&mut self) {
        if self.heartbeat.tick().now_or_never().is_some() {
            self.beat();
        }
        while self.out.len() < CHUNK_BYTES && !self.ended {
            if self.draining.is_cancelled() {
                self.beat();
                self.ended = true;
                return;
            }
            if self.leave.is_over() {
                return self.over();
            }
            match self.reader.next().await {
                Ok(Some(events)) => self.take(&events),
                Ok(None) => {
                    self.ended = !self.follow;
                    return;
                }
                Err(error) => return self.fail(error),
            }
        }
    }

    fn take(&mut self, events: &crate::keys::events::Events) {
        for (offset, record) in events.records() {
            if self.ended {
                return;
            }
            let before = self.out.len();
            self.reader.advance(events.partition, Offset(offset.0 + 1));
            let place = || places::moved(&self.token, self.reader.places());
            self.writer.record(&mut self.out, (events.partition, offset), &record, place);
            self.records_left -= 1;
            self.bytes_left = self.bytes_left.saturating_sub((self.out.len() - before) as u64);
            self.ended = self.records_left == 0 || self.bytes_left == 0;
        }
    }

    async fn sleep(&mut self) {
        tokio::select! {
            biased; // Stopping beats all; a heartbeat is never put off by records that keep coming.
            () = self.draining.cancelled() => {
                self.beat();
                self.ended = true;
            }
            () = self.leave.over() => self.over(),
            _ = self.heartbeat.tick() => self.beat(),
            changed = self.reader.changed() => if let Err(error) = changed {
                self.fail(error);
            },
        }
    }

    fn beat(&mut self) {
        let place = places::moved(&self.token, self.reader.places());
        self.writer.heartbeat(&mut self.out, &self.reader.high_watermarks(), &place);
    }

    /// Ends because the token is not valid any more.
    fn over(&mut self) {
        self.writer.error(&mut self.out, Failure::from(NotIdentified::Unknown).problem());
        self.ended = true;
    }

    fn fail(&mut self, error: KeysError) {
        let error = self.door.keys.noticed(error);
        tracing::warn!(%error, "a stream of a key's records ends");
        self.writer.error(&mut self.out, Failure::from(error).problem());
        self.ended = true;
    }
}
