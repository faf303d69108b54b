//! Records as one JSON page: `{"records":[…],"next":"…"}`. Empty only at the head, or where a filter found nothing in as much as one page
//! looks through.

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use skidway_record::{Offset, PartitionId, Record};
use skidway_wire::Gone;
use tokio::time::{Instant, timeout_at};

use crate::json::RecordWriter;
use crate::listen::held::until_sent;
use crate::listen::http::answers::Failure;
use crate::listen::http::coding::Coding;
use crate::listen::http::door::Door;
use crate::listen::http::query::ReadQuery;
use crate::listen::http::room::Room;
use crate::listen::http::stream::{gone, next};
use crate::log::Damage;
use crate::metrics;
use crate::read::{ReadError, Subscription, Turn};

/// Ends a page that passed over so many damaged places.
const DAMAGED_MAX: usize = 100;

/// Ends a page that looked through so many bytes of records for those that a filter lets pass.
const FILTERED_BYTES_MAX: usize = 256 << 20;

/// Ends such a page after this long, too.
const FILTERED_TIME_MAX: Duration = Duration::from_secs(5);

/// Fills a page, waiting up to `wait` for its first record, or for as many bytes as it should have.
pub(super) async fn answer(
    door: &Arc<Door>,
    (query, coding): (&ReadQuery, Coding),
    mut subscription: Subscription,
) -> Result<Response, Failure> {
    let bytes_min = query.bytes_min()?;
    let mut page = Page::new(RecordWriter::of_any(query.inline_json), query.page()?, door.rooms.one());
    let deadline = Instant::now() + query.wait;
    loop {
        page.fill(&mut subscription, query).await?;
        if page.is_enough(bytes_min) || !news(door, &mut subscription, deadline).await? {
            break;
        }
    }
    let (body, room) = page.finish(&subscription.place().encode());
    metrics::sent("page", body.len());
    let answer = coding.whole([(CONTENT_TYPE, "application/json")].into_response(), body).await;
    Ok(answer.map(|body| until_sent(body, room)))
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
pub(super) struct Page {
    body: BytesMut,
    writer: RecordWriter,
    records: u64,
    records_max: u64,
    bytes_max: usize,
    room: Room,
    full: bool,
    begun: Instant,
    filtered_bytes: usize,
    /// What was passed over because it cannot be read any more.
    damaged: Vec<Damage>,
    /// Topics that are not read any more.
    gone: Vec<Gone>,
    /// What else it says: members by name, each a JSON value.
    says: Vec<(&'static str, String)>,
}

impl Page {
    /// Begins one with these bounds.
    pub(super) fn new(writer: RecordWriter, (records_max, bytes_max): (u64, usize), room: Room) -> Self {
        let body = BytesMut::from(&b"{\"records\":["[..]);
        let (damaged, gone, says, begun) = (Vec::new(), Vec::new(), Vec::new(), Instant::now());
        let filtered_bytes = 0;
        Self {
            body,
            writer,
            records: 0,
            records_max,
            bytes_max,
            room,
            full: false,
            begun,
            filtered_bytes,
            damaged,
            gone,
            says,
        }
    }

    /// Tells whether no more fits.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Tells whether there is no record in it.
    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Takes a record, the first one whatever its size; false if it does not fit.
    pub(super) fn record(&mut self, (partition, offset): (PartitionId, Offset), record: &Record<'_>) -> bool {
        let before = self.body.len();
        if self.records > 0 {
            self.body.extend_from_slice(b",");
        }
        self.writer.write(&mut self.body, partition, offset, record, None);
        let fits = self.body.len() <= self.bytes_max && self.room.fits(self.body.len());
        if !fits && self.records > 0 {
            self.body.truncate(before);
            self.full = true;
            return false;
        }
        self.records += 1;
        self.full = self.full || self.records == self.records_max;
        true
    }

    /// Lets it say something else: a member's name, and a JSON value.
    pub(super) fn say(&mut self, name: &'static str, value: String) {
        self.says.push((name, value));
    }

    /// Tells whether there is something to tell now.
    pub(super) fn is_enough(&self, bytes_min: usize) -> bool {
        let is_told = self.full || !self.damaged.is_empty() || !self.gone.is_empty();
        is_told || (self.records > 0 && self.body.len() >= bytes_min)
    }

    /// Takes what there is to read. Damage ends a page that has records, and is told to who asks for it first.
    pub(super) async fn fill(&mut self, subscription: &mut Subscription, query: &ReadQuery) -> Result<(), ReadError> {
        let (skip_damaged, filter) = (query.skip_damaged, query.filter.as_ref());
        while !self.full {
            let next = next(subscription, filter).await;
            self.gone.extend(subscription.take_departed().into_iter().map(gone));
            let taken = match next {
                Ok(Some(turn)) => {
                    self.look_through(&turn, filter.is_some());
                    self.take(&turn, subscription)
                }
                Ok(None) => return Ok(()),
                Err(error) => Err(error),
            };
            match taken {
                Ok(()) => {}
                Err(error) if skip_damaged => {
                    self.damaged.push(subscription.pass_over(error)?);
                    self.full = self.full || self.damaged.len() >= DAMAGED_MAX;
                }
                Err(ReadError::Damaged { .. }) if self.records > 0 => self.full = true,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Ends the page if a filter has looked through enough for one.
    fn look_through(&mut self, turn: &Turn, is_filtered: bool) {
        if is_filtered {
            self.filtered_bytes += turn.batch.body_bytes();
            let is_over = self.filtered_bytes >= FILTERED_BYTES_MAX || self.begun.elapsed() >= FILTERED_TIME_MAX;
            self.full = self.full || (is_over);
        }
    }

    /// Takes records of one turn until the page is full. The first record is taken whatever its size.
    fn take(&mut self, turn: &Turn, subscription: &mut Subscription) -> Result<(), ReadError> {
        self.writer.turn_to(&turn.of.topic);
        for record in turn.records() {
            let (offset, record) = record?;
            if !self.record((turn.of.partition, offset), &record) {
                return Ok(());
            }
            subscription.advance(turn.shard, Offset(offset.0 + 1));
            if self.records == self.records_max {
                return Ok(());
            }
        }
        subscription.advance(turn.shard, turn.end());
        Ok(())
    }

    /// Ends it with where to go on; its room is to be held until it was sent.
    pub(super) fn finish(mut self, next: &str) -> (Bytes, Room) {
        self.body.extend_from_slice(b"],");
        if !self.damaged.is_empty() {
            let damaged = serde_json::to_string(&self.damaged).expect("damage is plain JSON");
            self.body.extend_from_slice(format!("\"damaged\":{damaged},").as_bytes());
        }
        if !self.gone.is_empty() {
            let gone = serde_json::to_string(&self.gone).expect("what is gone is plain JSON");
            self.body.extend_from_slice(format!("\"gone\":{gone},").as_bytes());
        }
        for (name, value) in &self.says {
            self.body.extend_from_slice(format!("\"{name}\":{value},").as_bytes());
        }
        self.body.extend_from_slice(b"\"next\":\"");
        self.body.extend_from_slice(next.as_bytes());
        self.body.extend_from_slice(b"\"}\n");
        (self.body.freeze(), self.room)
    }
}
