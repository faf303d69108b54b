//! A request's body, whole, within bounds: its own size, and the memory of all bodies together.
//!
//! Room is taken before the bytes are, and given back when the request is answered, or to others who wait if the bytes do not come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::body::HttpBody;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::listen::http::answers::Failure;
use crate::listen::http::arrival::Arrival;
use crate::listen::http::door::Door;
use crate::listen::http::object::Object;

/// Waits this long for other bodies to be dealt with before a request is turned away.
const MEMORY_WAIT: Duration = Duration::from_secs(5);

/// A body of which no more comes for so long is not under way.
const DISCARD_PAUSE_MAX: Duration = Duration::from_millis(250);

/// Bounds the memory of bodies in flight, in KiB.
pub(super) struct Memory {
    room: Arc<Semaphore>,
    /// How many wait for room.
    waiting: AtomicU32,
}

impl Memory {
    /// Allows so many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        Self { room: Arc::new(Semaphore::new(kib(bytes) as usize)), waiting: AtomicU32::new(0) }
    }

    /// Takes room for so many bytes, waiting for it if need be.
    ///
    /// # Errors
    /// 503 if there is none for as long as a request waits.
    pub(super) async fn take(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Failure> {
        if let Ok(room) = self.room.clone().try_acquire_many_owned(kib(bytes)) {
            return Ok(room);
        }
        let _one_more = Waiting::begin(&self.waiting);
        match timeout(MEMORY_WAIT, self.room.clone().acquire_many_owned(kib(bytes))).await {
            Ok(Ok(room)) => Ok(room),
            _ => Err(busy()),
        }
    }

    fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Takes more room for a body that grows. Never waits: two that wait for each other would wait for ever.
    fn take_more(&self, room: &mut OwnedSemaphorePermit, bytes: u64) -> Result<(), Failure> {
        let wanted = kib(bytes).saturating_sub(room.num_permits() as u32);
        if wanted > 0 {
            // Taken ahead in steps, so that a body of many small chunks does not ask for each.
            let more = self.room.clone().try_acquire_many_owned(wanted.max(64)).map_err(|_| busy())?;
            room.merge(more);
        }
        Ok(())
    }
}

/// Counts one who waits, until it is dropped.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Holds a body and its room.
pub(super) struct Body {
    /// All of it.
    pub(super) bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Refuses a body that says it is no JSON; `instead` says what is taken. curl says that a form is whatever it is not told otherwise about.
pub(super) fn must_be_json(headers: &HeaderMap, instead: &str) -> Result<(), Failure> {
    match media_type(headers).as_str() {
        "" | "application/json" | "application/x-www-form-urlencoded" => Ok(()),
        _ => Err(Failure::media_type(instead)),
    }
}

/// Reads the one JSON object that a body is; `wrong` is the answer to any other, `instead` says which type is taken.
///
/// # Errors
/// 415 of another type, and what `wrong` gives.
pub(super) fn object<T: DeserializeOwned>(
    body: &[u8],
    headers: &HeaderMap,
    instead: &str,
    wrong: impl FnOnce(serde_json::Error) -> Failure,
) -> Result<T, Failure> {
    must_be_json(headers, instead)?;
    serde_json::from_slice::<Object<T>>(body).map(|Object(asked)| asked).map_err(wrong)
}

/// Reads a request's body.
///
/// # Errors
/// 413 past `http.body_bytes_max`, 415 if it is encoded, 408 if it stalls, 400 if it is cut off, 503 without room for it.
pub(super) async fn read(door: &Door, headers: &HeaderMap, body: axum::body::Body) -> Result<Body, Failure> {
    read_up_to(door, headers, body, door.config.body_bytes_max).await
}

/// Reads a request's body of at most `max` bytes.
///
/// # Errors
/// As [`read`].
pub(super) async fn read_up_to(
    door: &Door,
    headers: &HeaderMap,
    mut body: axum::body::Body,
    max: u64,
) -> Result<Body, Failure> {
    if let Some(encoding) = headers.get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        return Err(Failure::media_type(format!(
            "Content-Encoding {encoding:?} is not supported; send the body as it is"
        )));
    }
    let max = max.min(door.config.body_bytes_max);
    let length = body.size_hint().exact();
    if length.is_some_and(|length| length > max) {
        refuse(headers, body, max).await;
        return Err(too_large(max));
    }
    let mut room = door.memory.take(length.unwrap_or(0)).await?;
    let mut arrival = Arrival::new(Instant::now(), door.config.body_idle_timeout, door.config.body_timeout);
    let mut bytes = BytesMut::with_capacity(length.unwrap_or(0) as usize);
    while let Some(data) = next(door, &mut body, &mut arrival, &room).await? {
        let size = (bytes.len() + data.len()) as u64;
        if size > max {
            refuse(headers, body, max).await;
            return Err(too_large(max));
        }
        door.memory.take_more(&mut room, size)?;
        bytes.extend_from_slice(&data);
        arrival.came(data.len() as u64, Instant::now());
    }
    Ok(Body { bytes: bytes.freeze(), _room: room })
}

/// Waits for a body's next bytes; `None` at its end.
async fn next(
    door: &Door,
    body: &mut axum::body::Body,
    arrival: &mut Arrival,
    room: &OwnedSemaphorePermit,
) -> Result<Option<Bytes>, Failure> {
    loop {
        let until = arrival.due().min(arrival.look_at());
        let frame = timeout_at(until, body.frame()).await;
        let now = Instant::now();
        if arrival.is_slow(room.num_permits() as u64 * 1024, now) && door.memory.is_short() {
            return Err(too_slow("the request's body comes slowly, and others wait for the memory that it takes"));
        }
        match frame {
            _ if now >= arrival.due() => return Err(too_slow("the request's body did not come on")),
            Err(_) => {}
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(Failure::new(400, "body-cut-off", error.to_string())),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Reads on past a body that is too large; but whoever waits to be told to send it has sent none.
async fn refuse(headers: &HeaderMap, body: axum::body::Body, max: u64) {
    if !headers.contains_key(EXPECT) {
        discard(body, max, MEMORY_WAIT).await;
    }
}

/// Gives the media type of the body in lower case, without parameters; empty if there is none.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Reads on for a moment without keeping anything: a sender that is cut off in mid-body would not see the answer.
pub(super) async fn discard(mut body: impl HttpBody<Data = Bytes> + Unpin, bytes_max: u64, time_max: Duration) {
    let mut left = bytes_max;
    let _gave_up = timeout(time_max, async {
        while let Ok(Some(Ok(frame))) = timeout(DISCARD_PAUSE_MAX, body.frame()).await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len) as u64);
            if left == 0 {
                break;
            }
        }
    })
    .await;
}

fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX >> 1)
}

fn busy() -> Failure {
    Failure::new(503, "busy", "requests in flight take all the memory that http.memory_bytes_max allows")
        .retry_after(Duration::from_secs(1))
}

fn too_slow(detail: &str) -> Failure {
    Failure::new(408, "body-timeout", detail)
}

fn too_large(max: u64) -> Failure {
    Failure::new(413, "too-large", format!("this request's body may have at most {max} bytes")).with("max_bytes", max)
}
