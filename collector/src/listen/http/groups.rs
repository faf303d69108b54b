//! Consumer groups over HTTP: how they stand, commits, resets. What members read is in `members`.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::{Extension, Json};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use skidway_record::{Offset, TopicName, TopicPartition};
use skidway_wire::groups::{
    GroupCommit, GroupCommitted, GroupDescription, GroupList, GroupMember, GroupPartition, GroupReset, GroupState,
    GroupSummary, GroupWasReset, PartitionName, PartitionOffset, PartitionReset,
};

use skidway_wire::access::Scope;

use crate::access::{Caller, Denied};
use crate::groups::commits::{Moved, Place, ResetTo};
use crate::groups::registry::PartitionView;
use crate::groups::{GroupError, GroupName, MemberId, Shard, Stamp, Start, View};
use crate::listen::http::answers::Failure;
use crate::listen::http::body;
use crate::listen::http::door::Door;
use crate::listen::http::openapi::problems::Refused;
use crate::listen::http::path::{GroupParam, UrlPath as Path};
use crate::listen::http::query::{Query, parse_from};
use crate::read::{Selection, StartAt, Token};

/// Bounds what is noted with a commit.
const METADATA_BYTES_MAX: usize = 4096;

/// Bounds the names and patterns of a member.
const TOPICS_MAX: usize = 100;

/// Lists consumer groups; to a token those whose names it may consume.
#[utoipa::path(get, path = "/v1/groups", tag = "groups", responses((status = 200, body = GroupList), Refused<400>))]
pub(super) async fn list(
    State(door): State<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<GroupList>, Failure> {
    Query::of(&uri)?.finish()?;
    let groups = door.groups.list().into_iter();
    let seen = groups.filter(|view| caller.may(Scope::Consume, view.name.as_str()).is_ok());
    Ok(Json(GroupList { groups: seen.map(|view| summary(&seen_by(&caller, view))).collect() }))
}

/// Shows a group: its members, and how far it is in each partition; to a token as far as it may consume the topics.
#[utoipa::path(
    get, path = "/v1/groups/{group}", tag = "groups", params(GroupParam),
    responses((status = 200, body = GroupDescription), Refused<400>, Refused<404>)
)]
pub(super) async fn show(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<GroupDescription>, Failure> {
    Query::of(&uri)?.finish()?;
    let view = seen_by(&caller, door.groups.show(&GroupName::new(&name)?)?);
    Ok(Json(description(&view, door.log.identity().epoch)))
}

/// Deletes a group that has no members, with what it committed.
#[utoipa::path(
    delete, path = "/v1/groups/{group}", tag = "groups", params(GroupParam),
    responses((status = 204, description = "It is gone."), Refused<400>, Refused<404>, Refused<409>)
)]
pub(super) async fn delete(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<StatusCode, Failure> {
    Query::of(&uri)?.finish()?;
    door.groups.delete(GroupName::new(&name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Commits what was read, by a token or by offsets: durable when it is answered.
#[utoipa::path(
    post, path = "/v1/groups/{group}/commit", tag = "groups", params(GroupParam), request_body = GroupCommit,
    responses((status = 200, body = GroupCommitted), Refused<400>, Refused<404>, Refused<409>, Refused<410>, Refused<413>, Refused<415>, Refused<429>, Refused<507>)
)]
pub(super) async fn commit(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
    body: axum::body::Body,
) -> Result<Json<GroupCommitted>, Failure> {
    Query::of(&uri)?.finish()?;
    let name = GroupName::new(&name)?;
    let body: GroupCommit = read(&door, &headers, body).await?;
    let metadata = body.metadata.unwrap_or_default();
    if metadata.len() > METADATA_BYTES_MAX {
        return Err(invalid(format!("metadata: at most {METADATA_BYTES_MAX} bytes")));
    }
    let committed = match (body.token, body.offsets, body.member) {
        (Some(token), None, None) => commit_token(&door, name, &token, metadata).await?,
        (None, Some(offsets), member) => {
            let member = member.map(|id| member_id(&id).ok_or_else(|| invalid(format!("member: {id:?} is no id"))));
            may_consume(&caller, offsets.iter().map(|it| it.topic.as_str()))?;
            let offsets = offsets_of(&offsets)?;
            door.groups.commit_offsets(name, member.transpose()?, offsets, metadata).await?
        }
        _ => return Err(invalid("either token, or offsets and perhaps member")),
    };
    Ok(Json(GroupCommitted { committed: committed.iter().map(shown_offset).collect() }))
}

/// Commits what a token of this group covers.
pub(super) async fn commit_token(
    door: &Door,
    name: GroupName,
    token: &str,
    metadata: String,
) -> Result<Vec<(Shard, Offset)>, Failure> {
    let (stamp, places) = places(token)?;
    Ok(door.groups.commit_token(name, stamp, places, metadata).await?)
}

/// Takes a token of a group's records apart: whose it is, and the log's epoch with the places that it covers.
pub(super) fn places(token: &str) -> Result<(Stamp, (u64, Vec<Place>)), GroupError> {
    let strange = || GroupError::BadToken("it is not a token of a group's records".to_owned());
    let (stamp, place) = Stamp::split(token).ok_or_else(strange)?;
    let place = Token::decode(place).ok_or_else(strange)?;
    let mut places = Vec::with_capacity(place.partitions());
    for topic in &place.topics {
        let of = |(index, at): (usize, &Offset)| (topic.topic, topic.partition(index), *at);
        places.extend(topic.positions.iter().enumerate().map(of));
    }
    Ok((stamp, (place.log_epoch, places)))
}

/// Puts a group elsewhere.
#[utoipa::path(
    post, path = "/v1/groups/{group}/reset", tag = "groups", params(GroupParam), request_body = GroupReset,
    responses((status = 200, body = GroupWasReset), Refused<400>, Refused<404>, Refused<409>, Refused<413>, Refused<415>, Refused<429>, Refused<507>)
)]
pub(super) async fn reset(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
    body: axum::body::Body,
) -> Result<Json<GroupWasReset>, Failure> {
    Query::of(&uri)?.finish()?;
    let name = GroupName::new(&name)?;
    let GroupReset { topics, to, offsets, force, dry_run } = read(&door, &headers, body).await?;
    may_consume(&caller, topics.iter().flatten().map(|topic| topic.trim()))?;
    may_consume(&caller, offsets.iter().flatten().map(|it| it.topic.as_str()))?;
    let to = match (topics, to, offsets) {
        (Some(topics), Some(to), None) => {
            ResetTo::Start(topics_of(topics.iter().map(String::as_str), "topics")?, start(&to, "to")?)
        }
        (None, None, Some(offsets)) => ResetTo::Offsets(offsets_of(&offsets)?),
        _ => return Err(invalid("either topics and to, or offsets")),
    };
    let moved = door.groups.reset(name, to, force, dry_run).await?;
    let shown = |moved: &Moved| PartitionReset {
        topic: moved.shard.topic.to_string(),
        partition: moved.shard.partition.0,
        from: moved.from.map(|from| from.0),
        to: moved.to.0,
    };
    Ok(Json(GroupWasReset { dry_run, partitions: moved.iter().map(shown).collect() }))
}

/// Makes sure of topics and patterns that a body names.
fn may_consume<'a>(caller: &Caller, mut topics: impl Iterator<Item = &'a str>) -> Result<(), Denied> {
    topics.try_for_each(|topic| caller.may(Scope::Consume, topic))
}

async fn read<T: DeserializeOwned>(door: &Door, headers: &HeaderMap, body: axum::body::Body) -> Result<T, Failure> {
    let body = body::read(door, headers, body).await?;
    body::object(&body.bytes, headers, "a group takes application/json", |error| invalid(error.to_string()))
}

fn invalid(reason: impl Into<String>) -> Failure {
    Failure::new(400, "invalid-group-request", reason)
}

/// Reads a place at which a group may start.
fn start(text: &str, name: &str) -> Result<Start, Failure> {
    Ok(match parse_from(text)? {
        StartAt::Earliest => Start::Earliest,
        StartAt::Latest => Start::Latest,
        StartAt::Last(count) => Start::Last(count),
        StartAt::Timestamp(ms) => Start::Timestamp(ms),
        StartAt::Token(_) | StartAt::Offset(_) => {
            let expected = "a group starts at earliest, latest, -N or an RFC 3339 time; where it goes on is committed";
            return Err(Failure::parameter(name, expected));
        }
    })
}

/// Reads where a group starts in what is new to it: `from`.
pub(super) fn start_of(query: &mut Query) -> Result<Start, Failure> {
    query.text("from")?.map_or(Ok(Start::default()), |text| start(&text, "from"))
}

/// Checks names and patterns of topics.
pub(super) fn topics_of<'a>(topics: impl Iterator<Item = &'a str>, name: &str) -> Result<Vec<String>, Failure> {
    let topics: Vec<String> = topics.map(|topic| topic.trim().to_owned()).collect();
    // One that reads many topics has the same rules for them.
    Selection::parse(&topics.join(",")).map_err(|reason| Failure::parameter(name, reason))?;
    match topics.len() <= TOPICS_MAX {
        true => Ok(topics),
        false => Err(Failure::parameter(name, format_args!("at most {TOPICS_MAX} names and patterns"))),
    }
}

/// Reads a member's id, with or without the page that it was given with.
pub(super) fn member_id(text: &str) -> Option<MemberId> {
    MemberId::new(text.split_once('.').map_or(text, |(id, _)| id))
}

fn offsets_of(offsets: &[PartitionOffset]) -> Result<Vec<(TopicPartition, Offset)>, Failure> {
    match offsets.is_empty() {
        true => Err(invalid("offsets: there is none")),
        false => offsets.iter().map(offset).collect(),
    }
}

fn offset(it: &PartitionOffset) -> Result<(TopicPartition, Offset), Failure> {
    let topic = TopicName::new(&it.topic).map_err(|error| Failure::new(400, "invalid-topic", error.to_string()))?;
    Ok((TopicPartition::new(topic, it.partition), Offset(it.offset)))
}

/// Shows an offset of a partition.
pub(super) fn shown_offset((shard, at): &(Shard, Offset)) -> PartitionOffset {
    PartitionOffset { topic: shard.topic.to_string(), partition: shard.partition.0, offset: at.0 }
}

/// Shows a partition's name.
pub(super) fn shown_name(of: &TopicPartition) -> PartitionName {
    PartitionName { topic: of.topic.to_string(), partition: of.partition.0 }
}

/// Leaves out what is of topics that a caller may not consume, as if the group did not read them: an administrator may have attached any.
fn seen_by(caller: &Caller, mut view: View) -> View {
    let may = |topic: &str| caller.may(Scope::Consume, topic).is_ok();
    view.partitions.retain(|it| may(it.of.topic.as_str()));
    view.members.iter_mut().for_each(|(_, member)| member.topics.retain(|topic| may(topic)));
    view
}

fn state(view: &View) -> GroupState {
    match view.members.is_empty() {
        true => GroupState::Empty,
        false if view.partitions.iter().any(|it| it.is_moving) => GroupState::Reconciling,
        false => GroupState::Stable,
    }
}

fn summary(view: &View) -> GroupSummary {
    let topics: BTreeSet<String> = view.partitions.iter().map(|it| it.of.topic.to_string()).collect();
    GroupSummary {
        name: view.name.to_string(),
        state: state(view),
        generation: view.generation,
        members: view.members.len() as u64,
        topics: topics.into_iter().collect(),
        lag: view.lag(),
    }
}

fn description(view: &View, log_epoch: u64) -> GroupDescription {
    let members = view.members.iter().map(|(id, member)| {
        let has = view.partitions.iter().filter(|it| it.member.as_ref() == Some(id));
        GroupMember {
            id: id.to_string(),
            client: member.client.clone(),
            since: shown_time(member.since_ms),
            topics: member.topics.clone(),
            from: shown_start(member.start),
            session_timeout_ms: member.session_timeout.as_millis() as u64,
            partitions: has.map(|it| shown_name(&it.of)).collect(),
        }
    });
    GroupDescription {
        name: view.name.to_string(),
        state: state(view),
        generation: view.generation,
        log_epoch,
        lag: view.lag(),
        members: members.collect(),
        partitions: view.partitions.iter().map(partition).collect(),
    }
}

fn partition(it: &PartitionView) -> GroupPartition {
    let committed = it.committed.as_ref();
    GroupPartition {
        topic: it.of.topic.to_string(),
        partition: it.of.partition.0,
        member: it.member.as_ref().map(ToString::to_string),
        moving: it.is_moving,
        committed_offset: committed.map(|it| it.offset.0),
        committed_at: committed.map(|it| shown_time(it.at_ms)),
        metadata: committed.map(|it| it.metadata.clone()).filter(|text| !text.is_empty()),
        log_start_offset: it.offsets.map(|it| it.log_start.0),
        high_watermark: it.offsets.map(|it| it.high_watermark.0),
        lag: it.lag(),
        lost: it.lost(),
    }
}

fn shown_start(start: Start) -> String {
    match start {
        Start::Earliest => "earliest".to_owned(),
        Start::Latest => "latest".to_owned(),
        Start::Last(count) => format!("-{count}"),
        Start::Timestamp(ms) => shown_time(ms),
    }
}

fn shown_time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| format!("{time:.3}"))
}
