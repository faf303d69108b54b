//! Records as a stream that follows the topic: pulled by the connection, so a slow subscriber waits for nobody but itself.
//!
//! The connection asks for a chunk; what is there is written and goes out at once. At the head the stream sleeps until
//! there is more, a heartbeat is due, or the collector stops. What NDJSON and SSE look like is their own business; those
//! who want the same records in the same form share what was written once.

use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use skidway_record::{Offset, PartitionId, Record, TopicPartition};
use skidway_wire::{Gone, Problem, Reconnect};
use tokio::task::yield_now;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::access::{Leave, NotIdentified};
use crate::listen::http::answers::Failure;
use crate::listen::http::coding::Coding;
use crate::listen::http::door::Door;
use crate::listen::http::outbox::Outbox;
use crate::listen::http::pace::Paced;
use crate::listen::http::query::ReadQuery;
use crate::listen::http::rendering::{high_watermarks, key, render};
use crate::listen::http::seated::Seated;
use crate::metrics;
use crate::read::{Departed, Filter, Pieces, ReadError, Subscription, Token, Turn};

/// Sends a chunk once it has this many bytes, or sooner if there is no more to read.
const CHUNK_BYTES: usize = 256 << 10;

/// A filter that found nothing in so many bytes of records tells how far it is.
const MARK_BYTES: usize = 64 << 20;

/// When subscribers of a collector that stops are to come back, in ms: not all at once.
const RECONNECT_AFTER: RangeInclusive<u64> = 500..=3000;

/// Records that show a place of more partitions are not shared: hardly two streams stand at the same one.
pub(super) const SHARED_PARTITIONS_MAX: usize = 32;

/// Names what the records of a stream look like.
pub(super) struct Form {
    /// Numbers it, unlike those of every other kind.
    pub(super) id: u8,
    /// Tells whether the place after a record is written with it.
    pub(super) shows_place: bool,
}

/// Writes a kind of stream.
pub(super) trait Framing: Send + 'static {
    /// Names the kind in metrics.
    const KIND: &'static str;
    /// Names it in `Content-Type`.
    const MEDIA_TYPE: &'static str;

    /// Names what its records look like; `None` if no other stream's look the same.
    fn form(&self, place: &Token) -> Option<Form>;

    /// Turns to the records of a partition, read by whoever stands at a place.
    fn turn_to(&mut self, of: &TopicPartition, place: &Token);

    /// Opens the stream at a place.
    fn open(&mut self, out: &mut BytesMut, place: &Token);

    /// Writes a record; `place` is the one after it.
    fn record(&mut self, out: &mut BytesMut, at: (PartitionId, Offset), record: &Record<'_>, place: &Token);

    /// Writes a heartbeat; `high_watermarks` is a JSON object.
    fn heartbeat(&mut self, out: &mut BytesMut, high_watermarks: &str, place: &Token);

    /// Writes which records were passed over because they cannot be read any more, a JSON object; `place` is the one after them.
    fn damaged(&mut self, out: &mut BytesMut, damage: &str, place: &Token);

    /// Writes which topic left the stream, a JSON object.
    fn gone(&mut self, out: &mut BytesMut, gone: &str, place: &Token);

    /// Writes something that a member of a group is told, a JSON object; `place` is where it stands before that.
    fn told(&mut self, out: &mut BytesMut, name: &str, told: &str, place: &Token);

    /// Writes that the stream ends because the collector stops, and when to come back.
    fn reconnect(&mut self, out: &mut BytesMut, reconnect: &Reconnect, place: &Token);

    /// Writes the error that ends the stream.
    fn error(&mut self, out: &mut BytesMut, problem: &Problem);
}

/// Starts a stream.
pub(super) fn answer<F: Framing>(
    door: &Arc<Door>,
    (query, coding): (&ReadQuery, Coding),
    (subscription, seated): (Subscription, Option<Seated>),
    framing: F,
) -> Response {
    let chunks = chunks(door, query, (subscription, seated), framing);
    let headers = [(CONTENT_TYPE, F::MEDIA_TYPE), (CACHE_CONTROL, "no-cache")];
    // Proxies such as nginx would otherwise hold back a chunk until they have enough.
    coding.chunks((headers, [("x-accel-buffering", "no")]).into_response(), chunks)
}

/// Gives a subscription's next turn, only the records that the filter lets pass if there is one.
pub(super) async fn next(
    subscription: &mut Subscription,
    filter: Option<&Arc<Filter>>,
) -> Result<Option<Turn>, ReadError> {
    match (subscription.next().await?, filter) {
        (Some(turn), Some(filter)) => filter.select(turn).await.map(Some),
        (turn, _) => Ok(turn),
    }
}

/// Gives what a stream sends, chunk after chunk.
pub(super) fn chunks<F: Framing>(
    door: &Arc<Door>,
    query: &ReadQuery,
    read: (Subscription, Option<Seated>),
    framing: F,
) -> impl futures::Stream<Item = Bytes> + Send + use<F> {
    let stream = Stream::new(door, query, read, framing);
    futures::stream::unfold(stream, |mut stream| async move {
        let chunk = stream.chunk().await?;
        Some((chunk, stream))
    })
}

/// Beats as often as streams are to; late beats are not made up for.
pub(super) fn heartbeats(door: &Door) -> Interval {
    let period = door.config.heartbeat_interval;
    let mut heartbeats = interval_at(Instant::now() + period, period);
    heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeats
}

struct Stream<F> {
    subscription: Subscription,
    /// What a group says of it.
    seated: Option<Seated>,
    framing: F,
    heartbeat: Interval,
    draining: CancellationToken,
    leave: Leave,
    follow: bool,
    filter: Option<Arc<Filter>>,
    /// Bytes of records that the filter looked through since the place was told last.
    filtered_bytes: usize,
    skip_damaged: bool,
    records_left: u64,
    bytes_left: u64,
    pieces: Arc<Pieces>,
    out: Outbox,
    pace: Paced,
    ended: bool,
    _open: metrics::Open,
}

/// Says why a stream at its head wakes up.
enum Wake {
    Stop,
    /// The token is not valid any more.
    Over,
    Heartbeat,
    /// The group has changed, which the next fill looks at.
    Group,
    News(Result<(), ReadError>),
}

impl<F: Framing> Stream<F> {
    fn new(
        door: &Door,
        query: &ReadQuery,
        (subscription, seated): (Subscription, Option<Seated>),
        mut framing: F,
    ) -> Self {
        let heartbeat = heartbeats(door);
        let mut out = Outbox::default();
        framing.open(out.open(), subscription.place());
        Self {
            subscription,
            seated,
            framing,
            heartbeat,
            draining: door.draining.clone(),
            leave: query.leave.clone(),
            follow: query.follow,
            filter: query.filter.clone(),
            filtered_bytes: 0,
            skip_damaged: query.skip_damaged,
            records_left: query.max_records.unwrap_or(u64::MAX),
            bytes_left: query.max_bytes.unwrap_or(u64::MAX),
            pieces: door.reader.pieces().clone(),
            out,
            pace: door.pace.join(),
            ended: false,
            _open: metrics::subscriber(F::KIND),
        }
    }

    /// Gives the next bytes to send; `None` when the stream has ended.
    async fn chunk(&mut self) -> Option<Bytes> {
        loop {
            if !self.ended && self.out.len() == 0 {
                self.fill().await;
            }
            if let Some(chunk) = self.out.pop() {
                self.renew();
                self.pace.write();
                metrics::sent(F::KIND, chunk.len());
                return Some(chunk);
            }
            if self.ended {
                return None;
            }
            self.sleep().await;
        }
    }

    /// Writes what there is to read now, up to a chunk.
    async fn fill(&mut self) {
        if self.heartbeat.tick().now_or_never().is_some() {
            self.write_heartbeat();
        }
        while self.out.len() < CHUNK_BYTES && !self.ended {
            if self.draining.is_cancelled() {
                return self.stop();
            }
            if self.leave.is_over() {
                return self.fail(&NotIdentified::Unknown.into());
            }
            self.heed_group();
            if self.ended {
                return;
            }
            let next = next(&mut self.subscription, self.filter.as_ref()).await;
            self.tell_departed();
            let taken = match next {
                Ok(Some(turn)) if turn.is_empty() => {
                    let passed = self.pass(&turn);
                    if self.out.len() > 0 {
                        return;
                    }
                    yield_now().await;
                    Ok(passed)
                }
                Ok(Some(turn)) => self.take(&turn),
                Ok(None) => {
                    self.ended = !self.follow;
                    return;
                }
                Err(error) => Err(error),
            };
            match taken {
                Ok(true) => {}
                // The group has taken it away, and is about to say so.
                Ok(false) => return,
                Err(error) => self.meet(error),
            }
        }
    }

    /// Takes over what the group says, and tells the member.
    fn heed_group(&mut self) {
        let Some(seated) = self.seated.as_mut().filter(|seated| seated.has_changed()) else { return };
        let place = self.subscription.place().clone();
        match seated.adopt(&mut self.subscription) {
            Ok(told) => {
                for (name, told) in told {
                    self.framing.told(self.out.open(), name, &told, &place);
                }
            }
            Err(failure) => self.fail(&failure),
        }
    }

    /// Lets the group know that the connection takes what it is given.
    fn renew(&mut self) {
        let Some(seated) = self.seated.as_ref().filter(|_| !self.ended) else { return };
        if let Err(failure) = seated.renew() {
            self.fail(&failure);
        }
    }

    /// Passes over a turn of which the filter left nothing, and now and then tells how far it is. False if a group does not allow it any more.
    fn pass(&mut self, turn: &Turn) -> bool {
        if self.seated.as_mut().is_some_and(|seated| !seated.give(turn.shard, turn.end())) {
            return false;
        }
        self.subscription.advance(turn.shard, turn.end());
        self.filtered_bytes += turn.batch.body_bytes();
        let is_due = self.heartbeat.tick().now_or_never().is_some();
        if is_due || self.filtered_bytes >= MARK_BYTES {
            self.write_heartbeat();
        }
        true
    }

    /// Writes records of one turn: a piece, or what is left of what the stream was asked for. False if a group does not allow it any more.
    fn take(&mut self, turn: &Turn) -> Result<bool, ReadError> {
        let place = self.subscription.place();
        let unlimited = self.records_left == u64::MAX && self.bytes_left == u64::MAX;
        // A stamp is one reader's own.
        let form = self
            .framing
            .form(place)
            .filter(|form| unlimited && self.filter.is_none() && !(form.shows_place && place.stamp.is_some()));
        let key = form.map(|form| key(turn, place, &form));
        let bytes_max = self.bytes_left.min(CHUNK_BYTES as u64) as usize;
        let indices = self.subscription.find(turn.shard).expect("a turn is of a partition that is read");
        let (framing, place, records_max) = (&mut self.framing, self.subscription.place_mut(), self.records_left);
        let mut render = || render(framing, turn, (place, indices), records_max, bytes_max);
        let piece = match key {
            Some(key) => self.pieces.get(&key, render),
            None => render(),
        }?;
        if self.seated.as_mut().is_some_and(|seated| !seated.give(turn.shard, piece.end)) {
            self.subscription.advance(turn.shard, turn.from);
            return Ok(false);
        }
        self.subscription.advance(turn.shard, piece.end);
        self.out.push(&piece.bytes);
        if !unlimited {
            self.records_left -= piece.records;
            self.bytes_left = self.bytes_left.saturating_sub(piece.bytes.len() as u64);
            self.ended = self.records_left == 0 || self.bytes_left == 0;
        }
        Ok(true)
    }

    fn tell_departed(&mut self) {
        for departed in self.subscription.take_departed() {
            let gone = serde_json::to_string(&gone(departed)).expect("what is gone is plain JSON");
            self.framing.gone(self.out.open(), &gone, self.subscription.place());
        }
    }

    async fn sleep(&mut self) {
        let wake = tokio::select! {
            biased; // Stopping beats all; a heartbeat is never put off by records that keep coming.
            () = self.draining.cancelled() => Wake::Stop,
            () = self.leave.over() => Wake::Over,
            _ = self.heartbeat.tick() => Wake::Heartbeat,
            () = Seated::changed(self.seated.as_mut()) => Wake::Group,
            changed = self.subscription.changed() => Wake::News(changed),
        };
        match wake {
            Wake::Stop => self.stop(),
            Wake::Over => self.fail(&NotIdentified::Unknown.into()),
            Wake::Heartbeat => self.write_heartbeat(),
            Wake::Group => {}
            Wake::News(Ok(())) => self.pace.wait().await,
            Wake::News(Err(error)) => self.fail(&error.into()),
        }
    }

    /// Ends in order: the last thing a subscriber hears is where to go on, and when.
    fn stop(&mut self) {
        let after = rand::random_range(RECONNECT_AFTER);
        self.framing.reconnect(self.out.open(), &Reconnect::stopping(after), self.subscription.place());
        self.ended = true;
    }

    /// Passes over damage if that was asked for; any other error ends the stream.
    fn meet(&mut self, error: ReadError) {
        if let (ReadError::Gone { .. }, Some(seated)) = (&error, self.seated.as_mut()) {
            let gaps = seated.pass_over_deleted(&mut self.subscription);
            if !gaps.is_empty() {
                let place = self.subscription.place();
                gaps.iter().for_each(|(name, gap)| self.framing.told(self.out.open(), name, gap, place));
                return;
            }
        }
        let passed = if self.skip_damaged { self.subscription.pass_over(error) } else { Err(error) };
        match passed {
            Ok(damage) => {
                let damage = serde_json::to_string(&damage).expect("damage is plain JSON");
                self.framing.damaged(self.out.open(), &damage, self.subscription.place());
            }
            Err(error) => self.fail(&error.into()),
        }
    }

    fn fail(&mut self, failure: &Failure) {
        let problem = failure.problem();
        tracing::warn!(error = problem.detail, kind = F::KIND, "a stream ends");
        self.framing.error(self.out.open(), problem);
        self.ended = true;
    }

    fn write_heartbeat(&mut self) {
        self.filtered_bytes = 0;
        let high_watermarks = high_watermarks(&self.subscription);
        self.framing.heartbeat(self.out.open(), &high_watermarks, self.subscription.place());
    }
}

/// Says which topic is not read any more.
pub(super) fn gone(departed: Departed) -> Gone {
    Gone { topic: departed.topic.map(|topic| topic.to_string()), reason: departed.reason }
}
