//! `GET /v1/groups/{g}/records?topics=…`: reading as a member of a group. A connection is a member while it lives; one that asks for pages is
//! one by its lease.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use skidway_daemon::config::parse_duration;

use crate::access::Caller;
use crate::clock::now_ms;
use crate::groups::membership::Joining;
use crate::groups::{GroupName, MemberId, Poll, Seat, Start};
use crate::listen::http::answers::Failure;
use crate::listen::http::coding::Coding;
use crate::listen::http::door::{Door, Peer};
use crate::listen::http::groups::{start_of, topics_of};
use crate::listen::http::ndjson::Ndjson;
use crate::listen::http::openapi::problems::Refused;
use crate::listen::http::openapi::reading::{GroupPage, MemberParams, ReadParams};
use crate::listen::http::path::{GroupParam, UrlPath as Path};
use crate::listen::http::poll;
use crate::listen::http::query::{Query, ReadQuery, topics_required};
use crate::listen::http::records::{Kind, accepted};
use crate::listen::http::seated::Seated;
use crate::listen::http::sse::Sse;
use crate::listen::http::stream;

/// Bounds what a client calls itself.
const CLIENT_BYTES_MAX: usize = 255;

/// Bounds `session_timeout`.
const SESSION_TIMEOUT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(1800));

/// Is what a member asks for, beside what every reader does.
struct MemberQuery {
    topics: Option<Vec<String>>,
    client: Option<String>,
    session_timeout: Option<Duration>,
    /// The member's id and the page it saw last.
    member: Option<(MemberId, u64)>,
    /// Whether a poll commits what the pages before gave.
    commits: bool,
}

/// Reads as a member of a group: one page of records, or a stream of them, by what is accepted.
#[utoipa::path(
    get, path = "/v1/groups/{group}/records", tag = "groups", params(GroupParam, MemberParams, ReadParams),
    responses(
        (status = 200, content((GroupPage = "application/json"), (String = "application/x-ndjson"), (String = "text/event-stream"))),
        Refused<400>, Refused<404>, Refused<406>, Refused<409>, Refused<410>, Refused<429>
    )
)]
pub(super) async fn read(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
    peer: Option<Extension<Peer>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    answer(&door, &name, (accepted(&headers)?, Coding::of(&headers)), (&caller, peer), &uri).await
}

/// Streams to a member of a group as server-sent events, whatever is accepted.
#[utoipa::path(
    get, path = "/v1/groups/{group}/stream", tag = "groups", params(GroupParam, MemberParams, ReadParams),
    responses((status = 200, content_type = "text/event-stream", body = String), Refused<400>, Refused<429>)
)]
pub(super) async fn stream(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
    peer: Option<Extension<Peer>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    answer(&door, &name, (Kind::Sse, Coding::of(&headers)), (&caller, peer), &uri).await
}

async fn answer(
    door: &Arc<Door>,
    name: &str,
    (kind, coding): (Kind, Coding),
    (caller, peer): (&Caller, Option<Extension<Peer>>),
    uri: &Uri,
) -> Result<Response, Failure> {
    let name = GroupName::new(name)?;
    let mut query = Query::of(uri)?;
    let asked = MemberQuery::of(&mut query)?;
    let start = start_of(&mut query)?;
    let mut reading = ReadQuery::read_many(query)?;
    reading.leave = caller.leave();
    let client = asked.client.clone().or_else(|| peer.map(|Extension(Peer(address))| address.to_string()));
    let client = client.unwrap_or_default();
    let joining = |session_timeout: Duration| joining(&asked, start, client, session_timeout);
    let session_timeout = asked.session_timeout.unwrap_or(door.groups.config().session_timeout);
    match kind {
        Kind::Raw => Err(Failure::new(406, "not-acceptable", "members of groups get no stored batches")),
        Kind::Page => {
            let poll = match &asked.member {
                Some((member, page)) => door.groups.poll(&name, member.clone(), *page)?,
                None => door.groups.join(name, joining(session_timeout)?).await?.into_poll()?,
            };
            page_of(door, (&reading, coding), poll, asked.commits).await
        }
        Kind::Ndjson | Kind::Sse => {
            asked.refuse_pages()?;
            // A connection that nothing happens on is heard of at its heartbeats.
            let session_timeout = session_timeout.max(2 * door.config.heartbeat_interval);
            let seat = door.groups.join(name, joining(session_timeout)?).await?;
            Ok(stream_of(door, kind, (&reading, coding), seat))
        }
    }
}

async fn page_of(
    door: &Arc<Door>,
    (reading, coding): (&ReadQuery, Coding),
    poll: Poll,
    commits: bool,
) -> Result<Response, Failure> {
    // What does not fit a page is told before anything is committed.
    reading.page()?;
    if commits {
        poll.commit_came().await?;
    }
    poll::answer(door, (reading, coding), &poll).await
}

fn stream_of(door: &Arc<Door>, kind: Kind, (reading, coding): (&ReadQuery, Coding), seat: Seat) -> Response {
    let mut subscription = door.reader.assignable();
    let seated = Seated::new(door, seat, &mut subscription);
    let read = (subscription, Some(seated));
    match kind {
        Kind::Sse => stream::answer(door, (reading, coding), read, Sse::new(reading)),
        _ => stream::answer(door, (reading, coding), read, Ndjson::new(reading)),
    }
}

fn joining(asked: &MemberQuery, start: Start, client: String, session_timeout: Duration) -> Result<Joining, Failure> {
    let topics = asked.topics.clone().ok_or_else(topics_required)?;
    let id = MemberId::new(&format!("m{:016x}", rand::random::<u64>())).expect("letters and digits make an id");
    Ok(Joining { id, client, at_ms: now_ms(), topics, start, session_timeout })
}

impl MemberQuery {
    fn of(query: &mut Query) -> Result<Self, Failure> {
        let topics = query.text("topics")?.map(|text| topics_of(text.split(','), "topics")).transpose()?;
        let client = query.text("client")?;
        if client.as_ref().is_some_and(|client| client.len() > CLIENT_BYTES_MAX) {
            return Err(Failure::parameter("client", format_args!("at most {CLIENT_BYTES_MAX} bytes")));
        }
        let commits = match query.text("commit")?.as_deref() {
            None => false,
            Some("next") => true,
            Some(other) => return Err(Failure::parameter("commit", format_args!("{other:?} is not next"))),
        };
        let (session_timeout, member) = (session_timeout(query)?, member(query)?);
        Ok(Self { topics, client, session_timeout, member, commits })
    }

    /// Refuses what only pages have.
    fn refuse_pages(&self) -> Result<(), Failure> {
        let reason = "only of pages (Accept: application/json); a stream is a member of its own, and commits by POST";
        match (self.commits, &self.member) {
            (true, _) => Err(Failure::parameter("commit", reason)),
            (_, Some(_)) => Err(Failure::parameter("member", reason)),
            _ => Ok(()),
        }
    }
}

fn session_timeout(query: &mut Query) -> Result<Option<Duration>, Failure> {
    let Some(text) = query.text("session_timeout")? else { return Ok(None) };
    let (least, most) = SESSION_TIMEOUT;
    match parse_duration(&text).filter(|timeout| (least..=most).contains(timeout)) {
        Some(timeout) => Ok(Some(timeout)),
        None => Err(Failure::parameter(
            "session_timeout",
            format_args!("{text:?} is not a duration such as 30s, 1s to 30m"),
        )),
    }
}

/// Reads what a page said of its member: the id, and the page's number.
fn member(query: &mut Query) -> Result<Option<(MemberId, u64)>, Failure> {
    let Some(text) = query.text("member")? else { return Ok(None) };
    let parts = text.split_once('.').and_then(|(id, page)| Some((MemberId::new(id)?, page.parse().ok()?)));
    let strange = || Failure::parameter("member", "not what a page gave as its member");
    parts.map(Some).ok_or_else(strange)
}
