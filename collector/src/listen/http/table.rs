//! `GET /v1/topics/{t}/table`: the latest record of each key as of a watermark, then what comes after it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use skidway_record::{Offset, PartitionId, TopicName};
use tokio::time::{Interval, timeout};

use crate::access::{Caller, Leave, NotIdentified};
use crate::json::RecordWriter;
use crate::keys::table::{Rows, TableReader, Wanted};
use crate::keys::{KeysError, TablePlace};
use crate::listen::held::until_sent;
use crate::listen::http::answers::Failure;
use crate::listen::http::door::Door;
use crate::listen::http::keyed;
use crate::listen::http::keyed_form::{Shape, StreamWriter};
use crate::listen::http::ndjson::Ndjson;
use crate::listen::http::openapi::problems::Refused;
use crate::listen::http::openapi::reading::{Record, TableAnswer, TableParams};
use crate::listen::http::page::Page;
use crate::listen::http::path::{TopicParam, TopicPath, UrlPath as Path, topic_name};
use crate::listen::http::places;
use crate::listen::http::prefixed::Prefixed;
use crate::listen::http::query::{Query, ReadQuery};
use crate::listen::http::records::{self, Kind};
use crate::listen::http::rendering::offsets_json;
use crate::listen::http::sse::Sse;
use crate::listen::http::stream;
use crate::metrics;
use crate::read::{Scope, StartAt, Subscription, Token};

/// Sends a chunk once it has this many bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// Waits so long for the first records before the stream begins with heartbeats.
const FIRST_WITHIN: Duration = Duration::from_secs(5);

/// Is what is asked for.
struct TableQuery {
    key: Option<Bytes>,
    prefix: Bytes,
    from: Option<String>,
    /// All the rest is as for records.
    read: ReadQuery,
}

impl TableQuery {
    fn of(uri: &Uri) -> Result<Self, Failure> {
        let mut query = Query::of(uri)?;
        let key = keyed::key(&mut query)?;
        let prefix = query.text("prefix")?.map(Bytes::from).unwrap_or_default();
        let from = query.text("from")?;
        let read = ReadQuery::rest(query)?;
        read.refuse_filter("a table")?;
        if read.start.is_some() {
            return Err(Failure::parameter("offset", "a table has no offset to start at"));
        }
        Ok(Self { key, prefix, from, read })
    }
}

/// Is where a table is begun, or gone on with.
enum Begin {
    Table(Option<(PartitionId, Offset)>),
    /// The table is done, and only what comes after it is wanted.
    Tail,
}

/// Reads a topic as a table: the latest record of each key as of a watermark; streams go on with what comes after it.
#[utoipa::path(
    get, path = "/v1/topics/{topic}/table", tag = "records", params(TopicParam, TableParams),
    responses(
        (status = 200, content((TableAnswer = "application/json"), (String = "application/x-ndjson"), (String = "text/event-stream"))),
        Refused<400>, Refused<404>, Refused<406>, Refused<410>, Refused<413>, Refused<422>, Refused<429>, Refused<503>
    )
)]
pub(super) async fn read(
    State(door): State<Arc<Door>>,
    TopicPath(name): TopicPath,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let mut query = TableQuery::of(&uri)?;
    query.read.leave = caller.leave();
    if let Some(key) = &query.key {
        return one(&door, &name, key.clone(), &query.read).await;
    }
    let Some(kind) = records::negotiated(&headers).filter(|kind| *kind != Kind::Raw) else {
        let offered = "a table is answered as application/json, application/x-ndjson or text/event-stream";
        return Err(Failure::new(406, "not-acceptable", offered));
    };
    let shape = Shape::of(kind, &query.read);
    let (subscription, begin) = begin(&door, &name, &query, &headers).await?;
    metrics::table(shape.map_or("page", Shape::kind));
    match shape {
        None => {
            let watermark = subscription.place().clone();
            drop(subscription);
            page(&door, &name, &query, &watermark, begin).await
        }
        Some(shape) => streamed(&door, &name, &query, (subscription, begin), shape).await,
    }
}

/// Gives the latest record of a key.
#[utoipa::path(
    get, path = "/v1/topics/{topic}/table/{key}", tag = "records",
    params(
        TopicParam,
        ("key" = String, Path, description = "The key; one that is not UTF-8 by `/table?key_base64=`"),
        ("partition" = Option<u32>, Query, description = "The only one to look in"),
        ("decode" = Option<String>, Query, description = "`json`: a value that is JSON is shown as JSON", pattern = "^json$")
    ),
    responses((status = 200, body = Record), Refused<400>, Refused<404>, Refused<422>, Refused<503>)
)]
pub(super) async fn read_one(
    State(door): State<Arc<Door>>,
    Path((topic, key)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, Failure> {
    let name = topic_name(&topic)?;
    let query = TableQuery::of(&uri)?;
    if query.key.is_some() || query.from.is_some() {
        return Err(Failure::parameter("key", "the key is in the path already"));
    }
    one(&door, &name, key.into(), &query.read).await
}

async fn one(door: &Arc<Door>, name: &TopicName, key: Bytes, query: &ReadQuery) -> Result<Response, Failure> {
    let only = match query.scope {
        Scope::One(partition) => Some(partition),
        Scope::All | Scope::Some(_) => None,
    };
    metrics::table("key");
    let found = door.tables.find(name, &key, only).await.map_err(|error| door.keys.noticed(error))?;
    let none = || Failure::new(404, "key-not-found", format!("topic {name} has no value of this key now"));
    let found = found.ok_or_else(none)?;
    let (offset, record) = found.record().filter(|(_, record)| record.value.is_some()).ok_or_else(none)?;
    let mut body = BytesMut::new();
    RecordWriter::new(name, query.inline_json).write(&mut body, found.partition, offset, &record, None);
    body.extend_from_slice(b"\n");
    Ok(([(CONTENT_TYPE, "application/json")], body.freeze()).into_response())
}

/// Sets the watermark, or finds it in the place to go on from. The subscription stands at it.
async fn begin(
    door: &Door,
    name: &TopicName,
    query: &TableQuery,
    headers: &HeaderMap,
) -> Result<(Subscription, Begin), Failure> {
    let last_event_id = headers.get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    let (start, begin) = match last_event_id.or(query.from.as_deref()) {
        None => (StartAt::Latest, Begin::Table(None)),
        Some(text) => match TablePlace::decode(text) {
            Some(place) => (StartAt::Token(place.watermark), Begin::Table(Some((place.partition, place.next)))),
            None => (StartAt::Token(text.to_owned()), Begin::Tail),
        },
    };
    Ok((door.reader.subscribe(name, &query.read.scope, &start).await?, begin))
}

fn reader(
    door: &Door,
    name: &TopicName,
    query: &TableQuery,
    watermark: &Token,
    place: Option<(PartitionId, Offset)>,
) -> Result<TableReader, Failure> {
    let watermark = places::of(watermark);
    let (prefix, skip_damaged) = (query.prefix.clone(), query.read.skip_damaged);
    Ok(door.tables.read(Wanted { topic: name.clone(), watermark, prefix, skip_damaged }, place)?)
}

async fn page(
    door: &Arc<Door>,
    name: &TopicName,
    query: &TableQuery,
    watermark: &Token,
    begin: Begin,
) -> Result<Response, Failure> {
    let Begin::Table(place) = begin else {
        let detail = "this is a token of the topic's records: the table is at its end, go on with /records?from=";
        return Err(Failure::parameter("from", detail));
    };
    let mut reader = reader(door, name, query, watermark, place)?;
    let mut page = Page::new(RecordWriter::new(name, query.read.inline_json), query.read.page()?, door.rooms.one());
    while !page.is_full() {
        let Some(rows) = reader.next().await.map_err(|error| door.keys.noticed(error))? else { break };
        for (offset, record) in rows.records() {
            if page.is_full() || !page.record((rows.partition, offset), &record) {
                break;
            }
            reader.advance(Offset(offset.0 + 1));
        }
    }
    let tail = watermark.encode();
    let (end, next) = match reader.place() {
        None => (true, tail),
        Some(place) => (false, encoded(place, &tail)),
    };
    page.say("watermark", offsets_json(reader.watermark()));
    page.say("end", end.to_string());
    let (body, room) = page.finish(&next);
    metrics::sent("page", body.len());
    let answer = ([(CONTENT_TYPE, "application/json")], body).into_response();
    Ok(answer.map(|body| until_sent(body, room)))
}

fn encoded((partition, next): (PartitionId, Offset), watermark: &str) -> String {
    TablePlace { partition, next, watermark: watermark.to_owned() }.encode()
}

async fn streamed(
    door: &Arc<Door>,
    name: &TopicName,
    query: &TableQuery,
    (subscription, begin): (Subscription, Begin),
    shape: Shape,
) -> Result<Response, Failure> {
    if query.read.max_records.is_some() || query.read.max_bytes.is_some() {
        return Err(Failure::parameter("max_records", "only for pages (Accept: application/json)"));
    }
    let headers = [(CONTENT_TYPE, shape.media_type()), (CACHE_CONTROL, "no-cache")];
    let headers = (headers, [("x-accel-buffering", "no")]);
    let Begin::Table(place) = begin else {
        let tail = tail(door, query, subscription, shape);
        return Ok((headers, Body::from_stream(tail)).into_response());
    };
    let reader = reader(door, name, query, subscription.place(), place)?;
    let writer = StreamWriter::new(shape, name, query.read.inline_json, reader.watermark().len());
    let mut stream = TableStream::new(door, (reader, query.read.leave.clone()), writer, subscription.place().encode());
    // What cannot be had at all is answered as such, before there is a stream; if it takes long, there is one meanwhile.
    if let Ok(next) = timeout(FIRST_WITHIN, &mut stream.next).await {
        stream.take(next.map_err(|error| door.keys.noticed(error))?);
    }
    let follow = query.read.follow;
    let tail = tail(door, query, subscription, shape);
    let open = metrics::subscriber(shape.kind());
    let chunks = futures::stream::unfold(
        (stream, Some(tail).filter(|_| follow), open),
        move |(mut stream, mut tail, open)| async move {
            if let Some(chunk) = stream.chunk().await {
                metrics::sent(shape.kind(), chunk.len());
                return Some((Ok(chunk), (stream, tail, open)));
            }
            let chunk = match &mut tail {
                Some(tail) if stream.phase == Phase::Done => tail.next().await?,
                _ => return None,
            };
            Some((chunk, (stream, tail, open)))
        },
    );
    Ok((headers, Body::from_stream(chunks)).into_response())
}

type Chunks = BoxStream<'static, Result<Bytes, Infallible>>;

/// Gives what comes after the watermark.
fn tail(door: &Arc<Door>, query: &TableQuery, subscription: Subscription, shape: Shape) -> Chunks {
    let (read, prefix) = (&query.read, query.prefix.clone());
    match shape {
        Shape::Ndjson { .. } => {
            stream::chunks(door, read, (subscription, None), Prefixed::new(prefix, Ndjson::new(read))).map(Ok).boxed()
        }
        Shape::Sse => {
            stream::chunks(door, read, (subscription, None), Prefixed::new(prefix, Sse::new(read))).map(Ok).boxed()
        }
    }
}

/// Says how far a stream of a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Table,
    /// All is written, the watermark too.
    Done,
    /// It ended before that: an error, or the collector stops.
    Broken,
}

/// Is the reader with what it read next. It is not given up while it is waited for: finding the live records may take long.
type Next = BoxFuture<'static, Result<(TableReader, Option<Rows>), KeysError>>;

struct TableStream {
    door: Arc<Door>,
    writer: StreamWriter,
    watermark: Vec<(PartitionId, Offset)>,
    /// Token at the watermark.
    tail: String,
    /// Where the reader stands.
    place: String,
    next: Next,
    leave: Leave,
    heartbeat: Interval,
    out: BytesMut,
    phase: Phase,
}

/// Says why a stream of a table wakes up.
enum Wake {
    Stop,
    /// The token is not valid any more.
    Over,
    Heartbeat,
    Read(Box<Result<(TableReader, Option<Rows>), KeysError>>),
}

impl TableStream {
    fn new(door: &Arc<Door>, (reader, leave): (TableReader, Leave), writer: StreamWriter, tail: String) -> Self {
        let heartbeat = stream::heartbeats(door);
        let (watermark, place) = (reader.watermark().to_vec(), place_of(&reader, &tail));
        let (door, next, mut out, phase) = (door.clone(), read_on(reader), BytesMut::new(), Phase::Table);
        writer.open(&mut out, &place);
        Self { door, writer, watermark, tail, place, next, leave, heartbeat, out, phase }
    }

    /// Gives the next bytes to send; `None` when the table is at its end, or broken off.
    async fn chunk(&mut self) -> Option<Bytes> {
        while self.phase == Phase::Table && self.out.len() < CHUNK_BYTES {
            let wake = tokio::select! {
                biased; // Stopping beats all; a heartbeat is never put off by records that keep coming.
                () = self.door.draining.cancelled() => Wake::Stop,
                () = self.leave.over() => Wake::Over,
                _ = self.heartbeat.tick() => Wake::Heartbeat,
                read = &mut self.next => Wake::Read(Box::new(read)),
            };
            match wake {
                Wake::Read(read) => match *read {
                    Ok(read) => self.take(read),
                    Err(error) => self.fail(error),
                },
                Wake::Heartbeat => {
                    self.writer.heartbeat(&mut self.out, &self.watermark, &self.place);
                    break;
                }
                Wake::Over => {
                    self.writer.error(&mut self.out, Failure::from(NotIdentified::Unknown).problem());
                    self.phase = Phase::Broken;
                }
                Wake::Stop => {
                    self.writer.heartbeat(&mut self.out, &self.watermark, &self.place);
                    self.phase = Phase::Broken;
                }
            }
        }
        if self.out.is_empty() { None } else { Some(self.out.split().freeze()) }
    }

    fn take(&mut self, (mut reader, rows): (TableReader, Option<Rows>)) {
        let Some(rows) = rows else {
            self.writer.watermark(&mut self.out, &self.watermark, &self.tail);
            self.phase = Phase::Done;
            return;
        };
        for (offset, record) in rows.records() {
            let next = Offset(offset.0 + 1);
            reader.advance(next);
            let place = || encoded((rows.partition, next), &self.tail);
            self.writer.record(&mut self.out, (rows.partition, offset), &record, place);
        }
        self.place = place_of(&reader, &self.tail);
        self.next = read_on(reader);
    }

    fn fail(&mut self, error: KeysError) {
        let error = self.door.keys.noticed(error);
        tracing::warn!(%error, "a table is broken off");
        self.writer.error(&mut self.out, Failure::from(error).problem());
        self.phase = Phase::Broken;
    }
}

fn read_on(mut reader: TableReader) -> Next {
    async move {
        let rows = reader.next().await?;
        Ok((reader, rows))
    }
    .boxed()
}

fn place_of(reader: &TableReader, tail: &str) -> String {
    reader.place().map_or_else(|| tail.to_owned(), |place| encoded(place, tail))
}
