//! Who is let in: one table says what each call needs, and one place makes sure of it. A call that is not in the table is refused.
//!
//! What only a body names (the agent of a commit, the topic of a queue) its handler asks the [`Caller`] about. Nothing here reads a body, and
//! nobody learns whether something is there that may not be seen.

mod rules;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::RequestExt;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use hyper::body::{Frame, SizeHint};
use skidway_record::{AgentId, TopicName};
use skidway_wire::access::Scope;
use tokio::sync::oneshot;

use crate::access::audit::Asked;
use crate::access::registry::Held;
use crate::access::token::Kind;
use crate::access::{Caller, Denied, NotIdentified};
use crate::clock::now_ms;
use crate::groups::{GroupName, MemberId};
use crate::listen::http::answers::{Failure, ProblemKind};
use crate::listen::http::door::{ClientCertificate, Door, Peer};
use crate::listen::http::query::Query;

use rules::Needs::{self, *};
pub(super) use rules::refusals;
use rules::rule_of;

/// Longest `Authorization` that is looked at, in bytes.
const AUTHORIZATION_BYTES_MAX: usize = 256;

/// Names what an answer is about, where the URL does not.
#[derive(Debug, Clone)]
pub(super) struct About(pub(super) String);

/// Marks the refusal of what a browser sent for a page of another origin.
#[derive(Debug, Clone, Copy)]
pub(super) struct ForeignPage;

/// Writes down that such a page was refused.
pub(super) async fn note_foreign_pages(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    if door.access.is_open() {
        return next.run(request).await;
    }
    let peer = peer(&request);
    let response = next.run(request).await;
    if response.extensions().get::<ForeignPage>().is_some() {
        let (who, object) = (Caller::nobody(peer).who(), String::new());
        let reason = "origin-not-allowed".to_owned();
        door.access.refused(Asked { who, action: "page", object, status: 403, reason });
    }
    response
}

/// Lets a request through to its handler with a [`Caller`], or refuses it.
pub(super) async fn let_in(State(door): State<Arc<Door>>, mut request: Request, next: Next) -> Response {
    if door.access.is_open() {
        request.extensions_mut().insert(Caller::everyone());
        return next.run(request).await;
    }
    // What no route matches is answered as such, and by nobody who could tell anything.
    let Some(route) = request.extensions().get::<MatchedPath>().cloned() else { return next.run(request).await };
    let Some(rule) = rule_of(request.method(), route.as_str()) else { return not_in_the_table(&request) };
    let names = match request.extract_parts::<RawPathParams>().await {
        Ok(names) => names.iter().map(|(_, name)| name.to_owned()).collect::<Vec<_>>(),
        Err(error) => return Failure::new(400, "invalid-url", error.to_string()).into_response(),
    };
    let asked = |caller: &Caller, status, reason: &str| Asked {
        who: caller.who(),
        action: rule.action,
        object: names.join("/"),
        status,
        reason: reason.to_owned(),
    };
    let caller = match identify(&door, rule.needs, &request) {
        Ok(caller) => caller,
        Err(error) => {
            door.access.refused(asked(&Caller::nobody(peer(&request)), 401, error.reason()));
            return Failure::from(error).into_response();
        }
    };
    if let Err(failure) = admit(&door, rule.needs, (&caller, &names), request.uri()).await {
        let problem = failure.problem();
        door.access.refused(asked(&caller, problem.status, &problem.kind));
        return failure.into_response();
    }
    let request = prepared(request, &caller);
    match rule.is_recorded {
        true => finish(&door, asked(&caller, 0, ""), request, next).await,
        false => {
            let response = while_allowed(&caller, next.run(request)).await;
            if let Some((status, reason)) = refusal(rule.action, &response) {
                door.access.refused(asked(&caller, status, reason));
            }
            response
        }
    }
}

/// Gives status and reason of what a handler refused: what the body asks for, which only it knows, a body that is none, or what an agent's
/// session that is over sends again.
fn refusal<'r>(action: &str, response: &'r Response) -> Option<(u16, &'r str)> {
    let status = response.status().as_u16();
    let ProblemKind(kind) = response.extensions().get()?;
    match status {
        // Let in, and revoked while it waited.
        401 => Some((401, NotIdentified::Unknown.reason())),
        400 | 403 | 408 | 413 | 415 => Some((status, kind)),
        409 if matches!(kind.as_str(), "fenced" | "session-superseded") && action.starts_with("agents.") => {
            Some((status, kind))
        }
        _ => None,
    }
}

fn not_in_the_table(request: &Request) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    Failure::new(405, "method-not-allowed", format!("{path} does not take {method}")).into_response()
}

/// Finds out who asks: by the token, else by the certificate.
fn identify(door: &Door, needs: Needs, request: &Request) -> Result<Caller, NotIdentified> {
    let peer = peer(request);
    if needs == Nothing {
        return Ok(Caller::nobody(peer));
    }
    match token(request.headers())? {
        Some(token) => Ok(Caller::holder(door.access.find(token, now_ms())?, peer)),
        None => match request.extensions().get::<ClientCertificate>() {
            Some(ClientCertificate(name)) => Ok(Caller::certified(name.clone(), peer)),
            None => Err(NotIdentified::NoToken),
        },
    }
}

/// Gives the token in the headers, if there is one. Nothing else is looked at: a URL ends up in logs and histories.
pub(super) fn token(headers: &HeaderMap) -> Result<Option<&str>, NotIdentified> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() || value.len() > AUTHORIZATION_BYTES_MAX {
        return Err(NotIdentified::Malformed);
    }
    let text = value.to_str().map_err(|_| NotIdentified::Malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(NotIdentified::Malformed)?;
    match scheme.eq_ignore_ascii_case("bearer") {
        true => Ok(Some(token.trim_start_matches(' '))),
        false => Err(NotIdentified::Malformed),
    }
}

/// Makes sure that a caller may do what it asks, and has not done too much of it.
async fn admit(door: &Door, needs: Needs, (caller, names): (&Caller, &[String]), uri: &Uri) -> Result<(), Failure> {
    let kind = caller.held().map(|held| held.token.kind);
    match needs {
        Nothing => return Ok(()),
        Join if kind != Some(Kind::Join) => {
            return Err(Denied::Kind("an agent enrols with a join token, which `skidway tokens join` makes").into());
        }
        Join => {}
        _ if kind == Some(Kind::Join) => {
            return Err(Denied::Kind("this is a join token, which enrols agents and does nothing else").into());
        }
        _ => {}
    }
    if let Some(held) = caller.held() {
        held.meter().admit(Instant::now()).map_err(Denied::OverQuota)?;
    }
    allow(door, needs, (caller, names.first().map_or("", String::as_str)), uri).await
}

async fn allow(door: &Door, needs: Needs, (caller, name): (&Caller, &str), uri: &Uri) -> Result<(), Failure> {
    match needs {
        Nothing | AnyToken => {}
        Metrics => caller.may_watch()?,
        Everything => caller.administers()?,
        // Names that cannot be are refused by their handler, in its own words.
        SeenTopic => match TopicName::new(name) {
            Ok(topic) if !caller.sees(&topic) => caller.may(Scope::Consume, name)?,
            _ => {}
        },
        Topic(scope) => caller.may(scope, name)?,
        Produce => {
            caller.may(Scope::Produce, name)?;
            may_store(caller)?;
            may_add_named(door, caller, name)?;
        }
        PutTopic => {
            caller.may(Scope::Admin, name)?;
            may_add_named(door, caller, name)?;
        }
        Topics => topics_of_query(caller, uri)?,
        Group(scope) | Queue(scope) => caller.may(scope, name)?,
        Member => {
            caller.may(Scope::Consume, name)?;
            topics_of_member(door, (caller, name), uri)?;
        }
        QueueRecords(scope) => {
            caller.may(scope, name)?;
            topic_of_queue(door, (caller, name), scope).await?;
        }
        ChangeQueue => {
            caller.may(Scope::Admin, name)?;
            // The answer says which topic it has, if it is there.
            topic_of_queue(door, (caller, name), Scope::Consume).await?;
        }
        Agent => {
            if let Ok(agent) = AgentId::new(name) {
                caller.is_agent(&agent)?;
            }
        }
        Commit => {
            caller.ships()?;
            may_store(caller)?;
        }
        Join => {}
    }
    Ok(())
}

/// Makes sure of all that the parameter `topics` names. One that is wrong is refused by the handler.
fn topics_of_query(caller: &Caller, uri: &Uri) -> Result<(), Failure> {
    let topics = Query::of(uri).and_then(|mut query| query.text("topics"));
    for topic in topics.ok().flatten().iter().flat_map(|topics| topics.split(',')) {
        caller.may(Scope::Consume, topic.trim())?;
    }
    Ok(())
}

/// Makes sure of the topics that a member reads: those it asks for, and those it joined with.
fn topics_of_member(door: &Door, (caller, group): (&Caller, &str), uri: &Uri) -> Result<(), Failure> {
    topics_of_query(caller, uri)?;
    let member = Query::of(uri).and_then(|mut query| query.text("member")).ok().flatten();
    let id = member.as_deref().and_then(|text| MemberId::new(text.split_once('.').map_or(text, |(id, _)| id)));
    let (Some(id), Ok(group)) = (id, GroupName::new(group)) else { return Ok(()) };
    let Ok(view) = door.groups.show(&group) else { return Ok(()) };
    let topics = view.members.iter().filter(|(member, _)| *member == id).flat_map(|(_, member)| &member.topics);
    for topic in topics {
        let denied = |denied: Denied| denied.on(format!("all topics of member {}", id.as_str()));
        caller.may(Scope::Consume, topic).map_err(denied)?;
    }
    Ok(())
}

/// Makes sure of a queue's topic, whose name is not told to who may not see it.
async fn topic_of_queue(door: &Door, (caller, queue): (&Caller, &str), scope: Scope) -> Result<(), Failure> {
    let Ok(name) = TopicName::new(queue) else { return Ok(()) };
    // That there is no such queue is said by the handler: its name is one that the caller may know.
    let Ok(topic) = door.queues.topic_of(name).await else { return Ok(()) };
    caller.may(scope, topic.as_str()).map_err(|denied| denied.on(format!("the topic of queue {queue}")))?;
    if scope == Scope::Produce {
        may_store(caller)?;
    }
    Ok(())
}

/// Makes sure that a token's holder may store more.
fn may_store(caller: &Caller) -> Result<(), Denied> {
    caller.held().map_or(Ok(()), |held| held.meter().may_store().map_err(Denied::OverQuota))
}

fn may_add_named(door: &Door, caller: &Caller, name: &str) -> Result<(), Denied> {
    TopicName::new(name).map_or(Ok(()), |topic| may_add(door, caller, &topic))
}

/// Makes sure that a token's holder may have this topic, which is created if it is not there. Two that come at the same moment may both pass.
pub(super) fn may_add(door: &Door, caller: &Caller, topic: &TopicName) -> Result<(), Denied> {
    let Some(held) = caller.held().filter(|held| held.meter().wants_measure()) else { return Ok(()) };
    if door.log.topic(topic).is_some() {
        return Ok(());
    }
    door.access.measure_now(held);
    held.meter().may_add_topic().map_err(Denied::OverQuota)
}

/// Gives the request its caller, and counts its body if that is bounded.
fn prepared(mut request: Request, caller: &Caller) -> Request {
    request.extensions_mut().insert(caller.clone());
    match caller.held().filter(|held| held.meter().counts_bytes()) {
        Some(held) => request.map(|body| Body::new(Counted { body, held: held.clone() })),
        None => request,
    }
}

/// Waits for an answer as long as the caller may wait: one whose token is revoked meanwhile gets nothing more.
async fn while_allowed(caller: &Caller, answer: impl Future<Output = Response>) -> Response {
    let leave = caller.leave();
    tokio::select! {
        response = answer => response,
        () = leave.over() => Failure::from(NotIdentified::Unknown).into_response(),
    }
}

/// Does what has to be in the audit topic, and writes it there before it is answered; both are finished even if nobody waits any more.
async fn finish(door: &Arc<Door>, mut asked: Asked, request: Request, next: Next) -> Response {
    let (answer, answered) = oneshot::channel();
    let access = door.access.clone();
    let work = async move {
        let response = next.run(request).await;
        asked.status = response.status().as_u16();
        if let Some(ProblemKind(kind)) = response.extensions().get() {
            asked.reason.clone_from(kind);
        }
        if let Some(About(object)) = response.extensions().get() {
            asked.object.clone_from(object);
        }
        let written = access.audit.done(asked.clone(), now_ms()).await;
        let response = written.map_or_else(|error| not_written(&asked, error), |()| response);
        let _nobody_waits = answer.send(response);
    };
    door.access.finish(work.boxed()).await;
    answered.await.unwrap_or_else(|_| Failure::new(503, "closing", "the collector stops").into_response())
}

fn not_written(asked: &Asked, error: crate::log::LogError) -> Response {
    tracing::error!(who = ?asked.who, action = asked.action, object = asked.object, status = asked.status, %error, "the audit topic cannot be written");
    let mut failure = Failure::from(error);
    let detail = failure.problem().detail.clone();
    let done = if asked.status < 400 { "was done" } else { "was not done" };
    failure =
        failure.saying(format!("what was asked {done}, but it could not be written to the audit topic: {detail}"));
    failure.into_response()
}

fn peer(request: &Request) -> Option<String> {
    request.extensions().get::<Peer>().map(|Peer(address)| address.ip().to_canonical().to_string())
}

/// Is a body whose bytes are counted as they come.
struct Counted {
    body: Body,
    held: Arc<Held>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.held.meter().spend(frame.data_ref().map_or(0, Bytes::len));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_from_one_header_alone() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|value| _ = headers.append(AUTHORIZATION, value.parse().unwrap()));
            token(&headers).map(|token| token.map(str::to_owned))
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["Bearer sk1_x"]), Ok(Some("sk1_x".to_owned())));
        assert_eq!(of(&["bearer  sk1_x"]), Ok(Some("sk1_x".to_owned())));
        let long = format!("Bearer {}", "x".repeat(AUTHORIZATION_BYTES_MAX));
        for bad in [&["Basic eDp5"][..], &["sk1_x"], &["Bearer a", "Bearer b"], &["Bearer\tsk1_x"], &[&long]] {
            assert_eq!(of(bad), Err(NotIdentified::Malformed), "{bad:?}");
        }
    }
}
